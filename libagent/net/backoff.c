/* SPDX-License-Identifier: Apache-2.0 */
#include "net/backoff.h"

uint32_t backoff_ms(unsigned n_failures, uint32_t min_ms, uint32_t max_ms, uint64_t random)
{
	uint64_t ceiling = min_ms, floor;

	for (; n_failures > 0 && ceiling < max_ms; n_failures--)
		ceiling *= 2;
	if (ceiling > max_ms)
		ceiling = max_ms;
	floor = min_ms / 10 < ceiling ? min_ms / 10 : ceiling;
	/* The remainder favours small values by less than 2^-31 of their share. */
	return (uint32_t)(floor + random % (ceiling - floor + 1));
}
