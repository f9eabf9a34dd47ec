/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agentd/common/caller.h"
#include "base/file.h"
#include "base/macro.h"

/* Linux 6.5; include/uapi/asm-generic/socket.h. Older C libraries do not know it. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

#define CGROUP_MAX (4 * 1024)

static bool has_suffix(const char *text, size_t n, const char *suffix)
{
	size_t n_suffix = strlen(suffix);

	return n > n_suffix && memcmp(text + n - n_suffix, suffix, n_suffix) == 0;
}

/*
 * Slices, then the unit; what is below it is the unit's own business (systemd for a user lives in user@UID.service, and a
 * user may call things there as he likes).
 */
static bool unit_from_path(const char *path, size_t size, char ret_unit[UNIT_NAME_MAX + 1])
{
	size_t pos = 0;

	while (pos < size && path[pos] == '/') {
		const char *name = path + pos + 1;
		const char *end = memchr(name, '/', size - pos - 1);
		size_t n = end == NULL ? size - pos - 1 : (size_t)(end - name);

		if (has_suffix(name, n, ".slice")) {
			pos += n + 1;
			continue;
		}
		if (n > UNIT_NAME_MAX || (!has_suffix(name, n, ".service") && !has_suffix(name, n, ".scope")))
			return false;
		/* systemd puts "_" before a name that a kernel file could have. */
		if (name[0] == '_') {
			name++;
			n--;
		}
		memcpy(ret_unit, name, n);
		ret_unit[n] = '\0';
		return true;
	}
	return false;
}

/* Lines "HIERARCHY:CONTROLLERS:PATH", cgroups(7). The unified hierarchy first, then systemd's own of the older layout. */
bool unit_from_cgroup(const char *text, char ret_unit[UNIT_NAME_MAX + 1])
{
	static const char *const wanted[] = { "::", ":name=systemd:" };

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		for (const char *line = text; *line != '\0';) {
			size_t n = strcspn(line, "\n");
			const char *rest = line + strspn(line, "0123456789");
			size_t n_wanted = strlen(wanted[i]);

			if (strncmp(rest, wanted[i], n_wanted) == 0 &&
			    unit_from_path(rest + n_wanted, n - (size_t)(rest - line) - n_wanted, ret_unit))
				return true;
			line += n + (line[n] == '\n');
		}
	}
	return false;
}

/* Files of /proc have no size, so base/file.h does not fit. */
static bool read_cgroup(pid_t pid, char text[CGROUP_MAX])
{
	_cleanup_close_ int fd = -1;
	char path[48];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd < 0 ? -1 : read_full(fd, text, CGROUP_MAX - 1);
	if (n <= 0 || n == CGROUP_MAX - 1)
		return false;
	text[n] = '\0';
	return strlen(text) == (size_t)n;
}

static void find_unit(int fd, pid_t pid, struct key_caller *caller)
{
	_cleanup_close_ int pidfd = -1;
	char text[CGROUP_MAX];
	socklen_t size = sizeof(pidfd);
	struct pollfd p;

	if (pid <= 0 || getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0 || !read_cgroup(pid, text))
		return;
	/* Readable once the process has ended. Had it ended before we read, the number might have been somebody else's. */
	p = (struct pollfd){ .fd = pidfd, .events = POLLIN };
	if (poll(&p, 1, 0) == 0 && !unit_from_cgroup(text, caller->unit))
		caller->unit[0] = '\0';
}

int caller_from_socket(int fd, struct key_caller *ret_caller)
{
	struct key_caller caller = { .program = NULL };
	gid_t groups[CALLER_GROUPS_MAX];
	socklen_t size = sizeof(struct ucred);
	struct ucred cred;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
		return -errno;
	caller.uid = cred.uid;
	caller.gid = cred.gid;
	size = sizeof(groups);
	/* More groups than we keep: only the first one counts, as none can be left out at random. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) >= 0) {
		caller.n_groups = size / sizeof(groups[0]);
		for (size_t i = 0; i < caller.n_groups; i++)
			caller.groups[i] = groups[i];
	}
	find_unit(fd, cred.pid, &caller);
	*ret_caller = caller;
	return 0;
}
