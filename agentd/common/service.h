/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_SERVICE_H
#define COMMON_SERVICE_H
/* What main() of every daemon does: options, settings, event loop, inherited sockets, readiness, watchdog, sandbox, log. */
#include <systemd/sd-event.h>

#include <agent/error.h>

#include "agentd/common/settings.h"

/* Exit codes, documented in agentd(8); after sysexits. */
enum {
	EXIT_CODE_REBOOT = 10,	    /* of agentctl update health, of a supervisor that it told so, and of one that core asked: reboot */
	EXIT_CODE_USAGE = 64,
	EXIT_CODE_UNAVAILABLE = 69, /* something outside is missing: program, peer, TPM at provisioning */
	EXIT_CODE_OS = 71,
	EXIT_CODE_IO = 74,
	EXIT_CODE_TEMPFAIL = 75,    /* another instance holds the lock */
	EXIT_CODE_NOPERM = 77,
	EXIT_CODE_CONFIG = 78
};

struct service {
	const char *name;	/* "agentd-mgmt" */
	struct settings *settings;
	sd_event *event;
	int lock_fd;		/* RUN_DIR/NAME.lock, for core STATE_DIR itself: held against a second instance */
};

/*
 * Parse --config FILE, --version, --help, --print-config; load settings; ignore SIGPIPE; umask 077; open the log (journal
 * when there, else stderr); make the event loop with SIGTERM and SIGINT ending it; take the lock. Prints a reason
 * and exits with a code above on failure, so a returned service is whole. Unknown options are a usage error.
 */
void service_start(struct service *service, const char *name, const char *purpose, int argc, char **argv);
/* Descriptor that was handed over under @name (LISTEN_FDNAMES), -ENOENT if none. CLOEXEC and O_NONBLOCK are set. */
int service_listen_fd(const char *name);
/* Number of descriptors under @name, first *ret_fds filled up to @max. */
int service_listen_fds(const char *name, int *ret_fds, size_t max);
/* sandbox_enter() must have been called; tells the manager READY=1, starts the watchdog, runs the loop until stopped. */
int service_run(struct service *service);
/* READY=1 before that, for what may only be done when the manager knows; returns when it has read it, or after 5 s. */
void service_ready(void);
void service_stop(struct service *service);
/* STATUS= text for systemctl status. */
void service_status(const char *fmt, ...) AGENT_PRINTF(1, 2);

/* Log line at a syslog priority; text from outside must be escaped first (agent_error_message() is). */
void service_log(int priority, const char *fmt, ...) AGENT_PRINTF(2, 3);

#endif
