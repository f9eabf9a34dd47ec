/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/container.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/text.h"

#define HEADER_BYTES 110	/* "newc": 6 bytes of magic and thirteen fields of 8 digits, cpio(5) */
#define TRAILER_NAME "TRAILER!!!"
#define TAIL_MAX 511		/* writers fill the last block of 512 */

enum { FIELD_INO, FIELD_MODE, FIELD_UID, FIELD_GID, FIELD_NLINK, FIELD_MTIME, FIELD_FILESIZE, FIELD_DEVMAJOR, FIELD_DEVMINOR,
       FIELD_RDEVMAJOR, FIELD_RDEVMINOR, FIELD_NAMESIZE, FIELD_CHECKSUM, N_FIELDS };

static const char *const field_names[N_FIELDS] = { "ino", "mode", "uid", "gid", "nlink", "mtime", "filesize", "devmajor", "devminor", "rdevmajor", "rdevminor",
						   "namesize", "checksum" };

struct container {
	struct source source;
	bool has_checksum;
	bool at_end;
	uint32_t checksum, checksum_wanted;
	uint64_t left;		/* data bytes of the current member still to come */
	size_t padding;		/* after them */
	uint64_t position;	/* bytes read in all, for messages */
	size_t n_names;
	char name[CONTAINER_NAME_MAX + 1];
	char *names[CONTAINER_MEMBERS_MAX];
};

int container_new_from(const struct source *source, struct container **ret_container, struct agent_error **err)
{
	struct container *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return agent_error_set(err, -ENOMEM, "container.memory", "no memory to read the bundle");
	c->source = *source;
	*ret_container = c;
	return 0;
}

int container_new(int fd, struct container **ret_container, struct agent_error **err)
{
	struct source source = source_from_fd(fd);

	return container_new_from(&source, ret_container, err);
}

struct container *container_free(struct container *c)
{
	if (c == NULL)
		return NULL;
	for (size_t i = 0; i < c->n_names; i++)
		free(c->names[i]);
	free(c);
	return NULL;
}

uint64_t container_left(const struct container *c)
{
	return c->left;
}

static int read_failed(struct container *c, int r, struct agent_error **why, struct agent_error **err)
{
	/* Whoever was asked for the bytes knows better. */
	if (*why != NULL)
		return agent_error_move(err, why);
	return agent_error_set(err, -EIO, "container.read", "cannot read the bundle at byte %" PRIu64 ": %s", c->position, strerror(-r));
}

static int read_exactly(struct container *c, void *data, size_t size, const char *what, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	ssize_t n = source_read(&c->source, data, size, &why);

	if (n < 0)
		return read_failed(c, (int)n, &why, err);
	c->position += (uint64_t)n;
	if ((size_t)n < size)
		return agent_error_set(err, -EBADMSG, "container.short", "bundle ends at byte %" PRIu64 ", inside %s", c->position, what);
	return 0;
}

static int read_padding(struct container *c, size_t size, struct agent_error **err)
{
	char what[CONTAINER_NAME_MAX + 32];
	uint8_t bytes[4] = { 0 };
	int r;

	if (size == 0)
		return 0;
	snprintf(what, sizeof(what), "padding of member %s", c->name);
	r = read_exactly(c, bytes, size, what, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != 0)
			return agent_error_set(err, -EBADMSG, "container.padding", "padding of member %s, before byte %" PRIu64 ", is not zero", c->name, c->position);
	return 0;
}

/* After the trailer: the rest of a block of 512, zero, and then nothing. */
static int read_tail(struct container *c, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	uint8_t tail[TAIL_MAX + 1];
	ssize_t n = source_read(&c->source, tail, sizeof(tail), &why);

	if (n < 0)
		return read_failed(c, (int)n, &why, err);
	if ((size_t)n > TAIL_MAX)
		return agent_error_set(err, -EBADMSG, "container.trailing", "more than %d bytes follow the trailer", TAIL_MAX);
	for (ssize_t i = 0; i < n; i++)
		if (tail[i] != 0)
			return agent_error_set(err, -EBADMSG, "container.trailing", "bytes other than zero follow the trailer");
	c->at_end = true;
	return 0;
}

bool container_is_name(const char *text)
{
	size_t n = strlen(text);

	return n > 0 && n < CONTAINER_NAME_MAX && text_is_printable(text) && strchr(text, '/') == NULL && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

static int name_check(struct container *c, size_t size, struct agent_error **err)
{
	if (c->name[size - 1] != '\0' || strlen(c->name) != size - 1 || size < 2)
		return agent_error_set(err, -EBADMSG, "container.name", "member name before byte %" PRIu64 " is not one string of %zu bytes", c->position, size);
	if (!container_is_name(c->name))
		return agent_error_set(err, -EBADMSG, "container.name", "member name \"%.60s\" before byte %" PRIu64 " is no plain name: no slash, no control character, UTF-8",
				       c->name, c->position);
	for (size_t i = 0; i < c->n_names; i++)
		if (strcmp(c->names[i], c->name) == 0)
			return agent_error_set(err, -EBADMSG, "container.duplicate", "member %s appears twice", c->name);
	return 0;
}

/* What has no name yet is told by what comes before it. */
static const char *last_name(const struct container *c)
{
	return c->n_names == 0 ? "the beginning" : c->names[c->n_names - 1];
}

static int header_parse(struct container *c, const uint8_t *bytes, uint32_t *field, struct agent_error **err)
{
	struct buf in = buf_from(bytes, HEADER_BYTES);
	int r;

	if (memcmp(bytes, "070702", 6) == 0)
		c->has_checksum = true;
	else if (memcmp(bytes, "070701", 6) == 0)
		c->has_checksum = false;
	else
		return agent_error_set(err, -EBADMSG, "container.magic", "no CPIO header (070701 or 070702) at byte %" PRIu64 ", after %s",
				       c->position - HEADER_BYTES, last_name(c));
	r = buf_skip(&in, 6);
	for (int i = 0; r == 0 && i < N_FIELDS; i++) {
		r = buf_get_hex32(&in, &field[i]);
		if (r < 0)
			return agent_error_set(err, -EBADMSG, "container.header", "header before byte %" PRIu64 ", after %s: its %s is no number of 8 hexadecimal digits",
					       c->position, last_name(c), field_names[i]);
	}
	if (field[FIELD_NAMESIZE] < 2 || field[FIELD_NAMESIZE] > CONTAINER_NAME_MAX)
		return agent_error_set(err, -EBADMSG, "container.name", "header before byte %" PRIu64 ", after %s: its namesize is %" PRIu32 ", allowed are 2 to %d",
				       c->position, last_name(c), field[FIELD_NAMESIZE], CONTAINER_NAME_MAX);
	return 0;
}

int container_next(struct container *c, struct member *ret_member, struct agent_error **err)
{
	char what[CONTAINER_NAME_MAX + 64];
	uint8_t header[HEADER_BYTES];
	uint32_t field[N_FIELDS] = { 0 };
	bool is_trailer;
	int r;

	if (c->left > 0)
		return agent_error_set(err, -EINVAL, "container.order", "member %s was not read whole", c->name);
	if (c->at_end)
		return 0;
	snprintf(what, sizeof(what), "the header of the member after %s", last_name(c));
	r = read_exactly(c, header, sizeof(header), what, err);
	if (r == 0)
		r = header_parse(c, header, field, err);
	if (r == 0)
		r = read_exactly(c, c->name, field[FIELD_NAMESIZE], what, err);
	if (r == 0)
		r = name_check(c, field[FIELD_NAMESIZE], err);
	if (r == 0)
		r = read_padding(c, (4 - (HEADER_BYTES + field[FIELD_NAMESIZE]) % 4) % 4, err);
	if (r < 0)
		return r;
	is_trailer = strcmp(c->name, TRAILER_NAME) == 0;
	if (is_trailer) {
		if (field[FIELD_FILESIZE] != 0)
			return agent_error_set(err, -EBADMSG, "container.header", "the trailer has %" PRIu32 " data bytes", field[FIELD_FILESIZE]);
		return read_tail(c, err);
	}
	/* Some generators write no file type at all; links, folders and devices have no business here. */
	if ((field[FIELD_MODE] & S_IFMT) != 0 && (field[FIELD_MODE] & S_IFMT) != S_IFREG)
		return agent_error_set(err, -EBADMSG, "container.header", "member %s is not a regular file, its mode is %06" PRIo32, c->name, field[FIELD_MODE]);
	if (c->n_names == CONTAINER_MEMBERS_MAX)
		return agent_error_set(err, -EMSGSIZE, "container.members", "more than %d members", CONTAINER_MEMBERS_MAX);
	c->names[c->n_names] = strdup(c->name);
	if (c->names[c->n_names] == NULL)
		return agent_error_set(err, -ENOMEM, "container.memory", "no memory to read the bundle");
	c->n_names++;
	c->checksum = 0;
	c->checksum_wanted = field[FIELD_CHECKSUM];
	c->left = field[FIELD_FILESIZE];
	c->padding = (4 - field[FIELD_FILESIZE] % 4) % 4;
	*ret_member = (struct member){ .name = c->names[c->n_names - 1], .size_bytes = c->left };
	return 1;
}

/*
 * Sum of all bytes, eight at a time: even and odd bytes are added up in four lanes of 16 bits each, emptied before they can
 * overflow (128 * 2 * 255 < 65536). Byte by byte this took as long as SHA-256 does.
 */
uint32_t container_sum(const uint8_t *p, size_t size)
{
	const uint64_t low = UINT64_C(0x00ff00ff00ff00ff);
	uint32_t sum = 0;

	while (size >= 8) {
		size_t n = size / 8 < 128 ? size / 8 : 128;
		uint64_t lanes = 0;

		for (size_t i = 0; i < n; i++) {
			uint64_t word;

			memcpy(&word, p + i * 8, sizeof(word));
			lanes += (word & low) + (word >> 8 & low);
		}
		for (int i = 0; i < 64; i += 16)
			sum += (uint32_t)(lanes >> i & 0xffff);
		p += n * 8;
		size -= n * 8;
	}
	while (size-- > 0)
		sum += *p++;
	return sum;
}

/* After the last byte. */
static int member_end(struct container *c, struct agent_error **err)
{
	int r = read_padding(c, c->padding, err);

	c->padding = 0;
	if (r == 0 && c->has_checksum && c->checksum != c->checksum_wanted)
		r = agent_error_set(err, -EBADMSG, "container.checksum", "member %s has CPIO checksum %08" PRIx32 ", its header says %08" PRIx32,
				    c->name, c->checksum, c->checksum_wanted);
	return r;
}

int container_read(struct container *c, void *data, size_t size, struct agent_error **err)
{
	int r;

	if (size > c->left)
		return agent_error_set(err, -EINVAL, "container.order", "member %s has only %" PRIu64 " bytes left", c->name, c->left);
	r = read_exactly(c, data, size, c->name, err);
	if (r < 0)
		return r;
	if (c->has_checksum)
		c->checksum += container_sum(data, size);
	c->left -= size;
	return c->left > 0 ? 0 : member_end(c, err);
}

int container_skip(struct container *c, uint64_t size, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	int r;

	if (size > c->left)
		return agent_error_set(err, -EINVAL, "container.order", "member %s has only %" PRIu64 " bytes left", c->name, c->left);
	r = source_skip(&c->source, size, &why);
	if (r < 0)
		return read_failed(c, r, &why, err);
	c->has_checksum = false;
	c->position += size;
	c->left -= size;
	return c->left > 0 ? 0 : member_end(c, err);
}

void container_expect(struct container *c, uint64_t size)
{
	source_expect(&c->source, size < c->left ? size : c->left);
}
