/* SPDX-License-Identifier: Apache-2.0 */
#include <agent/cert.h>

#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <agent/openssl.h>

#include "base/buf.h"
#include "base/macro.h"
#include "crypto/cert_read.h"
#include "crypto/digest.h"
#include "crypto/name.h"
#include "crypto/openssl_error.h"
#include "crypto/verify_dates.h"

#define DEVICE_CA_LIFETIME_S UINT64_C(946728000)	/* 30 years of 365.25 days */
#define TIME_MAX_S UINT64_C(253402300799)		/* 9999-12-31: RFC 5280 section 4.1.2.5 */
#define SERIAL_BITS 128
#define SPKI_MAX_BYTES 2048
#define NAMES_MAX 64

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(BIGNUM *, BN_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(GENERAL_NAME *, GENERAL_NAME_free)
DEFINE_CLEANUP(GENERAL_NAMES *, GENERAL_NAMES_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(X509_EXTENSION *, X509_EXTENSION_free)
DEFINE_CLEANUP(X509_NAME *, X509_NAME_free)

static const EVP_MD *digest_for(const struct agent_signer *signer)
{
	return agent_signer_get_type(signer) == AGENT_KEY_EC_P384 ? EVP_sha384() : EVP_sha256();
}

static int bio_to_text(BIO *bio, char **ret_text, struct agent_error **err)
{
	char *data, *text;
	long n = BIO_get_mem_data(bio, &data);

	text = n > 0 ? strndup(data, (size_t)n) : NULL;
	if (text == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for PEM text");
	*ret_text = text;
	return 0;
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value, struct agent_error **err)
{
	_cleanup_(X509_EXTENSION_freep) X509_EXTENSION *ext = NULL;
	X509V3_CTX v3;

	X509V3_set_ctx(&v3, issuer, cert, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&v3);
	ext = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
	if (ext == NULL || X509_add_ext(cert, ext, -1) != 1)
		return openssl_error_set(err, -ENOMEM, "cert.extension", "cannot add the extension %s", OBJ_nid2sn(nid));
	return 0;
}

/* Version, random serial number, validity and key; names and extensions are the caller's. */
static int start_cert(OSSL_LIB_CTX *libctx, EVP_PKEY *pkey, uint64_t not_before_s, uint64_t lifetime_s, X509 **ret_cert,
		      struct agent_error **err)
{
	_cleanup_(X509_freep) X509 *cert = X509_new_ex(libctx, NULL);
	_cleanup_(BN_freep) BIGNUM *serial = BN_new();

	if (lifetime_s == 0 || not_before_s > TIME_MAX_S || lifetime_s > TIME_MAX_S - not_before_s)
		return agent_error_set(err, -EINVAL, "cert.time", "a certificate cannot be valid from %llu for %llu seconds",
				       (unsigned long long)not_before_s, (unsigned long long)lifetime_s);
	if (cert == NULL || serial == NULL || X509_set_version(cert, X509_VERSION_3) != 1 ||
	    BN_rand_ex(serial, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY, 0, NULL) != 1 ||
	    BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) == NULL ||
	    time_to_asn1((int64_t)not_before_s, X509_getm_notBefore(cert)) < 0 ||
	    time_to_asn1((int64_t)(not_before_s + lifetime_s), X509_getm_notAfter(cert)) < 0 || X509_set_pubkey(cert, pkey) != 1)
		return openssl_error_set(err, -ENOMEM, "cert.new", "cannot make a certificate");
	*ret_cert = TAKE_PTR(cert);
	return 0;
}

static int common_name_new(const char *text, X509_NAME **ret_name, struct agent_error **err)
{
	_cleanup_(X509_NAME_freep) X509_NAME *name = X509_NAME_new();
	int ok;

	if (name == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a subject");
	ERR_set_mark();
	ok = text[0] != '\0' &&
	     X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0) == 1;
	ERR_pop_to_mark();
	if (!ok)
		return agent_error_set(err, -EINVAL, "cert.subject", "\"%.64s\" is no common name: 1 to 64 characters of UTF-8", text);
	*ret_name = TAKE_PTR(name);
	return 0;
}

static int sign_and_write(X509 *cert, EVP_PKEY *pkey, const struct agent_signer *signer, char **ret_pem, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new(BIO_s_mem());

	if (bio == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for PEM text");
	if (X509_sign(cert, pkey, digest_for(signer)) <= 0)
		return openssl_error_set(err, -EIO, "cert.sign", "cannot sign the certificate");
	if (PEM_write_bio_X509(bio, cert) != 1)
		return openssl_error_set(err, -ENOMEM, "cert.new", "cannot write the certificate");
	return bio_to_text(bio, ret_pem, err);
}

int agent_device_ca_new(struct agent_context *ctx, struct agent_signer *signer, const char *common_name, uint64_t not_before_s,
			char **ret_pem, struct agent_error **err)
{
	static const struct {
		int nid;
		const char *value;
	} extensions[] = {
		{ NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
		{ NID_key_usage, "critical,keyCertSign,cRLSign" },
		{ NID_subject_key_identifier, "hash" },
		{ NID_authority_key_identifier, "keyid:always" },
	};
	_cleanup_(X509_NAME_freep) X509_NAME *name = NULL;
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	_cleanup_(X509_freep) X509 *cert = NULL;
	OSSL_LIB_CTX *libctx;
	int r;

	if (signer == NULL || common_name == NULL || ret_pem == NULL)
		return agent_error_set(err, -EINVAL, "cert.argument", "a device CA needs a key and a name");
	r = agent_openssl_libctx(ctx, &libctx, err);
	if (r < 0)
		return r;
	r = agent_openssl_pkey(ctx, signer, &pkey, err);
	if (r < 0)
		return r;
	r = common_name_new(common_name, &name, err);
	if (r < 0)
		return r;
	r = start_cert(libctx, pkey, not_before_s, DEVICE_CA_LIFETIME_S, &cert, err);
	if (r < 0)
		return r;
	if (X509_set_subject_name(cert, name) != 1 || X509_set_issuer_name(cert, name) != 1)
		return openssl_error_set(err, -ENOMEM, "cert.new", "cannot name the certificate");
	for (size_t i = 0; i < ARRAY_SIZE(extensions); i++) {
		r = add_extension(cert, cert, extensions[i].nid, extensions[i].value, err);
		if (r < 0)
			return r;
	}
	return sign_and_write(cert, pkey, signer, ret_pem, err);
}

/* RFC 1123 section 2.1: labels of letters, digits and hyphens, 1 to 63 bytes, 253 in all. */
static int is_dns_name(const char *name)
{
	size_t n = strlen(name), label = 0;

	if (n == 0 || n > 253)
		return 0;
	for (size_t i = 0; i <= n; i++) {
		char c = name[i];

		if (c == '.' || c == '\0') {
			if (label == 0 || label > 63 || name[i - 1] == '-' || name[i - label] == '-')
				return 0;
			label = 0;
		} else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-') {
			label++;
		} else {
			return 0;
		}
	}
	return 1;
}

static int add_alt_names(X509 *cert, const char *const *names, struct agent_error **err)
{
	_cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *list = GENERAL_NAMES_new();
	size_t n = 0;

	if (list == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for names");
	for (; names[n] != NULL; n++) {
		_cleanup_(GENERAL_NAME_freep) GENERAL_NAME *gen = GENERAL_NAME_new();
		ASN1_STRING *value;

		if (n == NAMES_MAX)
			return agent_error_set(err, -EINVAL, "cert.names", "more than %d names for a certificate", NAMES_MAX);
		if (gen == NULL)
			return agent_error_set(err, -ENOMEM, "memory", "no memory for names");
		ERR_set_mark();
		value = a2i_IPADDRESS(names[n]);
		ERR_pop_to_mark();
		if (value != NULL) {
			GENERAL_NAME_set0_value(gen, GEN_IPADD, value);
		} else {
			if (!is_dns_name(names[n]))
				return agent_error_set(err, -EINVAL, "cert.names", "\"%.64s\" is neither an IP address nor a DNS name",
						       names[n]);
			value = ASN1_IA5STRING_new();
			if (value == NULL || ASN1_STRING_set(value, names[n], -1) != 1) {
				ASN1_STRING_free(value);
				return agent_error_set(err, -ENOMEM, "memory", "no memory for names");
			}
			GENERAL_NAME_set0_value(gen, GEN_DNS, value);
		}
		if (sk_GENERAL_NAME_push(list, gen) <= 0)
			return agent_error_set(err, -ENOMEM, "memory", "no memory for names");
		gen = NULL;
	}
	if (n == 0)
		return agent_error_set(err, -EINVAL, "cert.names", "a server certificate needs at least one name");
	if (X509_add1_ext_i2d(cert, NID_subject_alt_name, list, 0, X509V3_ADD_DEFAULT) != 1)
		return openssl_error_set(err, -ENOMEM, "cert.extension", "cannot add the names");
	return 0;
}

static int read_leaf_key(OSSL_LIB_CTX *libctx, const uint8_t *spki, size_t spki_size, EVP_PKEY **ret_pkey, struct agent_error **err)
{
	const uint8_t *p = spki;
	EVP_PKEY *pkey = NULL;

	if (spki_size > 0 && spki_size <= SPKI_MAX_BYTES)
		pkey = d2i_PUBKEY_ex(NULL, &p, (long)spki_size, libctx, NULL);
	ERR_clear_error();
	/* 112 bits of strength: P-256 and RSA-2048 and what is stronger, NIST SP 800-57 part 1 table 2. */
	if (pkey == NULL || p != spki + spki_size || EVP_PKEY_get_security_bits(pkey) < 112) {
		EVP_PKEY_free(pkey);
		return agent_error_set(err, -EINVAL, "cert.key", "%zu bytes are no public key of sufficient strength", spki_size);
	}
	*ret_pkey = pkey;
	return 0;
}

/* A leaf must not outlive its CA. */
static uint64_t cap_lifetime(const X509 *ca, uint64_t not_before_s, uint64_t lifetime_s)
{
	int64_t end_s = 0, left;

	left = time_from_asn1(X509_get0_notAfter(ca), &end_s) < 0 ? 0 : end_s - (int64_t)not_before_s;
	return left <= 0 ? 0 : (uint64_t)left < lifetime_s ? (uint64_t)left : lifetime_s;
}

static int add_leaf_extensions(X509 *cert, X509 *ca, const struct agent_leaf_options *options, struct agent_error **err)
{
	const struct {
		int nid;
		const char *value;
	} extensions[] = {
		{ NID_basic_constraints, "critical,CA:FALSE" },
		{ NID_key_usage, options->for_encryption ? "critical,keyAgreement" : "critical,digitalSignature" },
		{ NID_ext_key_usage, options->for_encryption ? NULL : "serverAuth" },
		{ NID_subject_key_identifier, "hash" },
		{ NID_authority_key_identifier, "keyid:always" },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(extensions); i++)
		r = extensions[i].value == NULL ? 0 : add_extension(cert, ca, extensions[i].nid, extensions[i].value, err);
	return r < 0 || options->for_encryption ? r : add_alt_names(cert, options->names, err);
}

int agent_device_ca_issue(struct agent_context *ctx, struct agent_signer *signer, const char *ca_pem, const uint8_t *spki,
			  size_t spki_size, const struct agent_leaf_options *options, char **ret_pem, struct agent_error **err)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL, *leaf_key = NULL;
	_cleanup_(X509_NAME_freep) X509_NAME *name = NULL;
	_cleanup_(X509_freep) X509 *ca = NULL, *cert = NULL;
	OSSL_LIB_CTX *libctx;
	int r;

	if (signer == NULL || ca_pem == NULL || spki == NULL || options == NULL || options->common_name == NULL ||
	    (options->names == NULL) != (options->for_encryption != 0) || ret_pem == NULL)
		return agent_error_set(err, -EINVAL, "cert.argument", "a leaf certificate needs a CA, a key and names");
	r = agent_openssl_libctx(ctx, &libctx, err);
	if (r < 0)
		return r;
	r = cert_read(libctx, ca_pem, &ca, err);
	if (r < 0)
		return r;
	r = agent_openssl_pkey(ctx, signer, &pkey, err);
	if (r < 0)
		return r;
	if (X509_check_ca(ca) != 1 || X509_check_private_key(ca, pkey) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -EINVAL, "cert.issuer", "the CA certificate does not belong to the key that should sign");
	}
	r = read_leaf_key(libctx, spki, spki_size, &leaf_key, err);
	if (r < 0)
		return r;
	r = common_name_new(options->common_name, &name, err);
	if (r < 0)
		return r;
	r = start_cert(libctx, leaf_key, options->not_before_s,
		       options->not_before_s > TIME_MAX_S ? 0 : cap_lifetime(ca, options->not_before_s, options->lifetime_s), &cert, err);
	if (r < 0)
		return r;
	if (X509_set_subject_name(cert, name) != 1 || X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1)
		return openssl_error_set(err, -ENOMEM, "cert.new", "cannot name the certificate");
	r = add_leaf_extensions(cert, ca, options, err);
	return r < 0 ? r : sign_and_write(cert, pkey, signer, ret_pem, err);
}

int agent_cert_fingerprint(struct agent_context *ctx, const char *pem, char ret_hex[65], struct agent_error **err)
{
	_cleanup_(X509_freep) X509 *cert = NULL;
	OSSL_LIB_CTX *libctx;
	uint8_t hash[DIGEST_SIZE], *der = NULL;
	int n, r;

	if (pem == NULL || ret_hex == NULL)
		return agent_error_set(err, -EINVAL, "cert.argument", "a fingerprint needs a certificate");
	r = agent_openssl_libctx(ctx, &libctx, err);
	if (r < 0)
		return r;
	r = cert_read(libctx, pem, &cert, err);
	if (r < 0)
		return r;
	n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	r = n <= 0 ? -ENOMEM : digest_sha256(der, (size_t)n, hash);
	OPENSSL_free(der);
	if (r < 0)
		return agent_error_set(err, r, "memory", "no memory for a fingerprint");
	hex_encode(hash, sizeof(hash), ret_hex);
	return 0;
}
