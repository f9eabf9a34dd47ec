/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SOFTWARE_SIGNER_H
#define TESTS_UNIT_SOFTWARE_SIGNER_H
/* A signer over a key in memory, for tests; counts its calls and fails on request. */
#include <errno.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <agent/signer.h>

struct software_key {
	EVP_PKEY *pkey;
	unsigned n_signs;
	unsigned n_frees;
	int fail_with;	/* negative errno for the next signatures */
};

static inline int software_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest,
				size_t digest_size, uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	struct software_key *key = userdata;
	EVP_PKEY_CTX *ctx;
	const EVP_MD *md = hash == AGENT_HASH_SHA256 ? EVP_sha256() : hash == AGENT_HASH_SHA384 ? EVP_sha384() : EVP_sha512();
	size_t n = AGENT_SIGNATURE_MAX;
	int ok;

	key->n_signs++;
	if (key->fail_with < 0)
		return agent_error_set(err, key->fail_with, "test.broken", "the test key is out of order today");
	ctx = EVP_PKEY_CTX_new(key->pkey, NULL);
	ok = ctx != NULL && EVP_PKEY_sign_init(ctx) == 1;
	if (ok && scheme == AGENT_SIGN_RSA_PKCS1)
		ok = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
	if (ok && scheme == AGENT_SIGN_RSA_PSS)
		ok = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_PKEY_CTX_set_signature_md(ctx, md) == 1 && EVP_PKEY_sign(ctx, ret_sig, &n, digest, digest_size) == 1;
	EVP_PKEY_CTX_free(ctx);
	if (!ok)
		return agent_error_set(err, -EIO, "test.sign", "the test key cannot sign");
	*ret_size = n;
	return 0;
}

static inline void software_free(void *userdata)
{
	struct software_key *key = userdata;

	key->n_frees++;
	EVP_PKEY_free(key->pkey);
	key->pkey = NULL;
}

static const struct agent_signer_ops software_ops = { .backend = "test", .sign = software_sign, .free = software_free };

static inline EVP_PKEY *software_pkey(enum agent_key_type type)
{
	switch (type) {
	case AGENT_KEY_EC_P256:
		return EVP_EC_gen("P-256");
	case AGENT_KEY_EC_P384:
		return EVP_EC_gen("P-384");
	case AGENT_KEY_RSA_2048:
		return EVP_RSA_gen(2048);
	case AGENT_KEY_RSA_3072:
		return EVP_RSA_gen(3072);
	}
	return NULL;
}

/* @key lives as long as the signer and belongs to the test. */
static inline struct agent_signer *software_signer(struct software_key *key, enum agent_key_type type)
{
	struct agent_signer *signer = NULL;
	uint8_t *spki = NULL;
	int n;

	*key = (struct software_key){ .pkey = software_pkey(type) };
	n = i2d_PUBKEY(key->pkey, &spki);
	if (n <= 0 || agent_signer_new(&software_ops, key, spki, (size_t)n, &signer, NULL) < 0)
		signer = NULL;
	OPENSSL_free(spki);
	return signer;
}

#endif
