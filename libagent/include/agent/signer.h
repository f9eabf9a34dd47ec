/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_SIGNER_H
#define AGENT_SIGNER_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** enum agent_key_type - what kind of key. Since: 0.1 */
enum agent_key_type {
	AGENT_KEY_EC_P256 = 1,
	AGENT_KEY_EC_P384 = 2,
	AGENT_KEY_RSA_2048 = 3,
	AGENT_KEY_RSA_3072 = 4
};

/** enum agent_hash - digest of the message that is signed. Since: 0.1 */
enum agent_hash { AGENT_HASH_SHA256 = 1, AGENT_HASH_SHA384 = 2, AGENT_HASH_SHA512 = 3 };

/** enum agent_sign_scheme - how the digest is signed. Since: 0.1 */
enum agent_sign_scheme {
	AGENT_SIGN_ECDSA = 1,	  /* signature is a DER ECDSA-Sig-Value, RFC 3279 section 2.2.3 */
	AGENT_SIGN_RSA_PKCS1 = 2, /* RFC 8017 section 8.2 */
	AGENT_SIGN_RSA_PSS = 3	  /* RFC 8017 section 8.1, salt as long as the digest */
};

/** AGENT_SIGNATURE_MAX - no signature is longer: RSA-3072. Since: 0.1 */
#define AGENT_SIGNATURE_MAX 384

/** AGENT_DIGEST_MAX - longest digest: SHA-512. Since: 0.1 */
#define AGENT_DIGEST_MAX 64

/**
 * struct agent_signer_ops - what a backend does
 * @backend: "tpm", "agentd", "software", "test": shown wherever the key is shown
 * @sign:    sign a digest; may block as long as the backend does; 0 and *ret_size, or a negative errno and *err
 * @free:    release @userdata; called once
 *
 * Since: 0.1
 */
struct agent_signer_ops {
	const char *backend;
	int (*sign)(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest,
		    size_t digest_size, uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err);
	void (*free)(void *userdata);
};

/**
 * struct agent_signer - something that signs with a private key that need not be here
 *
 * The seam between what uses a key (TLS, CSR, CMS) and where the key lives (TPM, agentd, a test). Reference counted.
 * Since: 0.1
 */
struct agent_signer;

/**
 * agent_signer_new() - wrap a backend
 * @ops:       lent for the signer's life
 * @userdata:  handed to @ops; owned by the signer on success
 * @spki:      public key, DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7); copied
 * @spki_size: its length in bytes, at most 1024
 *
 * EC points uncompressed, RSA exponent 65537, nothing after the key. Does not block.
 * Returns 0, -EINVAL (not a supported public key), -ENOMEM. On failure @userdata stays the caller's. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_signer_new(const struct agent_signer_ops *ops, void *userdata, const uint8_t *spki,
						   size_t spki_size, struct agent_signer **ret_signer,
						   struct agent_error **err);

/** agent_signer_ref() - take one more reference, from any thread; returns @signer. Since: 0.1 */
AGENT_EXPORT struct agent_signer *agent_signer_ref(struct agent_signer *signer);
/** agent_signer_unref() - give one reference back, from any thread; takes NULL, returns NULL. The last one frees the backend. Since: 0.1 */
AGENT_EXPORT struct agent_signer *agent_signer_unref(struct agent_signer *signer);
/** agent_signer_get_backend() - "tpm", "agentd", "software" ..., lent; "none" for NULL. Since: 0.1 */
AGENT_EXPORT const char *agent_signer_get_backend(const struct agent_signer *signer);
/** agent_signer_get_type() - type of the key; 0 for NULL. Since: 0.1 */
AGENT_EXPORT enum agent_key_type agent_signer_get_type(const struct agent_signer *signer);
/** agent_signer_get_public() - the DER SubjectPublicKeyInfo, lent. Since: 0.1 */
AGENT_EXPORT void agent_signer_get_public(const struct agent_signer *signer, const uint8_t **ret_spki, size_t *ret_size);
/** agent_signer_sign() - sign a digest; blocks as long as the backend. Returns 0, -EINVAL or the backend's error. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_signer_sign(struct agent_signer *signer, enum agent_sign_scheme scheme,
						    enum agent_hash hash, const uint8_t *digest, size_t digest_size,
						    uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size,
						    struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
