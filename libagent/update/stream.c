/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "update/filter.h"
#include "update/hash.h"

#define COMPAT_BLOCK (256 * 1024)

struct stream {
	struct container *container;
	const struct manifest_image *image;
	const uint8_t *table;
	const struct update_handler *handler;
	void *handle;
	struct digest *chunk_hash;		/* strict only */
	stream_progress_fn progress;
	void *userdata;
	uint64_t n_chunks, done_bytes;
};

int stream_read_table(struct container *container, const struct manifest_image *image, uint64_t member_bytes, uint8_t **ret_table,
		      struct agent_error **err)
{
	_cleanup_(digest_freep) struct digest *hash = NULL;
	uint64_t wanted = manifest_image_chunks(image) * DIGEST_SIZE;
	_cleanup_free_ uint8_t *table = NULL;
	uint8_t digest[DIGEST_SIZE];
	int r;

	if (member_bytes != wanted)
		return agent_error_set(err, -EBADMSG, "update.chunk-table", "chunk table %s has %" PRIu64 " bytes, its image needs %" PRIu64,
				       image->table_member, member_bytes, wanted);
	if (wanted > STREAM_TABLES_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.chunk-table", "chunk table %s has %" PRIu64 " bytes, limit %d: use larger chunks",
				       image->table_member, wanted, STREAM_TABLES_MAX);
	table = malloc((size_t)wanted);
	if (table == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for a chunk table");
	r = hash_start(&hash, err);
	if (r == 0)
		r = container_read(container, table, (size_t)wanted, err);
	if (r == 0)
		r = hash_add(hash, table, (size_t)wanted, err);
	if (r == 0)
		r = hash_end(hash, digest, err);
	if (r == 0 && memcmp(digest, image->table_sha256, DIGEST_SIZE) != 0)
		r = agent_error_set(err, -EBADMSG, "update.chunk-table", "chunk table %s has another SHA-256 than was signed", image->table_member);
	if (r < 0)
		return r;
	*ret_table = TAKE_PTR(table);
	return 0;
}

/* The next stored bytes into @block; in strict mode they are a chunk whose hash was found good. */
static int chunk_read(struct stream *s, uint8_t *block, size_t block_bytes, size_t *ret_size, struct agent_error **err)
{
	uint64_t left = container_left(s->container);
	size_t size = left < block_bytes ? (size_t)left : block_bytes;
	uint8_t digest[DIGEST_SIZE];
	int r;

	r = container_read(s->container, block, size, err);
	if (r < 0)
		return r;
	if (s->table != NULL) {
		r = hash_add(s->chunk_hash, block, size, err);
		if (r == 0)
			r = hash_end(s->chunk_hash, digest, err);
		if (r < 0)
			return r;
		if (memcmp(digest, s->table + s->n_chunks * DIGEST_SIZE, DIGEST_SIZE) != 0)
			return agent_error_set(err, -EBADMSG, "update.chunk", "chunk %" PRIu64 " of %s differs from what was signed", s->n_chunks,
					       s->image->member);
	}
	s->n_chunks++;
	s->done_bytes += size;
	if (s->progress != NULL)
		s->progress(s->userdata, s->done_bytes);
	*ret_size = size;
	return 0;
}

/* Not compressed: chunks are read straight into the handler's blocks. */
static int copy_plain(struct stream *s, size_t block_bytes, struct agent_error **err)
{
	while (container_left(s->container) > 0) {
		uint8_t *block = NULL;
		size_t size = 0;
		int r = s->handler->get_block(s->handle, &block, err);

		if (r == 0)
			r = chunk_read(s, block, block_bytes, &size, err);
		if (r == 0)
			r = s->handler->put_block(s->handle, size, err);
		if (r < 0)
			return r;
	}
	/* Equality with the signed hash is established by reading back. */
	return s->handler->finish(s->handle, s->image->sha256, err);
}

struct unpack {
	const struct filter *filter;
	void *state;
	bool at_end;
	uint8_t *block;		/* lent by the handler */
	size_t fill, block_bytes;
	uint64_t plain_bytes;
	struct digest *plain_hash;
};

static int unpack_flush(struct stream *s, struct unpack *u, struct agent_error **err)
{
	int r = hash_add(u->plain_hash, u->block, u->fill, err);

	if (r == 0)
		r = s->handler->put_block(s->handle, u->fill, err);
	u->block = NULL;
	u->fill = 0;
	return r;
}

/* All of one verified chunk through the filter. Output can never exceed the signed size: the handler refuses it. */
static int unpack_chunk(struct stream *s, struct unpack *u, const uint8_t *in, size_t n_in, struct agent_error **err)
{
	size_t n_out = 0;
	int r = 0;

	do {
		if (u->at_end && n_in > 0)
			return agent_error_set(err, -EBADMSG, "update.compression", "bytes follow the end of the compressed stream");
		if (u->block == NULL)
			r = s->handler->get_block(s->handle, &u->block, err);
		if (r == 0 && !u->at_end)
			r = u->filter->run(u->state, &in, &n_in, u->block + u->fill, u->block_bytes - u->fill, &n_out, &u->at_end, err);
		if (r < 0)
			return r;
		u->fill += n_out;
		u->plain_bytes += n_out;
		if (u->plain_bytes > s->image->plain_bytes)
			return agent_error_set(err, -EMSGSIZE, "update.size", "%s unpacks to more than the %" PRIu64 " bytes that were signed",
					       s->image->member, s->image->plain_bytes);
		if (u->fill == u->block_bytes)
			r = unpack_flush(s, u, err);
		/* A full block may mean that the filter holds more. */
	} while (r == 0 && !u->at_end && (n_in > 0 || u->block == NULL));
	return r < 0 || n_in == 0 ? r : agent_error_set(err, -EBADMSG, "update.compression", "bytes follow the end of the compressed stream");
}

static int copy_unpacked(struct stream *s, size_t block_bytes, const struct filter *filter, struct agent_error **err)
{
	_cleanup_(digest_freep) struct digest *stored_hash = NULL;
	_cleanup_(digest_freep) struct digest *plain_hash = NULL;
	struct unpack u = { .filter = filter, .block_bytes = block_bytes };
	_cleanup_free_ uint8_t *chunk = malloc(block_bytes);
	uint8_t digest[DIGEST_SIZE];
	int r;

	if (chunk == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for a chunk");
	r = hash_start(&stored_hash, err);
	if (r == 0)
		r = hash_start(&plain_hash, err);
	if (r == 0)
		r = filter->open(&u.state, err);
	u.plain_hash = plain_hash;
	while (r == 0 && container_left(s->container) > 0) {
		size_t size = 0;

		r = chunk_read(s, chunk, block_bytes, &size, err);
		if (r == 0)
			r = hash_add(stored_hash, chunk, size, err);
		if (r == 0)
			r = unpack_chunk(s, &u, chunk, size, err);
	}
	if (r == 0 && u.fill > 0)
		r = unpack_flush(s, &u, err);
	if (r == 0 && !u.at_end)
		r = agent_error_set(err, -EBADMSG, "update.compression", "the compressed stream of %s is cut short", s->image->member);
	if (r == 0)
		r = hash_end(stored_hash, digest, err);
	if (r == 0 && memcmp(digest, s->image->sha256, DIGEST_SIZE) != 0)
		r = agent_error_set(err, -EBADMSG, "update.hash", "%s has another SHA-256 than was signed", s->image->member);
	if (r == 0)
		r = hash_end(plain_hash, digest, err);
	if (r == 0)
		r = s->handler->finish(s->handle, digest, err);
	filter->close(u.state);
	return r;
}

int stream_image(struct container *container, const struct manifest_image *image, const uint8_t *table, const struct slot *slot,
		 stream_progress_fn progress, void *userdata, struct agent_error **err)
{
	struct stream s = { .container = container, .image = image, .table = table, .progress = progress, .userdata = userdata };
	const struct filter *filter = filter_find(image->filter);
	size_t block_bytes = table != NULL ? image->chunk_bytes : COMPAT_BLOCK;
	_cleanup_(digest_freep) struct digest *chunk_hash = NULL;
	int r;

	s.handler = handler_find(image->type);
	if (s.handler == NULL)
		return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "images of type %s are not supported", image->type);
	r = hash_start(&chunk_hash, err);
	if (r == 0)
		r = s.handler->open(slot, image->plain_bytes, block_bytes, &s.handle, err);
	if (r < 0)
		return r;
	s.chunk_hash = chunk_hash;
	r = filter == NULL ? copy_plain(&s, block_bytes, err) : copy_unpacked(&s, block_bytes, filter, err);
	s.handler->close(s.handle);
	return r;
}
