/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_CALLER_H
#define COMMON_CALLER_H
/* Which local program is at the other end of a socket. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNIT_NAME_MAX 110 /* with "unit:" it fits a label, AGENT_APP_LABEL_MAX */
#define CALLER_GROUPS_MAX 64

/* Who is at the other end, by the kernel's word. */
struct key_caller {
	const char *program; /* "link", "fetch": came through its door; NULL for anybody */
	uint32_t uid, gid;
	uint32_t groups[CALLER_GROUPS_MAX];
	size_t n_groups;
	char unit[UNIT_NAME_MAX + 1]; /* "" if it cannot be told */
};

/*
 * Peer of a connected Unix socket: SO_PEERCRED, SO_PEERGROUPS, and the unit from /proc/PID/cgroup. The unit is left empty
 * unless a pidfd of the peer (Linux 6.5) shows that the process which connected was still there after its cgroup was read:
 * a process id alone may have passed to somebody else.
 */
int caller_from_socket(int fd, struct key_caller *ret_caller);
/* System unit in the text of a cgroup file; false if there is none, such as in a container or outside of systemd. */
bool unit_from_cgroup(const char *text, char ret_unit[UNIT_NAME_MAX + 1]);

#endif
