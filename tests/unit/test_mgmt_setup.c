/* SPDX-License-Identifier: Apache-2.0 */
/* mgmt.setup_interface over loopback: who is let in before and after the password is set. */
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/mgmt.h"
#include "agentd/mgmt/setup.h"

struct place {
	struct settings settings;
	struct mgmt m;
	struct listener_fds fds;
	struct sockaddr_storage address;
	socklen_t size;
};

static void place_make(struct place *p, const char *interface, int family)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	const int yes = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), asked;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)); /* as those who hand over sockets do */
	memset(p, 0, sizeof(*p));
	p->settings.mgmt.setup_interface = (char *)(uintptr_t)interface;
	p->m.settings = &p->settings;
	assert_true(sd_event_new(&p->m.event) >= 0);
	if (fd < 0 || bind(fd, family == AF_INET ? (struct sockaddr *)&in : (struct sockaddr *)&in6, family == AF_INET ? sizeof(in) : sizeof(in6)) < 0)
		skip(); /* no IPv6 here */
	p->size = sizeof(p->address);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&p->address, &p->size), 0);
	/* A port that the kernel chose is lost when listening ends; one that was asked for is kept, as in real life. */
	asked = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(setsockopt(asked, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), 0);
	assert_int_equal(bind(asked, (struct sockaddr *)&p->address, p->size), 0);
	close(fd); /* not before: another test may be given the port */
	fd = asked;
	assert_int_equal(listen(fd, 8), 0);
	p->fds = (struct listener_fds){ .https_fds = { fd }, .n_https = 1 };
}

static void place_free(struct place *p)
{
	setup_free(&p->m);
	close(p->fds.https_fds[0]);
	sd_event_unref(p->m.event);
}

static int client(const struct place *p)
{
	int fd = socket(p->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	if (connect(fd, (const struct sockaddr *)&p->address, p->size) < 0)
		assert_int_equal(errno, EINPROGRESS);
	return fd;
}

static bool is_connected(int fd, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
	int error = -1;
	socklen_t size = sizeof(error);

	return poll(&poll_fd, 1, timeout_ms) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

static int accepted(const struct place *p)
{
	struct pollfd fds[] = { { .fd = p->fds.https_fds[0], .events = POLLIN }, { .fd = p->fds.n_setup > 0 ? p->fds.setup_fds[0] : -1, .events = POLLIN } };
	int fd;

	/* When both listen the kernel may choose either. */
	assert_true(poll(fds, 2, 20000) > 0);
	fd = accept4(fds[fds[1].revents & POLLIN ? 1 : 0].fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static bool is_turned_away(const struct place *p)
{
	int fd = client(p);
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t size = sizeof(error);

	assert_int_equal(poll(&poll_fd, 1, 20000), 1);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
	close(fd);
	return error == ECONNREFUSED;
}

static bool is_let_in(const struct place *p)
{
	int fd = client(p), other;
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	bool is_whole;
	char byte;

	if (!is_connected(fd, 20000))
		return false;
	other = accepted(p);
	/* An answer gets through. */
	is_whole = send(other, "x", 1, MSG_NOSIGNAL) == 1 && poll(&poll_fd, 1, 20000) == 1 && recv(fd, &byte, 1, 0) == 1;
	close(other);
	close(fd);
	return is_whole;
}

/* Nobody was given a socket on the interface: then there is no way in at all. */
static void try(int family)
{
	struct pollfd poll_fd = { .events = POLLIN };
	struct place p;
	char byte;

	place_make(&p, "nosuch0", family);
	poll_fd.fd = client(&p);
	assert_true(is_connected(poll_fd.fd, 20000));
	assert_int_equal(setup_new(&p.m, &p.fds, NULL), 0);
	assert_int_equal(setup_close(&p.m, NULL), 0);
	/* Who was in the queue of the kernel is out. */
	assert_int_equal(poll(&poll_fd, 1, 20000), 1);
	assert_true(recv(poll_fd.fd, &byte, 1, 0) <= 0);
	close(poll_fd.fd);
	assert_true(setup_is_waiting(&p.m));
	assert_true(is_turned_away(&p));
	/* The next one of us, after one that was killed. */
	free(p.m.setup_door);
	assert_int_equal(setup_new(&p.m, &p.fds, NULL), 0);
	assert_int_equal(setup_close(&p.m, NULL), 0);
	assert_true(is_turned_away(&p));
	/* The TPM is not there yet, or old files were put back: that opens nothing. */
	setup_told(&p.m, "unavailable");
	setup_told(&p.m, "recovery");
	setup_told(&p.m, "factory");
	assert_true(setup_is_waiting(&p.m));
	assert_true(is_turned_away(&p));
	setup_told(&p.m, "active");
	assert_false(setup_is_waiting(&p.m));
	assert_true(is_let_in(&p));
	/* A TPM that is away closes nothing. A factory reset does. */
	setup_told(&p.m, "unavailable");
	assert_true(is_let_in(&p));
	setup_told(&p.m, "factory");
	assert_true(setup_is_waiting(&p.m));
	assert_true(is_turned_away(&p));
	setup_told(&p.m, "active");
	assert_true(is_let_in(&p));
	setup_told(&p.m, "recovery");
	assert_true(is_turned_away(&p));
	/* Handed back as it was taken. */
	setup_free(&p.m);
	assert_true(is_let_in(&p));
	place_free(&p);
}

static void only_the_password_opens_the_others(void **state)
{
	try(AF_INET);
}

static void only_the_password_opens_the_others_over_ipv6(void **state)
{
	try(AF_INET6);
}

/* Both on one port, as they are handed over. */
static void the_socket_on_the_interface_stays_open(void **state)
{
	const int yes = 1;
	struct place p;
	int fd;

	place_make(&p, "lo", AF_INET);
	close(p.fds.https_fds[0]);
	for (int i = 0; i < 2; i++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), 0);
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)), 0);
		if (i == 1 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2) < 0)
			skip(); /* before Linux 5.7 only with CAP_NET_RAW */
		assert_int_equal(bind(fd, (struct sockaddr *)&p.address, p.size), 0);
		assert_int_equal(listen(fd, 8), 0);
		if (i == 0)
			p.fds.https_fds[0] = fd;
		else
			p.fds.setup_fds[p.fds.n_setup++] = fd;
	}
	assert_int_equal(setup_new(&p.m, &p.fds, NULL), 0);
	assert_int_equal(setup_close(&p.m, NULL), 0);
	assert_true(is_let_in(&p));
	setup_told(&p.m, "active");
	assert_true(is_let_in(&p));
	setup_told(&p.m, "factory");
	assert_true(is_let_in(&p));
	close(p.fds.setup_fds[0]);
	p.fds.n_setup = 0;
	assert_true(is_turned_away(&p));
	place_free(&p);
}

static void a_socket_on_another_interface_is_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct place p;

	place_make(&p, "nosuch0", AF_INET);
	p.fds.setup_fds[p.fds.n_setup++] = p.fds.https_fds[0];
	assert_int_equal(setup_new(&p.m, &p.fds, &err), -EINVAL);
	assert_string_equal(agent_error_name(err), "mgmt.setup");
	place_free(&p);
}

static void without_the_setting_all_are_let_in(void **state)
{
	struct place p;

	place_make(&p, "", AF_INET);
	assert_int_equal(setup_new(&p.m, &p.fds, NULL), 0);
	assert_int_equal(setup_close(&p.m, NULL), 0);
	assert_false(setup_is_waiting(&p.m));
	assert_true(is_let_in(&p));
	setup_told(&p.m, "factory");
	assert_false(setup_is_waiting(&p.m));
	assert_true(is_let_in(&p));
	assert_string_equal(p.m.setup, "factory");
	place_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_password_opens_the_others),
		cmocka_unit_test(only_the_password_opens_the_others_over_ipv6),
		cmocka_unit_test(the_socket_on_the_interface_stays_open),
		cmocka_unit_test(a_socket_on_another_interface_is_refused),
		cmocka_unit_test(without_the_setting_all_are_let_in),
	};

	return cmocka_run_group_tests_name("mgmt_setup", tests, NULL, NULL);
}
