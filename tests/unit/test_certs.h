/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TEST_CERTS_H
#define TESTS_UNIT_TEST_CERTS_H
/* Certificates, revocation lists and signatures made when the test runs. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/cms.h>	/* after pem.h, which it looks for */
#include <openssl/x509v3.h>

#include "crypto/verify_dates.h"
#include "tests/unit/test.h"

#define NOW_S UINT64_C(1795257600)	/* 2026-11-21 */
#define DAY_S 86400

/* Extensions of a certificate; NULL leaves one out. */
struct cert_spec {
	const char *basic_constraints, *key_usage, *ext_key_usage, *other_oid;
	int64_t start_s, end_s;		/* relative to NOW_S; both 0: a year around it */
	const char *digest;
};

#define SPEC_CA ((struct cert_spec){ .basic_constraints = "critical,CA:TRUE", .key_usage = "critical,keyCertSign,cRLSign" })
#define SPEC_SIGNER ((struct cert_spec){ .basic_constraints = "critical,CA:FALSE", .key_usage = "critical,digitalSignature", \
					 .ext_key_usage = "codeSigning,emailProtection" })

struct identity {
	EVP_PKEY *key;
	X509 *cert;
};

static inline void identity_free(struct identity *id)
{
	EVP_PKEY_free(id->key);
	X509_free(id->cert);
	*id = (struct identity){ 0 };
}

static inline void certs_add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX v3;

	if (value == NULL)
		return;
	X509V3_set_ctx(&v3, issuer, cert, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&v3);
	ext = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

/* A certificate for @key, whose reference is taken over; self-signed when @issuer is NULL. */
static inline struct identity certs_make_with_key(const char *cn, EVP_PKEY *key, const struct identity *issuer, struct cert_spec spec)
{
	static long serial = 1;
	struct identity id = { .key = key, .cert = X509_new() };
	X509_NAME *name = X509_get_subject_name(id.cert);
	int64_t start_s = spec.start_s == 0 && spec.end_s == 0 ? -180 * DAY_S : spec.start_s;
	int64_t end_s = spec.start_s == 0 && spec.end_s == 0 ? 180 * DAY_S : spec.end_s;
	X509 *issuer_cert;

	assert_non_null(key);
	X509_set_version(id.cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(id.cert), serial++);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
	issuer_cert = issuer == NULL ? id.cert : issuer->cert;
	X509_set_issuer_name(id.cert, X509_get_subject_name(issuer_cert));
	assert_int_equal(time_to_asn1((int64_t)NOW_S + start_s, X509_getm_notBefore(id.cert)), 0);
	assert_int_equal(time_to_asn1((int64_t)NOW_S + end_s, X509_getm_notAfter(id.cert)), 0);
	X509_set_pubkey(id.cert, key);
	certs_add_ext(id.cert, issuer_cert, NID_subject_key_identifier, "hash");
	if (issuer != NULL)
		certs_add_ext(id.cert, issuer_cert, NID_authority_key_identifier, "keyid");
	certs_add_ext(id.cert, issuer_cert, NID_basic_constraints, spec.basic_constraints);
	certs_add_ext(id.cert, issuer_cert, NID_key_usage, spec.key_usage);
	certs_add_ext(id.cert, issuer_cert, NID_ext_key_usage, spec.ext_key_usage);
	if (spec.other_oid != NULL) {
		ASN1_OBJECT *oid = OBJ_txt2obj(spec.other_oid, 1);
		ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
		X509_EXTENSION *ext;

		ASN1_OCTET_STRING_set(value, (const unsigned char *)"\5\0", 2);
		ext = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, value);
		assert_int_equal(X509_add_ext(id.cert, ext, -1), 1);
		X509_EXTENSION_free(ext);
		ASN1_OCTET_STRING_free(value);
		ASN1_OBJECT_free(oid);
	}
	assert_true(X509_sign(id.cert, issuer == NULL ? key : issuer->key,
			      spec.digest == NULL ? EVP_sha256() : EVP_get_digestbyname(spec.digest)) > 0);
	return id;
}

static inline struct identity certs_make(const char *cn, const struct identity *issuer, struct cert_spec spec)
{
	return certs_make_with_key(cn, EVP_EC_gen("P-256"), issuer, spec);
}

static inline void certs_write(const struct temp_dir *dir, const char *name, X509 *cert)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir->path, name);
	f = fopen(path, "a");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, cert), 1);
	fclose(f);
}

/* A list of @issuer that revokes @revoked (or nobody), valid for @end_s from NOW_S. */
static inline void certs_write_crl(const struct temp_dir *dir, const char *name, const struct identity *issuer, X509 *revoked,
				   int64_t end_s)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = ASN1_TIME_set(NULL, (time_t)(NOW_S - 30 * DAY_S));
	char path[128];
	FILE *f;

	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->cert));
	X509_CRL_set1_lastUpdate(crl, t);
	if (revoked != NULL) {
		X509_REVOKED *r = X509_REVOKED_new();

		X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked));
		X509_REVOKED_set_revocationDate(r, t);
		X509_CRL_add0_revoked(crl, r);
	}
	ASN1_TIME_set(t, (time_t)((int64_t)NOW_S + end_s));
	X509_CRL_set1_nextUpdate(crl, t);
	ASN1_TIME_free(t);
	assert_true(X509_CRL_sign(crl, issuer->key, EVP_sha256()) > 0);
	snprintf(path, sizeof(path), "%s/%s", dir->path, name);
	f = fopen(path, "w");
	assert_int_equal(PEM_write_X509_CRL(f, crl), 1);
	fclose(f);
	X509_CRL_free(crl);
}

#define SIGN_FLAGS (CMS_DETACHED | CMS_BINARY | CMS_NOSMIMECAP)

/* CMS by all of @ids over @content; @extra is embedded too. Returns the DER, to be freed with OPENSSL_free(). */
static inline uint8_t *certs_sign_with(const char *content, const struct identity *const *ids, size_t n, X509 *extra, unsigned flags,
				       const EVP_MD *md, size_t *ret_size)
{
	BIO *bio = BIO_new_mem_buf(content, -1);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags | CMS_PARTIAL);
	uint8_t *der = NULL;
	int size;

	assert_non_null(cms);
	for (size_t i = 0; i < n; i++) {
		unsigned f = flags;

		for (size_t j = 0; j < i; j++)	/* a certificate goes in once */
			f |= ids[j] == ids[i] ? CMS_NOCERTS : 0;
		assert_non_null(CMS_add1_signer(cms, ids[i]->cert, ids[i]->key, md, f));
	}
	if (extra != NULL)
		assert_int_equal(CMS_add1_cert(cms, extra), 1);
	assert_int_equal(CMS_final(cms, bio, NULL, flags), 1);
	size = i2d_CMS_ContentInfo(cms, &der);
	assert_true(size > 0);
	*ret_size = (size_t)size;
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	return der;
}

static inline uint8_t *certs_sign(const char *content, const struct identity *id, size_t *ret_size)
{
	return certs_sign_with(content, &id, 1, NULL, SIGN_FLAGS, EVP_sha256(), ret_size);
}

#endif
