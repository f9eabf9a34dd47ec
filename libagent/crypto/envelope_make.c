/* SPDX-License-Identifier: Apache-2.0 */
/* On the maker's side: the key of a bundle's images, encrypted to the certificates of devices. */
#include "config.h"

#include "crypto/envelope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/file.h"
#include "crypto/cert_read.h"
#include "crypto/openssl_error.h"

#define CERT_MAX_BYTES (64 * KIB)
#define FLAGS (CMS_BINARY | CMS_PARTIAL | CMS_USE_KEYID)

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(CMS_ContentInfo *, CMS_ContentInfo_free)
DEFINE_CLEANUP(X509 *, X509_free)

static int cert_load(OSSL_LIB_CTX *libctx, const char *path, X509 **ret_cert, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *text = NULL;
	int r = file_read_at(AT_FDCWD, path, CERT_MAX_BYTES, &text, NULL, &why);

	if (r == 0)
		r = cert_read(libctx, text, ret_cert, &why);
	return r < 0 ? agent_error_set(err, r, "bundle.recipient", "the certificate of a device, %s: %s", path, agent_error_message(why)) : 0;
}

/* The device looks for the identifier of its key, so a certificate with another one would be of no use. */
static bool has_own_id(X509 *cert)
{
	const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(cert);
	uint8_t *spki = NULL, own[AGENT_RECIPIENT_ID_SIZE];
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &spki);
	bool is_same = n > 0 && agent_recipient_id(spki, (size_t)n, own, NULL) == 0 && id != NULL && ASN1_STRING_length(id) == (int)sizeof(own) &&
		       memcmp(ASN1_STRING_get0_data(id), own, sizeof(own)) == 0;

	OPENSSL_free(spki);
	return is_same;
}

static int cert_check(X509 *cert, const char *path, struct agent_error **err)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	char group[32] = "";
	bool is_p256 = key != NULL && EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 && strcmp(group, "prime256v1") == 0;

	ERR_clear_error();
	if (!is_p256)
		return agent_error_set(err, -EKEYREJECTED, "bundle.recipient", "%s: the key is not EC P-256, as the one that \"agentctl update recipient\" shows", path);
	if ((X509_get_extension_flags(cert) & EXFLAG_KUSAGE) != 0 && (X509_get_key_usage(cert) & KU_KEY_AGREEMENT) == 0)
		return agent_error_set(err, -EKEYREJECTED, "bundle.recipient", "%s: the certificate lacks the key usage keyAgreement: it is for another key of the "
				       "device, see \"agentctl update recipient\"", path);
	if (!has_own_id(cert))
		return agent_error_set(err, -EKEYREJECTED, "bundle.recipient", "%s: the certificate has no subject key identifier, or not the SHA-1 of its key (RFC 5280 "
				       "section 4.2.1.2), by which the device finds itself", path);
	return 0;
}

static int recipient_add(CMS_ContentInfo *cms, X509 *cert, const char *path, struct agent_error **err)
{
	CMS_RecipientInfo *info = CMS_add1_recipient_cert(cms, cert, FLAGS | CMS_KEY_PARAM);
	EVP_PKEY_CTX *pctx = info == NULL ? NULL : CMS_RecipientInfo_get0_pkey_ctx(info);

	/* SHA-1 is OpenSSL's default, and no device takes it. */
	if (pctx == NULL || EVP_PKEY_CTX_set_ecdh_kdf_md(pctx, EVP_sha256()) <= 0)
		return openssl_error_set(err, -EIO, "bundle.recipient", "OpenSSL cannot encrypt to %s", path);
	return 0;
}

static int is_double(X509 *cert, X509 *const *others, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (EVP_PKEY_eq(X509_get0_pubkey(cert), X509_get0_pubkey(others[i])) == 1)
			return 1;
	return 0;
}

static int recipients_add(OSSL_LIB_CTX *libctx, CMS_ContentInfo *cms, const char *const *paths, size_t n, X509 **certs, struct agent_error **err)
{
	for (size_t i = 0; i < n; i++) {
		int r = cert_load(libctx, paths[i], &certs[i], err);

		if (r == 0)
			r = cert_check(certs[i], paths[i], err);
		if (r == 0 && is_double(certs[i], certs, i))
			r = agent_error_set(err, -EEXIST, "bundle.recipient", "%s: this device is named twice", paths[i]);
		if (r == 0)
			r = recipient_add(cms, certs[i], paths[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_der(CMS_ContentInfo *cms, uint8_t **ret_der, size_t *ret_size, struct agent_error **err)
{
	uint8_t *der = NULL;
	int n = i2d_CMS_ContentInfo(cms, &der);

	if (n > 0 && n <= ENVELOPE_MAX)
		*ret_der = malloc((size_t)n);
	if (n > 0 && *ret_der != NULL) {
		memcpy(*ret_der, der, (size_t)n);
		*ret_size = (size_t)n;
	}
	OPENSSL_free(der);
	if (n > ENVELOPE_MAX)
		return agent_error_set(err, -EMSGSIZE, "bundle.recipient", "the envelope would have %d bytes, limit %d: make a bundle for fewer devices", n, ENVELOPE_MAX);
	return *ret_der == NULL ? openssl_error_set(err, -ENOMEM, "memory", "no memory for an envelope") : 0;
}

int envelope_make(OSSL_LIB_CTX *libctx, const char *const *paths, size_t n, const void *content, size_t content_size, uint8_t **ret_der,
		  size_t *ret_size, struct agent_error **err)
{
	_cleanup_(CMS_ContentInfo_freep) CMS_ContentInfo *cms = NULL;
	_cleanup_(BIO_free_allp) BIO *bio = NULL;
	X509 *certs[AGENT_RECIPIENTS_MAX] = { 0 };
	int r;

	*ret_der = NULL;
	if (n == 0 || n > AGENT_RECIPIENTS_MAX)
		return agent_error_set(err, -EINVAL, "bundle.options", "a bundle is encrypted to 1 to %d devices, not %zu", AGENT_RECIPIENTS_MAX, n);
	ERR_clear_error();
	bio = BIO_new_mem_buf(content, (int)content_size);
	cms = CMS_encrypt_ex(NULL, NULL, EVP_aes_256_cbc(), FLAGS, libctx, NULL);
	if (bio == NULL || cms == NULL)
		return openssl_error_set(err, -ENOMEM, "memory", "no memory for an envelope");
	r = recipients_add(libctx, cms, paths, n, certs, err);
	if (r == 0 && CMS_final(cms, bio, NULL, FLAGS) != 1)
		r = openssl_error_set(err, -EIO, "bundle.recipient", "OpenSSL cannot encrypt to these devices");
	if (r == 0)
		r = write_der(cms, ret_der, ret_size, err);
	for (size_t i = 0; i < n; i++)
		X509_free(certs[i]);
	ERR_clear_error();
	return r;
}
