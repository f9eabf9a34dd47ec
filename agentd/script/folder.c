/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/script/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "agentd/common/service.h"
#include "base/macro.h"

#define DEPTH_MAX 32

struct walk {
	uint64_t n_bytes;
	unsigned n_files;
	bool is_over;	/* a limit was met */
	bool removes;
	int top_fd;	/* of what is removed */
	unsigned n_moved;
};

static void entry_walk(struct walk *w, int dir_fd, const char *name, unsigned depth);

/* @dir_fd is taken; negative: it could not be opened, for the reason in errno. */
static void folder_walk(struct walk *w, int dir_fd, unsigned depth)
{
	DIR *dir = dir_fd < 0 ? NULL : fdopendir(dir_fd);
	const struct dirent *entry;

	if (dir == NULL) {
		/* What the script shut against us could hide anything. */
		if (dir_fd < 0 && errno == EACCES)
			w->is_over = true;
		if (dir_fd >= 0)
			close(dir_fd);
		return;
	}
	while ((!w->is_over || w->removes) && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			entry_walk(w, dirfd(dir), entry->d_name, depth);
	closedir(dir);
}

/* What is deeper than we go is removed from the top, in the next round. */
static void lift(struct walk *w, int dir_fd, const char *name)
{
	char new_name[32];

	snprintf(new_name, sizeof(new_name), ".agentd-lifted-%u", w->n_moved);
	/* Something of that name is gone in the next round, and the next number another one. */
	if (renameat(dir_fd, name, w->top_fd, new_name) == 0 || errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
		w->n_moved++;
}

static void entry_walk(struct walk *w, int dir_fd, const char *name, unsigned depth)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	w->n_bytes += (uint64_t)st.st_blocks * 512;
	w->n_files++;
	if (!w->removes && (w->n_bytes > FOLDER_BYTES_MAX || w->n_files > FOLDER_FILES_MAX || depth >= DEPTH_MAX))
		w->is_over = true;
	if (S_ISDIR(st.st_mode) && (!w->is_over || w->removes)) {
		if (w->removes) /* a script may have taken the right to look into it */
			(void)!fchmodat(dir_fd, name, 0700, 0);
		if (depth < 2 * DEPTH_MAX)
			folder_walk(w, openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), depth + 1);
		else if (w->removes)
			lift(w, dir_fd, name);
	}
	if (w->removes)
		(void)unlinkat(dir_fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
}

static int folder_open(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

bool folder_is_full(const char *path)
{
	struct walk w = { 0 };

	folder_walk(&w, folder_open(path), 0);
	return w.is_over;
}

void folder_clear(const char *path)
{
	_cleanup_close_ int top_fd = -1;
	struct walk w = { .removes = true };
	unsigned n_before;

	/* A script owns it, and may have shut it. Only root could put a link in its place. */
	(void)!chmod(path, 0700);
	top_fd = folder_open(path);
	w.top_fd = top_fd;
	do {
		n_before = w.n_moved;
		folder_walk(&w, folder_open(path), 0);
	} while (w.n_moved > n_before);
}
