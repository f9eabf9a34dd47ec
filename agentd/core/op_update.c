/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#include <agent/update.h>

#include "agentd/core/ask.h"
#include "agentd/core/bus.h"
#include "agentd/core/clock.h"
#include "agentd/core/core.h"
#include "agentd/core/source.h"
#include "agentd/core/update.h"
#include "agentd/core/update_inside.h"
#include "base/macro.h"

#define PIPE_BYTES (256 * 1024)
#define DOWNLOAD_END_US (UINT64_C(30) * 1000000) /* a download goes on after the installation ended: cut it */

/* ---- one installation ------------------------------------------------------------------------------------------- */

static struct agent_error *copy_error(const struct agent_error *error)
{
	struct agent_error *copy = NULL;

	agent_error_set(&copy, agent_error_errno(error), agent_error_name(error), "%s", agent_error_message(error));
	return copy;
}

static void answer_waiter(struct core *core, struct op_call *call)
{
	_cleanup_error_ struct agent_error *err = NULL;
	int r;

	if (core->updates->error != NULL) {
		err = copy_error(core->updates->error);
		r = agent_error_errno(core->updates->error);
	} else {
		r = updates_send_report(core, call, &err);
	}
	if (r < 0)
		op_fail(call, r, &err);
}

static void answer_waiters(struct core *core)
{
	struct updates *u = core->updates;

	while (u->n_waiters > 0) {
		struct op_call *call = u->waiters[--u->n_waiters];

		answer_waiter(core, call);
		op_call_unref(call);
	}
}

static int on_stall(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct core *core = userdata;
	struct updates *u = core->updates;

	u->timer = sd_event_source_disable_unref(u->timer);
	if (u->is_installing && u->error == NULL)
		agent_error_set(&u->error, -ETIMEDOUT, "update.stalled", "the bundle stopped arriving");
	if (u->is_installing)
		bus_cut(core, PROG_INSTALL);
	if (u->is_fetching)
		bus_cut(core, PROG_FETCH);
	return 0;
}

static void watch_over(struct core *core, uint64_t usec)
{
	struct updates *u = core->updates;

	u->timer = sd_event_source_disable_unref(u->timer);
	if (usec > 0)
		sd_event_add_time_relative(core->event, &u->timer, CLOCK_MONOTONIC, usec, 0, on_stall, core);
}

static int on_settled(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct updates *u = core->updates;

	if (r >= 0)
		updates_take_report(core, reply, err);
	if (u->is_settling)
		source_ended(core, u->error);
	u->is_settling = false;
	return 0;
}

/* After a failure the slots are looked at first, so that what the source hears is all of one time. */
static void settle_for_source(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	sd_bus_message *m;

	core->updates->is_settling = true;
	if (ask_new(core, PROG_INSTALL, "Status", &m, &err) < 0 || ask_send(core, PROG_INSTALL, m, 30, NULL, on_settled, &err) < 0)
		on_settled(core, NULL, NULL, -ENOTCONN, &err);
}

/* Both halves report here; the installation is over when neither is under way. */
static void finish_half(struct core *core)
{
	struct updates *u = core->updates;
	char id[24], version[24], signers[3 * 65];

	if (u->is_installing)
		return;
	if (u->is_fetching) {
		watch_over(core, DOWNLOAD_END_US);
		return;
	}
	watch_over(core, 0);
	if (u->order.looks_only) {
		_cleanup_error_ struct agent_error *error = TAKE_PTR(u->error);

		u->error = TAKE_PTR(u->kept_error);
		policy_ended(core, &u->look, error);
		answer_waiters(core);
		return;
	}
	snprintf(id, sizeof(id), "%" PRIu64, u->last_id);
	snprintf(version, sizeof(version), "%" PRIu64, u->report.security_version);
	snprintf(signers, sizeof(signers), "%s", u->report.signers); /* three whole ones: an event has no room for more */
	if (u->error != NULL)
		event_add(core, EVENT_UPDATE_REFUSED, "id", id, "error", agent_error_name(u->error), "reason",
			  agent_error_message(u->error), "user", u->user, "source", update_text(u->source), NULL);
	else
		event_add(core, EVENT_UPDATE_INSTALLED, "id", id, "release", u->report.release_id, "version", u->report.version,
			  "security_version", version, "signers", update_text(signers), "slot", u->report.target_slot, "user", u->user, "source",
			  update_text(u->source), NULL);
	if (u->error == NULL)
		reboots_installed(core, u->report.release_id, u->order.by_policy || u->order.by_source);
	if (u->order.by_policy)
		policy_ended(core, NULL, u->error);
	answer_waiters(core);
	if (u->order.by_source && u->error == NULL)
		source_ended(core, NULL);
	else if (u->order.by_source)
		settle_for_source(core);
}

static int on_installed(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct updates *u = core->updates;

	u->is_installing = false;
	if (r >= 0)
		r = updates_take_report(core, reply, err);
	if (r == -ENOTCONN && u->error == NULL)
		agent_error_prefix(err, r, "agentd-install was interrupted");
	/* What stopped the sender says more than that the bundle ended early. */
	if (r < 0 && u->error == NULL)
		u->error = TAKE_PTR(*err);
	if (r < 0 && u->error == NULL)
		agent_error_set(&u->error, r, "update.failed", "the installation failed: %s", strerror(-r));
	if (r >= 0)
		u->error = agent_error_free(u->error); /* installed is installed, whatever the sender says */
	else if (!u->order.looks_only)
		snprintf(u->report.stage, sizeof(u->report.stage), "failed");
	finish_half(core);
	if (r < 0) {
		_cleanup_error_ struct agent_error *ignored = NULL;

		updates_ask_status(core, NULL, &ignored); /* what the slot looks like now */
	}
	return 0;
}

static int on_downloaded(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct updates *u = core->updates;

	u->is_fetching = false;
	/* A reader that leaves in the middle has a better reason than our broken pipe. */
	if (r < 0 && r != -EPIPE && u->is_installing && u->error == NULL)
		u->error = TAKE_PTR(*err);
	finish_half(core);
	return 0;
}

int updates_check_free(struct core *core, struct agent_error **err)
{
	const struct updates *u = core->updates;

	if (u->is_starting || u->is_installing || u->is_fetching || u->is_confirming)
		return agent_error_set(err, -EBUSY, "update.busy", "an update is under way");
	return 0;
}

static int check_may_begin(struct core *core, struct agent_error **err)
{
	int r = updates_check_free(core, err);

	if (r >= 0 && !core->has_floor)
		r = agent_error_set(err, -ENODEV, "update.floor",
				    "the rollback floor in the TPM cannot be read; nothing is installed without it");
	return r < 0 ? r : updates_check_trust(core, err);
}

/* What a person asked for: any release, at once. */
static void order_of_person(struct updates *u, const struct op_call *call)
{
	memset(&u->order, 0, sizeof(u->order));
	memcpy(u->user, call->caller.user, sizeof(u->user));
	memcpy(u->source, call->caller.source, sizeof(u->source));
}

/* A pipe for who pushes a bundle; a socket for agentd-fetch, which is asked for parts of it (agentd/common/asks.h). */
static int make_channel(bool is_asked, int fds[2])
{
	return is_asked ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) : pipe2(fds, O_CLOEXEC);
}

/* Ask agentd-install, which is there, to read a bundle from a new channel; *ret_fd is the sender's end. */
static int begin(struct core *core, const char *from, bool is_asked, int *ret_fd, struct agent_error **err)
{
	struct updates *u = core->updates;
	_cleanup_close_ int read_fd = -1, write_fd = -1;
	sd_bus_message *m;
	char id[24];
	int fds[2], r;

	if (make_channel(is_asked, fds) < 0)
		return agent_error_set(err, -errno, "update.pipe", "cannot make a pipe: %s", strerror(errno));
	read_fd = fds[0];
	write_fd = fds[1];
	(void)fcntl(write_fd, F_SETPIPE_SZ, PIPE_BYTES); /* of a pipe: fewer wake-ups; over a user's limit the default stays */
	r = ask_new(core, PROG_INSTALL, "Begin", &m, err);
	if (r < 0)
		return r;
	r = ask_is_ready(m, err);
	if (r >= 0) {
		r = sd_bus_message_append(m, "htttbss", read_fd, core->floor, core->trust, (uint64_t)clock_now(core), (int)u->order.looks_only,
					  u->order.release_id, u->order.manifest_sha256);
		if (r >= 0)
			r = updates_append_ticket(core, m);
		if (r < 0)
			agent_error_set(err, r, "bus.call", "cannot hand over a pipe: %s", strerror(-r));
	}
	if (r < 0) {
		ask_drop(core, PROG_INSTALL, m);
		return r;
	}
	r = ask_send(core, PROG_INSTALL, m, ASK_FOREVER, NULL, on_installed, err);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(write_fd);
	u->is_installing = true;
	watch_over(core, UPDATE_STALL_US);
	memset(&u->look, 0, sizeof(u->look));
	if (u->order.looks_only) {
		u->kept_error = TAKE_PTR(u->error);
		return 0;
	}
	u->error = agent_error_free(u->error);
	u->gave_key = false;
	u->last_id++;
	u->report.done_bytes = u->report.total_bytes = 0;
	snprintf(u->report.stage, sizeof(u->report.stage), "receiving");
	snprintf(id, sizeof(id), "%" PRIu64, u->last_id);
	event_add(core, EVENT_UPDATE_BEGUN, "id", id, "from", from, "user", u->user, "source", update_text(u->source), NULL);
	return 0;
}

static int on_ready_for_upload(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;

	core->updates->is_starting = false;
	if (r >= 0)
		r = begin(core, "upload", false, &fd, err);
	return r < 0 ? r : op_reply(call, "th", core->updates->last_id, fd);
}

int op_update_begin(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct updates *u = core->updates;
	uint64_t size;
	int r;

	if (sd_bus_message_read(call->msg, "t", &size) < 0)
		return op_unreadable(call, err);
	r = check_may_begin(core, err);
	if (r >= 0)
		r = ask_ready(core, PROG_INSTALL, call, on_ready_for_upload, err);
	if (r < 0)
		return r;
	order_of_person(u, call);
	u->is_starting = true;
	u->size = size;
	return 0;
}

/* Both programs are there: a socket between them. */
static int connect_fetch(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct updates *u = core->updates;
	_cleanup_close_ int fd = -1;
	sd_bus_message *m;
	int r;

	r = ask_new(core, PROG_FETCH, u->order.by_source ? "DownloadOffer" : "Download", &m, err);
	if (r < 0)
		return r;
	r = ask_is_ready(m, err);
	if (r >= 0)
		r = begin(core, u->order.by_source ? u->order.from : u->url, true, &fd, err);
	if (r < 0) {
		ask_drop(core, PROG_FETCH, m);
		return r;
	}
	r = u->order.by_source ? sd_bus_message_append(m, "sth", u->url, u->size, fd) : sd_bus_message_append(m, "sh", u->url, fd);
	if (r >= 0) {
		r = ask_send(core, PROG_FETCH, m, ASK_FOREVER, NULL, on_downloaded, err);
	} else {
		ask_drop(core, PROG_FETCH, m);
		agent_error_set(err, r, "bus.call", "cannot hand over a pipe: %s", strerror(-r));
	}
	if (r < 0) {
		/* Our end of the pipe closes on return, and agentd-install finds a bundle that ends at once. */
		u->error = copy_error(*err);
		return r;
	}
	u->is_fetching = true;
	return call == NULL ? 0 : op_reply(call, "t", u->last_id);
}

/* Nobody waits for an answer to what the policy or the source began. Once begun, the end of the installation tells it. */
static int start_failed(struct core *core, int r, struct agent_error **err)
{
	const struct updates *u = core->updates;

	if (r < 0 && u->order.by_policy && !u->is_installing)
		policy_ended(core, u->order.looks_only ? &u->look : NULL, *err);
	if (r < 0 && u->order.by_source && !u->is_installing)
		source_ended(core, *err);
	return r;
}

static int on_fetch_ready(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	core->updates->is_starting = false;
	if (r >= 0)
		r = connect_fetch(core, call, err);
	bus_release(core, PROG_INSTALL);
	return start_failed(core, r, err);
}

static int on_install_ready(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	sd_bus *bus;

	if (r >= 0)
		r = bus_hold(core, PROG_INSTALL, &bus, err); /* until the other one has answered */
	if (r >= 0) {
		r = ask_ready(core, PROG_FETCH, call, on_fetch_ready, err);
		if (r < 0)
			bus_release(core, PROG_INSTALL);
	}
	if (r < 0)
		core->updates->is_starting = false;
	return start_failed(core, r, err);
}

int op_update_fetch(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct updates *u = core->updates;
	const char *url;
	size_t n;
	int r;

	if (sd_bus_message_read(call->msg, "s", &url) < 0)
		return op_unreadable(call, err);
	n = strlen(url);
	if (n > UPDATE_URL_MAX || strncmp(url, "https://", 8) != 0)
		return agent_error_set(err, -EINVAL, "update.url", "a bundle is fetched from https://, with at most %d characters", UPDATE_URL_MAX);
	for (size_t i = 0; i < n; i++)
		if (url[i] <= 0x20 || url[i] > 0x7e)
			return agent_error_set(err, -EINVAL, "update.url", "the address holds a character that must be written as %%XX");
	r = check_may_begin(core, err);
	if (r >= 0)
		r = ask_ready(core, PROG_INSTALL, call, on_install_ready, err);
	if (r < 0)
		return r;
	order_of_person(u, call);
	u->is_starting = true;
	u->size = 0;
	memcpy(u->url, url, n + 1);
	return 0;
}

int updates_run(struct core *core, const char *url, const struct update_seen *seen, const char *user, struct agent_error **err)
{
	struct updates *u = core->updates;
	int r = check_may_begin(core, err);

	if (r >= 0)
		r = ask_ready(core, PROG_INSTALL, NULL, on_install_ready, err);
	if (r < 0)
		return r;
	memset(&u->order, 0, sizeof(u->order));
	u->order.by_policy = true;
	u->order.looks_only = seen == NULL;
	if (seen != NULL) {
		snprintf(u->order.release_id, sizeof(u->order.release_id), "%s", seen->release_id);
		snprintf(u->order.manifest_sha256, sizeof(u->order.manifest_sha256), "%s", seen->manifest_sha256);
	}
	snprintf(u->user, sizeof(u->user), "%s", user);
	u->source[0] = '\0';
	u->is_starting = true;
	u->size = 0;
	snprintf(u->url, sizeof(u->url), "%s", url);
	return 0;
}

int updates_take_offer(struct core *core, const struct update_offer *offer, struct agent_error **err)
{
	struct updates *u = core->updates;
	const char *waits_for = policy_waits_for(core);
	int r;

	if (waits_for != NULL && !policy_approved(core, offer->action, offer->version))
		return agent_error_set(err, -EBUSY, "update.busy", "update.policy: %s", waits_for);
	if (u->is_settling || strlen(offer->url) > UPDATE_URL_MAX)
		return agent_error_set(err, -EBUSY, "update.busy", "an update is under way");
	r = check_may_begin(core, err);
	if (r >= 0)
		r = ask_ready(core, PROG_INSTALL, NULL, on_install_ready, err);
	if (r < 0)
		return r;
	memset(&u->order, 0, sizeof(u->order));
	u->order.by_source = true;
	snprintf(u->order.from, sizeof(u->order.from), "%s %s", offer->kind, offer->action);
	snprintf(u->user, sizeof(u->user), "%s", offer->kind);
	u->source[0] = '\0';
	u->is_starting = true;
	u->size = offer->size;
	snprintf(u->url, sizeof(u->url), "%s", offer->url);
	return 0;
}

/*
 * Without its sender the installation ends by itself, as one that is too short. One that has all its bytes is left alone: nobody
 * could tell on which side of the switch it was stopped.
 */
void updates_cancel(struct core *core)
{
	struct updates *u = core->updates;

	if (!u->order.by_source || !u->is_fetching)
		return;
	if (u->is_installing && u->error == NULL)
		agent_error_set(&u->error, -ECANCELED, "update.canceled", "the source of updates took it back");
	bus_cut(core, PROG_FETCH);
}

int op_update_wait(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct updates *u = core->updates;
	uint64_t id;

	if (sd_bus_message_read(call->msg, "t", &id) < 0)
		return op_unreadable(call, err);
	if (id == 0 || id != u->last_id)
		return agent_error_set(err, -ENOENT, "update.id", "installation %" PRIu64 " is not the last one", id);
	if (!u->is_installing && !u->is_fetching) {
		answer_waiter(core, call);
		return 0;
	}
	if (u->n_waiters == UPDATE_WAITERS_MAX)
		return agent_error_set(err, -EBUSY, "core.busy", "%d callers wait for this update already", UPDATE_WAITERS_MAX);
	u->waiters[u->n_waiters++] = op_call_ref(call);
	return 0;
}

/* ---- start and stop --------------------------------------------------------------------------------------------- */

int updates_start(struct core *core, struct agent_error **err)
{
	core->updates = calloc(1, sizeof(*core->updates));
	return core->updates == NULL ? agent_error_set(err, -ENOMEM, "core.memory", "no memory for updates") : 0;
}

void updates_look(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;

	if (core->settings->update.slots.n > 0 && updates_ask_status(core, NULL, &err) < 0)
		service_log(LOG_NOTICE, "the state of updates is not known: %s", agent_error_message(err));
}

void updates_stop(struct core *core)
{
	struct updates *u = core->updates;

	if (u == NULL)
		return;
	sd_event_source_disable_unref(u->timer);
	while (u->n_waiters > 0)
		op_call_unref(u->waiters[--u->n_waiters]);
	agent_error_free(u->error);
	agent_error_free(u->kept_error);
	free(u->ticket.text);
	free(u);
	core->updates = NULL;
}
