/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_CMS_H
#define CRYPTO_CMS_H
/*
 * Who signed these bytes: CMS SignedData (RFC 5652), detached, DER, against pinned certificates. What is accepted and
 * why is in docs/design/crypto.md.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/context.h>
#include <agent/error.h>

#include "base/macro.h"
#include "crypto/digest.h"

#define CMS_MAX_BYTES (64 * 1024)
#define CMS_SIGNERS_MAX 8

struct cms_trust;

/* What the certificate of a signer has to be for: extended key usage codeSigning, or AGENT_COMMAND_EKU. */
enum cms_purpose { CMS_PURPOSE_CODE = 0, CMS_PURPOSE_COMMAND = 1 };

/*
 * Read every *.pem (one or more certificates: signers themselves, or CAs that issue signers), *.crl (PEM or DER) and *.pub
 * (one bare public key, for cms_verify_raw() alone) in the folder @path. A file that cannot be read refuses the whole folder. -ENOKEY
 * if there is neither certificate nor key. Error name: update.trust.
 */
int cms_trust_load(struct agent_context *ctx, const char *path, struct cms_trust **ret_trust, struct agent_error **err);
/*
 * The certificates in the PEM text @certs, and the revocation lists of @crls_of, demanded as there. -EBADMSG, -EMSGSIZE update.trust.
 */
int cms_trust_parse(struct agent_context *ctx, const char *certs, const struct cms_trust *crls_of, struct cms_trust **ret_trust,
		    struct agent_error **err);
/* For what was examined once before: revocation lists are of another time then and not looked at. */
void cms_trust_skip_crls(struct cms_trust *trust, bool skip);
/* Whoever was issued by a pinned CA needs a list of that CA that is valid now. A pinned certificate itself is revoked by unpinning it. */
void cms_trust_require_crls(struct cms_trust *trust, bool require);
/* CMS_PURPOSE_CODE if never called. */
void cms_trust_set_purpose(struct cms_trust *trust, enum cms_purpose purpose);
struct cms_trust *cms_trust_free(struct cms_trust *trust);
DEFINE_CLEANUP(struct cms_trust *, cms_trust_free)

/*
 * Are there valid signatures by at least @n_min_signers (>= 1) distinct keys over @content.
 * @now_s: seconds since 1970-01-01 UTC at which the certificates must be valid. 0 means not known and is refused: a device
 *         without a clock passes its time floor, which is never below the build time.
 *
 * -EBADMSG  update.signature   not a detached DER SignedData, or too large (-EMSGSIZE)
 * -EKEYREJECTED update.signature  a trusted key did not sign these bytes
 * -EKEYREJECTED update.signer     the signer is not trusted; the sentence names the signer and the property
 * -EKEYREJECTED update.threshold  good signatures, but by too few keys
 * -EINVAL   update.policy     @n_min_signers is 0
 */
int cms_verify(const struct cms_trust *trust, const void *cms, size_t cms_size, const void *content, size_t content_size,
	       unsigned n_min_signers, uint64_t now_s, unsigned *ret_n_valid, struct agent_error **err);

/* Whose signatures are good. */
struct cms_signers {
	unsigned n;
	uint8_t keys[CMS_SIGNERS_MAX][DIGEST_SIZE];	/* SHA-256 of the SubjectPublicKeyInfo of each, no one twice */
	uint64_t signed_s;	/* the earliest signing time of all of them, by their clocks; 0: one of them gives none */
};

/* The same, and by whom and when. */
int cms_verify_signers(const struct cms_trust *trust, const void *cms, size_t cms_size, const void *content, size_t content_size,
		       unsigned n_min_signers, uint64_t now_s, struct cms_signers *ret_signers, struct agent_error **err);

#define CMS_TRUST_KEYS_MAX 80	/* certificates and bare keys that a folder may hold */
/*
 * SHA-256 of the SubjectPublicKeyInfo of all pinned certificates, signers and those who issue them, and with @with_bare of the bare keys; no one
 * twice. How many. -ENOMEM.
 */
int cms_trust_keys(const struct cms_trust *trust, bool with_bare, uint8_t ret_keys[CMS_TRUST_KEYS_MAX][DIGEST_SIZE], struct agent_error **err);

#define CMS_SIGNER_SIZE 80
/* The same for one signer, and who that is: @ret_signer is the common name of the first whose signature is good, made printable. */
int cms_verify_signer(const struct cms_trust *trust, const void *cms, size_t cms_size, const void *content, size_t content_size, uint64_t now_s,
		      char ret_signer[CMS_SIGNER_SIZE], struct agent_error **err);

/* Bare RSA signatures over SHA-256, as "openssl dgst -sha256 -sign" makes them: PKCS#1 v1.5, or PSS. Never both. */
enum cms_raw { CMS_RAW_NONE = 0, CMS_RAW_RSA = 1, CMS_RAW_RSA_PSS = 2 };

/* Does this begin like SignedData? Then it is no bare signature: 11 bytes are given, and RSA signatures are random. */
bool cms_is_signed_data(const void *data, size_t size);
/*
 * Is there a bare signature of @content by one of the pinned public keys (*.pub), RSA of 2048 to 8192 bits. Such a key
 * has no name, no purpose and no end, and there is one signature: @n_min_signers above 1 is -EKEYREJECTED update.threshold.
 * -EKEYREJECTED update.signature, -ENOKEY update.trust.
 */
int cms_verify_raw(const struct cms_trust *trust, enum cms_raw raw, const void *signature, size_t signature_size, const void *content,
		   size_t content_size, unsigned n_min_signers, struct cms_signers *ret_signers, struct agent_error **err);

#endif
