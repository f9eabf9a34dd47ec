/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/common/args.h"

static const struct arg_rule rules[] = {
	{ "user", ARG_TEXT, true, 8, 1 },
	{ "count", ARG_NUMBER, false, 9, 2 },
	{ "force", ARG_TRUTH, false },
	{ "hex", ARG_TEXT, false, 8, .bytes = "0-9a-f-" },
	{ "kind", ARG_TEXT, false, 8, .values = "one two" },
	{ "kinds", ARG_TEXTS, false, 8, .values = "one two" },
	{ NULL },
};

#define DEEP16 "[[[[[[[[[[[[[[[["
static const struct {
	const char *claim, *json, *error;	/* error NULL: accepted */
} cases[] = {
	{ "the least", "{\"user\":\"a\"}", NULL },
	{ "everything", "{\"user\":\"a\",\"count\":3,\"force\":true}", NULL },
	{ "white space", " {\n\"user\" : \"a\"\t} ", NULL },
	{ "just long enough", "{\"user\":\"12345678\"}", NULL },
	{ "a surrogate pair", "{\"user\":\"\\ud83d\\ude00\"}", NULL },
	{ "brackets inside a text are no depth", "{\"user\":\"[[{{\\\"[[\"}", NULL },
	{ "nothing", "", "args.syntax" },
	{ "null", "null", "args.syntax" },
	{ "an array", "[\"user\"]", "args.type" },
	{ "a text", "\"user\"", "args.syntax" },
	{ "a missing member", "{}", "args.missing" },
	{ "an unknown member", "{\"user\":\"a\",\"admin\":true}", "args.unknown" },
	{ "a member twice", "{\"user\":\"a\",\"user\":\"b\"}", "args.duplicate" },
	{ "a member twice, once in disguise", "{\"user\":\"a\",\"\\u0075ser\":\"b\"}", "args.duplicate" },
	{ "a number for a text", "{\"user\":1}", "args.type" },
	{ "null for a text", "{\"user\":null}", "args.type" },
	{ "a text for a number", "{\"user\":\"a\",\"count\":\"3\"}", "args.type" },
	{ "a fraction for a number", "{\"user\":\"a\",\"count\":3.5}", "args.type" },
	{ "a number with exponent", "{\"user\":\"a\",\"count\":1e2}", "args.type" },
	{ "a number beyond 64 bits", "{\"user\":\"a\",\"count\":99999999999999999999}", "args.syntax" },
	{ "a fraction beyond all bounds", "{\"user\":\"a\",\"count\":1e999}", "args.syntax" },
	{ "a leading zero", "{\"user\":\"a\",\"count\":03}", "args.syntax" },
	{ "a plus sign", "{\"user\":\"a\",\"count\":+3}", "args.syntax" },
	{ "NaN", "{\"user\":\"a\",\"count\":NaN}", "args.syntax" },
	{ "one for true", "{\"user\":\"a\",\"force\":1}", "args.type" },
	{ "a long text", "{\"user\":\"123456789\"}", "args.length" },
	{ "as many characters as bytes are allowed, of two bytes each", "{\"user\":\"\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\"}", NULL },
	{ "an empty text where one is needed", "{\"user\":\"\"}", "args.value" },
	{ "the least number", "{\"user\":\"a\",\"count\":2}", NULL },
	{ "a number below", "{\"user\":\"a\",\"count\":1}", "args.value" },
	{ "a number above", "{\"user\":\"a\",\"count\":10}", "args.value" },
	{ "a negative number", "{\"user\":\"a\",\"count\":-3}", "args.value" },
	{ "bytes that are allowed", "{\"user\":\"a\",\"hex\":\"0f-9a\"}", NULL },
	{ "a byte that is not", "{\"user\":\"a\",\"hex\":\"0g\"}", "args.value" },
	{ "a byte beyond ASCII", "{\"user\":\"a\",\"hex\":\"\\u00e4\"}", "args.value" },
	{ "one of the values", "{\"user\":\"a\",\"kind\":\"two\"}", NULL },
	{ "the beginning of one", "{\"user\":\"a\",\"kind\":\"tw\"}", "args.value" },
	{ "two at once", "{\"user\":\"a\",\"kind\":\"one two\"}", "args.value" },
	{ "no value", "{\"user\":\"a\",\"kind\":\"\"}", "args.value" },
	{ "a list of values", "{\"user\":\"a\",\"kinds\":[\"one\",\"two\"]}", NULL },
	{ "a list with another one", "{\"user\":\"a\",\"kinds\":[\"one\",\"three\"]}", "args.value" },
	{ "an object for a text", "{\"user\":{\"a\":\"b\"}}", "args.type" },
	{ "half a surrogate pair", "{\"user\":\"\\ud83d\"}", "args.syntax" },
	{ "a pair in the wrong order", "{\"user\":\"\\ude00\\ud83d\"}", "args.syntax" },
	{ "an escaped NUL", "{\"user\":\"a\\u0000b\"}", "args.syntax" },
	{ "invalid UTF-8", "{\"user\":\"\xff\"}", "args.syntax" },
	{ "overlong UTF-8", "{\"user\":\"\xc0\xaf\"}", "args.syntax" },
	{ "a surrogate in UTF-8", "{\"user\":\"\xed\xa0\x80\"}", "args.syntax" },
	{ "a raw control character", "{\"user\":\"a\nb\"}", "args.syntax" },
	{ "a trailing comma", "{\"user\":\"a\",}", "args.syntax" },
	{ "single quotes", "{'user':'a'}", "args.syntax" },
	{ "a comment", "{\"user\":\"a\"/**/}", "args.syntax" },
	{ "a second document", "{\"user\":\"a\"}{}", "args.syntax" },
	{ "a byte order mark", "\xef\xbb\xbf{\"user\":\"a\"}", "args.syntax" },
	{ "an open end", "{\"user\":\"a\"", "args.syntax" },
	{ "an open text", "{\"user\":\"a", "args.syntax" },
	{ "a backslash at the end", "{\"user\":\"a\\", "args.syntax" },
	{ "17 levels", "{\"user\":" DEEP16, "args.depth" },
	{ "17 levels after closed ones", "[[]," DEEP16, "args.depth" },
};

static void bad_arguments_are_refused_and_good_ones_are_not(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct agent_error *err = NULL;
		json_t *args = NULL;
		int r = args_parse(cases[i].json, strlen(cases[i].json), rules, &args, &err);

		if (cases[i].error == NULL ? r != 0 : r >= 0 || strcmp(agent_error_name(err), cases[i].error) != 0)
			fail_msg("%s: %d %s", cases[i].claim, r, agent_error_name(err));
		agent_error_free(err);
		args_free(args);
	}
}

static void a_nul_byte_is_refused(void **state)
{
	struct agent_error *err = NULL;
	json_t *args = NULL;

	assert_int_equal(args_parse("{\"user\":\"a\"}\0", 13, rules, &args, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "args.syntax");
	assert_int_equal(args_parse("{\"user\":\"a\0b\"}", 14, rules, &args, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "args.syntax");
}

static void an_error_does_not_repeat_what_was_sent(void **state)
{
	static const char json[] = "{\"user\":\"secret\" \"secret\"}";
	struct agent_error *err = NULL;
	json_t *args = NULL;

	assert_int_equal(args_parse(json, sizeof(json) - 1, rules, &args, &err), -EBADMSG);
	assert_null(strstr(agent_error_message(err), "secret"));
	agent_error_free(err);
}

static void what_is_wrong_with_a_number_or_a_text_is_said(void **state)
{
	static const struct {
		const char *json, *sentence;
	} texts[] = {
		{ "{\"user\":\"a\",\"count\":99999999999999999999}", "no number is so large" },
		{ "{\"user\":\"a\",\"count\":1e999}", "no number is so large" },
		{ "{\"user\":\"\xff\"}", "text has to be UTF-8" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct agent_error *err = NULL;
		json_t *args = NULL;

		assert_int_equal(args_parse(texts[i].json, strlen(texts[i].json), rules, &args, &err), -EBADMSG);
		assert_non_null(strstr(agent_error_message(err), texts[i].sentence));
		agent_error_free(err);
	}
}

static void queries(void **state)
{
	uint64_t v = 7;

	static const struct arg_rule allowed[] = { { "after", ARG_NUMBER, false, INT64_MAX }, { "limit", ARG_NUMBER, false, 100, 1 },
						   { "name", ARG_TEXT, false, 4, 1, .bytes = "a-z" }, { NULL } };
	static const struct {
		const char *query;
		bool is_fine;
	} queries[] = {
		{ "", true }, { "after=1&limit=2", true }, { "limit=100", true }, { "after=9223372036854775807", true }, { "name=abcd", true },
		{ "afte=1", false }, { "afterx=1", false }, { "after=1&after=2", false }, { "after=1&x", false }, { "&", false }, { "after", false },
		{ "after=", false }, { "after=1x", false }, { "after=-1", false }, { "after=9223372036854775808", false },
		{ "after=99999999999999999999", false }, { "limit=0", false }, { "limit=101", false }, { "name=", false }, { "name=abcde", false },
		{ "name=aB", false }, { "=1", false },
	};

	assert_int_equal(query_u64("after=12&limit=3", "limit", &v), 0);
	assert_int_equal(v, 3);
	assert_int_equal(query_u64("after=12&limit=3", "after", &v), 0);
	assert_int_equal(v, 12);
	assert_int_equal(query_u64("", "after", &v), -ENOENT);
	assert_int_equal(query_u64("xafter=1", "after", &v), -ENOENT);
	assert_int_equal(query_u64("after=1x", "after", &v), -EBADMSG);
	for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
		struct agent_error *err = NULL;
		int r = query_check(queries[i].query, allowed, &err);

		if ((r == 0) != queries[i].is_fine || (r < 0 && r != -EBADMSG))
			fail_msg("'%s': %d", queries[i].query, r);
		agent_error_free(err);
	}
	assert_int_equal(query_check("", NULL, NULL), 0);
	assert_int_equal(query_check("after=1", NULL, NULL), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_arguments_are_refused_and_good_ones_are_not),
		cmocka_unit_test(a_nul_byte_is_refused),
		cmocka_unit_test(an_error_does_not_repeat_what_was_sent),
		cmocka_unit_test(what_is_wrong_with_a_number_or_a_text_is_said),
		cmocka_unit_test(queries),
	};

	return cmocka_run_group_tests_name("mgmt_args", tests, NULL, NULL);
}
