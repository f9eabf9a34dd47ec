/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The restart of the device into a release that was installed. The rules are in update_reboot.c. Core may not restart anything: it knocks at
 * RUN_DIR/reboot.sock, where agentd-reboot.socket of systemd listens, or the supervisor, or a program of the maker.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agentd/common/peer.h"
#include "agentd/core/policy_inside.h"
#include "agentd/core/stream.h"
#include "agentd/core/update.h"
#include "agentd/core/update_inside.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "base/text.h"

#define RETRY_S 600
#define PERSON_S 2 /* until the answer to who asked is on its way */

/* ---- knocking ----------------------------------------------------------------------------------------------------- */

static int knock(const struct core *core, int *ret_fd, struct agent_error **err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/reboot.sock", core->settings->paths.run_dir);

	if (fd < 0 || n < 0 || (size_t)n >= sizeof(address.sun_path))
		return agent_error_set(err, fd < 0 ? -errno : -ENAMETOOLONG, "update.reboot", "cannot make a socket to ask for a restart");
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return agent_error_set(err, -errno, "update.reboot", "nobody restarts this device for the agent: %s: %s (agentd-reboot.socket, or agentd --supervise)",
				       address.sun_path, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void ask_failed(struct core *core, const char *release_id, bool by_person, const struct agent_error *why)
{
	struct policies *ps = core->policies;

	/* What the policy has asked for already stays asked for, whoever tried after it. */
	if (!by_person)
		ps->policy.reboot_asked = 0;
	ps->reboot.retry_at_s = running_s() + RETRY_S;
	/* Once until it works: the next tries are in the status. */
	if (strcmp(ps->reboot_error, agent_error_message(why)) != 0)
		event_add(core, EVENT_UPDATE_REBOOT_FAILED, "release", release_id, "reason", agent_error_message(why), NULL);
	snprintf(ps->reboot_error_name, sizeof(ps->reboot_error_name), "%s", agent_error_name(why));
	snprintf(ps->reboot_error, sizeof(ps->reboot_error), "%s", agent_error_message(why));
	text_drop_cut(ps->reboot_error);
	policies_changed(core);
}

static void ask(struct core *core, const char *release_id)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct policies *ps = core->policies;
	bool by_person = ps->reboot.person_at_s != 0;
	int fd;

	ps->reboot.person_at_s = ps->reboot.notice_until_s = 0;
	if (!by_person) {
		/* First that it was asked for, durably: a boot loader that does not switch must not have us ask again after it. */
		ps->policy.reboot_asked = 1;
		policies_save(core);
		if (ps->is_unsaved) {
			agent_error_set(&err, -EIO, "update.reboot", "cannot keep that the restart was asked for: it would be asked for again after each one");
			ask_failed(core, release_id, by_person, err);
			return;
		}
	}
	event_add(core, EVENT_UPDATE_REBOOT, "release", release_id, "user", by_person ? ps->reboot_user : "policy", "source",
		  by_person ? update_text(ps->reboot_source) : NULL, NULL);
	if (knock(core, &fd, &err) < 0) {
		ask_failed(core, release_id, by_person, err);
		return;
	}
	if (ps->reboot_fd >= 0)
		close(ps->reboot_fd);
	ps->reboot_fd = fd;
	ps->reboot_error_name[0] = ps->reboot_error[0] = '\0';
	stream_wake(core);
}

/* ---- going on ----------------------------------------------------------------------------------------------------- */

static void announce(struct core *core, const char *release_id, uint64_t now_s)
{
	struct reboot *reboot = &core->policies->reboot;
	char seconds[24];

	reboot->notice_until_s = now_s + reboot->notice_s;
	snprintf(seconds, sizeof(seconds), "%" PRIu64, reboot->notice_s);
	event_add(core, EVENT_UPDATE_REBOOT_DUE, "release", release_id, "in_s", seconds, NULL);
	stream_wake(core);
}

static void tell_holder(struct core *core, const char *release_id, uint64_t now_s)
{
	struct policies *ps = core->policies;
	const char *who = reboot_holder(&ps->reboot, now_s);

	if (who == NULL || strcmp(ps->told_holder, who) == 0)
		return;
	snprintf(ps->told_holder, sizeof(ps->told_holder), "%s", who);
	event_add(core, EVENT_UPDATE_REBOOT_HELD, "release", release_id, "by", who, NULL);
}

void reboots_tick(struct core *core, uint64_t gone_s)
{
	_cleanup_error_ struct agent_error *ignored = NULL;
	struct policies *ps = core->policies;
	const char *release_id = core->setup == AGENT_SETUP_ACTIVE ? updates_awaits_reboot(core) : NULL;
	struct policy_now now = policies_now(core);
	enum reboot_wait wait = reboot_decide(&ps->reboot, &ps->policy, &now, release_id);

	/* The time since the last tick went by in the state of then. */
	reboot_count(&ps->policy, ps->reboot_wait, gone_s);
	if (wait == REBOOT_NOTICE && ps->reboot.notice_until_s == 0 && ps->reboot.person_at_s == 0) {
		announce(core, release_id, now.running_s);
		wait = reboot_decide(&ps->reboot, &ps->policy, &now, release_id);
	} else if (wait != REBOOT_NOTICE && wait != REBOOT_NOW) {
		ps->reboot.notice_until_s = 0;
	}
	if (wait == REBOOT_HELD)
		tell_holder(core, release_id, now.running_s);
	if (wait == REBOOT_NOT_DUE)
		ps->reboot.person_at_s = 0;
	/* The time to hold a restart back is that of one release: a program that begins its work now has all of it for the next. */
	if (updates_are_known(core) && updates_awaits_reboot(core) == NULL)
		ps->policy.reboot_held_s = 0;
	if (wait != ps->reboot_wait)
		policies_changed(core);
	ps->reboot_wait = wait;
	/* Somebody looks into an offer, or confirms: a moment later. */
	if (wait == REBOOT_NOW && updates_check_free(core, &ignored) >= 0)
		ask(core, release_id);
}

void reboots_installed(struct core *core, const char *release_id, bool is_ours)
{
	struct policies *ps = core->policies;

	reboot_begin(&ps->reboot, &ps->policy, release_id, is_ours);
	ps->told_holder[0] = ps->reboot_error_name[0] = ps->reboot_error[0] = '\0';
	policies_changed(core);
	policies_tick_in(core, 0);
}

bool reboots_can_postpone(const struct core *core)
{
	const struct policies *ps = core->policies;
	struct policy_now now = policies_now(core);
	enum reboot_wait wait = reboot_decide(&ps->reboot, &ps->policy, &now, updates_awaits_reboot(core));

	return wait != REBOOT_NOT_DUE && wait != REBOOT_PERSON && wait != REBOOT_ASKED;
}

static uint64_t postpones_left(const struct core *core)
{
	const struct policy *p = &core->policies->policy;

	return policy_postpone_check(p, p->reboot_release, p->n_reboot_postponed, p->reboot_postponed_total_s, 1, NULL) < 0 ? 0 :
		p->n_postpone_max - p->n_reboot_postponed;
}

/* ---- what is told ------------------------------------------------------------------------------------------------- */

static uint64_t seconds_left(const struct reboot *reboot, uint64_t now_s)
{
	uint64_t at_s = reboot->person_at_s != 0 ? reboot->person_at_s : reboot->notice_until_s;

	return at_s > now_s ? at_s - now_s : 0;
}

int reboots_append(struct core *core, sd_bus_message *m)
{
	struct policies *ps = core->policies;
	struct policy_now now = policies_now(core);
	enum reboot_wait wait = reboot_decide(&ps->reboot, &ps->policy, &now, updates_awaits_reboot(core));
	int r = peer_append_string(m, "reboot", reboot_mode_name(ps->reboot.mode));

	if (r >= 0 && wait != REBOOT_NOT_DUE)
		r = peer_append_string(m, "reboot_waits_for", reboot_wait_name(wait));
	if (r >= 0 && (wait == REBOOT_NOTICE || wait == REBOOT_NOW))
		r = peer_append_u64(m, "reboot_in_s", seconds_left(&ps->reboot, now.running_s));
	if (r >= 0 && wait == REBOOT_HELD)
		r = peer_append_string(m, "reboot_held_by", reboot_holder(&ps->reboot, now.running_s));
	if (r >= 0 && wait == REBOOT_POSTPONED)
		r = peer_append_u64(m, "reboot_postponed_s", ps->policy.reboot_postponed_s);
	if (r >= 0 && reboots_can_postpone(core))
		r = peer_append_u64(m, "reboot_postpones_left", postpones_left(core));
	if (r >= 0 && wait != REBOOT_NOT_DUE)
		r = peer_append_string(m, "reboot_error_name", update_text(ps->reboot_error_name));
	return r < 0 || wait == REBOOT_NOT_DUE ? r : peer_append_string(m, "reboot_error", update_text(ps->reboot_error));
}

/* ---- what is asked ------------------------------------------------------------------------------------------------ */

int op_update_reboot(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct policies *ps = core->policies;

	if (updates_awaits_reboot(core) == NULL)
		return agent_error_set(err, -ENOENT, "update.nothing", "no installed release waits for a restart of the device");
	ps->reboot.person_at_s = running_s() + PERSON_S;
	memcpy(ps->reboot_user, call->caller.user, sizeof(ps->reboot_user));
	memcpy(ps->reboot_source, call->caller.source, sizeof(ps->reboot_source));
	policies_tick_in(core, UINT64_C(1000000) * PERSON_S);
	stream_wake(core);
	return updates_send_report(core, call, err);
}

static int tell_application(struct core *core, struct op_call *call)
{
	struct policies *ps = core->policies;
	const char *release_id = updates_awaits_reboot(core);
	struct policy_now now = policies_now(core);
	enum reboot_wait wait = reboot_decide(&ps->reboot, &ps->policy, &now, release_id);

	return op_reply(call, "sstt", reboot_wait_name(wait), release_id == NULL ? "" : release_id, seconds_left(&ps->reboot, now.running_s),
			reboot_hold_left(&ps->reboot, &ps->policy));
}

int op_reboot_get(struct core *core, struct op_call *call, struct agent_error **err)
{
	return tell_application(core, call);
}

int op_reboot_hold(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct policies *ps = core->policies;
	const struct key_rule *rule = NULL;
	char label[AGENT_APP_LABEL_MAX + 1];
	uint64_t seconds;
	int r;

	if (sd_bus_message_read(call->msg, "t", &seconds) < 0)
		return op_unreadable(call, err);
	for (size_t i = 0; i < ps->n_holders && rule == NULL; i++)
		if (key_rule_matches(&ps->holders[i], op_call_key_caller(call)))
			rule = &ps->holders[i];
	if (rule == NULL)
		return agent_error_set(err, -EPERM, "update.hold", "update.reboot_holders does not name this program: it may not hold a restart back");
	key_rule_label(rule, label, sizeof(label));
	r = reboot_hold(&ps->reboot, &ps->policy, label, seconds, running_s(), err);
	if (r < 0)
		return r;
	policies_tick_in(core, 0);
	return tell_application(core, call);
}

/* ---- start and stop ----------------------------------------------------------------------------------------------- */

int reboots_configure(struct policies *ps, const struct settings *s, struct agent_error **err)
{
	if (!reboot_mode_find(s->update.reboot, &ps->reboot.mode))
		return agent_error_set(err, -EINVAL, "update.reboot", "update.reboot is \"%.32s\", must be never, window or at-once", s->update.reboot);
	ps->reboot.notice_s = (uint64_t)s->update.reboot_notice_s;
	ps->reboot.hold_max_s = (uint64_t)s->update.reboot_hold_s;
	for (char **row = s->update.reboot_holders; *row != NULL; row++) {
		int r = ps->n_holders == HOLDERS_MAX ? agent_error_set(err, -EINVAL, "update.reboot_holders", "update.reboot_holders has more than %d rows", HOLDERS_MAX) :
						       key_rule_parse(*row, 0, &ps->holders[ps->n_holders], err);

		if (r >= 0 && (ps->holders[ps->n_holders].kind == RULE_PROGRAM || strchr(*row, ' ') != NULL))
			r = agent_error_set(err, -EINVAL, "update.reboot_holders", "\"%.60s\" must be uid:NUMBER, gid:NUMBER or unit:NAME.service", *row);
		if (r < 0)
			return agent_error_prefix(err, r, "update.reboot_holders");
		ps->n_holders++;
	}
	return 0;
}

void reboots_stop(struct policies *ps)
{
	if (ps->reboot_fd >= 0)
		close(ps->reboot_fd);
	ps->reboot_fd = -1;
}
