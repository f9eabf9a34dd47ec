/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/peer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>

#include "agentd/common/operations.h"
#include "agentd/common/service.h"
#include "base/macro.h"
#include "base/wire_error.h"
#include "client/handshake.h"

static int cannot_connect(struct agent_error **err, int r, const char *run_dir, const char *name)
{
	const char *why = strerror(-r);

	if (r == -ENOENT || r == -ECONNREFUSED)
		why = "nobody listens; is the program behind it running?";
	return agent_error_set(err, r, "bus.connect", "cannot connect to %s/%s: %s", run_dir, name, why);
}

static int bus_on_fd(int fd, bool is_server, sd_bus **ret_bus)
{
	_cleanup_close_ int owned_fd = fd;
	sd_bus *bus = NULL;
	sd_id128_t id;
	int r;

	r = sd_bus_new(&bus);
	if (r < 0)
		return r;
	r = sd_bus_set_fd(bus, fd, fd);
	if (r >= 0) {
		TAKE_FD(owned_fd);
		if (is_server) {
			r = sd_id128_randomize(&id);
			if (r >= 0)
				r = sd_bus_set_server(bus, true, id);
			/* Who may connect was decided by the socket's owner and SO_PEERCRED; D-Bus has nothing to add. */
			if (r >= 0)
				r = sd_bus_set_anonymous(bus, true);
		}
	}
	if (r >= 0)
		r = handshake_set_up(bus);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0) {
		sd_bus_close_unref(bus);
		return r;
	}
	*ret_bus = bus;
	return 0;
}

int peer_connect(const char *run_dir, const char *name, sd_bus **ret_bus, struct agent_error **err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	int n, r;

	n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", run_dir, name);
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return cannot_connect(err, -ENAMETOOLONG, run_dir, name);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return cannot_connect(err, -errno, run_dir, name);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return cannot_connect(err, -errno, run_dir, name);
	r = bus_on_fd(TAKE_FD(fd), false, ret_bus);
	return r < 0 ? cannot_connect(err, r, run_dir, name) : 0;
}

int peer_serve(int fd, sd_bus **ret_bus, struct agent_error **err)
{
	int r = bus_on_fd(fd, true, ret_bus);

	if (r < 0)
		return agent_error_set(err, r, "bus.serve", "cannot serve a connection: %s", strerror(-r));
	return 0;
}

int peer_accept(int listen_fd, int *ret_fd, uint32_t *ret_uid)
{
	_cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred cred;
	socklen_t size = sizeof(cred);

	if (fd < 0)
		return errno == EWOULDBLOCK || errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
		return -errno;
	*ret_uid = cred.uid;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int peer_accept_from(int listen_fd, uint32_t uid, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	uint32_t caller;
	int r = peer_accept(listen_fd, &fd, &caller);

	if (r < 0)
		return r;
	if (caller != uid) {
		service_log(LOG_WARNING, "refused a connection from uid %" PRIu32 ": only uid %" PRIu32 " may ask", caller, uid);
		return -EAGAIN;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int negative(int r, const struct agent_error *err)
{
	if (r < 0)
		return r;
	r = agent_error_errno(err);
	return r < 0 ? r : -EIO;
}

int peer_error_reply(sd_bus_error *ret_error, int r, struct agent_error **err)
{
	char name[128];

	r = negative(r, *err);
	wire_error_name(r, *err, name, sizeof(name));
	sd_bus_error_setf(ret_error, name, "%s", *err == NULL ? strerror(-r) : agent_error_message(*err));
	*err = agent_error_free(*err);
	return r;
}

int peer_reply_error(sd_bus_message *call, int r, struct agent_error **err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;

	peer_error_reply(&error, r, err);
	r = sd_bus_reply_method_error(call, &error);
	/* A sentence that cannot travel must not cost the caller his answer. */
	if (r < 0)
		r = sd_bus_reply_method_errorf(call, error.name, "refused, and the reason cannot be shown");
	sd_bus_error_free(&error);
	return r;
}

int peer_error_from_bus(const sd_bus_error *error, int r, struct agent_error **err)
{
	const char *name = error == NULL ? NULL : error->name;

	if (name != NULL && strncmp(name, WIRE_ERROR_PREFIX, strlen(WIRE_ERROR_PREFIX)) == 0)
		return wire_error_set(name, error->message, err);
	if (name != NULL && sd_bus_error_get_errno(error) > 0)
		r = -sd_bus_error_get_errno(error);
	r = negative(r, NULL);
	/* sd-bus ends the calls of a connection that broke with the error of a time-out; only its words tell them apart. */
	if (name != NULL && strcmp(name, SD_BUS_ERROR_NO_REPLY) == 0 && error->message != NULL && strstr(error->message, "terminated") != NULL)
		r = -ENOTCONN;
	switch (r) {
	case -ENOTCONN:
	case -ECONNRESET:
	case -EPIPE:
	case -ESHUTDOWN:
		return agent_error_set(err, -ENOTCONN, "bus.lost", "the program at the other end went away");
	case -ETIMEDOUT:
		return agent_error_set(err, r, "bus.timeout", "the program at the other end did not answer in time");
	default:
		return agent_error_set(err, r, "bus.call", "%s", name != NULL && error->message != NULL ? error->message : strerror(-r));
	}
}

static int append(sd_bus_message *m, const char *key, const char *type, const void *value)
{
	int r = sd_bus_message_open_container(m, 'e', "sv");

	if (r >= 0)
		r = sd_bus_message_append_basic(m, 's', key);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', type);
	if (r >= 0)
		r = sd_bus_message_append_basic(m, type[0], value);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int peer_append_string(sd_bus_message *m, const char *key, const char *text)
{
	return text == NULL ? 0 : append(m, key, "s", text);
}

int peer_append_u64(sd_bus_message *m, const char *key, uint64_t value)
{
	return append(m, key, "t", &value);
}

int peer_append_bool(sd_bus_message *m, const char *key, int value)
{
	value = value != 0;
	return append(m, key, "b", &value);
}

int peer_append_strings(sd_bus_message *m, const char *key, const char *const *texts)
{
	int r = sd_bus_message_open_container(m, 'e', "sv");

	if (r >= 0)
		r = sd_bus_message_append_basic(m, 's', key);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "as");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "s");
	for (size_t i = 0; r >= 0 && texts != NULL && texts[i] != NULL; i++)
		r = sd_bus_message_append_basic(m, 's', texts[i]);
	for (int level = 0; level < 3 && r >= 0; level++)
		r = sd_bus_message_close_container(m);
	return r;
}
