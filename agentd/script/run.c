/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/script/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "agentd/common/sandbox.h"
#include "agentd/common/service.h"
#include "agentd/script/folder.h"
#include "agentd/script/output.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define SCRIPT_FD 3
#define TICK_MS 100
#define PROCESSES_MAX 32
#define MEMORY_MAX ((rlim_t)128 * 1024 * 1024) /* of each process */
#define FILE_MAX ((rlim_t)FOLDER_BYTES_MAX)
#define FILES_MAX 128

struct run {
	const struct settings *settings;
	const char *folder;
	const struct script_request *request;
	struct output output;
	pid_t pid;
	bool is_over;
	int status;
};

/* ---- in the child -------------------------------------------------------------------------------------------------- */

_Noreturn static void child_fails(const char *what)
{
	/* Into its output: the log and the answer have it from there. */
	dprintf(STDERR_FILENO, "cannot start the script: %s: %s\n", what, strerror(errno));
	_exit(126);
}

static void limits_set(const struct settings *settings)
{
	const struct {
		int what;
		rlim_t value;
	} limits[] = {
		{ RLIMIT_CPU, (rlim_t)settings->update.script_timeout_s }, { RLIMIT_FSIZE, FILE_MAX }, { RLIMIT_NOFILE, FILES_MAX },
		{ RLIMIT_CORE, 0 }, { RLIMIT_MEMLOCK, 0 }, { RLIMIT_NPROC, PROCESSES_MAX }, { RLIMIT_AS, MEMORY_MAX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		const struct rlimit limit = { limits[i].value, limits[i].value };

		if (setrlimit(limits[i].what, &limit) < 0)
			child_fails("limits");
	}
}

_Noreturn static void child_run(const struct run *run, int script_fd, int output_fd, pid_t parent)
{
	const char *phase = run->request->phase == SCRIPT_AFTER ? "postinst" : "preinst";
	char *argv[] = { (char *)(uintptr_t)"/proc/self/fd/3", run->request->has_argument ? (char *)(uintptr_t)phase : NULL, NULL };
	char *sh[] = { (char *)(uintptr_t)"/bin/sh", argv[0], argv[1], NULL };
	char *environment[6] = { (char *)(uintptr_t)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)(uintptr_t)"LC_ALL=C", (char *)(uintptr_t)"HOME=/" };
	_cleanup_error_ struct agent_error *err = NULL;
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC), high_fd = fcntl(script_fd, F_DUPFD, 64);
	sigset_t none;

	if (null_fd < 0 || high_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(output_fd, STDOUT_FILENO) < 0 || dup2(output_fd, STDERR_FILENO) < 0 ||
	    dup2(high_fd, SCRIPT_FD) < 0 || syscall(SYS_close_range, SCRIPT_FD + 1u, ~0u, 0u) < 0)
		child_fails("descriptors");
	if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		child_fails("session");
	if (asprintf(&environment[3], "TMPDIR=%s", run->folder) < 0 || asprintf(&environment[4], "AGENT_PHASE=%s", phase) < 0)
		child_fails("memory");
	if (chdir(run->folder) < 0)
		child_fails(run->folder);
	(void)!nice(10);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (sandbox_enter_script(parent, &err) < 0) {
		dprintf(STDERR_FILENO, "cannot start the script: %s\n", agent_error_message(err));
		_exit(126);
	}
	limits_set(run->settings); /* last: with them nothing may be allocated any more */
	execve(argv[0], argv, environment);
	if (errno == ENOEXEC) /* without "#!": as system() would */
		execve(sh[0], sh, environment);
	child_fails("exec");
}

/* ---- the watch ------------------------------------------------------------------------------------------------------ */

void run_kill_all(void)
{
	/* The kernel signals all in one go: none of them forks in between. It does not say whether there was one. */
	(void)kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

/* Who lost his parent is ours: PR_SET_CHILD_SUBREAPER. */
static void reap(struct run *run)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == run->pid) {
			run->is_over = true;
			run->status = status;
		}
}

static void drain(struct run *run, int fd)
{
	char bytes[4096];
	ssize_t n;

	/* Not for ever: it may write faster than we read. */
	for (unsigned i = 0; i < 16 && (n = read(fd, bytes, sizeof(bytes))) > 0; i++)
		output_add(&run->output, bytes, (size_t)n);
}

/* Signals are for the event loop, which waits for us: who is killed for being late leaves the script's children behind. */
static bool is_told_to_stop(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/* Until it is over; or -ETIMEDOUT, -ENOSPC, -ECANCELED to stop, or -ECONNRESET when nobody waits for it any more. */
static int watch(struct run *run, int output_fd, int peer_fd)
{
	const uint64_t deadline = monotonic_ms() + (uint64_t)run->settings->update.script_timeout_s * 1000;
	uint64_t fed = 0;

	for (;;) {
		struct pollfd waits[2] = { { .fd = output_fd, .events = POLLIN }, { .fd = peer_fd, .events = POLLRDHUP } };
		uint64_t now = monotonic_ms();

		if (now - fed >= 1000) {
			(void)sd_notify(false, "WATCHDOG=1");
			fed = now;
		}
		reap(run);
		if (run->is_over)
			return 0;
		if (now >= deadline)
			return -ETIMEDOUT;
		if (is_told_to_stop())
			return -ECANCELED;
		if (folder_is_full(run->folder))
			return -ENOSPC;
		(void)poll(waits, 2, TICK_MS);
		if (waits[1].revents != 0)
			return -ECONNRESET;
		if (waits[0].revents & POLLIN)
			drain(run, output_fd);
		else if (waits[0].revents != 0)
			output_fd = -1; /* it closed its output, and may still do something; poll() passes over -1 */
	}
}

static void refuse(struct script_answer *ret, const char *what, int error)
{
	ret->end = SCRIPT_REFUSED;
	snprintf(ret->line, sizeof(ret->line), "%s: %s", what, strerror(error));
}

static void answer(const struct run *run, int r, struct script_answer *ret)
{
	if (r == 0 && WIFEXITED(run->status)) {
		ret->end = SCRIPT_EXITED;
		ret->value = WEXITSTATUS(run->status);
	} else if (r == 0) {
		ret->end = SCRIPT_SIGNALLED;
		ret->value = WTERMSIG(run->status);
	} else {
		ret->end = r == -ENOSPC ? SCRIPT_FULL : r == -ECANCELED ? SCRIPT_STOPPED : SCRIPT_TIMEOUT;
	}
	strcpy(ret->line, run->output.last);
}

void run_script(const struct settings *settings, const char *folder, const struct script_request *request, int script_fd, int peer_fd,
		struct script_answer *ret)
{
	struct run run = { .settings = settings, .folder = folder, .request = request, .output.name = request->name };
	_cleanup_close_ int read_fd = -1, write_fd = -1;
	pid_t self = getpid();
	int pipe_fds[2], r;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0) {
		refuse(ret, "no pipe", errno);
		return;
	}
	read_fd = pipe_fds[0];
	write_fd = pipe_fds[1];
	(void)fcntl(read_fd, F_SETFL, O_NONBLOCK);
	run.pid = fork();
	if (run.pid == 0)
		child_run(&run, script_fd, write_fd, self);
	if (run.pid < 0) {
		refuse(ret, "no process", errno);
		return;
	}
	close_fdp(&write_fd);
	r = watch(&run, read_fd, peer_fd);
	/* Also after a good end: nothing that it put into the background outlives it. */
	run_kill_all();
	drain(&run, read_fd);
	output_end(&run.output);
	folder_clear(folder);
	answer(&run, r, ret);
}
