/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/cipher.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

struct cipher {
	EVP_CIPHER_CTX *ctx;
};

static const struct cipher_type cipher_types[] = {
	{ "aes-cbc", "CBC", 0 },      { "aes-cbc-128", "CBC", 16 }, { "aes-cbc-192", "CBC", 24 }, { "aes-cbc-256", "CBC", 32 },
	{ "aes-ctr", "CTR", 0 },      { "aes-ctr-128", "CTR", 16 }, { "aes-ctr-192", "CTR", 24 }, { "aes-ctr-256", "CTR", 32 },
};

const struct cipher_type *cipher_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(cipher_types); i++)
		if (strcmp(cipher_types[i].name, name) == 0)
			return &cipher_types[i];
	return NULL;
}

struct cipher *cipher_free(struct cipher *cipher)
{
	if (cipher == NULL)
		return NULL;
	EVP_CIPHER_CTX_free(cipher->ctx);	/* wipes the key */
	free(cipher);
	return NULL;
}

int cipher_new(const struct cipher_type *type, const uint8_t *key, size_t key_size, const uint8_t iv[CIPHER_BLOCK], struct cipher **ret_cipher,
	       struct agent_error **err)
{
	_cleanup_(cipher_freep) struct cipher *cipher = calloc(1, sizeof(*cipher));
	EVP_CIPHER *evp;
	char name[16];
	int ok;

	if ((key_size != 16 && key_size != 24 && key_size != 32) || (type->key_size != 0 && type->key_size != key_size))
		return agent_error_set(err, -EINVAL, "update.key", "the image is encrypted with %s, but the key of this device has %zu bits", type->name,
				       key_size * 8);
	snprintf(name, sizeof(name), "AES-%zu-%s", key_size * 8, type->mode);
	evp = EVP_CIPHER_fetch(NULL, name, NULL);
	if (cipher != NULL)
		cipher->ctx = EVP_CIPHER_CTX_new();
	ok = evp != NULL && cipher != NULL && cipher->ctx != NULL && EVP_DecryptInit_ex2(cipher->ctx, evp, key, iv, NULL) == 1;
	EVP_CIPHER_free(evp);
	ERR_clear_error();
	if (!ok)
		return agent_error_set(err, -ENOMEM, "update.memory", "OpenSSL cannot set up %s", name);
	*ret_cipher = TAKE_PTR(cipher);
	return 0;
}

int cipher_run(struct cipher *cipher, const uint8_t *in, size_t size, uint8_t *out, size_t *ret_size, struct agent_error **err)
{
	int n = 0;

	if (size > INT_MAX - CIPHER_BLOCK || EVP_DecryptUpdate(cipher->ctx, out, &n, in, (int)size) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -EIO, "update.decryption", "OpenSSL cannot decrypt");
	}
	*ret_size = (size_t)n;
	return 0;
}

int cipher_end(struct cipher *cipher, uint8_t *out, size_t *ret_size, struct agent_error **err)
{
	int n = 0;

	if (EVP_DecryptFinal_ex(cipher->ctx, out, &n) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -EBADMSG, "update.decryption", "the end of the decrypted image has no padding: it was encrypted with another key");
	}
	*ret_size = (size_t)n;
	return 0;
}
