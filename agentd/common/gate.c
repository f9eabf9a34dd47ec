/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/gate.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/secret.h"

#define CHUNK 4096
#define HEADER 16 /* D-Bus specification, "Message Format": up to the length of the header fields */

/* One direction: bytes read and not yet written. */
struct lane {
	uint8_t *data;
	size_t size, capacity, sent;
};

struct gate {
	int outer, inner;
	sd_event_source *outer_io, *inner_io, *timer;
	struct lane in, out;
	size_t need;	   /* bytes of the message that is coming in; 0 while its header is not there */
	size_t hello_size; /* of the handshake so far */
	bool is_talking;   /* the handshake is over */
	bool is_sending;   /* the lane inwards holds something whole */
	bool is_paused, is_ended;
	void (*on_broken)(void *userdata, const char *why);
	void *userdata;
};

/* From here on nothing is passed on; the bus learns it as the end of the connection, and its owner frees us. */
static void end(struct gate *g, const char *why)
{
	if (g->is_ended)
		return;
	g->is_ended = true;
	sd_event_source_set_enabled(g->outer_io, SD_EVENT_OFF);
	sd_event_source_set_enabled(g->inner_io, SD_EVENT_OFF);
	shutdown(g->inner, SHUT_RDWR);
	shutdown(g->outer, SHUT_RDWR);
	if (why != NULL && g->on_broken != NULL)
		g->on_broken(g->userdata, why);
}

static bool reserve(struct lane *lane, size_t capacity)
{
	uint8_t *data;

	if (lane->capacity >= capacity)
		return true;
	data = realloc(lane->data, capacity);
	if (data == NULL)
		return false;
	lane->data = data;
	lane->capacity = capacity;
	return true;
}

/* Memory of a long message goes back when it has passed. */
static void empty(struct lane *lane)
{
	wipe(lane->data, lane->size); /* it may have been somebody's secret */
	lane->size = lane->sent = 0;
	if (lane->capacity > CHUNK) {
		free(TAKE_PTR(lane->data));
		lane->capacity = 0;
	}
}

/* 0: all gone. 1: the rest waits. Negative: the other side is gone. */
static int write_lane(struct lane *lane, int fd)
{
	while (lane->sent < lane->size) {
		ssize_t n = send(fd, lane->data + lane->sent, lane->size - lane->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 1 : -errno;
		lane->sent += (size_t)n;
	}
	empty(lane);
	return 0;
}

static uint32_t get_u32(const uint8_t *p, bool is_big)
{
	return is_big ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] :
			(uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* Length of the message whose header is in the lane; 0 if it breaks the rules. */
static size_t message_size(const struct lane *lane)
{
	bool is_big = lane->data[0] == 'B';
	uint64_t body = get_u32(lane->data + 4, is_big), fields = get_u32(lane->data + 12, is_big);
	uint64_t size = HEADER + (fields + 7) / 8 * 8 + body;

	return (is_big || lane->data[0] == 'l') && size <= GATE_MESSAGE_MAX ? (size_t)size : 0;
}

/* How many bytes may be read next without reading past what is being looked at. */
static size_t wanted(const struct gate *g)
{
	if (!g->is_talking)
		return 1; /* the first message may follow the handshake at once, and is not part of it */
	return (g->need == 0 ? HEADER : g->need) - g->in.size;
}

/* Bytes came in. 1: a line of the handshake or a message is whole; 0: go on; negative: the rules are broken. */
static int look(struct gate *g)
{
	static const char begin[] = "BEGIN\r\n";

	if (!g->is_talking) {
		if (++g->hello_size > GATE_HELLO_MAX)
			return -EMSGSIZE;
		if (g->in.data[g->in.size - 1] != '\n')
			return 0;
		g->is_talking = g->in.size == sizeof(begin) - 1 && memcmp(g->in.data, begin, g->in.size) == 0;
		return 1;
	}
	if (g->need == 0 && g->in.size == HEADER) {
		g->need = message_size(&g->in);
		if (g->need == 0)
			return -EMSGSIZE;
	}
	return g->need != 0 && g->in.size == g->need;
}

/* What each side is waited for. */
static void update(struct gate *g)
{
	uint32_t outer = 0, inner = 0;

	if (g->is_ended)
		return;
	if (g->is_sending)
		inner |= EPOLLOUT;
	else if (!g->is_paused)
		outer |= EPOLLIN;
	if (g->out.size > 0)
		outer |= EPOLLOUT;
	else
		inner |= EPOLLIN;
	if (sd_event_source_set_io_events(g->outer_io, outer) < 0 || sd_event_source_set_io_events(g->inner_io, inner) < 0)
		end(g, NULL);
}

static void send_in(struct gate *g)
{
	int r = write_lane(&g->in, g->inner);

	if (r < 0)
		end(g, NULL);
	if (r != 0)
		return;
	g->is_sending = false;
	g->need = 0;
}

/* At most one message at a time, so that one stranger does not hold the loop up. */
static void read_in(struct gate *g)
{
	while (!g->is_sending && !g->is_ended) {
		size_t want = wanted(g);
		ssize_t n;
		int r;

		if (!reserve(&g->in, g->need > CHUNK ? g->need : CHUNK)) {
			end(g, "no memory");
			return;
		}
		n = recv(g->outer, g->in.data + g->in.size, want, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			end(g, NULL);
			return;
		}
		g->in.size += (size_t)n;
		r = look(g);
		if (r < 0) {
			end(g, g->is_talking ? "message too long, or not D-Bus" : "handshake too long");
			return;
		}
		g->is_sending = r > 0;
	}
	if (g->is_sending && !g->is_ended)
		send_in(g);
}

static void read_out(struct gate *g)
{
	ssize_t n;

	if (!reserve(&g->out, CHUNK)) {
		end(g, "no memory");
		return;
	}
	n = recv(g->inner, g->out.data, CHUNK, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end(g, NULL);
		return;
	}
	g->out.size = (size_t)n;
	if (write_lane(&g->out, g->outer) < 0)
		end(g, NULL);
}

static int on_outer(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct gate *g = userdata;

	if ((revents & EPOLLOUT) != 0 && write_lane(&g->out, g->outer) < 0)
		end(g, NULL);
	if ((revents & EPOLLIN) != 0)
		read_in(g);
	else if ((revents & (EPOLLHUP | EPOLLERR)) != 0)
		end(g, NULL);
	update(g);
	return 0;
}

static int on_inner(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct gate *g = userdata;

	if ((revents & EPOLLOUT) != 0 && g->is_sending)
		send_in(g);
	if ((revents & EPOLLIN) != 0 && !g->is_ended)
		read_out(g);
	else if ((revents & (EPOLLHUP | EPOLLERR)) != 0)
		end(g, NULL);
	update(g);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct gate *g = userdata;

	g->is_paused = false;
	update(g);
	return 0;
}

void gate_pause(struct gate *g, uint64_t pause_us)
{
	if (g == NULL || g->is_ended || g->is_paused)
		return;
	g->timer = sd_event_source_disable_unref(g->timer);
	if (sd_event_add_time_relative(sd_event_source_get_event(g->outer_io), &g->timer, CLOCK_MONOTONIC, pause_us, 0, on_timer, g) < 0)
		return;
	g->is_paused = true;
	update(g);
}

void gate_set_userdata(struct gate *g, void *userdata)
{
	g->userdata = userdata;
}

struct gate *gate_free(struct gate *g)
{
	if (g == NULL)
		return NULL;
	sd_event_source_disable_unref(g->outer_io);
	sd_event_source_disable_unref(g->inner_io);
	sd_event_source_disable_unref(g->timer);
	if (g->outer >= 0)
		close(g->outer);
	if (g->inner >= 0)
		close(g->inner);
	free(g->in.data);
	free(g->out.data);
	free(g);
	return NULL;
}

int gate_new(sd_event *event, int fd, void (*on_broken)(void *userdata, const char *why), void *userdata, int *ret_inner_fd,
	     struct gate **ret_gate, struct agent_error **err)
{
	struct gate *g = calloc(1, sizeof(*g));
	int pair[2] = { -1, -1 };
	int r;

	if (g == NULL) {
		close(fd);
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a connection");
	}
	g->outer = fd;
	g->inner = -1;
	g->on_broken = on_broken;
	g->userdata = userdata;
	r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ? -errno : 0;
	if (r >= 0) {
		g->inner = pair[0];
		r = sd_event_add_io(event, &g->outer_io, g->outer, EPOLLIN, on_outer, g);
	}
	if (r >= 0)
		r = sd_event_add_io(event, &g->inner_io, g->inner, EPOLLIN, on_inner, g);
	if (r < 0) {
		if (pair[1] >= 0)
			close(pair[1]);
		gate_free(g);
		return agent_error_set(err, r, "bus.serve", "cannot serve a connection: %s", strerror(-r));
	}
	*ret_inner_fd = pair[1];
	*ret_gate = g;
	return 0;
}
