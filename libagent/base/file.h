/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FILE_H
#define BASE_FILE_H
/* Files: bounded reads, full writes, replacement that survives a power cut. Paths are relative to a folder fd (or AT_FDCWD). */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <agent/error.h>

/*
 * Read a regular file of at most @max_bytes into new memory with a NUL after it; the caller frees it.
 * -ENOENT, -EMSGSIZE, -EINVAL (not a regular file), -errno. Error names: file.open, file.read, file.size.
 */
int file_read_at(int dir_fd, const char *path, size_t max_bytes, char **ret_data, size_t *ret_size, struct agent_error **err);

/*
 * Replace @path by new contents: temp file beside it (".NAME.tmp"), write, fsync, rename, fsync of the folder. After a
 * power cut the file holds either the old or the new bytes. Error names: file.write, file.sync, file.rename.
 */
int file_replace_at(int dir_fd, const char *path, mode_t mode, const void *data, size_t size, struct agent_error **err);

/* Write the temp file and sync it, without the rename: first half of file_replace_at(), for commit orders with a step between. */
int file_write_sync_at(int dir_fd, const char *path, mode_t mode, const void *data, size_t size, struct agent_error **err);

/* fsync the folder itself. */
int dir_sync(int dir_fd, struct agent_error **err);

/* Open a folder O_PATH-less (so that it can be synced); *ret_fd is CLOEXEC. Error name: file.dir. */
int dir_open(const char *path, int *ret_fd, struct agent_error **err);

/* All bytes or an error; goes on after EINTR and short counts. */
int write_all(int fd, const void *data, size_t size);
int pwrite_all(int fd, const void *data, size_t size, uint64_t offset);
/* Up to @size bytes; short only at the end of the file. */
ssize_t read_full(int fd, void *data, size_t size);
ssize_t pread_full(int fd, void *data, size_t size, uint64_t offset);

#endif
