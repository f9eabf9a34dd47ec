/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/params.h>

#include "base/macro.h"
#include "tpm/key_type.h"

#define COORDINATE_MAX 48

DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free)
DEFINE_CLEANUP(BIGNUM *, BN_free)
DEFINE_CLEANUP(BIGNUM *, BN_clear_free)

static size_t coordinate_size(const struct key_type *kt)
{
	return kt->type == AGENT_KEY_EC_P256 ? 32 : 48;
}

static bool ec_matches(const struct key_type *kt, const TPMT_PUBLIC *pub)
{
	return pub->type == TPM2_ALG_ECC && pub->parameters.eccDetail.curveID == kt->template.publicArea.parameters.eccDetail.curveID;
}

static EVP_PKEY *ec_get_public(const struct key_type *kt, OSSL_LIB_CTX *libctx, const TPMT_PUBLIC *pub)
{
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, "EC", NULL);
	const TPM2B_ECC_PARAMETER *x = &pub->unique.ecc.x, *y = &pub->unique.ecc.y;
	uint8_t point[1 + 2 * COORDINATE_MAX] = { POINT_CONVERSION_UNCOMPRESSED };
	size_t n = coordinate_size(kt);
	char *group = kt->type == AGENT_KEY_EC_P256 ? (char *)"P-256" : (char *)"P-384";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * n),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY *pkey = NULL;

	/* Chips leave leading zeros out or not. */
	if (pctx == NULL || x->size == 0 || x->size > n || y->size == 0 || y->size > n)
		return NULL;
	memcpy(point + 1 + n - x->size, x->buffer, x->size);
	memcpy(point + 1 + 2 * n - y->size, y->buffer, y->size);
	if (EVP_PKEY_fromdata_init(pctx) != 1 || EVP_PKEY_fromdata(pctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return NULL;
	return pkey;
}

/*
 * ECDSA uses the leftmost bits of a digest longer than the group order (FIPS 186-4, 6.4), and its signature does not name
 * the hash: cut here, so that SHA-384 and SHA-512 work with chips that have neither.
 */
static void ec_prepare(const struct key_type *kt, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest,
		       size_t digest_size, TPMT_SIG_SCHEME *ret_scheme, TPM2B_DIGEST *ret_digest)
{
	size_t n = coordinate_size(kt);

	(void)scheme;
	(void)hash;
	if (digest_size < n)
		n = digest_size;
	ret_scheme->scheme = TPM2_ALG_ECDSA;
	ret_scheme->details.ecdsa.hashAlg = n == 32 ? TPM2_ALG_SHA256 : TPM2_ALG_SHA384;
	ret_digest->size = (UINT16)n;
	memcpy(ret_digest->buffer, digest, n);
}

static int ec_encode(const struct key_type *kt, const TPMT_SIGNATURE *sig, uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size)
{
	_cleanup_(ECDSA_SIG_freep) ECDSA_SIG *ecdsa = ECDSA_SIG_new();
	_cleanup_(BN_freep) BIGNUM *r = NULL, *s = NULL;
	const TPMS_SIGNATURE_ECC *ecc = &sig->signature.ecdsa;
	size_t n = coordinate_size(kt);
	uint8_t *out = ret_sig;
	int size;

	if (sig->sigAlg != TPM2_ALG_ECDSA || ecc->signatureR.size > n || ecc->signatureS.size > n)
		return -EBADMSG;
	r = BN_bin2bn(ecc->signatureR.buffer, ecc->signatureR.size, NULL);
	s = BN_bin2bn(ecc->signatureS.buffer, ecc->signatureS.size, NULL);
	if (ecdsa == NULL || r == NULL || s == NULL)
		return -ENOMEM;
	if (ECDSA_SIG_set0(ecdsa, r, s) != 1)
		return -ENOMEM;
	(void)TAKE_PTR(r);
	(void)TAKE_PTR(s);
	size = i2d_ECDSA_SIG(ecdsa, NULL);
	if (size <= 0 || size > AGENT_SIGNATURE_MAX)
		return -EBADMSG;
	*ret_size = (size_t)i2d_ECDSA_SIG(ecdsa, &out);
	return 0;
}

/* TPM 2.0 Part 2, 11.2.5: coordinates and private number without leading zeros would be allowed; all bytes are always right. */
static int ec_take_private(const struct key_type *kt, const EVP_PKEY *pkey, TPMT_PUBLIC *pub, TPMT_SENSITIVE *sensitive)
{
	_cleanup_(BN_clear_freep) BIGNUM *x = NULL, *y = NULL, *d = NULL;
	int n = (int)coordinate_size(kt);

	if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_X, &x) != 1 || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &y) != 1 ||
	    EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &d) != 1 || BN_bn2binpad(x, pub->unique.ecc.x.buffer, n) != n ||
	    BN_bn2binpad(y, pub->unique.ecc.y.buffer, n) != n || BN_bn2binpad(d, sensitive->sensitive.ecc.buffer, n) != n)
		return -EBADMSG;
	pub->unique.ecc.x.size = pub->unique.ecc.y.size = sensitive->sensitive.ecc.size = (UINT16)n;
	sensitive->sensitiveType = TPM2_ALG_ECC;
	return 0;
}

#define KEY_EC(symbol, key_type_, name_, curve)                                                   \
	const struct key_type symbol = {                                                          \
		.type = key_type_,                                                                \
		.name = name_,                                                                    \
		.schemes = 1u << AGENT_SIGN_ECDSA,                                                \
		.template.publicArea = {                                                          \
			.type = TPM2_ALG_ECC,                                                     \
			.nameAlg = TPM2_ALG_SHA256,                                               \
			.objectAttributes = KEY_ATTRIBUTES,                                       \
			.parameters.eccDetail = { .symmetric.algorithm = TPM2_ALG_NULL,           \
						  .scheme.scheme = TPM2_ALG_NULL,                 \
						  .curveID = curve,                               \
						  .kdf.scheme = TPM2_ALG_NULL },                  \
		},                                                                                \
		.matches = ec_matches,                                                            \
		.get_public = ec_get_public,                                                      \
		.prepare = ec_prepare,                                                            \
		.encode = ec_encode,                                                              \
		.take_private = ec_take_private,                                                  \
		.trial = AGENT_SIGN_ECDSA,                                                        \
	}

KEY_EC(key_ec_p256, AGENT_KEY_EC_P256, "ec-p256", TPM2_ECC_NIST_P256);
KEY_EC(key_ec_p384, AGENT_KEY_EC_P384, "ec-p384", TPM2_ECC_NIST_P384);
