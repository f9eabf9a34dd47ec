/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_UPDATE_REBOOT_H
#define CORE_UPDATE_REBOOT_H
/*
 * When does the device restart into a release that was installed without a person? What has to outlive core is in struct policy.
 * No clock, no bus and no loop in here: those are handed in. docs/design/update.md has the table.
 */
#include <stdbool.h>
#include <stdint.h>

#include <agent/client.h>
#include <agent/error.h>

#include "agentd/core/update_policy.h"

#define REBOOT_HOLDS_MAX 8

enum reboot_mode { REBOOT_NEVER, REBOOT_WINDOW, REBOOT_AT_ONCE, REBOOT_MODES_ };

/* What an installed release waits for. */
enum reboot_wait {
	REBOOT_NOT_DUE,	  /* nothing is installed that waits for a restart */
	REBOOT_PERSON,	  /* who restarts the device is not us: the policy, or a person installed it */
	REBOOT_OF_WINDOW,
	REBOOT_OF_CLOCK,
	REBOOT_POSTPONED, /* by a person */
	REBOOT_HELD,	  /* by an application */
	REBOOT_RETRY,	  /* nobody took the request; again in a while */
	REBOOT_NOTICE,	  /* announced, or to be announced */
	REBOOT_NOW,
	REBOOT_ASKED,	  /* once for each release: a boot loader that does not switch must not make the device restart for ever */
	REBOOT_WAITS_
};

struct reboot_hold {
	char who[AGENT_APP_LABEL_MAX + 1];
	uint64_t until_s; /* of the running clock */
};

struct reboot {
	/* From the configuration. */
	enum reboot_mode mode;
	uint64_t notice_s, hold_max_s;
	/* Not kept: who holds a restart back says so again after a restart of core, for which the notice leaves the time. */
	struct reboot_hold holds[REBOOT_HOLDS_MAX];
	uint64_t notice_until_s; /* 0: not announced */
	uint64_t retry_at_s;
	uint64_t person_at_s;	 /* a person asked for it: then, whatever the policy says; 0: nobody did */
};

const char *reboot_mode_name(enum reboot_mode mode);
bool reboot_mode_find(const char *name, enum reboot_mode *ret_mode);
/* "person", "window", "clock", "postponed", "held", "retry", "notice", "asked"; "" for REBOOT_NOT_DUE. */
const char *reboot_wait_name(enum reboot_wait wait);

/* @release_id: what is in the other slot, to be tried at the next boot; NULL: nothing is. */
enum reboot_wait reboot_decide(const struct reboot *reboot, const struct policy *policy, const struct policy_now *now, const char *release_id);

/* @release_id is installed: without a person, so that its restart is ours, or by one. What was said to the one before is over. */
void reboot_begin(struct reboot *reboot, struct policy *policy, const char *release_id, bool is_ours);
/* @gone_s went by while the answer of reboot_decide() was @wait. */
void reboot_count(struct policy *policy, enum reboot_wait wait, uint64_t gone_s);

/*
 * @who holds restarts back for @seconds from now on, 0: no longer; a new word takes the place of the one before. Only the time counts by which a
 * restart is later for it. -EDQUOT update.hold (used up for this release), -EBUSY update.hold (others do, as many as there may be).
 */
int reboot_hold(struct reboot *reboot, const struct policy *policy, const char *who, uint64_t seconds, uint64_t now_s, struct agent_error **err);
/* Who holds it back now for the longest time, or NULL. */
const char *reboot_holder(const struct reboot *reboot, uint64_t now_s);
/* By how many seconds the restart into this release may still be held back. */
uint64_t reboot_hold_left(const struct reboot *reboot, const struct policy *policy);

/* As policy_postpone(), within the same bounds. */
int reboot_postpone(struct policy *policy, uint64_t hours, struct agent_error **err);

#endif
