/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/cms_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "crypto/digest.h"
#include "crypto/key_identity.h"
#include "crypto/name.h"
#include "crypto/verify_dates.h"

#define EMBEDDED_MAX 16		/* certificates that came with the signature */
#define REASONS_MAX 512

DEFINE_CLEANUP(CMS_ContentInfo *, CMS_ContentInfo_free)

struct verification {
	const struct cms_trust *trust;
	const void *content;
	size_t content_size;
	uint64_t now_s;
	STACK_OF(X509) *embedded;
	uint8_t identities[CMS_SIGNERS_MAX][DIGEST_SIZE];	/* key_identity() of each valid signer: what is counted */
	struct cms_signers valid;
	char signer[CMS_SIGNER_SIZE];			/* name of the first of them */
};

static void pop_certs(STACK_OF(X509) **certs)
{
	sk_X509_pop_free(*certs, X509_free);
}

static int malformed(struct agent_error **err, const char *what)
{
	ERR_clear_error();
	return agent_error_set(err, -EBADMSG, "update.signature", "the signature is malformed: %s", what);
}

/* Everything about the outer structure that does not depend on a signer. */
static int parse(const struct cms_trust *trust, const void *data, size_t size, CMS_ContentInfo **ret_cms, struct agent_error **err)
{
	_cleanup_(CMS_ContentInfo_freep) CMS_ContentInfo *cms = CMS_ContentInfo_new_ex(trust->libctx, NULL);
	const uint8_t *p = data;
	uint8_t *again = NULL;
	ASN1_OCTET_STRING **content;
	int n, same;

	if (cms == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a signature");
	if (size > CMS_MAX_BYTES)
		return agent_error_set(err, -EMSGSIZE, "update.signature", "the signature is %zu bytes, limit %d", size, CMS_MAX_BYTES);
	if (size >= 5 && memcmp(data, "-----", 5) == 0)
		return malformed(err, "it is PEM; sign with -outform DER");
	if (d2i_CMS_ContentInfo(&cms, &p, (long)size) == NULL)
		return malformed(err, "not a DER CMS structure (bare RSA signatures need update.raw_signatures)");
	if (p != (const uint8_t *)data + size)
		return malformed(err, "bytes follow it");
	if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
		return malformed(err, "not SignedData");
	if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data)
		return malformed(err, "the signed content is not of type id-data");
	content = CMS_get0_content(cms);
	if (content == NULL || *content != NULL)
		return malformed(err, "it contains the content itself; sign detached");
	/* One encoding for one signature: BER forms, which OpenSSL reads as well, come out different. */
	n = i2d_CMS_ContentInfo(cms, &again);
	same = n > 0 && (size_t)n == size && memcmp(again, data, size) == 0;
	OPENSSL_free(again);
	if (!same)
		return malformed(err, "not DER");
	*ret_cms = TAKE_PTR(cms);
	return 0;
}

static int digest_of(const X509_ALGOR *algor, const EVP_MD **ret_md)
{
	const ASN1_OBJECT *oid;
	int nid;

	X509_ALGOR_get0(&oid, NULL, NULL, algor);
	nid = OBJ_obj2nid(oid);
	if (nid != NID_sha256 && nid != NID_sha384 && nid != NID_sha512)
		return -EKEYREJECTED;
	*ret_md = EVP_get_digestbynid(nid);
	return *ret_md == NULL ? -ENOMEM : 0;
}

/* The signature algorithm may name a digest of its own; then it has to be the same one. */
static int algorithm_fits(const X509_ALGOR *algor, const EVP_MD *md)
{
	const ASN1_OBJECT *oid;
	int nid, md_nid = NID_undef, key_nid = NID_undef;

	X509_ALGOR_get0(&oid, NULL, NULL, algor);
	nid = OBJ_obj2nid(oid);
	if (nid == NID_rsaEncryption || nid == NID_rsassaPss || nid == NID_ED25519)
		return 1;	/* PSS parameters are compared with the digest by OpenSSL */
	return OBJ_find_sigid_algs(nid, &md_nid, &key_nid) == 1 && md_nid == EVP_MD_get_type(md) &&
	       (key_nid == NID_rsaEncryption || key_nid == NID_X9_62_id_ecPublicKey);
}

/* Is this signature over our bytes good under the key of @cert. */
static int check_signature(const struct verification *v, CMS_SignerInfo *si, X509 *cert, const char *signer, struct agent_error **err)
{
	const EVP_MD *md = NULL;
	const ASN1_OBJECT *type;
	const ASN1_OCTET_STRING *digest;
	X509_ALGOR *digest_algor, *sig_algor;
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;

#define REFUSE(...) return agent_error_set(err, -EKEYREJECTED, "update.signature", __VA_ARGS__)
	CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest_algor, &sig_algor);
	if (digest_of(digest_algor, &md) < 0)
		REFUSE("signer \"%s\" used a digest other than SHA-256, SHA-384 or SHA-512", signer);
	if (!algorithm_fits(sig_algor, md))
		REFUSE("signer \"%s\" used a signature algorithm that is not accepted", signer);
	if (CMS_signed_get_attr_count(si) <= 0)
		REFUSE("signer \"%s\" signed without signed attributes", signer);
	type = CMS_signed_get0_data_by_OBJ(si, OBJ_nid2obj(NID_pkcs9_contentType), -3, V_ASN1_OBJECT);
	digest = CMS_signed_get0_data_by_OBJ(si, OBJ_nid2obj(NID_pkcs9_messageDigest), -3, V_ASN1_OCTET_STRING);
	if (type == NULL || digest == NULL || OBJ_obj2nid(type) != NID_pkcs7_data)
		REFUSE("signer \"%s\" signed attributes without content type and message digest", signer);
	if (EVP_Digest(v->content, v->content_size, hash, &n, md, NULL) != 1)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a digest");
	if ((size_t)ASN1_STRING_length(digest) != n || memcmp(ASN1_STRING_get0_data(digest), hash, n) != 0)
		REFUSE("signer \"%s\" signed other bytes than these", signer);
	CMS_SignerInfo_set1_signer_cert(si, cert);
	if (CMS_SignerInfo_verify(si) != 1)
		REFUSE("the signature of \"%s\" does not match its key", signer);
#undef REFUSE
	return 0;
}

/* Trust first: a signature by a stranger is not worth a look. */
static int check_candidate(const struct verification *v, CMS_SignerInfo *si, X509 *cert, struct agent_error **err)
{
	char signer[80];
	int r;

	r = cms_trust_check(v->trust, cert, v->now_s, err);
	if (r < 0)
		return r;
	name_show(X509_get_subject_name(cert), signer, sizeof(signer));
	return check_signature(v, si, cert, signer, err);
}

uint64_t cms_signing_time(CMS_SignerInfo *si)
{
	const ASN1_OBJECT *oid = OBJ_nid2obj(NID_pkcs9_signingTime);
	const ASN1_TIME *t = CMS_signed_get0_data_by_OBJ(si, oid, -3, V_ASN1_UTCTIME);
	int64_t s;

	if (t == NULL)
		t = CMS_signed_get0_data_by_OBJ(si, oid, -3, V_ASN1_GENERALIZEDTIME);
	return t == NULL || time_from_asn1(t, &s) < 0 || s < 0 ? 0 : (uint64_t)s;
}

/* The earliest of all: whose clock is ahead needs the others for it. Outside of the life of the certificate it is no signing time. */
static void note_time(struct verification *v, CMS_SignerInfo *si, const X509 *cert)
{
	uint64_t at_s = cms_signing_time(si);

	if (time_is_early(X509_get0_notBefore(cert), (int64_t)at_s) || time_is_over(X509_get0_notAfter(cert), (int64_t)at_s))
		at_s = 0;
	if (v->valid.n == 1 || at_s < v->valid.signed_s)
		v->valid.signed_s = at_s;
}

static int count_key(struct verification *v, X509 *cert, struct agent_error **err)
{
	struct cms_signers *valid = &v->valid;
	int r = key_identity(cert, v->identities[valid->n]);

	if (r < 0)
		return agent_error_set(err, r, "memory", "no memory for a digest");
	r = cms_key_digest(X509_get_X509_PUBKEY(cert), valid->keys[valid->n], err);
	if (r < 0)
		return r;
	if (cms_key_is_among((const uint8_t(*)[DIGEST_SIZE])v->identities, valid->n, v->identities[valid->n])) {
		char signer[80];

		name_show(X509_get_subject_name(cert), signer, sizeof(signer));
		return agent_error_set(err, -EKEYREJECTED, "update.threshold", "the key of \"%s\" counts once", signer);
	}
	if (valid->n++ == 0)
		name_show(X509_get_subject_name(cert), v->signer, sizeof(v->signer));
	return 0;
}

/* Pinned certificates first, then those that came along; the first that is in order counts. */
static int check_signer(struct verification *v, CMS_SignerInfo *si, struct agent_error **err)
{
	STACK_OF(X509) *sets[2] = { v->trust->certs, v->embedded };
	int r = 0;

	for (size_t s = 0; s < 2; s++) {
		for (int i = 0; i < sk_X509_num(sets[s]); i++) {
			X509 *cert = sk_X509_value(sets[s], i);

			if (CMS_SignerInfo_cert_cmp(si, cert) != 0)
				continue;
			if (s == 1 && cms_trust_has(v->trust, cert))
				continue;	/* tried already */
			r = check_candidate(v, si, cert, err);
			ERR_clear_error();
			if (r == 0)
				r = count_key(v, cert, err);
			else if (r != -ENOMEM)
				continue;
			if (r == 0)
				note_time(v, si, cert);
			return r;
		}
	}
	if (r == 0) {
		X509_NAME *issuer = NULL;
		char text[80] = "?";

		CMS_SignerInfo_get0_signer_id(si, NULL, &issuer, NULL);
		if (issuer != NULL)
			name_show(issuer, text, sizeof(text));
		r = agent_error_set(err, -EKEYREJECTED, "update.signer",
				    "a signer whose certificate was issued by \"%s\" is unknown: it is not pinned and did not come along", text);
	}
	return r;
}

static void append_reason(char *reasons, const struct agent_error *e)
{
	size_t n = strlen(reasons);

	snprintf(reasons + n, REASONS_MAX - n, "; %s", agent_error_message(e));
}

static int check_signers(struct verification *v, CMS_ContentInfo *cms, unsigned n_min_signers, struct agent_error **err)
{
	STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);
	_cleanup_error_ struct agent_error *first = NULL;
	char reasons[REASONS_MAX] = "";
	int n = sk_CMS_SignerInfo_num(infos), r;

	if (n <= 0)
		return malformed(err, "nobody signed");
	if (n > CMS_SIGNERS_MAX)
		return malformed(err, "too many signers");
	for (int i = 0; i < n; i++) {
		_cleanup_error_ struct agent_error *reason = NULL;

		r = check_signer(v, sk_CMS_SignerInfo_value(infos, i), &reason);
		if (r == -ENOMEM)
			return agent_error_set(err, r, "memory", "no memory to check a signature");
		if (r < 0) {
			append_reason(reasons, reason);
			if (first == NULL)
				first = TAKE_PTR(reason);
		}
	}
	if (v->valid.n >= n_min_signers)
		return 0;
	if (v->valid.n == 0)
		return first != NULL ? agent_error_move(err, &first) :
				       agent_error_set(err, -EKEYREJECTED, "update.signer", "no signer is trusted");
	return agent_error_set(err, -EKEYREJECTED, "update.threshold", "%u of %u needed signatures by different keys are valid%s",
			       v->valid.n, n_min_signers, reasons);
}

/* What is known goes in with @v, what was found out comes back in it. */
static int verify(struct verification *v, const void *cms_der, size_t cms_size, unsigned n_min_signers, struct agent_error **err)
{
	_cleanup_(CMS_ContentInfo_freep) CMS_ContentInfo *cms = NULL;
	_cleanup_(pop_certs) STACK_OF(X509) *embedded = NULL;
	int r;

	if (n_min_signers == 0)
		return agent_error_set(err, -EINVAL, "update.policy", "a policy that needs no signature is refused");
	ERR_clear_error();
	r = parse(v->trust, cms_der, cms_size, &cms, err);
	if (r < 0)
		return r;
	if (v->now_s == 0)
		return agent_error_set(err, -EKEYREJECTED, "update.signer", "the time is not known, so no certificate can be checked");
	embedded = CMS_get1_certs(cms);
	if (sk_X509_num(embedded) > EMBEDDED_MAX)
		return malformed(err, "too many certificates came along");
	v->embedded = embedded;
	r = check_signers(v, cms, n_min_signers, err);
	v->embedded = NULL;
	ERR_clear_error();
	return r;
}

int cms_verify_signers(const struct cms_trust *trust, const void *cms_der, size_t cms_size, const void *content, size_t content_size,
		       unsigned n_min_signers, uint64_t now_s, struct cms_signers *ret_signers, struct agent_error **err)
{
	struct verification v = { .trust = trust, .content = content, .content_size = content_size, .now_s = now_s };
	int r = verify(&v, cms_der, cms_size, n_min_signers, err);

	if (r >= 0)
		*ret_signers = v.valid;
	return r < 0 ? r : 0;
}

int cms_verify(const struct cms_trust *trust, const void *cms_der, size_t cms_size, const void *content, size_t content_size,
	       unsigned n_min_signers, uint64_t now_s, unsigned *ret_n_valid, struct agent_error **err)
{
	struct cms_signers signers = { 0 };
	int r = cms_verify_signers(trust, cms_der, cms_size, content, content_size, n_min_signers, now_s, &signers, err);

	if (r >= 0 && ret_n_valid != NULL)
		*ret_n_valid = signers.n;
	return r;
}

int cms_verify_signer(const struct cms_trust *trust, const void *cms_der, size_t cms_size, const void *content, size_t content_size,
		      uint64_t now_s, char ret_signer[CMS_SIGNER_SIZE], struct agent_error **err)
{
	struct verification v = { .trust = trust, .content = content, .content_size = content_size, .now_s = now_s };
	int r = verify(&v, cms_der, cms_size, 1, err);

	if (r >= 0)
		memcpy(ret_signer, v.signer, sizeof(v.signer));
	return r < 0 ? r : 0;
}
