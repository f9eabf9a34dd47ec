/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_PKI_H
#define TESTS_UNIT_PKI_H
/* Throw-away keys and certificates for tests, made in memory with plain OpenSSL. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <agent/signer.h>

struct pki_spec {
	const char *common_name;
	const char *names;	/* subjectAltName in OpenSSL's config syntax, or NULL */
	const char *usage;	/* extendedKeyUsage, or NULL */
	int is_ca;
	long from_s, to_s;	/* relative to now; 0, 0: an hour ago to an hour ahead */
};

static inline EVP_PKEY *pki_key(void)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");

	assert_non_null(pkey);
	return pkey;
}

static inline void pki_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(cert, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

/* @issuer NULL: self-signed. */
static inline X509 *pki_cert(const struct pki_spec *spec, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	static long serial = 1;
	X509 *cert = X509_new();
	X509_NAME *name;

	assert_non_null(cert);
	assert_int_equal(X509_set_version(cert, X509_VERSION_3), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(cert), spec->from_s == 0 && spec->to_s == 0 ? -3600 : spec->from_s);
	X509_gmtime_adj(X509_getm_notAfter(cert), spec->from_s == 0 && spec->to_s == 0 ? 3600 : spec->to_s);
	name = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)spec->common_name, -1, -1, 0);
	X509_set_issuer_name(cert, issuer == NULL ? name : X509_get_subject_name(issuer));
	X509_set_pubkey(cert, key);
	pki_extension(cert, issuer == NULL ? cert : issuer, NID_basic_constraints, spec->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (spec->names != NULL)
		pki_extension(cert, issuer == NULL ? cert : issuer, NID_subject_alt_name, spec->names);
	if (spec->usage != NULL)
		pki_extension(cert, issuer == NULL ? cert : issuer, NID_ext_key_usage, spec->usage);
	assert_true(X509_sign(cert, issuer_key == NULL ? key : issuer_key, EVP_sha256()) > 0);
	return cert;
}

static inline void pki_write(const char *path, X509 *cert)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, cert), 1);
	assert_int_equal(fclose(f), 0);
}

/* A signer over a software key; fails with -EIO while *@is_broken. */
struct pki_signer {
	EVP_PKEY *pkey;
	int is_broken;
	unsigned n_signatures;
};

static inline int pki_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
			   uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	struct pki_signer *s = userdata;
	EVP_PKEY_CTX *ctx;
	size_t size = AGENT_SIGNATURE_MAX;
	int ok;

	if (s->is_broken)
		return agent_error_set(err, -EIO, "test.broken", "the test key is out of order");
	ctx = EVP_PKEY_CTX_new(s->pkey, NULL);
	assert_non_null(ctx);
	ok = EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_sign(ctx, ret_sig, &size, digest, digest_size) == 1;
	EVP_PKEY_CTX_free(ctx);
	if (!ok)
		return agent_error_set(err, -EIO, "test.sign", "OpenSSL did not sign");
	s->n_signatures++;
	*ret_size = size;
	return 0;
}

static const struct agent_signer_ops pki_signer_ops = { .backend = "test", .sign = pki_sign };

static inline struct agent_signer *pki_signer_new(struct pki_signer *s)
{
	struct agent_signer *signer = NULL;
	uint8_t *spki = NULL;
	int size = i2d_PUBKEY(s->pkey, &spki);

	assert_true(size > 0);
	assert_int_equal(agent_signer_new(&pki_signer_ops, s, spki, (size_t)size, &signer, NULL), 0);
	OPENSSL_free(spki);
	return signer;
}

#endif
