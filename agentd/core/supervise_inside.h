/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_SUPERVISE_INSIDE_H
#define CORE_SUPERVISE_INSIDE_H
/* Between supervise.c (programs) and supervise_sockets.c (what they are handed). */
#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include <agent/error.h>

#include "agentd/common/settings.h"

enum child_id { CHILD_CORE, CHILD_MGMT, CHILD_LINK, CHILD_FETCH, CHILD_INSTALL, CHILD_SCRIPT, CHILD_COUNT_ };

#define SOCKETS_MAX 6 /* of one program */
#define GROUPS_MAX 16

/* The user a program runs as, looked up before the sandbox. */
struct identity {
	uid_t uid;
	gid_t gid;
	gid_t groups[GROUPS_MAX];
	int n_groups;
};

struct handed {
	int fd; /* above the numbers that a child's descriptors get */
	const char *fd_name;
};

struct handed_list {
	struct handed items[SOCKETS_MAX];
	size_t n;
};

/*
 * Users of all programs. Without root everybody is who we are. -ENOENT "supervise.user" with the command that makes a
 * missing user.
 */
int identities_look_up(const struct settings *settings, struct identity ret_identities[CHILD_COUNT_], struct agent_error **err);

/*
 * Folders, lock files and listening sockets of all programs with their owners. A socket file nobody answers on is
 * replaced; -EBUSY "supervise.running" when somebody does. Error names else: supervise.folder, supervise.socket,
 * supervise.listen.
 */
int sockets_make(const struct settings *settings, const struct identity identities[CHILD_COUNT_],
		 struct handed_list ret_handed[CHILD_COUNT_], struct agent_error **err);
/* Datagram socket RUN_DIR/notify.sock, sd_notify(3), with SO_PASSCRED. */
int notify_socket_make(const struct settings *settings, int *ret_fd, struct agent_error **err);
/* Stream socket RUN_DIR/reboot.sock, of core's user alone: who connects wants the device to restart (op_reboot.c). */
int reboot_socket_make(const struct settings *settings, const struct identity *core, int *ret_fd, struct agent_error **err);
void sockets_remove(const struct settings *settings);

/* Do the settings want it? What they do not want needs no user and gets no socket. */
bool child_is_wanted(const struct settings *settings, enum child_id id);
const char *child_name(enum child_id id);

/* The health check of a new release, supervise_health.c. */
struct health {
	pid_t pid;	   /* 0: none */
	int go_fd;	   /* -1 after the word */
	bool is_unhealthy; /* it rolled the release back: reboot */
};
/* Before the sandbox, which the check must not inherit. It waits for health_go(). Error name: supervise.health. */
int health_prepare(struct health *health, const struct settings *settings, const char *config, struct agent_error **err);
/* When it ends with EXIT_CODE_REBOOT, @event is left. */
int health_watch(struct health *health, sd_event *event, struct agent_error **err);
/* The agent answers: begin. Once. */
void health_go(struct health *health);
void health_stop(struct health *health);

#endif
