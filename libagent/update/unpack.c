/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/unpack.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/thread.h"
#include "update/filter.h"
#include "update/hash.h"

#define N_STORED 2

struct unpack {
	struct unpack_options options;
	const struct filter *filter;
	void *state;
	bool is_none;		/* the filter: plain bytes are those that were decrypted */
	struct cipher *cipher;	/* or NULL */
	uint8_t *stored[N_STORED];
	uint8_t *clear;		/* between cipher and filter, or NULL */
	bool at_end;
	uint8_t *block;		/* lent by the handler */
	size_t fill;
	uint64_t plain_bytes, max_bytes;

	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Below: under the lock. Blocks first..first+n_full-1 (round the ring) are full. */
	size_t sizes[N_STORED], first, n_full;
	bool stop;
	int error;
	struct agent_error *why;
};

static int block_lend(struct unpack *u, struct agent_error **err)
{
	return u->block != NULL ? 0 : of_member(u->options.image, u->options.handler->get_block(u->options.handle, &u->block, err), err);
}

static int block_flush(struct unpack *u, struct agent_error **err)
{
	int r = of_member(u->options.image, u->options.handler->put_block(u->options.handle, u->fill, err), err);

	u->block = NULL;
	u->fill = 0;
	return r;
}

/* @size more plain bytes are in the block. Output can never exceed the signed size: the handler refuses it. */
static int block_filled(struct unpack *u, size_t size, struct agent_error **err)
{
	u->fill += size;
	u->plain_bytes += size;
	if (u->plain_bytes > u->max_bytes)
		return agent_error_set(err, -EMSGSIZE, "update.size", "%s unpacks to more than the %" PRIu64 " bytes that were signed or have room",
				       u->options.image->member, u->max_bytes);
	return u->fill == u->options.block_bytes ? block_flush(u, err) : 0;
}

static int filter_run(struct unpack *u, const uint8_t *in, size_t n_in, struct agent_error **err)
{
	size_t n_out = 0;
	int r;

	do {
		r = block_lend(u, err);
		if (r == 0 && (!u->at_end || n_in > 0))
			r = of_member(u->options.image, u->filter->run(u->state, &in, &n_in, u->block + u->fill, u->options.block_bytes - u->fill, &n_out, &u->at_end, err), err);
		else
			n_out = 0;
		if (r == 0)
			r = block_filled(u, n_out, err);
		/* A full block may mean that the filter holds more. */
	} while (r == 0 && (n_in > 0 || (u->block == NULL && !u->at_end)));
	return r;
}

/*
 * Straight into the handler's blocks. What is in one of them is a multiple of CIPHER_BLOCK, and so is what CBC gives, as it keeps what is less and,
 * for the padding, the last block; CTR gives what it gets. So not more comes out than there is room.
 */
static int decrypt(struct unpack *u, const uint8_t *in, size_t n_in, struct agent_error **err)
{
	int r = 0;

	while (r == 0 && n_in > 0) {
		size_t n, n_out = 0;

		r = block_lend(u, err);
		if (r < 0)
			break;
		n = u->options.block_bytes - u->fill < n_in ? u->options.block_bytes - u->fill : n_in;
		r = of_member(u->options.image, cipher_run(u->cipher, in, n, u->block + u->fill, &n_out, err), err);
		if (r == 0)
			r = block_filled(u, n_out, err);
		in += n;
		n_in -= n;
	}
	return r;
}

/* One block of stored bytes through all stages. */
int unpack_run(struct unpack *u, const uint8_t *in, size_t size, struct agent_error **err)
{
	int r = unpack_hashes(u) ? hash_add(u->options.stored_hash, in, size, err) : 0;

	if (r < 0)
		return r;
	if (u->cipher != NULL && u->is_none)
		return decrypt(u, in, size, err);
	if (u->cipher != NULL) {
		r = of_member(u->options.image, cipher_run(u->cipher, in, size, u->clear, &size, err), err);
		in = u->clear;
	}
	return r < 0 ? r : filter_run(u, in, size, err);
}

static void *unpack_thread(void *arg)
{
	struct unpack *u = arg;

	pthread_mutex_lock(&u->lock);
	while (!u->stop && u->error == 0) {
		struct agent_error *why = NULL;
		size_t size;
		int r;

		if (u->n_full == 0) {
			pthread_cond_wait(&u->changed, &u->lock);
			continue;
		}
		size = u->sizes[u->first];
		pthread_mutex_unlock(&u->lock);
		r = unpack_run(u, u->stored[u->first], size, &why);
		pthread_mutex_lock(&u->lock);
		u->error = r;
		u->why = why;
		u->first = (u->first + 1) % N_STORED;
		u->n_full--;
		pthread_cond_broadcast(&u->changed);
	}
	pthread_mutex_unlock(&u->lock);
	return NULL;
}

static int no_chunk(struct agent_error **err)
{
	return agent_error_set(err, -ENOMEM, "update.memory", "no memory to unpack a chunk");
}

int unpack_start(struct unpack *u, struct agent_error **err)
{
	int r;

	for (size_t i = 0; i < N_STORED; i++) {
		u->stored[i] = malloc(u->options.block_bytes);
		if (u->stored[i] == NULL)
			return no_chunk(err);
	}
	r = thread_start(&u->thread, NULL, unpack_thread, u);
	u->has_thread = r == 0;
	return r < 0 ? agent_error_set(err, r, "update.memory", "no thread to unpack an image: %s", strerror(-r)) : 0;
}

int unpack_new(const struct unpack_options *options, struct unpack **ret_unpack, struct agent_error **err)
{
	const struct manifest_image *image = options->image;
	const struct stream_key *key = options->key;
	_cleanup_(unpack_freep) struct unpack *u = calloc(1, sizeof(*u));
	int r = 0;

	if (u == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to unpack an image");
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->changed, NULL);
	u->options = *options;
	u->max_bytes = image->plain_bytes != 0 ? image->plain_bytes : options->max_bytes;
	u->is_none = strcmp(image->filter, "none") == 0;
	if (image->cipher[0] != '\0') {
		if (key == NULL || key->key_size == 0)
			return agent_error_set(err, -ENOKEY, "update.key", "%s is encrypted, and this device has no key for updates", image->member);
		r = of_member(u->options.image, cipher_new(cipher_find(image->cipher), key->key, key->key_size, image->has_iv ? image->iv : key->iv, &u->cipher, err), err);
	}
	if (r == 0 && u->cipher != NULL && !u->is_none && (u->clear = malloc(options->block_bytes + CIPHER_BLOCK)) == NULL)
		r = no_chunk(err);
	if (r < 0)
		return r;
	u->filter = filter_find(image->filter);
	r = u->filter->open(&u->state, err);
	if (r < 0)
		return r;
	*ret_unpack = TAKE_PTR(u);
	return 0;
}

struct unpack *unpack_free(struct unpack *u)
{
	if (u == NULL)
		return NULL;
	if (u->has_thread) {
		pthread_mutex_lock(&u->lock);
		u->stop = true;
		pthread_cond_broadcast(&u->changed);
		pthread_mutex_unlock(&u->lock);
		pthread_join(u->thread, NULL);
	}
	if (u->filter != NULL)
		u->filter->close(u->state);
	for (size_t i = 0; i < N_STORED; i++)
		free(u->stored[i]);
	free(u->clear);
	cipher_free(u->cipher);
	agent_error_free(u->why);
	pthread_cond_destroy(&u->changed);
	pthread_mutex_destroy(&u->lock);
	free(u);
	return NULL;
}

bool unpack_hashes(const struct unpack *u)
{
	return u->options.stored_hash != NULL && u->is_none;
}

int unpack_get(struct unpack *u, uint8_t **ret_block)
{
	int r;

	pthread_mutex_lock(&u->lock);
	while (u->error == 0 && u->n_full == N_STORED)
		pthread_cond_wait(&u->changed, &u->lock);
	*ret_block = u->stored[(u->first + u->n_full) % N_STORED];
	r = u->error;
	pthread_mutex_unlock(&u->lock);
	return r;
}

void unpack_put(struct unpack *u, size_t size)
{
	pthread_mutex_lock(&u->lock);
	u->sizes[(u->first + u->n_full) % N_STORED] = size;
	u->n_full++;
	pthread_cond_broadcast(&u->changed);
	pthread_mutex_unlock(&u->lock);
}

int unpack_wait(struct unpack *u, struct agent_error **err)
{
	int r;

	pthread_mutex_lock(&u->lock);
	while (u->error == 0 && u->n_full > 0)
		pthread_cond_wait(&u->changed, &u->lock);
	r = u->error < 0 ? agent_error_move(err, &u->why) : 0;
	pthread_mutex_unlock(&u->lock);
	return r;
}

int unpack_end(struct unpack *u, uint64_t *ret_plain_bytes, struct agent_error **err)
{
	const struct manifest_image *image = u->options.image;
	uint8_t tail[CIPHER_BLOCK];
	size_t size = 0;
	int r = 0;

	if (u->cipher != NULL)
		r = of_member(u->options.image, cipher_end(u->cipher, tail, &size, err), err);
	if (r == 0 && size > 0)
		r = filter_run(u, tail, size, err);
	if (r == 0 && u->fill > 0)
		r = block_flush(u, err);
	if (r == 0 && !u->at_end && !u->is_none)
		r = agent_error_set(err, -EBADMSG, "update.compression", "the compressed stream of %s is cut short", image->member);
	/* The slot would boot with what was in it before. */
	if (r == 0 && u->plain_bytes == 0 && !image->is_file)
		r = agent_error_set(err, -EBADMSG, "update.size", "%s unpacks to nothing", image->member);
	if (r == 0 && image->plain_bytes != 0 && u->plain_bytes != image->plain_bytes)
		r = agent_error_set(err, -EBADMSG, "update.size", "%s unpacks to %" PRIu64 " bytes, %" PRIu64 " were signed", image->member, u->plain_bytes,
				    image->plain_bytes);
	*ret_plain_bytes = u->plain_bytes;
	return r;
}
