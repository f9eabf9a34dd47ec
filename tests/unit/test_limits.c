/* SPDX-License-Identifier: Apache-2.0 */
/* The limits on password tries, against a clock of our own. */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/core/limits.h"

#define SECOND UINT64_C(1000000)
#define T0 (1000 * SECOND)

static const uint8_t key[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
static const uint8_t cookie[LIMITS_COOKIE_ID_SIZE] = { 0xc0 };

static struct limits *make_at(const struct limit_counts *counts, uint64_t now_us)
{
	struct limits *l = limits_new(key, counts, now_us);

	assert_non_null(l);
	return l;
}

/* After failures of strangers. */
static struct limits *make(uint64_t failures)
{
	const struct limit_counts counts = { .all = failures, .by[LIMIT_STRANGER] = failures };

	return make_at(&counts, T0);
}

static enum limit_bucket bucket_of(const char *source)
{
	if (strcmp(source, "unix:0") == 0)
		return LIMIT_ROOT;
	if (strncmp(source, "tty:", 4) == 0)
		return LIMIT_CONSOLE;
	return strncmp(source, "unix:", 5) == 0 ? LIMIT_USER : LIMIT_STRANGER;
}

static struct limit_who who(struct limits *l, const char *source, uint64_t now_us)
{
	struct limit_who w;

	limits_identify(l, source, bucket_of(source), NULL, now_us, &w);
	return w;
}

/* Try and fail; returns the seconds to wait, 0 if the try was allowed. */
static unsigned fail_once(struct limits *l, const struct limit_who *w, uint64_t now_us)
{
	unsigned retry_s = 0;

	if (limits_admit(l, w, now_us, &retry_s) == -EDQUOT) {
		assert_true(retry_s > 0);
		return retry_s;
	}
	limits_failed(l, w, now_us);
	return 0;
}

static void siphash_gives_the_known_answers(void **state)
{
	/* Aumasson, Bernstein: SipHash: a fast short-input PRF, appendix A; and vectors.h of the reference code */
	static const struct {
		size_t size;
		uint64_t hash;
	} cases[] = { { 0, UINT64_C(0x726fdb47dd0e0e31) }, { 1, UINT64_C(0x74f839c593dc67fd) }, { 8, UINT64_C(0x93f5f5799a932462) },
		      { 15, UINT64_C(0xa129ca6149be45e5) } };
	uint8_t data[16];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_true(limits_siphash(key, data, cases[i].size) == cases[i].hash);
}

static void one_source_has_three_tries_and_then_waits_twice_as_long_each_time(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "ip:192.0.2.7", T0);
	uint64_t now = T0;
	static const unsigned waits_s[] = { 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900 };
	unsigned retry_s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(waits_s); i++) {
		assert_int_equal(fail_once(l, &w, now), 0);
		if (waits_s[i] > 0) {
			assert_int_equal(fail_once(l, &w, now), waits_s[i]);
			now += waits_s[i] * SECOND;
			assert_int_equal(fail_once(l, &w, now - 1), 1);
		}
	}
	assert_int_equal(limits_admit(l, &w, now, &retry_s), 0);
	assert_int_equal(limits_succeeded(l, &w, false, now), LIMITS_BACKOFF_LEFT);
	assert_int_equal(limits_admit(l, &w, now, &retry_s), 0);
	assert_int_equal(limits_succeeded(l, &w, false, now), 0);
	limits_free(l);
}

static void strangers_together_have_ten_tries_and_then_one_in_thirty_seconds(void **state)
{
	struct limits *l = make(0);
	char source[32];
	uint64_t now = T0;
	unsigned n_allowed = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		struct limit_who w;

		snprintf(source, sizeof(source), "ip:198.51.100.%u", i);
		w = who(l, source, now);
		n_allowed += fail_once(l, &w, now) == 0;
	}
	assert_int_equal(n_allowed, LIMITS_STRANGERS_BURST);
	n_allowed = 0;
	for (unsigned i = 0; i < 600; i++) { /* ten minutes, a fresh source each second */
		struct limit_who w;

		now += SECOND;
		snprintf(source, sizeof(source), "ip:203.0.%u.%u", i / 250, i % 250);
		w = who(l, source, now);
		n_allowed += fail_once(l, &w, now) == 0;
	}
	assert_int_equal(n_allowed, 20);
	limits_free(l);
}

static void after_100_failures_strangers_stay_out_but_nobody_else_does(void **state)
{
	struct limits *l = make(0);
	struct limit_who w, known, local;
	uint64_t now = T0;
	unsigned changes = 0, retry_s, n = 0;

	(void)state;
	while (!limits_is_closed(l)) {
		char source[32];

		snprintf(source, sizeof(source), "ip:10.%u.0.1", n % 250);
		w = who(l, source, now);
		if (limits_admit(l, &w, now, &retry_s) == 0) {
			changes = limits_failed(l, &w, now);
			n++;
		}
		now += 31 * SECOND;
		assert_true(n <= LIMITS_CLOSE_AFTER);
	}
	assert_int_equal(n, 100);
	assert_true(changes & LIMITS_CLOSED);
	assert_int_equal(limits_get_failures(l), 100);
	now += 30 * 86400 * SECOND;	/* time alone does not open */
	w = who(l, "ip:10.99.99.99", now);
	assert_int_equal(limits_admit(l, &w, now, &retry_s), -EDQUOT);
	limits_identify(l, "ip:10.99.99.99", LIMIT_STRANGER, cookie, now, &known);
	assert_int_equal(known.bucket, LIMIT_COOKIE);
	assert_int_equal(limits_admit(l, &known, now, &retry_s), 0);
	limits_undo(l, &known, now);
	local = who(l, "unix:1000", now);	/* any program on the device may try as one */
	assert_int_equal(limits_admit(l, &local, now, &retry_s), -EDQUOT);
	assert_true(limits_is_closed_for(l, LIMIT_USER));
	local = who(l, "unix:0", now);
	assert_int_equal(limits_admit(l, &local, now, &retry_s), 0);
	limits_undo(l, &local, now);
	local = who(l, "tty:ttyS0", now);
	assert_false(limits_is_closed_for(l, LIMIT_CONSOLE));
	assert_int_equal(limits_admit(l, &local, now, &retry_s), 0);
	assert_int_equal(limits_succeeded(l, &local, true, now), LIMITS_OPENED);
	assert_int_equal(limits_get_failures(l), 0);
	assert_int_equal(limits_admit(l, &w, now, &retry_s), 0);
	limits_undo(l, &w, now);
	limits_free(l);
}

static void tries_under_way_count_towards_the_hundred(void **state)
{
	struct limits *l = make(98);
	uint64_t now = T0 + 3600 * SECOND;
	struct limit_who a = who(l, "ip:10.0.0.1", now), b = who(l, "ip:10.0.0.2", now), c = who(l, "ip:10.0.0.3", now);
	unsigned retry_s;

	(void)state;
	assert_int_equal(limits_admit(l, &a, now, &retry_s), 0);
	assert_int_equal(limits_admit(l, &b, now, &retry_s), 0);
	assert_int_equal(limits_admit(l, &c, now, &retry_s), -EDQUOT);
	limits_undo(l, &b, now);
	assert_int_equal(limits_admit(l, &c, now, &retry_s), 0);
	limits_failed(l, &a, now);
	assert_int_equal(limits_failed(l, &c, now), LIMITS_CLOSED);
	limits_free(l);
}

static void a_power_cycle_gains_nothing(void **state)
{
	(void)state;
	for (uint64_t failures = 0; failures <= 100; failures++) {
		struct limits *l = make(failures);
		uint64_t now = T0;
		unsigned n = 0;

		for (unsigned i = 0; i < 29; i++, now += SECOND) {
			char source[32];
			struct limit_who w;

			for (unsigned k = 0; k < 12; k++) {
				snprintf(source, sizeof(source), "ip:10.0.%u.%u", i, k);
				w = who(l, source, now);
				n += fail_once(l, &w, now) == 0;
			}
		}
		/* Tries before and after the restart together: never more than the burst. */
		if (failures < 10)
			assert_true(n + failures <= 10);
		else
			assert_int_equal(n, 0);
		limits_free(l);
	}
}

static void after_a_start_with_failures_the_console_waits_too(void **state)
{
	struct limits *l = make(5);
	struct limit_who w = who(l, "unix:1000", T0);

	(void)state;
	assert_int_equal(fail_once(l, &w, T0), 3);
	assert_int_equal(fail_once(l, &w, T0 + 3 * SECOND), 0);
	limits_free(l);
}

static void on_this_machine_the_wait_grows_from_three_seconds_to_a_minute_and_ends_at_100(void **state)
{
	static const char *const sources[] = { "tty:ttyS0", "unix:0", "unix:1000" };

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(sources); k++) {
		struct limits *l = make(0);
		struct limit_who w = who(l, sources[k], T0);
		uint64_t now = T0;

		for (unsigned i = 1; i <= 100; i++) {
			unsigned want_s = i < 5 ? 3 : i == 5 ? 4 : i == 6 ? 8 : i == 7 ? 16 : i == 8 ? 32 : 60;

			assert_int_equal(fail_once(l, &w, now), 0);
			assert_int_equal(fail_once(l, &w, now), i == 100 ? LIMITS_MAX_WAIT_S : want_s);
			now += want_s * SECOND;
			assert_int_equal(fail_once(l, &w, now - 1), i == 100 ? LIMITS_MAX_WAIT_S : 1);
		}
		now += 365 * 86400 * SECOND;
		assert_int_equal(fail_once(l, &w, now), LIMITS_MAX_WAIT_S);
		assert_int_equal(limits_get_failures(l), 100);
		limits_free(l);
	}
}

static void nobody_but_the_console_can_close_the_console(void **state)
{
	const struct limit_counts counts = { .all = 300, .by = { 100, 100, 0, 100, 0 } };
	struct limits *l = make_at(&counts, T0);
	struct limit_who console = who(l, "tty:ttyS0", T0), second = who(l, "tty:ttyS1", T0);
	uint64_t now = T0 + 60 * SECOND;
	unsigned retry_s;

	(void)state;
	assert_true(limits_is_closed_for(l, LIMIT_STRANGER) && limits_is_closed_for(l, LIMIT_USER) &&
		    limits_is_closed_for(l, LIMIT_COOKIE) && limits_is_closed_for(l, LIMIT_ROOT));
	assert_int_equal(limits_admit(l, &console, now, &retry_s), 0);
	assert_int_equal(limits_admit(l, &second, now, &retry_s), -EDQUOT);	/* one person */
	limits_failed(l, &console, now);
	assert_int_equal(limits_admit(l, &second, now, &retry_s), -EDQUOT);
	assert_int_equal(retry_s, 3);
	now += 3 * SECOND;
	assert_int_equal(limits_admit(l, &second, now, &retry_s), 0);
	assert_int_equal(limits_succeeded(l, &second, true, now), LIMITS_OPENED);
	for (unsigned b = 0; b < LIMIT_BUCKETS_; b++)
		assert_false(limits_is_closed_for(l, b));
	limits_free(l);
}

static void a_restart_goes_on_where_the_console_was(void **state)
{
	(void)state;
	for (uint64_t n = 1; n <= 100; n++) {
		const struct limit_counts counts = { .all = n, .by[LIMIT_CONSOLE] = n };
		struct limits *l = make_at(&counts, T0);
		struct limit_who w = who(l, "tty:ttyS0", T0);
		uint64_t wait_s = n < 5 ? 3 : n > 8 ? 60 : 1 << (n - 3);

		assert_int_equal(fail_once(l, &w, T0), n == 100 ? LIMITS_MAX_WAIT_S : wait_s);
		assert_int_equal(fail_once(l, &w, T0 + wait_s * SECOND), n == 100 ? LIMITS_MAX_WAIT_S : 0);
		limits_free(l);
	}
}

static void a_small_account_buys_no_tries_at_a_great_one(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "ip:192.0.2.7", T0);
	uint64_t now = T0;
	unsigned retry_s, n_guesses = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++, now += 3600 * SECOND) {
		n_guesses += fail_once(l, &w, now) == 0;
		if (limits_admit(l, &w, now, &retry_s) == 0)
			limits_succeeded(l, &w, false, now);
	}
	assert_int_equal(n_guesses, 100);
	limits_free(l);
}

static void a_spray_of_addresses_does_not_wash_a_wait_away(void **state)
{
	const struct limit_counts counts = { 0 };
	unsigned n_forgotten = 0;

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		struct limits *l = make_at(&counts, T0);
		char source[48];
		struct limit_who w, other;
		unsigned retry_s;

		snprintf(source, sizeof(source), "ip:192.0.2.%u", round);
		w = who(l, source, T0);
		for (int i = 0; i < 4; i++)
			assert_int_equal(fail_once(l, &w, T0 + (uint64_t)i * 10 * SECOND), 0);
		for (unsigned i = 0; i < 30000; i++) {
			snprintf(source, sizeof(source), "ip:2001:db8:%x:%x::1", i / 65536, i % 65536);
			other = who(l, source, T0 + 31 * SECOND);
			if (limits_admit(l, &other, T0 + 31 * SECOND, &retry_s) == 0)
				limits_undo(l, &other, T0 + 31 * SECOND);
		}
		n_forgotten += limits_admit(l, &w, T0 + 31 * SECOND, &retry_s) == 0;
		limits_free(l);
	}
	assert_int_equal(n_forgotten, 0);
}

static void a_success_needs_no_wait_and_clears_the_count(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "ip:192.0.2.7", T0), local = who(l, "unix:5", T0);
	unsigned retry_s;

	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
		assert_int_equal(limits_succeeded(l, &w, true, T0), 0);
		assert_int_equal(limits_admit(l, &local, T0, &retry_s), 0);
		assert_int_equal(limits_succeeded(l, &local, true, T0), 0);
	}
	assert_int_equal(fail_once(l, &w, T0), 0);
	assert_int_equal(fail_once(l, &w, T0), 0);
	assert_int_equal(limits_get_failures(l), 2);
	assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
	limits_succeeded(l, &w, true, T0);
	assert_int_equal(limits_get_failures(l), 0);
	assert_int_equal(fail_once(l, &w, T0), 0);
	assert_int_equal(fail_once(l, &w, T0), 0);
	limits_free(l);
}

static void what_could_not_be_found_out_is_not_counted(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "ip:192.0.2.7", T0);
	unsigned retry_s;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
		limits_undo(l, &w, T0);
	}
	assert_int_equal(limits_get_failures(l), 0);
	limits_free(l);
}

static void a_source_has_one_try_at_a_time(void **state)
{
	struct limits *l = make(0);
	struct limit_who w = who(l, "ip:192.0.2.7", T0), known;
	unsigned retry_s;

	(void)state;
	assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
	assert_int_equal(limits_admit(l, &w, T0, &retry_s), -EDQUOT);
	assert_int_equal(retry_s, 1);
	limits_undo(l, &w, T0);
	assert_int_equal(limits_admit(l, &w, T0, &retry_s), 0);
	limits_identify(l, "ip:192.0.2.7", LIMIT_STRANGER, cookie, T0, &known);
	assert_int_equal(limits_admit(l, &known, T0, &retry_s), 0);	/* but a known browser does not wait for a stranger */
	assert_int_equal(limits_admit(l, &known, T0, &retry_s), -EDQUOT);
	limits_undo(l, &known, T0);
	limits_undo(l, &w, T0);
	limits_free(l);
}

static void a_known_browser_has_ten_failures_an_hour_and_is_a_stranger_then(void **state)
{
	struct limits *l = make(0);
	struct limit_who w;
	uint64_t now = T0;

	(void)state;
	/* nine an hour for some hours: fine */
	for (int hour = 0; hour < 4; hour++, now += 3601 * SECOND)
		for (int i = 0; i < 9; i++) {
			limits_identify(l, "ip:192.0.2.7", LIMIT_STRANGER, cookie, now, &w);
			assert_int_equal(w.bucket, LIMIT_COOKIE);
			assert_int_equal(fail_once(l, &w, now), 0);
		}
	for (int i = 0; i < 10; i++) {
		limits_identify(l, "ip:192.0.2.7", LIMIT_STRANGER, cookie, now, &w);
		assert_int_equal(w.bucket, LIMIT_COOKIE);
		assert_int_equal(fail_once(l, &w, now), 0);
	}
	limits_identify(l, "ip:192.0.2.7", LIMIT_STRANGER, cookie, now, &w);
	assert_int_equal(w.bucket, LIMIT_STRANGER);
	now += 90 * 86400 * SECOND;
	limits_identify(l, "ip:192.0.2.7", LIMIT_STRANGER, cookie, now, &w);
	assert_int_equal(w.bucket, LIMIT_STRANGER);
	limits_free(l);
}

/* One that was stolen: slow enough never to be void. */
static void cookies_have_a_hundred_tries_in_all(void **state)
{
	struct limits *l = make(0);
	struct limit_who w;
	uint64_t now = T0;
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 5000; i++, now += 600 * SECOND) {
		limits_identify(l, "ip:192.0.2.7", LIMIT_STRANGER, cookie, now, &w);
		n += fail_once(l, &w, now) == 0;
	}
	assert_int_equal(n, 100);
	limits_free(l);
}

static void many_cookies_do_not_wash_a_void_one_clean(void **state)
{
	struct limits *l = make(0);
	struct limit_who w;
	uint8_t id[LIMITS_COOKIE_ID_SIZE] = { 0 };

	(void)state;
	limits_identify(l, "ip:192.0.2.7", LIMIT_STRANGER, cookie, T0, &w);
	for (int i = 0; i < 10; i++)
		assert_int_equal(fail_once(l, &w, T0), 0);
	for (unsigned i = 0; i < 5000; i++) {
		memcpy(id + 1, &i, sizeof(i));
		limits_identify(l, "ip:192.0.2.8", LIMIT_STRANGER, id, T0 + i, &w);
		assert_int_equal(w.bucket, LIMIT_COOKIE);
	}
	limits_identify(l, "ip:192.0.2.7", LIMIT_STRANGER, cookie, T0, &w);
	assert_int_equal(w.bucket, LIMIT_STRANGER);
	limits_free(l);
}

static void addresses_of_one_household_are_one_source(void **state)
{
	static const struct {
		const char *a, *b;
		bool is_same;
	} cases[] = {
		{ "ip:192.0.2.7", "ip:192.0.2.7", true },
		{ "ip:192.0.2.7", "ip:192.0.2.8", false },
		{ "ip:192.0.2.7", "ip:::ffff:192.0.2.7", true },
		{ "ip:2001:db8:1:2::1", "ip:2001:db8:1:2:ffff:ffff:ffff:ffff", true },
		{ "ip:2001:db8:1:2::1", "ip:2001:db8:1:3::1", false },
		{ "ip:fe80::1%2", "ip:fe80::1%2", true },
		{ "ip:fe80::1%2", "ip:fe80::2%2", false },
		{ "ip:fe80::1%2", "ip:fe80::1%3", false },
		{ "ip:not-an-address", "ip:not-an-address", true },
		{ "ip:not-an-address", "ip:other", false },
		{ "unix:1000", "unix:1001", false },
	};
	struct limits *l = make(0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(who(l, cases[i].a, T0).key == who(l, cases[i].b, T0).key, cases[i].is_same);
	limits_free(l);
}

static void a_flood_of_sources_neither_crashes_nor_frees_the_slow_one(void **state)
{
	struct limits *l = make(0);
	struct limit_who slow = who(l, "ip:198.51.100.1", T0);
	unsigned retry_s;

	(void)state;
	assert_int_equal(limits_admit(l, &slow, T0, &retry_s), 0);	/* stays under way */
	for (unsigned i = 0; i < 20000; i++) {
		char source[32];
		struct limit_who w;

		snprintf(source, sizeof(source), "ip:10.0.%u.%u", i / 250, i % 250);
		w = who(l, source, T0);
		if (limits_admit(l, &w, T0, &retry_s) == 0)
			limits_undo(l, &w, T0);
	}
	assert_int_equal(limits_admit(l, &slow, T0 + 1, &retry_s), -EDQUOT);
	limits_failed(l, &slow, T0 + 1);
	assert_int_equal(limits_get_failures(l), 1);
	limits_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_gives_the_known_answers),
		cmocka_unit_test(one_source_has_three_tries_and_then_waits_twice_as_long_each_time),
		cmocka_unit_test(strangers_together_have_ten_tries_and_then_one_in_thirty_seconds),
		cmocka_unit_test(after_100_failures_strangers_stay_out_but_nobody_else_does),
		cmocka_unit_test(tries_under_way_count_towards_the_hundred),
		cmocka_unit_test(a_power_cycle_gains_nothing),
		cmocka_unit_test(after_a_start_with_failures_the_console_waits_too),
		cmocka_unit_test(on_this_machine_the_wait_grows_from_three_seconds_to_a_minute_and_ends_at_100),
		cmocka_unit_test(nobody_but_the_console_can_close_the_console),
		cmocka_unit_test(a_restart_goes_on_where_the_console_was),
		cmocka_unit_test(a_small_account_buys_no_tries_at_a_great_one),
		cmocka_unit_test(a_spray_of_addresses_does_not_wash_a_wait_away),
		cmocka_unit_test(cookies_have_a_hundred_tries_in_all),
		cmocka_unit_test(a_success_needs_no_wait_and_clears_the_count),
		cmocka_unit_test(what_could_not_be_found_out_is_not_counted),
		cmocka_unit_test(a_source_has_one_try_at_a_time),
		cmocka_unit_test(a_known_browser_has_ten_failures_an_hour_and_is_a_stranger_then),
		cmocka_unit_test(many_cookies_do_not_wash_a_void_one_clean),
		cmocka_unit_test(addresses_of_one_household_are_one_source),
		cmocka_unit_test(a_flood_of_sources_neither_crashes_nor_frees_the_slow_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
