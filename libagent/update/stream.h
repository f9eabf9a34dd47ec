/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_STREAM_H
#define UPDATE_STREAM_H
/* One pass over a payload: stored bytes -> chunk hash checked -> decompress -> handler. */
#include <stdint.h>

#include <agent/error.h>

#include "update/container.h"
#include "update/handler.h"
#include "update/manifest.h"

#define STREAM_TABLES_MAX (2 * 1024 * 1024)	/* all chunk tables held at one time; 64 Ki chunks */

typedef void (*stream_progress_fn)(void *userdata, uint64_t stored_bytes);

/*
 * Read the chunk table of @image, the current member of @container, and check it against its signed hash. The caller
 * frees it. -EBADMSG update.chunk-table, -EMSGSIZE update.chunk-table.
 */
int stream_read_table(struct container *container, const struct manifest_image *image, uint64_t member_bytes, uint8_t **ret_table,
		      struct agent_error **err);

/*
 * Put @image, the current member, into @slot. With @table not one byte reaches the handler before the hash of its chunk
 * was found in the table; without (stock bundle) the bytes are checked as a whole afterwards. In both cases success means:
 * written, synced, read back and equal to what was signed. -EBADMSG update.chunk, update.hash, update.compression,
 * update.size, slot.readback, container.*; -ENOSPC slot.size; -EIO slot.io.
 */
int stream_image(struct container *container, const struct manifest_image *image, const uint8_t *table, const struct slot *slot,
		 stream_progress_fn progress, void *userdata, struct agent_error **err);

#endif
