/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_BUNDLE_PACK_H
#define UPDATE_BUNDLE_PACK_H
/* Compression and encryption of images for a bundle, and how large is what comes out of them on the device. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "update/bundle_parts.h"
#include "update/cipher.h"

struct pack_key {
	const uint8_t *key;
	size_t size;		/* 0: there is none */
	const uint8_t *iv;	/* or NULL */
};

/* Does the part begin like a stream of @filter ("zlib", "zstd") already? */
int pack_is_packed(const struct part *part, const char *filter, bool *ret_is_packed, struct agent_error **err);
/* The bytes of @part through gzip or zstd into a file without a name beside @out; @part is that file then. */
int pack_compress(struct part *part, const char *filter, const char *out, struct agent_error **err);
/*
 * The same with AES. The IV is made of the key and the plain bytes, so that the same image becomes the same bytes and two different ones
 * never share an IV. -ENOKEY bundle.key, -EINVAL update.key.
 */
int pack_encrypt(struct part *part, const char *cipher, const struct pack_key *key, const char *out, uint8_t ret_iv[CIPHER_BLOCK],
		 struct agent_error **err);
/* Undo both, as the device will, and count the bytes. @cipher may be NULL. -EBADMSG update.compression, update.decryption. */
int pack_plain_size(const struct part *part, const char *filter, const char *cipher, const struct pack_key *key, const uint8_t *iv,
		    uint64_t *ret_size, struct agent_error **err);

#endif
