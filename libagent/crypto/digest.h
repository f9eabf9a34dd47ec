/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_DIGEST_H
#define CRYPTO_DIGEST_H
/* SHA-256 (FIPS 180-4) over bytes that arrive in pieces. */
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

#define DIGEST_SIZE 32

struct digest;

int digest_new(struct digest **ret_digest);	/* 0 or -ENOMEM */
struct digest *digest_free(struct digest *d);
DEFINE_CLEANUP(struct digest *, digest_free)
/* Start over; also needed after digest_final(). 0 or -ENOMEM. */
int digest_reset(struct digest *d);
int digest_update(struct digest *d, const void *data, size_t size);
int digest_final(struct digest *d, uint8_t ret_hash[DIGEST_SIZE]);

/* All at once. */
int digest_sha256(const void *data, size_t size, uint8_t ret_hash[DIGEST_SIZE]);

#endif
