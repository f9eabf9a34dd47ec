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
#include <time.h>
#include <unistd.h>

#include <agent/update.h>

#include "agentd/common/fields.h"
#include "agentd/common/peer.h"
#include "agentd/core/ask.h"
#include "agentd/core/audit.h"
#include "agentd/core/bus.h"
#include "agentd/core/clock.h"
#include "agentd/core/core.h"
#include "agentd/core/source.h"
#include "agentd/core/stream.h"
#include "agentd/core/update.h"
#include "agentd/core/update_inside.h"
#include "base/macro.h"

#define PIPE_BYTES (256 * 1024)
#define STALL_US (UINT64_C(600) * 1000000)	/* no byte for this long: give the installation up */
#define DOWNLOAD_END_US (UINT64_C(30) * 1000000) /* a download goes on after the installation ended: cut it */

/* ---- what agentd-install says ----------------------------------------------------------------------------------- */

static int read_report(sd_bus_message *m, struct report *ret_report, struct update_look *ret_look)
{
	struct report report = { .is_valid = true };
	const struct field fields[] = {
		FIELD_MEMBER(FIELD_TEXT, &report, stage),
		FIELD_MEMBER(FIELD_TEXT, &report, booted_slot),
		FIELD_MEMBER(FIELD_TEXT, &report, target_slot),
		FIELD_MEMBER(FIELD_TEXT, &report, version),
		FIELD_MEMBER(FIELD_TEXT, &report, release_id),
		FIELD_MEMBER(FIELD_TEXT, &report, failed_release_id),
		{ "done_bytes", FIELD_NUMBER, &report.done_bytes, 0 },
		{ "total_bytes", FIELD_NUMBER, &report.total_bytes, 0 },
		{ "security_version", FIELD_NUMBER, &report.security_version, 0 },
		{ "tries_left", FIELD_NUMBER, &report.tries_left, 0 },
		{ "trust_version", FIELD_NUMBER, &report.trust_version, 0 },
		{ "offer_release_id", FIELD_TEXT, ret_look->release_id, sizeof(ret_look->release_id) },
		{ "offer_version", FIELD_TEXT, ret_look->version, sizeof(ret_look->version) },
		{ "offer_kind", FIELD_TEXT, ret_look->kind, sizeof(ret_look->kind) },
		{ "offer_advisory", FIELD_TEXT, ret_look->advisory, sizeof(ret_look->advisory) },
		{ "offer_security_version", FIELD_NUMBER, &ret_look->security_version, 0 },
	};
	int r = fields_read(m, fields, ARRAY_SIZE(fields));

	if (r < 0)
		return r;
	*ret_report = report;
	return 0;
}

/* A new report: was there a fall-back nobody has written down? */
static int take_report(struct core *core, sd_bus_message *reply, struct agent_error **err)
{
	struct updates *u = core->updates;
	int r = read_report(reply, &u->report, &u->look);

	/* What parses foreign bytes must not have the TPM count without end. */
	if (r < 0 || u->report.trust_version > AGENT_UPDATE_TRUST_VERSION_MAX) {
		u->report.trust_version = 0;
		return agent_error_set(err, -EBADMSG, "update.report", "agentd-install sent a status that cannot be read");
	}
	updates_keep_trust(core);
	if (u->report.failed_release_id[0] != '\0' && !audit_knows_fallback(core, u->report.failed_release_id))
		event_add(core, EVENT_UPDATE_FELL_BACK, "release", u->report.failed_release_id, "slot", u->report.booted_slot, NULL);
	return 0;
}

const char *update_text(const char *text)
{
	return text[0] != '\0' ? text : NULL;
}

int updates_append(struct core *core, sd_bus_message *m)
{
	const struct updates *u = core->updates;
	const struct report *report = &u->report;
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = peer_append_u64(m, "id", u->last_id);
	if (r >= 0)
		r = peer_append_string(m, "stage", report->stage[0] != '\0' ? report->stage : "idle");
	if (r >= 0)
		r = peer_append_u64(m, "done_bytes", report->done_bytes);
	if (r >= 0)
		r = peer_append_u64(m, "total_bytes", report->total_bytes != 0 ? report->total_bytes : u->is_installing ? u->size : 0);
	if (r >= 0)
		r = peer_append_string(m, "booted_slot", update_text(report->booted_slot));
	if (r >= 0)
		r = peer_append_string(m, "target_slot", update_text(report->target_slot));
	if (r >= 0)
		r = peer_append_string(m, "version", update_text(report->version));
	if (r >= 0)
		r = peer_append_string(m, "release_id", update_text(report->release_id));
	if (r >= 0)
		r = peer_append_u64(m, "security_version", report->security_version);
	if (r >= 0 && core->has_floor)
		r = peer_append_u64(m, "floor", core->floor);
	if (r >= 0 && core->has_trust)
		r = peer_append_u64(m, "signers_version", core->trust);
	if (r >= 0)
		r = peer_append_bool(m, "has_key", updates_have_key(core));
	if (r >= 0)
		r = peer_append_u64(m, "tries_left", report->tries_left);
	if (r >= 0)
		r = peer_append_string(m, "failed_release_id", update_text(report->failed_release_id));
	if (r >= 0 && u->error != NULL) {
		r = peer_append_string(m, "error_name", agent_error_name(u->error));
		if (r >= 0)
			r = peer_append_string(m, "error", agent_error_message(u->error));
	}
	if (r >= 0)
		r = policy_append(core, m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

bool updates_are_known(const struct core *core)
{
	return core->updates->report.is_valid;
}

int updates_append_device(struct core *core, sd_bus_message *m)
{
	const struct updates *u = core->updates;
	const struct report *report = &u->report;
	const struct {
		const char *key, *text;
	} texts[] = {
		{ "stage", report->stage[0] != '\0' ? report->stage : "idle" }, { "booted_slot", report->booted_slot }, { "target_slot", report->target_slot },
		{ "version", report->version }, { "release_id", report->release_id }, { "failed_release_id", report->failed_release_id },
	};
	int r;

	r = peer_append_bool(m, "is_busy", u->is_settling || u->is_starting || u->is_installing || u->is_fetching || u->is_confirming);
	for (size_t i = 0; i < ARRAY_SIZE(texts) && r >= 0; i++)
		r = peer_append_string(m, texts[i].key, update_text(texts[i].text));
	if (r >= 0)
		r = peer_append_u64(m, "done_bytes", report->done_bytes);
	if (r >= 0)
		r = peer_append_u64(m, "total_bytes", report->total_bytes);
	return r >= 0 && core->has_floor ? peer_append_u64(m, "floor", core->floor) : r;
}

int updates_append_short(struct core *core, sd_bus_message *m)
{
	const struct report *report = &core->updates->report;
	int r;

	r = peer_append_string(m, "update_stage", report->stage[0] != '\0' ? report->stage : "idle");
	return r < 0 ? r : peer_append_string(m, "booted_slot", update_text(report->booted_slot));
}

static int send_report(struct core *core, struct op_call *call, struct agent_error **err)
{
	sd_bus_message *reply;
	int r;

	r = op_reply_new(call, &reply, err);
	if (r < 0)
		return r;
	r = updates_append(core, reply);
	if (r < 0) {
		sd_bus_message_unref(reply);
		return agent_error_set(err, r, "bus.reply", "cannot write the update status: %s", strerror(-r));
	}
	return op_reply_send(call, reply);
}

static int on_status(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct updates *u = core->updates;
	uint64_t done = u->report.done_bytes, total = u->report.total_bytes;

	if (r >= 0)
		r = take_report(core, reply, err);
	if (r >= 0 && u->is_installing && u->report.done_bytes < done) {
		u->report.done_bytes = done; /* a signal may have overtaken the answer */
		u->report.total_bytes = total;
	}
	if (r < 0 && call == NULL)
		service_log(LOG_NOTICE, "the state of updates is not known: %s", agent_error_message(*err));
	if (r < 0 || call == NULL)
		return r;
	return send_report(core, call, err);
}

int updates_ask_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	sd_bus_message *m;
	int r;

	r = ask_new(core, PROG_INSTALL, "Status", &m, err);
	return r < 0 ? r : ask_send(core, PROG_INSTALL, m, 30, call, on_status, err);
}

void updates_progress(struct core *core, sd_bus_message *msg)
{
	struct updates *u = core->updates;
	const char *stage;
	uint64_t done, total;

	if (!u->is_installing || sd_bus_message_read(msg, "stt", &stage, &done, &total) < 0)
		return;
	snprintf(u->report.stage, sizeof(u->report.stage), "%.15s", stage);
	u->report.done_bytes = done;
	u->report.total_bytes = total;
	stream_wake(core);
	if (u->timer != NULL)
		sd_event_source_set_time_relative(u->timer, STALL_US);
}

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
		r = send_report(core, call, &err);
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
		take_report(core, reply, err);
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
	char id[24], version[24];

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
	if (u->error != NULL)
		event_add(core, EVENT_UPDATE_REFUSED, "id", id, "error", agent_error_name(u->error), "reason",
			  agent_error_message(u->error), "user", u->user, "source", update_text(u->source), NULL);
	else
		event_add(core, EVENT_UPDATE_INSTALLED, "id", id, "release", u->report.release_id, "version", u->report.version,
			  "security_version", version, "slot", u->report.target_slot, "user", u->user, "source", update_text(u->source), NULL);
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
		r = take_report(core, reply, err);
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
		r = sd_bus_message_append(m, "htttbs", read_fd, core->floor, core->trust, (uint64_t)clock_now(core), (int)u->order.looks_only,
					  u->order.release_id);
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
	watch_over(core, STALL_US);
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

int updates_run(struct core *core, const char *url, const char *release_id, const char *user, struct agent_error **err)
{
	struct updates *u = core->updates;
	int r = check_may_begin(core, err);

	if (r >= 0)
		r = ask_ready(core, PROG_INSTALL, NULL, on_install_ready, err);
	if (r < 0)
		return r;
	memset(&u->order, 0, sizeof(u->order));
	u->order.by_policy = true;
	u->order.looks_only = release_id == NULL;
	snprintf(u->order.release_id, sizeof(u->order.release_id), "%s", release_id == NULL ? "" : release_id);
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

bool updates_has_release(const struct core *core, const char *release_id)
{
	const struct report *report = &core->updates->report;

	return strcmp(report->release_id, release_id) == 0 && report->stage[0] != '\0' && strcmp(report->stage, "failed") != 0;
}

bool updates_is_pending(const struct core *core)
{
	const char *stage = core->updates->report.stage;

	return strcmp(stage, "written") == 0 || strcmp(stage, "trying") == 0 || strcmp(stage, "confirmed") == 0;
}

bool updates_has_failed(const struct core *core, const char *release_id)
{
	return strcmp(core->updates->report.failed_release_id, release_id) == 0;
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

int op_update_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	return updates_ask_status(core, call, err);
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
	free(u);
	core->updates = NULL;
}
