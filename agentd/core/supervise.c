/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "agentd/common/events.h"
#include "agentd/common/sandbox.h"
#include "agentd/common/service.h"
#include "agentd/core/supervise_inside.h"
#include "base/macro.h"

#define SECOND UINT64_C(1000000)
#define WATCHDOG_US (60 * SECOND) /* as in the units; a signature may take 30 s */
#define START_US (90 * SECOND)	  /* to READY=1 */
#define STOP_US (10 * SECOND)	  /* to end after SIGTERM */
#define STEADY_US (5 * SECOND)	  /* up so long: the next restart is a first one again */
#define DELAY_MIN_S 1
#define DELAY_MAX_S 30

struct supervisor;

struct child {
	struct supervisor *supervisor;
	enum child_id id;
	struct identity identity;
	struct handed_list handed;
	char *binary;
	bool is_off;	    /* not installed or switched off by the settings */
	bool is_on_demand;  /* starts when a socket becomes readable */
	pid_t pid;	    /* 0 when not running */
	bool is_ready;
	uint64_t started_us;
	unsigned delay_s;   /* before the next restart */
	sd_event_source *on_exit, *deadline, *restart;
	sd_event_source *on_socket[SOCKETS_MAX];
};

struct supervisor {
	struct service service;
	char *config;
	int notify_fd, reboot_fd;
	bool wants_reboot;
	struct child children[CHILD_COUNT_];
	struct health health;
};

static const char *const names[CHILD_COUNT_] = {
	[CHILD_CORE] = "agentd",
	[CHILD_MGMT] = "agentd-mgmt",
	[CHILD_LINK] = "agentd-link",
	[CHILD_FETCH] = "agentd-fetch",
	[CHILD_INSTALL] = "agentd-install",
	[CHILD_SCRIPT] = "agentd-script",
};

const char *child_name(enum child_id id)
{
	return names[id];
}

bool child_is_wanted(const struct settings *settings, enum child_id id)
{
	switch (id) {
	case CHILD_LINK:
		return settings->mqtt.enable;
	case CHILD_SCRIPT:
		return strcmp(settings->update.scripts, "run") == 0;
	default:
		return true;
	}
}

static uint64_t now_us(struct supervisor *s)
{
	uint64_t now = 0;

	sd_event_now(s->service.event, CLOCK_MONOTONIC, &now);
	return now;
}

/* ---- in the child -------------------------------------------------------------------------------------------------- */

_Noreturn static void child_fails(const struct child *child, const char *what)
{
	service_log(LOG_ERR, "cannot start %s: %s: %s", names[child->id], what, strerror(errno));
	_exit(EXIT_CODE_OS);
}

/* Nothing of our caller's environment reaches a program, but what says where a log or a test result goes. */
static char **child_environment(const struct child *child, const char *run_dir)
{
	static const char *const kept[] = {
		"JOURNAL_STREAM", "AGENTD_DEBUG", "TZ",
#if defined(AGENT_SANITIZERS) || defined(AGENT_COVERAGE)
		"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "GCOV_PREFIX", "GCOV_PREFIX_STRIP",
#endif
	};
	static char *environment[16 + ARRAY_SIZE(kept)];
	char fd_names[256] = "";
	size_t n = 0;

	for (size_t i = 0; i < child->handed.n; i++)
		snprintf(fd_names + strlen(fd_names), sizeof(fd_names) - strlen(fd_names), "%s%s", i == 0 ? "" : ":", child->handed.items[i].fd_name);
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (getenv(kept[i]) != NULL && asprintf(&environment[n], "%s=%s", kept[i], getenv(kept[i])) >= 0)
			n++;
	if (asprintf(&environment[n++], "PATH=/usr/sbin:/usr/bin:/sbin:/bin") < 0 || asprintf(&environment[n++], "LC_ALL=C.UTF-8") < 0 ||
	    asprintf(&environment[n++], "GLIBC_TUNABLES=glibc.malloc.tcache_count=0") < 0 || /* as in the units */
	    asprintf(&environment[n++], "NOTIFY_SOCKET=%s/notify.sock", run_dir) < 0 ||
	    asprintf(&environment[n++], "WATCHDOG_PID=%d", (int)getpid()) < 0 ||
	    asprintf(&environment[n++], "WATCHDOG_USEC=%" PRIu64, WATCHDOG_US) < 0)
		child_fails(child, "no memory");
	/* sd_listen_fds() takes "0" for an error. */
	if (child->handed.n > 0 && (asprintf(&environment[n++], "LISTEN_PID=%d", (int)getpid()) < 0 ||
				    asprintf(&environment[n++], "LISTEN_FDS=%zu", child->handed.n) < 0 ||
				    asprintf(&environment[n++], "LISTEN_FDNAMES=%s", fd_names) < 0))
		child_fails(child, "no memory");
	environment[n] = NULL;
	return environment;
}

static void become(const struct child *child)
{
	const struct identity *who = &child->identity;

	/*
	 * agentd-install parses what came over a network and writes slots, agentd-script runs what came in a bundle: they get no network, if we are
	 * allowed to take it.
	 */
	if (child->id == CHILD_INSTALL || child->id == CHILD_SCRIPT)
		(void)unshare(CLONE_NEWNET);
	if (geteuid() != 0)
		return;
	if (setgroups((size_t)who->n_groups, who->groups) < 0)
		child_fails(child, "setgroups");
	if (setresgid(who->gid, who->gid, who->gid) < 0)
		child_fails(child, "setresgid");
	if (setresuid(who->uid, who->uid, who->uid) < 0)
		child_fails(child, "setresuid");
}

_Noreturn static void run_child(const struct child *child, pid_t parent)
{
	const char *run_dir = child->supervisor->service.settings->paths.run_dir;
	char *argv[] = { (char *)(uintptr_t)names[child->id], (char *)(uintptr_t)"--config", child->supervisor->config, NULL };
	sigset_t none;
	int null_fd;

	setsid(); /* Ctrl-C is for the supervisor; it stops the others in order */
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0)
		child_fails(child, "/dev/null");
	for (size_t i = 0; i < child->handed.n; i++)
		if (dup2(child->handed.items[i].fd, 3 + (int)i) < 0)
			child_fails(child, "dup2");
	/* Ours are close-on-exec; what our own parent left open is none of the program's business either. */
	(void)syscall(SYS_close_range, 3u + (unsigned)child->handed.n, ~0u, 0u);
	become(child);
	/* After the change of user, which clears it. No program may outlive the one that watches it. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
		child_fails(child, "the supervisor is gone");
	if (chdir("/") < 0)
		child_fails(child, "/");
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(child->binary, argv, child_environment(child, run_dir));
	child_fails(child, child->binary);
}

/* ---- starting, watching -------------------------------------------------------------------------------------------- */

static void write_pid(const struct child *child)
{
	char path[128], text[16];
	int fd, n;

	/* For people and tests; nothing here reads them. */
	snprintf(path, sizeof(path), "%s/pids/%s", child->supervisor->service.settings->paths.run_dir, names[child->id]);
	if (child->pid == 0) {
		(void)unlink(path);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	n = snprintf(text, sizeof(text), "%d\n", (int)child->pid);
	if (write(fd, text, (size_t)n) != n || fchmod(fd, 0644) < 0)
		service_log(LOG_WARNING, "cannot write %s: %s", path, strerror(errno));
	close(fd);
}

static int child_start(struct child *child);
static void wait_for_socket(struct child *child);

static int on_restart(sd_event_source *source, uint64_t at, void *userdata)
{
	struct child *child = userdata;

	child->restart = sd_event_source_disable_unref(child->restart);
	/* A new agentd-script ends at once what the one that was killed had running. */
	if (child->is_on_demand && child->id != CHILD_SCRIPT)
		wait_for_socket(child);
	else
		child_start(child);
	return 0;
}

static void start_later(struct child *child, unsigned delay_s)
{
	int r;

	child->restart = sd_event_source_disable_unref(child->restart);
	r = sd_event_add_time_relative(child->supervisor->service.event, &child->restart, CLOCK_MONOTONIC, delay_s * SECOND, 0,
				       on_restart, child);
	if (r < 0) {
		service_log(LOG_CRIT, "cannot set a timer: %s", strerror(-r));
		sd_event_exit(child->supervisor->service.event, r);
	}
}

static int on_deadline(sd_event_source *source, uint64_t at, void *userdata)
{
	struct child *child = userdata;

	service_log(LOG_WARNING, "%s %s; it is killed", names[child->id],
		    child->is_ready ? "has not fed its watchdog for 60 s" : "was not ready after 90 s");
	if (child->pid > 0)
		kill(child->pid, SIGKILL);
	return 0;
}

static void set_deadline(struct child *child, uint64_t after_us)
{
	int r;

	if (child->deadline == NULL) {
		r = sd_event_add_time_relative(child->supervisor->service.event, &child->deadline, CLOCK_MONOTONIC, after_us, 0, on_deadline, child);
	} else {
		r = sd_event_source_set_time_relative(child->deadline, after_us);
		if (r >= 0)
			r = sd_event_source_set_enabled(child->deadline, SD_EVENT_ONESHOT);
	}
	if (r < 0)
		service_log(LOG_ERR, "cannot watch %s: %s", names[child->id], strerror(-r));
}

/* Who was waiting for a program that crashed hears so now, instead of after the pause. */
static void hang_up(const struct child *child)
{
	for (size_t i = 0; i < child->handed.n; i++)
		for (int fd; (fd = accept4(child->handed.items[i].fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
			close(fd);
}

static void how_it_ended(const siginfo_t *info, char *ret_text, size_t size)
{
	if (info->si_code == CLD_EXITED)
		snprintf(ret_text, size, "ended with code %d", info->si_status);
	else if (info->si_status == SIGSYS)
		snprintf(ret_text, size, "made a forbidden system call and was killed by the sandbox");
	else
		snprintf(ret_text, size, "was killed by signal %d (%s)", info->si_status, strsignal(info->si_status));
}

static int on_exit_of_child(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	struct child *child = userdata;
	bool is_clean = info->si_code == CLD_EXITED && info->si_status == 0;
	bool has_given_up = info->si_code == CLD_EXITED && (info->si_status == EXIT_CODE_CONFIG || info->si_status == EXIT_CODE_NOPERM);
	char how[128];

	child->pid = 0;
	child->on_exit = sd_event_source_disable_unref(child->on_exit);
	child->deadline = sd_event_source_disable_unref(child->deadline);
	write_pid(child);
	/* Idle: its work is done until somebody knocks. */
	if (is_clean && (child->is_on_demand || (child->id == CHILD_MGMT && child->supervisor->service.settings->mgmt.idle_exit_s > 0))) {
		child->delay_s = DELAY_MIN_S;
		wait_for_socket(child);
		return 0;
	}
	if (child->is_ready && now_us(child->supervisor) - child->started_us >= STEADY_US)
		child->delay_s = DELAY_MIN_S;
	how_it_ended(info, how, sizeof(how));
	/* It refused whoever asked, and would again: nobody needs it before the next one asks. One that was killed may have left something running. */
	if (has_given_up && child->id == CHILD_SCRIPT) {
		service_log(event_types[EVENT_PROGRAM_RESTARTED].priority, "%s %s; it starts again when somebody asks for it", names[child->id], how);
		hang_up(child);
		wait_for_socket(child);
		return 0;
	}
	/* What is wrong with the settings or the rights does not mend itself in a second. */
	if (has_given_up)
		child->delay_s = DELAY_MAX_S;
	service_log(event_types[EVENT_PROGRAM_RESTARTED].priority, "%s: %s %s; it starts again in %u s",
		    event_types[EVENT_PROGRAM_RESTARTED].name, names[child->id], how, child->delay_s);
	if (child->is_on_demand)
		hang_up(child);
	start_later(child, child->delay_s);
	child->delay_s = child->delay_s * 2 > DELAY_MAX_S ? DELAY_MAX_S : child->delay_s * 2;
	return 0;
}

static int child_start(struct child *child)
{
	pid_t parent = getpid(), pid;
	int r;

	pid = fork();
	if (pid == 0)
		run_child(child, parent);
	if (pid < 0) {
		service_log(LOG_ERR, "cannot start %s: %s", names[child->id], strerror(errno));
		start_later(child, DELAY_MAX_S);
		return 0;
	}
	child->pid = pid;
	child->is_ready = false;
	child->started_us = now_us(child->supervisor);
	write_pid(child);
	r = sd_event_add_child(child->supervisor->service.event, &child->on_exit, pid, WEXITED, on_exit_of_child, child);
	/*
	 * The end of one that somebody traces (strace -f) is told twice, and only the second time it is ours: once is not enough. Off first,
	 * or sd-event leaves the one-shot watch of the kernel as it is.
	 */
	if (r >= 0)
		r = sd_event_source_set_enabled(child->on_exit, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_source_set_enabled(child->on_exit, SD_EVENT_ON);
	if (r < 0) {
		service_log(LOG_CRIT, "cannot watch %s: %s", names[child->id], strerror(-r));
		sd_event_exit(child->supervisor->service.event, r);
		return 0;
	}
	set_deadline(child, START_US);
	return 0;
}

static int on_knock(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct child *child = userdata;

	for (size_t i = 0; i < child->handed.n; i++)
		child->on_socket[i] = sd_event_source_disable_unref(child->on_socket[i]);
	return child_start(child);
}

static void wait_for_socket(struct child *child)
{
	for (size_t i = 0; i < child->handed.n; i++) {
		int r = sd_event_add_io(child->supervisor->service.event, &child->on_socket[i], child->handed.items[i].fd, EPOLLIN, on_knock, child);

		if (r < 0) {
			service_log(LOG_CRIT, "cannot watch the socket of %s: %s", names[child->id], strerror(-r));
			sd_event_exit(child->supervisor->service.event, r);
		}
	}
}

/* ---- sd_notify ----------------------------------------------------------------------------------------------------- */

static void take_notice(struct child *child, char *text)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		if (strcmp(line, "READY=1") == 0 && !child->is_ready) {
			child->is_ready = true;
			set_deadline(child, WATCHDOG_US);
			service_log(LOG_INFO, "%s is ready", names[child->id]);
			if (child->id == CHILD_MGMT)
				health_go(&child->supervisor->health);
		} else if (strcmp(line, "WATCHDOG=1") == 0 && child->is_ready) {
			set_deadline(child, WATCHDOG_US);
		} else if (strcmp(line, "STOPPING=1") == 0) {
			set_deadline(child, START_US);
		}
	}
}

static int on_notice(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct supervisor *s = userdata;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	char text[1024];
	struct iovec vector = { .iov_base = text, .iov_len = sizeof(text) - 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct ucred cred = { 0 };

	if (n <= 0)
		return 0;
	text[n] = '\0';
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len == CMSG_LEN(sizeof(cred)))
			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
	for (unsigned i = 0; i < CHILD_COUNT_; i++)
		if (cred.pid > 0 && s->children[i].pid == cred.pid)
			take_notice(&s->children[i], text);
	return 0;
}

/* Core is asked for a restart of the device, or its policy wants one: all ends in order, and who started us reads it from the code. */
static int on_reboot(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct supervisor *s = userdata;
	_cleanup_close_ int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (peer < 0)
		return 0;
	service_log(LOG_WARNING, "stopping with code %d, for a reboot into an update", EXIT_CODE_REBOOT);
	s->wants_reboot = true;
	return sd_event_exit(s->service.event, 0);
}

/* ---- start and stop ------------------------------------------------------------------------------------------------ */

static char *binary_of(enum child_id id, const char *program_dir)
{
	char *path;

	if (id == CHILD_CORE)
		return realpath("/proc/self/exe", NULL);
	return asprintf(&path, "%s/%s", program_dir, names[id]) < 0 ? NULL : path;
}

static int prepare(struct supervisor *s, struct agent_error **err)
{
	struct identity identities[CHILD_COUNT_];
	struct handed_list handed[CHILD_COUNT_] = { 0 };
	const struct settings *settings = s->service.settings;
	int r;

	r = identities_look_up(settings, identities, err);
	if (r >= 0)
		r = sockets_make(settings, identities, handed, err);
	if (r >= 0)
		r = notify_socket_make(settings, &s->notify_fd, err);
	if (r >= 0)
		r = reboot_socket_make(settings, &identities[CHILD_CORE], &s->reboot_fd, err);
	if (r < 0)
		return r;
	s->config = realpath(settings->file, NULL);
	if (s->config == NULL)
		return agent_error_set(err, -errno, "supervise.config", "cannot find %s: %s", settings->file, strerror(errno));
	for (unsigned id = 0; id < CHILD_COUNT_; id++) {
		struct child *child = &s->children[id];

		*child = (struct child){
			.supervisor = s,
			.id = id,
			.identity = identities[id],
			.handed = handed[id],
			.binary = binary_of(id, settings->paths.program_dir),
			.is_off = !child_is_wanted(settings, id),
			.is_on_demand = id == CHILD_FETCH || id == CHILD_INSTALL || id == CHILD_SCRIPT,
			.delay_s = DELAY_MIN_S,
		};
		if (child->binary == NULL)
			return agent_error_set(err, -ENOMEM, "supervise.memory", "no memory");
		if (!child->is_off && access(child->binary, X_OK) < 0) {
			if (errno != ENOENT)
				return agent_error_set(err, -errno, "supervise.program", "%s cannot be started: %s", child->binary, strerror(errno));
			/* A product may leave a program out; the others do their work. */
			service_log(LOG_WARNING, "%s is left out: %s: %s", names[id], child->binary, strerror(errno));
			child->is_off = true;
			/* Who connects is to hear that nobody listens, rather than to wait. */
			while (child->handed.n > 0)
				close(child->handed.items[--child->handed.n].fd);
		}
	}
	return 0;
}

static void stop_some(struct supervisor *s, bool with_core)
{
	uint64_t waited_us = 0;
	unsigned n_running;

	for (unsigned id = 0; id < CHILD_COUNT_; id++)
		if (s->children[id].pid > 0 && (with_core || id != CHILD_CORE)) {
			kill(s->children[id].pid, SIGTERM);
			kill(s->children[id].pid, SIGCONT);
		}
	do {
		n_running = 0;
		for (unsigned id = 0; id < CHILD_COUNT_; id++) {
			struct child *child = &s->children[id];

			if (child->pid == 0 || (id == CHILD_CORE && !with_core))
				continue;
			if (waitpid(child->pid, NULL, WNOHANG) == child->pid) {
				child->pid = 0;
				write_pid(child);
			} else {
				n_running++;
				if (waited_us >= STOP_US)
					kill(child->pid, SIGKILL);
			}
		}
		if (n_running > 0)
			usleep(5000);
		waited_us += 5000;
	} while (n_running > 0);
}

static void stop_all(struct supervisor *s)
{
	for (unsigned id = 0; id < CHILD_COUNT_; id++) {
		struct child *child = &s->children[id];

		/* From here on we wait for them ourselves. */
		child->on_exit = sd_event_source_disable_unref(child->on_exit);
		child->deadline = sd_event_source_disable_unref(child->deadline);
		child->restart = sd_event_source_disable_unref(child->restart);
		for (size_t i = 0; i < child->handed.n; i++)
			child->on_socket[i] = sd_event_source_disable_unref(child->on_socket[i]);
	}
	/* Core goes last: the others end their sessions with it. */
	stop_some(s, false);
	stop_some(s, true);
	sockets_remove(s->service.settings);
}

static void release(struct supervisor *s)
{
	for (unsigned id = 0; id < CHILD_COUNT_; id++) {
		for (size_t i = 0; i < s->children[id].handed.n; i++)
			close(s->children[id].handed.items[i].fd);
		free(s->children[id].binary);
	}
	if (s->notify_fd >= 0)
		close(s->notify_fd);
	if (s->reboot_fd >= 0)
		close(s->reboot_fd);
	free(s->config);
}

static int exit_code_of(int r)
{
	switch (r) {
	case -EBUSY:
		return EXIT_CODE_TEMPFAIL;
	case -ENOENT:
	case -EADDRINUSE:
	case -EADDRNOTAVAIL:
		return EXIT_CODE_UNAVAILABLE;
	case -EACCES:
	case -EPERM:
		return EXIT_CODE_NOPERM;
	case -EINVAL:
		return EXIT_CODE_CONFIG;
	default:
		return EXIT_CODE_OS;
	}
}

/* agentd-mgmt did not get that far: the check will not reach the agent either, and its code says so. */
static int on_health_late(sd_event_source *source, uint64_t at_us, void *userdata)
{
	(void)source;
	(void)at_us;
	health_go(userdata);
	return 0;
}

static int run(struct supervisor *s, struct agent_error **err)
{
	sd_event *event = s->service.event;
	sigset_t child_signal;
	int r;

	sigemptyset(&child_signal);
	sigaddset(&child_signal, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_signal, NULL);
	r = prepare(s, err);
	if (r >= 0)
		r = health_prepare(&s->health, s->service.settings, s->config, err);
	if (r >= 0)
		r = sandbox_enter(SANDBOX_SUPERVISE, s->service.settings, NULL, 0, err);
	if (r < 0)
		return r;
	r = sd_event_add_io(event, NULL, s->notify_fd, EPOLLIN, on_notice, s);
	if (r >= 0)
		r = sd_event_add_io(event, NULL, s->reboot_fd, EPOLLIN, on_reboot, s);
	if (r < 0)
		return agent_error_set(err, r, "supervise.loop", "cannot watch a socket: %s", strerror(-r));
	r = health_watch(&s->health, event, err);
	if (r < 0)
		return r;
	if (!s->children[CHILD_MGMT].is_off &&
	    (r = sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, 2 * START_US, 0, on_health_late, &s->health)) < 0)
		return agent_error_set(err, r, "supervise.loop", "cannot set a timer: %s", strerror(-r));
	for (unsigned id = 0; id < CHILD_COUNT_; id++) {
		struct child *child = &s->children[id];

		if (child->is_off)
			continue;
		if (child->is_on_demand)
			wait_for_socket(child);
		else
			child_start(child);
	}
	r = service_run(&s->service);
	health_stop(&s->health);
	stop_all(s);
	return r < 0 ? agent_error_set(err, r, "supervise.loop", "the event loop failed: %s", strerror(-r)) : 0;
}

int supervise_main(int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct supervisor s = { .notify_fd = -1, .reboot_fd = -1, .health.go_fd = -1 };
	int r, n = 0;

	/* Already understood by main(). */
	for (int i = 0; i < argc; i++)
		if (i == 0 || strcmp(argv[i], "--supervise") != 0)
			argv[n++] = argv[i];
	argv[n] = NULL;
	service_start(&s.service, "agentd-supervise", "Starts and watches the programs of the agent where systemd does not.", n, argv);
	r = run(&s, &err);
	if (r < 0)
		service_log(LOG_ERR, "%s (%s)", agent_error_message(err), agent_error_name(err));
	health_stop(&s.health);
	release(&s);
	service_stop(&s.service);
	return r < 0 ? exit_code_of(r) : s.health.is_unhealthy || s.wants_reboot ? EXIT_CODE_REBOOT : EXIT_SUCCESS;
}
