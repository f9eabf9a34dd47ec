/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "agentd/link/liveness.h"

#define INTERVAL 300000
#define TIMEOUT 30000

static const uint8_t nonce_a[LIVENESS_NONCE] = { 1, 2, 3 }, nonce_b[LIVENESS_NONCE] = { 4, 5, 6 };

/* Ask for the canary that is due and hand it to a client that calls it @id. */
static void send(struct liveness *l, uint64_t now, uint64_t id, char text[LIVENESS_TEXT])
{
	uint64_t wait;

	assert_int_equal(liveness_check(l, now, &wait), LIVENESS_SEND);
	liveness_text(l, text);
	liveness_sent(l, now, id);
	assert_int_equal(liveness_check(l, now, &wait), LIVENESS_WAIT);
}

static bool comes(struct liveness *l, uint64_t now, const char *text)
{
	bool is_foreign;

	return liveness_canary(l, now, text, strlen(text), &is_foreign);
}

static struct liveness alive_at(uint64_t now, char text[LIVENESS_TEXT])
{
	struct liveness l;

	liveness_init(&l, INTERVAL / 1000, TIMEOUT / 1000);
	liveness_online(&l, now, nonce_a);
	send(&l, now, 1, text);
	assert_false(liveness_acked(&l, now, 1));
	assert_true(comes(&l, now, text));
	assert_int_equal(l.state, LIVENESS_ALIVE);
	return l;
}

static void each_connection_has_to_show_it(void **state)
{
	char text[LIVENESS_TEXT];
	struct liveness l;
	uint64_t wait;

	liveness_init(&l, INTERVAL / 1000, TIMEOUT / 1000);
	assert_int_equal(liveness_check(&l, 5, &wait), LIVENESS_WAIT);
	assert_true(wait == LIVENESS_NEVER);
	liveness_online(&l, 1000, nonce_a);
	assert_int_equal(l.state, LIVENESS_UNKNOWN);
	send(&l, 1000, 7, text);
	assert_string_equal(text, "01020300000000000000000000000000-1");
	/* Taken by the broker is not alive. */
	liveness_acked(&l, 1010, 7);
	assert_int_equal(l.state, LIVENESS_UNKNOWN);
	assert_true(comes(&l, 1042, text));
	assert_int_equal(l.state, LIVENESS_ALIVE);
	assert_int_equal(l.round_trip_ms, 42);
	liveness_offline(&l);
	assert_int_equal(l.state, LIVENESS_UNKNOWN);
	assert_int_equal(l.round_trip_ms, -1);
	liveness_online(&l, 2000, nonce_b);
	assert_int_equal(l.state, LIVENESS_UNKNOWN);
	send(&l, 2000, 8, text);
	assert_string_equal(text, "04050600000000000000000000000000-1");
}

static void what_is_not_the_canary_under_way_does_not_count(void **state)
{
	static const char *const wrong[] = {
		"", "1", "01020300000000000000000000000000", "01020300000000000000000000000000-", "01020300000000000000000000000000-2",
		"01020300000000000000000000000000-11", "01020300000000000000000000000000-1 ", "01020300000000000000000000000001-1",
		"04050600000000000000000000000000-1", " 01020300000000000000000000000000-1",
	};
	char text[LIVENESS_TEXT];
	struct liveness l;
	bool is_foreign;

	liveness_init(&l, INTERVAL / 1000, TIMEOUT / 1000);
	liveness_online(&l, 0, nonce_a);
	/* Before anything was sent, what will be sent is no answer. */
	assert_false(comes(&l, 0, "01020300000000000000000000000000-1"));
	send(&l, 0, 1, text);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_false(comes(&l, 1, wrong[i]));
	assert_false(liveness_canary(&l, 1, "01020300000000000000000000000000-1\0", 35, &is_foreign));
	assert_int_equal(l.state, LIVENESS_UNKNOWN);
	assert_true(comes(&l, 2, text));
	/* Once. */
	assert_false(liveness_canary(&l, 3, text, strlen(text), &is_foreign));
	assert_false(is_foreign);
}

static void an_older_one_of_this_connection_is_no_answer(void **state)
{
	char old[LIVENESS_TEXT], text[LIVENESS_TEXT];
	struct liveness l = alive_at(0, old);
	bool is_foreign;

	send(&l, INTERVAL, 2, text);
	assert_string_not_equal(old, text);
	assert_false(liveness_canary(&l, INTERVAL + 1, old, strlen(old), &is_foreign));
	assert_false(is_foreign);
	assert_false(liveness_canary(&l, INTERVAL + 1, "04050600000000000000000000000000-2", 34, &is_foreign));
	assert_true(is_foreign);
	assert_true(comes(&l, INTERVAL + 2, text));
	assert_int_equal(l.n_answered, 2);
}

static void nothing_back_in_time_is_deaf_until_something_comes(void **state)
{
	char text[LIVENESS_TEXT];
	struct liveness l;
	uint64_t wait;

	liveness_init(&l, INTERVAL / 1000, TIMEOUT / 1000);
	liveness_online(&l, 1000, nonce_a);
	send(&l, 1000, 1, text);
	assert_int_equal(liveness_check(&l, 1000 + TIMEOUT - 1, &wait), LIVENESS_WAIT);
	assert_int_equal(wait, 1);
	assert_int_equal(liveness_check(&l, 1000 + TIMEOUT, &wait), LIVENESS_REJECT);
	assert_false(l.was_good);
	assert_int_equal(l.state, LIVENESS_DEAF);
	assert_int_equal(l.n_deaf, 1);
	/* Said once, and what comes late is of a connection that is left. */
	assert_int_equal(liveness_check(&l, 2000 + TIMEOUT, &wait), LIVENESS_WAIT);
	assert_false(comes(&l, 2000 + TIMEOUT, text));
	liveness_offline(&l);
	assert_int_equal(l.state, LIVENESS_DEAF);
	liveness_online(&l, 100000, nonce_b);
	assert_int_equal(l.state, LIVENESS_DEAF);
	/* The old one is still in the client, which sends it again: the next one only after it. */
	assert_int_equal(liveness_check(&l, 100000, &wait), LIVENESS_WAIT);
	assert_true(wait <= 1000);
	assert_false(comes(&l, 100001, text));
	assert_true(liveness_acked(&l, 100002, 1));
	send(&l, 100002, 2, text);
	assert_true(comes(&l, 100003, text));
	assert_int_equal(l.state, LIVENESS_ALIVE);
	assert_int_equal(l.n_deaf, 1);
}

static void a_canary_that_cannot_leave_is_deaf_too(void **state)
{
	char text[LIVENESS_TEXT];
	struct liveness l;
	uint64_t wait;

	liveness_init(&l, INTERVAL / 1000, TIMEOUT / 1000);
	liveness_online(&l, 0, nonce_a);
	send(&l, 0, 1, text);
	liveness_offline(&l);
	liveness_online(&l, 10, nonce_b);
	for (uint64_t now = 10; now < 10 + TIMEOUT; now += 1000)
		assert_int_equal(liveness_check(&l, now, &wait), LIVENESS_WAIT);
	assert_int_equal(liveness_check(&l, 10 + TIMEOUT, &wait), LIVENESS_REJECT);
	/* With the client goes what it held. */
	liveness_forget(&l);
	liveness_online(&l, 50000, nonce_a);
	assert_int_equal(liveness_check(&l, 50000, &wait), LIVENESS_SEND);
	/* One that the client has no room for is asked for again, and counts as late like any other. */
	assert_int_equal(liveness_check(&l, 51000, &wait), LIVENESS_SEND);
	assert_int_equal(liveness_check(&l, 50000 + TIMEOUT, &wait), LIVENESS_REJECT);
}

static void a_long_queue_is_not_deaf(void **state)
{
	char text[LIVENESS_TEXT];
	uint64_t now = 0, wait;
	struct liveness l;

	liveness_init(&l, INTERVAL / 1000, TIMEOUT / 1000);
	liveness_online(&l, 0, nonce_a);
	send(&l, 0, 99, text);
	/* Ours waits behind others that are acknowledged one by one. */
	for (uint64_t id = 1; id < 20; id++) {
		now += TIMEOUT - 1;
		assert_int_equal(liveness_check(&l, now, &wait), LIVENESS_WAIT);
		liveness_acked(&l, now, id);
	}
	/* Once the broker has it, acknowledgements of others say nothing any more, and what comes to us not for ever. */
	liveness_acked(&l, now, 99);
	liveness_acked(&l, now + TIMEOUT - 1, 100);
	liveness_message(&l, now + TIMEOUT / 2);
	assert_int_equal(liveness_check(&l, now + TIMEOUT, &wait), LIVENESS_WAIT);
	for (uint64_t t = now; t < now + 2 * LIVENESS_ROUND * TIMEOUT; t += TIMEOUT / 2) {
		liveness_message(&l, t);
		if (liveness_check(&l, t, &wait) == LIVENESS_REJECT) {
			assert_true(t >= now + LIVENESS_ROUND * TIMEOUT - TIMEOUT / 2 && t <= now + LIVENESS_ROUND * TIMEOUT);
			return;
		}
	}
	fail_msg("messages of others made up for ours for ever");
}

static void other_proof_puts_the_next_one_off(void **state)
{
	char text[LIVENESS_TEXT];
	struct liveness l = alive_at(0, text);
	uint64_t wait, n = 0;

	/* A message a minute is acknowledged: one canary in four intervals. */
	for (uint64_t now = 60000; now <= 24 * 3600000ull; now += 60000) {
		liveness_acked(&l, now, now);
		if (liveness_check(&l, now, &wait) != LIVENESS_SEND)
			continue;
		liveness_text(&l, text);
		liveness_sent(&l, now, 1);
		liveness_acked(&l, now, 1);
		assert_true(comes(&l, now, text));
		n++;
	}
	assert_int_equal(n, 24 * 3600000 / (LIVENESS_ROUND * INTERVAL));
	/* Messages that come to us: none at all. */
	l = alive_at(0, text);
	for (uint64_t now = 60000; now <= 24 * 3600000ull; now += 60000) {
		liveness_message(&l, now);
		assert_int_equal(liveness_check(&l, now, &wait), LIVENESS_WAIT);
		assert_int_equal(wait, INTERVAL);
	}
	/* Silence: one in each. */
	l = alive_at(0, text);
	assert_int_equal(liveness_check(&l, INTERVAL - 1, &wait), LIVENESS_WAIT);
	assert_int_equal(wait, 1);
	assert_int_equal(liveness_check(&l, INTERVAL, &wait), LIVENESS_SEND);
}

static void a_good_connection_that_goes_deaf_was_good(void **state)
{
	char text[LIVENESS_TEXT];
	struct liveness l = alive_at(0, text);
	uint64_t wait;

	send(&l, INTERVAL, 2, text);
	assert_int_equal(l.state, LIVENESS_ALIVE);
	assert_int_equal(liveness_check(&l, INTERVAL + TIMEOUT, &wait), LIVENESS_REJECT);
	assert_true(l.was_good);
	assert_int_equal(l.state, LIVENESS_DEAF);
}

static void a_broker_that_refuses_the_canary_is_deaf_at_once(void **state)
{
	char text[LIVENESS_TEXT];
	struct liveness l;
	uint64_t wait;

	liveness_init(&l, INTERVAL / 1000, TIMEOUT / 1000);
	liveness_online(&l, 0, nonce_a);
	send(&l, 0, 3, text);
	assert_false(liveness_refused(&l, 4));
	assert_true(liveness_refused(&l, 3));
	assert_int_equal(liveness_check(&l, 1, &wait), LIVENESS_REJECT);
	/* The next connection begins afresh. */
	liveness_online(&l, 10, nonce_b);
	assert_int_equal(liveness_check(&l, 10, &wait), LIVENESS_SEND);
}

static void without_canaries_an_acknowledgement_is_all_there_is(void **state)
{
	struct liveness l;
	uint64_t wait;

	liveness_init(&l, 0, TIMEOUT / 1000);
	liveness_online(&l, 0, nonce_a);
	assert_int_equal(liveness_check(&l, 1000 * INTERVAL, &wait), LIVENESS_WAIT);
	assert_true(wait == LIVENESS_NEVER);
	liveness_message(&l, 5);
	assert_int_equal(l.state, LIVENESS_UNKNOWN);
	assert_true(liveness_acked(&l, 10, 1));
	assert_int_equal(l.state, LIVENESS_ALIVE);
	assert_false(liveness_acked(&l, 11, 2));
	assert_false(comes(&l, 12, "01020300000000000000000000000000-0"));
	liveness_offline(&l);
	assert_false(liveness_acked(&l, 13, 3));
	assert_int_equal(l.state, LIVENESS_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_connection_has_to_show_it),
		cmocka_unit_test(what_is_not_the_canary_under_way_does_not_count),
		cmocka_unit_test(an_older_one_of_this_connection_is_no_answer),
		cmocka_unit_test(nothing_back_in_time_is_deaf_until_something_comes),
		cmocka_unit_test(a_canary_that_cannot_leave_is_deaf_too),
		cmocka_unit_test(a_long_queue_is_not_deaf),
		cmocka_unit_test(other_proof_puts_the_next_one_off),
		cmocka_unit_test(a_good_connection_that_goes_deaf_was_good),
		cmocka_unit_test(a_broker_that_refuses_the_canary_is_deaf_at_once),
		cmocka_unit_test(without_canaries_an_acknowledgement_is_all_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
