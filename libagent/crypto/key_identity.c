/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "crypto/key_identity.h"

#include <errno.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

/* The number that makes a key this one, or NULL where there is none. Of a point x alone: P and -P have one owner. */
static const char *number_name(const EVP_PKEY *key)
{
	if (key == NULL)
		return NULL;
	if (EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "RSA-PSS"))
		return OSSL_PKEY_PARAM_RSA_N;
	return EVP_PKEY_is_a(key, "EC") ? OSSL_PKEY_PARAM_EC_PUB_X : NULL;
}

static int hash_and_free(uint8_t *bytes, int n, uint8_t ret_hash[DIGEST_SIZE])
{
	int r = n <= 0 ? -ENOMEM : digest_sha256(bytes, (size_t)n, ret_hash);

	OPENSSL_free(bytes);
	ERR_clear_error();
	return r;
}

int key_identity(X509 *cert, uint8_t ret_hash[DIGEST_SIZE])
{
	const EVP_PKEY *key = X509_get0_pubkey(cert);
	const char *name = number_name(key);
	BIGNUM *number = NULL;
	uint8_t *bytes = NULL;
	int n;

	if (name == NULL) {
		n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &bytes);
		return hash_and_free(bytes, n, ret_hash);
	}
	if (EVP_PKEY_get_bn_param(key, name, &number) != 1) {
		ERR_clear_error();
		return -ENOMEM;
	}
	bytes = OPENSSL_malloc((size_t)BN_num_bytes(number) + 1);
	n = bytes == NULL ? 0 : BN_bn2bin(number, bytes);
	BN_free(number);
	return hash_and_free(bytes, n, ret_hash);
}
