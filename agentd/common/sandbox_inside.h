/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_SANDBOX_INSIDE_H
#define COMMON_SANDBOX_INSIDE_H
/* Between sandbox.c (the table), sandbox_seccomp.c and sandbox_landlock.c. */
#include "agentd/common/sandbox.h"

enum {
	CALLS_BASE = 1u << 0,	     /* every program */
	CALLS_SOCKET = 1u << 1,	     /* Unix sockets: the bus, journal, service manager */
	CALLS_READ_FILES = 1u << 2,
	CALLS_WRITE_FILES = 1u << 3,
	CALLS_NETWORK = 1u << 4,     /* outgoing TCP and UDP, name lookup */
	CALLS_THREADS = 1u << 5,
	CALLS_BLOCK_DEVICE = 1u << 6,
	CALLS_LOAD_CODE = 1u << 7,   /* mmap(PROT_EXEC): name service modules are loaded on first use */
	CALLS_INTERFACES = 1u << 8   /* netlink route socket: addresses of the interfaces */
};

struct path_rule {
	const char *path;
	unsigned access;
};

/* One Landlock domain: folders and files with what may be done below them; TCP both ways refused unless @has_network. */
int landlock_enter(const struct path_rule *rules, size_t n_rules, bool has_network, struct agent_error **err);
bool landlock_is_there(void);
/* One more domain inside of the one we are in: who is outside of it cannot be looked into, nor signalled where the kernel has that. */
int landlock_nest(struct agent_error **err);
int seccomp_enter(unsigned call_groups, struct agent_error **err);
/* For agentd-script and what it runs: what programs of a system need, EPERM for the rest. */
int seccomp_enter_scripts(struct agent_error **err);
/* On top of it, in the child of @parent. */
int seccomp_enter_one_script(pid_t parent, struct agent_error **err);
/* For the supervisor: everything but calls_never. */
int seccomp_enter_supervisor(struct agent_error **err);

#endif
