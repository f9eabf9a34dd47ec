/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "crypto/cms_sign.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <agent/openssl.h>

#include "base/file.h"
#include "crypto/cms.h"
#include "crypto/cms_key.h"
#include "crypto/cms_private.h"
#include "crypto/key_identity.h"
#include "crypto/name.h"
#include "crypto/openssl_error.h"
#include "crypto/verify_dates.h"

#define CERT_MAX_BYTES (64 * KIB)

DEFINE_CLEANUP(ASN1_TIME *, ASN1_TIME_free)
DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(CMS_ContentInfo *, CMS_ContentInfo_free)
DEFINE_CLEANUP(X509 *, X509_free)

struct cms_signer {
	X509 *cert;
	EVP_PKEY *key;
	char name[96];
};

struct cms_signer *cms_signer_free(struct cms_signer *s)
{
	if (s == NULL)
		return NULL;
	X509_free(s->cert);
	EVP_PKEY_free(s->key);
	free(s);
	return NULL;
}

static int cert_load(OSSL_LIB_CTX *libctx, const char *path, X509 **ret_cert, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = NULL;
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *data = NULL;
	X509 *cert = X509_new_ex(libctx, NULL);
	size_t size = 0;
	int r = file_read_at(AT_FDCWD, path, CERT_MAX_BYTES, &data, &size, &why);

	if (r == 0)
		bio = BIO_new_mem_buf(data, (int)size);
	if (r == 0 && cert != NULL && bio != NULL && PEM_read_bio_X509(bio, &cert, NULL, NULL) != NULL) {
		*ret_cert = cert;
		return 0;
	}
	X509_free(cert);
	if (r < 0)
		return agent_error_set(err, r, "bundle.signer", "cannot read the signer's certificate: %s", agent_error_message(why));
	return openssl_error_set(err, -EKEYREJECTED, "bundle.signer", "%s holds no PEM certificate", path);
}

/* What every device would refuse is not made. */
static int signer_check(const struct cms_signer *s, uint64_t now_s, struct agent_error **err)
{
	uint32_t flags = X509_get_extension_flags(s->cert);
	int64_t begin_s, end_s;

#define REFUSE(...) return agent_error_set(err, -EKEYREJECTED, "bundle.signer", __VA_ARGS__)
	if (EVP_PKEY_eq(X509_get0_pubkey(s->cert), s->key) != 1)
		REFUSE("the key given does not belong to the certificate of \"%s\"", s->name);
	/* The certificate knows the name of the curve, not every provider of keys does. */
	if (!((EVP_PKEY_is_a(s->key, "RSA") || EVP_PKEY_is_a(s->key, "EC")) && cms_trust_is_key(X509_get0_pubkey(s->cert))))
		REFUSE("the key of \"%s\" is not RSA of 2048 to 8192 bits, P-256, P-384 or P-521", s->name);
	if (!(flags & EXFLAG_XKUSAGE) || !(X509_get_extended_key_usage(s->cert) & XKU_CODE_SIGN))
		REFUSE("the certificate of \"%s\" lacks the extended key usage codeSigning: no device accepts it", s->name);
	if ((flags & EXFLAG_KUSAGE) && !(X509_get_key_usage(s->cert) & KU_DIGITAL_SIGNATURE))
		REFUSE("the certificate of \"%s\" lacks the key usage digitalSignature: no device accepts it", s->name);
	if (time_from_asn1(X509_get0_notBefore(s->cert), &begin_s) < 0 || time_from_asn1(X509_get0_notAfter(s->cert), &end_s) < 0 ||
	    begin_s > (int64_t)now_s || end_s < (int64_t)now_s)
		REFUSE("the certificate of \"%s\" is not valid now, or at SOURCE_DATE_EPOCH if that is set", s->name);
#undef REFUSE
	return 0;
}

int cms_signer_open(struct agent_context *ctx, const char *certificate, const char *key, struct agent_signer *signer, uint64_t now_s,
		    struct cms_signer **ret_signer, struct agent_error **err)
{
	_cleanup_(cms_signer_freep) struct cms_signer *s = calloc(1, sizeof(*s));
	OSSL_LIB_CTX *libctx = NULL;
	int r;

	if (s == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a signer");
	r = agent_openssl_libctx(ctx, &libctx, err);
	if (r == 0)
		r = cert_load(libctx, certificate, &s->cert, err);
	if (r < 0)
		return r;
	name_show(X509_get_subject_name(s->cert), s->name, sizeof(s->name));
	r = signer != NULL ? agent_openssl_pkey(ctx, signer, &s->key, err) : cms_key_load(libctx, key, &s->key, err);
	if (r == 0)
		r = signer_check(s, now_s, err);
	ERR_clear_error();
	if (r < 0)
		return r;
	*ret_signer = TAKE_PTR(s);
	return 0;
}

/* ---- signing ---------------------------------------------------------------------------------------------------------- */

static int key_hash(X509 *cert, uint8_t ret_hash[DIGEST_SIZE])
{
	uint8_t *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der), r;

	r = n <= 0 ? -ENOMEM : digest_sha256(der, (size_t)n, ret_hash);
	OPENSSL_free(der);
	return r;
}

/* SHA-256, and for longer curves the digest of their length. */
static const EVP_MD *digest_for(EVP_PKEY *key)
{
	if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_bits(key) == 256)
		return EVP_sha256();
	return EVP_PKEY_get_bits(key) == 384 ? EVP_sha384() : EVP_sha512();
}

/*
 * One more SignerInfo, signed at once over attributes made here: CMS_final() would want to sign those of others again, and would take the
 * time from the clock.
 */
static int signer_add(CMS_ContentInfo *cms, const struct cms_signer *s, const void *content, size_t size, uint64_t now_s, struct agent_error **err)
{
	const EVP_MD *md = digest_for(s->key);
	_cleanup_(ASN1_TIME_freep) ASN1_TIME *when = ASN1_TIME_new();
	CMS_SignerInfo *si = CMS_add1_signer(cms, s->cert, s->key, md, CMS_PARTIAL | CMS_BINARY | CMS_DETACHED | CMS_NOSMIMECAP);
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	int ok;

	ok = si != NULL && when != NULL && time_to_asn1((int64_t)now_s, when) >= 0 && EVP_Digest(content, size, hash, &n, md, NULL) == 1 &&
	     CMS_signed_add1_attr_by_NID(si, NID_pkcs9_contentType, V_ASN1_OBJECT, OBJ_nid2obj(NID_pkcs7_data), -1) == 1 &&
	     CMS_signed_add1_attr_by_NID(si, NID_pkcs9_signingTime, when->type, when, -1) == 1 &&
	     CMS_signed_add1_attr_by_NID(si, NID_pkcs9_messageDigest, V_ASN1_OCTET_STRING, hash, (int)n) == 1 && CMS_SignerInfo_sign(si) == 1;
	if (!ok)
		return openssl_error_set(err, -EIO, "bundle.key", "OpenSSL cannot sign with the key of \"%s\"", s->name);
	ERR_clear_error();
	return 0;
}

/* Is the key of @s, or its certificate, among those who signed already? */
static bool has_signed(CMS_ContentInfo *cms, X509 *cert)
{
	STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);
	STACK_OF(X509) *certs = CMS_get1_certs(cms);
	uint8_t ours[DIGEST_SIZE], theirs[DIGEST_SIZE];
	bool is_there = key_identity(cert, ours) < 0;

	for (int i = 0; i < sk_CMS_SignerInfo_num(infos); i++) {
		CMS_SignerInfo *si = sk_CMS_SignerInfo_value(infos, i);

		is_there = is_there || CMS_SignerInfo_cert_cmp(si, cert) == 0;
		for (int k = 0; k < sk_X509_num(certs); k++)
			if (CMS_SignerInfo_cert_cmp(si, sk_X509_value(certs, k)) == 0)
				is_there = is_there || (key_identity(sk_X509_value(certs, k), theirs) == 0 && memcmp(ours, theirs, sizeof(ours)) == 0);
	}
	sk_X509_pop_free(certs, X509_free);
	return is_there;
}

static int cms_read(OSSL_LIB_CTX *libctx, const void *der, size_t size, CMS_ContentInfo **ret_cms, struct agent_error **err)
{
	_cleanup_(CMS_ContentInfo_freep) CMS_ContentInfo *cms = CMS_ContentInfo_new_ex(libctx, NULL);
	const uint8_t *p = der;

	if (size > CMS_MAX_BYTES || cms == NULL || d2i_CMS_ContentInfo(&cms, &p, (long)size) == NULL || p != (const uint8_t *)der + size ||
	    OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed) {
		ERR_clear_error();
		return agent_error_set(err, -EBADMSG, "update.signature", "the signature that is there is not CMS in DER: it can be replaced, not added to");
	}
	*ret_cms = TAKE_PTR(cms);
	return 0;
}

int cms_sign(struct agent_context *ctx, const void *old, size_t old_size, const void *content, size_t content_size,
	     struct cms_signer *const *signers, size_t n_signers, uint64_t now_s, uint8_t **ret_der, size_t *ret_size, struct agent_error **err)
{
	_cleanup_(CMS_ContentInfo_freep) CMS_ContentInfo *cms = NULL;
	OSSL_LIB_CTX *libctx = NULL;
	uint8_t *der = NULL;
	int n, r;

	r = agent_openssl_libctx(ctx, &libctx, err);
	if (r == 0 && old != NULL)
		r = cms_read(libctx, old, old_size, &cms, err);
	/* What every device would refuse is not made. */
	if (r == 0 && cms != NULL && (CMS_get0_content(cms) == NULL || *CMS_get0_content(cms) != NULL))
		r = agent_error_set(err, -EBADMSG, "update.signature", "the signature that is there contains the content itself: it can be replaced, not added to");
	if (r < 0)
		return r;
	if (old == NULL)
		cms = CMS_sign_ex(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_DETACHED | CMS_BINARY | CMS_NOSMIMECAP, libctx, NULL);
	if (cms == NULL)
		return openssl_error_set(err, -ENOMEM, "memory", "no memory for a signature");
	for (size_t i = 0; i < n_signers; i++) {
		if (has_signed(cms, signers[i]->cert))
			return agent_error_set(err, -EEXIST, "bundle.signer", "the key of \"%s\" has signed already, and a key counts once", signers[i]->name);
		if (sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms)) >= CMS_SIGNERS_MAX)
			return agent_error_set(err, -EMSGSIZE, "bundle.signer", "a bundle has at most %d signers", CMS_SIGNERS_MAX);
		r = signer_add(cms, signers[i], content, content_size, now_s, err);
		if (r < 0)
			return r;
	}
	n = i2d_CMS_ContentInfo(cms, &der);
	if (n <= 0)
		return openssl_error_set(err, -ENOMEM, "memory", "no memory for a signature");
	*ret_der = malloc((size_t)n);
	if (*ret_der != NULL)
		memcpy(*ret_der, der, (size_t)n);
	OPENSSL_free(der);
	if (*ret_der == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a signature");
	*ret_size = (size_t)n;
	return 0;
}

/* ---- showing ---------------------------------------------------------------------------------------------------------- */

static uint64_t seconds_of(const ASN1_TIME *t)
{
	int64_t s;

	return time_from_asn1(t, &s) < 0 || s < 0 ? 0 : (uint64_t)s;
}

static void claim_fill(CMS_SignerInfo *si, STACK_OF(X509) *certs, struct cms_claim *claim)
{
	X509_NAME *issuer = NULL;
	X509_ALGOR *digest = NULL;
	const ASN1_OBJECT *oid = NULL;
	int i;

	CMS_SignerInfo_get0_signer_id(si, NULL, &issuer, NULL);
	if (issuer != NULL)
		name_show(issuer, claim->issuer, sizeof(claim->issuer));
	CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, NULL);
	X509_ALGOR_get0(&oid, NULL, NULL, digest);
	snprintf(claim->digest, sizeof(claim->digest), "%s", OBJ_nid2sn(OBJ_obj2nid(oid)));
	claim->signed_s = cms_signing_time(si);
	for (i = 0; i < sk_X509_num(certs) && !claim->has_certificate; i++) {
		X509 *cert = sk_X509_value(certs, i);

		if (CMS_SignerInfo_cert_cmp(si, cert) != 0)
			continue;
		claim->has_certificate = key_hash(cert, claim->key) == 0;
		name_show(X509_get_subject_name(cert), claim->subject, sizeof(claim->subject));
		name_show(X509_get_issuer_name(cert), claim->issuer, sizeof(claim->issuer));
		claim->not_after_s = seconds_of(X509_get0_notAfter(cert));
	}
}

int cms_claims(struct agent_context *ctx, const void *der, size_t size, struct cms_claim *ret_claims, size_t max, size_t *ret_n,
	       struct agent_error **err)
{
	_cleanup_(CMS_ContentInfo_freep) CMS_ContentInfo *cms = NULL;
	OSSL_LIB_CTX *libctx = NULL;
	STACK_OF(CMS_SignerInfo) *infos;
	STACK_OF(X509) *certs;
	int r = agent_openssl_libctx(ctx, &libctx, err);

	if (r == 0)
		r = cms_read(libctx, der, size, &cms, err);
	if (r < 0)
		return r;
	infos = CMS_get0_SignerInfos(cms);
	certs = CMS_get1_certs(cms);
	*ret_n = sk_CMS_SignerInfo_num(infos) < 0 ? 0 : (size_t)sk_CMS_SignerInfo_num(infos);
	for (size_t i = 0; i < *ret_n && i < max; i++) {
		ret_claims[i] = (struct cms_claim){ 0 };
		claim_fill(sk_CMS_SignerInfo_value(infos, (int)i), certs, &ret_claims[i]);
	}
	sk_X509_pop_free(certs, X509_free);
	ERR_clear_error();
	return 0;
}
