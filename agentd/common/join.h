/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_JOIN_H
#define COMMON_JOIN_H
/* The end of a thread, waited for with a limit. */
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/monotonic.h"

#define JOIN_LOOK_MS 10

/* Seconds from now on, for join_until(). */
static inline uint64_t join_limit_ms(unsigned seconds)
{
	return monotonic_ms() + (uint64_t)seconds * 1000;
}

/*
 * True when @thread has ended and was joined, false when it had not by @limit_ms. Not with pthread_timedjoin_np(): that counts in CLOCK_REALTIME, and
 * when somebody sets the clock at that moment it would give up at once or wait for years.
 */
static inline bool join_until(pthread_t thread, uint64_t limit_ms)
{
	while (pthread_tryjoin_np(thread, NULL) != 0) {
		if (monotonic_ms() >= limit_ms)
			return false;
		(void)poll(NULL, 0, JOIN_LOOK_MS);
	}
	return true;
}

#endif
