/* SPDX-License-Identifier: Apache-2.0 */
/* "raw": the image is the content of the slot, from its first byte on or from the offset that a stock bundle says. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "update/handler.h"
#include "update/hash.h"
#include "update/slot_io.h"

struct raw {
	const char *slot_name;
	int fd;
	uint64_t offset, plain_bytes, max_bytes, written_bytes;	/* plain_bytes 0: not known before the end */
	struct slot_io *io;
	struct tag *tag;	/* NULL: compared with the signed hash */
};

static void raw_close(void *handle)
{
	struct raw *raw = handle;

	if (raw == NULL)
		return;
	slot_io_free(raw->io);
	tag_free(raw->tag);
	if (raw->fd >= 0)
		close(raw->fd);
	free(raw);
}

static int disk_error(const struct raw *raw, int r, struct agent_error **err)
{
	return agent_error_set(err, r, "slot.io", "slot %s: the device failed: %s", raw->slot_name, strerror(-r));
}

static int raw_room(const struct slot *slot, const struct manifest_image *image, uint64_t size, uint64_t *ret_max_bytes, struct agent_error **err)
{
	uint64_t end;

	if (__builtin_add_overflow(image->offset, image->plain_bytes, &end) || end > size || image->offset >= size)
		return agent_error_set(err, -ENOSPC, "slot.size", "image of %" PRIu64 " bytes at offset %" PRIu64 " does not fit slot %s of %" PRIu64 " bytes",
				       image->plain_bytes, image->offset, slot->name, size);
	*ret_max_bytes = size - image->offset;
	return 0;
}

static int raw_check(const struct slot *slot, const struct manifest_image *image, uint64_t *ret_max_bytes, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	uint64_t size = 0;
	int r = slot_open(slot, &fd, &size, err);

	return r < 0 ? r : raw_room(slot, image, size, ret_max_bytes, err);
}

static int raw_open(const struct slot *slot, const struct manifest_image *image, uint64_t max_bytes, size_t block_bytes, void **ret_handle,
		    struct agent_error **err)
{
	struct raw *raw = calloc(1, sizeof(*raw));
	uint64_t size = 0, room = 0;
	int r;

	if (raw == NULL)
		return agent_error_set(err, -ENOMEM, "slot.open", "no memory to write slot %s", slot->name);
	raw->fd = -1;
	raw->slot_name = slot->name;
	raw->offset = image->offset;
	raw->plain_bytes = image->plain_bytes;
	r = slot_open(slot, &raw->fd, &size, err);
	if (r == 0)
		r = raw_room(slot, image, size, &room, err);
	raw->max_bytes = image->plain_bytes != 0 ? image->plain_bytes : room < max_bytes ? room : max_bytes;
	if (r == 0 && !handler_compares_hash(&handler_raw, image))
		r = tag_start(&raw->tag, err);
	if (r == 0) {
		r = slot_io_new(raw->fd, SLOT_IO_WRITE, block_bytes, raw->offset, raw->max_bytes, raw->tag, &raw->io);
		if (r < 0)
			disk_error(raw, r, err);
	}
	if (r < 0) {
		raw_close(raw);
		return r;
	}
	*ret_handle = raw;
	return 0;
}

static int raw_get_block(void *handle, uint8_t **ret_block, struct agent_error **err)
{
	struct raw *raw = handle;
	int r = slot_io_get_block(raw->io, ret_block);

	return r < 0 ? disk_error(raw, r, err) : 0;
}

static int raw_count(struct raw *raw, size_t size, struct agent_error **err)
{
	if (size > raw->max_bytes - raw->written_bytes)
		return agent_error_set(err, -EMSGSIZE, "update.size", "image is longer than the %" PRIu64 " bytes that were signed or have room",
				       raw->max_bytes);
	raw->written_bytes += size;
	return 0;
}

static int raw_put_block(void *handle, size_t size, struct agent_error **err)
{
	struct raw *raw = handle;
	int r = raw_count(raw, size, err);

	if (r < 0)
		return r;
	r = slot_io_put_block(raw->io, size);
	return r < 0 ? disk_error(raw, r, err) : 0;
}

static int raw_skip(void *handle, size_t size, struct agent_error **err)
{
	struct raw *raw = handle;
	int r = raw_count(raw, size, err);

	if (r == 0)
		slot_io_skip(raw->io, size);
	return r;
}

/* What the medium has, block by block into @hash or @tag, one of which is NULL. */
static int read_back(struct raw *raw, struct digest *hash, struct tag *tag, struct agent_error **err)
{
	_cleanup_(slot_io_freep) struct slot_io *io = NULL;
	size_t size = slot_io_block_bytes(raw->io);
	const uint8_t *block = NULL;
	int r;

	raw->io = slot_io_free(raw->io);
	/* What matters is what the medium has: pages written without O_DIRECT must not answer for it. */
	(void)posix_fadvise(raw->fd, 0, 0, POSIX_FADV_DONTNEED);
	r = slot_io_new(raw->fd, SLOT_IO_READ, size, raw->offset, raw->written_bytes, NULL, &io);
	if (r < 0)
		return disk_error(raw, r, err);
	while ((r = slot_io_next_block(io, &block, &size)) == 0 && size > 0) {
		r = hash != NULL ? hash_add(hash, block, size, err) : tag_add(tag, block, size, err);
		if (r < 0)
			return r;
	}
	return r < 0 ? disk_error(raw, r, err) : 0;
}

static int raw_finish(void *handle, const uint8_t sha256[32], struct agent_error **err)
{
	_cleanup_(digest_freep) struct digest *hash = NULL;
	struct raw *raw = handle;
	uint8_t digest[DIGEST_SIZE], written[TAG_SIZE], found[TAG_SIZE];
	bool is_equal = false;
	int r;

	if (raw->plain_bytes != 0 && raw->written_bytes != raw->plain_bytes)
		return agent_error_set(err, -EBADMSG, "update.size", "image has %" PRIu64 " bytes, %" PRIu64 " were signed", raw->written_bytes, raw->plain_bytes);
	r = raw->tag == NULL ? hash_start(&hash, err) : 0;
	if (r < 0)
		return r;
	r = slot_io_sync(raw->io);
	if (r < 0)
		return disk_error(raw, r, err);
	/* The thread has no more blocks, so the tag is ours. */
	r = raw->tag == NULL ? 0 : tag_end(raw->tag, written, err);
	if (r == 0)
		r = read_back(raw, hash, raw->tag, err);
	if (r == 0 && raw->tag == NULL) {
		r = hash_end(hash, digest, err);
		is_equal = r == 0 && memcmp(digest, sha256, sizeof(digest)) == 0;
	} else if (r == 0) {
		r = tag_end(raw->tag, found, err);
		is_equal = r == 0 && tag_is_equal(written, found);
	}
	if (r == 0 && !is_equal)
		r = agent_error_set(err, -EBADMSG, "slot.readback", "slot %s reads back other bytes than were %s", raw->slot_name,
				    raw->tag == NULL ? "signed" : "written");
	return r;
}

static int raw_read_at(void *handle, uint64_t offset, uint8_t *data, size_t size)
{
	const struct raw *raw = handle;
	ssize_t n = pread_full(raw->fd, data, size, raw->offset + offset);

	return n < 0 ? (int)n : (size_t)n < size ? -EIO : 0;
}

const struct update_handler handler_raw = {
	.type = "raw",
	.check = raw_check,
	.open = raw_open,
	.get_block = raw_get_block,
	.put_block = raw_put_block,
	.skip = raw_skip,
	.finish = raw_finish,
	.read_at = raw_read_at,
	.close = raw_close,
};
