/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/login_door.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "agentd/common/fields.h"
#include "agentd/common/operations.h"
#include "base/monotonic.h"
#include "client/handshake.h"

#define FULL_RETRY_MS 50 /* so long until a full queue of connections is tried again */

void login_wipe(void *data, size_t size)
{
	volatile unsigned char *p = data;

	while (size-- > 0)
		*p++ = 0;
}

static uint64_t left_ms(uint64_t end_ms)
{
	uint64_t now = monotonic_ms();

	return now < end_ms ? end_ms - now : 0;
}

/* Never blocks: a program that does not accept would hold up a login. */
static int connect_until(const char *path, uint64_t end_ms)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		if ((r == -EAGAIN || r == -EINTR) && left_ms(end_ms) > FULL_RETRY_MS) {
			(void)poll(NULL, 0, FULL_RETRY_MS);
			continue;
		}
		close(fd);
		return r == -EAGAIN ? -ETIMEDOUT : r;
	}
	return fd;
}

static int bus_new(int fd, sd_bus **ret_bus)
{
	sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);

	if (r >= 0)
		r = sd_bus_set_fd(bus, fd, fd);
	if (r < 0) {
		sd_bus_unref(bus);
		close(fd);
		return r;
	}
	r = handshake_set_up(bus);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0) {
		sd_bus_close(bus);
		sd_bus_unref(bus);
		return r;
	}
	*ret_bus = bus;
	return 0;
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	sd_bus_message **slot = userdata;

	(void)ret_error;
	*slot = sd_bus_message_ref(reply);
	return 0;
}

/* Not sd_bus_call(): that waits for the handshake as long as it likes. */
static int call_until(sd_bus *bus, sd_bus_message *call, uint64_t end_ms, sd_bus_message **ret_reply)
{
	sd_bus_message *reply = NULL;
	sd_bus_slot *slot = NULL;
	int r = sd_bus_call_async(bus, &slot, call, on_reply, &reply, left_ms(end_ms) * 1000 + 1);

	while (r >= 0 && reply == NULL) {
		uint64_t left = left_ms(end_ms);

		r = left == 0 ? -ETIMEDOUT : sd_bus_process(bus, NULL);
		if (r == 0) {
			r = sd_bus_wait(bus, left * 1000);
			if (r == -EINTR)
				r = 0;
		}
	}
	sd_bus_slot_unref(slot);
	if (r < 0) {
		sd_bus_message_unref(reply);
		return r;
	}
	*ret_reply = reply;
	return 0;
}

static void say(struct login_reply *reply, const char *text)
{
	size_t n = 0;

	/* Core's sentences may quote what came from outside; a terminal must not be steered by it. */
	for (; *text != '\0' && n + 1 < sizeof(reply->text); text++)
		reply->text[n++] = (unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text;
	reply->text[n] = '\0';
}

static enum login_result cannot(struct login_reply *reply, int r)
{
	reply->result = LOGIN_UNREACHABLE;
	if (r == -EACCES || r == -EPERM)
		say(reply, "only programs of root may ask agentd for logins");
	else if (r == -ETIMEDOUT)
		say(reply, "agentd does not answer in time");
	else
		say(reply, "agentd is not running, so nobody can be let in");
	return reply->result;
}

/* What core said no with: agentd/common/peer.h has the form of the names. */
static enum login_result refused(struct login_reply *reply, const sd_bus_error *error)
{
	static const struct {
		const char *name; /* dotted name, with an underscore for a dash, or its beginning */
		enum login_result result;
	} rows[] = {
		{ "session.credentials", LOGIN_WRONG }, { "session.limited", LOGIN_LIMITED },	{ "core.busy", LOGIN_LIMITED },
		{ "session.required", LOGIN_SESSION },	{ "setup.recovery", LOGIN_NOT_READY },	{ "setup.unprovisioned", LOGIN_NOT_READY },
		{ "tpm.", LOGIN_NOT_READY },		{ "password.wrong", LOGIN_WRONG },	{ "password.current", LOGIN_WRONG },
		{ "password.stale", LOGIN_SESSION },	{ "password.weak", LOGIN_REJECTED },
		{ "password.text", LOGIN_REJECTED },
	};
	const char *name = error->name, *retry;

	reply->result = LOGIN_FAILED;
	if (name == NULL || strncmp(name, BUS_ERROR_PREFIX, strlen(BUS_ERROR_PREFIX)) != 0) {
		/* sd-bus ends the calls of a connection that broke with the error of a time-out; only its words tell them apart. */
		if (sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY) || sd_bus_error_get_errno(error) == ETIMEDOUT)
			return cannot(reply, error->message != NULL && strstr(error->message, "terminated") != NULL ? -ENOTCONN : -ETIMEDOUT);
		say(reply, "agentd gave an answer that cannot be understood");
		return reply->result;
	}
	name = strchr(name + strlen(BUS_ERROR_PREFIX), '.'); /* after the errno */
	name = name == NULL ? "" : name + 1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strncmp(name, rows[i].name, strlen(rows[i].name)) == 0) {
			reply->result = rows[i].result;
			break;
		}
	say(reply, error->message == NULL ? "" : error->message);
	retry = strstr(reply->text, " (retry-after=");
	if (retry != NULL) {
		reply->retry_s = (unsigned)strtoul(retry + strlen(" (retry-after="), NULL, 10);
		reply->text[retry - reply->text] = '\0';
	}
	return reply->result;
}

struct door {
	sd_bus *bus;
	sd_bus_message *call, *answer;
	uint64_t end_ms;
};

static int door_open(struct door *d, const char *socket, int timeout_ms, const char *method)
{
	int r;

	*d = (struct door){ .end_ms = monotonic_ms() + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0) };
	r = connect_until(socket, d->end_ms);
	if (r >= 0)
		r = bus_new(r, &d->bus);
	if (r >= 0)
		r = sd_bus_message_new_method_call(d->bus, &d->call, NULL, BUS_PATH, BUS_CORE, method);
	if (r >= 0)
		r = sd_bus_message_sensitive(d->call); /* wiped when it goes */
	return r;
}

/* Ask; LOGIN_OK when there is an answer to be read. */
static enum login_result door_ask(struct door *d, struct login_reply *reply)
{
	int r = call_until(d->bus, d->call, d->end_ms, &d->answer);

	if (r < 0)
		return cannot(reply, r);
	(void)sd_bus_message_sensitive(d->answer);
	if (sd_bus_message_is_method_error(d->answer, NULL))
		return refused(reply, sd_bus_message_get_error(d->answer));
	reply->result = LOGIN_OK;
	return LOGIN_OK;
}

static void door_close(struct door *d)
{
	sd_bus_message_unref(d->call);
	sd_bus_message_unref(d->answer);
	if (d->bus != NULL)
		sd_bus_close(d->bus);
	sd_bus_unref(d->bus);
}

static enum login_result garbled(struct login_reply *reply)
{
	reply->result = LOGIN_FAILED;
	say(reply, "agentd gave an answer that cannot be understood");
	return reply->result;
}

/* A password that is no UTF-8 cannot be the right one; nothing is asked then. */
static enum login_result not_sent(struct login_reply *reply, int r)
{
	if (r != -EINVAL)
		return cannot(reply, r);
	reply->result = LOGIN_WRONG;
	say(reply, "this is not valid UTF-8 text");
	return reply->result;
}

static void copy(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	n = n < size ? n : size - 1;
	memcpy(to, from, n);
	to[n] = '\0';
}

static int read_greeting(sd_bus_message *m, struct login_greeting *g)
{
	uint64_t password_min = 0;
	const struct field fields[] = {
		FIELD_MEMBER(FIELD_TEXT, g, setup),
		FIELD_MEMBER(FIELD_TEXT, g, serial),
		FIELD_MEMBER(FIELD_TEXT, g, model),
		{ "device_ca_fingerprint", FIELD_TEXT, g->fingerprint, sizeof(g->fingerprint) },
		{ "password_min", FIELD_NUMBER, &password_min, 0 },
	};
	int r = fields_read(m, fields, sizeof(fields) / sizeof(fields[0]));

	if (password_min < 1000)
		g->password_min = (unsigned)password_min;
	return r;
}

enum login_result login_greet(const char *socket, int timeout_ms, struct login_greeting *ret_greeting, struct login_reply *ret_reply)
{
	struct login_greeting g = { "" };
	struct door d;
	int r = door_open(&d, socket, timeout_ms, "LoginGreet");

	*ret_reply = (struct login_reply){ .result = LOGIN_OK };
	if (r < 0)
		cannot(ret_reply, r);
	else if (door_ask(&d, ret_reply) == LOGIN_OK && read_greeting(d.answer, &g) < 0)
		garbled(ret_reply);
	door_close(&d);
	*ret_greeting = g;
	return ret_reply->result;
}

/* token, scope, and the rest as it may be */
static enum login_result read_session(sd_bus_message *m, bool has_role, struct login_reply *reply)
{
	const char *token, *scope, *role = "";
	uint64_t expires_s;

	if (sd_bus_message_read(m, "sst", &token, &scope, &expires_s) < 0 || (has_role && sd_bus_message_read(m, "s", &role) < 0) ||
	    strlen(token) >= sizeof(reply->token))
		return garbled(reply);
	copy(reply->token, sizeof(reply->token), token);
	copy(reply->role, sizeof(reply->role), role);
	/* Whatever is not known to be full is not. */
	reply->must_change = strcmp(scope, "full") != 0;
	return reply->result;
}

enum login_result login_check(const char *socket, int timeout_ms, const struct login_who *who, const char *password, bool wants_session,
			      struct login_reply *ret_reply)
{
	struct door d;
	int r = door_open(&d, socket, timeout_ms, "LoginCheck");

	*ret_reply = (struct login_reply){ .result = LOGIN_OK };
	if (r >= 0)
		r = sd_bus_message_append(d.call, "(sus)ssb", "", who->uid, who->source, who->user, password, (int)wants_session);
	if (r < 0)
		not_sent(ret_reply, r);
	else if (door_ask(&d, ret_reply) == LOGIN_OK)
		read_session(d.answer, true, ret_reply);
	door_close(&d);
	return ret_reply->result;
}

enum login_result login_change(const char *socket, int timeout_ms, const struct login_who *who, const char *token, const char *current,
			       const char *new_password, struct login_reply *ret_reply)
{
	struct door d;
	int r = door_open(&d, socket, timeout_ms, "PasswordSet");

	*ret_reply = (struct login_reply){ .result = LOGIN_OK };
	if (r >= 0)
		r = sd_bus_message_append(d.call, "(sus)ss", token, who->uid, who->source, current, new_password);
	if (r < 0)
		not_sent(ret_reply, r);
	else if (door_ask(&d, ret_reply) == LOGIN_OK)
		read_session(d.answer, false, ret_reply);
	if (r == -EINVAL)
		ret_reply->result = LOGIN_REJECTED;
	door_close(&d);
	return ret_reply->result;
}

void login_close(const char *socket, int timeout_ms, const struct login_who *who, const char *token)
{
	struct login_reply reply = { .result = LOGIN_OK };
	struct door d;
	int r;

	if (token[0] == '\0')
		return;
	r = door_open(&d, socket, timeout_ms, "SessionClose");
	if (r >= 0)
		r = sd_bus_message_append(d.call, "(sus)", token, who->uid, who->source);
	if (r >= 0)
		door_ask(&d, &reply);
	door_close(&d);
}
