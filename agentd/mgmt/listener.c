/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <syslog.h>

#include "agentd/common/operations.h"
#include "agentd/common/service.h"
#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/plain.h"
#include "agentd/mgmt/setup.h"
#include "base/macro.h"

#define UNIX_MAX 16		/* connections on the Unix socket in all, beside those of the network */
#define UNIX_PER_UID 8
#define WAITING_MAX 400		/* have sent no ClientHello, or wait for a handshake: a socket each and no TLS */
#define WAITING_PER_SOURCE 2
#define ACCEPTS_PER_TURN 16
#define PAUSE_US 100000		/* after EMFILE and its kin */

struct listener {
	struct mgmt *m;
	sd_event_source *unix_io[LISTEN_MAX], *https_io[3 * LISTEN_MAX], *plain_io[2 * LISTEN_MAX], *resume_timer;
	size_t n_unix, n_https, n_plain;	/* n_https: all doors with TLS */
	size_t n_https_setup, n_plain_setup;	/* the first of those: bound to mgmt.setup_interface, open before the password is set */
};

enum door { DOOR_UNIX, DOOR_HTTPS, DOOR_CLIENT, DOOR_PLAIN };

static void reset(int fd)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

struct count {
	size_t all, waiting, plain;
};

static struct count count_source(const struct mgmt *m, const struct source *source)
{
	struct count n = { 0 };

	for (const struct conn *c = m->conns; c != NULL; c = c->next) {
		if (c->state == CONN_DEAD || memcmp(c->source.key, source->key, sizeof(source->key)) != 0)
			continue;
		n.all++;
		n.waiting += conn_is_waiting(c);
		n.plain += c->is_plain_door;
	}
	return n;
}

/* May one more of this source come in? Places with TLS are given out later, in tls_queue_run(). */
static bool admit(struct mgmt *m, const struct source *source, enum door door)
{
	bool is_unix = door == DOOR_UNIX;
	size_t per_source = is_unix ? UNIX_PER_UID : (size_t)m->settings->mgmt.max_per_source;
	struct count n;

	/* agentctl makes a connection per call: a local user is held by places, not by this rate. */
	if (!is_unix && limit_take(m->limits, LIMIT_CONNECT, source->key, sizeof(source->key), mgmt_now_us(m)) > 0)
		return false;
	n = count_source(m, source);
	if (n.all >= per_source)
		return false;
	if (is_unix)
		return m->n_unix < UNIX_MAX || conn_evict(m, true);
	if (door == DOOR_PLAIN)
		return plain_has_place(m, n.plain);
	/* A browser opens several at once. */
	if (n.waiting >= WAITING_PER_SOURCE && !limit_source_is_known(m->limits, source, mgmt_now_us(m)) && m->n_waiting >= WAITING_MAX / 4)
		return false;
	return m->n_waiting < WAITING_MAX || tls_queue_make_room(m, source);
}

static void address_text(const struct sockaddr_storage *address, char *ret_text, size_t size)
{
	const struct sockaddr_in6 *in6 = (const void *)address;

	ret_text[0] = '\0';
	if (address->ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, ret_text, (socklen_t)size);
	else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], ret_text, (socklen_t)size);
	else if (address->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &in6->sin6_addr, ret_text, (socklen_t)size);
}

static int on_resume(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct listener *l = userdata;

	for (size_t i = 0; i < l->n_unix; i++)
		sd_event_source_set_enabled(l->unix_io[i], SD_EVENT_ON);
	listener_enable_https(l->m);
	return 0;
}

static bool is_paused(const struct listener *l)
{
	int state = SD_EVENT_OFF;

	return l->resume_timer != NULL && sd_event_source_get_enabled(l->resume_timer, &state) >= 0 && state != SD_EVENT_OFF;
}

/* Out of descriptors or memory: the backlog stays readable, so stop looking at it for a moment instead of spinning. */
static void pause_accepting(struct listener *l, int r)
{
	uint64_t at = mgmt_now_us(l->m) + PAUSE_US;

	service_log(LOG_WARNING, "accept: %s; no new connections for %d ms", strerror(-r), PAUSE_US / 1000);
	if (l->resume_timer == NULL) {
		if (sd_event_add_time(l->m->event, &l->resume_timer, CLOCK_MONOTONIC, at, 0, on_resume, l) < 0)
			return;
	} else {
		sd_event_source_set_time(l->resume_timer, at);
		sd_event_source_set_enabled(l->resume_timer, SD_EVENT_ONESHOT);
	}
	for (size_t i = 0; i < l->n_unix; i++)
		sd_event_source_set_enabled(l->unix_io[i], SD_EVENT_OFF);
	for (size_t i = 0; i < l->n_https; i++)
		sd_event_source_set_enabled(l->https_io[i], SD_EVENT_OFF);
	for (size_t i = 0; i < l->n_plain; i++)
		sd_event_source_set_enabled(l->plain_io[i], SD_EVENT_OFF);
}

/* True when nobody is left in the queue. */
static bool accept_some(struct listener *l, int listen_fd, enum door door)
{
	bool is_unix = door == DOOR_UNIX;
	struct mgmt *m = l->m;

	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct sockaddr_storage peer = { 0 }, local = { 0 };
		socklen_t peer_size = sizeof(peer), local_size = sizeof(local);
		char local_ip[48] = "";
		uint32_t uid = BUS_NO_UID;
		struct source source;
		struct conn *c;
		int fd = accept4(listen_fd, (struct sockaddr *)&peer, &peer_size, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			int r = -errno;

			if (r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS)
				pause_accepting(l, r);
			else if (r == -EINTR || r == -ECONNABORTED || r == -EPROTO)
				continue;
			return true;
		}
		if (is_unix) {
			struct ucred cred;
			socklen_t size = sizeof(cred);

			if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0) {
				close(fd);
				continue;
			}
			uid = cred.uid;
			source_from_uid(uid, &source);
		} else {
			source_from_address((struct sockaddr *)&peer, &source);
		}
		if (!admit(m, &source, door)) {
			mgmt_count_refused(m);
			reset(fd);
			continue;
		}
		if (!is_unix) {
			if (getsockname(fd, (struct sockaddr *)&local, &local_size) == 0)
				address_text(&local, local_ip, sizeof(local_ip));
			tls_learn_address(m, local_ip);
		}
		if (conn_new(m, fd, &source, uid, door == DOOR_HTTPS || door == DOOR_CLIENT, local_ip, &c) < 0)
			continue;
		c->is_client_door = door == DOOR_CLIENT;
		if (door == DOOR_PLAIN)
			plain_begin(c);
	}
	return false;
}

static int on_unix(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)accept_some(userdata, fd, DOOR_UNIX);
	return 0;
}

/* The owner should not stand in line behind the work for strangers; a flood of connections should not starve that work. */
static int accept_network(sd_event_source *source, int fd, struct listener *l, enum door door)
{
	bool is_drained = accept_some(l, fd, door);

	return sd_event_source_set_priority(source, is_drained ? SD_EVENT_PRIORITY_IMPORTANT : SD_EVENT_PRIORITY_NORMAL);
}

static int on_https(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	return accept_network(source, fd, userdata, DOOR_HTTPS);
}

static int on_client_door(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	return accept_network(source, fd, userdata, DOOR_CLIENT);
}

/* Behind everything else: nobody's work depends on it. */
static int on_plain(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)accept_some(userdata, fd, DOOR_PLAIN);
	return 0;
}

void listener_enable_https(struct mgmt *m)
{
	struct listener *l = m->listener;

	if (l == NULL || is_paused(l))
		return;
	for (size_t i = 0; i < l->n_https; i++)
		sd_event_source_set_enabled(l->https_io[i], tls_is_ready(m) && (i < l->n_https_setup || !setup_is_waiting(m)) ? SD_EVENT_ON : SD_EVENT_OFF);
	for (size_t i = 0; i < l->n_plain; i++)
		sd_event_source_set_enabled(l->plain_io[i], i < l->n_plain_setup || !setup_is_waiting(m) ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int add(struct listener *l, int fd, sd_event_io_handler_t handler, sd_event_source **ret_io)
{
	int flags = fcntl(fd, F_GETFL), r;

	/* An inherited socket may block, and then a client that vanished before accept() hangs the whole program. */
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	r = sd_event_add_io(l->m->event, ret_io, fd, EPOLLIN, handler, l);
	/* One that does not listen yet would be reported at once. */
	return r < 0 || handler == on_unix ? r : sd_event_source_set_enabled(*ret_io, SD_EVENT_OFF);
}

/* The page of the door without TLS leads there. */
static uint16_t port_of(int fd)
{
	struct sockaddr_storage address = { 0 };
	socklen_t size = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		return 0;
	return ntohs(address.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)(const void *)&address)->sin6_port :
						     ((const struct sockaddr_in *)(const void *)&address)->sin_port);
}

int listener_new(struct mgmt *m, const struct listener_fds *fds, struct agent_error **err)
{
	struct listener *l = calloc(1, sizeof(*l));
	int r = 0;

	if (l == NULL)
		return agent_error_set(err, -ENOMEM, "mgmt.start", "out of memory");
	l->m = m;
	m->listener = l;
	for (; r >= 0 && l->n_unix < fds->n_unix; l->n_unix++)
		r = add(l, fds->unix_fds[l->n_unix], on_unix, &l->unix_io[l->n_unix]);
	for (size_t i = 0; r >= 0 && i < fds->n_setup; i++, l->n_https++, l->n_https_setup++)
		r = add(l, fds->setup_fds[i], on_https, &l->https_io[l->n_https]);
	for (size_t i = 0; r >= 0 && i < fds->n_https; i++, l->n_https++)
		r = add(l, fds->https_fds[i], on_https, &l->https_io[l->n_https]);
	for (size_t i = 0; r >= 0 && i < fds->n_client; i++, l->n_https++)
		r = add(l, fds->client_fds[i], on_client_door, &l->https_io[l->n_https]);
	for (size_t i = 0; r >= 0 && i < fds->n_setup_plain; i++, l->n_plain++, l->n_plain_setup++)
		r = add(l, fds->setup_plain_fds[i], on_plain, &l->plain_io[l->n_plain]);
	for (size_t i = 0; r >= 0 && i < fds->n_plain; i++, l->n_plain++)
		r = add(l, fds->plain_fds[i], on_plain, &l->plain_io[l->n_plain]);
	if (fds->n_https > 0)
		m->https_port = port_of(fds->https_fds[0]);
	if (fds->n_setup_plain + fds->n_plain > 0)
		m->plain_port = port_of(fds->n_plain > 0 ? fds->plain_fds[0] : fds->setup_plain_fds[0]);
	if (r < 0)
		return agent_error_set(err, r, "mgmt.start", "cannot watch a listening socket: %s", strerror(-r));
	listener_enable_https(m);
	return 0;
}

void listener_free(struct mgmt *m)
{
	struct listener *l = m->listener;

	if (l == NULL)
		return;
	for (size_t i = 0; i < l->n_unix; i++)
		sd_event_source_disable_unref(l->unix_io[i]);
	for (size_t i = 0; i < l->n_https; i++)
		sd_event_source_disable_unref(l->https_io[i]);
	for (size_t i = 0; i < l->n_plain; i++)
		sd_event_source_disable_unref(l->plain_io[i]);
	sd_event_source_disable_unref(l->resume_timer);
	free(l);
	m->listener = NULL;
}
