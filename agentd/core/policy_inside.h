/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_POLICY_INSIDE_H
#define CORE_POLICY_INSIDE_H
/* Between op_policy.c (offers) and op_reboot.c (the restart into what was installed): one file, one timer. */
#include "agentd/core/core.h"
#include "agentd/core/key_rights.h"
#include "agentd/core/update_policy.h"
#include "agentd/core/update_reboot.h"

#define HOLDERS_MAX 16

struct policies {
	struct policy policy;
	sd_event_source *timer;
	uint64_t ticked_s, saved_s; /* of the running clock */
	bool is_running;	    /* updates_run() is under way */
	bool is_unsaved;

	/* op_reboot.c */
	struct reboot reboot;
	struct key_rule holders[HOLDERS_MAX]; /* update.reboot_holders */
	size_t n_holders;
	enum reboot_wait reboot_wait;	/* as decided last */
	char told_holder[AGENT_APP_LABEL_MAX + 1];
	char reboot_user[CALLER_USER_MAX + 1], reboot_source[CALLER_SOURCE_MAX + 1]; /* the person who asked */
	char reboot_error_name[64], reboot_error[256];
	int reboot_fd; /* to who was asked; -1: nobody was */
};

struct policy_now policies_now(const struct core *core);
/* Keep the file; what cannot be is said once, and tried again with each tick. */
void policies_save(struct core *core);
/* policies_save(), and whoever follows hears of it. */
void policies_changed(struct core *core);
/* The next tick is in @us. */
void policies_tick_in(struct core *core, uint64_t us);

/* -EINVAL update.reboot, update.windows, update.reboot_holders */
int reboots_configure(struct policies *ps, const struct settings *settings, struct agent_error **err);
void reboots_stop(struct policies *ps);
/* Each tick, @gone_s after the last. */
void reboots_tick(struct core *core, uint64_t gone_s);
/* Is the restart into a release ours, and not begun? Then it can be put off. */
bool reboots_can_postpone(const struct core *core);
/* Members of the update status. */
int reboots_append(struct core *core, sd_bus_message *m);

#endif
