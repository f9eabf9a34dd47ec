/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_USAGE_H
#define LINK_USAGE_H
/*
 * What the broker connection used in this month and the one before. Arithmetic only: no clock and no file in here. docs/design/link.md says what a month
 * is while nobody knows the time.
 */
#include <stddef.h>
#include <stdint.h>

#include <agent/time.h>

#define USAGE_TEXT_MAX 384
#define USAGE_PERIOD_S (UINT64_C(30) * 86400)	/* without a date */

enum usage_kind { USAGE_BYTES, USAGE_CONNECTS, USAGE_KINDS };

struct usage_period {
	uint32_t month;		/* of UTC, 202611; 0: not known */
	uint64_t ran_s;		/* the device was on for so long in it */
	uint64_t sent, received, connects;
};

struct usage {
	struct usage_period now, last;	/* last: all zero when there was none */
	unsigned told[USAGE_KINDS];	/* percentage of the budget that was told of last in this period: 0, 80, 100 */
};

/* It is @time now, @ran_s after the last call: a new period where it is time for one. */
void usage_time(struct usage *usage, const struct agent_time_reading *time, uint64_t ran_s);
void usage_add(struct usage *usage, uint64_t sent, uint64_t received, uint64_t connects);
uint64_t usage_used(const struct usage *usage, enum usage_kind kind);
/* What is to be told now of @budget (0: none): 80, 100, or 0 for nothing new. usage->told is the caller's to set, once it was heard. */
unsigned usage_to_tell(const struct usage *usage, enum usage_kind kind, uint64_t budget);

/* To be kept. A return of usage_load() that is below 0 (-EBADMSG) takes nothing. */
void usage_save(const struct usage *usage, char ret_text[USAGE_TEXT_MAX]);
int usage_load(struct usage *usage, const char *text, size_t size);

#endif
