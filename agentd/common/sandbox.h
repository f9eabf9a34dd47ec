/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_SANDBOX_H
#define COMMON_SANDBOX_H
/*
 * What a program may still do once it is set up: no new privileges, no capabilities, Landlock file rules, seccomp list
 * with kill as default. One table of programs and call groups in sandbox.c, a reason beside each unusual call.
 */
#include <sys/types.h>

#include <agent/error.h>

#include "agentd/common/settings.h"

enum sandbox_program { SANDBOX_CORE, SANDBOX_MGMT, SANDBOX_LINK, SANDBOX_FETCH, SANDBOX_INSTALL, SANDBOX_SCRIPT, SANDBOX_SUPERVISE };

enum sandbox_access { SANDBOX_READ = 1u << 0, SANDBOX_WRITE = 1u << 1, SANDBOX_DEVICE = 1u << 2, SANDBOX_NODES = 1u << 3 /* use what is in a folder, make and remove nothing */,
		      SANDBOX_EXECUTE = 1u << 4 };

/* A path the program needs besides what the table grants: a slot, a boot environment, a device. */
struct sandbox_path {
	const char *path;
	unsigned access;
};

/*
 * Enter the sandbox; there is no way out. Call when sockets, TCTI and libraries are open and before foreign bytes are
 * read. Missing paths are skipped. Landlock missing in the kernel is logged once; seccomp missing is an error.
 * With --enable-sanitizers or --enable-coverage the calls of those run times are let through as well.
 */
int sandbox_enter(enum sandbox_program program, const struct settings *settings, const struct sandbox_path *extra,
		  size_t n_extra, struct agent_error **err);
/* In a process that agentd-script, @parent, made for a script: no sockets, and no harm to @parent. On top of SANDBOX_SCRIPT. */
int sandbox_enter_script(pid_t parent, struct agent_error **err);
/* sandbox_enter() for agentd-install, with what the boot backend of the settings says it opens. */
int sandbox_enter_install(const struct settings *settings, struct agent_error **err);

#endif
