/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "base/text.h"

static void set_returns_the_errno_and_keeps_name_and_sentence(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(agent_error_set(&err, -EBADMSG, "container.short", "ends after %d bytes", 7), -EBADMSG);
	assert_int_equal(agent_error_errno(err), -EBADMSG);
	assert_string_equal(agent_error_name(err), "container.short");
	assert_string_equal(agent_error_message(err), "ends after 7 bytes");
	assert_int_equal(agent_error_foreign_source(err), AGENT_ERROR_NONE);
}

static void a_caller_that_does_not_care_passes_null(void **state)
{
	assert_int_equal(agent_error_set(NULL, -EIO, "x.y", "z"), -EIO);
	assert_int_equal(agent_error_prefix(NULL, -EIO, "z"), -EIO);
	agent_error_set_foreign(NULL, AGENT_ERROR_TPM, 1);
	assert_int_equal(agent_error_errno(NULL), 0);
	assert_string_equal(agent_error_name(NULL), "error.none");
	assert_null(agent_error_free(NULL));
}

static void prefix_says_where_we_were(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;

	agent_error_set(&err, -EIO, "slot.write", "disk is gone");
	agent_error_set_foreign(&err, AGENT_ERROR_TPM, 0x922);
	assert_int_equal(agent_error_prefix(&err, -EIO, "slot %s", "b"), -EIO);
	assert_string_equal(agent_error_message(err), "slot b: disk is gone");
	assert_int_equal(agent_error_foreign_code(err), 0x922);
}

static void a_new_error_may_quote_the_old_one(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;

	agent_error_set(&err, -EIO, "a.b", "first");
	agent_error_set(&err, -EINVAL, "c.d", "after %s", agent_error_message(err));
	assert_string_equal(agent_error_message(err), "after first");
	assert_string_equal(agent_error_name(err), "c.d");
}

static void text_of_a_peer_cannot_forge_a_log_line(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;

	agent_error_set(&err, -EINVAL, "x.y", "bad %s", "a\nb\033[2Jc\x7f");
	assert_string_equal(agent_error_message(err), "bad a?b?[2Jc?");
}

/* D-Bus refuses a message with any of these in it, and with it the answer. */
static void text_that_is_no_text_is_replaced(void **state)
{
	static const struct { const char *text, *shown; } cases[] = {
		{ "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "cut \xf0\x9f\x98\" here", "cut ???\" here" },
		{ "alone \x80\xbf", "alone ??" },
		{ "overlong \xc0\xaf \xe0\x80\xaf", "overlong ?? ???" },
		{ "surrogate \xed\xa0\x80", "surrogate ???" },
		{ "beyond \xf4\x90\x80\x80 \xff.", "beyond ???? ?." },
		{ "noncharacter \xef\xbf\xbf \xef\xb7\x90 \xf0\x9f\xbf\xbe", "noncharacter ??? ??? ????" },
		{ "C1 \xc2\x9b" "2J", "C1 ??2J" },
		{ "turned \xe2\x80\xae" "uws \xe2\x81\xa6 \xd8\x9c \xe2\x80\xa8.", "turned ???uws ??? ?? ???." },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		agent_error_set(&err, -EINVAL, "x.y", "%s", cases[i].text);
		assert_string_equal(agent_error_message(err), cases[i].shown);
	}
}

static void a_long_sentence_is_cut_between_characters(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	char long_text[3000];

	for (size_t i = 0; i + 2 < sizeof(long_text); i += 2)
		memcpy(long_text + i, "\xc3\xa4", 3);
	agent_error_set(&err, -EINVAL, "x.y", "a%s", long_text);
	assert_int_equal(strlen(agent_error_message(err)) % 2, 1);
	agent_error_set(&err, -EINVAL, "x.y", "%s", long_text);
	assert_int_equal(strlen(agent_error_message(err)) % 2, 0);
}

static void a_list_takes_what_fits_whole(void **state)
{
	char list[12] = "";

	assert_false(text_list_add(list, sizeof(list), "0123456789"));
	assert_string_equal(list, "");
	assert_true(text_list_add(list, sizeof(list), "abc"));
	assert_false(text_list_add(list, sizeof(list), "efghijk"));
	assert_string_equal(list, "abc");
	assert_true(text_list_add(list, sizeof(list), "efghij"));
	assert_string_equal(list, "abc, efghij");
	assert_false(text_list_add(list, sizeof(list), ""));
	assert_string_equal(list, "abc, efghij");
}

static void move_replaces_the_target(void **state)
{
	_cleanup_error_ struct agent_error *a = NULL, *b = NULL;

	agent_error_set(&a, -EIO, "a.a", "a");
	agent_error_set(&b, -EINVAL, "b.b", "b");
	assert_int_equal(agent_error_move(&a, &b), -EINVAL);
	assert_null(b);
	assert_string_equal(agent_error_name(a), "b.b");
	assert_int_equal(agent_error_move(NULL, &a), -EINVAL);
	assert_null(a);
}

/* agent_error_set() without memory leaves NULL: what failed must not look like a success to whoever returns what he moved. */
static void an_error_that_memory_was_short_for_is_one_still(void **state)
{
	_cleanup_error_ struct agent_error *to = NULL, *lost = NULL;

	agent_error_set(&to, -EIO, "a.a", "a");
	assert_int_equal(agent_error_move(&to, &lost), -ENOMEM);
	assert_null(to); /* nothing stale */
	assert_int_equal(agent_error_move(NULL, &lost), -ENOMEM);
}

static void a_reason_that_is_cut_keeps_its_name(void **state)
{
	char text[32], small[8] = "";

	text_reason(text, sizeof(text), "short", "tls.name");
	assert_string_equal(text, "short (tls.name)");
	text_reason(text, sizeof(text), "exactly as long as it is", "ab.c");
	assert_string_equal(text, "exactly as long as it is (ab.c)");
	text_reason(text, sizeof(text), "exactly as long as it is.", "ab.c");
	assert_string_equal(text, "exactly as long as i ... (ab.c)");
	text_reason(text, sizeof(text), "exactly as long as \xc3\xa9\xc3\xa9\xc3\xa9", "ab.c"); /* not in the midst of a letter */
	assert_string_equal(text, "exactly as long as  ... (ab.c)");
	text_reason(small, sizeof(small), "no room for a name", "tls.name");
	assert_string_equal(small, "no room");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_returns_the_errno_and_keeps_name_and_sentence),
		cmocka_unit_test(a_caller_that_does_not_care_passes_null),
		cmocka_unit_test(prefix_says_where_we_were),
		cmocka_unit_test(a_new_error_may_quote_the_old_one),
		cmocka_unit_test(text_of_a_peer_cannot_forge_a_log_line),
		cmocka_unit_test(text_that_is_no_text_is_replaced),
		cmocka_unit_test(a_long_sentence_is_cut_between_characters),
		cmocka_unit_test(a_list_takes_what_fits_whole),
		cmocka_unit_test(a_reason_that_is_cut_keeps_its_name),
		cmocka_unit_test(move_replaces_the_target),
		cmocka_unit_test(an_error_that_memory_was_short_for_is_one_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
