/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_UPDATE_H
#define CORE_UPDATE_H
/* Core's part in an update: policy, the pipe between sender and agentd-install, the floor. The bytes never pass core. */
#include "agentd/core/core.h"

int updates_start(struct core *core, struct agent_error **err);
/* Once connections are possible: ask agentd-install how the last installation went, so that a fall-back is noticed. */
void updates_look(struct core *core);
void updates_stop(struct core *core);
/* Signal Progress(stage, done, total) of agentd-install. */
void updates_progress(struct core *core, sd_bus_message *msg);
/* update_stage and booted_slot for the status, as last heard. */
int updates_append_short(struct core *core, sd_bus_message *m);
/* The update status as a{sv}, as last heard. */
int updates_append(struct core *core, sd_bus_message *m);

#endif
