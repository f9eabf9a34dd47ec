/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "base/macro.h"
#include "tpm/key_type.h"

/* TPM 2.0 Part 2, 12.2.3.5: exponent 0 means 2^16 + 1, the only one every TPM has. */
#define RSA_EXPONENT 65537

DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(BIGNUM *, BN_free)
DEFINE_CLEANUP(BIGNUM *, BN_clear_free)
DEFINE_CLEANUP(OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free)
DEFINE_CLEANUP(OSSL_PARAM *, OSSL_PARAM_free)

static bool rsa_matches(const struct key_type *kt, const TPMT_PUBLIC *pub)
{
	UINT32 e = pub->parameters.rsaDetail.exponent;

	return pub->type == TPM2_ALG_RSA && (e == 0 || e == RSA_EXPONENT) &&
	       pub->parameters.rsaDetail.keyBits == kt->template.publicArea.parameters.rsaDetail.keyBits;
}

static EVP_PKEY *rsa_get_public(const struct key_type *kt, OSSL_LIB_CTX *libctx, const TPMT_PUBLIC *pub)
{
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, "RSA", NULL);
	_cleanup_(OSSL_PARAM_BLD_freep) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	_cleanup_(BN_freep) BIGNUM *n = BN_bin2bn(pub->unique.rsa.buffer, pub->unique.rsa.size, NULL);
	_cleanup_(OSSL_PARAM_freep) OSSL_PARAM *params = NULL;
	EVP_PKEY *pkey = NULL;

	if (pctx == NULL || bld == NULL || n == NULL || pub->unique.rsa.size != kt->template.publicArea.parameters.rsaDetail.keyBits / 8)
		return NULL;
	if (OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
	    OSSL_PARAM_BLD_push_uint(bld, OSSL_PKEY_PARAM_RSA_E, RSA_EXPONENT) != 1 ||
	    (params = OSSL_PARAM_BLD_to_param(bld)) == NULL || EVP_PKEY_fromdata_init(pctx) != 1 ||
	    EVP_PKEY_fromdata(pctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return NULL;
	return pkey;
}

static void rsa_prepare(const struct key_type *kt, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest,
			size_t digest_size, TPMT_SIG_SCHEME *ret_scheme, TPM2B_DIGEST *ret_digest)
{
	(void)kt;
	ret_scheme->scheme = scheme == AGENT_SIGN_RSA_PSS ? TPM2_ALG_RSAPSS : TPM2_ALG_RSASSA;
	ret_scheme->details.any.hashAlg = key_hash_alg(hash);
	ret_digest->size = (UINT16)digest_size;
	memcpy(ret_digest->buffer, digest, digest_size);
}

static int rsa_encode(const struct key_type *kt, const TPMT_SIGNATURE *sig, uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size)
{
	size_t n = kt->template.publicArea.parameters.rsaDetail.keyBits / 8;

	/* The two members have the same layout: hash and sig. */
	if ((sig->sigAlg != TPM2_ALG_RSASSA && sig->sigAlg != TPM2_ALG_RSAPSS) || sig->signature.rsassa.sig.size != n)
		return -EBADMSG;
	memcpy(ret_sig, sig->signature.rsassa.sig.buffer, n);
	*ret_size = n;
	return 0;
}

/* TPM 2.0 Part 1, B.2: one of the primes is the private part. */
static int rsa_take_private(const struct key_type *kt, const EVP_PKEY *pkey, TPMT_PUBLIC *pub, TPMT_SENSITIVE *sensitive)
{
	_cleanup_(BN_clear_freep) BIGNUM *n = NULL, *p = NULL;
	int size = kt->template.publicArea.parameters.rsaDetail.keyBits / 8;

	if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1 || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_FACTOR1, &p) != 1 ||
	    BN_bn2binpad(n, pub->unique.rsa.buffer, size) != size || BN_bn2binpad(p, sensitive->sensitive.rsa.buffer, size / 2) != size / 2)
		return -EBADMSG;
	pub->unique.rsa.size = (UINT16)size;
	sensitive->sensitive.rsa.size = (UINT16)(size / 2);
	sensitive->sensitiveType = TPM2_ALG_RSA;
	return 0;
}

static int rsa_set_padding(EVP_PKEY_CTX *pctx, enum agent_sign_scheme scheme)
{
	if (scheme == AGENT_SIGN_RSA_PKCS1)
		return EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PADDING);
	if (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1)
		return 0;
	return EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
}

/*
 * TPM 2.0 Part 1, B.7: the salt may be as long as fits or as long as the digest; TLS 1.3 wants the latter (RFC 8446,
 * 4.2.3). Only a signature tells, so a new key makes one.
 */
#define KEY_RSA(symbol, key_type_, name_, bits)                                                          \
	const struct key_type symbol = {                                                                 \
		.type = key_type_,                                                                       \
		.name = name_,                                                                           \
		.schemes = 1u << AGENT_SIGN_RSA_PKCS1 | 1u << AGENT_SIGN_RSA_PSS,                        \
		.template.publicArea = {                                                                 \
			.type = TPM2_ALG_RSA,                                                            \
			.nameAlg = TPM2_ALG_SHA256,                                                      \
			.objectAttributes = KEY_ATTRIBUTES,                                              \
			.parameters.rsaDetail = { .symmetric.algorithm = TPM2_ALG_NULL,                  \
						  .scheme.scheme = TPM2_ALG_NULL,                        \
						  .keyBits = bits },                                     \
		},                                                                                       \
		.matches = rsa_matches,                                                                  \
		.get_public = rsa_get_public,                                                            \
		.prepare = rsa_prepare,                                                                  \
		.encode = rsa_encode,                                                                    \
		.set_padding = rsa_set_padding,                                                          \
		.take_private = rsa_take_private,                                                        \
		.trial = AGENT_SIGN_RSA_PSS,                                                             \
		.trial_decides = true,                                                                   \
	}

KEY_RSA(key_rsa_2048, AGENT_KEY_RSA_2048, "rsa-2048", 2048);
KEY_RSA(key_rsa_3072, AGENT_KEY_RSA_3072, "rsa-3072", 3072);
