/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BACKOFF_H
#define BASE_BACKOFF_H
/* How long to wait after failures, spread so that many devices that lost the same server at the same moment do not come back at once. */
#include <stdint.h>

/* 64 random bits that are no secret; never blocks. */
uint64_t backoff_random(void);
/* min(@max, @min * 2^@n_failures), in the caller's unit; @max below 2^63. */
uint64_t backoff_ceiling(unsigned n_failures, uint64_t min, uint64_t max);
/* Full jitter: a time from @min_ms / 10 up to backoff_ceiling(), picked by @random. */
uint32_t backoff_ms(unsigned n_failures, uint32_t min_ms, uint32_t max_ms, uint64_t random);

#endif
