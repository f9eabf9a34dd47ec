/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For 22-power-cut.sh: kills a process at the n-th of its system calls, before the call (entry) or after it (exit); both count.
 *
 *   kill_at PID N [--files] [--with PID2]
 *
 *   kill_at --start PID N [--files] [--with PID2]
 *
 * The second form is for the agent's start: PID is a stopped process that is going to be its supervisor, and what is watched is core, the
 * program that has the name "agentd" alone, from its first system call on. The supervisor is left alone.
 *
 * --files counts only calls that change a file or talk to somebody else (the TPM). --with: the software TPM, which dies first.
 * Says "ready" when all threads are watched and still, then "killed entry|exit NUMBER" or, when SIGTERM comes first (there are fewer
 * calls), "over COUNT". The process is dead in either case, and also if this one dies (PTRACE_O_EXITKILL).
 */
#include <dirent.h>
#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* glibc's <sys/ptrace.h> and <linux/ptrace.h> cannot both be included everywhere. */
static long trace(int request, pid_t tid, uintptr_t address, void *data)
{
	return syscall(SYS_ptrace, (long)request, (long)tid, address, data);
}

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)
#define OPTIONS_SUPERVISOR (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC)
#define STOP_SYSCALL (SIGTRAP | 0x80)

static const uint64_t of_files[] = {
#ifdef SYS_open
	SYS_open,
#endif
#ifdef SYS_rename
	SYS_rename,
#endif
#ifdef SYS_renameat
	SYS_renameat,
#endif
#ifdef SYS_unlink
	SYS_unlink,
#endif
	SYS_openat, SYS_renameat2, SYS_unlinkat, SYS_write, SYS_writev, SYS_pwrite64, SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_fchmod,
	SYS_connect, SYS_sendmsg, SYS_read,
};

static bool is_of_files(uint64_t number)
{
	for (size_t i = 0; i < sizeof(of_files) / sizeof(of_files[0]); i++)
		if (of_files[i] == number)
			return true;
	return false;
}

struct thread {
	pid_t tid;
	uint64_t call; /* the one it is in: not told at the exit */
};

struct hunt {
	pid_t supervisor;	/* 0: core runs already */
	pid_t pid, with;	/* pid: 0 until core is there */
	uint64_t at, n;
	bool only_files, is_armed;
	struct thread threads[64];
};

static struct thread *find_thread(struct hunt *h, pid_t tid)
{
	for (size_t i = 0; i < sizeof(h->threads) / sizeof(h->threads[0]); i++)
		if (h->threads[i].tid == tid || h->threads[i].tid == 0) {
			h->threads[i].tid = tid;
			return &h->threads[i];
		}
	abort();
}

/* Wait until nothing is left of it, so that whoever started it hears of its end before our own. */
static void bury(const struct hunt *h)
{
	int status;
	pid_t tid;

	if (h->with > 0)
		kill(h->with, SIGKILL);
	if (h->pid == 0)
		return;
	kill(h->pid, SIGKILL);
	while ((tid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
		if (tid == h->pid && !WIFSTOPPED(status))
			return;
		/* The supervisor and its other programs go on. */
		if (tid > 0 && WIFSTOPPED(status))
			trace(PTRACE_CONT, tid, 0, NULL);
	}
}

static void on_syscall(struct hunt *h, pid_t tid)
{
	struct ptrace_syscall_info info = { 0 };
	struct thread *thread = find_thread(h, tid);

	if (trace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) <= 0)
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		thread->call = info.entry.nr;
	if (!h->is_armed || (h->only_files && !is_of_files(thread->call)) || ++h->n != h->at)
		return;
	bury(h);
	printf("killed %s %llu\n", info.op == PTRACE_SYSCALL_INFO_ENTRY ? "entry" : "exit", (unsigned long long)thread->call);
	exit(0);
}

static bool read_of(pid_t tid, const char *what, char *ret_text, size_t size)
{
	char path[64];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, what);
	f = fopen(path, "r");
	if (f == NULL)
		return false;
	n = fread(ret_text, 1, size - 1, f);
	fclose(f);
	ret_text[n] = '\0';
	return true;
}

static bool is_of_core(const struct hunt *h, pid_t tid)
{
	char text[1024];
	const char *group;

	if (h->supervisor == 0 || tid == h->pid)
		return true;
	if (h->pid == 0 || tid == h->supervisor || !read_of(tid, "status", text, sizeof(text)))
		return false;
	group = strstr(text, "\nTgid:");
	return group != NULL && (pid_t)strtol(group + 6, NULL, 10) == h->pid;
}

/* A program of the supervisor begins: core, or one that is none of our business. */
static bool on_exec(struct hunt *h, pid_t tid)
{
	char name[64];

	if (tid == h->supervisor || h->pid != 0 || !read_of(tid, "cmdline", name, sizeof(name)) || strcmp(name, "agentd") != 0)
		return false;
	h->pid = tid;
	trace(PTRACE_SETOPTIONS, tid, 0, (void *)(uintptr_t)OPTIONS);
	return true;
}

/* One report of a thread; it runs on. */
static void on_stop(struct hunt *h, pid_t tid, int status)
{
	int signal_number = WSTOPSIG(status), event = status >> 16;

	if (event == PTRACE_EVENT_EXEC && h->supervisor != 0 && !on_exec(h, tid) && tid != h->supervisor) {
		trace(PTRACE_DETACH, tid, 0, NULL);
		return;
	}
	if (signal_number == STOP_SYSCALL)
		on_syscall(h, tid);
	if (signal_number == STOP_SYSCALL || event != 0)
		signal_number = 0;
	trace(is_of_core(h, tid) ? PTRACE_SYSCALL : PTRACE_CONT, tid, 0, (void *)(intptr_t)signal_number);
}

static void take_reports(struct hunt *h)
{
	int status;
	pid_t tid;

	while ((tid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		if (WIFSTOPPED(status)) {
			on_stop(h, tid, status);
		} else if (tid == h->pid || tid == h->supervisor) {
			printf("gone\n");
			exit(1);
		}
	}
}

static int seize_all(const struct hunt *h)
{
	char path[64];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)h->pid);
	dir = opendir(path);
	if (dir == NULL)
		return -errno;
	while ((entry = readdir(dir)) != NULL) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid > 0 && (trace(PTRACE_SEIZE, tid, 0, (void *)(uintptr_t)OPTIONS) < 0 || trace(PTRACE_INTERRUPT, tid, 0, NULL) < 0)) {
			int r = -errno;

			closedir(dir);
			return r;
		}
	}
	closedir(dir);
	return 0;
}

int main(int argc, char **argv)
{
	struct hunt h = { 0 };
	sigset_t signals;
	int r;

	if (argc >= 4 && strcmp(argv[1], "--start") == 0) {
		h.supervisor = (pid_t)strtol(argv[2], NULL, 10);
		h.is_armed = true;
		argc--;
		argv++;
	} else if (argc >= 3) {
		h.pid = (pid_t)strtol(argv[1], NULL, 10);
	} else {
		return 2;
	}
	h.at = strtoull(argv[2], NULL, 10);
	for (int i = 3; i < argc; i++) {
		if (strcmp(argv[i], "--files") == 0)
			h.only_files = true;
		else if (strcmp(argv[i], "--with") == 0 && i + 1 < argc)
			h.with = (pid_t)strtol(argv[++i], NULL, 10);
		else
			return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (h.supervisor != 0)
		r = trace(PTRACE_SEIZE, h.supervisor, 0, (void *)(uintptr_t)OPTIONS_SUPERVISOR) < 0 ? -errno : 0;
	else
		r = seize_all(&h);
	if (r < 0) {
		printf("refused: %s\n", strerror(-r));
		return 77;
	}
	if (h.supervisor != 0) {
		printf("ready\n");
		kill(h.supervisor, SIGCONT);
	}
	for (;;) {
		/* Interrupted threads enter their calls again; what follows after a still moment belongs to the request. */
		struct timespec still = { .tv_nsec = 20000000 };
		int got = h.is_armed ? sigwaitinfo(&signals, NULL) : sigtimedwait(&signals, NULL, &still);

		take_reports(&h);
		if (got == SIGTERM) {
			bury(&h);
			printf("over %llu\n", (unsigned long long)h.n);
			return 0;
		}
		if (got < 0 && errno == EAGAIN && !h.is_armed) {
			h.is_armed = true;
			printf("ready\n");
		}
	}
}
