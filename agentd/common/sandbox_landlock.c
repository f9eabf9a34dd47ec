/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/sandbox_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "agentd/common/service.h"
#include "base/macro.h"

/*
 * The kernel's interface, written out (linux/landlock.h of an old tool chain lacks the newer rights, and the C library has
 * no wrappers). Source: Documentation/userspace-api/landlock.rst. The numbers are the same on all architectures but alpha.
 */
#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule 445
#define __NR_landlock_restrict_self 446
#endif
#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1

#define FS_EXECUTE (1ULL << 0)
#define FS_WRITE_FILE (1ULL << 1)
#define FS_READ_FILE (1ULL << 2)
#define FS_READ_DIR (1ULL << 3)
#define FS_REMOVE_DIR (1ULL << 4)
#define FS_REMOVE_FILE (1ULL << 5)
#define FS_MAKE_DIR (1ULL << 7)
#define FS_MAKE_REG (1ULL << 8)
#define FS_MAKE_BLOCK (1ULL << 11)
#define FS_ALL_ABI1 ((1ULL << 13) - 1)
#define FS_REFER (1ULL << 13)	  /* ABI 2 */
#define FS_TRUNCATE (1ULL << 14)  /* ABI 3 */
#define FS_IOCTL_DEV (1ULL << 15) /* ABI 5 */
#define NET_BIND_TCP (1ULL << 0)  /* ABI 4 */
#define NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_SIGNAL (1ULL << 1)  /* ABI 6 */

#define FS_ON_FILES (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

struct ruleset {
	uint64_t fs, net, scoped;
};

struct path_beneath {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

static struct ruleset handled_by(long abi, bool has_network, size_t *ret_size)
{
	struct ruleset rules = { .fs = FS_ALL_ABI1 };

	*ret_size = sizeof(uint64_t);
	if (abi >= 2)
		rules.fs |= FS_REFER;
	if (abi >= 3)
		rules.fs |= FS_TRUNCATE;
	if (abi >= 4) {
		rules.net = has_network ? NET_BIND_TCP : NET_BIND_TCP | NET_CONNECT_TCP;
		*ret_size = 2 * sizeof(uint64_t);
	}
	if (abi >= 5)
		rules.fs |= FS_IOCTL_DEV;
	if (abi >= 6) {
		rules.scoped = SCOPE_SIGNAL;
		*ret_size = 3 * sizeof(uint64_t);
	}
	return rules;
}

static uint64_t rights_for(unsigned access)
{
	uint64_t rights = 0;

	if (access & SANDBOX_READ)
		rights |= FS_READ_FILE | FS_READ_DIR;
	if (access & SANDBOX_WRITE)
		rights |= FS_WRITE_FILE | FS_TRUNCATE | FS_REMOVE_FILE | FS_REMOVE_DIR | FS_MAKE_DIR | FS_MAKE_REG | FS_REFER;
	if (access & SANDBOX_EXECUTE)
		rights |= FS_EXECUTE;
	if (access & SANDBOX_DEVICE)
		rights |= FS_IOCTL_DEV;
	if (access & SANDBOX_NODES)
		rights |= FS_READ_FILE | FS_WRITE_FILE;
	return rights;
}

static int allow_path(int ruleset_fd, uint64_t handled, const struct path_rule *rule, struct agent_error **err)
{
	_cleanup_close_ int fd = open(rule->path, O_PATH | O_CLOEXEC);
	struct path_beneath beneath = { .allowed_access = rights_for(rule->access) & handled };
	struct stat st;

	/* Out of reach for this user means out of reach in the sandbox as well. */
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return agent_error_set(err, -errno, "sandbox.landlock", "cannot open %s: %s", rule->path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		beneath.allowed_access &= FS_ON_FILES;
	beneath.parent_fd = fd;
	if (syscall(__NR_landlock_add_rule, ruleset_fd, RULE_PATH_BENEATH, &beneath, 0) < 0)
		return agent_error_set(err, -errno, "sandbox.landlock", "cannot allow %s: %s", rule->path, strerror(errno));
	return 0;
}

bool landlock_is_there(void)
{
	return syscall(__NR_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION) >= 1;
}

int landlock_nest(struct agent_error **err)
{
	/* A domain has to take something away. */
	struct ruleset rules = { .fs = FS_MAKE_BLOCK };
	long abi = syscall(__NR_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
	size_t size = abi >= 6 ? sizeof(rules) : sizeof(rules.fs);
	_cleanup_close_ int fd = -1;

	if (abi >= 6)
		rules.scoped = SCOPE_SIGNAL;
	fd = (int)syscall(__NR_landlock_create_ruleset, &rules, size, 0);
	if (fd < 0 || syscall(__NR_landlock_restrict_self, fd, 0) < 0)
		return agent_error_set(err, -errno, "sandbox.landlock", "cannot enter a Landlock domain of its own: %s", strerror(errno));
	return 0;
}

int landlock_enter(const struct path_rule *rules, size_t n_rules, bool has_network, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	struct ruleset handled;
	size_t size;
	long abi;

	abi = syscall(__NR_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
	if (abi < 0) {
		service_log(LOG_NOTICE, "the kernel has no Landlock (%s): file rules are left to ownership and the service manager",
			    strerror(errno));
		return 0;
	}
	handled = handled_by(abi, has_network, &size);
	fd = (int)syscall(__NR_landlock_create_ruleset, &handled, size, 0);
	if (fd < 0)
		return agent_error_set(err, -errno, "sandbox.landlock", "cannot make a Landlock ruleset: %s", strerror(errno));
	for (size_t i = 0; i < n_rules; i++) {
		int r = allow_path(fd, handled.fs, &rules[i], err);

		if (r < 0)
			return r;
	}
	if (syscall(__NR_landlock_restrict_self, fd, 0) < 0)
		return agent_error_set(err, -errno, "sandbox.landlock", "cannot enter the Landlock domain: %s", strerror(errno));
	return 0;
}
