/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_GCRA_H
#define COMMON_GCRA_H
/* A rate with a burst in one number (generic cell rate algorithm, ITU-T I.371). */
#include <stdbool.h>
#include <stdint.h>

/* One cell of @interval_us; @burst (at least 1) fit at once. @tat_us begins as 0. */
static inline bool gcra_take(uint64_t *tat_us, uint64_t now_us, uint64_t interval_us, unsigned burst)
{
	uint64_t tat = *tat_us > now_us ? *tat_us : now_us;

	if (tat - now_us > interval_us * (burst - 1))
		return false;
	*tat_us = tat + interval_us;
	return true;
}

#endif
