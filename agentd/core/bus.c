/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#include "agentd/common/peer.h"
#include "agentd/core/bus_inside.h"
#include "agentd/core/clock.h"
#include "agentd/core/dispatch.h"
#include "agentd/common/gate.h"
#include "agentd/core/key_rights.h"
#include "agentd/core/refusals.h"
#include "agentd/core/update.h"
#include "agentd/common/vendor.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define MAX_PEERS 4		   /* per listening socket: one program, and its next life while the old one still closes */
#define MAX_LOGINS 32		   /* connections of login programs: sshd forks one per stranger */
#define MAX_CALLS 64		   /* unanswered calls of one peer */
#define MAX_UNREAD 32		   /* answers that an application may leave unread */
#define PAUSE_US 100000		   /* after a call over the rate nothing is read for so long, or refusing would be our load */
#define HOLD_US (5 * UINT64_C(1000000)) /* an unused connection is closed after this long */

struct door {
	const char *fd_name;
	const char *user;
	enum program program;
	unsigned max_peers;
	int fd;
	uint32_t uid; /* the one that may come in */
	sd_event_source *io;
	struct core *core;
	struct peer *peers;
};

enum { DOOR_MGMT, DOOR_LINK, DOOR_VENDOR, DOOR_LOGIN, DOORS_ };

struct bus {
	struct door doors[DOORS_];
	struct peer *out[2]; /* install, fetch */
	struct vendors vendors;
};

/* ---- peers ------------------------------------------------------------------------------------------------------ */

static void unlink_peer(struct peer **list, struct peer *peer)
{
	for (; *list != NULL; list = &(*list)->next) {
		if (*list == peer) {
			*list = peer->next;
			return;
		}
	}
}

static void peer_unlink(struct peer *peer)
{
	struct bus *b = peer->core->bus;

	for (size_t i = 0; i < ARRAY_SIZE(b->doors); i++)
		unlink_peer(&b->doors[i].peers, peer);
	for (size_t i = 0; i < ARRAY_SIZE(b->out); i++)
		if (b->out[i] == peer)
			b->out[i] = NULL;
	peer->idle = sd_event_source_disable_unref(peer->idle);
}

/*
 * End the connection. The peer's calls keep it alive and find no bus to answer on. Not flushed: a peer that does not read
 * would hold us up. Our own calls on it are not ended by this, see bus_cut().
 */
static void peer_drop(struct peer *peer)
{
	sd_bus *bus = TAKE_PTR(peer->bus);

	if (bus == NULL)
		return;
	peer_unlink(peer);
	sd_bus_close(bus);
	sd_bus_unref(bus);
	peer->gate = gate_free(peer->gate);
	if (peer->user != NULL)
		vendor_leave(&peer->core->bus->vendors, peer->user);
	peer_unref(peer);
}

static void refuse(struct peer *peer, const char *what, const char *member)
{
	char left_out[LEFT_OUT_SIZE], uid[16];

	snprintf(uid, sizeof(uid), "%" PRIu32, peer->uid);
	if (peer_may_log(peer, VENDOR_REFUSED, left_out))
		event_add(peer->core, EVENT_PEER_REFUSED, "program", program_name(peer->program), "uid", uid, "unit",
			  or_null(peer->caller->unit), "reason", what, "method", member, "left_out", or_null(left_out), NULL);
	peer_drop(peer);
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

/* Read (sus) and find out who that is. */
static int identify(struct op_call *call, struct agent_error **err)
{
	const char *token, *source;
	uint32_t uid;
	int r;

	if (strncmp(call->op->in, "(sus)", 5) != 0)
		return call->op->role == ACCOUNT_NONE ? 0 :
		       agent_error_set(err, -EINVAL, "bus.arguments", "%s has no account in its row", call->op->method);
	r = sd_bus_message_read(call->msg, "(sus)", &token, &uid, &source);
	if (r < 0)
		return op_unreadable(call, err);
	if (!source_is_valid(source))
		return agent_error_set(err, -EINVAL, "bus.source", "%s was called with a malformed source", call->op->method);
	call->caller.program = call->peer->program;
	if (call->op->role == ACCOUNT_NONE) { /* SessionOpen: there is nobody yet */
		snprintf(call->caller.source, sizeof(call->caller.source), "%s", source);
		call->caller.uid = uid;
		return 0;
	}
	/* A login program asks for a person who has yet to show who he is: nobody is known by the program's uid. */
	if (call->peer->program == PROG_LOGIN && token[0] == '\0')
		return agent_error_set(err, -EACCES, "session.required", "log in first");
	r = account_resolve(call->core, token, uid, source, &call->caller, err);
	call->caller.program = call->peer->program;
	return r;
}

/* Room for one more call, or the reason why not. */
static int admit_call(struct peer *peer, struct agent_error **err)
{
	const struct settings *s = peer->core->settings;
	char left_out[LEFT_OUT_SIZE], uid[16];
	int r;

	if (peer->n_calls >= MAX_CALLS)
		return agent_error_set(err, -EBUSY, "core.busy", "%u calls of agentd-%s wait for an answer", peer->n_calls,
				       program_name(peer->program));
	if (peer->user == NULL)
		return 0;
	r = vendor_call_begin(&peer->core->bus->vendors, peer->user, monotonic_us());
	if (r >= 0)
		return 0;
	gate_pause(peer->gate, PAUSE_US);
	snprintf(uid, sizeof(uid), "%" PRIu32, peer->uid);
	if (peer_may_log(peer, VENDOR_THROTTLED, left_out))
		event_add(peer->core, EVENT_PEER_THROTTLED, "program", "vendor", "uid", uid, "unit", or_null(peer->caller->unit),
			  "left_out", or_null(left_out), NULL);
	if (r == -EBUSY)
		return agent_error_set(err, r, "vendor.busy", "%d calls of uid %s wait for an answer", VENDOR_MAX_CALLS, uid);
	return agent_error_set(err, r, "vendor.rate", "more than %d calls per second by uid %s (vendor.calls_per_s)",
			       (int)s->vendor.calls_per_s, uid);
}

static int handle_call(struct peer *peer, const struct operation *op, sd_bus_message *msg)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct op_call *call;
	int r;

	r = admit_call(peer, &err);
	if (r < 0) {
		peer_reply_error(msg, r, &err);
		return 1;
	}
	call = calloc(1, sizeof(*call));
	if (call == NULL) {
		if (peer->user != NULL)
			vendor_call_end(peer->user);
		return -ENOMEM;
	}
	call->n_refs = 1;
	call->core = peer->core;
	call->peer = peer;
	peer->n_refs++;
	peer->n_calls++;
	call->msg = sd_bus_message_ref(msg);
	call->op = op;
	r = identify(call, &err);
	if (r >= 0) {
		r = operation_check(op, call->core->setup, op->role == ACCOUNT_NONE ? NULL : &call->caller, &err);
		if (r == -EPERM)
			role_refused(call->core, &call->caller, op->method);
	}
	if (r >= 0)
		r = op->handler(call->core, call, &err);
	if (r < 0)
		op_fail(call, r, &err);
	op_call_unref(call);
	return 1;
}

/* Everything a peer sends passes here first. Replies to our own calls do not. */
static int on_message(sd_bus_message *msg, void *userdata, sd_bus_error *ret_error)
{
	struct peer *peer = userdata;
	const struct operation *op;
	const char *member = sd_bus_message_get_member(msg), *interface = sd_bus_message_get_interface(msg);
	const char *path = sd_bus_message_get_path(msg);
	uint64_t n_unread = 0;
	uint8_t type = 0;

	if (sd_bus_message_is_signal(msg, "org.freedesktop.DBus.Local", "Disconnected") > 0) {
		peer_drop(peer);
		return 1;
	}
	if (peer->program == PROG_INSTALL && sd_bus_message_is_signal(msg, BUS_INSTALL, "Progress") > 0) {
		updates_progress(peer->core, msg);
		return 1;
	}
	if (sd_bus_message_get_type(msg, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
		return 0;
	if (peer->bus == NULL)
		return 1;
	if (interface == NULL || path == NULL || member == NULL || strcmp(interface, BUS_CORE) != 0 || strcmp(path, BUS_PATH) != 0) {
		refuse(peer, "not an operation of core", member);
		return 1;
	}
	op = operation_find(member, peer->program);
	if (op == NULL) {
		refuse(peer, "not offered to this program", member);
		return 1;
	}
	if (strcmp(sd_bus_message_get_signature(msg, 1), op->in) != 0) {
		refuse(peer, "arguments of the wrong type", member);
		return 1;
	}
	if (peer->user != NULL && sd_bus_get_n_queued_write(peer->bus, &n_unread) >= 0 && n_unread > MAX_UNREAD) {
		refuse(peer, "does not read its answers", member);
		return 1;
	}
	return handle_call(peer, op, msg);
}

/* ---- doors ------------------------------------------------------------------------------------------------------ */

static int peer_new(struct core *core, sd_bus *bus, enum program program, uint32_t uid, struct peer **ret_peer)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	struct key_caller *caller = calloc(1, sizeof(*caller));
	int r = peer == NULL || caller == NULL ? -ENOMEM : 0;

	if (r >= 0)
		r = sd_bus_add_filter(bus, NULL, on_message, peer);
	if (r >= 0)
		r = sd_bus_attach_event(bus, core->event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0) {
		free(caller);
		free(peer);
		sd_bus_close(bus);
		sd_bus_unref(bus);
		return r;
	}
	caller->program = program_name(program);
	caller->uid = uid;
	peer->caller = caller;
	peer->n_refs = 1;
	peer->core = core;
	peer->program = program;
	peer->bus = bus;
	peer->uid = uid;
	*ret_peer = peer;
	return 0;
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct door *door = userdata;
	struct peer *peer;
	sd_bus *bus = NULL;
	unsigned n = 0;
	uint32_t uid;
	int fd, r;

	r = peer_accept(listen_fd, &fd, &uid);
	if (r < 0)
		return 0;
	if (uid != door->uid) {
		char text[16];

		close(fd);
		snprintf(text, sizeof(text), "%" PRIu32, uid);
		event_add(door->core, EVENT_PEER_REFUSED, "program", program_name(door->program), "uid", text, "reason", "wrong user", NULL);
		return 0;
	}
	for (const struct peer *p = door->peers; p != NULL; p = p->next)
		n++;
	if (n >= door->max_peers) {
		close(fd);
		service_log(LOG_WARNING, "more than %u connections on %s: one refused", door->max_peers, door->fd_name);
		return 0;
	}
	r = peer_serve(fd, &bus, &err);
	if (r >= 0)
		r = peer_new(door->core, bus, door->program, uid, &peer);
	if (r < 0) {
		service_log(LOG_WARNING, "connection on %s failed: %s", door->fd_name, err != NULL ? agent_error_message(err) : strerror(-r));
		return 0;
	}
	peer->next = door->peers;
	door->peers = peer;
	if (door->program == PROG_MGMT || door->program == PROG_LINK)
		clock_greet(door->core, peer->bus);
	return 0;
}

/* ---- applications ----------------------------------------------------------------------------------------------- */

static void on_broken(void *userdata, const char *why)
{
	struct peer *peer = userdata;
	char left_out[LEFT_OUT_SIZE], uid[16];

	/* The bus gets to hear of the end by itself. */
	snprintf(uid, sizeof(uid), "%" PRIu32, peer->uid);
	if (peer_may_log(peer, VENDOR_REFUSED, left_out))
		event_add(peer->core, EVENT_PEER_REFUSED, "program", "vendor", "uid", uid, "unit", or_null(peer->caller->unit), "reason",
			  why, "left_out", or_null(left_out), NULL);
}

/* Takes @fd over. */
static int serve_vendor(struct door *door, int fd, const struct key_caller *caller, struct vendor_user *user, struct agent_error **err)
{
	struct gate *gate = NULL;
	struct peer *peer;
	sd_bus *bus = NULL;
	int inner = -1, r;

	r = gate_new(door->core->event, fd, on_broken, NULL, &inner, &gate, err);
	if (r < 0)
		return r;
	r = peer_serve(inner, &bus, err);
	if (r >= 0)
		r = peer_new(door->core, bus, PROG_VENDOR, caller->uid, &peer);
	if (r < 0) {
		gate_free(gate);
		return r;
	}
	gate_set_userdata(gate, peer);
	*peer->caller = *caller;
	peer->gate = gate;
	peer->user = user;
	peer->next = door->peers;
	door->peers = peer;
	return 0;
}

static int on_vendor(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct door *door = userdata;
	struct vendors *vendors = &door->core->bus->vendors;
	struct vendor_user *user;
	struct key_caller caller;
	const char *why = NULL;
	uint32_t uid;
	int fd, r;

	if (peer_accept(listen_fd, &fd, &uid) < 0)
		return 0;
	user = vendor_enter(vendors, uid, monotonic_us(), &why);
	if (user == NULL) {
		/* Not an event: any local user could fill the log with them. */
		service_log(LOG_DEBUG, "connection of uid %" PRIu32 " on %s refused: %s", uid, door->fd_name, why);
		close(fd);
		return 0;
	}
	r = caller_from_socket(fd, &caller);
	if (r < 0)
		close(fd);
	else
		r = serve_vendor(door, fd, &caller, user, &err);
	if (r < 0) {
		vendor_leave(vendors, user);
		service_log(LOG_WARNING, "connection on %s failed: %s", door->fd_name, err != NULL ? agent_error_message(err) : strerror(-r));
	}
	return 0;
}

/* ---- start and stop ----------------------------------------------------------------------------------------------- */

/* Started as the user agentd, every program has its own user (root for login programs); otherwise they all share ours. */
static int expected_uid(const char *user, uint32_t *ret_uid, struct agent_error **err)
{
	const struct passwd *own = getpwnam("agentd");
	const struct passwd *other;

	if (own == NULL || own->pw_uid != geteuid()) {
		*ret_uid = (uint32_t)geteuid();
		return 0;
	}
	if (strcmp(user, "root") == 0) {
		*ret_uid = 0;
		return 0;
	}
	other = getpwnam(user);
	if (other == NULL)
		return agent_error_set(err, -ENOENT, "bus.user", "there is a user agentd but none called %s; see sysusers.d/agentd.conf", user);
	*ret_uid = (uint32_t)other->pw_uid;
	return 0;
}

int bus_start(struct core *core, struct agent_error **err)
{
	struct bus *b = calloc(1, sizeof(*b));
	int r = 0;

	if (b == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the connections");
	core->bus = b;
	b->vendors.limits = (struct vendor_limits){
		.max_connections = (unsigned)core->settings->vendor.max_connections,
		.calls_per_s = (unsigned)core->settings->vendor.calls_per_s,
		.burst = (unsigned)core->settings->vendor.burst,
	};
	b->doors[DOOR_MGMT] = (struct door){ .fd_name = "core-mgmt", .user = "agentd-mgmt", .program = PROG_MGMT, .fd = -1, .max_peers = MAX_PEERS };
	b->doors[DOOR_VENDOR] = (struct door){ .fd_name = "core-vendor", .program = PROG_VENDOR, .fd = -1 };
	b->doors[DOOR_LOGIN] = (struct door){ .fd_name = "core-login", .user = "root", .program = PROG_LOGIN, .fd = -1, .max_peers = MAX_LOGINS };
	b->doors[DOOR_LINK] = (struct door){ .fd_name = "core-link", .user = "agentd-link", .program = PROG_LINK, .fd = -1, .max_peers = MAX_PEERS };
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(b->doors); i++) {
		struct door *door = &b->doors[i];

		door->core = core;
		door->fd = service_listen_fd(door->fd_name);
		/* Whoever wants no applications or no login programs leaves their socket away. */
		if (door->fd < 0 && i != DOOR_VENDOR && i != DOOR_LOGIN)
			return agent_error_set(err, -ENOTSOCK, "bus.socket",
					       "no socket '%s' was handed over: start agentd through systemd or agentd --supervise",
					       door->fd_name);
		r = door->user == NULL ? 0 : expected_uid(door->user, &door->uid, err);
	}
	return r;
}

int bus_open(struct core *core, struct agent_error **err)
{
	for (size_t i = 0; i < ARRAY_SIZE(core->bus->doors); i++) {
		struct door *door = &core->bus->doors[i];
		int r = door->fd < 0 ? 0 :
				       sd_event_add_io(core->event, &door->io, door->fd, EPOLLIN, i == DOOR_VENDOR ? on_vendor : on_connection, door);

		if (r < 0)
			return agent_error_set(err, r, "bus.socket", "cannot listen on %s: %s", door->fd_name, strerror(-r));
	}
	return 0;
}

void bus_stop(struct core *core)
{
	struct bus *b = core->bus;

	if (b == NULL)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(b->doors); i++) {
		sd_event_source_disable_unref(b->doors[i].io);
		while (b->doors[i].peers != NULL)
			peer_drop(b->doors[i].peers);
		if (b->doors[i].fd >= 0)
			close(b->doors[i].fd);
	}
	for (size_t i = 0; i < ARRAY_SIZE(b->out); i++)
		if (b->out[i] != NULL)
			peer_drop(b->out[i]);
	free(b);
	core->bus = NULL;
}

/* ---- outgoing --------------------------------------------------------------------------------------------------- */

static struct peer **out_slot(struct core *core, enum program program)
{
	return &core->bus->out[program == PROG_INSTALL ? 0 : 1];
}

int bus_hold(struct core *core, enum program program, sd_bus **ret_bus, struct agent_error **err)
{
	struct peer **slot = out_slot(core, program);
	sd_bus *bus = NULL;
	int r;

	if (*slot != NULL && sd_bus_is_open((*slot)->bus) <= 0)
		peer_unlink(*slot); /* its end is on the way through the loop */
	if (*slot == NULL) {
		r = peer_connect(core->settings->paths.run_dir, program == PROG_INSTALL ? "install.sock" : "fetch.sock", &bus, err);
		if (r < 0)
			return r;
		r = peer_new(core, bus, program, (uint32_t)geteuid(), slot);
		if (r < 0)
			return agent_error_set(err, r, "bus.connect", "cannot talk to agentd-%s: %s", program_name(program), strerror(-r));
		if (program == PROG_FETCH)
			clock_greet(core, (*slot)->bus);
	}
	(*slot)->n_holds++;
	(*slot)->idle = sd_event_source_disable_unref((*slot)->idle);
	*ret_bus = (*slot)->bus;
	return 0;
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
	peer_drop(userdata);
	return 0;
}

void bus_release(struct core *core, enum program program)
{
	struct peer *peer = core->bus == NULL ? NULL : *out_slot(core, program);

	/* The connection may have been lost and made again in between; then this hold went with the old one. */
	if (peer == NULL || peer->n_holds == 0 || --peer->n_holds > 0)
		return;
	if (sd_event_add_time_relative(core->event, &peer->idle, CLOCK_MONOTONIC, HOLD_US, 0, on_idle, peer) < 0)
		peer_drop(peer);
}

void bus_cut(struct core *core, enum program program)
{
	struct peer *peer = core->bus == NULL ? NULL : *out_slot(core, program);

	if (peer == NULL)
		return;
	/* As if the other side had left: sd-bus then ends our calls with an error and tells on_message() at last. */
	peer_unlink(peer);
	shutdown(sd_bus_get_fd(peer->bus), SHUT_RDWR);
}

void bus_emit_stream(struct core *core)
{
	if (core->bus == NULL)
		return;
	for (const struct peer *p = core->bus->doors[DOOR_MGMT].peers; p != NULL; p = p->next)
		sd_bus_emit_signal(p->bus, BUS_PATH, BUS_CORE, "StreamWake", NULL);
}

void bus_each(struct core *core, unsigned programs, void (*what)(struct core *core, sd_bus *bus))
{
	struct bus *b = core->bus;
	uint64_t n_unread = 0;

	for (size_t i = 0; b != NULL && i < ARRAY_SIZE(b->doors); i++)
		for (const struct peer *p = (b->doors[i].program & programs) == 0 ? NULL : b->doors[i].peers; p != NULL; p = p->next)
			if (sd_bus_get_n_queued_write(p->bus, &n_unread) >= 0 && n_unread <= MAX_UNREAD)
				what(core, p->bus);
	if (b != NULL && (programs & PROG_FETCH) != 0 && b->out[1] != NULL)
		what(core, b->out[1]->bus);
}

void bus_emit_setup(struct core *core)
{
	struct bus *b = core->bus;

	if (b == NULL)
		return;
	for (const struct peer *p = b->doors[DOOR_LINK].peers; p != NULL; p = p->next)
		sd_bus_emit_signal(p->bus, BUS_PATH, BUS_CORE, "SetupChanged", "s", core_setup_name(core));
	for (const struct peer *p = b->doors[DOOR_MGMT].peers; p != NULL; p = p->next)
		sd_bus_emit_signal(p->bus, BUS_PATH, BUS_CORE, "SetupChanged", "s", core_setup_name(core));
	if (b->out[1] != NULL)
		sd_bus_emit_signal(b->out[1]->bus, BUS_PATH, BUS_CORE, "SetupChanged", "s", core_setup_name(core));
}

void bus_emit_identity(struct core *core, const char *key, const char *current_id, const char *next_id)
{
	struct bus *b = core->bus;

	for (const struct peer *p = b == NULL ? NULL : b->doors[DOOR_LINK].peers; p != NULL; p = p->next)
		sd_bus_emit_signal(p->bus, BUS_PATH, BUS_CORE, "IdentityChanged", "sss", key, current_id, next_id);
}
