/* SPDX-License-Identifier: Apache-2.0 */
/* Commands from the cloud: the text, what it has to fit, and that none is taken twice. */
#include "config.h"

#include "test.h"

#include <errno.h>

#include "agentd/common/command.h"
#include "agentd/core/command_check.h"
#include "agentd/core/command_window.h"
#include "agentd/core/dispatch.h"

/* The tables are compared; no handler runs here. */
#define OP(method, handler, programs, gate, role, in, out)                                \
	int handler(struct core *core, struct op_call *call, struct agent_error **err) \
	{                                                                                 \
		return -ENOSYS;                                                           \
	}
#include "agentd/common/operations.def"
#undef OP

#define NOW_S UINT64_C(1800000000)
#define AHEAD_S 900

/* ---- the text ------------------------------------------------------------------------------------------------------ */

#define HEAD "{\"profile\":\"agent-command-1\",\"id\":\"a-new-id\",\"device\":\"GW-0001\",\"expires\":1800000060,"
#define STATUS HEAD "\"command\":\"status\"}"

static const struct {
	const char *claim, *json, *error; /* NULL: accepted */
} cases[] = {
	{ "the least", STATUS, NULL },
	{ "no arguments, said", HEAD "\"command\":\"status\",\"arguments\":{}}", NULL },
	{ "arguments", HEAD "\"command\":\"events\",\"arguments\":{\"after\":7,\"limit\":50}}", NULL },
	{ "nothing", "", "args.syntax" },
	{ "an array", "[]", "args.type" },
	{ "a cut one", "{\"profile\":\"agent-command-1\"", "args.syntax" },
	{ "something behind it", STATUS "x", "args.syntax" },
	{ "another profile", "{\"profile\":\"agent-provisioning-1\",\"id\":\"a-new-id\",\"device\":\"G\",\"expires\":1,\"command\":\"status\"}", "command.profile" },
	{ "no profile", "{\"id\":\"a-new-id\",\"device\":\"G\",\"expires\":1,\"command\":\"status\"}", "args.missing" },
	{ "no id", "{\"profile\":\"agent-command-1\",\"device\":\"G\",\"expires\":1,\"command\":\"status\"}", "args.missing" },
	{ "an id that is too short", "{\"profile\":\"agent-command-1\",\"id\":\"short\",\"device\":\"G\",\"expires\":1,\"command\":\"status\"}", "args.value" },
	{ "an id with a blank", "{\"profile\":\"agent-command-1\",\"id\":\"a new id\",\"device\":\"G\",\"expires\":1,\"command\":\"status\"}", "args.value" },
	{ "no end", "{\"profile\":\"agent-command-1\",\"id\":\"a-new-id\",\"device\":\"G\",\"command\":\"status\"}", "args.missing" },
	{ "an end that is text", "{\"profile\":\"agent-command-1\",\"id\":\"a-new-id\",\"device\":\"G\",\"expires\":\"1\",\"command\":\"status\"}", "args.type" },
	{ "an end below zero", "{\"profile\":\"agent-command-1\",\"id\":\"a-new-id\",\"device\":\"G\",\"expires\":-1,\"command\":\"status\"}", "args.value" },
	{ "an end beyond all ends", "{\"profile\":\"agent-command-1\",\"id\":\"a-new-id\",\"device\":\"G\",\"expires\":9223372036854775807,\"command\":\"status\"}",
	  "args.value" },
	{ "no device", "{\"profile\":\"agent-command-1\",\"id\":\"a-new-id\",\"expires\":1,\"command\":\"status\"}", "args.missing" },
	{ "a command that is none", HEAD "\"command\":\"password.set\"}", "command.unknown" },
	{ "an operation's name", HEAD "\"command\":\"StatusGet\"}", "args.value" },
	{ "a member twice", HEAD "\"command\":\"status\",\"command\":\"status\"}", "args.duplicate" },
	{ "an argument twice", HEAD "\"command\":\"events\",\"arguments\":{\"after\":7,\"after\":8,\"limit\":50}}", "args.duplicate" },
	{ "an unknown member", HEAD "\"command\":\"status\",\"role\":\"admin\"}", "args.unknown" },
	{ "an unknown argument", HEAD "\"command\":\"status\",\"arguments\":{\"role\":\"admin\"}}", "args.unknown" },
	{ "a missing argument", HEAD "\"command\":\"events\",\"arguments\":{\"after\":7}}", "args.missing" },
	{ "no arguments where some are needed", HEAD "\"command\":\"events\"}", "args.missing" },
	{ "an argument out of range", HEAD "\"command\":\"events\",\"arguments\":{\"after\":7,\"limit\":51}}", "args.value" },
	{ "text for a number", HEAD "\"command\":\"events\",\"arguments\":{\"after\":\"7\",\"limit\":50}}", "args.type" },
	{ "a number for text", HEAD "\"command\":\"update.approve\",\"arguments\":{\"release_id\":7}}", "args.type" },
	{ "a value that is not among them", HEAD "\"command\":\"update.policy\",\"arguments\":{\"policy\":\"never\"}}", "args.value" },
	{ "arguments that are a list", HEAD "\"command\":\"status\",\"arguments\":[]}", "args.type" },
	{ "a NUL", HEAD "\"command\":\"stat\\u0000us\"}", "args.syntax" },
	{ "too deep", HEAD "\"command\":\"status\",\"arguments\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}", "args.depth" },
};

static void texts_are_taken_apart_or_refused_for_their_reason(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		char id[COMMAND_ID_MAX + 1];
		struct command c;
		int r = command_parse(cases[i].json, strlen(cases[i].json), &c, id, &err);

		if (cases[i].error == NULL ? r < 0 : r >= 0 || strcmp(agent_error_name(err), cases[i].error) != 0)
			fail_msg("%s: %d %s", cases[i].claim, r, err == NULL ? "accepted" : agent_error_message(err));
		if (cases[i].error == NULL)
			assert_string_equal(id, "a-new-id");
	}
}

static void what_was_taken_apart_is_what_was_written(void **state)
{
	const char *json = HEAD "\"command\":\"events\",\"arguments\":{\"limit\":9,\"after\":4294967297}}";
	char id[COMMAND_ID_MAX + 1];
	struct command c;

	assert_int_equal(command_parse(json, strlen(json), &c, id, NULL), 0);
	assert_string_equal(c.id, "a-new-id");
	assert_string_equal(c.device, "GW-0001");
	assert_int_equal(c.expires_s, NOW_S + 60);
	assert_string_equal(c.type->operation, "EventsGet");
	assert_int_equal(command_number(&c, 0), UINT64_C(4294967297)); /* in the order of the table */
	assert_int_equal(command_number(&c, 1), 9);
}

static void an_id_is_known_for_the_answer_also_when_the_rest_is_wrong(void **state)
{
	const char *json = HEAD "\"command\":\"nothing\"}";
	char id[COMMAND_ID_MAX + 1];
	struct command c;

	assert_true(command_parse(json, strlen(json), &c, id, NULL) < 0);
	assert_string_equal(id, "a-new-id");
}

static void a_long_text_is_refused_before_it_is_read(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	char *json = malloc(AGENT_COMMAND_MAX + 64), id[COMMAND_ID_MAX + 1];
	struct command_message m;
	struct command c;

	assert_non_null(json);
	strcpy(json, STATUS);
	memset(json + strlen(STATUS), ' ', AGENT_COMMAND_MAX + 64 - strlen(STATUS));
	assert_int_equal(command_parse(json, AGENT_COMMAND_MAX, &c, id, NULL), 0);
	assert_true(command_parse(json, AGENT_COMMAND_MAX + 1, &c, id, &err) < 0);
	assert_error(&err, -EMSGSIZE, "command.size");
	assert_true(command_message_parse(json, COMMAND_MESSAGE_MAX + 1, &m, &err) < 0);
	assert_error(&err, -EMSGSIZE, "command.size");
	command_message_clear(&m);
	free(json);
}

static void words_of_the_bus_are_checked_like_those_of_the_text(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	char *good[] = { (char *)(uintptr_t)"7", (char *)(uintptr_t)"50", NULL }, *few[] = { good[0], NULL }, *many[] = { good[0], good[1], good[0], NULL };
	char *bad[] = { good[0], (char *)(uintptr_t)"0x9", NULL }, *signs[] = { (char *)(uintptr_t)"-1", good[1], NULL }, *none[] = { NULL };
	char longest[200];
	struct command c;

	assert_int_equal(command_from_words("a-new-id", "GW-0001", NOW_S, "events", good, &c, NULL), 0);
	assert_int_equal(command_number(&c, 1), 50);
	assert_int_equal(command_from_words("a-new-id", "GW-0001", NOW_S, "events", few, &c, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "args.missing");
	assert_int_equal(command_from_words("a-new-id", "GW-0001", NOW_S, "events", many, &c, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "args.unknown");
	assert_int_equal(command_from_words("a-new-id", "GW-0001", NOW_S, "events", bad, &c, &err), -EINVAL);
	assert_error(&err, -EINVAL, "args.value");
	assert_int_equal(command_from_words("a-new-id", "GW-0001", NOW_S, "events", signs, &c, &err), -EINVAL);
	assert_error(&err, -EINVAL, "args.value");
	assert_int_equal(command_from_words("a-new-id", "GW-0001", NOW_S, "nothing", none, &c, &err), -EINVAL);
	assert_error(&err, -EINVAL, "command.unknown");
	assert_int_equal(command_from_words("x", "GW-0001", NOW_S, "status", none, &c, &err), -EINVAL);
	assert_error(&err, -EINVAL, "args.value");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(command_from_words(longest, "GW-0001", NOW_S, "status", none, &c, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "args.length");
	assert_int_equal(command_from_words("a-new-id", longest, NOW_S, "status", none, &c, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "args.length");
}

/* base64 of STATUS, by coreutils. */
static const struct {
	const char *claim, *json, *error;
} envelopes[] = {
	{ "a signature that is missing", "{\"signed\":\"e30=\"}", "args.missing" },
	{ "a text that is missing", "{\"signature\":\"e30=\"}", "args.missing" },
	{ "more than the two", "{\"signed\":\"e30=\",\"signature\":\"e30=\",\"id\":\"a-new-id\"}", "args.unknown" },
	{ "a member nobody knows", "{\"signed\":\"e30=\",\"signature\":\"e30=\",\"x\":1}", "args.unknown" },
	{ "blanks in base64", "{\"signed\":\"e3 0=\",\"signature\":\"e30=\"}", "command.base64" },
	{ "padding in the middle", "{\"signed\":\"e3=0\",\"signature\":\"e30=\"}", "command.base64" },
	{ "three signs of padding", "{\"signed\":\"e===\",\"signature\":\"e30=\"}", "command.base64" },
	{ "three letters", "{\"signed\":\"e30=\",\"signature\":\"e30=e30\"}", "command.base64" },
	{ "the URL's letters", "{\"signed\":\"e3-_\",\"signature\":\"e30=\"}", "command.base64" },
	{ "a text that is no command", "{\"signed\":\"e30=\",\"signature\":\"e30=\"}", "args.missing" },
	{ "both in one", "{\"profile\":\"agent-command-1\",\"signed\":\"e30=\",\"signature\":\"e30=\"}", "args.unknown" },
};

static void envelopes_are_opened_or_refused_for_their_reason(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct command_message m;
	const char *good = "{\"signature\":\"AAEC\",\"signed\":\"eyJwcm9maWxlIjoiYWdlbnQtY29tbWFuZC0xIiwiaWQiOiJhLW5ldy1pZCIsImRldmljZSI6IkdXLTAwMDEiLCJleHBpcmVz"
			   "IjoxODAwMDAwMDYwLCJjb21tYW5kIjoic3RhdHVzIn0=\"}";

	if (command_message_parse(good, strlen(good), &m, &err) < 0)
		fail_msg("%s", agent_error_message(err));
	assert_true(m.is_signed);
	assert_int_equal(m.text_size, strlen(STATUS));
	assert_memory_equal(m.text, STATUS, m.text_size);
	assert_int_equal(m.signature_size, 3);
	assert_memory_equal(m.signature, "\0\1\2", 3);
	assert_string_equal(m.command.type->name, "status");
	command_message_clear(&m);
	assert_int_equal(command_message_parse(STATUS, strlen(STATUS), &m, NULL), 0);
	assert_false(m.is_signed);
	command_message_clear(&m);
	for (size_t i = 0; i < ARRAY_SIZE(envelopes); i++) {
		int r = command_message_parse(envelopes[i].json, strlen(envelopes[i].json), &m, &err);

		if (r >= 0 || strcmp(agent_error_name(err), envelopes[i].error) != 0)
			fail_msg("%s: %d %s", envelopes[i].claim, r, err == NULL ? "accepted" : agent_error_message(err));
		err = agent_error_free(err);
		command_message_clear(&m);
	}
}

static const struct operation *find(const char *method)
{
	for (size_t i = 0; i < n_operations; i++)
		if (strcmp(operations[i].method, method) == 0)
			return &operations[i];
	return NULL;
}

/* What a row of commands.def says has to be what its operation is. */
static void every_command_is_an_operation_with_these_arguments_and_this_role(void **state)
{
	for (size_t i = 0; i < n_command_types; i++) {
		const struct command_type *type = &command_types[i];
		const struct operation *op = find(type->operation);
		size_t n = 0;

		if (op == NULL || op->role != type->role || strncmp(op->in, "(sus)", 5) != 0)
			fail_msg("%s: %s is no such operation", type->name, type->operation);
		for (; type->args[n].name != NULL; n++) {
			char want = op->in[5 + n];

			assert_true(type->args[n].type == ARG_TEXT ? want == 's' : type->args[n].type == ARG_NUMBER && (want == 't' || want == 'u'));
			assert_true(type->args[n].type == ARG_TEXT || want == 't' || type->args[n].max <= UINT32_MAX);
			assert_true(type->args[n].is_required);
		}
		assert_int_equal(op->in[5 + n], '\0');
		assert_true(n <= COMMAND_ARGS_MAX);
		assert_true(strlen(type->name) <= COMMAND_NAME_MAX);
		/* One value, or none. */
		assert_true(strcmp(op->out, "") == 0 || strcmp(op->out, "a{sv}") == 0 || strcmp(op->out, "aa{sv}") == 0);
	}
}

/* ---- device and time ---------------------------------------------------------------------------------------------- */

static void device_and_time_are_checked(void **state)
{
	static const struct {
		uint64_t expires_s;
		enum agent_time_state time_state;
		const char *device, *error, *word;
	} checks[] = {
		{ NOW_S + 1, AGENT_TIME_AUTHENTICATED, "GW-0001", NULL, NULL },
		{ NOW_S + AHEAD_S, AGENT_TIME_NETWORK, "GW-0001", NULL, NULL },
		{ NOW_S + 1, AGENT_TIME_FLOOR, "GW-0001", NULL, NULL },
		{ NOW_S + 1, AGENT_TIME_NONE, "GW-0001", "command.clock", "clock" },
		{ NOW_S, AGENT_TIME_NETWORK, "GW-0001", "command.expired", "clock here" },
		{ NOW_S - 1, AGENT_TIME_FLOOR, "GW-0001", "command.expired", "nothing confirms the clock" },
		{ NOW_S + AHEAD_S + 1, AGENT_TIME_NETWORK, "GW-0001", "command.too-far", "900" },
		{ UINT64_C(1) << 53, AGENT_TIME_FLOOR, "GW-0001", "command.too-far", "nothing confirms the clock" },
		{ NOW_S + 1, AGENT_TIME_NETWORK, "GW-0002", "command.device", "GW-0002" },
		{ NOW_S + 1, AGENT_TIME_NETWORK, "gw-0001", "command.device", "GW-0001" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct agent_time_reading now = { .state = checks[i].time_state, .now_s = NOW_S };
		struct command c = { .expires_s = checks[i].expires_s };
		int r;

		strcpy(c.device, checks[i].device);
		r = command_check(&c, "GW-0001", &now, AHEAD_S, &err);
		if (checks[i].error == NULL ? r < 0 : r >= 0 || strcmp(agent_error_name(err), checks[i].error) != 0 ||
							      strstr(agent_error_message(err), checks[i].word) == NULL)
			fail_msg("%zu: %d %s", i, r, err == NULL ? "accepted" : agent_error_message(err));
	}
}

/* ---- none twice --------------------------------------------------------------------------------------------------- */

static struct temp_dir dir;
static struct command_window *window;

static void again(void)
{
	window = command_window_close(window);
	assert_int_equal(command_window_open(dir.fd, &window, NULL), 0);
}

static int setup(void **state)
{
	temp_dir_make(&dir);
	again();
	return 0;
}

static int teardown(void **state)
{
	window = command_window_close(window);
	temp_dir_remove(&dir);
	return 0;
}

static int take(unsigned n, uint64_t expires_s, uint64_t now_s, struct agent_error **err)
{
	char id[32];

	snprintf(id, sizeof(id), "command-%u", n);
	return command_window_take(window, id, expires_s, now_s, AHEAD_S, 0, err);
}

static void refused(unsigned n, uint64_t expires_s, uint64_t now_s, int r, const char *name)
{
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(take(n, expires_s, now_s, &err), r);
	assert_error(&err, r, name);
}

static void an_id_is_taken_once_also_after_a_restart(void **state)
{
	assert_int_equal(take(1, NOW_S + 60, NOW_S, NULL), 0);
	refused(1, NOW_S + 60, NOW_S, -EEXIST, "command.replayed");
	refused(1, NOW_S + 90, NOW_S, -EEXIST, "command.replayed");
	again();
	refused(1, NOW_S + 60, NOW_S, -EEXIST, "command.replayed");
	assert_int_equal(take(2, NOW_S + 60, NOW_S, NULL), 0);
	again();
	refused(2, NOW_S + 60, NOW_S, -EEXIST, "command.replayed");
}

static void a_full_window_takes_none_before_one_has_ended(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;

	for (unsigned i = 0; i < COMMAND_WINDOW_SLOTS; i++)
		assert_int_equal(take(i, NOW_S + 60 + i, NOW_S, NULL), 0);
	refused(9000, NOW_S + 800, NOW_S, -EBUSY, "command.window");
	/* What has ended by then makes room for others, but not for those who have to leave some. */
	assert_int_equal(command_window_take(window, "left-for-others", NOW_S + 800, NOW_S + 61, AHEAD_S, COMMAND_WINDOW_SLOTS / 2, &err), -EBUSY);
	assert_error(&err, -EBUSY, "command.window");
	again();
	refused(9000, NOW_S + 800, NOW_S + 59, -EBUSY, "command.window");
	for (unsigned i = 0; i < COMMAND_WINDOW_SLOTS; i++)
		refused(i, NOW_S + 60 + i, NOW_S, -EEXIST, "command.replayed");
	assert_int_equal(take(9000, NOW_S + 800, NOW_S + 60, NULL), 0);
	refused(9001, NOW_S + 800, NOW_S + 60, -EBUSY, "command.window");
}

/* A clock that is set back must not bring back what has been forgotten. */
static void what_was_forgotten_stays_refused_when_the_clock_goes_back(void **state)
{
	for (unsigned i = 0; i < COMMAND_WINDOW_SLOTS; i++)
		assert_int_equal(take(i, NOW_S + 60, NOW_S, NULL), 0);
	assert_int_equal(take(9000, NOW_S + 200, NOW_S + 100, NULL), 0); /* in the place of one of them */
	for (int turn = 0; turn < 2; turn++) {
		for (unsigned i = 0; i < COMMAND_WINDOW_SLOTS; i++) {
			_cleanup_error_ struct agent_error *err = NULL;
			int r = take(i, NOW_S + 60, NOW_S, &err);

			assert_true(r == -EEXIST || r == -ESTALE);
			assert_string_equal(agent_error_name(err), r == -EEXIST ? "command.replayed" : "command.forgotten");
		}
		refused(9001, NOW_S + 60, NOW_S, -ESTALE, "command.forgotten");
		again();
	}
	assert_int_equal(take(9002, NOW_S + 61, NOW_S + 60, NULL), 0);
}

static void damage(off_t at, size_t size)
{
	int fd = openat(dir.fd, COMMAND_WINDOW_FILE, O_RDWR | O_CLOEXEC);
	char bytes[64];

	assert_true(fd >= 0 && size <= sizeof(bytes));
	memset(bytes, 0xa5, sizeof(bytes));
	assert_int_equal(pwrite(fd, bytes, size, at), (ssize_t)size);
	close(fd);
}

static void any_damage_is_answered_by_silence_until_all_has_ended(void **state)
{
	for (off_t at = 0; at < 64; at += 7) {
		assert_int_equal(take(1000 + (unsigned)at, NOW_S + 60 + (uint64_t)at * 3 * AHEAD_S, NOW_S + (uint64_t)at * 3 * AHEAD_S, NULL), 0);
		damage(at, 1); /* of the first record, whichever is in it */
		again();
		refused(2000 + (unsigned)at, NOW_S + (uint64_t)at * 3 * AHEAD_S + AHEAD_S, NOW_S + (uint64_t)at * 3 * AHEAD_S, -ESTALE, "command.forgotten");
		again();
		refused(2000 + (unsigned)at, NOW_S + (uint64_t)at * 3 * AHEAD_S + AHEAD_S, NOW_S + (uint64_t)at * 3 * AHEAD_S, -ESTALE, "command.forgotten");
		/* Known in the process, so that it ends by itself. */
		assert_int_equal(take(3000 + (unsigned)at, NOW_S + (uint64_t)at * 3 * AHEAD_S + 2 * AHEAD_S, NOW_S + (uint64_t)at * 3 * AHEAD_S + AHEAD_S + 1, NULL), 0);
		again();
	}
}

static void a_file_of_another_size_counts_as_damaged_and_is_made_anew(void **state)
{
	assert_int_equal(take(1, NOW_S + 60, NOW_S, NULL), 0);
	{
		int fd = openat(dir.fd, COMMAND_WINDOW_FILE, O_RDWR | O_CLOEXEC);

		assert_int_equal(ftruncate(fd, 100), 0);
		close(fd);
	}
	/* What was made in its place forgot the damage no more than the file itself. */
	for (int i = 0; i < 3; i++) {
		again();
		refused(1, NOW_S + 60, NOW_S, -ESTALE, "command.forgotten");
		refused(2, NOW_S + AHEAD_S, NOW_S, -ESTALE, "command.forgotten");
	}
	assert_int_equal(take(2, NOW_S + AHEAD_S + 1, NOW_S + 1, NULL), 0);
	again();
	refused(1, NOW_S + 60, NOW_S, -ESTALE, "command.forgotten");
	assert_int_equal(take(3, NOW_S + AHEAD_S + 1, NOW_S + 1, NULL), 0);
}

/* Killed while the file was made: nothing had been taken, so there is nothing to fear. */
static void an_empty_file_is_a_new_one(void **state)
{
	int fd = openat(dir.fd, COMMAND_WINDOW_FILE, O_RDWR | O_CLOEXEC);

	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	again();
	assert_int_equal(take(1, NOW_S + 60, NOW_S, NULL), 0);
}

static void what_is_no_file_is_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;

	window = command_window_close(window);
	assert_int_equal(unlinkat(dir.fd, COMMAND_WINDOW_FILE, 0), 0);
	assert_int_equal(mkdirat(dir.fd, COMMAND_WINDOW_FILE, 0700), 0);
	assert_int_equal(command_window_open(dir.fd, &window, &err), -EISDIR);
	assert_error(&err, -EISDIR, "command.window");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_taken_apart_or_refused_for_their_reason),
		cmocka_unit_test(what_was_taken_apart_is_what_was_written),
		cmocka_unit_test(an_id_is_known_for_the_answer_also_when_the_rest_is_wrong),
		cmocka_unit_test(a_long_text_is_refused_before_it_is_read),
		cmocka_unit_test(words_of_the_bus_are_checked_like_those_of_the_text),
		cmocka_unit_test(envelopes_are_opened_or_refused_for_their_reason),
		cmocka_unit_test(every_command_is_an_operation_with_these_arguments_and_this_role),
		cmocka_unit_test(device_and_time_are_checked),
		cmocka_unit_test_setup_teardown(an_id_is_taken_once_also_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_window_takes_none_before_one_has_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_forgotten_stays_refused_when_the_clock_goes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(any_damage_is_answered_by_silence_until_all_has_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_of_another_size_counts_as_damaged_and_is_made_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_file_is_a_new_one, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_file_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
