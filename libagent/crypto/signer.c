/* SPDX-License-Identifier: Apache-2.0 */
#include <agent/signer.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/macro.h"

#define SPKI_MAX_BYTES 1024
#define RSA_EXPONENT 65537u	/* the only one TPMs and our own key tools make */

struct agent_signer {
	atomic_uint n_refs;
	const struct agent_signer_ops *ops;
	void *userdata;
	enum agent_key_type type;
	size_t spki_size;
	uint8_t spki[];
};

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(BIGNUM *, BN_free)

/* One row per key type: what the parsed public key has to look like. */
static const struct key_row {
	enum agent_key_type type;
	const char *algorithm;
	const char *group;	/* EC only */
	int bits;
	size_t spki_size;	/* EC: the uncompressed point and nothing else; 0 for RSA */
} key_rows[] = {
	{ AGENT_KEY_EC_P256, "EC", "prime256v1", 256, 91 },
	{ AGENT_KEY_EC_P384, "EC", "secp384r1", 384, 120 },
	{ AGENT_KEY_RSA_2048, "RSA", NULL, 2048, 0 },
	{ AGENT_KEY_RSA_3072, "RSA", NULL, 3072, 0 },
};

static int row_matches(const struct key_row *row, EVP_PKEY *pkey, size_t spki_size)
{
	_cleanup_(BN_freep) BIGNUM *e = NULL;
	char group[32];

	if (!EVP_PKEY_is_a(pkey, row->algorithm) || EVP_PKEY_get_bits(pkey) != row->bits)
		return 0;
	if (row->group != NULL)
		return spki_size == row->spki_size && EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) == 1 &&
		       strcmp(group, row->group) == 0;
	return EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_word(e, RSA_EXPONENT);
}

/* OpenSSL checks that a point is on its curve; the size cap bounds its work. */
static int find_type(const uint8_t *spki, size_t spki_size, enum agent_key_type *ret_type)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	const uint8_t *p = spki;
	int r = -EINVAL;

	ERR_set_mark();
	pkey = d2i_PUBKEY(NULL, &p, (long)spki_size);
	if (pkey != NULL && p == spki + spki_size) {
		for (size_t i = 0; i < ARRAY_SIZE(key_rows); i++) {
			if (row_matches(&key_rows[i], pkey, spki_size)) {
				*ret_type = key_rows[i].type;
				r = 0;
				break;
			}
		}
	}
	ERR_pop_to_mark();
	return r;
}

int agent_signer_new(const struct agent_signer_ops *ops, void *userdata, const uint8_t *spki, size_t spki_size,
		     struct agent_signer **ret_signer, struct agent_error **err)
{
	enum agent_key_type type = 0;
	struct agent_signer *s;
	int r;

	if (ops == NULL || ops->backend == NULL || ops->sign == NULL || spki == NULL || ret_signer == NULL)
		return agent_error_set(err, -EINVAL, "signer.argument", "a signer needs a backend and a public key");
	if (spki_size == 0 || spki_size > SPKI_MAX_BYTES)
		return agent_error_set(err, -EINVAL, "signer.key", "public key is %zu bytes, limit %d", spki_size, SPKI_MAX_BYTES);
	r = find_type(spki, spki_size, &type);
	if (r < 0)
		return agent_error_set(err, r, "signer.key",
				       "public key of the %s backend is not P-256, P-384, RSA-2048 or RSA-3072", ops->backend);
	s = calloc(1, sizeof(*s) + spki_size);
	if (s == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a signer");
	atomic_init(&s->n_refs, 1);
	s->ops = ops;
	s->userdata = userdata;
	s->type = type;
	s->spki_size = spki_size;
	memcpy(s->spki, spki, spki_size);
	*ret_signer = s;
	return 0;
}

struct agent_signer *agent_signer_ref(struct agent_signer *signer)
{
	if (signer != NULL)
		atomic_fetch_add(&signer->n_refs, 1);
	return signer;
}

struct agent_signer *agent_signer_unref(struct agent_signer *signer)
{
	if (signer == NULL || atomic_fetch_sub(&signer->n_refs, 1) != 1)
		return NULL;
	if (signer->ops->free != NULL)
		signer->ops->free(signer->userdata);
	free(signer);
	return NULL;
}

const char *agent_signer_get_backend(const struct agent_signer *signer)
{
	return signer == NULL ? "none" : signer->ops->backend;
}

enum agent_key_type agent_signer_get_type(const struct agent_signer *signer)
{
	return signer == NULL ? 0 : signer->type;
}

void agent_signer_get_public(const struct agent_signer *signer, const uint8_t **ret_spki, size_t *ret_size)
{
	*ret_spki = signer == NULL ? NULL : signer->spki;
	*ret_size = signer == NULL ? 0 : signer->spki_size;
}

static size_t hash_size(enum agent_hash hash)
{
	switch (hash) {
	case AGENT_HASH_SHA256:
		return 32;
	case AGENT_HASH_SHA384:
		return 48;
	case AGENT_HASH_SHA512:
		return 64;
	}
	return 0;
}

static int scheme_fits(enum agent_key_type type, enum agent_sign_scheme scheme)
{
	if (type == AGENT_KEY_EC_P256 || type == AGENT_KEY_EC_P384)
		return scheme == AGENT_SIGN_ECDSA;
	return scheme == AGENT_SIGN_RSA_PKCS1 || scheme == AGENT_SIGN_RSA_PSS;
}

int agent_signer_sign(struct agent_signer *signer, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest,
		      size_t digest_size, uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	size_t n = 0;
	int r;

	if (signer == NULL || digest == NULL || ret_sig == NULL || ret_size == NULL)
		return agent_error_set(err, -EINVAL, "signer.argument", "a signature needs a signer, a digest and room");
	if (hash_size(hash) == 0 || digest_size != hash_size(hash))
		return agent_error_set(err, -EINVAL, "signer.digest", "digest of %zu bytes does not fit hash %d", digest_size, (int)hash);
	if (!scheme_fits(signer->type, scheme))
		return agent_error_set(err, -EINVAL, "signer.scheme", "key type %d does not sign with scheme %d", (int)signer->type,
				       (int)scheme);
	r = signer->ops->sign(signer->userdata, scheme, hash, digest, digest_size, ret_sig, &n, err);
	if (r < 0)
		return r;
	if (n == 0 || n > AGENT_SIGNATURE_MAX)
		return agent_error_set(err, -EIO, "signer.backend", "the %s backend returned a signature of %zu bytes",
				       signer->ops->backend, n);
	*ret_size = n;
	return 0;
}
