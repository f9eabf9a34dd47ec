/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include <agent/counter.h>
#include <agent/mac.h>

struct fake {
	uint64_t value;
	unsigned n_increments, n_frees;
	int fail_with;
	int stuck;
};

static int fake_get(void *userdata, uint64_t *ret_value, struct agent_error **err)
{
	struct fake *f = userdata;

	if (f->fail_with < 0)
		return agent_error_set(err, f->fail_with, "test.broken", "the test counter is out of order");
	*ret_value = f->value;
	return 0;
}

static int fake_increment(void *userdata, uint64_t *ret_value, struct agent_error **err)
{
	struct fake *f = userdata;

	f->n_increments++;
	if (!f->stuck)
		f->value++;
	*ret_value = f->value;
	return 0;
}

static void fake_free(void *userdata)
{
	((struct fake *)userdata)->n_frees++;
}

static const struct agent_counter_ops fake_ops = { .get = fake_get, .increment = fake_increment, .free = fake_free };

static struct agent_counter *counter_over(struct fake *f)
{
	struct agent_counter *c = NULL;

	assert_int_equal(agent_counter_new(&fake_ops, f, &c, NULL), 0);
	return c;
}

static void raising_takes_exactly_the_missing_steps(void **state)
{
	struct fake f = { .value = 3 };
	struct agent_counter *c = counter_over(&f);
	uint64_t value = 0;

	assert_int_equal(agent_counter_raise(c, 7, 4, NULL), 0);
	assert_int_equal(f.n_increments, 4);
	assert_int_equal(agent_counter_get(c, &value, NULL), 0);
	assert_int_equal(value, 7);
	assert_int_equal(agent_counter_raise(c, 5, 0, NULL), 0);
	assert_int_equal(f.n_increments, 4);
	assert_int_equal(agent_counter_increment(c, NULL, NULL), 0);
	assert_int_equal(f.value, 8);
	agent_counter_unref(c);
}

static void too_many_steps_are_refused_before_the_first(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fake f = { .value = 3 };
	struct agent_counter *c = counter_over(&f);

	assert_int_equal(agent_counter_raise(c, 8, 4, &err), -ERANGE);
	assert_error(&err, -ERANGE, "counter.range");
	assert_int_equal(agent_counter_raise(c, UINT64_MAX, 4, &err), -ERANGE);
	assert_int_equal(f.n_increments, 0);
	agent_counter_unref(c);
}

static void a_counter_that_does_not_count_stops_the_loop(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fake f = { .value = 3, .stuck = 1 };
	struct agent_counter *c = counter_over(&f);

	assert_int_equal(agent_counter_raise(c, 7, 100, &err), -EIO);
	assert_error(&err, -EIO, "counter.stuck");
	assert_int_equal(f.n_increments, 1);
	agent_counter_unref(c);
}

static void errors_come_through_and_outputs_stay(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fake f = { .fail_with = -ENODEV };
	struct agent_counter *c = counter_over(&f);
	uint64_t value = 99;

	assert_int_equal(agent_counter_get(c, &value, &err), -ENODEV);
	assert_error(&err, -ENODEV, "test.broken");
	assert_int_equal(value, 99);
	assert_int_equal(agent_counter_get(NULL, &value, NULL), -EINVAL);
	agent_counter_ref(c);
	agent_counter_unref(c);
	assert_int_equal(f.n_frees, 0);
	agent_counter_unref(c);
	assert_int_equal(f.n_frees, 1);
	assert_null(agent_counter_unref(NULL));
}

static int fake_compute(void *userdata, const uint8_t *data, size_t size, uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err)
{
	memset(ret_mac, (int)size, AGENT_MAC_SIZE);
	return 0;
}

static void a_mac_passes_up_to_1024_bytes_on(void **state)
{
	static const struct agent_mac_ops ops = { .backend = "test", .compute = fake_compute };
	static const uint8_t data[1025];
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_mac *mac = NULL;
	uint8_t out[AGENT_MAC_SIZE];

	assert_int_equal(agent_mac_new(NULL, NULL, &mac, NULL), -EINVAL);
	assert_int_equal(agent_mac_new(&ops, NULL, &mac, NULL), 0);
	assert_int_equal(agent_mac_compute(mac, data, 3, out, NULL), 0);
	assert_int_equal(out[31], 3);
	assert_int_equal(agent_mac_compute(mac, NULL, 0, out, NULL), 0);
	assert_int_equal(agent_mac_compute(mac, data, 1024, out, NULL), 0);
	assert_int_equal(agent_mac_compute(mac, data, 1025, out, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "mac.size");
	assert_int_equal(agent_mac_compute(NULL, data, 1, out, NULL), -EINVAL);
	agent_mac_ref(mac);
	agent_mac_unref(mac);
	assert_null(agent_mac_unref(mac));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(raising_takes_exactly_the_missing_steps),
		cmocka_unit_test(too_many_steps_are_refused_before_the_first),
		cmocka_unit_test(a_counter_that_does_not_count_stops_the_loop),
		cmocka_unit_test(errors_come_through_and_outputs_stay),
		cmocka_unit_test(a_mac_passes_up_to_1024_bytes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
