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

/* ---- between op_update.c and op_policy.c -------------------------------------------------------------------------- */

/* What a manifest says, of a bundle that was looked into. */
struct update_look {
	char release_id[65], version[65], kind[9], advisory[256];
	uint64_t security_version;
};
/*
 * For the policy: look into what @url holds (@release_id NULL), or install it, if it is that release. After a success policy_ended()
 * is called once. -EBUSY update.busy, -ENODEV update.floor, or agentd-install cannot be asked.
 */
int updates_run(struct core *core, const char *url, const char *release_id, const char *user, struct agent_error **err);
/* As last heard: is it in a slot, has it failed there? */
bool updates_has_release(const struct core *core, const char *release_id);
bool updates_has_failed(const struct core *core, const char *release_id);

/* It came to its end: @look is NULL for an installation, @error for a success. */
void policy_ended(struct core *core, const struct update_look *look, const struct agent_error *error);
/* The members of the update status that tell of the policy and of an offer. */
int policy_append(struct core *core, sd_bus_message *m);
int policy_start(struct core *core, struct agent_error **err);
void policy_stop(struct core *core);

#endif
