/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MONOTONIC_H
#define BASE_MONOTONIC_H
/* Clocks that nobody sets, from some moment before the start of the program. */
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_us(clockid_t id)
{
	struct timespec ts = { 0 };

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Stands still while the machine sleeps: for waits and time-outs. */
static inline uint64_t monotonic_us(void) { return clock_us(CLOCK_MONOTONIC); }
static inline uint64_t monotonic_ms(void) { return clock_us(CLOCK_MONOTONIC) / 1000; }
static inline uint64_t monotonic_s(void) { return clock_us(CLOCK_MONOTONIC) / 1000000; }

/* Since boot, sleep included: for ages and limits. */
static inline uint64_t running_us(void) { return clock_us(CLOCK_BOOTTIME); }
static inline uint64_t running_s(void) { return clock_us(CLOCK_BOOTTIME) / 1000000; }

#endif
