/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/refusals.h"

#include <stdio.h>
#include <string.h>

static struct refusal *find(struct refusals *refusals, const char *user, uint64_t now_us)
{
	struct refusal *room = NULL;

	for (size_t i = 0; i < REFUSALS_MAX; i++) {
		struct refusal *row = &refusals->rows[i];

		if (row->quiet_us != 0 && strcmp(row->user, user) == 0)
			return row;
		if (room == NULL && (row->quiet_us == 0 || (row->n == 0 && row->quiet_us <= now_us)))
			room = row;
	}
	if (room == NULL)
		return &refusals->rows[REFUSALS_MAX - 1];
	*room = (struct refusal){ 0 };
	return room;
}

static void tell(struct refusal *row, uint64_t now_us, struct refusal *ret)
{
	*ret = *row;
	row->n = 0;
	row->quiet_us = now_us + REFUSALS_PAUSE_US;
}

bool refusals_count(struct refusals *refusals, const struct caller *caller, const char *asked, uint64_t now_us, struct refusal *ret)
{
	struct refusal *row = find(refusals, caller->user, now_us);

	snprintf(row->user, sizeof(row->user), "%s", caller->user);
	snprintf(row->source, sizeof(row->source), "%s", caller->source);
	snprintf(row->asked, sizeof(row->asked), "%s", asked);
	row->role = caller->role;
	row->n++;
	if (row->quiet_us > now_us)
		return false;
	tell(row, now_us, ret);
	return true;
}

bool refusals_take(struct refusals *refusals, uint64_t now_us, struct refusal *ret)
{
	for (size_t i = 0; i < REFUSALS_MAX; i++)
		if (refusals->rows[i].n > 0 && refusals->rows[i].quiet_us <= now_us) {
			tell(&refusals->rows[i], now_us, ret);
			return true;
		}
	return false;
}

uint64_t refusals_next(const struct refusals *refusals)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < REFUSALS_MAX; i++)
		if (refusals->rows[i].n > 0 && refusals->rows[i].quiet_us < next)
			next = refusals->rows[i].quiet_us;
	return next;
}
