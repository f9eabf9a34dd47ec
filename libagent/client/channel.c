/* SPDX-License-Identifier: Apache-2.0 */
#include "client/channel.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/wire_error.h"
#include "client/handshake.h"

static int cannot_connect(struct agent_error **err, int r, const char *path)
{
	const char *why = strerror(-r);

	if (r == -ENOENT || r == -ECONNREFUSED)
		why = "nobody listens; is the program behind it running?";
	return agent_error_set(err, r, "bus.connect", "cannot connect to %s: %s", path, why);
}

void channel_drop(struct channel *c)
{
	c->bus = sd_bus_close_unref(c->bus);
}

static int start_bus(struct channel *c, int fd)
{
	int r = sd_bus_new(&c->bus);

	if (r >= 0)
		r = sd_bus_set_fd(c->bus, fd, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = handshake_set_up(c->bus);
	return r < 0 ? r : sd_bus_start(c->bus);
}

int channel_need(struct channel *c, struct agent_error **err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, r;

	if (c->bus != NULL)
		return 0;
	if (strlen(c->path) >= sizeof(address.sun_path))
		return cannot_connect(err, -ENAMETOOLONG, c->path);
	strcpy(address.sun_path, c->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return cannot_connect(err, -errno, c->path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = cannot_connect(err, -errno, c->path);
		close(fd);
		return r;
	}
	r = start_bus(c, fd);
	if (r < 0) {
		channel_drop(c);
		return cannot_connect(err, r, c->path);
	}
	c->epoch++;
	return 0;
}

int channel_error(const sd_bus_error *error, int r, struct agent_error **err)
{
	if (error->name != NULL && strncmp(error->name, WIRE_ERROR_PREFIX, strlen(WIRE_ERROR_PREFIX)) == 0)
		return wire_error_set(error->name, error->message, err);
	if (r >= 0)
		r = -EIO;
	/* sd-bus ends the calls of a connection that broke with the error of a time-out; only its words tell them apart. */
	if (error->name != NULL && strcmp(error->name, SD_BUS_ERROR_NO_REPLY) == 0 && error->message != NULL &&
	    strstr(error->message, "terminated") != NULL)
		r = -ENOTCONN;
	if (r == -ECONNRESET || r == -EPIPE || r == -ESHUTDOWN || r == -ENOTCONN)
		return agent_error_set(err, -ENOTCONN, "bus.lost", "agentd closed the connection");
	if (r == -ETIMEDOUT)
		return agent_error_set(err, r, "bus.timeout", "agentd did not answer in time");
	if (r == -ECHILD)
		return agent_error_set(err, r, "client.fork", "this connection to agentd was opened before fork()");
	return agent_error_set(err, r, "bus.call", "%s", error->name != NULL && error->message != NULL ? error->message : strerror(-r));
}
