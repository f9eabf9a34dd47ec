/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_CMS_SIGN_H
#define CRYPTO_CMS_SIGN_H
/*
 * The other side of cms.h: make what it accepts. CMS SignedData, detached, DER, SHA-256 (SHA-384 and SHA-512 for P-384 and P-521), signed
 * attributes, the signer's certificate inside, no S/MIME capabilities: stock SWUpdate takes it as well. Error names: bundle.key, bundle.signer.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/context.h>
#include <agent/error.h>
#include <agent/signer.h>

#include "base/macro.h"
#include "crypto/digest.h"

struct cms_signer;

/*
 * @key is a PEM file or a "pkcs11:" URI; @signer, if it is not NULL, stands in its place. At @now_s the certificate must be valid, and it
 * must be one that cms_verify() could accept. -ENOKEY bundle.key, -EOPNOTSUPP bundle.key, -EKEYREJECTED bundle.signer.
 */
int cms_signer_open(struct agent_context *ctx, const char *certificate, const char *key, struct agent_signer *signer, uint64_t now_s,
		    struct cms_signer **ret_signer, struct agent_error **err);
struct cms_signer *cms_signer_free(struct cms_signer *signer);
DEFINE_CLEANUP(struct cms_signer *, cms_signer_free)

/*
 * Sign @content with all of @signers. @old (or NULL) is a signature over the same content whose signers are kept: -EEXIST bundle.signer
 * if one of @signers is among them. The caller frees *ret_der.
 */
int cms_sign(struct agent_context *ctx, const void *old, size_t old_size, const void *content, size_t content_size,
	     struct cms_signer *const *signers, size_t n_signers, uint64_t now_s, uint8_t **ret_der, size_t *ret_size, struct agent_error **err);

/* What a signature says of its signers. Nothing of it was checked. */
struct cms_claim {
	char subject[96], issuer[96];	/* subject is empty when the certificate did not come along */
	char digest[16];
	uint8_t key[DIGEST_SIZE];	/* SHA-256 of the SubjectPublicKeyInfo */
	bool has_certificate;
	uint64_t signed_s;		/* 0: it does not say */
	uint64_t not_after_s;
};
/* Up to @max of them; *ret_n is how many there are. -EBADMSG update.signature. */
int cms_claims(struct agent_context *ctx, const void *der, size_t size, struct cms_claim *ret_claims, size_t max, size_t *ret_n,
	       struct agent_error **err);

#endif
