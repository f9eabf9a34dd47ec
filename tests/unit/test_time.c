/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <agent/time.h>

#include "agentd/fetch/http.h"
#include "base/macro.h"
#include "base/time.h"

#define NOW_S 2000000000	/* 2033 */
#define LATER_S INT64_C(5000000000) /* 2128: no 32-bit time_t holds it */

DEFINE_CLEANUP(struct agent_time *, agent_time_unref)

static void dates_are_judged_by_the_state(void **state)
{
	static const struct {
		enum agent_time_state state;
		int64_t begin_s, end_s;
		int errnum;
		const char *name;
	} cases[] = {
		{ AGENT_TIME_FLOOR, NOW_S - 100, NOW_S + 100, 0, NULL },
		{ AGENT_TIME_FLOOR, NOW_S + 1000, LATER_S, 0, NULL }, /* nobody can say that it is too early */
		{ AGENT_TIME_NONE, LATER_S, LATER_S + 5, 0, NULL },
		{ AGENT_TIME_FLOOR, 1000, NOW_S - 1, -EKEYEXPIRED, "time.expired" },
		{ AGENT_TIME_NETWORK, NOW_S + 1000, LATER_S, -EAGAIN, "time.not-yet-valid" },
		{ AGENT_TIME_AUTHENTICATED, LATER_S, LATER_S + 5, -EAGAIN, "time.not-yet-valid" },
		{ AGENT_TIME_AUTHENTICATED, NOW_S - 1000, NOW_S - 10, -EKEYEXPIRED, "time.expired" },
		{ AGENT_TIME_AUTHENTICATED, 0, LATER_S, 0, NULL },
		{ AGENT_TIME_AUTHENTICATED, INT64_MIN, INT64_MAX, 0, NULL },
	};
	_cleanup_(agent_time_unrefp) struct agent_time *time = NULL;

	assert_int_equal(agent_time_new(&time, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct agent_time_reading r = { .state = cases[i].state, .now_s = NOW_S, .floor_s = NOW_S };
		_cleanup_error_ struct agent_error *err = NULL;

		assert_int_equal(agent_time_update(time, &r, NULL), 0);
		assert_int_equal(agent_time_check(time, cases[i].begin_s, cases[i].end_s, "it", &err), cases[i].errnum);
		if (cases[i].name != NULL)
			assert_error(&err, cases[i].errnum, cases[i].name);
	}
}

static void without_a_confirmed_time_the_clock_is_blamed(void **state)
{
	_cleanup_(agent_time_unrefp) struct agent_time *time = NULL;
	struct agent_time_reading r = { .state = AGENT_TIME_FLOOR, .floor_s = LATER_S };
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(agent_time_new(&time, NULL), 0);
	assert_int_equal(agent_time_update(time, &r, NULL), 0);
	assert_int_equal(agent_time_check(time, 1, NOW_S, "the certificate", &err), -EKEYEXPIRED);
	assert_non_null(strstr(agent_error_message(err), "the certificate expired on 2033-05-18 03:33:20 UTC, it is now 2128-06-11"));
	assert_non_null(strstr(agent_error_message(err), "our clock may be the cause"));
}

static void nothing_is_earlier_than_the_build_or_later_than_9999(void **state)
{
	_cleanup_(agent_time_unrefp) struct agent_time *time = NULL;
	struct agent_time_reading r = { .state = AGENT_TIME_AUTHENTICATED, .now_s = 5, .floor_s = 3 };

	assert_int_equal(agent_time_new(&time, NULL), 0);
	assert_int_equal(agent_time_update(time, &r, NULL), 0);
	agent_time_get(time, &r);
	assert_true(r.now_s >= time_build_s() && r.floor_s >= time_build_s());
	r = (struct agent_time_reading){ .state = AGENT_TIME_AUTHENTICATED, .now_s = UINT64_MAX, .floor_s = UINT64_MAX };
	assert_int_equal(agent_time_update(time, &r, NULL), 0);
	agent_time_get(time, &r);
	assert_int_equal(r.now_s, UINT64_C(253402300799));
	r.state = (enum agent_time_state)7;
	assert_int_equal(agent_time_update(time, &r, NULL), -EINVAL);
	assert_int_equal(agent_time_update(NULL, &r, NULL), -EINVAL);
	assert_int_equal(agent_time_new(NULL, NULL), -EINVAL);
	agent_time_get(NULL, &r);
	assert_int_equal(r.state, AGENT_TIME_NETWORK);
}

static void times_are_written_for_people_in_every_century(void **state)
{
	static const struct {
		int64_t s;
		const char *text;
	} cases[] = {
		{ 0, "1970-01-01 00:00:00 UTC" },
		{ 951782400, "2000-02-29 00:00:00 UTC" },
		{ INT64_C(2147483648), "2038-01-19 03:14:08 UTC" },
		{ INT64_C(4102444799), "2099-12-31 23:59:59 UTC" },
		{ INT64_C(253402300799), "9999-12-31 23:59:59 UTC" },
		{ -1, "1969-12-31 23:59:59 UTC" },
	};
	char text[TIME_TEXT_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		time_text(cases[i].s, text);
		assert_string_equal(text, cases[i].text);
	}
	time_text(INT64_MAX / 2, text); /* nonsense, but no overflow of the buffer */
}

static void states_have_names(void **state)
{
	enum agent_time_state s;

	for (int i = AGENT_TIME_NONE; i <= AGENT_TIME_AUTHENTICATED; i++) {
		assert_int_equal(agent_time_state_parse(agent_time_state_name((enum agent_time_state)i), &s), 0);
		assert_int_equal(s, i);
	}
	assert_int_equal(agent_time_state_parse("Floor", &s), -EINVAL);
	assert_int_equal(agent_time_state_parse(NULL, &s), -EINVAL);
	assert_string_equal(agent_time_state_name((enum agent_time_state)9), "unknown");
}

static void a_date_of_http_is_read_in_one_form_only(void **state)
{
	static const struct {
		const char *text;
		uint64_t s;
	} cases[] = {
		{ "Sun, 06 Nov 1994 08:49:37 GMT", 784111777 }, /* RFC 9110 section 5.6.7 */
		{ "Thu, 29 Feb 2024 23:59:59 GMT", 1709251199 },
		{ "Mon, 01 Mar 2100 00:00:00 GMT", UINT64_C(4107542400) },
		{ "Tue, 19 Jan 2038 03:14:08 GMT", UINT64_C(2147483648) },
		{ "Sunday, 06-Nov-94 08:49:37 GMT", 0 },
		{ "Sun Nov  6 08:49:37 1994", 0 },
		{ "Sun, 06 Nov 1994 08:49:37 GM", 0 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT ", 0 },
		{ "Sun, 06 Nov 1994 24:49:37 GMT", 0 },
		{ "Sun, 00 Nov 1994 08:49:37 GMT", 0 },
		{ "Sun, 06 Nox 1994 08:49:37 GMT", 0 },
		{ "Sun, -6 Nov 1994 08:49:37 GMT", 0 },
		{ "", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(http_date_parse(cases[i].text), cases[i].s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dates_are_judged_by_the_state),
		cmocka_unit_test(without_a_confirmed_time_the_clock_is_blamed),
		cmocka_unit_test(nothing_is_earlier_than_the_build_or_later_than_9999),
		cmocka_unit_test(times_are_written_for_people_in_every_century),
		cmocka_unit_test(states_have_names),
		cmocka_unit_test(a_date_of_http_is_read_in_one_form_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
