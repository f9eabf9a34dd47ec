/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TIME_H
#define BASE_TIME_H
#include <stdbool.h>
#include <stddef.h>

#include <agent/time.h>

#define TIME_TEXT_SIZE 40

/* No clock is right that shows less: the build, or 2026-11-01, before the first release. */
uint64_t time_build_s(void);
/* "2026-11-21 12:00:00 UTC"; without time_t, which may end in 2038. */
void time_text(int64_t s, char ret_text[TIME_TEXT_SIZE]);
/* What the system clock shows, 0 if that is before 1970. */
uint64_t time_system_s(void);
/* What that has to do with a date that does not fit, because it is over or @is_early: begins with "; " or is empty. */
void time_doubt(const struct agent_time_reading *reading, uint64_t system_s, bool is_early, char *text, size_t size);

#endif
