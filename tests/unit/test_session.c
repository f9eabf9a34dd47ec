/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions, tokens, device cookies and the count on disk, against a clock of our own. */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/core/accounts.h"
#include "agentd/core/session.h"
#include "agentd/core/token.h"

#define SECOND UINT64_C(1000000)
#define T0 (1000 * SECOND)

static const struct session full = { .user = "admin", .source = "ip:192.0.2.7", .role = ACCOUNT_ADMIN, .since = 2 };
static const struct session limited = { .user = "admin", .source = "ip:192.0.2.7", .role = ACCOUNT_ADMIN, .is_limited = true, .since = 1 };

static void a_token_opens_its_session_and_no_other_text_does(void **state)
{
	struct sessions t = { 0 };
	struct session gone;
	char token[TOKEN_TEXT_SIZE], other[TOKEN_TEXT_SIZE];

	(void)state;
	assert_int_equal(session_add(&t, &full, T0, token, &gone), 0);
	assert_int_equal(gone.id, 0);
	assert_int_equal(strlen(token), 43);
	assert_non_null(session_find(&t, token, T0));
	assert_string_equal(session_find(&t, token, T0)->user, "admin");
	memcpy(other, token, sizeof(other));
	for (size_t i = 0; i < 43; i++) {
		other[i] = other[i] == 'A' ? 'B' : 'A';
		assert_null(session_find(&t, other, T0));
		other[i] = token[i];
	}
	other[42] = '\0';
	assert_null(session_find(&t, other, T0));
	assert_null(session_find(&t, "", T0));
	assert_null(session_find(&t, "\xff", T0));
	/* what is kept does not open it either */
	base64url_encode(t.slots[0].hash, TOKEN_HASH_SIZE, other);
	assert_null(session_find(&t, other, T0));
	session_end(session_find(&t, token, T0));
	assert_null(session_find(&t, token, T0));
}

static void listening_does_not_keep_a_session_alive(void **state)
{
	struct sessions t = { 0 };
	struct session gone;
	char token[TOKEN_TEXT_SIZE];

	(void)state;
	assert_int_equal(session_add(&t, &full, T0, token, &gone), 0);
	for (uint64_t s = 10; s < SESSION_IDLE_S; s += 10) {
		struct session *found = session_find(&t, token, T0 + s * SECOND);

		assert_non_null(found);
		session_unuse(found);
		assert_int_equal(session_expires_s(found, T0 + s * SECOND), SESSION_IDLE_S - s);
	}
	assert_null(session_find(&t, token, T0 + SESSION_IDLE_S * SECOND));
}

static void a_session_ends_after_15_idle_minutes(void **state)
{
	struct sessions t = { 0 };
	struct session gone;
	char token[TOKEN_TEXT_SIZE];

	(void)state;
	assert_int_equal(session_add(&t, &full, T0, token, &gone), 0);
	assert_int_equal(session_expires_s(&t.slots[0], T0), 900);
	assert_true(session_next_end(&t) == T0 + 900 * SECOND);
	assert_non_null(session_find(&t, token, T0 + 899 * SECOND));
	assert_non_null(session_find(&t, token, T0 + 1798 * SECOND));
	assert_false(session_take_expired(&t, T0 + 1799 * SECOND, &gone));
	assert_null(session_find(&t, token, T0 + 2698 * SECOND));
	assert_true(session_take_expired(&t, T0 + 2698 * SECOND, &gone));
	assert_string_equal(gone.source, "ip:192.0.2.7");
	assert_false(session_take_expired(&t, T0 + 2698 * SECOND, &gone));
	assert_true(session_next_end(&t) == UINT64_MAX);
}

static void a_session_ends_after_8_hours_however_busy(void **state)
{
	struct sessions t = { 0 };
	struct session gone;
	char token[TOKEN_TEXT_SIZE];
	uint64_t now;

	(void)state;
	assert_int_equal(session_add(&t, &full, T0, token, &gone), 0);
	for (now = T0; now < T0 + 8 * 3600 * SECOND; now += 60 * SECOND)
		assert_non_null(session_find(&t, token, now));
	assert_null(session_find(&t, token, now));
}

static void a_limited_session_ends_after_10_minutes_and_there_is_one(void **state)
{
	struct sessions t = { 0 };
	struct session gone;
	char first[TOKEN_TEXT_SIZE], second[TOKEN_TEXT_SIZE];

	(void)state;
	assert_int_equal(session_add(&t, &limited, T0, first, &gone), 0);
	assert_int_equal(session_expires_s(&t.slots[0], T0), 600);
	assert_non_null(session_find(&t, first, T0 + 599 * SECOND));
	assert_null(session_find(&t, first, T0 + 600 * SECOND));
	assert_int_equal(session_add(&t, &limited, T0, second, &gone), 0);
	assert_int_equal(gone.id, 1);
	assert_null(session_find(&t, first, T0));
	assert_non_null(session_find(&t, second, T0));
}

static void the_ninth_session_takes_the_place_of_the_least_used(void **state)
{
	struct sessions t = { 0 };
	struct session gone;
	char tokens[SESSIONS_MAX + 1][TOKEN_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		assert_int_equal(session_add(&t, &full, T0 + i, tokens[i], &gone), 0);
	assert_non_null(session_find(&t, tokens[0], T0 + 100));
	assert_int_equal(session_add(&t, &full, T0 + 200, tokens[SESSIONS_MAX], &gone), 0);
	assert_int_equal(gone.id, 2);
	assert_non_null(session_find(&t, tokens[0], T0 + 300));
	assert_null(session_find(&t, tokens[1], T0 + 300));
	assert_non_null(session_find(&t, tokens[SESSIONS_MAX], T0 + 300));
	assert_int_equal(session_end_all(&t), SESSIONS_MAX);
	for (size_t i = 0; i <= SESSIONS_MAX; i++)
		assert_null(session_find(&t, tokens[i], T0 + 400));
}

static void who_logs_in_again_and_again_logs_nobody_else_out(void **state)
{
	struct sessions t = { 0 };
	struct session gone, viewer = full, operator = full;
	char admin[TOKEN_TEXT_SIZE], other[TOKEN_TEXT_SIZE], token[TOKEN_TEXT_SIZE];

	(void)state;
	memcpy(viewer.user, "vera", sizeof("vera"));
	memcpy(operator.user, "otto", sizeof("otto"));
	assert_int_equal(session_add(&t, &full, T0, admin, &gone), 0);
	for (size_t i = 0; i < 3 * SESSIONS_MAX; i++)
		assert_int_equal(session_add(&t, &viewer, T0 + 1 + i, token, &gone), 0);
	assert_string_equal(gone.user, "vera");
	assert_int_equal(session_add(&t, &operator, T0 + 100, other, &gone), 0);
	assert_string_equal(gone.user, "vera");
	assert_int_equal(session_add(&t, &viewer, T0 + 101, token, &gone), 0);
	assert_string_equal(gone.user, "vera");
	assert_non_null(session_find(&t, admin, T0 + 200));
	assert_non_null(session_find(&t, other, T0 + 200));
}

static void ids_are_not_used_again(void **state)
{
	struct sessions t = { 0 };
	struct session gone;
	char token[TOKEN_TEXT_SIZE];

	(void)state;
	assert_int_equal(session_add(&t, &full, T0, token, &gone), 0);
	session_end(session_get(&t, 1));
	assert_null(session_get(&t, 1));
	assert_null(session_get(&t, 0));
	assert_int_equal(session_add(&t, &full, T0, token, &gone), 0);
	assert_null(session_get(&t, 1));
	assert_non_null(session_get(&t, 2));
}

static void base64url_matches_rfc_4648(void **state)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = { { "", "" }, { "f", "Zg" }, { "fo", "Zm8" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg" }, { "fooba", "Zm9vYmE" },
		      { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xfe", "-__-" } };
	static const char *const bad[] = { "Zm9vYmE=", "Zm9vYm", "Zm9vYmEx", "Zm9vYm+", "Zm9vYm/", "Zm9vYmF", " m9vYmE" };
	uint8_t out[8];
	char text[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t n = strlen(cases[i].bytes);

		base64url_encode((const uint8_t *)cases[i].bytes, n, text);
		assert_string_equal(text, cases[i].text);
		assert_int_equal(base64url_decode(text, out, n), 0);
		assert_memory_equal(out, cases[i].bytes, n);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(base64url_decode(bad[i], out, 5), -EBADMSG);
}

static void a_device_cookie_is_known_again_for_90_days(void **state)
{
	const uint8_t key[COOKIE_KEY_SIZE] = { 1 }, other_key[COOKIE_KEY_SIZE] = { 2 };
	const uint64_t now_s = UINT64_C(1800000000);
	uint8_t id[LIMITS_COOKIE_ID_SIZE], id2[LIMITS_COOKIE_ID_SIZE];
	char text[COOKIE_TEXT_SIZE], text2[COOKIE_TEXT_SIZE];

	(void)state;
	assert_int_equal(cookie_new(key, "admin", now_s, text), 0);
	assert_int_equal(strlen(text), COOKIE_TEXT_SIZE - 1);
	assert_true(cookie_check(key, "admin", text, now_s, id));
	assert_true(cookie_check(key, "admin", text, now_s + 90 * 86400, id));
	assert_false(cookie_check(key, "admin", text, now_s + 90 * 86400 + 1, id));
	assert_true(cookie_check(key, "admin", text, 0, id));	/* a clock that lost its time */
	assert_false(cookie_check(other_key, "admin", text, now_s, id));
	assert_false(cookie_check(key, "viewer", text, now_s, id));	/* another user's */
	assert_false(cookie_check(key, "", text, now_s, id));
	assert_int_equal(cookie_new(key, "admin", now_s, text2), 0);
	assert_true(cookie_check(key, "admin", text2, now_s, id2));
	assert_memory_not_equal(id, id2, sizeof(id));
	for (size_t i = 0; i < COOKIE_TEXT_SIZE - 1; i++) {
		char kept = text[i];

		text[i] = kept == 'A' ? 'B' : 'A';
		assert_false(cookie_check(key, "admin", text, now_s, id));
		text[i] = kept;
	}
	assert_false(cookie_check(key, "admin", "", now_s, id));
}

static void the_counts_on_disk_are_read_as_written_and_nothing_else(void **state)
{
	static const char good[] = "agentd-failures 2\nall 7\nstranger 1\ncookie 2\nuser 3\nroot 0\nconsole 1\n";
	static const char *const bad[] = { "", "agentd-failures 2\n", "agentd-failures 1\nfailures 7\n",
					   "agentd-failures 2\nall -1\nstranger 1\ncookie 2\nuser 3\nroot 0\nconsole 1\n",
					   "agentd-failures 2\nall 07\nstranger 1\ncookie 2\nuser 3\nroot 0\nconsole 1\n",
					   "agentd-failures 2\nall 7\nstranger 1\ncookie 2\nuser 3\nroot 0\nconsole 1",
					   "agentd-failures 2\nall 7\nstranger 1\ncookie 2\nuser 3\nroot 0\nconsole 1\n\n",
					   "agentd-failures 2\nall 7\ncookie 2\nstranger 1\nuser 3\nroot 0\nconsole 1\n",
					   "agentd-failures 2\nall 7\nstranger 1\ncookie 2\nuser 3\nroot 0\n",
					   "agentd-failures 2\nall 99999999999999999999\nstranger 1\ncookie 2\nuser 3\nroot 0\nconsole 1\n" };
	static const struct limit_counts cases[] = {
		{ 0 }, { .all = 7, .by = { 1, 2, 3, 0, 1 } },
		{ .all = UINT64_MAX, .by = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX } },
	};
	struct limit_counts n;
	char text[FAILURES_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t size = failures_format(&cases[i], text);

		assert_true(size > 0);
		memset(&n, 0xff, sizeof(n));
		assert_int_equal(failures_parse(text, size, &n), 0);
		assert_memory_equal(&n, &cases[i], sizeof(n));
	}
	assert_int_equal(failures_parse(good, strlen(good), &n), 0);
	assert_true(n.all == 7 && n.by[LIMIT_USER] == 3 && n.by[LIMIT_CONSOLE] == 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(failures_parse(bad[i], strlen(bad[i]), &n), -EBADMSG);
	assert_int_equal(failures_parse(good, sizeof(good), &n), -EBADMSG);
	assert_true(n.all == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_opens_its_session_and_no_other_text_does),
		cmocka_unit_test(listening_does_not_keep_a_session_alive),
		cmocka_unit_test(a_session_ends_after_15_idle_minutes),
		cmocka_unit_test(a_session_ends_after_8_hours_however_busy),
		cmocka_unit_test(a_limited_session_ends_after_10_minutes_and_there_is_one),
		cmocka_unit_test(the_ninth_session_takes_the_place_of_the_least_used),
		cmocka_unit_test(who_logs_in_again_and_again_logs_nobody_else_out),
		cmocka_unit_test(ids_are_not_used_again),
		cmocka_unit_test(base64url_matches_rfc_4648),
		cmocka_unit_test(a_device_cookie_is_known_again_for_90_days),
		cmocka_unit_test(the_counts_on_disk_are_read_as_written_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
