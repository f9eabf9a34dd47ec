/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#include "agentd/mgmt/limit.h"

#define SECOND UINT64_C(1000000)

static int make(void **state)
{
	return limit_table_new((struct limit_table **)state);
}

static int end(void **state)
{
	limit_table_free(*state);
	return 0;
}

static void siphash_matches_the_paper(void **state)
{
	/* Aumasson, Bernstein: SipHash, appendix A */
	uint8_t key[16], data[15];

	for (uint8_t i = 0; i < 16; i++)
		key[i] = i;
	for (uint8_t i = 0; i < 15; i++)
		data[i] = i;
	assert_true(siphash24(key, data, sizeof(data)) == UINT64_C(0xa129ca6149be45e5));
}

static void a_burst_passes_and_then_the_rate_holds(void **state)
{
	struct limit_table *t = *state;
	uint64_t now = 100 * SECOND;
	uint32_t burst = limit_rates[LIMIT_STRANGER].burst, interval = limit_rates[LIMIT_STRANGER].interval_us;
	unsigned passed = 0;

	for (uint32_t i = 0; i < burst; i++)
		assert_int_equal(limit_take(t, LIMIT_STRANGER, "a", 1, now), 0);
	assert_int_equal(limit_take(t, LIMIT_STRANGER, "a", 1, now), 1);
	/* others and other classes are not touched */
	assert_int_equal(limit_take(t, LIMIT_STRANGER, "b", 1, now), 0);
	assert_int_equal(limit_take(t, LIMIT_AUTH, "a", 1, now), 0);
	assert_int_equal(limit_take(t, LIMIT_STRANGER, "a", 1, now + interval - 1), 1);
	assert_int_equal(limit_take(t, LIMIT_STRANGER, "a", 1, now + interval), 0);
	/* ten seconds of hammering: no more than the rate */
	now += interval;
	for (uint64_t us = 0; us < 10 * SECOND; us += 1000)
		passed += limit_take(t, LIMIT_STRANGER, "a", 1, now + us) == 0;
	assert_in_range(passed, 10 * SECOND / interval - 1, 10 * SECOND / interval + 1);
	/* and after a rest there is a full burst again, no more */
	now += 100 * SECOND;
	for (passed = 0; limit_take(t, LIMIT_STRANGER, "a", 1, now) == 0; passed++)
		;
	assert_int_equal(passed, burst);
}

static void a_spray_of_sources_shares_one_bucket_and_an_active_one_keeps_its_own(void **state)
{
	struct limit_table *t = *state;
	uint64_t now = 100 * SECOND;
	unsigned passed = 0;

	/* the owner has used half of his budget */
	for (int i = 0; i < 5; i++)
		assert_int_equal(limit_take(t, LIMIT_STRANGER, "owner", 5, now), 0);
	for (uint32_t i = 0; i < 100000; i++)
		for (int k = 0; k < 2; k++)
			passed += limit_take(t, LIMIT_STRANGER, &i, sizeof(i), now) == 0;
	/* 1024 places, two each, and one burst for all the rest */
	assert_in_range(passed, 1000, 2 * 1024 + 10);
	for (int i = 0; i < 5; i++)
		assert_int_equal(limit_take(t, LIMIT_STRANGER, "owner", 5, now), 0);
	assert_int_not_equal(limit_take(t, LIMIT_STRANGER, "owner", 5, now), 0);
}

static void source_of(const char *text, uint32_t scope, struct source *ret)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_scope_id = scope };
	struct sockaddr_in in = { .sin_family = AF_INET };

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
		source_from_address((struct sockaddr *)&in, ret);
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
		source_from_address((struct sockaddr *)&in6, ret);
	}
}

static void one_host_is_one_source(void **state)
{
	static const struct {
		const char *a, *b;
		uint32_t scope_a, scope_b;
		int same;
	} cases[] = {
		{ "192.0.2.7", "192.0.2.7", 0, 0, 1 },
		{ "192.0.2.7", "192.0.2.8", 0, 0, 0 },
		{ "192.0.2.7", "::ffff:192.0.2.7", 0, 0, 1 },	/* dual stack */
		{ "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", 0, 0, 1 },	/* a /64 */
		{ "2001:db8::1", "2001:db8:0:1::1", 0, 0, 0 },
		{ "fe80::1", "fe80::2", 3, 3, 0 },
		{ "fe80::1", "fe80::1", 3, 4, 0 },
		{ "fe80::1", "fe80::1", 3, 3, 1 },
		{ "::1", "::2", 0, 0, 0 },
	};
	struct source a, b;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		source_of(cases[i].a, cases[i].scope_a, &a);
		source_of(cases[i].b, cases[i].scope_b, &b);
		assert_int_equal(memcmp(a.key, b.key, sizeof(a.key)) == 0, cases[i].same);
		assert_int_equal(strcmp(a.text, b.text) == 0, cases[i].same);
	}
	source_of("192.0.2.7", 0, &a);
	assert_string_equal(a.text, "ip:192.0.2.7");
	source_of("2001:db8:1:2:3::", 0, &a);
	assert_string_equal(a.text, "ip:2001:db8:1:2::/64");
	source_from_uid(1000, &a);
	assert_string_equal(a.text, "unix:1000");
}

static void only_confirmed_tokens_are_known(void **state)
{
	struct limit_table *t = *state;
	char token[16];

	assert_false(limit_session_is_known(t, "a"));
	limit_session_add(t, "a");
	assert_true(limit_session_is_known(t, "a"));
	limit_session_remove(t, "a");
	assert_false(limit_session_is_known(t, "a"));
	for (int i = 0; i <= SESSION_CACHE; i++) {
		snprintf(token, sizeof(token), "t%d", i);
		limit_session_add(t, token);
	}
	assert_false(limit_session_is_known(t, "t0"));
	assert_true(limit_session_is_known(t, "t1"));
	assert_true(limit_session_is_known(t, token));
}

#define T(f) cmocka_unit_test_setup_teardown(f, make, end)

static void the_latest_known_sources_are_remembered_for_30_days(void **state)
{
	struct limit_table *t;
	struct source s = { .key = { 4 } };

	(void)state;
	assert_int_equal(limit_table_new(&t), 0);
	for (uint32_t i = 0; i < SOURCES_KNOWN + 1; i++) {
		memcpy(s.key + 1, &i, sizeof(i));
		assert_false(limit_source_is_known(t, &s, 1000 + i));
		limit_source_add(t, &s, 1000 + i);
		limit_source_add(t, &s, 1000 + i);
		assert_true(limit_source_is_known(t, &s, 1000 + i));
	}
	assert_true(limit_source_is_known(t, &s, 999 + SOURCES_KNOWN + SOURCES_KNOWN_US));
	assert_false(limit_source_is_known(t, &s, 1000 + SOURCES_KNOWN + SOURCES_KNOWN_US));
	memset(s.key + 1, 0, 4);
	assert_false(limit_source_is_known(t, &s, 2000)); /* the oldest made room */
	limit_table_free(t);
}

static void what_core_remembers_comes_back(void **state)
{
	static const char *const texts[] = { "ip:192.0.2.7", "ip:2001:db8:0:1::/64", "ip:fe80::1%3", "ip:::1" };
	static const char *const bad[] = { "", "ip:", "ip:192.0.2", "ip:192.0.2.7/24", "ip:192.0.2.7 ", "ip:2001:db8:0:1::", "ip:2001:db8::1/64", "ip:fe80::1", "ip:fe80::1%3x",
					   "unix:1000", "192.0.2.7", "ip:192.0.2.7%1", "ip:::ffff:192.0.2.7",
					   "ip:1111111111111111111111111111111111111111111111111111111111111" };
	const uint64_t now = 50 * SECOND, day = 24 * 3600 * SECOND;
	struct limit_table *t = *state;
	struct source s;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(source_from_text(texts[i], &s), 0);
		assert_string_equal(s.text, texts[i]);
		assert_false(limit_source_is_known(t, &s, now));
		limit_source_restore(t, &s, 10 * SECOND, now);
		assert_true(limit_source_is_known(t, &s, now));
		assert_false(limit_source_is_known(t, &s, now - 10 * SECOND + SOURCES_KNOWN_US));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(source_from_text(bad[i], &s), -EINVAL);
	/* From before the boot of this clock; and too long ago. */
	assert_int_equal(source_from_text("ip:192.0.2.8", &s), 0);
	limit_source_restore(t, &s, 31 * day, now);
	assert_false(limit_source_is_known(t, &s, now));
	limit_source_restore(t, &s, 29 * day, now);
	assert_true(limit_source_is_known(t, &s, now));
	/* Never older than what was seen here. */
	assert_int_equal(source_from_text("ip:192.0.2.9", &s), 0);
	limit_source_add(t, &s, now);
	limit_source_restore(t, &s, 20 * SECOND, now);
	assert_true(limit_source_is_known(t, &s, now - 1 + SOURCES_KNOWN_US));
	limit_sources_forget(t);
	assert_false(limit_source_is_known(t, &s, now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_latest_known_sources_are_remembered_for_30_days),
		cmocka_unit_test(siphash_matches_the_paper),
		T(a_burst_passes_and_then_the_rate_holds),
		T(a_spray_of_sources_shares_one_bucket_and_an_active_one_keeps_its_own),
		cmocka_unit_test(one_host_is_one_source),
		T(only_confirmed_tokens_are_known),
		T(what_core_remembers_comes_back),
	};

	return cmocka_run_group_tests_name("mgmt_limit", tests, NULL, NULL);
}
