/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_UPDATE_H
#define CORE_UPDATE_H
/* Core's part in an update: policy, the pipe between sender and agentd-install, the floor. The bytes never pass core. */
#include "agentd/core/core.h"

#define UPDATE_ACTION_MAX 64

/* A bundle that the source of updates has for this device; texts are lent. */
struct update_offer {
	const char *kind;   /* "hawkbit", "index" */
	const char *action;
	const char *version;
	const char *url;
	uint64_t size;	    /* 0: not known */
};

int updates_start(struct core *core, struct agent_error **err);
/* Once connections are possible: ask agentd-install how the last installation went, so that a fall-back is noticed. */
void updates_look(struct core *core);
void updates_stop(struct core *core);
/* After a factory reset: a service ticket that waits was the old owner's decision. */
void updates_forget_ticket(struct core *core);
/* Signal Progress(stage, done, total) of agentd-install. */
void updates_progress(struct core *core, sd_bus_message *msg);
/* update_stage and booted_slot for the status, as last heard. */
int updates_append_short(struct core *core, sd_bus_message *m);
/* The update status as a{sv}, as last heard. */
int updates_append(struct core *core, sd_bus_message *m);

/* ---- between op_update.c and source.c ------------------------------------------------------------------------------ */

/* Install it; source_ended() is called when that is over, unless this fails: update.busy, update.floor, ... */
int updates_take_offer(struct core *core, const struct update_offer *offer, struct agent_error **err);
/* Give up the installation that source.c began, if its bytes are still on their way: later it is too late, and it goes on. */
void updates_cancel(struct core *core);
/* Has agentd-install told how the slots are? */
bool updates_are_known(const struct core *core);
/* What the source is told of slots and releases, into an open a{sv}. */
int updates_append_device(struct core *core, sd_bus_message *m);

/* ---- between op_update.c and op_policy.c -------------------------------------------------------------------------- */

/* What a manifest says, of a bundle that was looked into. */
struct update_look {
	char release_id[65], version[65], kind[9], advisory[256];
	char manifest_sha256[65]; /* names the bundle: two of them may have one release id */
	uint64_t security_version;
};
/* The bundle that was looked into; lent. */
struct update_seen {
	const char *release_id, *manifest_sha256;
};
/*
 * For the policy: look into what @url holds (@seen NULL), or install it, if it is the release and the bundle that was @seen. After a
 * success policy_ended() is called once. -EBUSY update.busy, -ENODEV update.floor, or agentd-install cannot be asked.
 */
int updates_run(struct core *core, const char *url, const struct update_seen *seen, const char *user, struct agent_error **err);
/* As last heard: is it in a slot, from this very bundle? Two may have one release id. */
bool updates_has_release(const struct core *core, const char *release_id, const char *manifest_sha256);
/* As last heard: is it in the other slot because somebody went back to this one, before it ran or afterwards? */
bool updates_left_release(const struct core *core, const char *release_id);
/* Does a release await its reboot or the end of its confirmation? */
bool updates_is_pending(const struct core *core);

/* The release that is installed and tried at the next boot, while the slot of before runs; NULL: there is none. Lent. */
const char *updates_awaits_reboot(const struct core *core);
/* It was installed just now: without a person, so that the restart into it is ours (op_reboot.c), or by one. */
void reboots_installed(struct core *core, const char *release_id, bool is_ours);

/* What was installed may have been left for the slot of before; look at the last report. */
void policy_left(struct core *core);
/* It came to its end: @look is NULL for an installation, @error for a success. */
void policy_ended(struct core *core, const struct update_look *look, const struct agent_error *error);
/* The members of the update status that tell of the policy and of an offer. */
int policy_append(struct core *core, sd_bus_message *m);
/* May a source install now, without a person? NULL, or what that waits for: "approval", "window", "clock". */
const char *policy_waits_for(const struct core *core);
/* Did somebody let this action of the source in, at this version? What policy_waits_for() says does not hold for it then. */
bool policy_approved(const struct core *core, const char *action, const char *version);
/* That action, for the source, into an open a{sv}. */
int policy_append_approved(const struct core *core, sd_bus_message *m);
int policy_approve_source(struct core *core, const char *action, const char *version, struct agent_error **err);
int policy_start(struct core *core, struct agent_error **err);
void policy_stop(struct core *core);
/* After a factory reset: neither the offer nor the choice is the new owner's. */
void policy_forget(struct core *core);

#endif
