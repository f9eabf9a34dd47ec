/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/ctl/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agentd/common/paths.h"
#include "agentd/common/service.h"
#include "base/file.h"
#include "base/macro.h"

#define AGENTD AGENT_SBINDIR "/agentd"
#define ARGS_MAX 8
#define SECOND_INPUT 3

/* What agentd's own exit codes mean to our caller. */
static int code_of(int status)
{
	if (!WIFEXITED(status))
		return CTL_FAILED;
	switch (WEXITSTATUS(status)) {
	case 0:
		return CTL_OK;
	case EXIT_CODE_CONFIG:
		return CTL_USAGE;
	case EXIT_CODE_NOPERM:
		return CTL_REFUSED;
	case EXIT_CODE_TEMPFAIL:
		fputs("agentctl: this is done while the agent does not run: stop it first (systemctl stop 'agentd*')\n", stderr);
		return CTL_BUSY;
	case EXIT_CODE_UNAVAILABLE:
		return CTL_UNREACHABLE;
	default:
		return CTL_FAILED;
	}
}

int bench_begin(const struct ctl *ctl, struct settings **ret_settings)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct settings *settings = NULL;
	struct stat st;

	if (settings_load(ctl->config, &settings, &err) < 0) {
		fprintf(stderr, "agentctl: %s\n", agent_error_message(err));
		return CTL_USAGE;
	}
	if (stat(settings->paths.state_dir, &st) < 0) {
		fprintf(stderr, "agentctl: %s: %s; make it first, it belongs to the user of agentd (systemd-tmpfiles --create)\n", settings->paths.state_dir,
			strerror(errno));
		settings_free(settings);
		return CTL_FAILED;
	}
	if (geteuid() != 0 && geteuid() != st.st_uid) {
		fputs("agentctl: only root at the device may do this\n", stderr);
		settings_free(settings);
		return CTL_REFUSED;
	}
	*ret_settings = settings;
	return CTL_OK;
}

/* dup2() onto itself would leave it closed on exec. */
static bool put_at(int fd, int to)
{
	return (fd == to ? fcntl(to, F_SETFD, 0) : dup2(fd, to)) >= 0;
}

/* Between fork and exec; the child has one thread. */
_Noreturn static void become_agentd(const struct stat *owner, char *const *argv, const int inputs[2], int output_fd)
{
	const struct passwd *user = NULL;
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (!put_at(inputs[0], STDIN_FILENO) || !put_at(output_fd, STDOUT_FILENO) || (inputs[1] >= 0 && !put_at(inputs[1], SECOND_INPUT)))
		_exit(EXIT_CODE_OS);
	if (geteuid() == 0 && owner->st_uid != 0) {
		user = getpwuid(owner->st_uid);
		if (user != NULL ? initgroups(user->pw_name, user->pw_gid) < 0 : setgroups(0, NULL) < 0)
			_exit(EXIT_CODE_NOPERM);
		if (setgid(user != NULL ? user->pw_gid : owner->st_gid) < 0 || setuid(owner->st_uid) < 0)
			_exit(EXIT_CODE_NOPERM);
	}
	execv(AGENTD, argv);
	fprintf(stderr, "agentctl: cannot start " AGENTD ": %s\n", strerror(errno));
	_exit(EXIT_CODE_UNAVAILABLE);
}

int bench_run(const struct ctl *ctl, const struct settings *settings, const char *const *args, const int inputs[2], char *output, size_t output_size)
{
	_cleanup_close_ int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC), from = -1, to = -1;
	const char *argv[ARGS_MAX] = { AGENTD };
	int fds[2], status, n = 1;
	struct stat owner;
	ssize_t size;
	pid_t pid;

	if (ctl->config != NULL) {
		argv[n++] = "--config";
		argv[n++] = ctl->config;
	}
	for (; *args != NULL && n < ARGS_MAX - 1; args++)
		argv[n++] = *args;
	if (null_fd < 0 || stat(settings->paths.state_dir, &owner) < 0 || pipe2(fds, O_CLOEXEC) < 0) {
		fprintf(stderr, "agentctl: cannot start " AGENTD ": %s\n", strerror(errno));
		return CTL_FAILED;
	}
	from = fds[0];
	to = fds[1];
	pid = fork();
	if (pid < 0) {
		fprintf(stderr, "agentctl: cannot start " AGENTD ": %s\n", strerror(errno));
		return CTL_FAILED;
	}
	if (pid == 0)
		become_agentd(&owner, (char *const *)argv, (const int[]){ inputs[0] < 0 ? null_fd : inputs[0], inputs[1] }, to);
	close(TAKE_FD(to));
	size = read_full(from, output, output_size - 1);
	output[size > 0 ? size : 0] = '\0';
	/* More than that would be no answer of ours; the pipe must not block agentd in the middle of its work. */
	for (char more[256]; size > 0 && read_full(from, more, sizeof(more)) > 0;)
		size = -1;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return CTL_FAILED;
	return size < 0 ? CTL_FAILED : code_of(status);
}

bool bench_get(const char *output, const char *name, char *ret_value, size_t size)
{
	size_t n = strlen(name);

	for (const char *line = output; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t n_line = strcspn(line, "\n");

		if (n_line < n + 2 || strncmp(line, name, n) != 0 || strncmp(line + n, ": ", 2) != 0)
			continue;
		n_line -= n + 2;
		if (n_line >= size)
			return false;
		memcpy(ret_value, line + n + 2, n_line);
		ret_value[n_line] = '\0';
		return true;
	}
	return false;
}
