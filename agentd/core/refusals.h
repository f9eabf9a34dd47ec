/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_REFUSALS_H
#define CORE_REFUSALS_H
/*
 * Who asked for what his role may not do, so that it is written once and then once a minute at most, per person: somebody who
 * asks a thousand times must not push everything else out of the event log. No clock in here; the caller passes it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "agentd/core/core.h"

#define REFUSALS_MAX 8 /* people; more share the last place */
#define REFUSALS_PAUSE_US UINT64_C(60000000)
#define REFUSAL_ASKED_MAX 63

struct refusal {
	char user[CALLER_USER_MAX + 1];
	char source[CALLER_SOURCE_MAX + 1];
	char asked[REFUSAL_ASKED_MAX + 1]; /* "POST /v1/keys", of the last one */
	enum account_role role;
	uint64_t n;	   /* not told yet */
	uint64_t quiet_us; /* until then nothing is told of this person; 0: the place is free */
};

struct refusals {
	struct refusal rows[REFUSALS_MAX];
};

/* Count one. True if it is to be told at once: *ret is what. */
bool refusals_count(struct refusals *refusals, const struct caller *caller, const char *asked, uint64_t now_us, struct refusal *ret);
/* Take what has been counted of somebody whose minute is over; false if there is nothing. Call until it is false. */
bool refusals_take(struct refusals *refusals, uint64_t now_us, struct refusal *ret);
/* When refusals_take() has something next, UINT64_MAX for never. */
uint64_t refusals_next(const struct refusals *refusals);

/* The same for the running core: op_refused.c. */
struct role_refusals;
void role_refused(struct core *core, const struct caller *caller, const char *asked);
void role_refusals_free(struct core *core);

#endif
