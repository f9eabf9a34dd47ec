/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_CIPHER_H
#define UPDATE_CIPHER_H
/*
 * Decryption between the hash of the stored bytes and the decompressor: AES-CBC with the padding of PKCS#7, as "openssl enc" makes
 * it, and AES-CTR. What is decrypted was found in the signed manifest before (chunk by chunk in the strict profile), so nobody can
 * ask this for an opinion about bytes of his own.
 */
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "base/macro.h"

#define CIPHER_BLOCK 16
#define CIPHER_KEY_MAX 32

struct cipher_type {
	const char *name;	/* "encrypted" of the image in the manifest */
	const char *mode;	/* CBC or CTR */
	size_t key_size;	/* 0: 16, 24 or 32, as long as the key is */
};

/* NULL if it is not supported. */
const struct cipher_type *cipher_find(const char *name);

struct cipher;
/* -EINVAL update.key when @key_size does not fit. */
int cipher_new(const struct cipher_type *type, const uint8_t *key, size_t key_size, const uint8_t iv[CIPHER_BLOCK], struct cipher **ret_cipher,
	       struct agent_error **err);
/* @size bytes in, at most @size + CIPHER_BLOCK out. -EIO update.decryption. */
int cipher_run(struct cipher *cipher, const uint8_t *in, size_t size, uint8_t *out, size_t *ret_size, struct agent_error **err);
/* The rest, at most CIPHER_BLOCK bytes. -EBADMSG update.decryption: the padding is wrong, so probably the key. */
int cipher_end(struct cipher *cipher, uint8_t *out, size_t *ret_size, struct agent_error **err);
struct cipher *cipher_free(struct cipher *cipher);
DEFINE_CLEANUP(struct cipher *, cipher_free)

#endif
