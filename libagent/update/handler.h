/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_HANDLER_H
#define UPDATE_HANDLER_H
/*
 * How bytes get into a slot. A new kind is one file handler_<type>.c with one row, and one pointer in update_handlers[]
 * (handler.c). Bytes come in order, through blocks the handler lends, so that raw images are never copied.
 */
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "update/slot.h"

struct update_handler {
	const char *type;	/* "type" of the image in the manifest */
	/* Open the slot for @plain_bytes in blocks of up to @block_bytes (a power of two, CHUNK_MIN..CHUNK_MAX). -ENOSPC slot.size. */
	int (*open)(const struct slot *slot, uint64_t plain_bytes, size_t block_bytes, void **ret_handle, struct agent_error **err);
	/* Lend a block of block_bytes; then take it back with @size bytes in it, only the last one short. */
	int (*get_block)(void *handle, uint8_t **ret_block, struct agent_error **err);
	int (*put_block)(void *handle, size_t size, struct agent_error **err);
	/* All bytes are in: sync, read back past the cache and compare with the SHA-256 of the plain bytes. -EBADMSG slot.readback. */
	int (*finish)(void *handle, const uint8_t sha256[32], struct agent_error **err);
	/* Release everything, after success as after failure; takes NULL. */
	void (*close)(void *handle);
};

extern const struct update_handler handler_raw;

/* NULL if there is none. */
const struct update_handler *handler_find(const char *type);

#endif
