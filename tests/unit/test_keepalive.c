/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "net/keepalive.h"
#include "net/turn.h"

#define HOUR_MS (3600 * 1000ull)

/* A quiet device behind a box that forgets connections after @nat_s of silence. Returns the connections lost in @hours. */
static unsigned live(struct keepalive *k, unsigned nat_s, unsigned hours, uint64_t *now_ms)
{
	uint64_t end = *now_ms + hours * HOUR_MS;
	unsigned n_lost = 0;

	while (*now_ms < end) {
		uint64_t idle_ms = (uint64_t)k->interval_s * 1000;

		*now_ms += idle_ms;
		if (k->interval_s < nat_s) {
			keepalive_answered(k, idle_ms, *now_ms);
		} else {
			keepalive_lost(k, idle_ms, *now_ms);
			n_lost++;
		}
		assert_true(k->interval_s >= k->min_s && k->interval_s <= k->max_s);
	}
	return n_lost;
}

static void without_a_box_it_grows_to_the_maximum_and_stays(void **state)
{
	struct keepalive k;
	uint64_t now = 1;

	keepalive_init(&k, 60, 30, 300);
	assert_int_equal(live(&k, 100000, 5, &now), 0);
	assert_int_equal(k.interval_s, 300);
}

static void it_finds_what_the_box_allows_and_loses_little(void **state)
{
	for (unsigned nat_s = 35; nat_s < 2000; nat_s += 7) {
		struct keepalive k;
		uint64_t now = 1;
		unsigned n;

		keepalive_init(&k, 60, 20, 1200);
		(void)live(&k, nat_s, 24, &now);	/* the first day */
		/* From then on a look above the limit once a day at most, with what that needs to settle again. */
		n = live(&k, nat_s, 10 * 24, &now);
		assert_true(n <= 30);
		assert_true(k.interval_s < nat_s);
		/* Not timid either: no less than a quarter of what is allowed, most of the time far more. */
		assert_true(k.interval_s * 4 >= (nat_s > 1200 ? 1200 : nat_s) || k.interval_s >= 20);
		(void)live(&k, nat_s, 20, &now);
		assert_true(k.interval_s * 4 >= (nat_s > 1200 ? 1200 : nat_s));
	}
}

static void a_box_below_the_minimum_stays_at_the_minimum(void **state)
{
	struct keepalive k;
	uint64_t now = 1;

	keepalive_init(&k, 60, 30, 300);
	assert_true(live(&k, 10, 1, &now) > 0);
	assert_int_equal(k.interval_s, 30);
}

static void a_busy_connection_that_dies_says_nothing_about_silence(void **state)
{
	struct keepalive k;

	keepalive_init(&k, 60, 30, 300);
	keepalive_lost(&k, 10000, 1000000);
	assert_int_equal(k.interval_s, 60);
	for (unsigned i = 0; i < 10 * KEEPALIVE_GOOD; i++)
		keepalive_answered(&k, 10000, 1000000);
	assert_int_equal(k.interval_s, 60);
	keepalive_init(&k, 5, 30, 300);
	assert_int_equal(k.interval_s, 30);
	keepalive_init(&k, 1000, 30, 300);
	assert_int_equal(k.interval_s, 300);
	/* Numbers from outside that make no sense. */
	keepalive_lost(&k, UINT64_MAX, 1);
	keepalive_answered(&k, UINT64_MAX - 1000, 0);
	assert_true(k.interval_s >= 30 && k.interval_s <= 300);
}

/* ---- whose turn it is */

static void one_broker_is_tried_again_and_again_more_slowly(void **state)
{
	struct turn t = { .n = 1 };

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(turn_failed(&t, 0), i);
	assert_int_equal(turn_failed(&t, 5000), 10);	/* a short success is none */
	assert_int_equal(turn_failed(&t, 60000), 0);
	assert_int_equal(turn_failed(&t, 0), 1);
	assert_int_equal(t.at, 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_true(turn_failed(&t, 0) <= 32);
}

static void a_round_visits_all_in_order(void **state)
{
	struct turn t = { .n = 3 };

	for (unsigned round = 0; round < 4; round++) {
		assert_int_equal(t.at, 0);
		assert_int_equal(turn_failed(&t, 0), 0);
		assert_int_equal(t.at, 1);
		assert_int_equal(turn_failed(&t, 0), 0);
		assert_int_equal(t.at, 2);
		assert_int_equal(turn_failed(&t, 0), round);
	}
	/* One that was good and broke: from the first again, and the back-off anew. */
	assert_int_equal(turn_failed(&t, 0), 0);
	assert_int_equal(turn_failed(&t, 120000), 0);
	assert_int_equal(t.at, 0);
	/* Two that take us and throw us out end a round each time. */
	assert_int_equal(turn_failed(&t, 1), 1);
	assert_int_equal(turn_failed(&t, 1), 2);
}

static void redirections_are_followed_but_not_for_ever(void **state)
{
	struct turn t = { .n = 2 };

	assert_false(turn_send_on(&t, 2, 0));	/* none of ours */
	t.n_sent_on = 0;
	assert_true(turn_send_on(&t, 1, 0));
	assert_int_equal(t.at, 1);
	assert_true(turn_send_on(&t, 0, 0));
	assert_false(turn_send_on(&t, 1, 0));	/* they send us to and fro */
	(void)turn_failed(&t, 0);
	/* The same, but each takes us first. */
	assert_true(turn_send_on(&t, 1, 5));
	turn_online(&t);
	assert_true(turn_send_on(&t, 0, 5));
	turn_online(&t);
	assert_false(turn_send_on(&t, 1, 59999));
	(void)turn_failed(&t, 5);
	assert_true(turn_send_on(&t, 1, 0));
	assert_true(turn_send_on(&t, 0, 0));
	turn_online(&t);
	assert_true(turn_send_on(&t, 1, 60000));	/* after a good connection it is a new row */
}

static void back_to_the_first_only_after_good_looks_in_a_row(void **state)
{
	struct turn t = { .n = 2, .at = 1 };

	for (int i = 0; i < TURN_LOOKS - 1; i++)
		assert_false(turn_looked(&t, true));
	assert_false(turn_looked(&t, false));
	for (int i = 0; i < TURN_LOOKS - 1; i++)
		assert_false(turn_looked(&t, true));
	assert_true(turn_looked(&t, true));
	for (uint64_t random = 0; random < 100000; random += 331) {
		uint64_t ms = turn_look_ms(&t, 400000, random);

		assert_true(ms >= 100000 && ms <= 125000);
	}
	turn_return(&t);
	assert_int_equal(t.at, 0);
	/* It does not take us: the other one, and the next look is twice as far away, 16 times at most. */
	assert_int_equal(turn_failed(&t, 0), 0);
	assert_int_equal(t.at, 1);
	assert_int_equal(turn_look_ms(&t, 400000, 0), 200000);
	for (int i = 0; i < 10; i++) {
		turn_return(&t);
		(void)turn_failed(&t, 30000);	/* taken and thrown out counts as well */
		(void)turn_failed(&t, 0);
	}
	assert_int_equal(turn_look_ms(&t, 400000, 0), 1600000);
	/* A minute with the first one makes it good again. */
	turn_return(&t);
	(void)turn_failed(&t, 61000);
	assert_int_equal(turn_look_ms(&t, 400000, 0), 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_box_it_grows_to_the_maximum_and_stays),
		cmocka_unit_test(it_finds_what_the_box_allows_and_loses_little),
		cmocka_unit_test(a_box_below_the_minimum_stays_at_the_minimum),
		cmocka_unit_test(a_busy_connection_that_dies_says_nothing_about_silence),
		cmocka_unit_test(one_broker_is_tried_again_and_again_more_slowly),
		cmocka_unit_test(a_round_visits_all_in_order),
		cmocka_unit_test(redirections_are_followed_but_not_for_ever),
		cmocka_unit_test(back_to_the_first_only_after_good_looks_in_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
