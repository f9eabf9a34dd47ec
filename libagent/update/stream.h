/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_STREAM_H
#define UPDATE_STREAM_H
/* One pass over a payload: stored bytes -> chunk hash checked -> decrypt -> decompress -> handler. */
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>

#include "update/container.h"
#include "update/handler.h"
#include "update/manifest.h"
#include "update/unpack.h"

#define STREAM_TABLES_MAX (2 * 1024 * 1024)	/* all chunk tables held at one time; 64 Ki chunks */

typedef void (*stream_progress_fn)(void *userdata, uint64_t stored_bytes);

/*
 * Read the chunk table of @image, the current member of @container, and check it against its signed hash. The caller
 * frees it. -EBADMSG update.chunk-table, -EMSGSIZE update.chunk-table.
 */
int stream_read_table(struct container *container, const struct manifest_image *image, uint64_t member_bytes, uint8_t **ret_table,
		      struct agent_error **err);

/* One payload: the current member of @container. */
struct stream_job {
	struct container *container;
	const struct manifest_image *image;
	const uint8_t *table;	/* or NULL in a stock bundle */
	const struct slot *slot;
	const struct update_handler *handler;	/* NULL: the one of the image's type */
	/* What may be on the device already, of a plain image with a table: a broken installation of the same bundle, and the slot that runs. */
	bool may_resume;
	const struct slot *active;	/* NULL: do not look there */
	uint64_t max_bytes;	/* room for the plain bytes */
	const struct stream_key *key;
	stream_progress_fn progress;
	void *userdata;
};

/* What went into the slot. */
struct stream_result {
	uint64_t plain_bytes;
	uint64_t in_place_bytes, copied_bytes;	/* of the plain bytes, those that were not read from the bundle */
};

/*
 * Put the image into the slot. With a table not one byte reaches the handler before the hash of its chunk was found in the
 * table; without (stock bundle) the bytes are checked as a whole afterwards. In both cases success means: written, synced, read back
 * and equal to what was signed. -EBADMSG update.chunk, update.hash, update.compression, update.decryption, update.size,
 * slot.readback, container.*; -ENOKEY update.key, -EINVAL update.key; -ENOSPC slot.size; -EIO slot.io.
 */
int stream_image(const struct stream_job *job, struct stream_result *ret_result, struct agent_error **err);

/*
 * The same member into several slots or places of one (stock bundles): @n jobs with the same container and no table, whose images have the same
 * SHA-256. The bytes are read once; each image has its own decryption, decompression and handler, with 1 MiB of blocks each. As stream_image().
 */
int stream_images(const struct stream_job *jobs, size_t n, struct agent_error **err);

/* Read the member and write it nowhere; with @image it must have its hash all the same. -EBADMSG update.hash, container.*. */
int stream_skip(struct container *container, const struct manifest_image *image, stream_progress_fn progress, void *userdata,
		struct agent_error **err);

#endif
