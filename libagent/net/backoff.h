/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_BACKOFF_H
#define NET_BACKOFF_H
#include <stdint.h>

/*
 * Full jitter: a time from @min_ms / 10 up to min(@max_ms, @min_ms * 2^@n_failures), picked by @random, any 64 random bits. Many
 * devices that lost the same broker at the same moment come back spread over the whole span.
 */
uint32_t backoff_ms(unsigned n_failures, uint32_t min_ms, uint32_t max_ms, uint64_t random);

#endif
