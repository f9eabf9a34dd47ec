/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RoleRefused: agentd-mgmt turned somebody away whose role is too low. It does so by its table of routes, before core would;
 * what core's own table refuses is told here as well.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agentd/core/refusals.h"
#include "base/macro.h"

struct role_refusals {
	struct refusals refusals;
	sd_event_source *timer;
};

static uint64_t now_us(struct core *core)
{
	uint64_t us;

	return sd_event_now(core->event, CLOCK_MONOTONIC, &us) < 0 ? 0 : us;
}

static void tell(struct core *core, const struct refusal *refusal)
{
	char count[24];

	snprintf(count, sizeof(count), "%llu", (unsigned long long)refusal->n);
	event_add(core, EVENT_ROLE_REFUSED, "user", refusal->user, "role", account_role_name(refusal->role), "source", refusal->source, "asked",
		  refusal->asked, "count", refusal->n > 1 ? count : NULL, NULL);
}

static void arm(struct role_refusals *r)
{
	uint64_t at_us = refusals_next(&r->refusals);

	sd_event_source_set_time(r->timer, at_us);
	sd_event_source_set_enabled(r->timer, at_us == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static int on_minute(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct core *core = userdata;
	struct refusal refusal;

	while (refusals_take(&core->refusals->refusals, now_us(core), &refusal))
		tell(core, &refusal);
	arm(core->refusals);
	return 0;
}

static int prepare(struct core *core)
{
	int r;

	if (core->refusals != NULL)
		return 0;
	core->refusals = calloc(1, sizeof(*core->refusals));
	if (core->refusals == NULL)
		return -ENOMEM;
	r = sd_event_add_time(core->event, &core->refusals->timer, CLOCK_MONOTONIC, UINT64_MAX, 0, on_minute, core);
	if (r < 0)
		role_refusals_free(core);
	return r;
}

void role_refusals_free(struct core *core)
{
	if (core->refusals == NULL)
		return;
	sd_event_source_disable_unref(core->refusals->timer);
	free(core->refusals);
	core->refusals = NULL;
}

void role_refused(struct core *core, const struct caller *caller, const char *asked)
{
	struct refusal refusal;

	if (prepare(core) < 0)
		return;
	if (refusals_count(&core->refusals->refusals, caller, asked, now_us(core), &refusal))
		tell(core, &refusal);
	arm(core->refusals);
}

int op_role_refused(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *asked;

	if (sd_bus_message_read(call->msg, "s", &asked) < 0)
		return op_unreadable(call, err);
	role_refused(core, &call->caller, asked);
	return op_reply(call, "");
}
