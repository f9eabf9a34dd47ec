/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/proverr.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/macro.h"
#include "crypto/openssl_error.h"

struct sigctx {
	OSSL_LIB_CTX *libctx;
	struct agent_signer *signer;
	EVP_PKEY *public_key;
	enum agent_sign_scheme scheme;
	const struct hash_row *hash;	/* NULL: not chosen yet */
	EVP_MD_CTX *md;			/* while a message arrives */
};

static const struct hash_row {
	enum agent_hash hash;
	const char *name;
	const char *names;	/* all that OpenSSL may call it */
	int nid;
	int ecdsa_nid, pkcs1_nid;
	size_t size;
} hash_rows[] = {
	{ AGENT_HASH_SHA256, "SHA256", "SHA256:SHA2-256:SHA-256", NID_sha256, NID_ecdsa_with_SHA256, NID_sha256WithRSAEncryption, 32 },
	{ AGENT_HASH_SHA384, "SHA384", "SHA384:SHA2-384:SHA-384", NID_sha384, NID_ecdsa_with_SHA384, NID_sha384WithRSAEncryption, 48 },
	{ AGENT_HASH_SHA512, "SHA512", "SHA512:SHA2-512:SHA-512", NID_sha512, NID_ecdsa_with_SHA512, NID_sha512WithRSAEncryption, 64 },
};

static const struct hash_row *find_hash(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; n > 0 && i < ARRAY_SIZE(hash_rows); i++) {
		for (const char *p = hash_rows[i].names; p != NULL; p = strchr(p, ':') == NULL ? NULL : strchr(p, ':') + 1)
			if (OPENSSL_strncasecmp(p, name, n) == 0 && (p[n] == ':' || p[n] == '\0'))
				return &hash_rows[i];
	}
	ERR_raise_data(ERR_LIB_PROV, PROV_R_INVALID_DIGEST, "%s; signers take SHA-256, SHA-384 and SHA-512", name);
	return NULL;
}

static int is_rsa(const struct sigctx *s)
{
	return s->scheme != AGENT_SIGN_ECDSA;
}

static struct sigctx *sigctx_new(void *provctx, enum agent_sign_scheme scheme)
{
	struct sigctx *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->libctx = ((struct provider *)provctx)->libctx;
	s->scheme = scheme;
	return s;
}

static void *ecdsa_newctx(void *provctx, const char *propq)
{
	return sigctx_new(provctx, AGENT_SIGN_ECDSA);
}

static void *rsa_newctx(void *provctx, const char *propq)
{
	return sigctx_new(provctx, AGENT_SIGN_RSA_PKCS1);
}

static void sigctx_free(void *ctx)
{
	struct sigctx *s = ctx;

	if (s == NULL)
		return;
	EVP_MD_CTX_free(s->md);
	EVP_PKEY_free(s->public_key);
	agent_signer_unref(s->signer);
	free(s);
}

static void *sigctx_dup(void *ctx)
{
	const struct sigctx *from = ctx;
	struct sigctx *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	*s = *from;
	s->md = NULL;
	agent_signer_ref(s->signer);
	if (s->public_key != NULL)
		EVP_PKEY_up_ref(s->public_key);
	if (from->md != NULL) {
		s->md = EVP_MD_CTX_new();
		if (s->md == NULL || EVP_MD_CTX_copy_ex(s->md, from->md) != 1) {
			sigctx_free(s);
			return NULL;
		}
	}
	return s;
}

static int set_digest(struct sigctx *s, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST);
	const struct hash_row *hash;
	char name[32], *pname = name;

	if (p == NULL)
		return 1;
	if (!OSSL_PARAM_get_utf8_string(p, &pname, sizeof(name)))
		return 0;
	hash = find_hash(name);
	/* A message is being hashed already: its digest cannot change under it. */
	if (hash == NULL || (s->md != NULL && s->hash != hash))
		return 0;
	s->hash = hash;
	return 1;
}

/* An RSA padding comes as the number of rsa.h or by name. */
static int set_padding(struct sigctx *s, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
	int mode = 0;

	if (p == NULL)
		return 1;
	if (p->data_type == OSSL_PARAM_UTF8_STRING && p->data != NULL)
		mode = strcmp(p->data, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) == 0 ? RSA_PKCS1_PADDING :
		       strcmp(p->data, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0	    ? RSA_PKCS1_PSS_PADDING :
									      0;
	else if (!OSSL_PARAM_get_int(p, &mode))
		return 0;
	if (mode != RSA_PKCS1_PADDING && mode != RSA_PKCS1_PSS_PADDING) {
		ERR_raise_data(ERR_LIB_PROV, PROV_R_ILLEGAL_OR_UNSUPPORTED_PADDING_MODE, "signers do PKCS#1 v1.5 and PSS");
		return 0;
	}
	s->scheme = mode == RSA_PKCS1_PADDING ? AGENT_SIGN_RSA_PKCS1 : AGENT_SIGN_RSA_PSS;
	return 1;
}

/* The salt is as long as the digest: what TLS 1.3 demands (RFC 8446 section 4.2.3) and TPMs in FIPS mode do. */
static int set_salt(struct sigctx *s, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
	int length = RSA_PSS_SALTLEN_MAX;

	if (p == NULL)
		return 1;
	if (p->data_type == OSSL_PARAM_UTF8_STRING && p->data != NULL) {
		if (strcmp(p->data, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0 || strcmp(p->data, OSSL_PKEY_RSA_PSS_SALT_LEN_AUTO) == 0)
			length = RSA_PSS_SALTLEN_DIGEST;
		else if (strcmp(p->data, OSSL_PKEY_RSA_PSS_SALT_LEN_MAX) != 0)
			length = atoi(p->data);
	} else if (!OSSL_PARAM_get_int(p, &length)) {
		return 0;
	}
	if (length == RSA_PSS_SALTLEN_DIGEST || length == RSA_PSS_SALTLEN_AUTO ||
	    (s->hash != NULL && length == (int)s->hash->size))
		return 1;
	ERR_raise_data(ERR_LIB_PROV, PROV_R_INVALID_SALT_LENGTH, "signers use a salt as long as the digest");
	return 0;
}

static int set_mgf1(struct sigctx *s, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
	char name[32], *pname = name;

	if (p == NULL)
		return 1;
	if (OSSL_PARAM_get_utf8_string(p, &pname, sizeof(name)) && s->hash != NULL && find_hash(name) == s->hash)
		return 1;
	ERR_raise_data(ERR_LIB_PROV, PROV_R_INVALID_DIGEST, "signers use one digest for the message and for MGF1");
	return 0;
}

static int sigctx_set_params(void *ctx, const OSSL_PARAM params[])
{
	struct sigctx *s = ctx;

	if (params == NULL)
		return 1;
	if (!set_digest(s, params))
		return 0;
	return !is_rsa(s) || (set_padding(s, params) && set_salt(s, params) && set_mgf1(s, params));
}

static const OSSL_PARAM *ecdsa_settable(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static const OSSL_PARAM *rsa_settable(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

/* RSASSA-PSS-params, RFC 4055 section 3.1; RSASSA-PSS has no parameter-free form. */
static ASN1_STRING *pss_params(const struct hash_row *hash)
{
	const EVP_MD *md = EVP_get_digestbynid(hash->nid);
	RSA_PSS_PARAMS *pss = RSA_PSS_PARAMS_new();
	X509_ALGOR *inner = X509_ALGOR_new();
	ASN1_STRING *packed = NULL, *out = NULL;

	if (pss == NULL || inner == NULL || md == NULL)
		goto done;
	pss->hashAlgorithm = X509_ALGOR_new();
	pss->maskGenAlgorithm = X509_ALGOR_new();
	pss->saltLength = ASN1_INTEGER_new();
	if (pss->hashAlgorithm == NULL || pss->maskGenAlgorithm == NULL || pss->saltLength == NULL)
		goto done;
	X509_ALGOR_set_md(pss->hashAlgorithm, md);
	X509_ALGOR_set_md(inner, md);
	if (ASN1_item_pack(inner, ASN1_ITEM_rptr(X509_ALGOR), &packed) == NULL)
		goto done;
	if (X509_ALGOR_set0(pss->maskGenAlgorithm, OBJ_nid2obj(NID_mgf1), V_ASN1_SEQUENCE, packed) != 1) {
		ASN1_STRING_free(packed);
		goto done;
	}
	if (ASN1_INTEGER_set(pss->saltLength, (long)hash->size) == 1)
		ASN1_item_pack(pss, ASN1_ITEM_rptr(RSA_PSS_PARAMS), &out);
done:
	X509_ALGOR_free(inner);
	RSA_PSS_PARAMS_free(pss);
	return out;
}

static int get_algorithm_id(const struct sigctx *s, OSSL_PARAM *p)
{
	X509_ALGOR *algor = X509_ALGOR_new();
	ASN1_STRING *pss = NULL;
	uint8_t *der = NULL;
	int n = 0, ok = algor != NULL && s->hash != NULL;

	if (ok && s->scheme == AGENT_SIGN_ECDSA) {
		ok = X509_ALGOR_set0(algor, OBJ_nid2obj(s->hash->ecdsa_nid), V_ASN1_UNDEF, NULL);
	} else if (ok && s->scheme == AGENT_SIGN_RSA_PKCS1) {
		ok = X509_ALGOR_set0(algor, OBJ_nid2obj(s->hash->pkcs1_nid), V_ASN1_NULL, NULL);
	} else if (ok) {
		pss = pss_params(s->hash);
		ok = pss != NULL && X509_ALGOR_set0(algor, OBJ_nid2obj(NID_rsassaPss), V_ASN1_SEQUENCE, pss);
		if (!ok)
			ASN1_STRING_free(pss);
	}
	n = ok ? i2d_X509_ALGOR(algor, &der) : 0;
	ok = n > 0 && OSSL_PARAM_set_octet_string(p, der, (size_t)n);
	OPENSSL_free(der);
	X509_ALGOR_free(algor);
	return ok;
}

static int get_padding(const struct sigctx *s, OSSL_PARAM *p)
{
	int pss = s->scheme == AGENT_SIGN_RSA_PSS;

	if (p->data_type == OSSL_PARAM_INTEGER || p->data_type == OSSL_PARAM_UNSIGNED_INTEGER)
		return OSSL_PARAM_set_int(p, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING);
	return OSSL_PARAM_set_utf8_string(p, pss ? OSSL_PKEY_RSA_PAD_MODE_PSS : OSSL_PKEY_RSA_PAD_MODE_PKCSV15);
}

static int get_salt(OSSL_PARAM *p)
{
	if (p->data_type == OSSL_PARAM_INTEGER)
		return OSSL_PARAM_set_int(p, RSA_PSS_SALTLEN_DIGEST);
	return OSSL_PARAM_set_utf8_string(p, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST);
}

static int sigctx_get_params(void *ctx, OSSL_PARAM params[])
{
	const struct sigctx *s = ctx;
	OSSL_PARAM *p;

	p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID);
	if (p != NULL && !get_algorithm_id(s, p))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST);
	if (p != NULL && !OSSL_PARAM_set_utf8_string(p, s->hash == NULL ? "" : s->hash->name))
		return 0;
	if (!is_rsa(s))
		return 1;
	p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
	if (p != NULL && !get_padding(s, p))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
	if (p != NULL && !get_salt(p))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
	return p == NULL || OSSL_PARAM_set_utf8_string(p, s->hash == NULL ? "" : s->hash->name);
}

static const OSSL_PARAM *ecdsa_gettable(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static const OSSL_PARAM *rsa_gettable(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static int take_key(struct sigctx *s, const struct provider_key *key, int needs_signer)
{
	if (key == NULL)	/* again with the key from before */
		return s->public_key != NULL;
	if (key->public_key == NULL || (needs_signer && key->signer == NULL))
		return 0;
	if (EVP_PKEY_up_ref(key->public_key) != 1)
		return 0;
	EVP_PKEY_free(s->public_key);
	s->public_key = key->public_key;
	agent_signer_ref(key->signer);
	agent_signer_unref(s->signer);
	s->signer = key->signer;
	return 1;
}

static int sign_init(void *ctx, void *keydata, const OSSL_PARAM params[])
{
	struct sigctx *s = ctx;

	return take_key(s, keydata, 1) && sigctx_set_params(s, params);
}

/* The one place where a signature is made. Asking for the size only must not wake the TPM. */
static int sign(void *ctx, unsigned char *sig, size_t *siglen, size_t sigsize, const unsigned char *tbs, size_t tbslen)
{
	struct sigctx *s = ctx;
	_cleanup_error_ struct agent_error *err = NULL;
	const struct hash_row *hash = s->hash;
	uint8_t made[AGENT_SIGNATURE_MAX];
	size_t n = 0;
	int r;

	if (s->signer == NULL)
		return 0;
	if (sig == NULL) {
		*siglen = (size_t)EVP_PKEY_get_size(s->public_key);
		return *siglen > 0;
	}
	/* ECDSA signs a bare digest as well; with PKCS#1 its name is part of what is signed. */
	for (size_t i = 0; hash == NULL && !is_rsa(s) && i < ARRAY_SIZE(hash_rows); i++)
		if (hash_rows[i].size == tbslen)
			hash = &hash_rows[i];
	if (hash == NULL || tbslen != hash->size) {
		ERR_raise_data(ERR_LIB_PROV, PROV_R_INVALID_DIGEST_LENGTH, "%zu bytes; signers take SHA-256, SHA-384 and SHA-512", tbslen);
		return 0;
	}
	r = agent_signer_sign(s->signer, s->scheme, hash->hash, tbs, tbslen, made, &n, &err);
	if (r < 0) {
		openssl_error_raise(r, err);
		return 0;
	}
	if (n > sigsize) {
		ERR_raise(ERR_LIB_PROV, PROV_R_OUTPUT_BUFFER_TOO_SMALL);
		return 0;
	}
	memcpy(sig, made, n);
	*siglen = n;
	return 1;
}

static int digest_init(struct sigctx *s, const char *mdname, const OSSL_PARAM params[])
{
	char name[32] = "SHA256";
	EVP_MD *md;
	int ok;

	EVP_MD_CTX_free(TAKE_PTR(s->md));
	if (mdname != NULL && mdname[0] != '\0')
		s->hash = find_hash(mdname);
	else if (s->hash == NULL && EVP_PKEY_get_default_digest_name(s->public_key, name, sizeof(name)) >= 0)
		s->hash = find_hash(name);
	if (s->hash == NULL || !sigctx_set_params(s, params))
		return 0;
	md = EVP_MD_fetch(s->libctx, s->hash->name, NULL);
	s->md = EVP_MD_CTX_new();
	ok = md != NULL && s->md != NULL && EVP_DigestInit_ex2(s->md, md, params) == 1;
	EVP_MD_free(md);
	return ok;
}

static int digest_sign_init(void *ctx, const char *mdname, void *keydata, const OSSL_PARAM params[])
{
	struct sigctx *s = ctx;

	return take_key(s, keydata, 1) && digest_init(s, mdname, params);
}

static int digest_update(void *ctx, const unsigned char *data, size_t size)
{
	struct sigctx *s = ctx;

	return s->md != NULL && EVP_DigestUpdate(s->md, data, size) == 1;
}

static int digest_sign_final(void *ctx, unsigned char *sig, size_t *siglen, size_t sigsize)
{
	struct sigctx *s = ctx;
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (s->md == NULL)
		return 0;
	if (sig == NULL)
		return sign(s, NULL, siglen, 0, NULL, 0);
	return EVP_DigestFinal_ex(s->md, digest, &n) == 1 && sign(s, sig, siglen, sigsize, digest, n);
}

/* Verification needs no signer; it is here so that a program can check with the same EVP_PKEY what it signed. */
static int verify_init(void *ctx, void *keydata, const OSSL_PARAM params[])
{
	struct sigctx *s = ctx;

	return take_key(s, keydata, 0) && sigctx_set_params(s, params);
}

static int verify(void *ctx, const unsigned char *sig, size_t siglen, const unsigned char *tbs, size_t tbslen)
{
	struct sigctx *s = ctx;
	EVP_PKEY_CTX *v = EVP_PKEY_CTX_new_from_pkey(s->libctx, s->public_key, "provider=default");
	int ok = v != NULL && EVP_PKEY_verify_init(v) == 1;

	if (ok && is_rsa(s))
		ok = EVP_PKEY_CTX_set_rsa_padding(v, s->scheme == AGENT_SIGN_RSA_PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1;
	if (ok && s->scheme == AGENT_SIGN_RSA_PSS)
		ok = EVP_PKEY_CTX_set_rsa_pss_saltlen(v, RSA_PSS_SALTLEN_DIGEST) == 1;
	if (ok && s->hash != NULL)
		ok = EVP_PKEY_CTX_set_signature_md(v, EVP_get_digestbynid(s->hash->nid)) == 1;
	ok = ok && EVP_PKEY_verify(v, sig, siglen, tbs, tbslen) == 1;
	EVP_PKEY_CTX_free(v);
	return ok;
}

static int digest_verify_init(void *ctx, const char *mdname, void *keydata, const OSSL_PARAM params[])
{
	struct sigctx *s = ctx;

	return take_key(s, keydata, 0) && digest_init(s, mdname, params);
}

static int digest_verify_final(void *ctx, const unsigned char *sig, size_t siglen)
{
	struct sigctx *s = ctx;
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	return s->md != NULL && EVP_DigestFinal_ex(s->md, digest, &n) == 1 && verify(s, sig, siglen, digest, n);
}

#define FN(id, f) { OSSL_FUNC_SIGNATURE_##id, (void (*)(void))f }
#define SIGNATURE(type)                                                                                          \
	{                                                                                                        \
		FN(NEWCTX, type##_newctx), FN(FREECTX, sigctx_free), FN(DUPCTX, sigctx_dup), FN(SIGN_INIT, sign_init),    \
		FN(SIGN, sign), FN(DIGEST_SIGN_INIT, digest_sign_init), FN(DIGEST_SIGN_UPDATE, digest_update), \
		FN(DIGEST_SIGN_FINAL, digest_sign_final), FN(VERIFY_INIT, verify_init), FN(VERIFY, verify),         \
		FN(DIGEST_VERIFY_INIT, digest_verify_init), FN(DIGEST_VERIFY_UPDATE, digest_update),              \
		FN(DIGEST_VERIFY_FINAL, digest_verify_final), FN(GET_CTX_PARAMS, sigctx_get_params),              \
		FN(GETTABLE_CTX_PARAMS, type##_gettable), FN(SET_CTX_PARAMS, sigctx_set_params),                  \
		FN(SETTABLE_CTX_PARAMS, type##_settable), { 0, NULL }                                             \
	}

static const OSSL_DISPATCH ecdsa_signature[] = SIGNATURE(ecdsa);
static const OSSL_DISPATCH rsa_signature[] = SIGNATURE(rsa);

const OSSL_ALGORITHM provider_signature[] = {
	{ "ECDSA", PROVIDER_PROPERTY, ecdsa_signature, "ECDSA by a signer" },
	{ "RSA:rsaEncryption:1.2.840.113549.1.1.1", PROVIDER_PROPERTY, rsa_signature, "RSA PKCS#1 v1.5 and PSS by a signer" },
	{ NULL, NULL, NULL, NULL },
};
