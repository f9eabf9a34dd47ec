/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Without systemd: "agentctl update health" after the start, for a new release under trial. What the vendor's health commands need
 * is not known here, so they must not inherit our sandbox: the process is made before that, and waits for the word to begin.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "agentd/common/paths.h"
#include "agentd/common/service.h"
#include "agentd/core/supervise_inside.h"

#define AGENTCTL AGENT_BINDIR "/agentctl"

_Noreturn static void run_health(const char *config, int go_fd, pid_t parent)
{
	static const char *const kept[] = { "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "GCOV_PREFIX", "GCOV_PREFIX_STRIP" };
	char *values[sizeof(kept) / sizeof(kept[0])], *argv[] = { (char *)(uintptr_t)"agentctl", (char *)(uintptr_t)"--config", (char *)(uintptr_t)config,
								   (char *)(uintptr_t)"update", (char *)(uintptr_t)"health", NULL };
	sigset_t none;
	char word;
	int null_fd;

	setsid();
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
		_exit(EXIT_CODE_OS);
	sigemptyset(&none);
	signal(SIGTERM, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Its end without a word: the supervisor did not get that far. */
	if (read(go_fd, &word, 1) != 1)
		_exit(0);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || chdir("/") < 0)
		_exit(EXIT_CODE_OS);
	(void)syscall(SYS_close_range, 3u, ~0u, 0u);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		values[i] = getenv(kept[i]) == NULL ? NULL : strdup(getenv(kept[i]));
	clearenv();
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (values[i] != NULL)
			setenv(kept[i], values[i], 1);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	execv(AGENTCTL, argv);
	service_log(LOG_ERR, "cannot start %s: %s", AGENTCTL, strerror(errno));
	_exit(EXIT_CODE_UNAVAILABLE);
}

int health_prepare(struct health *h, const struct settings *settings, const char *config, struct agent_error **err)
{
	pid_t parent = getpid();
	int fds[2];

	*h = (struct health){ .go_fd = -1 };
	if (!settings->health.at_start || settings->update.slots.n == 0)
		return 0;
	if (access(AGENTCTL, X_OK) < 0) {
		service_log(LOG_WARNING, "nobody confirms a new release here: %s: %s", AGENTCTL, strerror(errno));
		return 0;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return agent_error_set(err, -errno, "supervise.health", "cannot make a pipe: %s", strerror(errno));
	h->pid = fork();
	if (h->pid == 0) {
		close(fds[1]);
		run_health(config, fds[0], parent);
	}
	close(fds[0]);
	h->go_fd = fds[1];
	if (h->pid > 0)
		return 0;
	h->pid = 0;
	close(fds[1]);
	h->go_fd = -1;
	return agent_error_set(err, -errno, "supervise.health", "cannot start the health check: %s", strerror(errno));
}

static int on_end(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	struct health *h = userdata;

	h->pid = 0;
	if (info->si_code == CLD_EXITED && info->si_status == EXIT_CODE_REBOOT) {
		service_log(LOG_ERR, "the new release is not healthy: stopping with code %d, for a reboot", EXIT_CODE_REBOOT);
		h->is_unhealthy = true;
		return sd_event_exit(sd_event_source_get_event(source), 0);
	}
	if (info->si_code != CLD_EXITED || info->si_status != 0)
		service_log(LOG_WARNING, "the health check ended with %s %d", info->si_code == CLD_EXITED ? "code" : "signal", info->si_status);
	return 0;
}

int health_watch(struct health *h, sd_event *event, struct agent_error **err)
{
	int r = h->pid == 0 ? 0 : sd_event_add_child(event, NULL, h->pid, WEXITED, on_end, h);

	return r < 0 ? agent_error_set(err, r, "supervise.loop", "cannot watch the health check: %s", strerror(-r)) : 0;
}

void health_go(struct health *h)
{
	if (h->go_fd < 0)
		return;
	if (write(h->go_fd, "g", 1) != 1)
		service_log(LOG_WARNING, "the health check is gone: %s", strerror(errno));
	close(h->go_fd);
	h->go_fd = -1;
}

void health_stop(struct health *h)
{
	if (h->go_fd >= 0)
		close(h->go_fd);
	h->go_fd = -1;
	if (h->pid <= 0)
		return;
	kill(-h->pid, SIGTERM);
	kill(h->pid, SIGTERM); /* before its setsid() there is no group */
	(void)waitpid(h->pid, NULL, 0);
	h->pid = 0;
}
