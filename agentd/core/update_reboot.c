/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/update_reboot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"

#define HOUR_S 3600

static const char *const mode_names[REBOOT_MODES_] = { "never", "window", "at-once" };
static const char *const wait_names[REBOOT_WAITS_] = { "", "person", "window", "clock", "postponed", "held", "retry", "notice", "notice", "asked" };

const char *reboot_mode_name(enum reboot_mode mode)
{
	return mode_names[mode];
}

bool reboot_mode_find(const char *name, enum reboot_mode *ret_mode)
{
	for (size_t i = 0; i < ARRAY_SIZE(mode_names); i++) {
		if (strcmp(mode_names[i], name) == 0) {
			*ret_mode = (enum reboot_mode)i;
			return true;
		}
	}
	return false;
}

const char *reboot_wait_name(enum reboot_wait wait)
{
	return wait_names[wait];
}

/* ---- the decision ------------------------------------------------------------------------------------------------- */

/* Without a window that somebody named, nobody said when this machine may stop. */
static enum reboot_wait wait_for_window(const struct reboot *reboot, const struct policy *p, const struct policy_now *now)
{
	if (reboot->mode != REBOOT_WINDOW)
		return REBOOT_NOT_DUE;
	if (p->n_windows == 0)
		return REBOOT_PERSON;
	if (!policy_clock_is_trusted(p, now))
		return REBOOT_OF_CLOCK;
	return policy_in_window(p, now) ? REBOOT_NOT_DUE : REBOOT_OF_WINDOW;
}

enum reboot_wait reboot_decide(const struct reboot *reboot, const struct policy *p, const struct policy_now *now, const char *release_id)
{
	enum reboot_wait wait;

	if (release_id == NULL)
		return REBOOT_NOT_DUE;
	if (reboot->person_at_s != 0)
		return now->running_s >= reboot->person_at_s ? REBOOT_NOW : REBOOT_NOTICE;
	if (reboot->mode == REBOOT_NEVER || strcmp(p->reboot_release, release_id) != 0)
		return REBOOT_PERSON;
	if (p->reboot_asked != 0)
		return REBOOT_ASKED;
	if (p->reboot_postponed_s > 0)
		return REBOOT_POSTPONED;
	wait = wait_for_window(reboot, p, now);
	if (wait != REBOOT_NOT_DUE)
		return wait;
	if (reboot_holder(reboot, now->running_s) != NULL && reboot_hold_left(reboot, p) > 0)
		return REBOOT_HELD;
	if (now->running_s < reboot->retry_at_s)
		return REBOOT_RETRY;
	return reboot->notice_until_s != 0 && now->running_s >= reboot->notice_until_s ? REBOOT_NOW : REBOOT_NOTICE;
}

void reboot_begin(struct reboot *reboot, struct policy *p, const char *release_id, bool is_ours)
{
	bool is_offer = is_ours && strcmp(p->release_id, release_id) == 0;

	snprintf(p->reboot_release, sizeof(p->reboot_release), "%s", is_ours ? release_id : "");
	p->reboot_asked = p->reboot_held_s = p->reboot_postponed_s = 0;
	/* The bounds are those of a release, from the first time that it was put off. */
	p->n_reboot_postponed = is_offer ? p->n_postponed : 0;
	p->reboot_postponed_total_s = is_offer ? p->postponed_total_s : 0;
	reboot->notice_until_s = reboot->retry_at_s = reboot->person_at_s = 0;
}

void reboot_count(struct policy *p, enum reboot_wait wait, uint64_t gone_s)
{
	if (wait == REBOOT_HELD)
		p->reboot_held_s += gone_s;
	if (wait == REBOOT_POSTPONED)
		p->reboot_postponed_s -= gone_s < p->reboot_postponed_s ? gone_s : p->reboot_postponed_s;
}

/* ---- holding it back ---------------------------------------------------------------------------------------------- */

uint64_t reboot_hold_left(const struct reboot *reboot, const struct policy *p)
{
	return p->reboot_held_s < reboot->hold_max_s ? reboot->hold_max_s - p->reboot_held_s : 0;
}

const char *reboot_holder(const struct reboot *reboot, uint64_t now_s)
{
	const struct reboot_hold *longest = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(reboot->holds); i++)
		if (reboot->holds[i].until_s > now_s && (longest == NULL || reboot->holds[i].until_s > longest->until_s))
			longest = &reboot->holds[i];
	return longest == NULL ? NULL : longest->who;
}

int reboot_hold(struct reboot *reboot, const struct policy *p, const char *who, uint64_t seconds, uint64_t now_s, struct agent_error **err)
{
	struct reboot_hold *hold = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(reboot->holds); i++)
		if (reboot->holds[i].until_s > now_s && strcmp(reboot->holds[i].who, who) == 0)
			hold = &reboot->holds[i];
	if (seconds == 0) {
		if (hold != NULL)
			hold->until_s = 0;
		return 0;
	}
	if (reboot_hold_left(reboot, p) == 0)
		return agent_error_set(err, -EDQUOT, "update.hold", "applications held the restart back for %" PRIu64 " s, which is as long as this device allows",
				       p->reboot_held_s);
	for (size_t i = 0; i < ARRAY_SIZE(reboot->holds) && hold == NULL; i++)
		if (reboot->holds[i].until_s <= now_s)
			hold = &reboot->holds[i];
	if (hold == NULL)
		return agent_error_set(err, -EBUSY, "update.hold", "%d applications hold restarts back already", REBOOT_HOLDS_MAX);
	snprintf(hold->who, sizeof(hold->who), "%s", who);
	hold->until_s = now_s + (seconds < reboot->hold_max_s ? seconds : reboot->hold_max_s);
	return 0;
}

int reboot_postpone(struct policy *p, uint64_t hours, struct agent_error **err)
{
	int r = policy_postpone_check(p, p->reboot_release, p->n_reboot_postponed, p->reboot_postponed_total_s, hours, err);

	if (r < 0)
		return r;
	p->n_reboot_postponed++;
	p->reboot_postponed_total_s += hours * HOUR_S;
	p->reboot_postponed_s = hours * HOUR_S;
	return 0;
}
