/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "update/hash.h"
#include "update/reuse.h"

#define COMPAT_BLOCK (256 * 1024)

struct stream {
	const struct stream_job *job;
	const struct manifest_image *image;
	const struct update_handler *handler;
	void *handle;
	struct digest *chunk_hash;		/* with a table */
	struct reuse *reuse;			/* or NULL */
	struct digest *stored_hash;		/* NULL where reading back tells: handler_compares_hash() */
	bool is_hashed_there;			/* stored_hash is unpack.c's until all is unpacked */
	uint64_t n_chunks, done_bytes, expected_chunks;
};

static int no_chunk(struct agent_error **err)
{
	return agent_error_set(err, -ENOMEM, "update.memory", "no memory for a chunk");
}

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

static void chunk_done(struct stream *s, size_t size)
{
	s->n_chunks++;
	s->done_bytes += size;
	if (s->job->progress != NULL)
		s->job->progress(s->job->userdata, s->done_bytes);
}

/* The next stored bytes into @block; in strict mode they are a chunk whose hash was found good. */
static int chunk_read(struct stream *s, uint8_t *block, size_t block_bytes, size_t *ret_size, struct agent_error **err)
{
	uint64_t left = container_left(s->job->container);
	size_t size = left < block_bytes ? (size_t)left : block_bytes;
	uint8_t digest[DIGEST_SIZE];
	int r;

	r = container_read(s->job->container, block, size, err);
	if (r < 0)
		return r;
	if (s->job->table != NULL) {
		r = hash_add(s->chunk_hash, block, size, err);
		if (r == 0)
			r = hash_end(s->chunk_hash, digest, err);
		if (r < 0)
			return r;
		if (memcmp(digest, s->job->table + s->n_chunks * DIGEST_SIZE, DIGEST_SIZE) != 0)
			return agent_error_set(err, -EBADMSG, "update.chunk", "chunk %" PRIu64 " of %s differs from what was signed", s->n_chunks,
					       s->image->member);
	}
	if (s->stored_hash != NULL && !s->is_hashed_there) {
		r = hash_add(s->stored_hash, block, size, err);
		if (r < 0)
			return r;
	}
	chunk_done(s, size);
	*ret_size = size;
	return 0;
}

static int stored_check(struct stream *s, struct agent_error **err)
{
	uint8_t digest[DIGEST_SIZE];
	int r = s->stored_hash == NULL ? 0 : hash_end(s->stored_hash, digest, err);

	if (r == 0 && s->stored_hash != NULL && memcmp(digest, s->image->sha256, DIGEST_SIZE) != 0)
		r = agent_error_set(err, -EBADMSG, "update.hash", "%s has another SHA-256 than was signed", s->image->member);
	return r;
}

/* The next chunk is in the slot already. */
static int chunk_leave(struct stream *s, size_t size, struct stream_result *result, struct agent_error **err)
{
	int r = of_member(s->image, s->handler->skip(s->handle, size, err), err);

	if (r == 0)
		r = container_skip(s->job->container, size, err);
	if (r < 0)
		return r;
	result->in_place_bytes += size;
	chunk_done(s, size);
	return 0;
}

/* From the slot that runs, if it still has it, else from the bundle. */
static int chunk_get(struct stream *s, uint8_t *block, size_t size, struct stream_result *result, struct agent_error **err)
{
	int r;

	if (s->reuse != NULL && reuse_where(s->reuse, s->n_chunks) == REUSE_ACTIVE && reuse_copy(s->reuse, s->n_chunks, block, size)) {
		r = container_skip(s->job->container, size, err);
		if (r < 0)
			return r;
		result->copied_bytes += size;
		chunk_done(s, size);
		return 0;
	}
	if (s->reuse != NULL && s->n_chunks >= s->expected_chunks) {
		uint64_t n = reuse_missing(s->reuse, s->n_chunks);

		s->expected_chunks = s->n_chunks + n;
		container_expect(s->job->container, n * s->image->chunk_bytes);
	}
	return chunk_read(s, block, size, &size, err);
}

static int chunk_next(struct stream *s, size_t block_bytes, struct stream_result *result, struct agent_error **err)
{
	uint64_t left = container_left(s->job->container);
	size_t size = left < block_bytes ? (size_t)left : block_bytes;
	uint8_t *block = NULL;
	int r;

	if (s->reuse != NULL && reuse_where(s->reuse, s->n_chunks) == REUSE_IN_PLACE)
		return chunk_leave(s, size, result, err);
	r = of_member(s->image, s->handler->get_block(s->handle, &block, err), err);
	if (r == 0)
		r = chunk_get(s, block, size, result, err);
	return r < 0 ? r : of_member(s->image, s->handler->put_block(s->handle, size, err), err);
}

/* Chunk by chunk what the medium has, and all of it: *@ret_bad is the first chunk that differs, n_chunks if none does. */
static int medium_check(struct stream *s, uint8_t *block, uint64_t *ret_bad, uint8_t ret_sha256[DIGEST_SIZE], struct agent_error **err)
{
	_cleanup_(digest_freep) struct digest *whole = NULL;
	uint64_t bad = s->n_chunks;
	int r = hash_start(&whole, err);

	for (uint64_t i = 0, offset = 0; r == 0 && i < s->n_chunks; i++, offset += s->image->chunk_bytes) {
		uint64_t left = s->done_bytes - offset;
		size_t size = left < s->image->chunk_bytes ? (size_t)left : s->image->chunk_bytes;
		uint8_t digest[DIGEST_SIZE];

		r = s->handler->read_at(s->handle, offset, block, size);
		if (r < 0)
			return r;
		r = hash_add(s->chunk_hash, block, size, err);
		if (r == 0)
			r = hash_end(s->chunk_hash, digest, err);
		if (r == 0)
			r = hash_add(whole, block, size, err);
		if (r == 0 && bad == s->n_chunks && memcmp(digest, s->job->table + i * DIGEST_SIZE, DIGEST_SIZE) != 0)
			bad = i;
	}
	*ret_bad = bad;
	return r < 0 ? r : hash_end(whole, ret_sha256, err);
}

/*
 * What was read back is not what was signed for all of the image, though each chunk on its way was the signed one. If the medium still has exactly
 * these chunks, the signed hash is wrong, and no disk is to blame. Looked at only now: hashing all of it twice for each update would cost more.
 */
static int blame(struct stream *s, int r, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *ignored = NULL;
	_cleanup_free_ uint8_t *block = NULL;
	uint8_t digest[DIGEST_SIZE];
	uint64_t bad = 0;

	if (r == 0 || err == NULL || *err == NULL || strcmp(agent_error_name(*err), "slot.readback") != 0 || s->job->table == NULL ||
	    s->handler->read_at == NULL || (block = malloc(s->image->chunk_bytes)) == NULL)
		return of_member(s->image, r, err);
	if (medium_check(s, block, &bad, digest, &ignored) < 0)
		return of_member(s->image, r, err);
	if (bad < s->n_chunks)
		return agent_error_prefix(err, r, "%s: chunk %" PRIu64, s->image->member, bad);
	if (memcmp(digest, s->image->sha256, DIGEST_SIZE) == 0)
		return agent_error_prefix(err, r, "%s: the device gives back now this and now that", s->image->member);
	*err = agent_error_free(*err);
	return agent_error_set(err, -EBADMSG, "update.hash", "%s has another SHA-256 than was signed, though each of its chunks is the one that was signed: "
			       "make the bundle again", s->image->member);
}

/* Neither encrypted nor compressed: chunks are read straight into the handler's blocks. */
static int copy_plain(struct stream *s, size_t block_bytes, struct stream_result *result, struct agent_error **err)
{
	int r;

	while (container_left(s->job->container) > 0) {
		r = chunk_next(s, block_bytes, result, err);
		if (r < 0)
			return r;
	}
	r = stored_check(s, err);
	if (r < 0)
		return r;
	result->plain_bytes = s->done_bytes;
	/* Where nothing else did, equality with the signed hash is established by reading back. */
	return blame(s, s->handler->finish(s->handle, s->stored_hash == NULL ? s->image->sha256 : NULL, err), err);
}

/* Until the member is read, or something is wrong with it. */
static int unpack_stored(struct stream *s, struct unpack *u, size_t block_bytes, struct agent_error **err)
{
	int r = 0;

	while (r == 0 && container_left(s->job->container) > 0) {
		uint8_t *block = NULL;
		size_t size = 0;

		r = unpack_get(u, &block);
		if (r == 0)
			r = chunk_read(s, block, block_bytes, &size, err);
		if (r == 0)
			unpack_put(u, size);
	}
	return r;
}

static int copy_unpacked(struct stream *s, size_t block_bytes, struct stream_result *result, struct agent_error **err)
{
	_cleanup_(unpack_freep) struct unpack *u = NULL;
	_cleanup_error_ struct agent_error *later = NULL;
	int later_r, r;

	r = unpack_new(&(struct unpack_options){ .image = s->image, .handler = s->handler, .handle = s->handle, .key = s->job->key,
		       .block_bytes = block_bytes, .max_bytes = s->job->max_bytes, .stored_hash = s->stored_hash }, &u, err);
	if (r == 0)
		r = unpack_start(u, err);
	if (r < 0)
		return r;
	s->is_hashed_there = unpack_hashes(u);
	later_r = unpack_stored(s, u, block_bytes, &later);
	/* What is wrong with the bytes before comes first, so that it is the same each time. */
	r = unpack_wait(u, err);
	if (r < 0)
		return r;
	if (later_r < 0)
		return agent_error_move(err, &later);
	r = stored_check(s, err);
	if (r == 0)
		r = unpack_end(u, &result->plain_bytes, err);
	return r < 0 ? r : of_member(s->image, s->handler->finish(s->handle, NULL, err), err);
}

static int handler_choose(struct stream *s, struct agent_error **err)
{
	s->handler = s->job->handler != NULL ? s->job->handler : handler_find(s->image->type);
	return s->handler != NULL ? 0 : agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: images of type %s are not supported", s->image->member,
							s->image->type);
}

int stream_image(const struct stream_job *job, struct stream_result *ret_result, struct agent_error **err)
{
	struct stream s = { .job = job, .image = job->image };
	_cleanup_(reuse_freep) struct reuse *reuse = NULL;
	bool is_plain = manifest_image_is_plain(job->image);
	size_t block_bytes = job->table != NULL ? job->image->chunk_bytes : COMPAT_BLOCK;
	_cleanup_(digest_freep) struct digest *chunk_hash = NULL;
	_cleanup_(digest_freep) struct digest *stored_hash = NULL;
	int r;

	r = handler_choose(&s, err);
	if (r < 0)
		return r;
	if (job->table != NULL)
		r = hash_start(&chunk_hash, err);
	if (r == 0 && !handler_compares_hash(s.handler, job->image))
		r = hash_start(&stored_hash, err);
	s.chunk_hash = chunk_hash;
	s.stored_hash = stored_hash;
	/* Bytes that are stored in another form than they have in the slot cannot be looked for there. */
	if (r == 0 && job->table != NULL && is_plain && s.handler->skip != NULL && (job->may_resume || job->active != NULL))
		reuse = reuse_find(&(struct reuse_options){ .image = job->image, .table = job->table, .target = job->slot, .active = job->active,
				   .tell = job->progress, .userdata = job->userdata });
	s.reuse = reuse;
	if (reuse == NULL)
		container_expect(job->container, container_left(job->container));
	*ret_result = (struct stream_result){ 0 };
	if (r == 0)
		r = of_member(s.image, s.handler->open(job->slot, job->image, job->max_bytes, block_bytes, &s.handle, err), err);
	if (r < 0)
		return r;
	r = is_plain ? copy_plain(&s, block_bytes, ret_result, err) : copy_unpacked(&s, block_bytes, ret_result, err);
	s.handler->close(s.handle);
	return r;
}

/* ---- one member, several images -------------------------------------------------------------------------------------- */

struct branch {
	struct stream s;
	struct unpack *u;
};

static int branch_open(struct branch *b, const struct stream_job *job, struct agent_error **err)
{
	struct stream *s = &b->s;
	void *handle = NULL;
	int r;

	*s = (struct stream){ .job = job, .image = job->image };
	r = handler_choose(s, err);
	if (r == 0)
		r = of_member(s->image, s->handler->open(job->slot, job->image, job->max_bytes, COMPAT_BLOCK, &handle, err), err);
	if (r < 0)
		return r;
	s->handle = handle;
	return unpack_new(&(struct unpack_options){ .image = s->image, .handler = s->handler, .handle = handle, .key = job->key, .block_bytes = COMPAT_BLOCK,
			  .max_bytes = job->max_bytes }, &b->u, err);
}

/* Branch 0 reads, and hashes what is stored for all of them. */
static int branches_run(struct branch *branches, size_t n, uint8_t *stored, struct agent_error **err)
{
	struct stream *reader = &branches[0].s;
	uint64_t ignored;
	int r = 0;

	while (r == 0 && container_left(reader->job->container) > 0) {
		size_t size = 0;

		r = chunk_read(reader, stored, COMPAT_BLOCK, &size, err);
		for (size_t i = 0; r == 0 && i < n; i++)
			r = unpack_run(branches[i].u, stored, size, err);
	}
	if (r == 0)
		r = stored_check(reader, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = unpack_end(branches[i].u, &ignored, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = of_member(branches[i].s.image, branches[i].s.handler->finish(branches[i].s.handle, NULL, err), err);
	return r;
}

int stream_images(const struct stream_job *jobs, size_t n, struct agent_error **err)
{
	_cleanup_free_ struct branch *branches = calloc(n, sizeof(*branches));
	_cleanup_(digest_freep) struct digest *stored_hash = NULL;
	_cleanup_free_ uint8_t *stored = malloc(COMPAT_BLOCK);
	int r = branches == NULL || stored == NULL ? no_chunk(err) : hash_start(&stored_hash, err);

	if (r < 0)
		return r;
	container_expect(jobs[0].container, container_left(jobs[0].container));
	for (size_t i = 0; r == 0 && i < n; i++)
		r = branch_open(&branches[i], &jobs[i], err);
	branches[0].s.stored_hash = stored_hash;
	if (r == 0)
		r = branches_run(branches, n, stored, err);
	for (size_t i = 0; i < n; i++) {
		unpack_free(branches[i].u);
		if (branches[i].s.handle != NULL)
			branches[i].s.handler->close(branches[i].s.handle);
	}
	return r;
}

int stream_skip(struct container *container, const struct manifest_image *image, stream_progress_fn progress, void *userdata, struct agent_error **err)
{
	const struct stream_job job = { .container = container, .image = image, .progress = progress, .userdata = userdata };
	_cleanup_(digest_freep) struct digest *stored_hash = NULL;
	_cleanup_free_ uint8_t *block = malloc(COMPAT_BLOCK);
	struct stream s = { .job = &job, .image = image };
	int r = image == NULL ? 0 : hash_start(&stored_hash, err);

	if (block == NULL)
		return no_chunk(err);
	s.stored_hash = stored_hash;
	while (r == 0 && container_left(container) > 0) {
		size_t size;

		r = chunk_read(&s, block, COMPAT_BLOCK, &size, err);
	}
	return r < 0 ? r : stored_check(&s, err);
}
