/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "crypto/tag.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/secret.h"

#define KEY_SIZE 32

struct tag {
	EVP_MAC_CTX *ctx;
	bool is_hmac, has_begun;
	uint8_t key[KEY_SIZE];
};

static int begin(struct tag *t)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end() };

	t->has_begun = EVP_MAC_init(t->ctx, t->key, sizeof(t->key), t->is_hmac ? params : NULL) == 1;
	return t->has_begun ? 0 : -ENOMEM;
}

int tag_new(struct tag **ret_tag)
{
	_cleanup_(tag_freep) struct tag *t = calloc(1, sizeof(*t));
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "POLY1305", NULL);
	int r;

	if (t != NULL && mac == NULL) {
		mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
		t->is_hmac = true;
	}
	if (t != NULL && mac != NULL)
		t->ctx = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac);
	ERR_clear_error();
	if (t == NULL || t->ctx == NULL)
		return -ENOMEM;
	if (getrandom(t->key, sizeof(t->key), 0) != (ssize_t)sizeof(t->key))
		return -EIO;
	r = begin(t);
	if (r < 0)
		return r;
	*ret_tag = TAKE_PTR(t);
	return 0;
}

struct tag *tag_free(struct tag *t)
{
	uint8_t ignored[TAG_SIZE];
	size_t n;

	if (t == NULL)
		return NULL;
	/* OpenSSL wipes its copy of the key with the end of a message, not when it is freed in the middle of one. */
	if (t->has_begun)
		(void)EVP_MAC_final(t->ctx, ignored, &n, sizeof(ignored));
	EVP_MAC_CTX_free(t->ctx);
	wipe(t, sizeof(*t));
	free(t);
	return NULL;
}

int tag_update(struct tag *t, const void *data, size_t size)
{
	return EVP_MAC_update(t->ctx, data, size) == 1 ? 0 : -ENOMEM;
}

int tag_final(struct tag *t, uint8_t ret_tag[TAG_SIZE])
{
	size_t n = 0;

	memset(ret_tag, 0, TAG_SIZE);
	return EVP_MAC_final(t->ctx, ret_tag, &n, TAG_SIZE) == 1 && n > 0 ? begin(t) : -ENOMEM;
}

bool tag_is_equal(const uint8_t a[TAG_SIZE], const uint8_t b[TAG_SIZE])
{
	return CRYPTO_memcmp(a, b, TAG_SIZE) == 0;
}
