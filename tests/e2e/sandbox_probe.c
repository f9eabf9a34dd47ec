/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enters the sandbox of a program and then tries what that program must not do: sandbox_probe CONFIG PROGRAM ACTION...
 * Actions: read:PATH write:PATH connect:PATH ubi:PATH (empties the UBI volume) inet exec. Each prints "ACTION ok" or "ACTION ERRNO"; a call that the
 * sandbox kills for is tried in a child and prints "ACTION killed".
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(HAVE_UBI)
#include <mtd/ubi-user.h>
#include <sys/ioctl.h>
#endif
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agentd/common/sandbox.h"
#include "agentd/common/settings.h"
#include "base/macro.h"

static int connect_unix(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(addr.sun_path))
		return -1;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr));
}

static int attempt(const char *action)
{
	if (strncmp(action, "read:", 5) == 0)
		return open(action + 5, O_RDONLY | O_CLOEXEC);
	if (strncmp(action, "write:", 6) == 0)
		return open(action + 6, O_WRONLY | O_CLOEXEC);
	if (strncmp(action, "connect:", 8) == 0)
		return connect_unix(action + 8);
#if defined(HAVE_UBI)
	if (strncmp(action, "ubi:", 4) == 0) {
		const int64_t nothing = 0;
		int fd = open(action + 4, O_RDWR | O_CLOEXEC);

		return fd < 0 ? -1 : ioctl(fd, UBI_IOCVOLUP, &nothing);
	}
#endif
	if (strcmp(action, "inet") == 0)
		return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strcmp(action, "exec") == 0)
		return execl("/bin/true", "true", (char *)NULL);
	errno = ENOSYS;
	return -1;
}

static enum sandbox_program program_of(const char *name)
{
	static const char *const names[] = { "core", "mgmt", "link", "fetch", "install" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return (enum sandbox_program)(SANDBOX_CORE + i);
	fprintf(stderr, "no program %s\n", name);
	exit(2);
}

/* The sandbox ends a process, so every action gets one of its own; the parent stays outside and reports. */
static void try_in_child(const char *program, const struct settings *settings, const char *action)
{
	_cleanup_error_ struct agent_error *err = NULL;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if ((strcmp(program, "install") == 0 ? sandbox_enter_install(settings, &err) :
						       sandbox_enter(program_of(program), settings, NULL, 0, &err)) < 0) {
			fprintf(stderr, "sandbox: %s\n", agent_error_message(err));
			_exit(125);
		}
		errno = 0;
		_exit(attempt(action) >= 0 ? 0 : errno);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0) {
		perror("fork");
		exit(1);
	}
	if (WIFSIGNALED(status))
		printf("%s killed\n", action);
	else if (WEXITSTATUS(status) == 125)
		exit(1);
	else if (WEXITSTATUS(status) == 0)
		printf("%s ok\n", action);
	else
		printf("%s %s\n", action, strerror(WEXITSTATUS(status)));
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct settings *settings = NULL;

	if (argc < 4)
		return 2;
	if (settings_load(argv[1], &settings, &err) < 0) {
		fprintf(stderr, "%s\n", agent_error_message(err));
		return 1;
	}
	for (int i = 3; i < argc; i++)
		try_in_child(argv[2], settings, argv[i]);
	settings_free(settings);
	return 0;
}
