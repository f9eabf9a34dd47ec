/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_SOURCE_H
#define CORE_SOURCE_H
/*
 * The source of updates, core's part: when agentd-fetch looks, what it is told of this device, and whether what it found is
 * installed. What was asked for and told is fetch's own record; no byte of a server is read here.
 */
#include "agentd/core/core.h"

int source_start(struct core *core, struct agent_error **err);
void source_stop(struct core *core);
/* Begin to look, once connections are possible. */
void source_open(struct core *core);
/* An installation that source.c began is over; @error is NULL when the bundle is in the other slot. */
void source_ended(struct core *core, const struct agent_error *error);
/* Something happened that the source is to hear soon: confirmed, rolled back. */
void source_wake(struct core *core);
/* source_state, source_detail, source_action, source_version, source_waits_for for the status, if there is a source. */
int source_append(struct core *core, sd_bus_message *m);

#endif
