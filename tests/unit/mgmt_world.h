/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_MGMT_WORLD_H
#define TESTS_UNIT_MGMT_WORLD_H
/* For tests of agentd-mgmt as a whole: its real relay, parser and table, and a fake core behind a real sd-bus socket. */
#include "tests/unit/test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/mgmt.h"
#include "agentd/mgmt/request.h"

#define SELF_IP "192.0.2.1"

/* ---- fake core ---------------------------------------------------------------------------------------------------- */

struct core {
	sd_bus *bus;
	const char *setup;
	char last_member[32], last_source[64], last_device[64];
	char last_refused[80];		/* RoleRefused */
	unsigned n_calls;
	int pipe_read;			/* the installer's end */
	sd_bus_message *waiting;	/* UpdateWait under way */
	uint64_t last_seq;		/* StreamPull: events 1 .. last_seq exist */
	bool is_session_over;
	size_t event_bytes;		/* size of one event's field */
};

static inline int answer_error(sd_bus_message *call, int r, const char *name, const char *text)
{
	struct agent_error *err = NULL;

	agent_error_set(&err, r, name, "%s", text);
	return peer_reply_error(call, r, &err);
}

static inline int answer_update(sd_bus_message *call)
{
	sd_bus_message *reply = NULL;

	assert_true(sd_bus_message_new_method_return(call, &reply) >= 0);
	assert_true(sd_bus_message_append(reply, "a{sv}", 2, "stage", "s", "written", "done_bytes", "t", (uint64_t)12345) >= 0);
	assert_true(sd_bus_send(NULL, reply, NULL) >= 0);
	sd_bus_message_unref(reply);
	return 1;
}

/* At most @limit events after @after, as core would. */
static inline int answer_stream(struct core *core, sd_bus_message *call)
{
	sd_bus_message *reply = NULL;
	uint64_t after;
	uint32_t limit;
	char *filler = calloc(1, core->event_bytes + 1);

	assert_non_null(filler);
	memset(filler, 'x', core->event_bytes);
	assert_true(sd_bus_message_read(call, "tu", &after, &limit) >= 0);
	assert_true(sd_bus_message_new_method_return(call, &reply) >= 0);
	assert_true(sd_bus_message_append(reply, "tta{sv}", core->last_seq, (uint64_t)900, 1, "stage", "s", "idle") >= 0);
	assert_true(sd_bus_message_open_container(reply, 'a', "a{sv}") >= 0);
	for (uint64_t seq = after; seq < core->last_seq && limit > 0; limit--) {
		seq++;
		assert_true(sd_bus_message_append(reply, "a{sv}", 3, "seq", "t", seq, "name", "s", "session.failed", "filler", "s", filler) >= 0);
	}
	assert_true(sd_bus_message_close_container(reply) >= 0);
	assert_true(sd_bus_send(NULL, reply, NULL) >= 0);
	sd_bus_message_unref(reply);
	free(filler);
	return 1;
}

static inline int on_call(sd_bus_message *call, void *userdata, sd_bus_error *ret_error)
{
	struct core *core = userdata;
	const char *member = sd_bus_message_get_member(call), *token = "", *source = "";
	uint32_t uid = 0;

	if (!sd_bus_message_is_method_call(call, BUS_CORE, NULL))
		return 0;
	core->n_calls++;
	snprintf(core->last_member, sizeof(core->last_member), "%s", member);
	if (strcmp(member, "Bootstrap") == 0)
		return sd_bus_reply_method_return(call, "su", core->setup, 15u);
	assert_true(sd_bus_message_read(call, "(sus)", &token, &uid, &source) >= 0);
	snprintf(core->last_source, sizeof(core->last_source), "%s", source);
	if (strcmp(member, "SessionOpen") == 0) {
		const char *user, *password, *device;

		assert_true(sd_bus_message_read(call, "sss", &user, &password, &device) >= 0);
		snprintf(core->last_device, sizeof(core->last_device), "%s", device);
		if (strcmp(password, "slow") == 0)
			return answer_error(call, -EDQUOT, "session.backoff", "wait before the next try (retry-after=7)");
		if (strcmp(password, "right") != 0)
			return answer_error(call, -EACCES, "session.credentials", "wrong user or password");
		return sd_bus_reply_method_return(call, "sstss", "full-token", "full", (uint64_t)900, "device-cookie", "admin");
	}
	/* tokens say what they are */
	if (strcmp(token, "full-token") != 0 && strcmp(token, "password-token") != 0 && strcmp(token, "viewer-token") != 0 && uid != 0)
		return answer_error(call, -EACCES, "session.unknown", "no such session");
	if (strcmp(member, "SessionCheck") == 0)
		return sd_bus_reply_method_return(call, "sss", "admin", strcmp(token, "viewer-token") == 0 ? "viewer" : "admin",
						  strcmp(token, "password-token") == 0 ? "password" : "full");
	if (strcmp(member, "RoleRefused") == 0) {
		const char *asked;

		assert_true(sd_bus_message_read(call, "s", &asked) >= 0);
		snprintf(core->last_refused, sizeof(core->last_refused), "%s", asked);
		return sd_bus_reply_method_return(call, NULL);
	}
	if (strcmp(member, "SessionClose") == 0)
		return sd_bus_reply_method_return(call, NULL);
	if (strcmp(member, "PasswordSet") == 0) {
		const char *current, *fresh;

		assert_true(sd_bus_message_read(call, "ss", &current, &fresh) >= 0);
		if (strcmp(fresh, "weak") == 0)
			return answer_error(call, -EINVAL, "password.weak", "too short; too few different characters");
		return sd_bus_reply_method_return(call, "sst", "full-token", "full", (uint64_t)900);
	}
	if (strcmp(member, "StatusGet") == 0)
		return sd_bus_reply_method_return(call, "a{sv}", 2, "setup", "s", "active", "tpm_commands", "t", (uint64_t)42);
	if (strcmp(member, "KeyCsr") == 0) {
		const char *name, *subject;

		assert_true(sd_bus_message_read(call, "ss", &name, &subject) >= 0);
		return sd_bus_reply_method_return(call, "s", name);
	}
	if (strcmp(member, "UpdateBegin") == 0) {
		int fds[2];

		assert_int_equal(pipe(fds), 0);
		core->pipe_read = fds[0];
		assert_true(sd_bus_reply_method_return(call, "th", (uint64_t)1, fds[1]) >= 0);
		close(fds[1]);
		return 1;
	}
	if (strcmp(member, "UpdateWait") == 0) {
		core->waiting = sd_bus_message_ref(call);
		return 1;
	}
	if (strcmp(member, "StreamPull") == 0)
		return core->is_session_over ? answer_error(call, -EACCES, "session.required", "this session is over") :
					       answer_stream(core, call);
	if (strcmp(member, "EventsGet") == 0)
		return sd_bus_reply_method_return(call, "aa{sv}", 1, 2, "seq", "t", (uint64_t)9, "name", "s", "agent.started");
	if (strcmp(member, "KeyList") == 0)
		return 1;	/* never answered */
	return answer_error(call, -ENOKEY, "test.none", "nothing here");
}

/* ---- harness ------------------------------------------------------------------------------------------------------ */

struct world {
	struct settings settings;
	sd_event *event;
	struct mgmt *m;
	struct core core;
	uint32_t next_source;
};

static inline int world_make(void **state)
{
	static char *hosts[] = { (char *)"gw.example", NULL };
	struct world *w = calloc(1, sizeof(*w));
	struct agent_error *err = NULL;
	sd_bus *client;
	sd_id128_t id;
	int pair[2];

	assert_non_null(w);
	w->settings.device.serial = (char *)"0001";
	w->settings.paths.run_dir = (char *)"/nonexistent";
	w->settings.mgmt.hosts = hosts;
	w->settings.mgmt.max_connections = 32;
	w->settings.mgmt.max_per_source = 8;
	w->core.setup = "active";
	w->core.pipe_read = -1;
	assert_true(sd_event_new(&w->event) >= 0);
	assert_int_equal(mgmt_new(&w->settings, w->event, &w->m, &err), 0);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	assert_true(sd_bus_new(&client) >= 0);
	assert_true(sd_bus_set_fd(client, pair[0], pair[0]) >= 0);
	assert_true(sd_bus_negotiate_fds(client, true) >= 0);
	assert_true(sd_bus_start(client) >= 0);
	assert_true(sd_bus_new(&w->core.bus) >= 0);
	assert_true(sd_bus_set_fd(w->core.bus, pair[1], pair[1]) >= 0);
	assert_true(sd_id128_randomize(&id) >= 0);
	assert_true(sd_bus_set_server(w->core.bus, true, id) >= 0);
	assert_true(sd_bus_set_anonymous(w->core.bus, true) >= 0);
	assert_true(sd_bus_negotiate_fds(w->core.bus, true) >= 0);
	assert_true(sd_bus_start(w->core.bus) >= 0);
	assert_true(sd_bus_attach_event(w->core.bus, w->event, 0) >= 0);
	assert_true(sd_bus_add_filter(w->core.bus, NULL, on_call, &w->core) >= 0);
	assert_true(core_adopt(w->m, client) >= 0);
	*state = w;
	return 0;
}

static inline int world_end(void **state)
{
	struct world *w = *state;

	sd_bus_message_unref(w->core.waiting);
	mgmt_free(w->m);
	sd_bus_detach_event(w->core.bus);
	sd_bus_close_unref(w->core.bus);
	if (w->core.pipe_read >= 0)
		close(w->core.pipe_read);
	sd_event_unref(w->event);
	free(w);
	return 0;
}

/* The client's end of a new connection. */
static inline int client_open(struct world *w, uint32_t uid)
{
	struct source source = { .key = { 9 } };
	int pair[2];

	/* Another source each time, unless the test is about limits. */
	memcpy(source.key + 1, &w->next_source, sizeof(w->next_source));
	w->next_source++;
	snprintf(source.text, sizeof(source.text), "ip:test");
	if (uid != BUS_NO_UID)
		source_from_uid(uid, &source);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(conn_new(w->m, pair[0], &source, uid, false, uid == BUS_NO_UID ? SELF_IP : "", NULL), 0);
	return pair[1];
}

static inline bool is_complete(const char *text, size_t size)
{
	const char *end = memmem(text, size, "\r\n\r\n", 4), *length;

	if (end == NULL)
		return false;
	if (strncmp(text, "HTTP/1.1 100", 12) == 0)
		return is_complete(end + 4, size - (size_t)(end + 4 - text));
	length = strcasestr(text, "\r\nContent-Length: ");
	if (length == NULL || length > end)
		return strncmp(text + 9, "204", 3) == 0;
	return size - (size_t)(end + 4 - text) >= strtoul(length + 18, NULL, 10);
}

/* Runs the loop until a whole answer is there or the connection is closed; returns the status, 0 for none. */
static inline unsigned receive(struct world *w, int fd, char *ret_text, size_t size)
{
	size_t n = 0;

	for (int i = 0; i < 400; i++) {
		ssize_t got;

		assert_true(sd_event_run(w->event, 5000) >= 0);
		got = recv(fd, ret_text + n, size - 1 - n, 0);
		if (got > 0)
			n += (size_t)got;
		ret_text[n] = '\0';
		if (got == 0 || is_complete(ret_text, n) || (got < 0 && errno == ECONNRESET))
			break;
	}
	return strncmp(ret_text, "HTTP/1.", 7) == 0 ? (unsigned)strtoul(ret_text + 9, NULL, 10) : 0;
}

static inline unsigned exchange_bytes(struct world *w, uint32_t uid, const char *request, size_t size, char *ret_text, size_t text_size)
{
	int fd = client_open(w, uid);
	unsigned status;

	assert_int_equal(send(fd, request, size, MSG_NOSIGNAL), (ssize_t)size);
	status = receive(w, fd, ret_text, text_size);
	close(fd);
	for (int i = 0; i < 5; i++)
		assert_true(sd_event_run(w->event, 0) >= 0);
	return status;
}

static inline unsigned exchange(struct world *w, const char *request, char *ret_text, size_t size)
{
	return exchange_bytes(w, BUS_NO_UID, request, strlen(request), ret_text, size);
}

#define H "Host: gw-0001.local\r\n"
#define FULL "Authorization: Bearer full-token\r\n"
#define JSON "Content-Type: application/json\r\n"

#define T(text) text, sizeof(text) - 1
#define UPLOAD "POST /v1/update HTTP/1.1\r\n" H "Content-Type: application/octet-stream\r\n"
#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, world_make, world_end)

#endif
