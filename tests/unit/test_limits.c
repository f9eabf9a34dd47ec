/* SPDX-License-Identifier: Apache-2.0 */
/* The limits on password tries, against a clock of our own. */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/core/limits.h"

#define SECOND UINT64_C(1000000)
#define T0 (1000 * SECOND)

static const uint8_t key[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
static const uint8_t cookie[LIMITS_COOKIE_ID_SIZE] = { 0xc0 };

static struct limits *make(uint64_t failures)
{
	struct limits *l = limits_new(key, failures, T0);

	assert_non_null(l);
	return l;
}

static struct limit_who who(struct limits *l, const char *source, uint64_t now_us)
{
	struct limit_who w;

	limits_identify(l, source, strncmp(source, "unix:", 5) == 0, NULL, now_us, &w);
	return w;
}

/* Try and fail; returns the seconds to wait, 0 if the try was allowed. */
static unsigned fail_once(struct limits *l, const struct limit_who *w, uint64_t now_us)
{
	unsigned retry_s = 0;

	if (limits_admit(l, w, now_us, &retry_s) == -EDQUOT) {
		assert_true(retry_s > 0);
		return retry_s;
	}
	limits_failed(l, w, now_us);
	return 0;
}

static void siphash_gives_the_known_answers(void **state)
{
	/* Aumasson, Bernstein: SipHash: a fast short-input PRF, appendix A; and vectors.h of the reference code */
	static const struct {
		size_t size;
		uint64_t hash;
	} cases[] = { { 0, UINT64_C(0x726fdb47dd0e0e31) }, { 1, UINT64_C(0x74f839c593dc67fd) }, { 8, UINT64_C(0x93f5f5799a932462) },
		      { 15, UINT64_C(0xa129ca6149be45e5) } };
	uint8_t data[16];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_true(limits_siphash(key, data, cases[i].size) == cases[i].hash);
}

static void one_source_has_three_tries_and_then_waits_twice_as_long_each_time(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "ip:192.0.2.7", T0);
	uint64_t now = T0;
	static const unsigned waits_s[] = { 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(waits_s); i++) {
		assert_int_equal(fail_once(l, &w, now), 0);
		if (waits_s[i] > 0) {
			assert_int_equal(fail_once(l, &w, now), waits_s[i]);
			now += waits_s[i] * SECOND;
			assert_int_equal(fail_once(l, &w, now - 1), 1);
		}
	}
	limits_free(l);
}

static void strangers_together_have_ten_tries_and_then_one_in_thirty_seconds(void **state)
{
	struct limits *l = make(0);
	char source[32];
	uint64_t now = T0;
	unsigned n_allowed = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		struct limit_who w;

		snprintf(source, sizeof(source), "ip:198.51.100.%u", i);
		w = who(l, source, now);
		n_allowed += fail_once(l, &w, now) == 0;
	}
	assert_int_equal(n_allowed, LIMITS_STRANGERS_BURST);
	n_allowed = 0;
	for (unsigned i = 0; i < 600; i++) { /* ten minutes, a fresh source each second */
		struct limit_who w;

		now += SECOND;
		snprintf(source, sizeof(source), "ip:203.0.%u.%u", i / 250, i % 250);
		w = who(l, source, now);
		n_allowed += fail_once(l, &w, now) == 0;
	}
	assert_int_equal(n_allowed, 20);
	limits_free(l);
}

static void after_100_failures_strangers_stay_out_but_nobody_else_does(void **state)
{
	struct limits *l = make(0);
	struct limit_who w, known, local;
	uint64_t now = T0;
	unsigned changes = 0, retry_s, n = 0;

	(void)state;
	while (!limits_is_closed(l)) {
		char source[32];

		snprintf(source, sizeof(source), "ip:10.%u.0.1", n % 250);
		w = who(l, source, now);
		if (limits_admit(l, &w, now, &retry_s) == 0) {
			changes = limits_failed(l, &w, now);
			n++;
		}
		now += 31 * SECOND;
		assert_true(n <= LIMITS_CLOSE_AFTER);
	}
	assert_int_equal(n, 100);
	assert_true(changes & LIMITS_CLOSED);
	assert_int_equal(limits_get_failures(l), 100);
	now += 30 * 86400 * SECOND;	/* time alone does not open */
	w = who(l, "ip:10.99.99.99", now);
	assert_int_equal(limits_admit(l, &w, now, &retry_s), -EDQUOT);
	limits_identify(l, "ip:10.99.99.99", false, cookie, now, &known);
	assert_int_equal(known.bucket, LIMIT_COOKIE);
	assert_int_equal(limits_admit(l, &known, now, &retry_s), 0);
	limits_undo(l, &known, now);
	local = who(l, "unix:1000", now);
	assert_int_equal(limits_admit(l, &local, now, &retry_s), 0);
	assert_int_equal(limits_succeeded(l, &local, now), LIMITS_OPENED);
	assert_int_equal(limits_get_failures(l), 0);
	assert_int_equal(limits_admit(l, &w, now, &retry_s), 0);
	limits_undo(l, &w, now);
	limits_free(l);
}

static void tries_under_way_count_towards_the_hundred(void **state)
{
	struct limits *l = limits_new(key, 98, T0);
	uint64_t now = T0 + 3600 * SECOND;
	struct limit_who a = who(l, "ip:10.0.0.1", now), b = who(l, "ip:10.0.0.2", now), c = who(l, "ip:10.0.0.3", now);
	unsigned retry_s;

	(void)state;
	assert_int_equal(limits_admit(l, &a, now, &retry_s), 0);
	assert_int_equal(limits_admit(l, &b, now, &retry_s), 0);
	assert_int_equal(limits_admit(l, &c, now, &retry_s), -EDQUOT);
	limits_undo(l, &b, now);
	assert_int_equal(limits_admit(l, &c, now, &retry_s), 0);
	limits_failed(l, &a, now);
	assert_int_equal(limits_failed(l, &c, now), LIMITS_CLOSED);
	limits_free(l);
}

static void a_power_cycle_gains_nothing(void **state)
{
	(void)state;
	for (uint64_t failures = 0; failures <= 100; failures++) {
		struct limits *l = make(failures);
		uint64_t now = T0;
		unsigned n = 0;

		for (unsigned i = 0; i < 29; i++, now += SECOND) {
			char source[32];
			struct limit_who w;

			for (unsigned k = 0; k < 12; k++) {
				snprintf(source, sizeof(source), "ip:10.0.%u.%u", i, k);
				w = who(l, source, now);
				n += fail_once(l, &w, now) == 0;
			}
		}
		/* Tries before and after the restart together: never more than the burst. */
		if (failures < 10)
			assert_true(n + failures <= 10);
		else
			assert_int_equal(n, 0);
		limits_free(l);
	}
}

static void after_a_start_with_failures_the_console_waits_too(void **state)
{
	struct limits *l = make(5);
	struct limit_who w = who(l, "unix:1000", T0);

	(void)state;
	assert_int_equal(fail_once(l, &w, T0), 3);
	assert_int_equal(fail_once(l, &w, T0 + 3 * SECOND), 0);
	limits_free(l);
}

static void the_console_waits_three_seconds_after_each_failure(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "unix:1000", T0), other = who(l, "unix:1001", T0);
	uint64_t now = T0;
	unsigned retry_s;

	(void)state;
	for (int i = 0; i < 150; i++) {
		assert_int_equal(fail_once(l, &w, now), 0);
		assert_int_equal(fail_once(l, &w, now), 3);
		assert_int_equal(limits_admit(l, &other, now, &retry_s), 0);	/* another user need not wait */
		limits_undo(l, &other, now);
		now += 3 * SECOND;
	}
	assert_int_equal(limits_get_failures(l), 150);	/* the same count for all */
	assert_true(limits_is_closed(l));
	limits_free(l);
}

static void a_success_needs_no_wait_and_clears_the_count(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "ip:192.0.2.7", T0), local = who(l, "unix:5", T0);
	unsigned retry_s;

	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
		assert_int_equal(limits_succeeded(l, &w, T0), 0);
		assert_int_equal(limits_admit(l, &local, T0, &retry_s), 0);
		assert_int_equal(limits_succeeded(l, &local, T0), 0);
	}
	assert_int_equal(fail_once(l, &w, T0), 0);
	assert_int_equal(fail_once(l, &w, T0), 0);
	assert_int_equal(limits_get_failures(l), 2);
	assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
	limits_succeeded(l, &w, T0);
	assert_int_equal(limits_get_failures(l), 0);
	assert_int_equal(fail_once(l, &w, T0), 0);
	assert_int_equal(fail_once(l, &w, T0), 0);
	limits_free(l);
}

static void what_could_not_be_found_out_is_not_counted(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "ip:192.0.2.7", T0);
	unsigned retry_s;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
		limits_undo(l, &w, T0);
	}
	assert_int_equal(limits_get_failures(l), 0);
	limits_free(l);
}

static void a_source_has_one_try_at_a_time(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "ip:192.0.2.7", T0), known;
	unsigned retry_s;

	(void)state;
	assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
	assert_int_equal(limits_admit(l, &w, T0, &retry_s), -EDQUOT);
	assert_int_equal(retry_s, 1);
	limits_undo(l, &w, T0);
	assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
	limits_identify(l, "ip:192.0.2.7", false, cookie, T0, &known);
	assert_int_equal(limits_admit(l, &known, T0, &retry_s), 0);	/* but a known browser does not wait for a stranger */
	assert_int_equal(limits_admit(l, &known, T0, &retry_s), -EDQUOT);
	limits_undo(l, &known, T0);
	limits_undo(l, &w, T0);
	limits_free(l);
}

static void a_known_browser_has_ten_failures_an_hour_and_is_a_stranger_then(void **state)
{
	struct limits *l = make(0);
	struct limit_who w;
	uint64_t now = T0;

	(void)state;
	/* nine an hour for a day: fine */
	for (int hour = 0; hour < 24; hour++, now += 3601 * SECOND)
		for (int i = 0; i < 9; i++) {
			limits_identify(l, "ip:192.0.2.7", false, cookie, now, &w);
			assert_int_equal(w.bucket, LIMIT_COOKIE);
			assert_int_equal(fail_once(l, &w, now), 0);
		}
	for (int i = 0; i < 10; i++) {
		limits_identify(l, "ip:192.0.2.7", false, cookie, now, &w);
		assert_int_equal(w.bucket, LIMIT_COOKIE);
		assert_int_equal(fail_once(l, &w, now), 0);
	}
	limits_identify(l, "ip:192.0.2.7", false, cookie, now, &w);
	assert_int_equal(w.bucket, LIMIT_STRANGER);
	now += 90 * 86400 * SECOND;
	limits_identify(l, "ip:192.0.2.7", false, cookie, now, &w);
	assert_int_equal(w.bucket, LIMIT_STRANGER);
	limits_free(l);
}

static void many_cookies_do_not_wash_a_void_one_clean(void **state)
{
	struct limits *l = make(0);
	struct limit_who w;
	uint8_t id[LIMITS_COOKIE_ID_SIZE] = { 0 };

	(void)state;
	limits_identify(l, "ip:192.0.2.7", false, cookie, T0, &w);
	for (int i = 0; i < 10; i++)
		assert_int_equal(fail_once(l, &w, T0), 0);
	for (unsigned i = 0; i < 5000; i++) {
		memcpy(id + 1, &i, sizeof(i));
		limits_identify(l, "ip:192.0.2.8", false, id, T0 + i, &w);
		assert_int_equal(w.bucket, LIMIT_COOKIE);
	}
	limits_identify(l, "ip:192.0.2.7", false, cookie, T0, &w);
	assert_int_equal(w.bucket, LIMIT_STRANGER);
	limits_free(l);
}

static void addresses_of_one_household_are_one_source(void **state)
{
	static const struct {
		const char *a, *b;
		bool is_same;
	} cases[] = {
		{ "ip:192.0.2.7", "ip:192.0.2.7", true },
		{ "ip:192.0.2.7", "ip:192.0.2.8", false },
		{ "ip:192.0.2.7", "ip:::ffff:192.0.2.7", true },
		{ "ip:2001:db8:1:2::1", "ip:2001:db8:1:2:ffff:ffff:ffff:ffff", true },
		{ "ip:2001:db8:1:2::1", "ip:2001:db8:1:3::1", false },
		{ "ip:fe80::1%2", "ip:fe80::1%2", true },
		{ "ip:fe80::1%2", "ip:fe80::2%2", false },
		{ "ip:fe80::1%2", "ip:fe80::1%3", false },
		{ "ip:not-an-address", "ip:not-an-address", true },
		{ "ip:not-an-address", "ip:other", false },
		{ "unix:1000", "unix:1001", false },
	};
	struct limits *l = make(0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(who(l, cases[i].a, T0).key == who(l, cases[i].b, T0).key, cases[i].is_same);
	limits_free(l);
}

static void a_flood_of_sources_neither_crashes_nor_frees_the_slow_one(void **state)
{
	struct limits *l = make(0);
	struct limit_who slow = who(l, "unix:1", T0);
	unsigned retry_s;

	(void)state;
	assert_int_equal(limits_admit(l, &slow, T0, &retry_s), 0);	/* stays under way */
	for (unsigned i = 0; i < 20000; i++) {
		char source[32];
		struct limit_who w;

		snprintf(source, sizeof(source), "unix:%u", 1000 + i);
		w = who(l, source, T0);
		assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
		limits_failed(l, &w, T0);
	}
	assert_int_equal(limits_admit(l, &slow, T0 + 1, &retry_s), -EDQUOT);
	limits_failed(l, &slow, T0 + 1);
	assert_int_equal(limits_get_failures(l), 20001);
	limits_free(l);
}

static void with_the_table_full_of_busy_sources_the_rest_share_one_place(void **state)
{
	struct limits *l = make(0);
	unsigned n_allowed = 0, retry_s;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		char source[32];
		struct limit_who w;

		snprintf(source, sizeof(source), "unix:%u", i);
		w = who(l, source, T0);
		n_allowed += limits_admit(l, &w, T0, &retry_s) == 0;	/* never finished */
	}
	assert_true(n_allowed <= 1025);
	assert_true(n_allowed > 900);
	limits_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_gives_the_known_answers),
		cmocka_unit_test(one_source_has_three_tries_and_then_waits_twice_as_long_each_time),
		cmocka_unit_test(strangers_together_have_ten_tries_and_then_one_in_thirty_seconds),
		cmocka_unit_test(after_100_failures_strangers_stay_out_but_nobody_else_does),
		cmocka_unit_test(tries_under_way_count_towards_the_hundred),
		cmocka_unit_test(a_power_cycle_gains_nothing),
		cmocka_unit_test(after_a_start_with_failures_the_console_waits_too),
		cmocka_unit_test(the_console_waits_three_seconds_after_each_failure),
		cmocka_unit_test(a_success_needs_no_wait_and_clears_the_count),
		cmocka_unit_test(what_could_not_be_found_out_is_not_counted),
		cmocka_unit_test(a_source_has_one_try_at_a_time),
		cmocka_unit_test(a_known_browser_has_ten_failures_an_hour_and_is_a_stranger_then),
		cmocka_unit_test(many_cookies_do_not_wash_a_void_one_clean),
		cmocka_unit_test(addresses_of_one_household_are_one_source),
		cmocka_unit_test(a_flood_of_sources_neither_crashes_nor_frees_the_slow_one),
		cmocka_unit_test(with_the_table_full_of_busy_sources_the_rest_share_one_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
