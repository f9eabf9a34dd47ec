/* SPDX-License-Identifier: Apache-2.0 */
/* How late it is at least: every source, every damage, every rollback. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agentd/core/timekeeper.h"

#define BUILD_S UINT64_C(1800000000)
#define DAY_S UINT64_C(86400)
#define LATEST_S UINT64_C(253402300799) /* 9999-12-31 */

static struct timekeeper_news look(struct timekeeper *tk, uint64_t system_s, uint64_t boot_s, bool is_network, bool is_authenticated)
{
	struct timekeeper_news news;

	timekeeper_look(tk, &(struct timekeeper_look){ system_s, boot_s, is_network, is_authenticated }, &news);
	return news;
}

static void without_anything_it_is_later_than_the_build(void **state)
{
	struct timekeeper_news news;
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 100);
	news = look(&tk, 5, 100, false, false);
	assert_int_equal(news.reading.state, AGENT_TIME_NONE);
	assert_int_equal(news.reading.now_s, BUILD_S);
	assert_true(news.is_behind);
	/* The floor goes on with the running time. */
	news = look(&tk, 1005, 1100, false, false);
	assert_int_equal(news.reading.floor_s, BUILD_S + 1000);
	assert_int_equal(news.step_s, 0);
}

static void a_clock_that_nobody_confirms_is_only_a_guess(void **state)
{
	struct timekeeper_news news;
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	news = look(&tk, UINT64_C(4102444800), 0, false, false); /* 2100, after what a 32-bit time_t can hold */
	assert_int_equal(news.reading.state, AGENT_TIME_NONE);
	assert_int_equal(news.reading.now_s, UINT64_C(4102444800));
	assert_int_equal(news.reading.floor_s, BUILD_S);
	assert_true(news.reading.uncertainty_s == AGENT_TIME_UNCERTAIN);
}

static void what_was_saved_comes_back(void **state)
{
	char text[TIMEKEEPER_TEXT_MAX];
	struct timekeeper tk, next;

	timekeeper_start(&tk, BUILD_S, 10);
	look(&tk, BUILD_S + 50 * DAY_S, 10, false, true);
	timekeeper_save(&tk, 15, text);
	timekeeper_start(&next, BUILD_S, 3);
	assert_int_equal(timekeeper_load(&next, text, strlen(text)), 0);
	/* One second is the uncertainty; five ran by. */
	assert_int_equal(timekeeper_floor(&next, 3), BUILD_S + 50 * DAY_S - 1 + 5);
	assert_int_equal(look(&next, 0, 3, false, false).reading.state, AGENT_TIME_FLOOR);
}

static void each_damage_is_seen_and_nothing_is_taken(void **state)
{
	char text[TIMEKEEPER_TEXT_MAX], bad[TIMEKEEPER_TEXT_MAX];
	struct timekeeper tk, next;
	size_t size;

	timekeeper_start(&tk, BUILD_S, 0);
	look(&tk, BUILD_S + DAY_S, 0, false, true);
	timekeeper_save(&tk, 0, text);
	size = strlen(text);
	for (size_t i = 0; i < size; i++)
		for (int bit = 0; bit < 8; bit++) {
			memcpy(bad, text, size + 1);
			bad[i] = (char)(bad[i] ^ (1 << bit));
			timekeeper_start(&next, BUILD_S, 0);
			assert_int_equal(timekeeper_load(&next, bad, size), -EBADMSG);
			assert_int_equal(timekeeper_floor(&next, 0), BUILD_S);
		}
	for (size_t i = 0; i < size; i++) {
		memcpy(bad, text, size + 1);
		bad[i] = '\0';
		timekeeper_start(&next, BUILD_S, 0);
		assert_int_equal(timekeeper_load(&next, bad, i), -EBADMSG);
	}
	assert_int_equal(timekeeper_load(&next, "", 0), -EBADMSG);
}

/* Time saved with a TPM clock of @saved_ms, loaded when it shows @now. */
static uint64_t floor_after(uint64_t saved_ms, const struct agent_tpm_clock *now, bool *ret_fits)
{
	struct agent_tpm_clock clock = { .clock_ms = saved_ms, .n_resets = 5, .is_safe = true };
	char text[TIMEKEEPER_TEXT_MAX];
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	assert_true(timekeeper_tpm(&tk, &clock, 0));
	timekeeper_save(&tk, 0, text);
	timekeeper_start(&tk, BUILD_S, 0);
	assert_int_equal(timekeeper_load(&tk, text, strlen(text)), 0);
	*ret_fits = timekeeper_tpm(&tk, now, 0);
	return timekeeper_floor(&tk, 0) - BUILD_S;
}

static void the_clock_of_the_tpm_counts_what_ran_since(void **state)
{
	bool fits;

	/* A file that was put back costs only the time without power: 100000 s ran, and it may be 15 % fast. */
	assert_int_equal(floor_after(1000, &(struct agent_tpm_clock){ .clock_ms = 100001000, .n_resets = 7, .is_safe = true }, &fits), 85000);
	assert_true(fits);
	/* Cleared, or another TPM. */
	assert_int_equal(floor_after(1000, &(struct agent_tpm_clock){ .clock_ms = 100001000, .n_resets = 0, .is_safe = true }, &fits), 0);
	assert_false(fits);
	assert_int_equal(floor_after(9000000, &(struct agent_tpm_clock){ .clock_ms = 5, .n_resets = 7, .is_safe = true }, &fits), 0);
	assert_false(fits);
	/* After a power cut it may have lost some: no proof, no alarm. */
	assert_int_equal(floor_after(9000000, &(struct agent_tpm_clock){ .clock_ms = 8000000, .n_resets = 6 }, &fits), 0);
	assert_true(fits);
}

static void a_running_save_counts_no_second_twice(void **state)
{
	struct agent_tpm_clock clock = { .clock_ms = 50000, .n_resets = 1, .is_safe = true };
	char text[TIMEKEEPER_TEXT_MAX];
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	assert_true(timekeeper_tpm(&tk, &clock, 0));
	timekeeper_save(&tk, 10000, text); /* 10000 s after the TPM was asked */
	timekeeper_start(&tk, BUILD_S, 0);
	assert_int_equal(timekeeper_load(&tk, text, strlen(text)), 0);
	clock.clock_ms += 10000 * 1000;
	clock.is_safe = false;
	assert_true(timekeeper_tpm(&tk, &clock, 0));
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 10000 - 2); /* 200 ppm of a quartz */
}

/* The TPM is asked once an hour and the agent may be started anew at any time: that is no other TPM. */
static void a_tpm_asked_long_before_the_save_is_still_the_same(void **state)
{
	static const struct {
		uint64_t tpm_s, proves_s;	/* what its clock counted since it was asked, and the floor since the save */
		bool fits;
	} cases[] = { { 3000, 0, true }, { 3601, 0, true }, { 4140, 0, true }, { 4140 + 1000, 850, true }, { 0, 0, true } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct agent_tpm_clock clock = { .clock_ms = 7000000, .n_resets = 1, .is_safe = true };
		char text[TIMEKEEPER_TEXT_MAX];
		struct timekeeper tk;
		uint64_t saved_s;

		timekeeper_start(&tk, BUILD_S, 0);
		assert_true(timekeeper_tpm(&tk, &clock, 0));
		timekeeper_save(&tk, 3600, text);
		timekeeper_start(&tk, BUILD_S, 0);
		assert_int_equal(timekeeper_load(&tk, text, strlen(text)), 0);
		saved_s = timekeeper_floor(&tk, 0);
		clock.clock_ms += cases[i].tpm_s * 1000;
		assert_int_equal(timekeeper_tpm(&tk, &clock, 0), cases[i].fits);
		assert_int_equal(timekeeper_floor(&tk, 0), saved_s + cases[i].proves_s);
	}
}

/* A quartz that is 100 ppm fast, a date every hour, for a year: the floor does not run away from the dates. */
static void a_fast_quartz_does_not_outrun_the_dates(void **state)
{
	struct timekeeper_news news = { 0 };
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	for (uint64_t hour = 1; hour <= 365 * 24; hour++) {
		uint64_t true_s = BUILD_S + hour * 3600, boot_s = hour * 3600 + hour * 3600 / 10000;

		assert_int_equal(timekeeper_date(&tk, true_s, 0, boot_s), 0);
		news = look(&tk, 7, boot_s, false, false);
		assert_int_equal(news.reading.state, AGENT_TIME_AUTHENTICATED);
		assert_true(news.reading.floor_s <= true_s && news.reading.floor_s + 10 > true_s);
	}
}

/* Whole seconds of two clocks change at different moments, and small corrections are made: neither is a clock that went back. */
static void a_correction_that_is_no_step_leaves_the_state_alone(void **state)
{
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	look(&tk, BUILD_S + 1000, 10, true, false);
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S, BUILD_S + DAY_S, BUILD_S + 1000, 10), 0);
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(look(&tk, BUILD_S + 1000 + i * 10 - i, 10 + i * 10, true, false).reading.state, AGENT_TIME_NETWORK);
}

static void a_floor_ends_where_x509_does(void **state)
{
	char text[TIMEKEEPER_TEXT_MAX];
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	assert_int_equal(timekeeper_date(&tk, LATEST_S, 0, 0), 0);
	look(&tk, 0, 0, false, false);
	look(&tk, 0, 100000, false, false);
	timekeeper_save(&tk, 200000, text);
	timekeeper_start(&tk, BUILD_S, 0);
	assert_int_equal(timekeeper_load(&tk, text, strlen(text)), 0);
	assert_int_equal(timekeeper_floor(&tk, 5000), LATEST_S);
}

/* Who sets the clock of the network and holds up the broker's answers meanwhile gains nothing by a handshake from before. */
static void a_clock_that_no_certificate_is_good_at_raises_nothing(void **state)
{
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	look(&tk, BUILD_S + DAY_S, 0, true, false);
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S, BUILD_S + 90 * DAY_S, BUILD_S + 9000 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 10 * DAY_S, BUILD_S + 90 * DAY_S, BUILD_S + 9 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 10 * DAY_S); /* the certificate alone */
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 2, BUILD_S + 1, BUILD_S + DAY_S, 0), -ERANGE);
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S, BUILD_S + 90 * DAY_S, BUILD_S + 30 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 30 * DAY_S - TIMEKEEPER_STEP_S);
}

static void an_answer_that_was_long_on_its_way_is_less_certain(void **state)
{
	struct timekeeper_news news;
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	assert_int_equal(timekeeper_date(&tk, BUILD_S + DAY_S, 40, 0), 0);
	news = look(&tk, 0, 0, false, false);
	assert_int_equal(news.reading.uncertainty_s, 43);
	assert_int_equal(timekeeper_date(&tk, BUILD_S + DAY_S, 100000, 0), -ERANGE);
}

static void network_time_raises_the_floor_only_after_a_handshake(void **state)
{
	struct timekeeper_news news;
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	news = look(&tk, BUILD_S + 900 * DAY_S, 0, true, false);
	assert_int_equal(news.reading.state, AGENT_TIME_NETWORK);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S);
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 890 * DAY_S, LATEST_S, BUILD_S + 900 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 900 * DAY_S - TIMEKEEPER_STEP_S);
	/* The clock goes back: it is not believed any more. */
	news = look(&tk, BUILD_S + 800 * DAY_S, 0, true, false);
	assert_int_equal(news.reading.state, AGENT_TIME_FLOOR);
	assert_true(news.is_new_state && news.is_behind);
	assert_int_equal(news.step_s, -100 * (int64_t)DAY_S);
	assert_int_equal(news.reading.now_s, BUILD_S + 900 * DAY_S - TIMEKEEPER_STEP_S);
}

static void an_authenticated_source_corrects_the_network_and_not_itself(void **state)
{
	struct timekeeper_news news;
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	look(&tk, BUILD_S + 900 * DAY_S, 0, true, false);
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 890 * DAY_S, LATEST_S, BUILD_S + 900 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 80 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_date(&tk, BUILD_S + 100 * DAY_S, 0, 0), 0);
	news = look(&tk, BUILD_S + 900 * DAY_S, 0, true, false);
	assert_int_equal(news.reading.state, AGENT_TIME_AUTHENTICATED);
	assert_int_equal(news.reading.now_s, BUILD_S + 100 * DAY_S);
	assert_int_equal(news.corrected_s, 800 * DAY_S - TIMEKEEPER_STEP_S);
	/* It runs on by itself, whatever is done to the system clock, and is not told an earlier time. */
	news = look(&tk, 7, 50, true, false);
	assert_int_equal(news.reading.now_s, BUILD_S + 100 * DAY_S + 50);
	assert_int_equal(timekeeper_date(&tk, BUILD_S + 99 * DAY_S, 0, 50), -ERANGE);
	assert_int_equal(timekeeper_date(&tk, UINT64_MAX, 0, 50), -ERANGE);
	/* After a sleep nobody knows how long ago that was. */
	struct timekeeper slept = tk;

	timekeeper_slept(&slept);
	news = look(&slept, 5000, 60, false, false);
	assert_int_equal(news.reading.state, AGENT_TIME_FLOOR);
	assert_int_equal(news.step_s, 0);
	/* After a week without news it is a floor. */
	news = look(&tk, 7, 50 + TIMEKEEPER_DATE_LIFE_S, false, false);
	assert_int_equal(news.reading.state, AGENT_TIME_FLOOR);
	assert_true(news.reading.floor_s >= BUILD_S + 107 * DAY_S - 200);
}

static void a_certificate_raises_the_floor_within_reason(void **state)
{
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 300 * DAY_S, LATEST_S, 0, 0), 0);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 300 * DAY_S);
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 20000 * DAY_S, LATEST_S, 0, 0), 0);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 300 * DAY_S);
	assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, UINT64_MAX, UINT64_MAX, 0, 0), -ERANGE);
	assert_int_equal(look(&tk, 0, 0, false, false).reading.state, AGENT_TIME_FLOOR);
}

/* Certificates may be good for decades: who spoofs the network moves the floor by a month, however often, and over restarts. */
static void the_network_is_held_against_what_was_signed(void **state)
{
	char text[TIMEKEEPER_TEXT_MAX];
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	look(&tk, BUILD_S + 9000 * DAY_S, 0, true, false);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(timekeeper_handshake(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 50 * DAY_S, LATEST_S, BUILD_S + 9000 * DAY_S, 0), 0);
		assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 80 * DAY_S);
		timekeeper_save(&tk, 0, text);
		timekeeper_start(&tk, BUILD_S, 0);
		assert_int_equal(timekeeper_load(&tk, text, strlen(text)), 0);
		look(&tk, BUILD_S + 9000 * DAY_S, 0, true, false);
	}
}

/* agentd-fetch alone, lying as often as it likes, about certificates too. */
static void a_date_years_ahead_can_be_corrected(void **state)
{
	char text[TIMEKEEPER_TEXT_MAX];
	struct timekeeper_news news;
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	for (uint64_t i = 1; i <= 100; i++) {
		(void)!timekeeper_signed(&tk, TIMEKEEPER_AUTHORITY_FETCH, BUILD_S + i * 300 * DAY_S, 0);
		assert_int_equal(timekeeper_date(&tk, BUILD_S + i * 29 * DAY_S, 0, 0), 0);
		assert_int_equal(look(&tk, 0, 0, false, false).reading.state, AGENT_TIME_AUTHENTICATED);
		assert_int_equal(timekeeper_date(&tk, LATEST_S, 0, 0), 0);
		news = look(&tk, 0, 0, false, false);
		assert_int_equal(news.reading.now_s, LATEST_S);
		timekeeper_save(&tk, 0, text);
		timekeeper_start(&tk, BUILD_S, 0);
		assert_int_equal(timekeeper_load(&tk, text, strlen(text)), 0);
		assert_true(timekeeper_floor(&tk, 0) > BUILD_S + 9000 * DAY_S);
	}
	assert_int_equal(tk.hard_s, BUILD_S + 30 * DAY_S);
	/* Then it tells the truth, or somebody else does. */
	assert_int_equal(timekeeper_date(&tk, BUILD_S + 40 * DAY_S, 0, 0), 0);
	news = look(&tk, 0, 0, false, false);
	assert_true(news.corrected_s > 9000 * DAY_S);
	assert_int_equal(news.reading.now_s, BUILD_S + 40 * DAY_S);
	assert_true(news.reading.floor_s <= BUILD_S + 40 * DAY_S);
	assert_int_equal(timekeeper_date(&tk, BUILD_S + 20 * DAY_S, 0, 0), -ERANGE);
	assert_int_equal(look(&tk, BUILD_S + 41 * DAY_S, 0, false, true).reading.now_s, BUILD_S + 41 * DAY_S);
	assert_int_equal(tk.hard_s, BUILD_S + 41 * DAY_S - 1);
}

/* What agentd-link saw an authority sign and what agentd-fetch was told go together: the hard floor takes it. */
static void two_that_agree_raise_the_hard_floor(void **state)
{
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 1000 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_date(&tk, BUILD_S + 1010 * DAY_S, 0, 0), 0);
	look(&tk, 0, 0, false, false);
	assert_int_equal(tk.hard_s, BUILD_S + 1010 * DAY_S - 3);
	/* A witness that was too high is one no more. */
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 2500 * DAY_S, 0), 0);
	look(&tk, 0, 0, false, false);
	assert_int_equal(timekeeper_date(&tk, BUILD_S + 2500 * DAY_S, 0, 0), 0);
	look(&tk, 0, 0, false, false);
	assert_int_equal(tk.hard_s, BUILD_S + 1040 * DAY_S);
}

static void a_signature_counts_as_far_as_its_signer_is_believed(void **state)
{
	struct timekeeper_news news;
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_SIGNER, BUILD_S + 100 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 100 * DAY_S);
	news = look(&tk, 0, 0, false, false);
	assert_int_equal(news.reading.state, AGENT_TIME_FLOOR);
	/* A build machine years ahead: the part of it that is sure enough, said a hundred times. */
	for (int i = 0; i < 100; i++)
		assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_SIGNER, BUILD_S + 9000 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 365 * DAY_S);
	assert_int_equal(tk.hard_s, BUILD_S);
	assert_int_equal(tk.witness_s, BUILD_S);
	/* An old one is no way back, and nonsense is none at all. */
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_SIGNER, 1, 0), 0);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 365 * DAY_S);
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_SIGNER, 0, 0), -ERANGE);
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_SIGNER, LATEST_S + 1, 0), -ERANGE);
	/* Authorities: five years in a store, and no more. */
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 1826 * DAY_S, 0), -ERANGE);
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 1825 * DAY_S, 0), 0);
	assert_int_equal(timekeeper_signed(&tk, TIMEKEEPER_AUTHORITY, BUILD_S + 1900 * DAY_S, 0), -ERANGE);
	assert_int_equal(timekeeper_floor(&tk, 0), BUILD_S + 1825 * DAY_S);
}

static void all_but_the_build_can_be_forgotten(void **state)
{
	struct agent_tpm_clock clock = { .clock_ms = 1000000, .n_resets = 1, .is_safe = true };
	struct timekeeper_news news;
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	assert_true(timekeeper_tpm(&tk, &clock, 0));
	look(&tk, BUILD_S + 9000 * DAY_S, 5, false, true);
	assert_int_equal(timekeeper_date(&tk, BUILD_S + 9000 * DAY_S, 0, 5), 0);
	timekeeper_forget(&tk, BUILD_S, 10);
	assert_int_equal(timekeeper_floor(&tk, 15), BUILD_S + 5);
	news = look(&tk, 0, 10, false, false);
	assert_int_equal(news.reading.state, AGENT_TIME_NONE);
	assert_true(news.is_new_state);
	assert_int_equal(news.reading.floor_s, BUILD_S);
	/* Its clock went on; that proves nothing from before. */
	clock.clock_ms += 9000000;
	assert_true(timekeeper_tpm(&tk, &clock, 10));
	assert_int_equal(timekeeper_floor(&tk, 10), BUILD_S);
}

static void a_step_counts_and_a_slew_does_not(void **state)
{
	struct timekeeper tk;
	uint64_t before;

	timekeeper_start(&tk, BUILD_S, 0);
	look(&tk, BUILD_S + 1000, 0, true, false);
	before = tk.n_changes;
	for (uint64_t i = 1; i < 100; i++)
		assert_int_equal(look(&tk, BUILD_S + 1000 + i * 12, i * 10, true, false).step_s, 0);
	assert_int_equal(tk.n_changes, before);
	assert_int_equal(look(&tk, BUILD_S + 1000 + 99 * 12 + 500, 990, true, false).step_s, 500);
	assert_int_equal(tk.n_changes, before + 1);
}

static void an_authenticated_clock_below_the_build_is_not_believed(void **state)
{
	struct timekeeper tk;

	timekeeper_start(&tk, BUILD_S, 0);
	assert_int_equal(look(&tk, 1000, 0, true, true).reading.state, AGENT_TIME_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_anything_it_is_later_than_the_build),
		cmocka_unit_test(a_clock_that_nobody_confirms_is_only_a_guess),
		cmocka_unit_test(what_was_saved_comes_back),
		cmocka_unit_test(each_damage_is_seen_and_nothing_is_taken),
		cmocka_unit_test(the_clock_of_the_tpm_counts_what_ran_since),
		cmocka_unit_test(a_running_save_counts_no_second_twice),
		cmocka_unit_test(a_tpm_asked_long_before_the_save_is_still_the_same),
		cmocka_unit_test(a_fast_quartz_does_not_outrun_the_dates),
		cmocka_unit_test(a_correction_that_is_no_step_leaves_the_state_alone),
		cmocka_unit_test(a_floor_ends_where_x509_does),
		cmocka_unit_test(a_clock_that_no_certificate_is_good_at_raises_nothing),
		cmocka_unit_test(an_answer_that_was_long_on_its_way_is_less_certain),
		cmocka_unit_test(network_time_raises_the_floor_only_after_a_handshake),
		cmocka_unit_test(an_authenticated_source_corrects_the_network_and_not_itself),
		cmocka_unit_test(a_certificate_raises_the_floor_within_reason),
		cmocka_unit_test(the_network_is_held_against_what_was_signed),
		cmocka_unit_test(a_date_years_ahead_can_be_corrected),
		cmocka_unit_test(two_that_agree_raise_the_hard_floor),
		cmocka_unit_test(a_signature_counts_as_far_as_its_signer_is_believed),
		cmocka_unit_test(all_but_the_build_can_be_forgotten),
		cmocka_unit_test(a_step_counts_and_a_slew_does_not),
		cmocka_unit_test(an_authenticated_clock_below_the_build_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
