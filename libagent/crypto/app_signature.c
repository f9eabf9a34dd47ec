/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <agent/client.h>

#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <agent/openssl.h>

#include "base/macro.h"

/*
 * Begins what an application signs, with the NUL after it. A TLS 1.3 CertificateVerify begins with 64 spaces (RFC 8446
 * section 4.4.3), a certificate request and CMS attributes with a DER tag, so none can be taken for the other.
 */
static const char domain[] = "libagent-app-v1";

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

/* 1 to @max printable ASCII characters: no NUL could move the border between two of them. */
static int is_word(const char *text, size_t max)
{
	size_t n = text == NULL ? 0 : strlen(text);

	if (n < 1 || n > max)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return 0;
	return 1;
}

int agent_app_signature_digest(enum agent_key_type type, const char *label, const char *context, const void *data, size_t size,
			       enum agent_hash *ret_hash, uint8_t ret_digest[AGENT_DIGEST_MAX], size_t *ret_size,
			       struct agent_error **err)
{
	_cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *md = NULL;
	enum agent_hash hash = type == AGENT_KEY_EC_P384 ? AGENT_HASH_SHA384 : AGENT_HASH_SHA256;
	unsigned n = 0;

	if ((data == NULL && size > 0) || ret_hash == NULL || ret_digest == NULL || ret_size == NULL)
		return agent_error_set(err, -EINVAL, "app.argument", "an application signature needs a message");
	if (!is_word(label, AGENT_APP_LABEL_MAX))
		return agent_error_set(err, -EINVAL, "app.label", "a label has 1 to %d printable ASCII characters", AGENT_APP_LABEL_MAX);
	if (!is_word(context, AGENT_APP_CONTEXT_MAX))
		return agent_error_set(err, -EINVAL, "app.context", "a context has 1 to %d printable ASCII characters", AGENT_APP_CONTEXT_MAX);
	if (size > AGENT_APP_MESSAGE_MAX)
		return agent_error_set(err, -EMSGSIZE, "app.message", "the message has %zu bytes, limit %d", size, AGENT_APP_MESSAGE_MAX);
	md = EVP_MD_CTX_new();
	if (md == NULL || EVP_DigestInit_ex(md, hash == AGENT_HASH_SHA384 ? EVP_sha384() : EVP_sha256(), NULL) != 1 ||
	    EVP_DigestUpdate(md, domain, sizeof(domain)) != 1 || EVP_DigestUpdate(md, label, strlen(label) + 1) != 1 ||
	    EVP_DigestUpdate(md, context, strlen(context) + 1) != 1 || EVP_DigestUpdate(md, data, size) != 1 ||
	    EVP_DigestFinal_ex(md, ret_digest, &n) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a digest");
	}
	*ret_hash = hash;
	*ret_size = n;
	return 0;
}

static int none_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
		     uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	return agent_error_set(err, -EINVAL, "app.argument", "a public key does not sign");
}

static int verify(OSSL_LIB_CTX *libctx, enum agent_key_type type, const uint8_t *spki, size_t spki_size, enum agent_hash hash,
		  const uint8_t *digest, size_t digest_size, const uint8_t *sig, size_t sig_size)
{
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *pctx = NULL;
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	const uint8_t *p = spki;

	pkey = d2i_PUBKEY_ex(NULL, &p, (long)spki_size, libctx, NULL);
	pctx = pkey == NULL ? NULL : EVP_PKEY_CTX_new_from_pkey(libctx, pkey, NULL);
	if (pctx == NULL || EVP_PKEY_verify_init(pctx) != 1)
		return 0;
	if ((type == AGENT_KEY_RSA_2048 || type == AGENT_KEY_RSA_3072) &&
	    (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1 || EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) != 1))
		return 0;
	return EVP_PKEY_CTX_set_signature_md(pctx, hash == AGENT_HASH_SHA384 ? EVP_sha384() : EVP_sha256()) == 1 &&
	       EVP_PKEY_verify(pctx, sig, sig_size, digest, digest_size) == 1;
}

int agent_app_signature_verify(struct agent_context *ctx, const uint8_t *spki, size_t spki_size, const char *label,
			       const char *context, const void *data, size_t size, const uint8_t *sig, size_t sig_size,
			       struct agent_error **err)
{
	static const struct agent_signer_ops ops = { .backend = "public", .sign = none_sign };
	struct agent_signer *shape = NULL;
	uint8_t digest[AGENT_DIGEST_MAX];
	OSSL_LIB_CTX *libctx;
	enum agent_key_type type;
	enum agent_hash hash;
	size_t digest_size;
	int ok, r;

	if (ctx == NULL || sig == NULL || sig_size == 0)
		return agent_error_set(err, -EINVAL, "app.argument", "a verification needs a context and a signature");
	r = agent_openssl_libctx(ctx, &libctx, err);
	/* The same reading of a public key as everywhere: type, size, nothing after it. */
	if (r >= 0)
		r = agent_signer_new(&ops, NULL, spki, spki_size, &shape, err);
	if (r < 0)
		return r;
	type = agent_signer_get_type(shape);
	agent_signer_unref(shape);
	r = agent_app_signature_digest(type, label, context, data, size, &hash, digest, &digest_size, err);
	if (r < 0)
		return r;
	ERR_set_mark();
	ok = sig_size <= AGENT_SIGNATURE_MAX && verify(libctx, type, spki, spki_size, hash, digest, digest_size, sig, sig_size);
	ERR_pop_to_mark();
	if (!ok)
		return agent_error_set(err, -EKEYREJECTED, "app.signature", "the signature is not that of %s for %s with this key", label, context);
	return 0;
}
