/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <agent/software.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <agent/openssl.h>

#include "base/macro.h"
#include "crypto/private_pem.h"

struct software {
	struct agent_context *ctx; /* owns libctx */
	OSSL_LIB_CTX *libctx;
	EVP_PKEY *pkey;
};

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(EVP_MD *, EVP_MD_free)

static const char *hash_name(enum agent_hash hash)
{
	return hash == AGENT_HASH_SHA256 ? "SHA256" : hash == AGENT_HASH_SHA384 ? "SHA384" : "SHA512";
}

static bool set_padding(EVP_PKEY_CTX *pctx, enum agent_sign_scheme scheme)
{
	if (scheme == AGENT_SIGN_ECDSA)
		return true;
	if (scheme == AGENT_SIGN_RSA_PKCS1)
		return EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PADDING) == 1;
	return EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static int software_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
			 uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	struct software *s = userdata;
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(s->libctx, s->pkey, NULL);
	_cleanup_(EVP_MD_freep) EVP_MD *md = EVP_MD_fetch(s->libctx, hash_name(hash), NULL);
	size_t n = AGENT_SIGNATURE_MAX;
	bool ok;

	ERR_set_mark();
	ok = pctx != NULL && md != NULL && EVP_PKEY_sign_init(pctx) == 1 && set_padding(pctx, scheme) &&
	     EVP_PKEY_CTX_set_signature_md(pctx, md) == 1 && EVP_PKEY_sign(pctx, ret_sig, &n, digest, digest_size) == 1;
	ERR_pop_to_mark();
	if (!ok)
		return agent_error_set(err, -EIO, "software.sign", "OpenSSL cannot sign with the software key");
	*ret_size = n;
	return 0;
}

static void software_free(void *userdata)
{
	struct software *s = userdata;

	EVP_PKEY_free(s->pkey);
	agent_context_unref(s->ctx);
	free(s);
}

int agent_software_signer_new(struct agent_context *ctx, const char *pem, size_t size, struct agent_signer **ret_signer,
			      struct agent_error **err)
{
	static const struct agent_signer_ops ops = { .backend = "software", .sign = software_sign, .free = software_free };
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	unsigned char *spki = NULL;
	enum agent_key_type type;
	struct software *s;
	OSSL_LIB_CTX *libctx;
	int n, r;

	if (ctx == NULL || pem == NULL || ret_signer == NULL)
		return agent_error_set(err, -EINVAL, "software.argument", "no context or no key");
	r = agent_openssl_libctx(ctx, &libctx, err);
	if (r >= 0)
		r = private_pem_parse(libctx, pem, size, &pkey, &type, err);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	n = i2d_PUBKEY(pkey, &spki);
	if (s == NULL || n <= 0) {
		free(s);
		OPENSSL_free(spki);
		return agent_error_set(err, -ENOMEM, "software.memory", "out of memory");
	}
	*s = (struct software){ .ctx = agent_context_ref(ctx), .libctx = libctx, .pkey = TAKE_PTR(pkey) };
	r = agent_signer_new(&ops, s, spki, (size_t)n, ret_signer, err);
	OPENSSL_free(spki);
	if (r < 0)
		software_free(s);
	return r;
}
