/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_CMS_PRIVATE_H
#define CRYPTO_CMS_PRIVATE_H
/* Between cms.c (the signature) and cms_trust.c (whose it may be). */
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "crypto/cms.h"

#define CMS_CERTS_MAX 64
#define CMS_KEYS_MAX 16

struct cms_trust {
	struct agent_context *ctx;
	OSSL_LIB_CTX *libctx;
	STACK_OF(X509) *certs;
	X509_STORE *store;	/* the same certificates, and the revocation lists */
	bool skips_crls, requires_crls;
	enum cms_purpose purpose;
	EVP_PKEY *keys[CMS_KEYS_MAX];	/* bare ones */
	size_t n_keys;
};

/* The one signed attribute of that type (RFC 5652 section 11.3); 0: none, several, or no time. */
uint64_t cms_signing_time(CMS_SignerInfo *si);

/* SHA-256 of the SubjectPublicKeyInfo. -ENOMEM memory. */
int cms_key_digest(X509_PUBKEY *key, uint8_t ret_digest[DIGEST_SIZE], struct agent_error **err);
bool cms_key_is_among(const uint8_t keys[][DIGEST_SIZE], size_t n, const uint8_t key[DIGEST_SIZE]);

/* Is this very certificate pinned. */
int cms_trust_has(const struct cms_trust *trust, const X509 *cert);

/* RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519. */
int cms_trust_is_key(EVP_PKEY *key);

/* May the owner of this certificate sign, for the purpose that was set, at @now_s: 0, or -EKEYREJECTED update.signer with the property that failed. */
int cms_trust_check(const struct cms_trust *trust, X509 *cert, uint64_t now_s, struct agent_error **err);

#endif
