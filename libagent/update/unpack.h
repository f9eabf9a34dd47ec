/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_UNPACK_H
#define UPDATE_UNPACK_H
/*
 * What lies between stored bytes that are known to be good and the slot: decrypt, decompress, hand over to the handler. It runs in a thread of its
 * own, one chunk behind the one who reads and hashes; a third one, of the handler, may write. So a bundle takes as long as the slowest of the three.
 */
#include <stdint.h>

#include <agent/error.h>

#include "crypto/digest.h"
#include "update/cipher.h"
#include "update/handler.h"

/* The key of encrypted images, as the device keeps it; wiped by its owner. */
struct stream_key {
	uint8_t key[CIPHER_KEY_MAX];
	size_t key_size;	/* 0: there is none */
	uint8_t iv[CIPHER_BLOCK];	/* for images that bring none */
};

struct unpack_options {
	const struct manifest_image *image;	/* all of this is lent until unpack_free() */
	const struct update_handler *handler;
	void *handle;				/* the thread's until unpack_wait() */
	const struct stream_key *key;		/* may be NULL */
	size_t block_bytes;			/* of stored and of plain blocks */
	uint64_t max_bytes;			/* of plain bytes, if the image does not say */
	/* Takes the stored bytes as well if there is time for it here: deciphering is faster than hashing. Else the caller does it: unpack_hashes(). */
	struct digest *stored_hash;
};

struct unpack;

/* -ENOKEY, -EINVAL update.key; -ENOMEM update.memory. */
int unpack_new(const struct unpack_options *options, struct unpack **ret_unpack, struct agent_error **err);
/* Either begin the thread, and then get, put and wait; -ENOMEM, -errno update.memory. */
int unpack_start(struct unpack *unpack, struct agent_error **err);
/* Or have all done by the caller, up to block_bytes each time; the errors are those of unpack_wait(). */
int unpack_run(struct unpack *unpack, const uint8_t *stored, size_t size, struct agent_error **err);
/* Ends the thread. */
struct unpack *unpack_free(struct unpack *unpack);
DEFINE_CLEANUP(struct unpack *, unpack_free)
bool unpack_hashes(const struct unpack *unpack);
/* Lend a block for stored bytes, waiting for one, then hand it over with @size bytes that are good. < 0: unpack_wait() says what is wrong with those before. */
int unpack_get(struct unpack *unpack, uint8_t **ret_block);
void unpack_put(struct unpack *unpack, size_t size);
/* Until all that was handed over is in the handler's blocks, or something went wrong: -EBADMSG update.compression, -EMSGSIZE update.size, slot.*. */
int unpack_wait(struct unpack *unpack, struct agent_error **err);
/*
 * After unpack_wait() or the last unpack_run(), when the hash of all stored bytes was found good: nobody may ask about a wrong padding but for bytes that were signed. The
 * rest of it, and whether it is whole. -EBADMSG update.decryption, update.compression, update.size.
 */
int unpack_end(struct unpack *unpack, uint64_t *ret_plain_bytes, struct agent_error **err);

#endif
