/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_DELAY_H
#define FETCH_DELAY_H
/* How long to wait, spread so that many devices do not come at once. @random: any 64 random bits. */
#include <stdint.h>

/* Full jitter: below min(@max_ms, @min_ms * 2^@n_failures). */
uint64_t delay_after_failures_ms(unsigned n_failures, uint64_t min_ms, uint64_t max_ms, uint64_t random);
/* @wanted_s, put between @min_s and @max_s, a tenth more or less, in ms; never below @min_s. */
uint64_t delay_of_poll_ms(uint64_t wanted_s, uint64_t min_s, uint64_t max_s, uint64_t random);
/* "HH:MM:SS" of hawkBit; 0 if it is something else. */
uint64_t delay_parse_sleep(const char *text);

#endif
