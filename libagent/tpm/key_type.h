/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_KEY_TYPE_H
#define TPM_KEY_TYPE_H
/* One row per kind of key: key_<alg>.c defines it, key_types[] in key.c lists it. No switch on the algorithm elsewhere. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>
#include <tss2/tss2_tpm2_types.h>

#include <agent/error.h>
#include <agent/signer.h>

/* What a child of ours that signs is. noDA: 192 random bits need no lockout, and a bug of ours must not lock the TPM. */
#define KEY_ATTRIBUTES                                                                                                \
	(TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | \
	 TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA)

struct key_type {
	enum agent_key_type type;
	const char *name;
	unsigned schemes; /* 1u << enum agent_sign_scheme */
	TPM2B_PUBLIC template;
	/* Is this public area of this type? */
	bool (*matches)(const struct key_type *kt, const TPMT_PUBLIC *pub);
	/* Public key for libcrypto; NULL if the TPM's numbers make none. */
	EVP_PKEY *(*get_public)(const struct key_type *kt, OSSL_LIB_CTX *libctx, const TPMT_PUBLIC *pub);
	/* What to ask TPM2_Sign for; *ret_digest may be shorter than the input where the scheme cuts it anyway. */
	void (*prepare)(const struct key_type *kt, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest,
			size_t digest_size, TPMT_SIG_SCHEME *ret_scheme, TPM2B_DIGEST *ret_digest);
	/* To the form of enum agent_sign_scheme; -EBADMSG if the TPM's answer is not of that form. */
	int (*encode)(const struct key_type *kt, const TPMT_SIGNATURE *sig, uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size);
	/* Both halves of a key that was made outside: unique of @pub, type and private part of @sensitive. -EBADMSG if they do not fit. */
	int (*take_private)(const struct key_type *kt, const EVP_PKEY *pkey, TPMT_PUBLIC *pub, TPMT_SENSITIVE *sensitive);
	/* Optional: padding for a verification of @scheme. Returns 1 for success like EVP. */
	int (*set_padding)(EVP_PKEY_CTX *pctx, enum agent_sign_scheme scheme);
	/* To try a new key with; @trial_decides where chips differ, so that one just made is tried, too. */
	enum agent_sign_scheme trial;
	bool trial_decides;
};

extern const struct key_type key_ec_p256, key_ec_p384, key_rsa_2048, key_rsa_3072;

/* TPM_ALG_ID of a hash. */
TPM2_ALG_ID key_hash_alg(enum agent_hash hash);

#endif
