/* SPDX-License-Identifier: Apache-2.0 */
/* Offers of updates and what the owner says to them. The rules are in update_policy.c; here are the clock, the loop and the callers. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "agentd/common/peer.h"
#include "agentd/core/core.h"
#include "agentd/core/policy_inside.h"
#include "agentd/core/store.h"
#include "agentd/core/stream.h"
#include "agentd/core/update.h"
#include "agentd/core/update_inside.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "base/text.h"

#define TICK_US (UINT64_C(1000000) * 5)
#define SAVE_S 600	/* a postponement is longer by at most this after a power cut */
#define OLDEST_S INT64_C(1767225600) /* 2026-01-01: no clock is right that says less */

struct policy_now policies_now(const struct core *core)
{
	const char *file = core->settings->update.clock_file;
	struct policy_now now = { .running_s = running_s() };
	time_t wall = time(NULL);
	struct stat st;

	now.wall_s = wall > 0 ? (uint64_t)wall : 0;
	now.clock_is_set = wall >= OLDEST_S && (file[0] == '\0' || stat(file, &st) == 0);
	localtime_r(&wall, &now.local);
	now.is_left = updates_left_release(core, core->policies->policy.release_id);
	return now;
}

/* What could not be kept is tried again with the next tick: it may be there already, when only the folder could not be synced. */
static int policies_keep(struct core *core, struct agent_error **err)
{
	struct policies *ps = core->policies;
	struct policy_now now = policies_now(core);
	int r;

	if (policy_clock_is_trusted(&ps->policy, &now))
		ps->policy.seen_s = now.wall_s;
	r = policy_save(&ps->policy, err);
	ps->is_unsaved = r < 0;
	if (r >= 0)
		ps->saved_s = now.running_s;
	return r;
}

/* Said once, whatever is tried again. */
void policies_save(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	bool was_unsaved = core->policies->is_unsaved;

	if (policies_keep(core, &err) < 0 && !was_unsaved)
		service_log(LOG_ERR, "the state of an offered update cannot be kept: %s", agent_error_message(err));
}

void policies_changed(struct core *core)
{
	policies_save(core);
	stream_wake(core);
}

static void refuse(struct core *core, const struct agent_error *why)
{
	struct policy *p = &core->policies->policy;

	(void)!policy_move(p, OFFER_REFUSED, NULL);
	snprintf(p->error_name, sizeof(p->error_name), "%s", agent_error_name(why));
	snprintf(p->error, sizeof(p->error), "%s", agent_error_message(why));
	text_drop_cut(p->error);
}

/* Trouble on the way or a device that is busy: the same bundle may be good a little later. */
static bool is_passing(const struct agent_error *error)
{
	static const char *const names[] = { "fetch.", "tls.", "bus.", "core.", "update.lost", "update.stalled", "update.busy", "update.pending",
					     "update.locked", "update.floor", "update.trust-floor", "update.pipe", "update.too-early", "slot.busy",
					     "container.short", "container.read", "boot.", "journal." };
	const char *name = agent_error_name(error);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* ---- going on ----------------------------------------------------------------------------------------------------- */

static void run(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct policies *ps = core->policies;
	struct policy *p = &ps->policy;
	const struct update_seen seen = { .release_id = p->release_id, .manifest_sha256 = p->manifest_sha256 };
	bool looks = p->state == OFFER_ANNOUNCED;
	int r;

	/* What is in the slots comes first: it may be there, or have been taken back. */
	if (!looks && !updates_are_known(core)) {
		(void)updates_ask_status(core, NULL, &err);
		return;
	}
	/* It came by another way, or was installed just before a power cut. */
	if (!looks && updates_has_release(core, p->release_id, p->manifest_sha256)) {
		(void)!policy_move(p, OFFER_INSTALLED, NULL);
		policies_changed(core);
		return;
	}
	r = updates_run(core, p->url, looks ? NULL : &seen, p->approved_by[0] != '\0' ? p->approved_by : "policy", &err);
	if (r == -EBUSY)
		return; /* with the next tick */
	if (r < 0) {
		policy_put_off(p, running_s(), err);
		stream_wake(core);
		return;
	}
	ps->is_running = true;
	if (looks)
		return;
	(void)!policy_move(p, OFFER_INSTALLING, NULL);
	policies_changed(core);
}

static void count_down(struct policy *p, uint64_t gone_s)
{
	p->postponed_s -= gone_s < p->postponed_s ? gone_s : p->postponed_s;
}

/* What is only counted is not written at each tick. */
static bool is_counting(const struct policies *ps)
{
	return ps->policy.postponed_s > 0 || ps->reboot_wait == REBOOT_POSTPONED || ps->reboot_wait == REBOOT_HELD;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct core *core = userdata;
	struct policies *ps = core->policies;
	struct policy_now now = policies_now(core);
	bool was_postponed = ps->policy.postponed_s > 0;
	uint64_t gone_s = now.running_s - ps->ticked_s;

	sd_event_source_set_time(source, usec + TICK_US);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	ps->ticked_s = now.running_s;
	if (ps->policy.state == OFFER_WAITING)
		count_down(&ps->policy, gone_s);
	reboots_tick(core, gone_s);
	if (ps->is_unsaved || (was_postponed && ps->policy.postponed_s == 0) || (is_counting(ps) && now.running_s - ps->saved_s >= SAVE_S))
		policies_save(core);
	if (ps->is_running || core->setup != AGENT_SETUP_ACTIVE || (ps->policy.state != OFFER_ANNOUNCED && ps->policy.state != OFFER_WAITING))
		return 0;
	if (policy_decide(&ps->policy, &now) == WAIT_NOTHING)
		run(core);
	return 0;
}

void policies_tick_in(struct core *core, uint64_t us)
{
	if (core->policies->timer != NULL) {
		sd_event_source_set_time_relative(core->policies->timer, us);
		sd_event_source_set_enabled(core->policies->timer, SD_EVENT_ONESHOT);
	}
}

/* A caller just said something: no need to wait for the next tick. */
static void tick_soon(struct core *core)
{
	policies_tick_in(core, 0);
}

static void look_ended(struct core *core, const struct update_look *look, const struct agent_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct policy *p = &core->policies->policy;
	bool is_same;

	if (p->state != OFFER_ANNOUNCED)
		return; /* withdrawn meanwhile */
	if (error == NULL && look->release_id[0] == '\0')
		agent_error_set(&err, -EBADMSG, "update.report", "agentd-install looked into a bundle and said nothing of it");
	is_same = strcmp(p->release_id, look->release_id) == 0 && strcmp(p->manifest_sha256, look->manifest_sha256) == 0;
	if (error == NULL && err == NULL)
		(void)!policy_looked(p, &(struct policy_found){ .release_id = look->release_id, .version = look->version, .kind = look->kind,
				     .advisory = look->advisory, .manifest_sha256 = look->manifest_sha256, .security_version = look->security_version }, &err);
	if (err != NULL)
		error = err;
	if (error != NULL && is_passing(error)) {
		policy_put_off(p, running_s(), error);
	} else if (error != NULL) {
		refuse(core, error);
		event_add(core, EVENT_UPDATE_REFUSED, "error", agent_error_name(error), "reason", agent_error_message(error), "user", "policy", NULL);
	} else if (!is_same) {
		event_add(core, EVENT_UPDATE_OFFERED, "release", p->release_id, "version", p->version, "kind", p->kind[0] != '\0' ? p->kind : NULL, "advisory",
			  p->advisory[0] != '\0' ? p->advisory : NULL, "manifest", p->manifest_sha256, NULL);
	}
	policies_changed(core);
	tick_soon(core);
}

void policy_ended(struct core *core, const struct update_look *look, const struct agent_error *error)
{
	struct policies *ps = core->policies;
	struct policy *p = &ps->policy;

	ps->is_running = false;
	if (look != NULL) {
		look_ended(core, look, error);
		return;
	}
	if (p->state != OFFER_INSTALLING)
		return;
	if (error == NULL) {
		p->error_name[0] = p->error[0] = '\0';
		(void)!policy_move(p, OFFER_INSTALLED, NULL);
	} else if (is_passing(error)) {
		(void)!policy_move(p, OFFER_WAITING, NULL);
		policy_put_off(p, running_s(), error);
	} else {
		refuse(core, error);
	}
	policies_changed(core);
}

void policy_left(struct core *core)
{
	struct policy *p = &core->policies->policy;

	/* Once, so that an approval from then on counts; the one of before was for what was taken back. */
	if (p->state != OFFER_INSTALLED || !updates_left_release(core, p->release_id))
		return;
	(void)!policy_move(p, OFFER_WAITING, NULL);
	p->approved_by[0] = '\0';
	policies_changed(core);
}

/* A source has no release id before it installs: what is approved is its action. */
static void name_action(const struct core *core, const char *action, char ret_name[POLICY_ACTION_MAX + 1])
{
	snprintf(ret_name, POLICY_ACTION_MAX + 1, "%s %s", core->settings->source.kind, action);
}

bool policy_approved(const struct core *core, const char *action, const char *version)
{
	char name[POLICY_ACTION_MAX + 1];

	name_action(core, action, name);
	return policy_action_is_approved(&core->policies->policy, name, version);
}

int policy_append_approved(const struct core *core, sd_bus_message *m)
{
	const struct policy *p = &core->policies->policy;
	const char *kind = core->settings->source.kind;
	size_t n = strlen(kind);
	int r;

	if (strncmp(p->source_action, kind, n) != 0 || p->source_action[n] != ' ')
		return 0;
	r = peer_append_string(m, "approved", p->source_action + n + 1);
	return r < 0 ? r : peer_append_string(m, "approved_version", p->source_version);
}

int policy_approve_source(struct core *core, const char *action, const char *version, struct agent_error **err)
{
	char name[POLICY_ACTION_MAX + 1];
	int r;

	name_action(core, action, name);
	r = policy_approve_action(&core->policies->policy, name, version, err);
	if (r >= 0)
		policies_changed(core);
	return r;
}

const char *policy_waits_for(const struct core *core)
{
	const struct policy *p = &core->policies->policy;
	struct policy_now now = policies_now(core);

	switch (policy_mode_now(p)) {
	case POLICY_AUTOMATIC:
		return NULL;
	case POLICY_WINDOW:
		if (!policy_clock_is_trusted(p, &now))
			return "clock";
		return policy_in_window(p, &now) ? NULL : "window";
	default:
		return "approval";
	}
}

/* ---- what is told ------------------------------------------------------------------------------------------------- */

static int append_text(sd_bus_message *m, const char *key, const char *text)
{
	return text[0] == '\0' ? 0 : peer_append_string(m, key, text);
}

int policy_append(struct core *core, sd_bus_message *m)
{
	const struct policy *p = &core->policies->policy;
	struct policy_now now = policies_now(core);
	uint64_t left_s = p->postpone_total_s - (p->postponed_total_s < p->postpone_total_s ? p->postponed_total_s : p->postpone_total_s);
	int r;

	r = peer_append_string(m, "policy", policy_mode_name(policy_mode_now(p)));
	if (r >= 0)
		r = peer_append_string(m, "offer_state", offer_state_name(p->state));
	if (r >= 0 && p->state == OFFER_WAITING)
		r = append_text(m, "offer_waits_for", offer_wait_name(policy_decide(p, &now)));
	if (r >= 0)
		r = append_text(m, "offer_release_id", p->release_id);
	if (r >= 0)
		r = append_text(m, "offer_version", p->version);
	if (r >= 0)
		r = append_text(m, "offer_kind", p->kind);
	if (r >= 0)
		r = append_text(m, "offer_advisory", p->advisory);
	if (r >= 0)
		r = append_text(m, "offer_manifest_sha256", p->manifest_sha256);
	if (r >= 0)
		r = append_text(m, "offer_reference", p->reference);
	if (r >= 0)
		r = append_text(m, "offer_approved_by", p->approved_by);
	if (r >= 0 && p->release_id[0] != '\0')
		r = peer_append_u64(m, "offer_security_version", p->security_version);
	if (r >= 0 && p->state == OFFER_WAITING)
		r = peer_append_u64(m, "offer_postponed_s", p->postponed_s);
	if (r >= 0 && p->state == OFFER_WAITING)
		r = peer_append_u64(m, "offer_postpones_left", p->n_postponed < p->n_postpone_max && left_s >= 3600 ? p->n_postpone_max - p->n_postponed : 0);
	if (r >= 0)
		r = append_text(m, "offer_error_name", p->error_name);
	if (r >= 0)
		r = append_text(m, "offer_error", p->error);
	return r < 0 ? r : reboots_append(core, m);
}

/* ---- what is asked ------------------------------------------------------------------------------------------------ */

static int announce(struct core *core, struct op_call *call, const char *url, const char *reference, struct agent_error **err)
{
	struct policies *ps = core->policies;
	int r;

	if (core->settings->update.slots.n == 0)
		return agent_error_set(err, -ENOENT, "slot.missing", "this device has no slots to put an update into");
	if (ps->is_running)
		return agent_error_set(err, -EBUSY, "update.busy", "an offered update is being looked into or installed");
	/* A person who names an address again, when nothing is pending, means what is there now. */
	if (reference[0] == '\0' && ps->policy.state == OFFER_INSTALLED && !updates_is_pending(core))
		(void)policy_withdraw(&ps->policy, NULL);
	r = policy_announce(&ps->policy, url, reference, err);
	if (r < 0)
		return r;
	if (r > 0)
		policies_changed(core);
	tick_soon(core);
	return updates_send_report(core, call, err);
}

int op_update_offer(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *url;

	return sd_bus_message_read(call->msg, "s", &url) < 0 ? op_unreadable(call, err) : announce(core, call, url, "", err);
}

int op_offer_announce(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *url, *reference;

	return sd_bus_message_read(call->msg, "ss", &url, &reference) < 0 ? op_unreadable(call, err) : announce(core, call, url, reference, err);
}

int op_offer_withdraw(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct policy *p = &core->policies->policy;
	char release_id[POLICY_NAME_MAX + 1];
	const char *reference;
	int r;

	if (sd_bus_message_read(call->msg, "s", &reference) < 0)
		return op_unreadable(call, err);
	if (p->state == OFFER_NONE || strcmp(p->reference, reference) != 0)
		return agent_error_set(err, -ENOENT, "update.nothing", "no offer has that reference");
	memcpy(release_id, p->release_id, sizeof(release_id));
	r = policy_withdraw(p, err);
	if (r < 0)
		return r;
	event_add(core, EVENT_UPDATE_WITHDRAWN, "release", release_id, NULL);
	policies_changed(core);
	return op_reply(call, NULL);
}

int op_offer_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	return updates_send_report(core, call, err);
}

int op_update_approve(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct policy *p = &core->policies->policy;
	const char *release_id, *manifest_sha256;
	int r;

	if (sd_bus_message_read(call->msg, "ss", &release_id, &manifest_sha256) < 0)
		return op_unreadable(call, err);
	r = policy_approve(p, release_id, manifest_sha256, call->caller.user, err);
	if (r < 0)
		return r;
	event_add(core, EVENT_UPDATE_APPROVED, "release", p->release_id, "manifest", p->manifest_sha256, "user", call->caller.user, "source",
		  call->caller.source, NULL);
	policies_changed(core);
	tick_soon(core);
	return updates_send_report(core, call, err);
}

int op_update_postpone(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct policies *ps = core->policies;
	bool is_restart = ps->policy.state != OFFER_WAITING && reboots_can_postpone(core);
	uint64_t hours;
	char text[24];
	int r;

	if (sd_bus_message_read(call->msg, "t", &hours) < 0)
		return op_unreadable(call, err);
	r = is_restart ? reboot_postpone(&ps->policy, hours, err) : policy_postpone(&ps->policy, hours, err);
	if (r < 0)
		return r;
	if (is_restart)
		tick_soon(core);
	else
		ps->ticked_s = running_s();
	snprintf(text, sizeof(text), "%" PRIu64, hours);
	event_add(core, EVENT_UPDATE_POSTPONED, "release", is_restart ? ps->policy.reboot_release : ps->policy.release_id, "hours", text, "user",
		  call->caller.user, "source", call->caller.source, NULL);
	policies_changed(core);
	return updates_send_report(core, call, err);
}

int op_update_policy(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct policy *p = &core->policies->policy;
	const struct policy old = *p;
	enum policy_mode before = policy_mode_now(p), mode;
	const char *name;
	int r;

	if (sd_bus_message_read(call->msg, "s", &name) < 0)
		return op_unreadable(call, err);
	if (!policy_mode_find(name, &mode))
		return agent_error_set(err, -EINVAL, "update.policy-name", "a policy is automatic, window or approval, not \"%.32s\"", name);
	if (mode == POLICY_WINDOW && p->n_windows == 0)
		return agent_error_set(err, -EINVAL, "update.windows",
				       "update.windows names no maintenance window, so the policy \"window\" would install nothing");
	p->mode = mode;
	p->has_mode = true;
	p->seen_s = 0; /* the way back after a clock that ran ahead and was believed */
	/* Whoever chose it hears that it is kept, or that it is not. */
	r = policies_keep(core, err);
	if (r < 0) {
		*p = old;
		return r;
	}
	if (mode != before)
		event_add(core, mode == POLICY_APPROVAL ? EVENT_UPDATE_OPT_OUT : EVENT_UPDATE_POLICY, "from", policy_mode_name(before), "to",
			  policy_mode_name(mode), "user", call->caller.user, "source", call->caller.source, NULL);
	stream_wake(core);
	tick_soon(core);
	return updates_send_report(core, call, err);
}

/* ---- start and stop ----------------------------------------------------------------------------------------------- */

static int configure(struct policy *p, const struct settings *s, struct agent_error **err)
{
	int r = policy_zone_check(s->update.time_zone, err);

	if (r < 0)
		return r;
	if (!policy_mode_find(s->update.policy, &p->default_mode))
		return agent_error_set(err, -EINVAL, "update.policy-name", "update.policy is \"%.32s\", must be automatic, window or approval", s->update.policy);
	for (char **row = s->update.windows; *row != NULL; row++) {
		if (p->n_windows == POLICY_WINDOWS_MAX)
			return agent_error_set(err, -EINVAL, "update.windows", "update.windows has more than %d rows", POLICY_WINDOWS_MAX);
		r = policy_window_parse(*row, &p->windows[p->n_windows], err);
		if (r < 0)
			return r;
		p->n_windows++;
	}
	if (p->default_mode == POLICY_WINDOW && p->n_windows == 0)
		return agent_error_set(err, -EINVAL, "update.windows", "update.policy is \"window\", and update.windows names none");
	p->n_postpone_max = (unsigned)s->update.postpone_max;
	p->postpone_total_s = (uint64_t)s->update.postpone_total_h * 3600;
	return 0;
}

int policy_start(struct core *core, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	struct policies *ps = calloc(1, sizeof(*ps));
	int r;

	if (ps == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the policy of updates");
	core->policies = ps;
	ps->policy.dir_fd = ps->reboot_fd = -1;
	r = configure(&ps->policy, core->settings, err);
	if (r >= 0)
		r = reboots_configure(ps, core->settings, err);
	if (r >= 0)
		r = store_open_folder(core->settings, "update", &ps->policy.dir_fd, err);
	if (r < 0)
		return r;
	if (policy_load(&ps->policy, &why) < 0)
		service_log(LOG_ERR, "%s", agent_error_message(why));
	/* Before any thread is there: localtime_r() is for the windows only, and reads no file for such a zone. */
	if (setenv("TZ", core->settings->update.time_zone, 1) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the time zone");
	tzset();
	ps->ticked_s = ps->saved_s = running_s();
	r = sd_event_add_time_relative(core->event, &ps->timer, CLOCK_MONOTONIC, TICK_US, 0, on_tick, core);
	return r < 0 ? agent_error_set(err, r, "core.start", "cannot watch over the policy of updates: %s", strerror(-r)) : 0;
}

void policy_forget(struct core *core)
{
	struct policy *p = &core->policies->policy;

	(void)policy_withdraw(p, NULL); /* not what is being installed: its approval goes, too */
	p->approved_by[0] = p->source_action[0] = p->source_version[0] = '\0';
	p->has_mode = false;
	reboot_begin(&core->policies->reboot, p, "", false);
	policies_changed(core);
}

void policy_stop(struct core *core)
{
	struct policies *ps = core->policies;

	if (ps == NULL)
		return;
	sd_event_source_disable_unref(ps->timer);
	reboots_stop(ps);
	if (ps->policy.dir_fd >= 0)
		close(ps->policy.dir_fd);
	free(ps);
	core->policies = NULL;
}
