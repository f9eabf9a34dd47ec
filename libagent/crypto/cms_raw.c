/* SPDX-License-Identifier: Apache-2.0 */
/* Bare RSA signatures, for bundles made for SWUpdate without CMS. Allowed by policy only, and never for the strict profile. */
#include "config.h"

#include "crypto/cms_private.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/rsa.h>

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

bool cms_is_signed_data(const void *data, size_t size)
{
	/* id-signedData, 1.2.840.113549.1.7.2, the first thing in the outer SEQUENCE; its length takes 1 to 5 bytes */
	static const uint8_t oid[] = { 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02 };
	const uint8_t *p = data;

	for (size_t skip = 2; size > 0 && p[0] == 0x30 && skip <= 6 && skip + sizeof(oid) <= size; skip++)
		if (memcmp(p + skip, oid, sizeof(oid)) == 0)
			return true;
	return size >= 5 && memcmp(data, "-----", 5) == 0; /* PEM: cms_verify() says what to do */
}

/* 1, 0, or a negative errno. */
static int matches(const struct cms_trust *trust, EVP_PKEY *key, enum cms_raw raw, const void *signature, size_t signature_size,
		   const void *content, size_t content_size)
{
	_cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pkey_ctx = NULL;
	int padding = raw == CMS_RAW_RSA_PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING, ok;

	if (ctx == NULL || EVP_DigestVerifyInit_ex(ctx, &pkey_ctx, "SHA256", trust->libctx, NULL, key, NULL) != 1 ||
	    EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, padding) != 1)
		return -ENOMEM;
	/* Signers choose the length of the salt: "max" is what the tools around SWUpdate take. */
	if (raw == CMS_RAW_RSA_PSS && EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey_ctx, RSA_PSS_SALTLEN_AUTO) != 1)
		return -ENOMEM;
	ok = EVP_DigestVerify(ctx, signature, signature_size, content, content_size) == 1;
	ERR_clear_error();
	return ok;
}

static int name_key(EVP_PKEY *key, struct cms_signers *ret_signers, struct agent_error **err)
{
	struct cms_signers signers = { .n = 1 };
	X509_PUBKEY *spki = NULL;
	int r = X509_PUBKEY_set(&spki, key) == 1 ? cms_key_digest(spki, signers.keys[0], err) :
						   agent_error_set(err, -ENOMEM, "memory", "no memory for a key");

	X509_PUBKEY_free(spki);
	if (r == 0)
		*ret_signers = signers;
	return r;
}

int cms_verify_raw(const struct cms_trust *trust, enum cms_raw raw, const void *signature, size_t signature_size, const void *content,
		   size_t content_size, unsigned n_min_signers, struct cms_signers *ret_signers, struct agent_error **err)
{
	if (n_min_signers == 0 || raw == CMS_RAW_NONE)
		return agent_error_set(err, -EINVAL, "update.policy", "a policy that needs no signature is refused");
	if (n_min_signers > 1)
		return agent_error_set(err, -EKEYREJECTED, "update.threshold", "a bare RSA signature counts once, %u are needed: sign with CMS", n_min_signers);
	if (trust->n_keys == 0)
		return agent_error_set(err, -ENOKEY, "update.trust", "the signature is no CMS, and no public key (*.pub) is pinned for bare ones");
	ERR_clear_error();
	for (size_t i = 0; i < trust->n_keys; i++) {
		int r = matches(trust, trust->keys[i], raw, signature, signature_size, content, content_size);

		if (r < 0)
			return agent_error_set(err, r, "memory", "no memory to check a signature");
		if (r == 1)
			return name_key(trust->keys[i], ret_signers, err);
	}
	return agent_error_set(err, -EKEYREJECTED, "update.signature", "no pinned public key made this bare %s signature of %zu bytes",
			       raw == CMS_RAW_RSA_PSS ? "RSA-PSS" : "RSA", signature_size);
}
