/* SPDX-License-Identifier: Apache-2.0 */
/* The relay: plain bytes of an open connection to libmicrohttpd and back. */
#include "config.h"

#include "agentd/mgmt/conn_inside.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agentd/mgmt/request.h"
#include "base/macro.h"
#include "base/secret.h"

#define PIECE (16 * KIB) /* one TLS record */
#define TURNS 32	 /* pieces moved before another connection gets its turn */
#define LINGER_UNKNOWN_MAX MIB /* what a stranger may go on saying after his answer; what is read of it costs us decryption */

void conn_close_relay(struct conn *c)
{
	c->relay_io = sd_event_source_disable_unref(c->relay_io);
	if (c->relay_fd >= 0)
		close(c->relay_fd);
	c->relay_fd = -1;
}

static int on_relay(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	conn_pump(userdata);
	return 0;
}

/* libmicrohttpd gets its end when the first plain byte is there: an idle connection costs it nothing. */
static int open_relay(struct conn *c)
{
	struct sockaddr_un nowhere = { .sun_family = AF_UNIX };
	int pair[2], r;

	if (c->relay_fd >= 0)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	r = sd_event_add_io(c->m->event, &c->relay_io, pair[0], EPOLLIN, on_relay, c);
	if (r < 0) {
		close(pair[0]);
		close(pair[1]);
		return r;
	}
	c->relay_fd = pair[0];
	c->mhd_fd = pair[1];
	conn_prefer(c);
	c->m->conn_starting = c;
	r = MHD_add_connection(c->m->mhd, pair[1], (struct sockaddr *)&nowhere, sizeof(nowhere)) == MHD_YES ? 0 : -ENOMEM;
	c->m->conn_starting = NULL;
	if (r == 0)
		http_kick(c->m);
	return r;
}

static bool move_out(struct conn *c);

/* A new request begins: the answer to the last one must be out of the relay, or it could not be told from libmicrohttpd's own. */
static bool is_last_reply_out(struct conn *c)
{
	while (c->is_reply_due && c->state == CONN_OPEN && !c->out_eof && move_out(c))
		;
	if (c->state != CONN_OPEN || c->out_eof)
		return true;
	if (bytes_left(&c->out))
		return false;
	c->is_reply_due = false;
	return true;
}

/* Is there something in @in that libmicrohttpd may have now? */
static bool may_pass_some(const struct conn *c)
{
	return bytes_left(&c->in) && (c->may_pass > 0 || (!c->head.is_over && !(c->phase == PHASE_IDLE && c->is_reply_due && bytes_left(&c->out))));
}

/*
 * libmicrohttpd closes without a word when it finds no request line, when a body is cut off, and without memory. The client is told.
 */
static bool answer_silence(struct conn *c)
{
	if (c->is_reply_due || c->phase == PHASE_IDLE || c->phase == PHASE_EVENTS)
		return false;
	if (c->req != NULL)
		request_abandon(c->req);
	reply_to_broken_head(c, c->is_out_of_memory || c->phase == PHASE_CORE || c->phase == PHASE_REPLY ? 500 : 400);
	return true;
}

/* The client has closed its end, and what it has said is no whole request. Of a chunked body only libmicrohttpd knows. */
static bool is_cut_off(const struct conn *c)
{
	if (c->state != CONN_OPEN || c->out_eof)
		return false;
	return (c->phase == PHASE_HEAD && !c->head.is_over) || (c->phase == PHASE_BODY && c->may_pass > 0 && c->may_pass < UINT64_MAX / 2);
}

/* What the client wants to say next. Returns its size; 0: nothing now; the connection may be over afterwards. */
static size_t read_net(struct conn *c, uint8_t piece[PIECE])
{
	ssize_t n;

	if (c->net_eof || (c->phase == PHASE_IDLE && !is_last_reply_out(c)) || c->state == CONN_DEAD)
		return 0;
	n = net_read(c, piece, PIECE);
	if (n == -EAGAIN)
		return 0;
	if (n == -EPROTO) {
		conn_linger_after_alert(c);
		return 0;
	}
	if (n < 0) {
		conn_close(c, true);
		return 0;
	}
	/* Who follows events has nothing more to say: neither a goodbye in half nor a next request. */
	if (c->phase == PHASE_EVENTS) {
		conn_close(c, n != 0);
		return 0;
	}
	if (n == 0) {
		c->net_eof = true;
		if (is_cut_off(c) && answer_silence(c))
			return 0;
		if (c->relay_fd >= 0)
			shutdown(c->relay_fd, SHUT_WR);
		else if (!bytes_left(&c->out)) /* an answer on its way out is for half-closed clients, too */
			conn_close(c, false);
	}
	return (size_t)n;
}

/*
 * Up to the end of a request and no further: what comes behind it in the same packet waits until that one is answered. So each
 * head is looked at, and an answer of libmicrohttpd's own can be told from ours. Returns how many bytes went; negative: closed.
 */
static ssize_t pass_on(struct conn *c, const uint8_t *data, size_t size)
{
	ssize_t n;

	if (c->may_pass == 0 && !c->head.is_over) {
		if (c->phase == PHASE_IDLE) {
			if (!is_last_reply_out(c) || c->state != CONN_OPEN || c->out_eof)
				return 0;
			conn_set_phase(c, PHASE_HEAD);
		}
		n = head_measure(&c->head, data, size);
		if (n < 0) {
			reply_to_broken_head(c, 400);
			return -1;
		}
		c->may_pass = (uint64_t)n;
	}
	if (c->may_pass == 0)
		return 0;
	if (open_relay(c) < 0) {
		conn_close(c, true);
		return -1;
	}
	n = send(c->relay_fd, data, size < c->may_pass ? size : (size_t)c->may_pass, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		bytes_drop(&c->in);	/* it has closed its end; what it has answered is still to be read */
		return -1;
	}
	if (n > 0)
		c->may_pass -= (uint64_t)n;
	return n < 0 ? 0 : n;
}

/*
 * What comes after an answer that did not wait for it. A close with bytes unread would be a reset, and that takes the answer out of
 * the client's hands, or fails its sending before it looks for one: so it is read, within the bounds here and in conn.c.
 */
static bool forget(struct conn *c, size_t size)
{
	c->n_forgotten += size;
	c->phase_us = mgmt_now_us(c->m);
	if (c->is_known || c->n_forgotten <= LINGER_UNKNOWN_MAX)
		return true;
	conn_close(c, true);
	return false;
}

static bool take_in(struct conn *c, const uint8_t *piece, size_t size)
{
	ssize_t n;

	if (c->state == CONN_LINGER || c->out_eof)
		return forget(c, size);
	n = pass_on(c, piece, size);
	if (n < 0)
		return c->state != CONN_DEAD;
	if ((size_t)n < size && bytes_keep(&c->in, piece + n, size - (size_t)n) < 0) {
		conn_close(c, true);
		return false;
	}
	return (size_t)n == size;
}

/* Client to libmicrohttpd. True if something moved; the connection may be dead afterwards. */
static bool move_in(struct conn *c)
{
	static uint8_t piece[PIECE];
	bool is_secret = c->phase != PHASE_STREAM, has_moved; /* a bundle is none */
	size_t size;
	ssize_t n;

	if (bytes_left(&c->in)) {
		if (c->phase == PHASE_EVENTS) {
			conn_close(c, true);
			return false;
		}
		n = pass_on(c, c->in.data + c->in.pos, c->in.size - c->in.pos);
		if (n <= 0)
			return false;
		c->in.pos += (size_t)n;
		if (bytes_left(&c->in))
			return may_pass_some(c);
		bytes_drop(&c->in);
		return true;
	}
	size = read_net(c, piece);
	if (size == 0)
		return false;
	has_moved = take_in(c, piece, size);
	if (is_secret)
		wipe(piece, size);
	return has_moved;
}

/* libmicrohttpd answers what it cannot parse with HTML of its own; ours is the documented answer. "100 Continue" is its business. */
static bool replace_foreign_answer(struct conn *c, const uint8_t *data, size_t size)
{
	static const char begin[] = "HTTP/1.1 ";
	size_t n = sizeof(begin) - 1;
	uint8_t rest[512];
	unsigned status;

	if (size < n + 3 || memcmp(data, begin, n) != 0)
		return false;
	status = 100u * (data[n] - '0') + 10u * (data[n + 1] - '0') + (data[n + 2] - '0');
	if (status < 400 || status > 599)
		return false;
	while (recv(c->relay_fd, rest, sizeof(rest), 0) > 0)
		;
	if (c->req != NULL)
		request_abandon(c->req);
	reply_to_broken_head(c, status);
	return true;
}

static bool give_out(struct conn *c, const uint8_t *piece, size_t size)
{
	ssize_t n;

	if (!c->is_reply_due && replace_foreign_answer(c, piece, size))
		return true;
	n = net_write(c, piece, size);
	if (n < 0 && n != -EAGAIN) {
		conn_close(c, true);
		return false;
	}
	if (n < 0)
		n = 0;
	if ((size_t)n < size && bytes_keep(&c->out, piece + n, size - (size_t)n) < 0) {
		conn_close(c, true);
		return false;
	}
	return true;
}

/* libmicrohttpd to client. */
static bool move_out(struct conn *c)
{
	static uint8_t piece[PIECE];
	bool has_moved;
	ssize_t n;

	if (bytes_left(&c->out)) {
		n = net_write(c, c->out.data + c->out.pos, c->out.size - c->out.pos);
		if (n == -EAGAIN) {
			if (c->stalled_us == 0) {
				c->stalled_us = mgmt_now_us(c->m);
				conn_arm(c);
			}
			return false;
		}
		if (n < 0) {
			conn_close(c, true);
			return false;
		}
		c->out.pos += (size_t)n;
		c->stalled_us = 0;
		if (!bytes_left(&c->out))
			bytes_drop(&c->out);
		conn_arm(c);
		return true;
	}
	if (c->out_eof) {
		if (c->state == CONN_OPEN) {
			/* A reset would take the answer away from a client that is still sending: half-close, then wait. */
			if (c->net_eof) {
				conn_close(c, false);
				return false;
			}
			if (c->ssl != NULL)
				SSL_shutdown(c->ssl);
			shutdown(c->net_fd, SHUT_WR);
			conn_set_state(c, CONN_LINGER);
		} else if (c->net_eof) {
			conn_close(c, false);
		}
		return false;
	}
	if (c->relay_fd < 0)
		return false;
	n = recv(c->relay_fd, piece, sizeof(piece), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		if (answer_silence(c))
			return true;
		c->out_eof = true;
		bytes_drop(&c->in);
		conn_close_relay(c);
		return true;
	}
	has_moved = give_out(c, piece, (size_t)n);
	wipe(piece, (size_t)n);
	return has_moved;
}

void conn_update_events(struct conn *c)
{
	uint32_t net = 0, relay = 0;

	/* The next request waits until the last answer is out, see is_last_reply_out(). */
	if (!c->net_eof && (!bytes_left(&c->in) || c->phase == PHASE_EVENTS) && !(c->phase == PHASE_IDLE && c->is_reply_due && bytes_left(&c->out)))
		net |= EPOLLIN;
	if (bytes_left(&c->out))
		net |= EPOLLOUT;
	sd_event_source_set_io_events(c->net_io, net);
	if (c->relay_io != NULL) {
		if (may_pass_some(c))
			relay |= EPOLLOUT;
		if (!bytes_left(&c->out))
			relay |= EPOLLIN;
		sd_event_source_set_io_events(c->relay_io, relay);
		/* A closed end is reported whatever is asked for: do not look while there is no room for its bytes. */
		sd_event_source_set_enabled(c->relay_io, relay != 0 ? SD_EVENT_ON : SD_EVENT_OFF);
	}
}

void conn_pump(struct conn *c)
{
	for (int i = 0; i < TURNS || (c->ssl != NULL && SSL_pending(c->ssl) > 0); i++) {
		bool is_moved = move_in(c);

		if (c->state == CONN_DEAD)
			return;
		is_moved |= move_out(c);
		if (c->state == CONN_DEAD)
			return;
		if (!is_moved)
			break;
	}
	conn_update_events(c);
}

void conn_answer_and_close(struct conn *c, const char *data, size_t size)
{
	if (c->state != CONN_OPEN || c->out_eof)
		return;
	/* What libmicrohttpd has written so far ("100 Continue") goes first. */
	while (c->relay_fd >= 0) {
		uint8_t piece[512];
		ssize_t n = recv(c->relay_fd, piece, sizeof(piece), 0);

		if (n <= 0 || bytes_keep(&c->out, piece, (size_t)n) < 0)
			break;
	}
	if (bytes_keep(&c->out, (const uint8_t *)data, size) < 0) {
		conn_close(c, true);
		return;
	}
	c->out_eof = true;
	bytes_drop(&c->in);
	conn_close_relay(c);
	conn_set_phase(c, PHASE_REPLY);
	/* Not conn_pump(): the caller may be inside libmicrohttpd, and writing is all there is to do. */
	sd_event_source_set_io_events(c->net_io, EPOLLOUT | (c->net_eof ? 0 : EPOLLIN));
	http_kick(c->m);
}
