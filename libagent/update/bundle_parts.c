/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/bundle_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "update/hash.h"

#define BLOCK_BYTES ((size_t)256 * 1024)
#define ALIGN_BYTES 512	/* writers fill the last block, cpio(1) */

void parts_clear(struct parts *parts)
{
	for (size_t i = 0; i < parts->n; i++) {
		free(parts->items[i].data);
		if (parts->items[i].owns_fd)
			close_fdp(&parts->items[i].fd);
	}
	close_fdp(&parts->fd);
	parts->n = 0;
}

struct part *parts_find(struct parts *parts, const char *name)
{
	for (size_t i = 0; i < parts->n; i++)
		if (strcmp(parts->items[i].name, name) == 0)
			return &parts->items[i];
	return NULL;
}

int parts_add(struct parts *parts, const char *name, struct part **ret_part, struct agent_error **err)
{
	struct part *p;

	if (parts->n == CONTAINER_MEMBERS_MAX)
		return agent_error_set(err, -EMSGSIZE, "bundle.size", "a bundle has at most %d members", CONTAINER_MEMBERS_MAX);
	if (strlen(name) + 1 > CONTAINER_NAME_MAX)
		return agent_error_set(err, -EMSGSIZE, "bundle.size", "the name of member %.60s... has more than %d characters", name, CONTAINER_NAME_MAX - 1);
	if (parts_find(parts, name) != NULL)
		return agent_error_set(err, -EBADMSG, "manifest.duplicate", "two members of the bundle would be called %s", name);
	p = &parts->items[parts->n++];
	*p = (struct part){ .fd = -1 };
	strcpy(p->name, name);
	*ret_part = p;
	return 0;
}

int part_set(struct part *part, const void *data, size_t size, struct agent_error **err)
{
	char *copy = malloc(size + 1);

	if (copy == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for %s", part->name);
	if (size > 0)
		memcpy(copy, data, size);
	copy[size] = '\0';
	free(part->data);
	if (part->owns_fd)
		close_fdp(&part->fd);
	part->data = copy;
	part->fd = -1;
	part->owns_fd = false;
	part->offset = 0;
	part->size = size;
	return part_measure(part, 0, NULL, NULL, err);
}

int parts_add_data(struct parts *parts, const char *name, const void *data, size_t size, struct agent_error **err)
{
	struct part *p = NULL;
	int r = parts_add(parts, name, &p, err);

	return r < 0 ? r : part_set(p, data, size, err);
}

int part_open(struct part *part, int dir_fd, const char *name, struct agent_error **err)
{
	struct stat st;

	/* O_NONBLOCK: a pipe would wait for somebody who writes into it. */
	part->fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (part->fd < 0)
		return agent_error_set(err, -errno, "bundle.source", "cannot open %s: %s", name, strerror(errno));
	part->owns_fd = true;
	if (fstat(part->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return agent_error_set(err, -EINVAL, "bundle.source", "%s is no regular file", name);
	if (st.st_size == 0)
		return agent_error_set(err, -EINVAL, "bundle.source", "%s is empty", name);
	part->size = (uint64_t)st.st_size;
	return 0;
}

static int member_pass(struct container *container, uint8_t *block, struct agent_error **err)
{
	int r = 0;

	while (r == 0 && container_left(container) > 0)
		r = container_read(container, block, container_left(container) < BLOCK_BYTES ? (size_t)container_left(container) : BLOCK_BYTES, err);
	return r;
}

int parts_read(struct parts *parts, const char *path, struct agent_error **err)
{
	_cleanup_(container_freep) struct container *container = NULL;
	_cleanup_free_ uint8_t *block = malloc(BLOCK_BYTES);
	struct member member;
	int r;

	parts->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (parts->fd < 0)
		return agent_error_set(err, -errno, "bundle.source", "cannot open %s: %s", path, strerror(errno));
	if (block == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to read %s", path);
	if (lseek(parts->fd, 0, SEEK_SET) < 0)
		return agent_error_set(err, -EINVAL, "bundle.source", "%s is no regular file", path);
	r = container_new(parts->fd, &container, err);
	while (r >= 0 && (r = container_next(container, &member, err)) > 0) {
		off_t offset = lseek(parts->fd, 0, SEEK_CUR);
		struct part *p = NULL;

		r = parts_add(parts, member.name, &p, err);
		if (r < 0)
			return r;
		p->fd = parts->fd;
		p->offset = (uint64_t)offset;
		p->size = member.size_bytes;
		r = member_pass(container, block, err);
	}
	return r;
}

int part_read(const struct part *part, uint64_t offset, void *data, size_t size, struct agent_error **err)
{
	ssize_t n;

	if (size == 0)
		return 0;
	if (offset > part->size || size > part->size - offset)
		return agent_error_set(err, -EINVAL, "bundle.source", "%s has only %" PRIu64 " bytes", part->name, part->size);
	if (part->data != NULL) {
		memcpy(data, part->data + offset, size);
		return 0;
	}
	n = pread_full(part->fd, data, size, part->offset + offset);
	if (n < 0)
		return agent_error_set(err, (int)n, "bundle.source", "cannot read %s: %s", part->name, strerror((int)-n));
	if ((size_t)n < size)
		return agent_error_set(err, -ESTALE, "bundle.changed", "%s became shorter while it was read", part->name);
	return 0;
}

int part_measure(struct part *part, uint32_t chunk_bytes, char **ret_table, size_t *ret_table_size, struct agent_error **err)
{
	size_t step = chunk_bytes != 0 ? chunk_bytes : BLOCK_BYTES;
	uint64_t n_chunks = (part->size + step - 1) / step;
	_cleanup_(digest_freep) struct digest *hash = NULL;
	_cleanup_free_ uint8_t *block = malloc(step);
	_cleanup_free_ char *table = NULL;
	int r = hash_start(&hash, err);

	if (chunk_bytes != 0)
		table = malloc((size_t)n_chunks * DIGEST_SIZE + 1);
	if (block == NULL || (chunk_bytes != 0 && table == NULL))
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to read %s", part->name);
	part->sum = 0;
	for (uint64_t i = 0; r == 0 && i < n_chunks; i++) {
		uint64_t left = part->size - i * step;
		size_t size = left < step ? (size_t)left : step;

		r = part_read(part, i * step, block, size, err);
		if (r == 0)
			r = hash_add(hash, block, size, err);
		if (r == 0 && table != NULL && digest_sha256(block, size, (uint8_t *)table + i * DIGEST_SIZE) < 0)
			r = hash_failed(-ENOMEM, err);
		part->sum += container_sum(block, r == 0 ? size : 0);
	}
	if (r == 0)
		r = hash_end(hash, part->sha256, err);
	if (r < 0)
		return r;
	part->is_measured = true;
	if (table != NULL) {
		*ret_table_size = (size_t)n_chunks * DIGEST_SIZE;
		*ret_table = TAKE_PTR(table);
	}
	return 0;
}

/* ---- the file that is made ------------------------------------------------------------------------------------------------ */

static int write_failed(const char *path, int r, struct agent_error **err)
{
	return agent_error_set(err, r, "bundle.write", "cannot write %s: %s", path, strerror(-r));
}

static int exists(const char *path, struct agent_error **err)
{
	return agent_error_set(err, -EEXIST, "bundle.exists", "%s exists already and is not overwritten", path);
}

/* "FOLDER/.NAME.XXXXXX", and the file of that name. */
static int scratch_open(const char *path, char **ret_name, int *ret_fd, struct agent_error **err)
{
	const char *slash = strrchr(path, '/'), *base = slash == NULL ? path : slash + 1;
	int n = (int)(base - path);

	if (base[0] == '\0')
		return agent_error_set(err, -EISDIR, "bundle.write", "cannot write %s: it is a folder", path);
	if (asprintf(ret_name, "%.*s.%.200s.XXXXXX", n, path, base) < 0) {
		*ret_name = NULL;
		return write_failed(path, -ENOMEM, err);
	}
	*ret_fd = mkostemp(*ret_name, O_CLOEXEC);
	return *ret_fd < 0 ? write_failed(path, -errno, err) : 0;
}

int out_check(const char *path, struct agent_error **err)
{
	struct stat st;
	int fd = -1, r;

	if (lstat(path, &st) == 0)
		return exists(path, err);
	r = out_scratch(path, &fd, err);
	close_fdp(&fd);
	return r;
}

int out_scratch(const char *path, int *ret_fd, struct agent_error **err)
{
	_cleanup_free_ char *name = NULL;
	int r = scratch_open(path, &name, ret_fd, err);

	if (r == 0)
		(void)unlink(name);
	return r;
}

struct writer {
	FILE *file;
	const char *path;
	uint64_t position, time_s;
	unsigned n_members;
};

static int put(struct writer *w, const void *data, size_t size, struct agent_error **err)
{
	if (size > 0 && fwrite(data, 1, size, w->file) != size)
		return write_failed(w->path, errno == 0 ? -EIO : -errno, err);
	w->position += size;
	return 0;
}

static int put_zeros(struct writer *w, size_t align, struct agent_error **err)
{
	static const uint8_t zeros[ALIGN_BYTES];
	size_t over = (size_t)(w->position % align);

	return over == 0 ? 0 : put(w, zeros, align - over, err);
}

/* cpio(5), "New ASCII format"; the last field is the sum of all bytes. */
static int put_header(struct writer *w, const char *name, uint32_t mode, uint32_t size, uint32_t sum, struct agent_error **err)
{
	char header[128];
	int r;

	w->n_members++;
	snprintf(header, sizeof(header), "070702%08X%08X%08X%08X%08X%08" PRIX32 "%08" PRIX32 "%08X%08X%08X%08X%08X%08" PRIX32, w->n_members, mode, 0u, 0u, 1u,
		 (uint32_t)w->time_s, size, 0u, 0u, 0u, 0u, (unsigned)strlen(name) + 1, sum);
	r = put(w, header, strlen(header), err);
	if (r == 0)
		r = put(w, name, strlen(name) + 1, err);
	return r < 0 ? r : put_zeros(w, 4, err);
}

static int put_part(struct writer *w, const struct part *part, uint8_t *block, struct agent_error **err)
{
	_cleanup_(digest_freep) struct digest *hash = NULL;
	uint8_t digest[DIGEST_SIZE];
	int r = hash_start(&hash, err);

	if (r == 0)
		r = put_header(w, part->name, S_IFREG | 0644, (uint32_t)part->size, part->sum, err);
	for (uint64_t at = 0; r == 0 && at < part->size;) {
		size_t size = part->size - at < BLOCK_BYTES ? (size_t)(part->size - at) : BLOCK_BYTES;

		r = part_read(part, at, block, size, err);
		if (r == 0)
			r = hash_add(hash, block, size, err);
		if (r == 0)
			r = put(w, block, size, err);
		at += size;
	}
	if (r == 0)
		r = hash_end(hash, digest, err);
	if (r == 0 && memcmp(digest, part->sha256, sizeof(digest)) != 0)
		r = agent_error_set(err, -ESTALE, "bundle.changed", "%s changed while it was read", part->name);
	return r < 0 ? r : put_zeros(w, 4, err);
}

static int archive_write(struct writer *w, const struct parts *parts, struct agent_error **err)
{
	_cleanup_free_ uint8_t *block = malloc(BLOCK_BYTES);
	int r = 0;

	if (block == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to write %s", w->path);
	for (size_t i = 0; r == 0 && i < parts->n; i++) {
		if (parts->items[i].size > UINT32_MAX)
			return agent_error_set(err, -EMSGSIZE, "bundle.size", "%s has %" PRIu64 " bytes, a member of the archive ends below 4 GiB: compress it",
					       parts->items[i].name, parts->items[i].size);
		r = put_part(w, &parts->items[i], block, err);
	}
	if (r == 0)
		r = put_header(w, "TRAILER!!!", 0, 0, 0, err);
	if (r == 0)
		r = put_zeros(w, ALIGN_BYTES, err);
	if (r == 0 && (fflush(w->file) != 0 || fsync(fileno(w->file)) < 0))
		r = write_failed(w->path, -errno, err);
	return r;
}

/* Like rename(), but never over something that is there. Some file systems know no hard links. */
static int give_name(const char *from, const char *path, struct agent_error **err)
{
	if (link(from, path) == 0) {
		(void)unlink(from);
		return 0;
	}
	if (errno == EEXIST)
		return exists(path, err);
	if (access(path, F_OK) == 0)
		return exists(path, err);
	return rename(from, path) < 0 ? write_failed(path, -errno, err) : 0;
}

int parts_write(const struct parts *parts, const char *path, uint64_t time_s, struct agent_error **err)
{
	struct writer w = { .path = path, .time_s = time_s > UINT32_MAX ? UINT32_MAX : time_s };
	_cleanup_free_ char *name = NULL;
	int fd = -1, r = scratch_open(path, &name, &fd, err);

	if (r < 0)
		return r;
	w.file = fdopen(fd, "w");
	if (w.file == NULL) {
		r = write_failed(path, -errno, err);
		close(fd);
	} else {
		r = archive_write(&w, parts, err);
		if (r == 0 && fchmod(fd, 0644) < 0)
			r = write_failed(path, -errno, err);
		if (fclose(w.file) != 0 && r == 0)
			r = write_failed(path, -errno, err);
	}
	if (r == 0)
		r = give_name(name, path, err);
	if (r < 0)
		(void)unlink(name);
	return r;
}

int out_make(const char *path, const char *first, const char *second, size_t second_size, struct agent_error **err)
{
	_cleanup_free_ char *name = NULL;
	int fd = -1, r = scratch_open(path, &name, &fd, err);

	if (r < 0)
		return r;
	r = write_all(fd, first, strlen(first));
	if (r == 0)
		r = write_all(fd, second, second_size);
	if (r == 0 && (fchmod(fd, 0644) < 0 || fsync(fd) < 0))
		r = -errno;
	close(fd);
	r = r < 0 ? write_failed(path, r, err) : give_name(name, path, err);
	if (r < 0)
		(void)unlink(name);
	return r;
}
