/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "net/probe.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/thread.h"

#define TCP_TIMEOUT_MS 10000
#define STACK_SIZE (256 * KIB)	/* for the C library's resolver */

DEFINE_CLEANUP(struct addrinfo *, freeaddrinfo)

struct probe {
	atomic_uint n_refs;	/* the thread's and the owner's */
	atomic_int result;
	char *host;
	char port[8];
};

struct probe *probe_drop(struct probe *probe)
{
	if (probe == NULL || atomic_fetch_sub(&probe->n_refs, 1) != 1)
		return NULL;
	free(probe->host);
	free(probe);
	return NULL;
}

enum probe_result probe_get(const struct probe *probe)
{
	return (enum probe_result)atomic_load(&probe->result);
}

static bool answers(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), errnum = 0;
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t size = sizeof(errnum);
	bool is_up = false;

	if (fd < 0)
		return false;
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
		is_up = true;
	else if (errno == EINPROGRESS && poll(&p, 1, TCP_TIMEOUT_MS) == 1)
		is_up = getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &size) == 0 && errnum == 0;
	close(fd);
	return is_up;
}

static void *look(void *userdata)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	_cleanup_(freeaddrinfop) struct addrinfo *list = NULL;
	struct probe *probe = userdata;
	bool is_good = false;

	if (getaddrinfo(probe->host, probe->port, &hints, &list) == 0)
		for (struct addrinfo *a = list; a != NULL && !is_good; a = a->ai_next)
			is_good = answers(a);
	atomic_store(&probe->result, is_good ? PROBE_GOOD : PROBE_BAD);
	probe_drop(probe);
	return NULL;
}

struct probe *probe_start(const char *host, uint16_t port)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (probe == NULL || (probe->host = strdup(host)) == NULL) {
		free(probe);
		return NULL;
	}
	snprintf(probe->port, sizeof(probe->port), "%u", port);
	atomic_init(&probe->n_refs, 2);
	atomic_init(&probe->result, PROBE_RUNNING);
	pthread_attr_init(&attr);
#if !defined(AGENT_SANITIZERS)
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
#endif
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = thread_start(&thread, &attr, look, probe);
	pthread_attr_destroy(&attr);
	if (r != 0) {
		probe_drop(probe);
		return probe_drop(probe);
	}
	return probe;
}
