/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Installs one bundle through the real agentd-install, sandbox and all, in the place of core: hands it the socket, asks once, waits for the
 * answer and for its end. Prints the seconds from the start of the process to the answer, and its peak RSS as wait4() and
 * /usr/bin/time report it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "agentd/common/operations.h"

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	(void)unlink(path);
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 2) == 0 ? fd : -1;
}

/* As a service manager does it. */
static pid_t start(const char *program, const char *config, int listen_fd)
{
	pid_t pid = fork();
	char text[16];

	if (pid != 0)
		return pid;
	if (listen_fd == 3)
		(void)fcntl(3, F_SETFD, 0);
	else
		(void)dup2(listen_fd, 3);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_FDNAMES", "install", 1);
	execl(program, program, "--config", config, (char *)NULL);
	_exit(127);
}

static int install(const char *path, int bundle_fd)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *call = NULL;
	sd_bus *bus = NULL;
	char address[256];
	int r;

	snprintf(address, sizeof(address), "unix:path=%s", path);
	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_negotiate_fds(bus, 1);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = sd_bus_message_new_method_call(bus, &call, NULL, BUS_PATH, BUS_INSTALL, "Begin");
	if (r >= 0)
		r = sd_bus_message_append(call, "htttbsssst", bundle_fd, (uint64_t)0, (uint64_t)0, (uint64_t)time(NULL), 0, "", "", "", "", (uint64_t)0);
	if (r >= 0)
		r = sd_bus_call(bus, call, UINT64_C(3600) * 1000000, &error, NULL);
	if (r < 0)
		fprintf(stderr, "bench_agentd: %s\n", error.message == NULL ? strerror(-r) : error.message);
	sd_bus_error_free(&error);
	sd_bus_message_unref(call);
	sd_bus_flush_close_unref(bus);
	return r;
}

int main(int argc, char **argv)
{
	struct rusage usage = { 0 };
	double begun, took;
	int listen_fd, bundle_fd, r;
	pid_t pid;

	if (argc != 5) {
		fprintf(stderr, "usage: bench_agentd AGENTD-INSTALL CONFIG BUNDLE SOCKET\n");
		return 2;
	}
	bundle_fd = open(argv[3], O_RDONLY | O_CLOEXEC);
	listen_fd = listen_at(argv[4]);
	if (bundle_fd < 0 || listen_fd < 0) {
		perror("bench_agentd");
		return 1;
	}
	begun = seconds();
	pid = start(argv[1], argv[2], listen_fd);
	r = pid < 0 ? -1 : install(argv[4], bundle_fd);
	took = seconds() - begun;
	if (pid > 0) {
		(void)kill(pid, SIGTERM);
		(void)wait4(pid, NULL, 0, &usage);
	}
	(void)unlink(argv[4]);
	if (r < 0)
		return 1;
	printf("%.3f %ld\n", took, usage.ru_maxrss);
	return 0;
}
