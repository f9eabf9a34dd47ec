/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker connection used in a month, with clocks that are unknown, jump and go back. */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/link/inbox.h"
#include "agentd/link/usage.h"

#define DAY_S UINT64_C(86400)
#define NOVEMBER UINT64_C(1795305600)	/* 2026-11-22 00:00:00 UTC */

static struct usage u;

static int clean(void **state)
{
	(void)state;
	memset(&u, 0, sizeof(u));
	return 0;
}

static void it_is(enum agent_time_state state, uint64_t now_s, uint64_t ran_s)
{
	const struct agent_time_reading r = { .state = state, .now_s = now_s, .floor_s = now_s };

	usage_time(&u, &r, ran_s);
}

static void a_month_ends_and_the_one_before_is_kept(void **state)
{
	it_is(AGENT_TIME_NETWORK, NOVEMBER, 0);
	assert_int_equal(u.now.month, 202611);
	usage_add(&u, 1000, 100, 2);
	it_is(AGENT_TIME_AUTHENTICATED, NOVEMBER + 8 * DAY_S + 86399, 60);
	assert_int_equal(u.now.month, 202611);
	u.told[USAGE_BYTES] = 80;
	it_is(AGENT_TIME_AUTHENTICATED, NOVEMBER + 9 * DAY_S, 1);	/* 1 December */
	assert_int_equal(u.now.month, 202612);
	assert_int_equal(usage_used(&u, USAGE_BYTES), 0);
	assert_int_equal(u.told[USAGE_BYTES], 0);
	assert_int_equal(u.last.month, 202611);
	assert_int_equal(u.last.sent, 1000);
	assert_int_equal(u.last.received, 100);
	assert_int_equal(u.last.connects, 2);
	assert_int_equal(u.last.ran_s, 61);
	it_is(AGENT_TIME_NETWORK, NOVEMBER + 40 * DAY_S, 1);	/* over a year */
	assert_int_equal(u.now.month, 202701);
}

static void without_a_date_a_period_has_thirty_days_of_running_time(void **state)
{
	it_is(AGENT_TIME_NONE, NOVEMBER, 100);
	usage_add(&u, 5, 5, 1);
	assert_int_equal(u.now.month, 0);
	it_is(AGENT_TIME_NONE, NOVEMBER, USAGE_PERIOD_S - 101);
	assert_int_equal(usage_used(&u, USAGE_BYTES), 10);
	it_is(AGENT_TIME_NONE, NOVEMBER, 1);
	assert_int_equal(usage_used(&u, USAGE_BYTES), 0);
	assert_int_equal(u.last.sent, 5);
	/* The date becomes known: what was counted is of that month. */
	usage_add(&u, 7, 0, 0);
	it_is(AGENT_TIME_NETWORK, NOVEMBER, 1);
	assert_int_equal(u.now.month, 202611);
	assert_int_equal(u.now.sent, 7);
	/* Lost again by a boot: the month stays, until the floor says that it is over, */
	it_is(AGENT_TIME_FLOOR, NOVEMBER + DAY_S, 1);
	assert_int_equal(u.now.month, 202611);
	it_is(AGENT_TIME_FLOOR, NOVEMBER - 300 * DAY_S, 1);
	assert_int_equal(u.now.month, 202611);
	it_is(AGENT_TIME_FLOOR, NOVEMBER + 20 * DAY_S, 1);
	assert_int_equal(u.now.month, 0);
	assert_int_equal(u.last.sent, 7);
	/* or thirty days have been counted. */
	it_is(AGENT_TIME_NETWORK, NOVEMBER + 20 * DAY_S, 1);
	assert_int_equal(u.now.month, 202612);
	it_is(AGENT_TIME_FLOOR, NOVEMBER + 20 * DAY_S, USAGE_PERIOD_S);
	assert_int_equal(u.now.month, 0);
}

static void a_clock_that_jumps_and_comes_back_loses_nothing(void **state)
{
	it_is(AGENT_TIME_NETWORK, NOVEMBER, 10);
	usage_add(&u, 100, 10, 1);
	it_is(AGENT_TIME_NETWORK, NOVEMBER + 5000 * DAY_S, 10);
	assert_int_equal(usage_used(&u, USAGE_BYTES), 0);
	usage_add(&u, 1, 2, 3);
	it_is(AGENT_TIME_NETWORK, NOVEMBER + 1, 10);
	assert_int_equal(u.now.month, 202611);
	assert_int_equal(u.now.sent, 101);
	assert_int_equal(u.now.received, 12);
	assert_int_equal(u.now.connects, 4);
	assert_int_equal(u.now.ran_s, 30);
	assert_int_equal(u.last.month, 0);
	/* Back over the end of a month that was over: nothing begins anew for it. */
	it_is(AGENT_TIME_NETWORK, NOVEMBER - 60 * DAY_S, 10);
	assert_int_equal(u.now.month, 202609);
	assert_int_equal(u.now.sent, 101);
}

static void it_is_told_once_at_80_and_100_percent(void **state)
{
	assert_int_equal(usage_to_tell(&u, USAGE_BYTES, 0), 0);	/* no budget */
	usage_add(&u, 700, 99, 4);
	assert_int_equal(usage_to_tell(&u, USAGE_BYTES, 1000), 0);
	usage_add(&u, 0, 1, 0);
	assert_int_equal(usage_to_tell(&u, USAGE_BYTES, 1000), 80);
	assert_int_equal(usage_to_tell(&u, USAGE_CONNECTS, 5), 80);
	assert_int_equal(usage_to_tell(&u, USAGE_CONNECTS, 4), 100);
	u.told[USAGE_BYTES] = 80;
	assert_int_equal(usage_to_tell(&u, USAGE_BYTES, 1000), 0);
	usage_add(&u, 200, 0, 0);
	assert_int_equal(usage_to_tell(&u, USAGE_BYTES, 1000), 100);
	u.told[USAGE_BYTES] = 100;
	usage_add(&u, UINT64_MAX, UINT64_MAX, 0);
	assert_int_equal(usage_to_tell(&u, USAGE_BYTES, 1000), 0);
	assert_true(usage_used(&u, USAGE_BYTES) == UINT64_MAX);
}

static void what_was_kept_is_read_and_nothing_else(void **state)
{
	char text[USAGE_TEXT_MAX], bad[USAGE_TEXT_MAX];
	struct usage again = { 0 };
	size_t n;

	it_is(AGENT_TIME_NETWORK, NOVEMBER, 10);
	usage_add(&u, 123, 45, 6);
	u.told[USAGE_CONNECTS] = 80;
	it_is(AGENT_TIME_NETWORK, NOVEMBER + 10 * DAY_S, 5);
	usage_add(&u, UINT64_MAX, 1, 1);
	usage_save(&u, text);
	n = strlen(text);
	assert_int_equal(usage_load(&again, text, n), 0);
	assert_memory_equal(&again, &u, sizeof(u));
	memset(&again, 0, sizeof(again));
	for (size_t i = 0; i < n; i++) {
		memcpy(bad, text, n);
		bad[i] ^= 1;
		assert_int_equal(usage_load(&again, bad, n), -EBADMSG);
		assert_int_equal(usage_load(&again, text, i), -EBADMSG);
	}
	assert_int_equal(again.now.sent, 0);
	/* A month that there is not, with the right sum. */
	u.now.month = 202613;
	usage_save(&u, text);
	assert_int_equal(usage_load(&again, text, strlen(text)), -EBADMSG);
}

/* What there is no room for is counted, and a gap stands in its place. */
static void an_inbox_counts_what_it_cannot_keep(void **state)
{
	struct worker_message *m;
	struct inbox inbox;
	size_t n = 0, gaps = 0;

	inbox_init(&inbox);
	for (int i = 0; i < 300; i++)
		inbox_put(&inbox, NULL, "t", "x", 1);
	assert_int_equal(inbox.n_lost, 300 - 256);
	inbox_put(&inbox, "connection", NULL, NULL, 0);
	assert_int_equal(inbox.n_lost, 300 - 256);
	while ((m = inbox_take(&inbox)) != NULL) {
		n++;
		gaps += m->gap != NULL;
		worker_message_free(m);
	}
	assert_int_equal(n - gaps, 256);
	assert_int_equal(gaps, 1);
	inbox_clear(&inbox);
	assert_int_equal(inbox.bytes, 0);
}

/* A broker may make them as long as 64 KiB; and of a message that is too long its topic is known. */
static void topics_take_room_as_well(void **state)
{
	char topic[60001];
	struct worker_message *m;
	struct inbox inbox;
	size_t n = 0;

	memset(topic, 't', sizeof(topic) - 1);
	topic[sizeof(topic) - 1] = '\0';
	inbox_init(&inbox);
	inbox_put(&inbox, "size", "a", topic, 70000);
	for (int i = 0; i < 100; i++)
		inbox_put(&inbox, NULL, topic, "x", 1);
	m = inbox_take(&inbox);
	assert_string_equal(m->gap, "size");
	assert_string_equal(m->topic, "a");
	assert_int_equal(m->size, 0);
	worker_message_free(m);
	while ((m = inbox_take(&inbox)) != NULL) {
		n += m->gap == NULL;
		worker_message_free(m);
	}
	assert_int_equal(n, 8);
	assert_int_equal(inbox.n_lost, 92);
	assert_int_equal(inbox.bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_month_ends_and_the_one_before_is_kept, clean),
		cmocka_unit_test_setup(without_a_date_a_period_has_thirty_days_of_running_time, clean),
		cmocka_unit_test_setup(a_clock_that_jumps_and_comes_back_loses_nothing, clean),
		cmocka_unit_test_setup(it_is_told_once_at_80_and_100_percent, clean),
		cmocka_unit_test(an_inbox_counts_what_it_cannot_keep),
		cmocka_unit_test_setup(what_was_kept_is_read_and_nothing_else, clean),
		cmocka_unit_test(topics_take_room_as_well),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
