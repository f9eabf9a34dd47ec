/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/reuse.h"

#include <string.h>

#include "base/file.h"
#include "update/hash.h"
#include "update/slot_io.h"

struct reuse {
	struct reuse_options options;
	uint32_t n_chunks;
	bool *is_in_place;	/* by chunk */
	uint32_t *index;	/* hash table over the chunk table: 0 is empty, else 1 + chunk; of equal chunks the first */
	size_t index_mask;
	uint32_t *active_at;	/* by chunk, of equal ones the first: 0 nowhere, else 1 + the chunk of the active slot */
	int active_fd;
	struct digest *hash;
};

struct reuse *reuse_free(struct reuse *u)
{
	if (u == NULL)
		return NULL;
	close_fdp(&u->active_fd);
	digest_free(u->hash);
	free(u->is_in_place);
	free(u->active_at);
	free(u->index);
	free(u);
	return NULL;
}

static const uint8_t *wanted(const struct reuse *u, uint64_t chunk)
{
	return u->options.table + chunk * DIGEST_SIZE;
}

/* Where @hash stands in the index, or the empty place for it. */
static size_t index_place(const struct reuse *u, const uint8_t *hash)
{
	uint64_t start;
	size_t i;

	memcpy(&start, hash, sizeof(start));
	for (i = (size_t)start & u->index_mask; u->index[i] != 0; i = (i + 1) & u->index_mask)
		if (memcmp(wanted(u, u->index[i] - 1), hash, DIGEST_SIZE) == 0)
			break;
	return i;
}

static int index_make(struct reuse *u)
{
	size_t n = 16;

	while (n < (size_t)u->n_chunks * 2)
		n *= 2;
	u->index = calloc(n, sizeof(*u->index));
	u->active_at = calloc(u->n_chunks, sizeof(*u->active_at));
	if (u->index == NULL || u->active_at == NULL)
		return -ENOMEM;
	u->index_mask = n - 1;
	for (uint32_t i = 0; i < u->n_chunks; i++) {
		size_t place = index_place(u, wanted(u, i));

		if (u->index[place] == 0)
			u->index[place] = i + 1;
	}
	return 0;
}

/* Where chunk @chunk, or one that is equal, was found in the active slot. */
static uint32_t *active_place(const struct reuse *u, uint64_t chunk)
{
	return &u->active_at[u->index[index_place(u, wanted(u, chunk))] - 1];
}

static int hash_of(struct reuse *u, const uint8_t *block, size_t size, uint8_t ret_hash[DIGEST_SIZE])
{
	int r = hash_add(u->hash, block, size, NULL);

	return r < 0 ? r : hash_end(u->hash, ret_hash, NULL);
}

/* One pass over @slot as far as the image reaches. @each says whether to go on. */
static void scan(struct reuse *u, const struct slot *slot, bool (*each)(struct reuse *u, uint32_t chunk, const uint8_t *hash, size_t size), int *ret_fd)
{
	const struct manifest_image *image = u->options.image;
	_cleanup_(slot_io_freep) struct slot_io *io = NULL;
	uint64_t slot_bytes = 0, n_bytes = image->plain_bytes;
	uint8_t hash[DIGEST_SIZE];
	const uint8_t *block = NULL;
	size_t size = 0;

	if (slot_open_read(slot, ret_fd, &slot_bytes, NULL) < 0 || slot_bytes <= image->offset)
		return;
	if (n_bytes > slot_bytes - image->offset)
		n_bytes = slot_bytes - image->offset;
	if (slot_io_new(*ret_fd, SLOT_IO_READ, image->chunk_bytes, image->offset, n_bytes, NULL, &io) < 0)
		return;
	for (uint32_t i = 0; slot_io_next_block(io, &block, &size) == 0 && size > 0; i++) {
		if (u->options.tell != NULL)
			u->options.tell(u->options.userdata, 0);
		if (hash_of(u, block, size, hash) < 0 || !each(u, i, hash, size))
			return;
	}
}

/* In the slot that is being written only the right place is of use: other places may be written over before they are read. */
static bool each_of_target(struct reuse *u, uint32_t chunk, const uint8_t *hash, size_t size)
{
	u->is_in_place[chunk] = memcmp(hash, wanted(u, chunk), DIGEST_SIZE) == 0;
	return true;
}

static bool each_of_beginning(struct reuse *u, uint32_t chunk, const uint8_t *hash, size_t size)
{
	return each_of_target(u, chunk, hash, size) && u->is_in_place[chunk];
}

static bool each_of_active(struct reuse *u, uint32_t chunk, const uint8_t *hash, size_t size)
{
	uint32_t known = u->index[index_place(u, hash)];

	if (known != 0 && u->active_at[known - 1] == 0)
		u->active_at[known - 1] = chunk + 1;
	return true;
}

static bool is_complete(const struct reuse *u)
{
	for (uint32_t i = 0; i < u->n_chunks; i++)
		if (!u->is_in_place[i])
			return false;
	return true;
}

struct reuse *reuse_find(const struct reuse_options *options)
{
	_cleanup_(reuse_freep) struct reuse *u = calloc(1, sizeof(*u));
	_cleanup_close_ int target_fd = -1;

	if (u == NULL)
		return NULL;
	u->options = *options;
	u->active_fd = -1;
	u->n_chunks = (uint32_t)manifest_image_chunks(options->image); /* at most STREAM_TABLES_MAX / DIGEST_SIZE */
	u->is_in_place = calloc(u->n_chunks, sizeof(*u->is_in_place));
	if (u->is_in_place == NULL || hash_start(&u->hash, NULL) < 0)
		return NULL;
	scan(u, options->target, options->active == NULL ? each_of_beginning : each_of_target, &target_fd);
	if (options->active != NULL && !is_complete(u)) {
		if (index_make(u) < 0)
			return NULL;
		scan(u, options->active, each_of_active, &u->active_fd);
	}
	return TAKE_PTR(u);
}

enum reuse_where reuse_where(const struct reuse *u, uint64_t chunk)
{
	if (u == NULL)
		return REUSE_NOWHERE;
	if (u->is_in_place[chunk])
		return REUSE_IN_PLACE;
	return u->active_fd >= 0 && *active_place(u, chunk) != 0 ? REUSE_ACTIVE : REUSE_NOWHERE;
}

uint64_t reuse_missing(const struct reuse *u, uint64_t chunk)
{
	uint64_t n = 1;

	while (chunk + n < u->n_chunks && reuse_where(u, chunk + n) == REUSE_NOWHERE)
		n++;
	return n;
}

bool reuse_copy(struct reuse *u, uint64_t chunk, uint8_t *block, size_t size)
{
	const struct manifest_image *image = u->options.image;
	uint32_t *at = active_place(u, chunk);
	uint64_t offset = image->offset + (uint64_t)(*at - 1) * image->chunk_bytes;
	uint8_t hash[DIGEST_SIZE];

	if (pread_full(u->active_fd, block, size, offset) == (ssize_t)size && hash_of(u, block, size, hash) == 0 &&
	    memcmp(hash, wanted(u, chunk), DIGEST_SIZE) == 0)
		return true;
	*at = 0;
	return false;
}
