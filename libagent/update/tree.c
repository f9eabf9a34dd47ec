/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(HAVE_LINUX_OPENAT2_H)
#include <linux/openat2.h>
#endif

#include "base/file.h"
#include "update/hash.h"

#define FILES_MAX 65536		/* with the names: what reading back costs in memory */
#define NAMES_MAX (4 * MIB)
#define DEPTH_MAX 32
#define READ_BYTES (256 * KIB)

struct tree_file {
	char *path;
	uint8_t tag[TAG_SIZE];
};

struct tree {
	const struct slot *slot;
	int fd;
	struct tree_file *files;
	size_t n_files, n_room, names_bytes;
	int file_fd;
	struct tag *tag;	/* of the file under way; one key for all */
};

DEFINE_CLEANUP(DIR *, closedir)

static int io_error(const struct slot *slot, int r, const char *what, struct agent_error **err)
{
	if (r == -ENOSPC || r == -EDQUOT)
		return agent_error_set(err, -ENOSPC, "slot.size", "slot %s is full at %s", slot->name, what);
	return agent_error_set(err, r, "slot.io", "slot %s: %s: %s", slot->name, what, strerror(-r));
}

/* One name below @dir_fd: no link, no mount, no way up. */
static int open_below(int dir_fd, const char *name, int flags, unsigned mode)
{
	int fd;

#if defined(HAVE_LINUX_OPENAT2_H) && defined(SYS_openat2)
	const struct open_how how = { .flags = (unsigned)flags | O_NOFOLLOW | O_CLOEXEC, .mode = flags & O_CREAT ? mode : 0,
				      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };

	fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	if (fd >= 0 || errno != ENOSYS)
		return fd < 0 ? -errno : fd;
#endif
	/* A name has no slash and is not "..": see path_next(). */
	fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

static int top_open(const struct slot *slot, int *ret_fd, struct agent_error **err)
{
	*ret_fd = open(slot->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return agent_error_set(err, -EINVAL, "slot.type", "slot %s: %s is no folder, which files need", slot->name, slot->path);
	if (*ret_fd < 0)
		return agent_error_set(err, -errno, "slot.open", "slot %s: cannot open %s: %s", slot->name, slot->path, strerror(errno));
	return 0;
}

int tree_check(const struct slot *slot, uint64_t *ret_room, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	struct statvfs fs;
	int r = top_open(slot, &fd, err);

	if (r < 0)
		return r;
	if (fstatvfs(fd, &fs) < 0)
		return agent_error_set(err, -errno, "slot.open", "slot %s: cannot ask %s for its size: %s", slot->name, slot->path, strerror(errno));
	if (fs.f_flag & ST_RDONLY)
		return agent_error_set(err, -EROFS, "slot.read-only", "slot %s: the file system of %s is mounted read-only", slot->name, slot->path);
	if (__builtin_mul_overflow((uint64_t)fs.f_blocks, (uint64_t)fs.f_frsize, ret_room))
		*ret_room = UINT64_MAX;
	return 0;
}

/* Takes over @fd. */
static int clear_folder(int fd, dev_t dev, unsigned depth)
{
	_cleanup_(closedirp) DIR *dir = fdopendir(fd);
	const struct dirent *entry;

	if (dir == NULL) {
		close(fd);
		return -errno;
	}
	while ((errno = 0, entry = readdir(dir)) != NULL) {
		struct stat st;
		int child, r;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || (depth == 0 && strcmp(entry->d_name, "lost+found") == 0))
			continue;
		if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (st.st_dev != dev)
			return -EXDEV;
		if (S_ISDIR(st.st_mode)) {
			if (depth == DEPTH_MAX)
				return -ELOOP;
			child = open_below(fd, entry->d_name, O_RDONLY | O_DIRECTORY, 0);
			r = child < 0 ? child : clear_folder(child, dev, depth + 1);
			if (r < 0)
				return r;
		}
		if (unlinkat(fd, entry->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
			return -errno;
	}
	return errno == 0 ? 0 : -errno;
}

int tree_clear(const struct slot *slot, struct agent_error **err)
{
	struct stat st;
	int fd, r = top_open(slot, &fd, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0) {
		r = -errno;
		close(fd);
	} else {
		r = clear_folder(fd, st.st_dev, 0);
	}
	return r < 0 ? io_error(slot, r, "cannot remove what is there", err) : 0;
}

int tree_new(const struct slot *slot, struct tree **ret_tree, struct agent_error **err)
{
	_cleanup_(tree_freep) struct tree *tree = calloc(1, sizeof(*tree));
	int r;

	if (tree == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to write slot %s", slot->name);
	tree->slot = slot;
	tree->fd = tree->file_fd = -1;
	r = top_open(slot, &tree->fd, err);
	if (r == 0)
		r = tag_start(&tree->tag, err);
	if (r < 0)
		return r;
	*ret_tree = TAKE_PTR(tree);
	return 0;
}

struct tree *tree_free(struct tree *tree)
{
	if (tree == NULL)
		return NULL;
	for (size_t i = 0; i < tree->n_files; i++)
		free(tree->files[i].path);
	free(tree->files);
	close_fdp(&tree->file_fd);
	close_fdp(&tree->fd);
	tag_free(tree->tag);
	free(tree);
	return NULL;
}

static int bad_path(const char *path, const char *why, struct agent_error **err)
{
	return agent_error_set(err, -EBADMSG, "update.path", "\"%.100s\" %s", path, why);
}

/* The next name of *path, which is the rest of @whole, into @name; 0 at the end. "." is skipped, ".." is refused. */
static int path_next(const char *whole, const char **path, char name[256], struct agent_error **err)
{
	size_t n;

	do {
		*path += strspn(*path, "/");
		n = strcspn(*path, "/");
		if (n > 255)
			return bad_path(whole, "holds a name of more than 255 bytes", err);
		memcpy(name, *path, n);
		name[n] = '\0';
		*path += n;
	} while (strcmp(name, ".") == 0);
	return strcmp(name, "..") == 0 ? bad_path(whole, "leads upwards", err) : n > 0;
}

/* The folder that holds the last name of @path, which goes into @name. */
static int parent_open(struct tree *tree, const char *path, bool makes_folders, int *ret_fd, char name[256], struct agent_error **err)
{
	_cleanup_close_ int fd = dup(tree->fd);
	const char *rest = path;
	char next[256];
	int r;

	if (fd < 0)
		return io_error(tree->slot, -errno, path, err);
	r = path_next(path, &rest, name, err);
	if (r == 0)
		r = bad_path(path, "names nothing", err);
	for (unsigned depth = 0; r > 0 && (r = path_next(path, &rest, next, err)) > 0; depth++) {
		int child;

		if (depth == DEPTH_MAX)
			return bad_path(path, "lies too deep", err);
		if (makes_folders && mkdirat(fd, name, 0755) < 0 && errno != EEXIST)
			return io_error(tree->slot, -errno, path, err);
		child = open_below(fd, name, O_RDONLY | O_DIRECTORY, 0);
		if (child == -ENOENT)
			return bad_path(path, "lies in a folder that is not there; create-destination makes it", err);
		if (child < 0)
			return bad_path(path, "goes through something that is no folder", err);
		close(fd);
		fd = child;
		strcpy(name, next);
	}
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int tree_folder(struct tree *tree, const char *path, unsigned mode, struct agent_error **err)
{
	_cleanup_close_ int parent = -1, fd = -1;
	char name[256];
	int r;

	r = parent_open(tree, path, true, &parent, name, err);
	if (r < 0)
		return r;
	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		return io_error(tree->slot, -errno, path, err);
	fd = open_below(parent, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return bad_path(path, "is there already and no folder", err);
	/* We have to go on writing into it. */
	return fchmod(fd, (mode & 0777) | 0700) < 0 ? io_error(tree->slot, -errno, path, err) : 0;
}

int tree_file_begin(struct tree *tree, const char *path, bool makes_folders, struct agent_error **err)
{
	_cleanup_close_ int parent = -1;
	struct tree_file *file;
	char name[256];
	int r;

	r = parent_open(tree, path, makes_folders, &parent, name, err);
	if (r < 0)
		return r;
	tree->names_bytes += strlen(path) + 1;
	if (tree->n_files == FILES_MAX || tree->names_bytes > NAMES_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.archive", "more than %d files, or names of more than %zu bytes: use a file system image",
				       FILES_MAX, NAMES_MAX);
	if (tree->n_files == tree->n_room) {
		size_t n = tree->n_room == 0 ? 64 : 2 * tree->n_room;

		file = realloc(tree->files, n * sizeof(*file));
		if (file == NULL)
			return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the names of files");
		tree->files = file;
		tree->n_room = n;
	}
	r = open_below(parent, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (r == -EEXIST)
		return bad_path(path, "is there twice", err);
	if (r < 0)
		return io_error(tree->slot, r, path, err);
	tree->file_fd = r;
	file = &tree->files[tree->n_files];
	file->path = strdup(path);
	if (file->path == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the name of a file");
	tree->n_files++;
	return 0;
}

int tree_file_write(struct tree *tree, const void *data, size_t size, struct agent_error **err)
{
	const char *path = tree->files[tree->n_files - 1].path;
	int r = write_all(tree->file_fd, data, size);

	return r < 0 ? io_error(tree->slot, r, path, err) : tag_add(tree->tag, data, size, err);
}

int tree_file_end(struct tree *tree, unsigned mode, int64_t mtime_s, struct agent_error **err)
{
	struct tree_file *file = &tree->files[tree->n_files - 1];
	const struct timespec times[2] = { { .tv_sec = (time_t)mtime_s }, { .tv_sec = (time_t)mtime_s } };
	int r = tag_end(tree->tag, file->tag, err);

	if (r == 0 && (fchmod(tree->file_fd, mode & 0777) < 0 || futimens(tree->file_fd, times) < 0))
		r = io_error(tree->slot, -errno, file->path, err);
	close_fdp(&tree->file_fd);
	tree->file_fd = -1;
	return r;
}

static int file_verify(struct tree *tree, const struct tree_file *file, uint8_t *block, struct agent_error **err)
{
	_cleanup_close_ int parent = -1, fd = -1;
	uint8_t found[TAG_SIZE];
	char name[256];
	ssize_t n = 0;
	int r;

	r = parent_open(tree, file->path, false, &parent, name, err);
	if (r < 0)
		return r;
	fd = open_below(parent, name, O_RDONLY, 0);
	if (fd < 0)
		return io_error(tree->slot, fd, file->path, err);
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	while (r == 0 && (n = read_full(fd, block, READ_BYTES)) > 0)
		r = tag_add(tree->tag, block, (size_t)n, err);
	if (n < 0)
		return io_error(tree->slot, (int)n, file->path, err);
	if (r == 0)
		r = tag_end(tree->tag, found, err);
	if (r == 0 && !tag_is_equal(found, file->tag))
		r = agent_error_set(err, -EBADMSG, "slot.readback", "slot %s: %s reads back other bytes than were written", tree->slot->name, file->path);
	return r;
}

int tree_verify(struct tree *tree, struct agent_error **err)
{
	_cleanup_free_ uint8_t *block = malloc(READ_BYTES);
	int r = 0;

	if (block == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to read back");
	if (syncfs(tree->fd) < 0)
		return io_error(tree->slot, -errno, "cannot sync", err);
	for (size_t i = 0; r == 0 && i < tree->n_files; i++)
		r = file_verify(tree, &tree->files[i], block, err);
	return r;
}
