/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/backoff.h"

/* xorshift64*, a fixed sequence (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016). */
static uint64_t next_random(uint64_t *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * UINT64_C(2685821657736338717);
}

static void the_ceiling_doubles_up_to_the_maximum(void **state)
{
	static const uint32_t ceilings[] = { 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 300000, 300000 };

	for (unsigned n = 0; n < ARRAY_SIZE(ceilings); n++) {
		uint64_t s = 88172645463325252u, sum = 0;
		uint32_t low = UINT32_MAX, high = 0;

		assert_int_equal(backoff_ms(n, 1000, 300000, ceilings[n] - 100), ceilings[n]);
		assert_int_equal(backoff_ms(n, 1000, 300000, (uint64_t)ceilings[n] - 99), 100);
		for (unsigned i = 0; i < 10000; i++) {
			uint32_t ms = backoff_ms(n, 1000, 300000, next_random(&s));

			assert_true(ms <= ceilings[n]);
			low = ms < low ? ms : low;
			high = ms > high ? ms : high;
			sum += ms;
		}
		/* Full jitter: from the floor to everything, the middle on average. */
		assert_in_range(low, 100, 100 + ceilings[n] / 100);
		assert_true(high > ceilings[n] - ceilings[n] / 100);
		assert_in_range(sum / 10000, (ceilings[n] + 100) * 48ull / 100, (ceilings[n] + 100) * 52ull / 100);
	}
}

static void a_fleet_spreads_evenly(void **state)
{
	uint64_t s = 42;
	unsigned buckets[10] = { 0 };

	for (unsigned i = 0; i < 100000; i++)
		buckets[(uint64_t)backoff_ms(20, 1000, 300000, next_random(&s)) * 10 / 300001]++;
	for (unsigned i = 0; i < 10; i++)
		assert_in_range(buckets[i], 9500, 10500);
}

/* The broker is restarted at once, and everybody lost it in the same moment: the defaults of agentd.conf. */
static void a_fleet_does_not_come_back_in_one_burst(void **state)
{
	uint64_t s = 4711;
	unsigned seconds[11] = { 0 };

	for (unsigned i = 0; i < 1000; i++)
		seconds[backoff_ms(0, 10000, 300000, next_random(&s)) / 1000]++;
	for (unsigned i = 0; i < ARRAY_SIZE(seconds); i++)
		assert_true(seconds[i] <= 150);
	assert_int_equal(seconds[0], 0);
}

static void extremes_do_not_overflow(void **state)
{
	assert_true(backoff_ms(UINT32_MAX, 1, UINT32_MAX, UINT64_MAX) <= UINT32_MAX);
	assert_int_equal(backoff_ms(40, 1, 5, 5), 5);
	assert_int_equal(backoff_ms(3, 0, 0, 12345), 0);
	assert_true(backoff_ms(0, 5000, 1000, 4999) <= 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_ceiling_doubles_up_to_the_maximum),
		cmocka_unit_test(a_fleet_spreads_evenly),
		cmocka_unit_test(a_fleet_does_not_come_back_in_one_burst),
		cmocka_unit_test(extremes_do_not_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
