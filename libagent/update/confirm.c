/* SPDX-License-Identifier: Apache-2.0 */
/* Before and after an installation: settle after a power cut, confirm, roll back. Every function may be killed anywhere and called again. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "context.h"
#include "update/engine.h"

static int booted_find(struct agent_update *u, struct boot_state *state, struct agent_error **err)
{
	const char *booted = u->booted_option[0] != '\0' ? u->booted_option : state->booted;
	struct stat root;
	int r;

	if (booted[0] == '\0')
		return agent_error_set(err, -ENOENT, "boot.booted", "neither settings nor boot environment say which slot is running");
	if (slot_name_check(booted) < 0 || boot_state_slot(state, booted) == NULL)
		return agent_error_set(err, -EBADMSG, "boot.booted", "the running slot %s is not in the boot environment", booted);
	r = stat("/", &root) < 0 ? 0 : slot_table_check_running(&u->slots, booted, root.st_dev, err);
	if (r < 0)
		return r;
	strcpy(u->booted, booted);
	strcpy(state->booted, u->booted);
	return 0;
}

/* A device that never had an update: the slot that runs is the good one. */
static void boot_state_begin(struct boot_state *state, const char *booted)
{
	*state = (struct boot_state){ 0 };
	strcpy(state->primary, booted);
	boot_state_slot(state, booted)->is_good = true;
}

static void journal_derive(struct agent_update *u)
{
	const struct boot_slot *tried = NULL;

	for (size_t i = 0; i < u->boot_state.n_slots; i++) {
		const struct boot_slot *slot = &u->boot_state.slots[i];
		bool is_booted = strcmp(slot->name, u->booted) == 0;

		if (!slot->is_good && (is_booted || slot->n_tries_left > 0) && (tried == NULL || is_booted))
			tried = slot;
	}
	u->journal = (struct journal){ .stage = tried == NULL ? AGENT_UPDATE_IDLE : AGENT_UPDATE_TRYING };
	if (tried == NULL)
		return;
	strcpy(u->journal.target, tried->name);
	strcpy(u->journal.version, tried->version);
	strcpy(u->journal.release_id, tried->release);
	u->journal.security_version = tried->security_version;
}

int engine_load(struct agent_update *u, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	struct boot_state state = { 0 };
	int r;

	r = u->boot->load(u->boot_config, &state, &why);
	if (r == -ENOENT && u->booted_option[0] != '\0') {
		boot_state_begin(&state, u->booted_option);
		why = agent_error_free(why);
	} else if (r < 0) {
		return agent_error_move(err, &why);
	}
	r = booted_find(u, &state, err);
	if (r < 0)
		return r;
	u->boot_state = state;
	if (u->has_journal)
		return 0;
	r = journal_load(u->state_fd, &u->journal, &why);
	if (r == -ENOENT || r == -EBADMSG) {
		context_log(u->ctx, "%s, it is derived from the boot environment", agent_error_message(why));
		journal_derive(u);
	} else if (r < 0) {
		return agent_error_move(err, &why);
	}
	u->has_journal = true;
	return 0;
}

/* Firmware that lists all it finds, systemd-bless-boot after a loader was refused: the slot that runs is not judged by that. */
static bool has_stray(const struct agent_update *u, const struct boot_state *state)
{
	for (size_t i = 0; i < state->n_slots; i++)
		if (state->slots[i].is_stray && strcmp(state->slots[i].name, u->booted) != 0)
			return true;
	return false;
}

int engine_store_boot(struct agent_update *u, const struct boot_state *next, struct agent_error **err)
{
	struct boot_state now = { 0 };
	int r;

	if (next->n_env > 0 || u->boot->load(u->boot_config, &now, NULL) < 0 || !boot_state_is_equal(&now, next) || has_stray(u, &now)) {
		r = u->boot->store(u->boot_config, next, err);
		if (r < 0)
			return r;
	}
	u->boot_state = *next;
	u->boot_state.env = NULL;
	u->boot_state.n_env = 0;
	return 0;
}

void engine_disable_slot(struct boot_slot *slot)
{
	slot->is_good = slot->is_stray = false;
	slot->n_tries_left = 0;
}

int engine_check_idle(const struct agent_update *u, struct agent_error **err)
{
	if (u->journal.stage != AGENT_UPDATE_IDLE && u->journal.stage != AGENT_UPDATE_FAILED)
		return agent_error_set(err, -EBUSY, "update.pending", "release %s in slot %s is %s: confirm it or roll back first",
				       u->journal.release_id, u->journal.target, agent_update_stage_name(u->journal.stage));
	return 0;
}

static struct boot_slot *target_slot(const struct agent_update *u, struct boot_state *state)
{
	return boot_state_slot(state, u->journal.target);
}

static int no_target(const struct agent_update *u, struct agent_error **err)
{
	return agent_error_set(err, -EBADMSG, "boot.format", "the boot environment has no room for slot %s", u->journal.target);
}

int engine_switch(struct agent_update *u, struct agent_error **err)
{
	struct boot_state next = u->boot_state;
	struct boot_slot *target = target_slot(u, &next);
	int r;

	if (target == NULL)
		return no_target(u, err);
	target->is_good = false;
	target->n_tries_left = u->boot->max_tries != 0 && u->n_tries > u->boot->max_tries ? u->boot->max_tries : u->n_tries;
	target->security_version = u->journal.security_version;
	strcpy(target->release, u->journal.release_id);
	strcpy(target->version, u->journal.version);
	strcpy(next.primary, target->name);
	next.env = u->journal.env;
	next.n_env = u->journal.n_env;
	r = engine_store_boot(u, &next, err);
	return r < 0 ? r : journal_move(u->state_fd, &u->journal, AGENT_UPDATE_TRYING, err);
}

/* The target never goes into service; the running slot stays the choice. */
static int give_up(struct agent_update *u, bool remember, struct agent_error **err)
{
	struct boot_state next = u->boot_state;
	struct boot_slot *target = target_slot(u, &next);
	struct journal journal = u->journal;
	int r;

	if (target == NULL)
		return no_target(u, err);
	engine_disable_slot(target);
	strcpy(next.primary, u->booted);
	r = engine_store_boot(u, &next, err);
	if (r < 0)
		return r;
	if (remember)
		strcpy(journal.failed_release_id, journal.release_id);
	r = journal_move(u->state_fd, &journal, AGENT_UPDATE_FAILED, err);
	if (r == 0)
		u->journal = journal;
	return r;
}

static int strays_remove(struct agent_update *u, struct agent_error **err)
{
	struct boot_state next = u->boot_state;

	if (!has_stray(u, &next))
		return 0;
	for (size_t i = 0; i < next.n_slots; i++)
		if (next.slots[i].is_stray && strcmp(next.slots[i].name, u->booted) != 0) {
			context_log(u->ctx, "slot %s was put into service by others and is taken out again", next.slots[i].name);
			engine_disable_slot(&next.slots[i]);
		}
	strcpy(next.primary, u->booted);
	return engine_store_boot(u, &next, err);
}

/* What a callback of an installation began here would change slot and stage under it. */
static int check_free(const struct agent_update *u, struct agent_error **err)
{
	if (!u->is_installing)
		return 0;
	return agent_error_set(err, -EBUSY, "update.locked", "this engine is installing: wait until that has returned, a callback of it cannot do this");
}

int agent_update_settle(struct agent_update *u, struct agent_error **err)
{
	const struct boot_slot *target;
	int r;

	if (u == NULL)
		return -EINVAL;
	r = check_free(u, err);
	if (r == 0)
		r = engine_load(u, err);
	if (r == 0)
		r = strays_remove(u, err);
	if (r < 0)
		return r;
	if (u->journal.stage == AGENT_UPDATE_WRITING)
		return give_up(u, false, err);
	target = u->journal.target[0] == '\0' ? NULL : target_slot(u, &u->boot_state);
	if (u->journal.stage == AGENT_UPDATE_WRITTEN) {
		if (target == NULL)
			return no_target(u, err);
		/* WRITING emptied the release, the switch filled it in again: so one write tells on which side of it we were. */
		if (strcmp(target->release, u->journal.release_id) == 0)
			r = journal_move(u->state_fd, &u->journal, AGENT_UPDATE_TRYING, err);
		else
			r = engine_switch(u, err);
		if (r < 0)
			return r;
		target = target_slot(u, &u->boot_state);
	}
	if (u->journal.stage == AGENT_UPDATE_TRYING && (target == NULL || (strcmp(u->booted, target->name) != 0 && !boot_slot_is_bootable(target)))) {
		context_log(u->ctx, "release %s did not start, slot %s runs again", u->journal.release_id, u->booted);
		return give_up(u, true, err);
	}
	return 0;
}

int agent_update_confirm(struct agent_update *u, uint64_t *ret_floor, struct agent_error **err)
{
	struct boot_state next;
	struct boot_slot *target;
	struct journal journal;
	int r;

	if (u == NULL || ret_floor == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "confirm needs an engine and a place for the floor");
	r = agent_update_settle(u, err);
	if (r < 0)
		return r;
	if (u->journal.stage == AGENT_UPDATE_CONFIRMED) {
		*ret_floor = u->journal.security_version;
		return 0;
	}
	if (u->journal.stage != AGENT_UPDATE_TRYING)
		return agent_error_set(err, -ENOENT, "update.nothing", "there is no update to confirm");
	if (strcmp(u->booted, u->journal.target) != 0)
		return agent_error_set(err, -EPERM, "update.not-booted", "release %s is in slot %s, but slot %s is running: reboot first",
				       u->journal.release_id, u->journal.target, u->booted);
	next = u->boot_state;
	target = target_slot(u, &next);
	if (target == NULL)
		return no_target(u, err);
	target->is_good = true;
	target->is_stray = false;
	target->n_tries_left = 0;
	strcpy(next.primary, target->name);
	/* In the same write: what the floor is about to rule out must not boot either. */
	for (size_t i = 0; i < next.n_slots; i++)
		if (&next.slots[i] != target && next.slots[i].security_version < u->journal.security_version)
			engine_disable_slot(&next.slots[i]);
	r = engine_store_boot(u, &next, err);
	if (r < 0)
		return r;
	journal = u->journal;
	if (strcmp(journal.failed_release_id, journal.release_id) == 0)
		journal.failed_release_id[0] = '\0';
	r = journal_move(u->state_fd, &journal, AGENT_UPDATE_CONFIRMED, err);
	if (r < 0)
		return r;
	u->journal = journal;
	*ret_floor = journal.security_version;
	return 0;
}

int agent_update_confirm_done(struct agent_update *u, struct agent_error **err)
{
	int r;

	if (u == NULL)
		return -EINVAL;
	r = check_free(u, err);
	if (r == 0)
		r = engine_load(u, err);
	if (r < 0 || u->journal.stage == AGENT_UPDATE_IDLE)
		return r;
	return journal_move(u->state_fd, &u->journal, AGENT_UPDATE_IDLE, err);
}

int agent_update_rollback(struct agent_update *u, uint64_t floor, struct agent_error **err)
{
	const char *other_name = NULL;
	struct boot_state next;
	struct boot_slot *other;
	int r;

	if (u == NULL)
		return -EINVAL;
	r = agent_update_settle(u, err);
	if (r == 0)
		r = slot_table_other(&u->slots, u->booted, &other_name, err);
	if (r < 0)
		return r;
	if (u->journal.stage == AGENT_UPDATE_CONFIRMED)
		return engine_check_idle(u, err);
	next = u->boot_state;
	if (u->journal.stage == AGENT_UPDATE_TRYING && strcmp(u->journal.target, u->booted) != 0) {
		/* Not rebooted yet: staying is what "the other slot" means to whoever asks. */
		other = target_slot(u, &next);
		if (other == NULL)
			return no_target(u, err);
		engine_disable_slot(other);
		strcpy(next.primary, u->booted);
		r = engine_store_boot(u, &next, err);
		return r < 0 ? r : journal_move(u->state_fd, &u->journal, AGENT_UPDATE_IDLE, err);
	}
	other = boot_state_slot(&next, other_name);
	if (other == NULL || !other->is_good)
		return agent_error_set(err, -EPERM, "boot.not-bootable", "slot %s holds nothing that is known to boot", other_name);
	if (other->security_version < floor)
		return agent_error_set(err, -ESTALE, "update.stale", "slot %s has security version %" PRIu64 ", the floor is %" PRIu64,
				       other_name, other->security_version, floor);
	strcpy(next.primary, other_name);
	if (u->journal.stage == AGENT_UPDATE_TRYING) {
		struct journal journal = u->journal;

		engine_disable_slot(target_slot(u, &next));
		r = engine_store_boot(u, &next, err);
		if (r < 0)
			return r;
		strcpy(journal.failed_release_id, journal.release_id);
		r = journal_move(u->state_fd, &journal, AGENT_UPDATE_FAILED, err);
		if (r == 0)
			u->journal = journal;
		return r;
	}
	return engine_store_boot(u, &next, err);
}
