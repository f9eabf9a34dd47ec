/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "ubivol": the image is the content of a UBI volume, put there with the kernel's volume update. UBI marks the volume on flash before it empties
 * it and takes the mark off after the last byte: whatever ends in between leaves a volume that nobody can read. (Linux, drivers/mtd/ubi/cdev.c
 * and upd.c.) So there is nothing to go on with after a cut, and nothing to copy in place.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "update/handler.h"
#include "update/hash.h"
#include "update/ubi.h"

struct ubivol {
	const struct slot *slot;
	int fd;
	uint8_t *block;
	size_t block_bytes;
	uint64_t plain_bytes, written_bytes;
	struct tag *tag;
};

static void ubivol_close(void *handle)
{
	struct ubivol *v = handle;

	if (v == NULL)
		return;
	if (v->fd >= 0)
		ubi_kernel->close(v->fd);
	tag_free(v->tag);
	free(v->block);
	free(v);
}

static int ubivol_check(const struct slot *slot, const struct manifest_image *image, uint64_t *ret_max_bytes, struct agent_error **err)
{
	struct ubi_volume volume;
	int r = ubi_volume_find(slot->path, &volume);

	if (r == -ENODEV)
		return agent_error_set(err, -EINVAL, "slot.type", "slot %s: %s is no UBI volume: give the path of its device, as /dev/ubi0_1", slot->name, slot->path);
	if (r == -EBADMSG)
		return agent_error_set(err, -EINVAL, "slot.type", "slot %s: sysfs says nothing of use about UBI volume %s", slot->name, slot->path);
	if (r < 0)
		return agent_error_set(err, r, "slot.open", "slot %s: cannot look at UBI volume %s: %s", slot->name, slot->path, strerror(-r));
	if (image->plain_bytes == 0)
		return agent_error_set(err, -EBADMSG, "manifest.missing", "an image for a UBI volume needs its signed size");
	if (image->plain_bytes > volume.room_bytes)
		return agent_error_set(err, -ENOSPC, "slot.size", "image of %" PRIu64 " bytes does not fit slot %s, UBI volume %s of %" PRIu64 " bytes in blocks of %" PRIu64,
				       image->plain_bytes, slot->name, volume.name, volume.room_bytes, volume.leb_bytes);
	*ret_max_bytes = volume.room_bytes;
	return 0;
}

static int flash_error(const struct ubivol *v, int r, struct agent_error **err)
{
	return agent_error_set(err, r, "slot.io", "slot %s: UBI volume %s failed: %s", v->slot->name, v->slot->path, strerror(-r));
}

static int update_start(struct ubivol *v, struct agent_error **err)
{
	const struct slot *slot = v->slot;
	int r;

	v->fd = ubi_kernel->open(slot->path);
	if (v->fd == -EBUSY)
		return agent_error_set(err, -EBUSY, "slot.busy", "slot %s: UBI volume %s is mounted or in use", slot->name, slot->path);
	if (v->fd < 0)
		return agent_error_set(err, v->fd, "slot.open", "slot %s: cannot open UBI volume %s: %s", slot->name, slot->path, strerror(-v->fd));
	r = ubi_kernel->start(v->fd, (int64_t)v->plain_bytes);
	if (r == -EBUSY)
		return agent_error_set(err, r, "slot.busy", "slot %s: UBI volume %s is mounted or in use", slot->name, slot->path);
	if (r == -EPERM)
		return agent_error_set(err, r, "slot.open", "slot %s: to update UBI volume %s takes capability CAP_SYS_RESOURCE: see \"UBI volumes\" in docs/design/update.md",
				       slot->name, slot->path);
	if (r == -EROFS)
		return agent_error_set(err, r, "slot.open", "slot %s: UBI volume %s, or its flash, is read-only", slot->name, slot->path);
	return r < 0 ? flash_error(v, r, err) : 0;
}

static int ubivol_open(const struct slot *slot, const struct manifest_image *image, uint64_t max_bytes, size_t block_bytes, void **ret_handle,
		       struct agent_error **err)
{
	struct ubivol *v;
	uint64_t room;
	int r = ubivol_check(slot, image, &room, err);

	if (r < 0)
		return r;
	v = calloc(1, sizeof(*v));
	if (v == NULL || (v->block = malloc(block_bytes)) == NULL) {
		free(v);
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to write an image");
	}
	v->slot = slot;
	v->fd = -1;
	v->block_bytes = block_bytes;
	v->plain_bytes = image->plain_bytes;
	r = tag_start(&v->tag, err);
	if (r == 0)
		r = update_start(v, err);
	if (r < 0) {
		ubivol_close(v);
		return r;
	}
	*ret_handle = v;
	return 0;
}

static int ubivol_get_block(void *handle, uint8_t **ret_block, struct agent_error **err)
{
	struct ubivol *v = handle;

	*ret_block = v->block;
	return 0;
}

static int ubivol_put_block(void *handle, size_t size, struct agent_error **err)
{
	struct ubivol *v = handle;

	if (size > v->plain_bytes - v->written_bytes)
		return agent_error_set(err, -EMSGSIZE, "update.size", "image is longer than the %" PRIu64 " bytes that were signed", v->plain_bytes);
	for (size_t done = 0; done < size;) {
		ssize_t n = ubi_kernel->write(v->fd, v->block + done, size - done);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return flash_error(v, n == 0 ? -EIO : (int)n, err);
		done += (size_t)n;
	}
	v->written_bytes += size;
	return tag_add(v->tag, v->block, size, err);
}

/* UBI reads its character device from flash: there is no page cache in between. */
static int read_back(struct ubivol *v, struct agent_error **err)
{
	uint64_t offset = 0;
	int r = 0;

	while (r == 0 && offset < v->plain_bytes) {
		uint64_t left = v->plain_bytes - offset;
		ssize_t n = ubi_kernel->read(v->fd, v->block, left < v->block_bytes ? (size_t)left : v->block_bytes, offset);

		if (n == -EINTR)
			continue;
		if (n == -EBADF || n == 0)
			return agent_error_set(err, -EBADMSG, "slot.readback", "slot %s: UBI volume %s ends at byte %" PRIu64 " of %" PRIu64 ", or its update did not end",
					       v->slot->name, v->slot->path, offset, v->plain_bytes);
		if (n < 0)
			return flash_error(v, (int)n, err);
		offset += (uint64_t)n;
		r = tag_add(v->tag, v->block, (size_t)n, err);
	}
	return r;
}

static int ubivol_finish(void *handle, const uint8_t sha256[32], struct agent_error **err)
{
	struct ubivol *v = handle;
	uint8_t written[TAG_SIZE], found[TAG_SIZE];
	int r;

	if (v->written_bytes != v->plain_bytes)
		return agent_error_set(err, -EBADMSG, "update.size", "image has %" PRIu64 " bytes, %" PRIu64 " were signed", v->written_bytes, v->plain_bytes);
	r = ubi_kernel->sync(v->fd);
	if (r < 0)
		return flash_error(v, r, err);
	r = tag_end(v->tag, written, err);
	if (r == 0)
		r = read_back(v, err);
	if (r == 0)
		r = tag_end(v->tag, found, err);
	if (r == 0 && !tag_is_equal(written, found))
		r = agent_error_set(err, -EBADMSG, "slot.readback", "slot %s reads back other bytes than were written", v->slot->name);
	return r;
}

const struct update_handler handler_ubivol = {
	.type = "ubivol",
	.check = ubivol_check,
	.open = ubivol_open,
	.get_block = ubivol_get_block,
	.put_block = ubivol_put_block,
	.finish = ubivol_finish,
	.close = ubivol_close,
};
