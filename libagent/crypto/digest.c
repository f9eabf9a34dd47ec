/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/digest.h"

#include <errno.h>

#include <openssl/evp.h>

struct digest {
	EVP_MD_CTX *ctx;
};

int digest_new(struct digest **ret_digest)
{
	_cleanup_(digest_freep) struct digest *d = calloc(1, sizeof(*d));
	int r;

	if (d == NULL)
		return -ENOMEM;
	d->ctx = EVP_MD_CTX_new();
	if (d->ctx == NULL)
		return -ENOMEM;
	r = digest_reset(d);
	if (r < 0)
		return r;
	*ret_digest = TAKE_PTR(d);
	return 0;
}

struct digest *digest_free(struct digest *d)
{
	if (d == NULL)
		return NULL;
	EVP_MD_CTX_free(d->ctx);
	free(d);
	return NULL;
}

/* SHA-256 over memory fails in OpenSSL only for lack of memory. */
int digest_reset(struct digest *d)
{
	return EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

int digest_update(struct digest *d, const void *data, size_t size)
{
	return EVP_DigestUpdate(d->ctx, data, size) == 1 ? 0 : -ENOMEM;
}

int digest_final(struct digest *d, uint8_t ret_hash[DIGEST_SIZE])
{
	unsigned n = 0;

	return EVP_DigestFinal_ex(d->ctx, ret_hash, &n) == 1 && n == DIGEST_SIZE ? 0 : -ENOMEM;
}

int digest_sha256(const void *data, size_t size, uint8_t ret_hash[DIGEST_SIZE])
{
	unsigned n = 0;

	return EVP_Digest(data, size, ret_hash, &n, EVP_sha256(), NULL) == 1 && n == DIGEST_SIZE ? 0 : -ENOMEM;
}
