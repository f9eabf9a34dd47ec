/* SPDX-License-Identifier: Apache-2.0 */
#include "base/backoff.h"

#include <sys/random.h>
#include <time.h>

uint64_t backoff_random(void)
{
	uint64_t bits;
	struct timespec now;

	if (getrandom(&bits, sizeof(bits), GRND_NONBLOCK) == (ssize_t)sizeof(bits))
		return bits;
	/* Early in a boot: devices differ by the nanoseconds that they took until here. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_nsec * UINT64_C(0x9e3779b97f4a7c15);
}

uint64_t backoff_ceiling(unsigned n_failures, uint64_t min, uint64_t max)
{
	uint64_t ceiling = min;

	for (; n_failures > 0 && ceiling < max; n_failures--)
		ceiling *= 2;
	return ceiling < max ? ceiling : max;
}

uint32_t backoff_ms(unsigned n_failures, uint32_t min_ms, uint32_t max_ms, uint64_t random)
{
	uint64_t ceiling = backoff_ceiling(n_failures, min_ms, max_ms), floor = min_ms / 10 < ceiling ? min_ms / 10 : ceiling;

	/* The remainder favours small values by less than 2^-31 of their share. */
	return (uint32_t)(floor + random % (ceiling - floor + 1));
}
