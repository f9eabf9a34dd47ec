/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mgmt.setup_interface: until the owner has set a password, the network reaches us through one interface only.
 *
 * There are two sets of listening sockets, made by whoever may: one bound to the interface (SO_BINDTODEVICE), one bound to none.
 * We have no capability, so we can neither bind nor unbind a socket; what needs none is to stop listening on the second set
 * (shutdown) and to listen again. While it does not listen the kernel answers a SYN there with a reset, as for any closed port.
 */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>

#include "agentd/common/service.h"
#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/mgmt.h"
#include "agentd/mgmt/setup.h"

#define FDS_MAX (3 * LISTEN_MAX)
#define BACKLOG 1024 /* as in the socket units */

struct setup {
	int fds[FDS_MAX];	/* bound to no interface; the listener owns them */
	size_t n_fds;
	bool is_open;
};

static void open_all(struct setup *s)
{
	for (size_t i = 0; i < s->n_fds; i++)
		if (listen(s->fds[i], BACKLOG) < 0)
			service_log(LOG_ERR, "cannot listen on every interface: %s", strerror(errno));
	s->is_open = true;
}

/* Who is in the queue of the kernel is turned away with it. */
static int close_others(struct setup *s)
{
	for (size_t i = 0; i < s->n_fds; i++) {
		int is_listening = 0;
		socklen_t size = sizeof(is_listening);

		/* Not twice: connections of a later listen() would inherit the second one. One of us that was killed left it so. */
		if (getsockopt(s->fds[i], SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) < 0 ||
		    (is_listening && shutdown(s->fds[i], SHUT_RDWR) < 0))
			return -errno;
	}
	s->is_open = false;
	return 0;
}

void setup_told(struct mgmt *m, const char *state)
{
	struct setup *s = m->setup_door;

	snprintf(m->setup, sizeof(m->setup), "%s", state);
	/* A TPM that is away says nothing about the owner. */
	if (s == NULL || strcmp(state, "unavailable") == 0 || s->is_open == (strcmp(state, "active") == 0))
		return;
	if (!s->is_open) {
		open_all(s);
		service_log(LOG_INFO, "the password is set: every interface is open");
		listener_enable_https(m);
		mgmt_idle_update(m);
		return;
	}
	s->is_open = false;
	listener_enable_https(m); /* before: a socket that does not listen is reported for ever */
	service_log(LOG_INFO, "the password has to be set: the network reaches us through %s only", m->settings->mgmt.setup_interface);
	if (close_others(s) < 0) {
		service_log(LOG_ERR, "cannot close the other interfaces; starting anew");
		(void)sd_event_exit(m->event, -EIO);
	}
}

void setup_hang_up(struct mgmt *m)
{
	for (struct conn *c = m->conns, *next; c != NULL; c = next) {
		next = c->next;
		if (!c->is_unix)
			conn_close(c, true);
	}
}

bool setup_is_waiting(const struct mgmt *m)
{
	return m->setup_door != NULL && !m->setup_door->is_open;
}

int setup_fd_check(int fd, const char *interface, struct agent_error **err)
{
	char name[IFNAMSIZ] = "";
	socklen_t size = sizeof(name);

	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size) < 0)
		return agent_error_set(err, -errno, "mgmt.setup", "cannot ask a socket for its interface: %s", strerror(errno));
	if (interface[0] == '\0' || strncmp(name, interface, sizeof(name)) != 0)
		return agent_error_set(err, -EINVAL, "mgmt.setup",
				       "the socket for the setup is bound to \"%.*s\" and mgmt.setup_interface is \"%s\"; set both to the same interface "
				       "(BindToDevice= in the socket unit)", (int)sizeof(name), name, interface);
	return 0;
}

static void take(struct setup *s, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		s->fds[s->n_fds++] = fds[i];
}

int setup_new(struct mgmt *m, const struct listener_fds *fds, struct agent_error **err)
{
	const char *interface = m->settings->mgmt.setup_interface;
	struct setup *s;
	int r = 0;

	for (size_t i = 0; i < fds->n_setup && r >= 0; i++)
		r = setup_fd_check(fds->setup_fds[i], interface, err);
	for (size_t i = 0; i < fds->n_setup_plain && r >= 0; i++)
		r = setup_fd_check(fds->setup_plain_fds[i], interface, err);
	if (r < 0 || interface[0] == '\0')
		return r;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return agent_error_set(err, -ENOMEM, "mgmt.start", "out of memory");
	m->setup_door = s;
	take(s, fds->https_fds, fds->n_https);
	take(s, fds->client_fds, fds->n_client);
	take(s, fds->plain_fds, fds->n_plain);
	if (fds->n_setup == 0 && s->n_fds > 0)
		service_log(LOG_WARNING, "there was no socket on %s (mgmt.setup_interface): before the password is set the network cannot reach us", interface);
	return 0;
}

int setup_close(struct mgmt *m, struct agent_error **err)
{
	int r;

	if (m->setup_door == NULL)
		return 0;
	/* Until systemd has read that we run it listens, too, and gives up a socket that stops: nobody would start us by that door any more. */
	service_ready();
	r = close_others(m->setup_door);
	return r < 0 ? agent_error_set(err, r, "mgmt.setup", "cannot keep the network to %s: %s", m->settings->mgmt.setup_interface, strerror(-r)) : 0;
}

void setup_free(struct mgmt *m)
{
	/* systemd gives up a socket that does not listen when it gets it back. Nobody accepts from it until the next start. */
	if (setup_is_waiting(m))
		open_all(m->setup_door);
	free(m->setup_door);
	m->setup_door = NULL;
}
