/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Service tickets: the vendor's word that this device may go back to one release below the floor, once. Core keeps the one that an
 * administrator gave, says what it is held against, and raises the counter before anything boots by it; agentd-install, which knows who may
 * sign, reads it. docs/design/update.md, "Service ticket".
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include <agent/time.h>
#include <agent/update.h>

#include "agentd/common/peer.h"
#include "agentd/core/ask.h"
#include "agentd/core/core.h"
#include "agentd/core/job.h"
#include "agentd/core/update_inside.h"
#include "base/macro.h"

#define CHECK_TIMEOUT_S 60
#define USE_TIMEOUT_S 150	/* agentd-install waits longer */

static void ticket_drop(struct updates *u)
{
	free(u->ticket.text);
	memset(&u->ticket, 0, sizeof(u->ticket));
}

/* Also the one that is being looked at. */
static void ticket_take_back(struct updates *u)
{
	ticket_drop(u);
	u->has_dropped_ticket = u->is_checking_ticket;
}

void updates_forget_ticket(struct core *core)
{
	ticket_take_back(core->updates);
}

/* A ticket ends, so it takes a clock that somebody vouches for: one that was set back would bring it to life again. */
static int clock_check(const struct core *core, uint64_t *ret_now_s, struct agent_error **err)
{
	struct agent_time_reading now;

	agent_time_get(core->time, &now);
	if (now.state < AGENT_TIME_NETWORK)
		return agent_error_set(err, -ENODEV, "update.ticket-clock",
				       "a service ticket ends at a date, and nobody vouches for the clock of this device: agentctl time");
	*ret_now_s = now.now_s;
	return 0;
}

static int counter_check(const struct core *core, struct agent_error **err)
{
	if (!core->has_tickets || core->srk_name == NULL)
		return agent_error_set(err, -ENODEV, "update.ticket-counter",
				       "the TPM has no counter of service tickets, or cannot be asked; no ticket is taken without it (a device of an older release: agentd --provision)");
	return 0;
}

/* ---- given, shown, taken back ------------------------------------------------------------------------------------------ */

static int append_state(struct core *core, sd_bus_message *m)
{
	const struct update_ticket *ticket = &core->updates->ticket;
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = peer_append_string(m, "device", core->srk_name);
	if (r >= 0 && core->has_tickets)
		r = peer_append_u64(m, "used", core->tickets);
	if (r >= 0 && core->has_floor)
		r = peer_append_u64(m, "floor", core->floor);
	if (r >= 0)
		r = peer_append_bool(m, "has_ticket", ticket->text != NULL);
	if (r >= 0 && ticket->text != NULL) {
		r = peer_append_string(m, "release_id", ticket->release_id);
		if (r >= 0)
			r = peer_append_u64(m, "security_version", ticket->security_version);
		if (r >= 0)
			r = peer_append_u64(m, "not_after", ticket->not_after_s);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int send_state(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply_made(core, call, append_state, "what there is of service tickets", err);
}

int op_update_ticket_get(struct core *core, struct op_call *call, struct agent_error **err)
{
	return send_state(core, call, err);
}

static int refused(struct core *core, const struct op_call *call, int r, struct agent_error *const *err)
{
	event_add(core, EVENT_UPDATE_TICKET_REFUSED, "error", agent_error_name(*err), "reason", agent_error_message(*err), "user", call->caller.user, "source",
		  call->caller.source, NULL);
	return r;
}

static int on_checked(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct updates *u = core->updates;
	struct update_ticket fresh = { 0 };
	const char *text, *release_id;
	char version[24];

	u->is_checking_ticket = false;
	if (r >= 0) {
		r = sd_bus_message_read(reply, "stt", &release_id, &fresh.security_version, &fresh.not_after_s);
		if (r < 0 || strlen(release_id) >= sizeof(fresh.release_id))
			r = agent_error_set(err, -EBADMSG, "update.report", "agentd-install sent a ticket that cannot be read");
	}
	if (r >= 0 && u->has_dropped_ticket)
		r = agent_error_set(err, -EPERM, "update.ticket", "the service ticket was taken back while it was looked at");
	/* One that is in use is not changed for another. */
	if (r >= 0)
		r = updates_check_free(core, err);
	if (r < 0)
		return refused(core, call, r, err);
	/* The arguments were read once; from the beginning again, behind the caller. */
	r = sd_bus_message_rewind(call->msg, true);
	if (r >= 0)
		r = sd_bus_message_skip(call->msg, "(sus)");
	if (r >= 0)
		r = sd_bus_message_read(call->msg, "s", &text);
	if (r < 0 || (fresh.text = strdup(text)) == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a service ticket");
	strcpy(fresh.release_id, release_id);
	ticket_drop(u);
	u->ticket = fresh;
	snprintf(version, sizeof(version), "%" PRIu64, fresh.security_version);
	event_add(core, EVENT_UPDATE_TICKET_GIVEN, "release", fresh.release_id, "security_version", version, "user", call->caller.user, "source",
		  call->caller.source, NULL);
	return send_state(core, call, err);
}

static int check_begin(struct core *core, struct op_call *call, const char *text, struct agent_error **err)
{
	uint64_t now_s = 0;
	sd_bus_message *m;
	int r;

	if (strlen(text) > AGENT_UPDATE_TICKET_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.ticket", "the service ticket has more than %d bytes", AGENT_UPDATE_TICKET_MAX);
	r = updates_check_free(core, err);
	if (r >= 0 && core->updates->is_checking_ticket)
		r = agent_error_set(err, -EBUSY, "update.busy", "another service ticket is being looked at");
	if (r >= 0)
		r = updates_check_trust(core, err);
	if (r >= 0)
		r = counter_check(core, err);
	if (r >= 0)
		r = clock_check(core, &now_s, err);
	if (r >= 0)
		r = ask_new(core, PROG_INSTALL, "CheckTicket", &m, err);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "ssttt", text, core->srk_name, core->tickets, core->trust, now_s);
	if (r < 0) {
		ask_drop(core, PROG_INSTALL, m);
		return agent_error_set(err, r, "bus.call", "cannot ask about a service ticket: %s", strerror(-r));
	}
	r = ask_send(core, PROG_INSTALL, m, CHECK_TIMEOUT_S, call, on_checked, err);
	core->updates->is_checking_ticket = r >= 0;
	core->updates->has_dropped_ticket = false;
	return r;
}

int op_update_ticket_set(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *text;
	int r;

	if (sd_bus_message_read(call->msg, "s", &text) < 0)
		return op_unreadable(call, err);
	r = check_begin(core, call, text, err);
	return r < 0 ? refused(core, call, r, err) : r;
}

int op_update_ticket_remove(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct updates *u = core->updates;

	if (u->ticket.text != NULL)
		event_add(core, EVENT_UPDATE_TICKET_REMOVED, "release", u->ticket.release_id, "user", call->caller.user, "source", call->caller.source, NULL);
	ticket_take_back(u);
	return op_reply(call, NULL);
}

/* ---- in an installation --------------------------------------------------------------------------------------------------- */

int updates_append_ticket(struct core *core, sd_bus_message *m)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct updates *u = core->updates;
	uint64_t now_s;

	u->order.used_ticket = false;
	u->order.has_ticket = u->ticket.text != NULL && !u->order.by_policy && !u->order.by_source;
	if (u->order.has_ticket && (counter_check(core, &err) < 0 || clock_check(core, &now_s, &err) < 0)) {
		service_log(LOG_WARNING, "the service ticket is left out: %s", agent_error_message(err));
		u->order.has_ticket = false;
	}
	u->order.tickets = core->tickets;
	return sd_bus_message_append(m, "sst", u->order.has_ticket ? u->ticket.text : "", core->srk_name == NULL ? "" : core->srk_name, u->order.tickets);
}

struct use_job {
	struct op_job base;
	uint64_t before; /* what agentd-install was told */
	char release_id[65]; /* of the ticket, which may be taken back meanwhile */
	uint64_t security_version;
	uint64_t after;	 /* out */
};

static int use_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct use_job *job = (struct use_job *)base;
	uint64_t value = 0;
	int r;

	if (store->tickets == NULL)
		return agent_error_set(err, -EKEYREJECTED, "update.ticket-counter", "the counter of service tickets in the TPM was made again by somebody else");
	r = agent_counter_get(store->tickets, &value, err);
	if (r >= 0)
		store->tickets_value = value; /* also of an attempt that the TPM ended late: the loop hears of it */
	if (r >= 0 && value != job->before)
		r = agent_error_set(err, -ESTALE, "update.ticket-used", "the counter of service tickets is at %" PRIu64 ", not at %" PRIu64, value, job->before);
	if (r >= 0)
		r = agent_counter_raise(store->tickets, value + 1, 1, err);
	if (r >= 0)
		r = agent_counter_get(store->tickets, &job->after, err);
	if (r < 0)
		return r;
	store->tickets_value = job->after;
	store->has_tickets = true;
	return 0;
}

static int use_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	const struct use_job *job = (const struct use_job *)base;
	struct updates *u = core->updates;
	char version[24], floor[24];

	core->tickets = job->after;
	snprintf(version, sizeof(version), "%" PRIu64, job->security_version);
	snprintf(floor, sizeof(floor), "%" PRIu64, core->floor);
	event_add(core, EVENT_UPDATE_TICKET_USED, "release", job->release_id, "security_version", version, "floor", floor, "user", u->user, "source",
		  update_text(u->source), NULL);
	ticket_drop(u);
	return op_reply(base->call, NULL);
}

static const struct op_job_type job_use = { .name = "use of the service ticket", .run = use_run, .reply = use_reply };

/* Only for the installation that core began with one, and once. The ticket may have been taken back since: then it is refused here. */
int op_update_ticket_use(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct updates *u = core->updates;
	struct op_job *base;
	struct use_job *job;
	int r;

	if (!u->is_installing || !u->order.has_ticket || u->order.used_ticket)
		return agent_error_set(err, -EPERM, "update.ticket", "a service ticket is used by the installation that was begun with one, and once");
	if (u->ticket.text == NULL)
		return agent_error_set(err, -EPERM, "update.ticket", "the service ticket was taken back during the installation");
	r = op_job_new(call, &job_use, sizeof(struct use_job), &base, err);
	if (r < 0)
		return r;
	job = (struct use_job *)base;
	job->before = u->order.tickets;
	strcpy(job->release_id, u->ticket.release_id);
	job->security_version = u->ticket.security_version;
	u->order.used_ticket = true;
	return op_job_end(base, r, WORKER_WORK, USE_TIMEOUT_S, err);
}
