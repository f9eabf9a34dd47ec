/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/script/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
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
};

static void entry_walk(struct walk *w, int dir_fd, const char *name, unsigned depth);

/* @dir_fd is taken. */
static void folder_walk(struct walk *w, int dir_fd, unsigned depth)
{
	DIR *dir = dir_fd < 0 ? NULL : fdopendir(dir_fd);
	const struct dirent *entry;

	if (dir == NULL) {
		if (dir_fd >= 0)
			close(dir_fd);
		return;
	}
	while (!w->is_over && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			entry_walk(w, dirfd(dir), entry->d_name, depth);
	closedir(dir);
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
	if (S_ISDIR(st.st_mode) && !w->is_over) {
		if (w->removes && depth < 2 * DEPTH_MAX) /* a script may have taken the right to look into it */
			(void)!fchmodat(dir_fd, name, 0700, 0);
		if (depth < 2 * DEPTH_MAX)
			folder_walk(w, openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), depth + 1);
	}
	if (w->removes)
		(void)unlinkat(dir_fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
}

bool folder_is_full(const char *path)
{
	struct walk w = { 0 };

	folder_walk(&w, open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), 0);
	return w.is_over;
}

void folder_clear(const char *path)
{
	struct walk w = { .removes = true };

	folder_walk(&w, open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), 0);
}
