/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_HANDLER_H
#define UPDATE_HANDLER_H
/*
 * How bytes get into a slot. A new kind is one file handler_<type>.c with one row, and one pointer in update_handlers[]
 * (handler.c). Bytes come in order, through blocks the handler lends, so that raw images are never copied. Sentences name the slot and what is
 * wrong; the member is put before them by whoever calls.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "update/manifest.h"
#include "update/slot.h"

struct update_handler {
	const char *type;	/* "type" of the image in the manifest */
	/* Once per slot, after it was marked not bootable and before the first byte; NULL if there is nothing to do. */
	int (*prepare)(const struct slot *slot, struct agent_error **err);
	/*
	 * May the image go there? Looks only. @ret_max_bytes is what fits from its offset on. -ENOSPC slot.size, -EINVAL slot.type.
	 */
	int (*check)(const struct slot *slot, const struct manifest_image *image, uint64_t *ret_max_bytes, struct agent_error **err);
	/*
	 * Open the slot for the plain bytes of @image (as many as it says, or at most @max_bytes if it does not) in blocks of up to
	 * @block_bytes (a power of two, CHUNK_MIN..CHUNK_MAX). -ENOSPC slot.size.
	 */
	int (*open)(const struct slot *slot, const struct manifest_image *image, uint64_t max_bytes, size_t block_bytes, void **ret_handle,
		    struct agent_error **err);
	/* Lend a block of block_bytes; then take it back with @size bytes in it, only the last one short. */
	int (*get_block)(void *handle, uint8_t **ret_block, struct agent_error **err);
	int (*put_block)(void *handle, size_t size, struct agent_error **err);
	/* The next @size bytes, whole blocks but at the end, were found in the slot already; NULL if this kind has no such thing. */
	int (*skip)(void *handle, size_t size, struct agent_error **err);
	/*
	 * All bytes are in: sync, read back past the cache and compare. With what was written, by a tag (crypto/tag.h), as the caller compared all
	 * of it with what was signed; or, where handler_compares_hash(), with the signed @sha256, which is NULL elsewhere. -EBADMSG slot.readback.
	 */
	int (*finish)(void *handle, const uint8_t sha256[32], struct agent_error **err);
	/* After a finish() that said slot.readback: @size bytes from byte @offset of the image on, as the medium has them. -errno. Where there is skip(). */
	int (*read_at)(void *handle, uint64_t offset, uint8_t *data, size_t size);
	/* Release everything, after success as after failure; takes NULL. */
	void (*close)(void *handle);
};

extern const struct update_handler handler_raw;
extern const struct update_handler handler_rawfile;
extern const struct update_handler handler_archive;
extern const struct update_handler handler_ubivol; /* with --enable-ubi */
/* Not in the table, so that no bundle can name it: takes all bytes and keeps none. */
extern const struct update_handler handler_nowhere;

/*
 * Chunks that are the content of the slot as they are stored may be there already, and so are not written but looked for by their hashes; the
 * whole of such an image is compared with its signed hash when it is read back, and only then.
 */
bool handler_compares_hash(const struct update_handler *handler, const struct manifest_image *image);
/* NULL if there is none. */
const struct update_handler *handler_find(const char *type);

/* What a handler, a filter or a cipher says of the image it has at hand; they do not know its name. */
static inline int of_member(const struct manifest_image *image, int r, struct agent_error **err)
{
	return r < 0 ? agent_error_prefix(err, r, "%s", image->member) : r;
}

#endif
