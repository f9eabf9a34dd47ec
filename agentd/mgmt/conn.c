/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/mgmt/conn_inside.h"

#include <errno.h>
#ifdef HAVE_MALLOC_TRIM
#include <malloc.h>
#endif
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <openssl/err.h>

#include "agentd/common/operations.h"
#include "agentd/mgmt/plain.h"
#include "agentd/mgmt/request.h"
#include "base/macro.h"

#define SECOND_US UINT64_C(1000000)
#define HELLO_US (5 * SECOND_US)
#define QUEUED_US (30 * SECOND_US) /* it has said all it has to say, and costs a socket: 200 sources at 10 a second take 27 s */
#define HANDSHAKE_US (5 * SECOND_US)
#define HEAD_US (10 * SECOND_US)
#define BODY_US (10 * SECOND_US)
#define IDLE_US (30 * SECOND_US)
#define STALLED_US (15 * SECOND_US)
#define LINGER_US (5 * SECOND_US)      /* without a byte, after an answer that came before the end of the request */
#define LINGER_UNKNOWN_US (10 * SECOND_US) /* in all */
#define LINGER_KNOWN_US (30 * SECOND_US)
#define UNKNOWN_US (15 * SECOND_US) /* whole life of a connection nobody has logged in on */
#define HELLO_MAX (5 + 4096)
#define CROWD 32

uint64_t mgmt_now_us(struct mgmt *m)
{
	uint64_t now_us = 0;

	if (sd_event_now(m->event, CLOCK_MONOTONIC, &now_us) < 0)
		return 0;
	return now_us;
}

static uint64_t deadline(const struct conn *c)
{
	uint64_t at = UINT64_MAX;

	switch (c->state) {
	case CONN_HELLO:
		return c->accepted_us + HELLO_US;
	case CONN_QUEUED:
		return c->accepted_us + QUEUED_US;
	case CONN_HANDSHAKE:
		return c->state_us + HANDSHAKE_US;
	case CONN_LINGER:
		at = c->state_us + (c->is_known ? LINGER_KNOWN_US : LINGER_UNKNOWN_US);
		return c->phase_us + LINGER_US < at ? c->phase_us + LINGER_US : at;
	case CONN_DEAD:
		return UINT64_MAX;
	case CONN_OPEN:
		break;
	}
	switch (c->phase) {
	case PHASE_IDLE:
		at = c->phase_us + IDLE_US;
		break;
	case PHASE_HEAD:
		at = c->phase_us + HEAD_US;
		break;
	case PHASE_BODY:
		at = c->phase_us + BODY_US;
		break;
	case PHASE_CORE:
	case PHASE_STREAM:
	case PHASE_REPLY:
	case PHASE_EVENTS:
		break;
	}
	/* Core's own time limits hold while it works; a login must not be cut off by the clock of the stranger it was. */
	if (!c->is_known && c->phase != PHASE_CORE && c->phase != PHASE_STREAM && c->state_us + UNKNOWN_US < at)
		at = c->state_us + UNKNOWN_US;
	if (c->stalled_us != 0 && c->stalled_us + STALLED_US < at)
		at = c->stalled_us + STALLED_US;
	return at;
}

bool conn_ends_soon(const struct conn *c)
{
	return !c->is_known && mgmt_now_us(c->m) > c->state_us + UNKNOWN_US / 3;
}

void conn_arm(struct conn *c)
{
	uint64_t at = deadline(c);

	if (c->timer == NULL)
		return;
	if (at == UINT64_MAX) {
		sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(c->timer, at);
	sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

void conn_prefer(struct conn *c)
{
	if (!c->is_known && !c->is_from_known && !c->is_unix)
		return;
	sd_event_source_set_priority(c->net_io, SD_EVENT_PRIORITY_IMPORTANT);
	if (c->relay_io != NULL)
		sd_event_source_set_priority(c->relay_io, SD_EVENT_PRIORITY_IMPORTANT);
}

static void free_when_done(struct conn *c)
{
	struct mgmt *m = c->m;

	if (c->net_fd >= 0 || c->mhd_open)
		return;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		m->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	if (c->req != NULL)
		c->req->conn = NULL;
	/* Whoever is up the stack still looks at its state. */
	c->next = m->dead_conns;
	m->dead_conns = c;
	if (m->reap_defer != NULL)
		sd_event_source_set_enabled(m->reap_defer, SD_EVENT_ONESHOT);
	mgmt_idle_update(m);
}

void conn_reap(struct mgmt *m)
{
	for (struct conn *c = m->dead_conns, *next; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
	m->dead_conns = NULL;
#ifdef HAVE_MALLOC_TRIM
	/* After a crowd the heap is full of holes that glibc keeps. */
	if (m->n_peak >= CROWD && m->n_network + m->n_unix <= CROWD / 8) {
		m->n_peak = 0;
		malloc_trim(0);
	}
#endif
}

/* What came and was not read, what was to be sent, and the request that is under way. */
static void drop_work(struct conn *c)
{
	bytes_drop(&c->in);
	bytes_drop(&c->out);
	conn_close_relay(c);
	if (c->req != NULL)
		request_abandon(c->req);
	if (c->mhd_open)
		http_kick(c->m);
}

void conn_close(struct conn *c, bool is_rude)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	if (c->state == CONN_DEAD)
		return;
	c->m->n_waiting -= conn_is_waiting(c);
	c->m->n_plain -= c->is_plain_door;
	c->state = CONN_DEAD;
	if (c->ssl != NULL) {
		if (!is_rude && SSL_is_init_finished(c->ssl))
			SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
		ERR_clear_error();
		c->ssl = NULL;
	}
	if (is_rude)
		(void)setsockopt(c->net_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	c->net_io = sd_event_source_disable_unref(c->net_io);
	c->timer = sd_event_source_disable_unref(c->timer);
	close(c->net_fd);
	c->net_fd = -1;
	if (c->is_unix)
		c->m->n_unix--;
	else
		c->m->n_network--;
	drop_work(c);
	free_when_done(c);
}

void conn_mhd_closed(struct conn *c)
{
	c->mhd_open = false;
	c->mhd_fd = -1;
	free_when_done(c);
}

void conn_set_phase(struct conn *c, enum conn_phase phase)
{
	if (c->phase == phase)
		return;
	c->phase = phase;
	c->phase_us = mgmt_now_us(c->m);
	conn_arm(c);
	if (phase != PHASE_IDLE)
		return;
	c->head = (struct head_scan){ 0 };
	c->may_pass = 0;
	/* A request that came together with the last one. */
	if (bytes_left(&c->in))
		conn_update_events(c);
}

void conn_expect_body(struct conn *c, uint64_t body_bytes)
{
	c->may_pass = body_bytes;
	if (c->state == CONN_OPEN && bytes_left(&c->in))
		conn_update_events(c);
}

bool conn_is_waiting(const struct conn *c)
{
	return c->state == CONN_HELLO || c->state == CONN_QUEUED;
}

/* The owner is served first: strangers' bytes wait in the kernel, and eviction passes him by. */
void conn_set_known(struct conn *c)
{
	c->is_known = true;
	if (c->is_unix)
		return;
	limit_source_add(c->m->limits, &c->source, mgmt_now_us(c->m));
	conn_prefer(c);
}

void conn_set_state(struct conn *c, enum conn_state state)
{
	c->m->n_waiting -= conn_is_waiting(c);
	c->state = state;
	c->m->n_waiting += conn_is_waiting(c);
	c->state_us = mgmt_now_us(c->m);
	if (state == CONN_LINGER)
		c->phase_us = c->state_us;
	conn_arm(c);
}

bool conn_evict(struct mgmt *m, bool is_unix)
{
	struct conn *oldest = NULL;

	for (struct conn *c = m->conns; c != NULL; c = c->next)
		if (c->state != CONN_DEAD && c->is_unix == is_unix && !c->is_known && !c->is_from_known && !c->is_plain_door && !conn_is_waiting(c))
			oldest = c;	/* newest first, so the last one is the oldest */
	if (oldest == NULL)
		return false;
	mgmt_count_refused(m);
	conn_close(oldest, true);
	return true;
}

/* ---- TLS before the first plain byte --------------------------------------------------------------------------- */

static void on_hello(struct conn *c)
{
	uint8_t hello[HELLO_MAX];
	ssize_t n = recv(c->net_fd, hello, sizeof(hello), MSG_PEEK);
	size_t want = 0;
	int r, low;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	r = n <= 0 ? -EBADMSG : tls_hello_check(hello, (size_t)n, &want);
	if (r < 0) {
		conn_close(c, n != 0);
		return;
	}
	/* SO_RCVLOWAT keeps the kernel from waking us for every byte of a slow hello. */
	low = r == 0 ? (int)want : 1;
	(void)setsockopt(c->net_fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	if (r == 0)
		return;
	sd_event_source_set_io_events(c->net_io, EPOLLRDHUP);
	conn_set_state(c, CONN_QUEUED);
	if (c->is_from_known || !tls_queue_is_blocked(c->m))
		tls_queue_run(c->m);
}

/*
 * What the client has sent since is unread, in TLS 1.3 its first request for one: closing now would be a reset, which takes the alert
 * out of its hands.
 */
void conn_linger_after_alert(struct conn *c)
{
	bool was_handshake = c->state == CONN_HANDSHAKE;

	SSL_free(c->ssl);
	c->ssl = NULL;
	c->out_eof = true;
	drop_work(c);
	shutdown(c->net_fd, SHUT_WR);
	conn_set_state(c, CONN_LINGER);
	conn_update_events(c);
	if (was_handshake)
		tls_queue_run(c->m);	/* one fewer in progress */
}

static void do_handshake(struct conn *c)
{
	bool has_alert;
	int r;

	ERR_clear_error();
	r = SSL_accept(c->ssl);
	if (r == 1 && c->is_client_door && client_handshake_done(c) < 0) {
		conn_close(c, true);
		return;
	}
	if (r == 1) {
		conn_set_state(c, CONN_OPEN);
		c->phase = PHASE_IDLE;
		c->phase_us = c->state_us;
		conn_arm(c);
		tls_queue_run(c->m);	/* one fewer in progress */
		conn_pump(c);
		return;
	}
	r = SSL_get_error(c->ssl, r);
	if (r == SSL_ERROR_WANT_READ || r == SSL_ERROR_WANT_WRITE) {
		sd_event_source_set_io_events(c->net_io, r == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN);
		return;
	}
	has_alert = r == SSL_ERROR_SSL && !tls_peer_left();
	if (c->is_client_door)
		has_alert |= client_handshake_failed(c);
	if (has_alert)
		conn_linger_after_alert(c);
	else
		conn_close(c, false);
}

void conn_start_handshake(struct conn *c)
{
	if (tls_session_new(c->m, c) < 0) {
		conn_close(c, true);
		return;
	}
	conn_set_state(c, CONN_HANDSHAKE);
	/* From the event loop: the caller walks the list of connections, and this one may end. */
	sd_event_source_set_io_events(c->net_io, EPOLLIN);
}

static int on_net(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct conn *c = userdata;

	switch (c->state) {
	case CONN_HELLO:
		/* Half a hello and a goodbye would be readable for ever, whatever SO_RCVLOWAT says. */
		if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
			conn_close(c, true);
		else
			on_hello(c);
		break;
	case CONN_QUEUED:	/* only errors, and that it left: a place in the queue is for who still waits */
		conn_close(c, true);
		break;
	case CONN_HANDSHAKE:
		do_handshake(c);
		break;
	case CONN_OPEN:
	case CONN_LINGER:
		if (c->is_plain_door && !c->out_eof) {
			plain_read(c, events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP));
			break;
		}
		if (events & EPOLLERR || (events & EPOLLHUP && (c->net_eof || bytes_left(&c->in)))) {
			/* Both directions are gone, and nobody reads: leaving it open would spin. */
			conn_close(c, true);
			break;
		}
		conn_pump(c);
		break;
	case CONN_DEAD:
		break;
	}
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct conn *c = userdata;
	bool was_handshake = c->state == CONN_HANDSHAKE;
	struct mgmt *m = c->m;

	if (c->state == CONN_OPEN && c->req != NULL && c->phase == PHASE_BODY) {
		reply_problem(c->req, "request-timeout", NULL, "the request did not arrive in time", NULL);
		reply_raw(c->req);
		return 0;
	}
	/* It has said more since; that did not set the timer each time. */
	if (c->state == CONN_LINGER && deadline(c) > usec) {
		conn_arm(c);
		return 0;
	}
	conn_close(c, c->state != CONN_OPEN || c->phase != PHASE_IDLE);
	if (was_handshake)
		tls_queue_run(m);
	return 0;
}

int conn_new(struct mgmt *m, int fd, const struct source *source, uint32_t uid, bool is_tls, const char *local_ip,
	     struct conn **ret_conn)
{
	struct conn *c = calloc(1, sizeof(*c));
	int on = 1, lost_ms = (int)(STALLED_US / 1000), r;

	if (c == NULL) {
		close(fd);
		return -ENOMEM;
	}
	*c = (struct conn){ .m = m, .source = *source, .uid = uid, .is_tls = is_tls, .is_unix = uid != BUS_NO_UID, .net_fd = fd,
			    .relay_fd = -1, .mhd_fd = -1, .state = is_tls ? CONN_HELLO : CONN_OPEN, .accepted_us = mgmt_now_us(m) };
	c->state_us = c->phase_us = c->accepted_us;
	snprintf(c->local_ip, sizeof(c->local_ip), "%s", local_ip);
	if (!c->is_unix) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		/* A peer that vanished does not say so: give up on bytes nobody acknowledges. */
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &lost_ms, sizeof(lost_ms));
	}
	r = sd_event_add_io(m->event, &c->net_io, fd, is_tls ? EPOLLIN | EPOLLRDHUP : EPOLLIN, on_net, c);
	if (r >= 0)
		r = sd_event_add_time(m->event, &c->timer, CLOCK_MONOTONIC, deadline(c), 50000, on_deadline, c);
	if (r < 0) {
		sd_event_source_disable_unref(c->net_io);
		close(fd);
		free(c);
		return r;
	}
	c->is_from_known = !c->is_unix && limit_source_is_known(m->limits, source, c->accepted_us);
	m->n_waiting += conn_is_waiting(c);
	conn_prefer(c);
	c->next = m->conns;
	if (m->conns != NULL)
		m->conns->prev = c;
	m->conns = c;
	if (c->is_unix)
		m->n_unix++;
	else
		m->n_network++;
	if (m->n_network + m->n_unix > m->n_peak)
		m->n_peak = m->n_network + m->n_unix;
	mgmt_idle_update(m);
	if (ret_conn != NULL)
		*ret_conn = c;
	return 0;
}
