/* SPDX-License-Identifier: Apache-2.0 */
/* Refused roles: told at once, then once a minute per person, and none is lost from the count. */
#include "tests/unit/test.h"

#include "agentd/core/refusals.h"

#define MINUTE REFUSALS_PAUSE_US
#define T0 (1000 * MINUTE)

static bool asks(struct refusals *r, const char *user, const char *asked, uint64_t now_us, struct refusal *ret)
{
	struct caller caller = { .role = ACCOUNT_VIEWER, .source = "ip:192.0.2.7" };

	snprintf(caller.user, sizeof(caller.user), "%s", user);
	return refusals_count(r, &caller, asked, now_us, ret);
}

static void the_first_is_told_at_once_the_others_in_a_minute(void **state)
{
	struct refusals r = { 0 };
	struct refusal told;

	assert_true(asks(&r, "otto", "POST /v1/keys", T0, &told));
	assert_string_equal(told.user, "otto");
	assert_string_equal(told.asked, "POST /v1/keys");
	assert_string_equal(told.source, "ip:192.0.2.7");
	assert_int_equal(told.role, ACCOUNT_VIEWER);
	assert_int_equal(told.n, 1);
	assert_int_equal(refusals_next(&r), UINT64_MAX);
	for (unsigned i = 0; i < 1000; i++)
		assert_false(asks(&r, "otto", "GET /v1/accounts", T0 + i * 1000, &told));
	assert_int_equal(refusals_next(&r), T0 + MINUTE);
	assert_false(refusals_take(&r, T0 + MINUTE - 1, &told));
	assert_true(refusals_take(&r, T0 + MINUTE, &told));
	assert_int_equal(told.n, 1000);
	assert_string_equal(told.asked, "GET /v1/accounts");
	assert_false(refusals_take(&r, T0 + MINUTE, &told));
	/* Telling the sum begins another minute. */
	assert_false(asks(&r, "otto", "POST /v1/keys", T0 + MINUTE + 1, &told));
	assert_true(refusals_take(&r, T0 + 2 * MINUTE, &told));
	assert_int_equal(told.n, 1);
}

static void after_a_quiet_minute_it_is_told_at_once_again(void **state)
{
	struct refusals r = { 0 };
	struct refusal told;

	assert_true(asks(&r, "otto", "POST /v1/keys", T0, &told));
	assert_true(asks(&r, "otto", "POST /v1/keys", T0 + MINUTE, &told));
	assert_int_equal(told.n, 1);
}

static void one_person_does_not_hide_another(void **state)
{
	struct refusals r = { 0 };
	struct refusal told;

	assert_true(asks(&r, "otto", "POST /v1/keys", T0, &told));
	assert_false(asks(&r, "otto", "POST /v1/keys", T0, &told));
	assert_true(asks(&r, "karin", "POST /v1/keys", T0, &told));
	assert_string_equal(told.user, "karin");
}

/* However many there are: what is told in a minute has a bound, and the sums are right. */
static void more_people_than_places_share_one(void **state)
{
	struct refusals r = { 0 };
	unsigned n_told = 0;
	uint64_t n = 0;
	struct refusal told;
	char name[16];

	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "user%u", i % 50);
		if (asks(&r, name, "POST /v1/keys", T0 + i, &told)) {
			n_told++;
			n += told.n;
		}
	}
	assert_int_equal(n_told, REFUSALS_MAX);
	while (refusals_take(&r, T0 + MINUTE + 500, &told))
		n += told.n;
	assert_int_equal(n, 500);
	/* Who is quiet makes room. */
	assert_true(asks(&r, "fresh", "POST /v1/keys", T0 + 3 * MINUTE, &told));
	assert_string_equal(told.user, "fresh");
	assert_int_equal(told.n, 1);
}

static void long_texts_are_cut(void **state)
{
	char asked[200];
	struct refusals r = { 0 };
	struct refusal told;

	memset(asked, 'x', sizeof(asked) - 1);
	asked[sizeof(asked) - 1] = '\0';
	assert_true(asks(&r, "otto", asked, T0, &told));
	assert_int_equal(strlen(told.asked), REFUSAL_ASKED_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_is_told_at_once_the_others_in_a_minute),
		cmocka_unit_test(after_a_quiet_minute_it_is_told_at_once_again),
		cmocka_unit_test(one_person_does_not_hide_another),
		cmocka_unit_test(more_people_than_places_share_one),
		cmocka_unit_test(long_texts_are_cut),
	};

	return cmocka_run_group_tests_name("refusals", tests, NULL, NULL);
}
