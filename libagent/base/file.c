/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/secret.h"

/* @offset: NULL for where the file is. */
static int write_at(int fd, const void *data, size_t size, const uint64_t *offset)
{
	size_t done = 0;

	while (done < size) {
		const uint8_t *p = (const uint8_t *)data + done;
		ssize_t n = offset == NULL ? write(fd, p, size - done) : pwrite(fd, p, size - done, (off_t)(*offset + done));

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		done += (size_t)n;
	}
	return 0;
}

static ssize_t read_at(int fd, void *data, size_t size, const uint64_t *offset)
{
	size_t done = 0;

	while (done < size) {
		uint8_t *p = (uint8_t *)data + done;
		ssize_t n = offset == NULL ? read(fd, p, size - done) : pread(fd, p, size - done, (off_t)(*offset + done));

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int write_all(int fd, const void *data, size_t size)
{
	return write_at(fd, data, size, NULL);
}

int pwrite_all(int fd, const void *data, size_t size, uint64_t offset)
{
	return write_at(fd, data, size, &offset);
}

ssize_t read_full(int fd, void *data, size_t size)
{
	return read_at(fd, data, size, NULL);
}

ssize_t pread_full(int fd, void *data, size_t size, uint64_t offset)
{
	return read_at(fd, data, size, &offset);
}

int dir_open(const char *path, int *ret_fd, struct agent_error **err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return agent_error_set(err, -errno, "file.dir", "cannot open the folder %s: %s", path, strerror(errno));
	*ret_fd = fd;
	return 0;
}

int dir_sync(int dir_fd, struct agent_error **err)
{
	_cleanup_close_ int own_fd = -1;

	if (dir_fd == AT_FDCWD) {
		own_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		dir_fd = own_fd;
	}
	if (dir_fd < 0 || fsync(dir_fd) < 0)
		return agent_error_set(err, -errno, "file.sync", "cannot sync a folder: %s", strerror(errno));
	return 0;
}

int file_read_at(int dir_fd, const char *path, size_t max_bytes, char **ret_data, size_t *ret_size, struct agent_error **err)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char *data;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return agent_error_set(err, -errno, "file.open", "cannot open %s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0)
		return agent_error_set(err, -errno, "file.read", "cannot read %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return agent_error_set(err, -EINVAL, "file.read", "%s is not a regular file", path);
	if ((uint64_t)st.st_size > max_bytes)
		return agent_error_set(err, -EMSGSIZE, "file.size", "%s has %" PRIu64 " bytes, limit %zu", path, (uint64_t)st.st_size, max_bytes);
	data = malloc((size_t)st.st_size + 1);
	if (data == NULL)
		return agent_error_set(err, -ENOMEM, "file.read", "no memory to read %s", path);
	n = read_full(fd, data, (size_t)st.st_size);
	if (n < 0) {
		wipe(data, (size_t)st.st_size);
		free(data);
		return agent_error_set(err, (int)n, "file.read", "cannot read %s: %s", path, strerror((int)-n));
	}
	data[n] = '\0';
	*ret_data = data;
	if (ret_size != NULL)
		*ret_size = (size_t)n;
	return 0;
}

int file_write_sync_at(int dir_fd, const char *path, mode_t mode, const void *data, size_t size, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	int r;

	/* A left-over of a crash may have other rights or be a link: start from nothing. */
	if (unlinkat(dir_fd, path, 0) < 0 && errno != ENOENT)
		return agent_error_set(err, -errno, "file.write", "cannot remove the old %s: %s", path, strerror(errno));
	fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return agent_error_set(err, -errno, "file.write", "cannot create %s: %s", path, strerror(errno));
	r = fchmod(fd, mode) < 0 ? -errno : write_all(fd, data, size);
	if (r < 0) {
		unlinkat(dir_fd, path, 0);
		return agent_error_set(err, r, "file.write", "cannot write %s: %s", path, strerror(-r));
	}
	if (fsync(fd) < 0) {
		r = -errno;
		unlinkat(dir_fd, path, 0);
		return agent_error_set(err, r, "file.sync", "cannot sync %s: %s", path, strerror(-r));
	}
	return 0;
}

int file_replace_at(int dir_fd, const char *path, mode_t mode, const void *data, size_t size, struct agent_error **err)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash == NULL ? path : slash + 1;
	_cleanup_free_ char *temp = NULL;
	_cleanup_close_ int folder_fd = -1;
	int r;

	if (asprintf(&temp, ".%s.tmp", base) < 0) {
		temp = NULL;
		return agent_error_set(err, -ENOMEM, "file.write", "no memory to write %s", path);
	}
	/* The temp file must lie in the target's folder, and that folder is the one to sync. */
	if (slash == NULL) {
		folder_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} else {
		_cleanup_free_ char *folder = strndup(path, slash == path ? 1 : (size_t)(slash - path));

		if (folder == NULL)
			return agent_error_set(err, -ENOMEM, "file.write", "no memory to write %s", path);
		folder_fd = openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (folder_fd < 0)
		return agent_error_set(err, -errno, "file.dir", "cannot open the folder of %s: %s", path, strerror(errno));
	r = file_write_sync_at(folder_fd, temp, mode, data, size, err);
	if (r < 0)
		return r;
	if (renameat(folder_fd, temp, folder_fd, base) < 0) {
		r = -errno;
		unlinkat(folder_fd, temp, 0);
		return agent_error_set(err, r, "file.rename", "cannot replace %s: %s", path, strerror(-r));
	}
	return dir_sync(folder_fd, err);
}
