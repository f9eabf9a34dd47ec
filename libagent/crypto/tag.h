/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_TAG_H
#define CRYPTO_TAG_H
/*
 * Are the bytes that come back the bytes that were given? One message and its copy under one random key that nobody else has, and that ends with
 * the object. Several times as fast as SHA-256 and of use for nothing else: a tag says nothing to those who do not have the key.
 *
 * Poly1305 (RFC 8439, 2.5): two different messages of up to L bytes have the same tag for at most one in 2^107 / L keys (Bernstein, "The
 * Poly1305-AES message-authentication code", theorem 3.3: 8 * ceil(L / 16) / 2^106). That holds for a message that was chosen with care as for a
 * faulty disk, since whoever chooses it knows neither key nor tag. Where OpenSSL has no Poly1305 (FIPS, no-poly1305): HMAC-SHA256.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

#define TAG_SIZE 32	/* of Poly1305 16, and zeros */

struct tag;

/* With a fresh key. -ENOMEM; -EIO: no random numbers. */
int tag_new(struct tag **ret_tag);
/* Wipes the key. */
struct tag *tag_free(struct tag *tag);
DEFINE_CLEANUP(struct tag *, tag_free)
int tag_update(struct tag *tag, const void *data, size_t size);	/* 0 or -ENOMEM */
/* Afterwards the object is ready for the next message, under the same key. 0 or -ENOMEM. */
int tag_final(struct tag *tag, uint8_t ret_tag[TAG_SIZE]);
/* In constant time. */
bool tag_is_equal(const uint8_t a[TAG_SIZE], const uint8_t b[TAG_SIZE]);

#endif
