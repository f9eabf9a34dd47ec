/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define BLOCK 512	/* POSIX.1-2017, pax, "ustar Interchange Format" */

/* Offsets and lengths in a header, the same source. */
enum { NAME = 0, NAME_N = 100, MODE = 100, MODE_N = 8, SIZE = 124, SIZE_N = 12, MTIME = 136, MTIME_N = 12, CHKSUM = 148, CHKSUM_N = 8, TYPE = 156,
       MAGIC = 257, PREFIX = 345, PREFIX_N = 155 };

struct tar {
	struct tree *tree;
	char prefix[256];
	uint64_t max_bytes, written_bytes;
	enum { AT_HEADER, IN_FILE, IN_META, IN_PADDING, AT_END } state;
	uint8_t header[BLOCK];
	size_t fill;		/* of header, or of meta */
	unsigned n_zero;	/* blocks of zeros: two end an archive */
	unsigned n_entries;
	uint64_t left;		/* bytes of the body to come */
	size_t padding;
	char meta_type;
	char *meta;
	size_t meta_size;
	unsigned mode;
	int64_t mtime_s;
	/* From extended headers, for the next entry. */
	char path[TAR_PATH_MAX];
	bool has_path, has_size, has_mtime;
	uint64_t next_size;
	int64_t next_mtime_s;
};

int tar_new(struct tree *tree, const char *prefix, uint64_t max_bytes, struct tar **ret_tar, struct agent_error **err)
{
	struct tar *tar = calloc(1, sizeof(*tar));

	if (tar == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to read an archive");
	tar->tree = tree;
	tar->max_bytes = max_bytes;
	snprintf(tar->prefix, sizeof(tar->prefix), "%s", prefix);
	*ret_tar = tar;
	return 0;
}

struct tar *tar_free(struct tar *tar)
{
	if (tar == NULL)
		return NULL;
	free(tar->meta);
	free(tar);
	return NULL;
}

static int damaged(const struct tar *tar, const char *what, struct agent_error **err)
{
	return agent_error_set(err, -EBADMSG, "update.archive", "entry %u of the archive: %s", tar->n_entries, what);
}

/* Octal digits, with blanks around; or binary, as GNU tar writes what does not fit. */
static int number_parse(const uint8_t *p, size_t n, uint64_t *ret_value)
{
	uint64_t value = 0;
	size_t i = 0;

	if (p[0] & 0x80) {
		if (p[0] != 0x80) /* negative, or above 2^56 of the shortest field */
			return -EBADMSG;
		for (i = 1; i < n; i++) {
			if (value > UINT64_MAX >> 8)
				return -EBADMSG;
			value = value << 8 | p[i];
		}
	} else {
		while (i < n && p[i] == ' ')
			i++;
		for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
			value = value << 3 | (uint64_t)(p[i] - '0'); /* 12 digits have 36 bits */
		for (; i < n; i++)
			if (p[i] != ' ' && p[i] != '\0')
				return -EBADMSG;
	}
	if (value > INT64_MAX)
		return -EBADMSG;
	*ret_value = value;
	return 0;
}

static bool checksum_is_good(const uint8_t *h)
{
	uint64_t wanted = 0, sum = 0;

	for (int i = 0; i < BLOCK; i++)
		sum += i >= CHKSUM && i < CHKSUM + CHKSUM_N ? ' ' : h[i];
	return number_parse(h + CHKSUM, CHKSUM_N, &wanted) == 0 && wanted == sum;
}

static int header_name(struct tar *tar, struct agent_error **err)
{
	const uint8_t *h = tar->header;
	bool is_posix = memcmp(h + MAGIC, "ustar", 6) == 0;

	if (tar->has_path)
		return 0;
	if (is_posix && h[PREFIX] != '\0')
		snprintf(tar->path, sizeof(tar->path), "%.*s/%.*s", PREFIX_N, (const char *)h + PREFIX, NAME_N, (const char *)h + NAME);
	else
		snprintf(tar->path, sizeof(tar->path), "%.*s", NAME_N, (const char *)h + NAME);
	return tar->path[0] == '\0' ? damaged(tar, "it has no name", err) : 0;
}

static void body_begin(struct tar *tar, uint64_t size)
{
	tar->left = size;
	tar->padding = (size_t)((BLOCK - size % BLOCK) % BLOCK);
	tar->fill = 0;
}

static int meta_begin(struct tar *tar, char type, uint64_t size, struct agent_error **err)
{
	if (size == 0 || size > TAR_META_MAX)
		return damaged(tar, "an extended header is empty or above 64 KiB", err);
	free(tar->meta);
	tar->meta = malloc((size_t)size + 1);
	if (tar->meta == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to read an archive");
	tar->meta_size = (size_t)size;
	tar->meta_type = type;
	tar->state = IN_META;
	body_begin(tar, size);
	return 0;
}

static bool is_top(const char *path)
{
	while (*path == '/' || (*path == '.' && (path[1] == '/' || path[1] == '\0')))
		path++;
	return *path == '\0';
}

/* An entry of its own: file or folder. */
static int entry_begin(struct tar *tar, char type, uint64_t size, struct agent_error **err)
{
	char path[sizeof(tar->prefix) + sizeof(tar->path)];
	size_t n = strlen(tar->path);
	bool is_folder = type == '5' || tar->path[n - 1] == '/';
	int r;

	if (type != '0' && type != '\0' && type != '5')
		return agent_error_set(err, -EOPNOTSUPP, "update.archive", "\"%.100s\" of the archive is a link, a device or of another kind '%c': use a file system image",
				       tar->path, type >= 0x20 && type < 0x7f ? type : '?');
	if (tar->mode & 06000)
		return agent_error_set(err, -EOPNOTSUPP, "update.archive", "\"%.100s\" of the archive is setuid or setgid: use a file system image", tar->path);
	if (tar->path[0] == '/')
		return agent_error_set(err, -EBADMSG, "update.path", "\"%.100s\" of the archive is absolute", tar->path);
	if (is_folder && size != 0)
		return damaged(tar, "a folder has content", err);
	if (size > tar->max_bytes - tar->written_bytes)
		return agent_error_set(err, -EMSGSIZE, "update.size", "the archive unpacks to more than the %" PRIu64 " bytes there is room for", tar->max_bytes);
	tar->written_bytes += size;
	snprintf(path, sizeof(path), "%s/%s", tar->prefix, tar->path);
	if (is_folder)
		r = is_top(path) ? 0 : tree_folder(tar->tree, path, tar->mode, err);
	else
		r = tree_file_begin(tar->tree, path, true, err);
	if (r < 0)
		return r;
	body_begin(tar, size);
	tar->state = is_folder ? AT_HEADER : IN_FILE;
	return 0;
}

static int header_parse(struct tar *tar, struct agent_error **err)
{
	const uint8_t *h = tar->header;
	uint64_t size = 0, mode = 0, mtime = 0;
	char type = (char)h[TYPE];

	if (++tar->n_entries > TAR_ENTRIES_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.archive", "more than %d entries in the archive: use a file system image", TAR_ENTRIES_MAX);
	if (!checksum_is_good(h))
		return damaged(tar, "the header's checksum is wrong; this is no tar archive (gzip and zstd are recognised, nothing else), or it is damaged", err);
	if (number_parse(h + SIZE, SIZE_N, &size) < 0 || number_parse(h + MODE, MODE_N, &mode) < 0)
		return damaged(tar, "size or mode is no number", err);
	if (number_parse(h + MTIME, MTIME_N, &mtime) < 0)
		mtime = 0;
	if (type == 'x' || type == 'L' || type == 'g' || type == 'K')
		return meta_begin(tar, type, size, err);
	tar->mode = (unsigned)(mode & 07777);
	tar->mtime_s = tar->has_mtime ? tar->next_mtime_s : (int64_t)mtime;
	if (tar->has_size)
		size = tar->next_size;
	if (header_name(tar, err) < 0)
		return -EBADMSG;
	tar->has_path = tar->has_size = tar->has_mtime = false;
	return entry_begin(tar, type, size, err);
}

/* "27 path=some/where\n" */
static int record_parse(struct tar *tar, const char *key, const char *value, size_t n, struct agent_error **err)
{
	uint64_t number = 0;
	size_t i = 0;

	if (strncmp(key, "GNU.sparse", 10) == 0)
		return agent_error_set(err, -EOPNOTSUPP, "update.archive", "the archive holds sparse files: make it without --sparse");
	if (strcmp(key, "path") == 0) {
		if (n == 0 || n >= sizeof(tar->path) || memchr(value, '\0', n) != NULL)
			return damaged(tar, "its path is empty, too long or holds a NUL byte", err);
		memcpy(tar->path, value, n);
		tar->path[n] = '\0';
		tar->has_path = true;
		return 0;
	}
	if (strcmp(key, "size") != 0 && strcmp(key, "mtime") != 0)
		return 0;
	for (; i < n && value[i] >= '0' && value[i] <= '9'; i++)
		if (__builtin_mul_overflow(number, UINT64_C(10), &number) || __builtin_add_overflow(number, (uint64_t)(value[i] - '0'), &number))
			return damaged(tar, "a number in its extended header is too large", err);
	if (strcmp(key, "size") == 0) {
		if (i == 0 || i != n || number > INT64_MAX)
			return damaged(tar, "its size is no number", err);
		tar->next_size = number;
		tar->has_size = true;
	} else if (i > 0 && number <= INT64_MAX) { /* what follows are fractions of a second */
		tar->next_mtime_s = (int64_t)number;
		tar->has_mtime = true;
	}
	return 0;
}

static int pax_parse(struct tar *tar, struct agent_error **err)
{
	size_t at = 0;

	while (at < tar->meta_size) {
		char *record = tar->meta + at, *key, *equal;
		size_t n = 0, digits = 0;
		int r;

		while (digits < 6 && at + digits < tar->meta_size && record[digits] >= '0' && record[digits] <= '9')
			n = n * 10 + (size_t)(record[digits++] - '0');
		if (digits == 0 || n > tar->meta_size - at || n < digits + 3 || record[digits] != ' ' || record[n - 1] != '\n')
			return damaged(tar, "its extended header is damaged", err);
		record[n - 1] = '\0';
		key = record + digits + 1;
		equal = memchr(key, '=', n - digits - 1);
		if (equal == NULL)
			return damaged(tar, "its extended header has a record without '='", err);
		*equal = '\0';
		r = record_parse(tar, key, equal + 1, (size_t)(record + n - 1 - (equal + 1)), err);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

static int meta_end(struct tar *tar, struct agent_error **err)
{
	tar->meta[tar->meta_size] = '\0';
	if (tar->meta_type == 'x')
		return pax_parse(tar, err);
	if (tar->meta_type == 'L')
		return record_parse(tar, "path", tar->meta, strnlen(tar->meta, tar->meta_size), err);
	return 0; /* for all entries, or the name of a link: nothing we use */
}

static int body_end(struct tar *tar, struct agent_error **err)
{
	int r = 0;

	if (tar->state == IN_FILE)
		r = tree_file_end(tar->tree, tar->mode, tar->mtime_s, err);
	else if (tar->state == IN_META)
		r = meta_end(tar, err);
	tar->state = tar->padding > 0 ? IN_PADDING : AT_HEADER;
	tar->left = tar->padding;
	tar->padding = 0;
	tar->fill = 0;
	return r;
}

static int block_end(struct tar *tar, struct agent_error **err)
{
	static const uint8_t zeros[BLOCK];

	tar->fill = 0;
	if (memcmp(tar->header, zeros, BLOCK) == 0) {
		if (++tar->n_zero == 2)
			tar->state = AT_END;
		return 0;
	}
	if (tar->n_zero > 0)
		return damaged(tar, "it follows a block of zeros", err);
	return header_parse(tar, err);
}

int tar_push(struct tar *tar, const uint8_t *data, size_t size, struct agent_error **err)
{
	int r = 0;

	for (;;) {
		size_t n = size;

		/* Also bodies of no bytes have an end. */
		if ((tar->state == IN_FILE || tar->state == IN_META || tar->state == IN_PADDING) && tar->left == 0) {
			r = body_end(tar, err);
			if (r < 0)
				return r;
			continue;
		}
		if (size == 0)
			return 0;
		if (tar->state == AT_END)
			return 0;	/* up to the writer's record size; nothing in it is looked at */
		if (tar->state == AT_HEADER) {
			n = n < BLOCK - tar->fill ? n : BLOCK - tar->fill;
			memcpy(tar->header + tar->fill, data, n);
			tar->fill += n;
			r = tar->fill == BLOCK ? block_end(tar, err) : 0;
		} else {
			n = n < tar->left ? n : (size_t)tar->left;
			if (tar->state == IN_FILE) {
				r = tree_file_write(tar->tree, data, n, err);
			} else if (tar->state == IN_META) {
				memcpy(tar->meta + tar->fill, data, n);
				tar->fill += n;
			}
			tar->left -= n;
		}
		if (r < 0)
			return r;
		data += n;
		size -= n;
	}
}

int tar_end(struct tar *tar, struct agent_error **err)
{
	return tar->state == AT_END ? 0 : damaged(tar, "the archive ends in the middle", err);
}
