/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/service.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <syslog.h>

#include <systemd/sd-daemon.h>
#define SD_JOURNAL_SUPPRESS_LOCATION /* lines of code mean nothing to an operator */
#include <systemd/sd-journal.h>

#include "agentd/common/paths.h"
#include "base/macro.h"

#define LINE_MAX_BYTES 2048

/* The log is the one thing a whole program shares: where lines go and under which name. */
static struct {
	const char *name;
	bool is_journal, is_debug;
} log_to = { .name = "agentd" };

/* systemd.exec(5): JOURNAL_STREAM is device:inode of stderr, unless somebody redirected it since. */
static bool stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	if (text == NULL || sscanf(text, "%llu:%llu", &device, &inode) != 2 || fstat(STDERR_FILENO, &st) < 0)
		return false;
	return st.st_dev == (dev_t)device && st.st_ino == (ino_t)inode;
}

void service_log(int priority, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	if (priority >= LOG_DEBUG && !log_to.is_debug)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (log_to.is_journal && sd_journal_send("MESSAGE=%s", line, "PRIORITY=%i", priority, "SYSLOG_IDENTIFIER=%s", log_to.name, NULL) >= 0)
		return;
	if (log_to.is_journal)
		fprintf(stderr, "<%d>%s\n", priority, line);	/* sd-daemon(3): the journal reads the level from there */
	else
		fprintf(stderr, "%s: %s%s\n", log_to.name, priority <= LOG_ERR ? "error: " : priority == LOG_WARNING ? "warning: " : "", line);
}

_Noreturn static void give_up(int code, const char *fmt, ...) AGENT_PRINTF(2, 3);
_Noreturn static void give_up(int code, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	service_log(LOG_ERR, "%s", line);
	exit(code);
}

_Noreturn static void print_help(const char *name, const char *purpose)
{
	printf("Usage: %s [--config FILE]\n"
	       "%s\n\n"
	       "  --config FILE   settings; default " SETTINGS_DEFAULT_FILE "\n"
	       "  --print-config  print all settings with their effective values and leave\n"
	       "  --version       print the version and leave\n"
	       "  --help          print this and leave\n\n"
	       "See agentd(8) and agentd.conf(5).\n", name, purpose);
	exit(EXIT_SUCCESS);
}

static const char *parse_options(const char *name, const char *purpose, int argc, char **argv, bool *ret_print)
{
	enum { OPT_CONFIG = 256, OPT_PRINT, OPT_VERSION, OPT_HELP };
	static const struct option options[] = {
		{ "config", required_argument, NULL, OPT_CONFIG },
		{ "print-config", no_argument, NULL, OPT_PRINT },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, OPT_HELP },
		{ 0 },
	};
	const char *file = NULL;
	int c;

	optind = 0; /* core parses its own options first */
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case OPT_CONFIG:
			file = optarg;
			break;
		case OPT_PRINT:
			*ret_print = true;
			break;
		case OPT_VERSION:
			printf("%s %s\n", name, PACKAGE_VERSION);
			exit(EXIT_SUCCESS);
		case OPT_HELP:
			print_help(name, purpose);
		default:
			fprintf(stderr, "Try \"%s --help\".\n", name);
			exit(EXIT_CODE_USAGE);
		}
	if (optind < argc) {
		fprintf(stderr, "%s: unexpected argument %s\nTry \"%s --help\".\n", name, argv[optind], name);
		exit(EXIT_CODE_USAGE);
	}
	return file;
}

/*
 * Core locks the state folder itself: the factory step, which has no RUN_DIR yet, and a second agent with another RUN_DIR
 * then meet the same lock. The others lock RUN_DIR/NAME.lock.
 */
static int open_lock(const struct settings *settings, const char *name, char **ret_path)
{
	const char *run_dir = settings->paths.run_dir, *state_dir = settings->paths.state_dir;

	if (strcmp(name, "agentd") == 0) {
		*ret_path = strdup(state_dir);
		(void)mkdir(state_dir, 0700);
		return open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (asprintf(ret_path, "%s/%s.lock", run_dir, name) < 0) {
		*ret_path = NULL;
		errno = ENOMEM;
		return -1;
	}
	/* The supervisor or tmpfiles.d made both with the right owner; a program run by hand makes them itself. */
	if (mkdir(run_dir, 0755) == 0)
		(void)chmod(run_dir, 0755);
	return open(*ret_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
}

static int take_lock(const struct settings *settings, const char *name)
{
	_cleanup_free_ char *path = NULL;
	int fd = open_lock(settings, name, &path);

	if (fd < 0 && (errno == EACCES || errno == EPERM))
		give_up(EXIT_CODE_NOPERM, "cannot open %s: %s; does it belong to the user of %s?", path, strerror(errno), name);
	if (fd < 0)
		give_up(EXIT_CODE_OS, "cannot open %s: %s", path == NULL ? name : path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			give_up(EXIT_CODE_TEMPFAIL, "%s is already running: it holds the lock on %s", name, path);
		give_up(EXIT_CODE_OS, "cannot lock %s: %s", path, strerror(errno));
	}
	return fd;
}

static void make_loop(struct service *service)
{
	sigset_t stop;
	int r;

	/* Blocked before any thread is made, so that all inherit it and sd-event alone sees them. */
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	r = sd_event_default(&service->event);
	if (r >= 0)
		r = sd_event_add_signal(service->event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(service->event, NULL, SIGINT, NULL, NULL);
	if (r < 0)
		give_up(EXIT_CODE_OS, "cannot make the event loop: %s", strerror(-r));
}

void service_start(struct service *service, const char *name, const char *purpose, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	bool print = false;
	const char *file;
	int r;

	*service = (struct service){ .name = name, .lock_fd = -1 };
	log_to.name = name;
	log_to.is_journal = stderr_is_journal();
	log_to.is_debug = getenv("AGENTD_DEBUG") != NULL;
	file = parse_options(name, purpose, argc, argv, &print);

	r = settings_load(file, &service->settings, &err);
	if (r < 0)
		give_up(EXIT_CODE_CONFIG, "%s (%s)", agent_error_message(err), agent_error_name(err));
	if (print) {
		settings_print(service->settings, stdout);
		exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_CODE_IO);
	}
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	make_loop(service);
	service->lock_fd = take_lock(service->settings, name);
}

int service_listen_fds(const char *name, int *ret_fds, size_t max)
{
	char **names = NULL;
	size_t found = 0;
	int n = sd_listen_fds_with_names(false, &names);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		if (strcmp(names[i], name) == 0 && found < max) {
			int flags = fcntl(fd, F_GETFL);

			if (flags >= 0)
				(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
			ret_fds[found++] = fd;
		}
		free(names[i]);
	}
	free(names);
	return (int)found;
}

int service_listen_fd(const char *name)
{
	int fd, n = service_listen_fds(name, &fd, 1);

	if (n < 0)
		return n;
	return n == 0 ? -ENOENT : fd;
}

void service_status(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (char *p = line; *p != '\0'; p++)
		if (*p == '\n')
			*p = ' ';	/* a new line would be another assignment to the manager */
	sd_notifyf(false, "STATUS=%s", line);
}

void service_ready(void)
{
	sd_notify(false, "READY=1");
	sd_notify_barrier(false, 5 * UINT64_C(1000000));
}

int service_run(struct service *service)
{
	int r;

	sd_notify(false, "READY=1");
	r = sd_event_set_watchdog(service->event, true);
	if (r < 0) {
		service_log(LOG_ERR, "cannot start the watchdog: %s", strerror(-r));
		return r;
	}
	r = sd_event_loop(service->event);
	if (r < 0)
		service_log(LOG_ERR, "the event loop failed: %s", strerror(-r));
	sd_notify(false, "STOPPING=1");
	return r;
}

void service_stop(struct service *service)
{
	service->event = sd_event_unref(service->event);
	if (service->lock_fd >= 0)
		close(service->lock_fd);
	service->lock_fd = -1;
	service->settings = settings_free(service->settings);
}
