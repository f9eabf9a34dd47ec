/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agentd/common/fields.h"
#include "base/macro.h"

struct world {
	sd_bus *bus;
	int other_fd;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	assert_true(sd_bus_new(&w->bus) >= 0 && sd_bus_set_fd(w->bus, fds[0], fds[0]) >= 0 && sd_bus_start(w->bus) >= 0);
	w->other_fd = fds[1];
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	sd_bus_close(w->bus);
	sd_bus_unref(w->bus);
	close(w->other_fd);
	free(w);
	return 0;
}

static sd_bus_message *begin(struct world *w)
{
	sd_bus_message *m = NULL;

	assert_true(sd_bus_message_new_method_call(w->bus, &m, NULL, "/test", "org.libagent.Test", "Test") >= 0);
	return m;
}

static void end(sd_bus_message *m)
{
	assert_true(sd_bus_message_append(m, "u", 7) >= 0);
	assert_true(sd_bus_message_seal(m, 1, 0) >= 0 && sd_bus_message_rewind(m, 1) >= 0);
}

struct target {
	char text[8], whole[8];
	const char *ref;
	uint64_t number;
	bool truth;
};

static int read_target(sd_bus_message *m, struct target *t)
{
	const struct field fields[] = {
		FIELD_MEMBER(FIELD_TEXT, t, text),	   FIELD_MEMBER(FIELD_WHOLE_TEXT, t, whole), { "ref", FIELD_TEXT_REF, &t->ref, 0 },
		{ "number", FIELD_NUMBER, &t->number, 0 }, { "truth", FIELD_TRUTH, &t->truth, 0 },
	};

	return fields_read(m, fields, ARRAY_SIZE(fields));
}

static void test_each_kind(void **state)
{
	struct target t = { "" };
	sd_bus_message *m = begin(*state);
	uint32_t behind = 0;

	assert_true(sd_bus_message_append(m, "a{sv}", 6, "text", "s", "1234567", "whole", "s", "abcdefg", "ref", "s", "long enough", "number", "t", UINT64_MAX,
					  "truth", "b", 1, "unknown", "as", 2, "x", "y") >= 0);
	end(m);
	assert_true(read_target(m, &t) >= 0);
	assert_string_equal(t.text, "1234567");
	assert_string_equal(t.whole, "abcdefg");
	assert_string_equal(t.ref, "long enough");
	assert_true(t.number == UINT64_MAX && t.truth);
	/* It stands behind the dictionary. */
	assert_true(sd_bus_message_read(m, "u", &behind) > 0 && behind == 7);
	sd_bus_message_unref(m);
}

static void test_too_long(void **state)
{
	struct target t = { .text = "old", .whole = "old" };
	sd_bus_message *m = begin(*state);

	assert_true(sd_bus_message_append(m, "a{sv}", 2, "text", "s", "12345678", "whole", "s", "abcdefgh") >= 0);
	end(m);
	assert_true(read_target(m, &t) >= 0);
	assert_string_equal(t.text, "1234567");
	assert_string_equal(t.whole, "");
	sd_bus_message_unref(m);
}

static void test_other_types_are_passed_over(void **state)
{
	struct target t = { .text = "old", .number = 5 };
	sd_bus_message *m = begin(*state);
	uint32_t behind = 0;

	assert_true(sd_bus_message_append(m, "a{sv}", 4, "text", "t", UINT64_C(1), "number", "s", "9", "truth", "t", UINT64_C(1), "ref", "b", 1) >= 0);
	end(m);
	assert_true(read_target(m, &t) >= 0);
	assert_string_equal(t.text, "old");
	assert_true(t.number == 5 && !t.truth && t.ref == NULL);
	assert_true(sd_bus_message_read(m, "u", &behind) > 0 && behind == 7);
	sd_bus_message_unref(m);
}

static void test_no_dictionary(void **state)
{
	struct target t = { "" };
	sd_bus_message *m = begin(*state);

	end(m);
	assert_true(read_target(m, &t) < 0);
	sd_bus_message_unref(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_kind, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_types_are_passed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_dictionary, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
