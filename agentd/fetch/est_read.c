/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/fetch/est_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/buf.h"
#include "base/der.h"
#include "base/macro.h"

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(CMS_ContentInfo *, CMS_ContentInfo_free)

static void free_certs(STACK_OF(X509) **certs)
{
	sk_X509_pop_free(*certs, X509_free);
}

/* ---- base64 ----------------------------------------------------------------------------------------------------- */

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int bad_base64(struct agent_error **err, const char *why)
{
	return agent_error_set(err, -EBADMSG, "est.base64", "the EST server's answer is no base64: %s", why);
}

int est_read_base64(const char *text, size_t size, uint8_t **ret_data, size_t *ret_size, struct agent_error **err)
{
	_cleanup_free_ uint8_t *data = NULL;
	size_t n = 0, n_digits = 0, n_pads = 0;
	uint32_t bits = 0;

	if (size > EST_BODY_MAX)
		return agent_error_set(err, -EMSGSIZE, "est.size", "the EST server's answer has more than %d bytes", EST_BODY_MAX);
	data = malloc(size / 4 * 3 + 3);
	if (data == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	for (size_t i = 0; i < size; i++) {
		int digit = digit_of(text[i]);

		if (text[i] == '\n' || text[i] == '\r' || text[i] == ' ' || text[i] == '\t')
			continue;
		if (text[i] == '=') {
			n_pads++;
			continue;
		}
		if (digit < 0)
			return bad_base64(err, "a character that is none of it");
		if (n_pads > 0)
			return bad_base64(err, "something follows its end");
		bits = bits << 6 | (uint32_t)digit;
		if (++n_digits % 4 == 0) {
			data[n++] = (uint8_t)(bits >> 16);
			data[n++] = (uint8_t)(bits >> 8);
			data[n++] = (uint8_t)bits;
			bits = 0;
		}
	}
	if (n_pads > 2 || (n_digits + n_pads) % 4 != 0)
		return bad_base64(err, "it ends in the middle");
	/* What the padding leaves over must be nothing: one encoding for one value. */
	if ((n_pads == 1 && (bits & 3) != 0) || (n_pads == 2 && (bits & 15) != 0))
		return bad_base64(err, "bits that belong to no byte");
	if (n_pads == 1) {
		data[n++] = (uint8_t)(bits >> 10);
		data[n++] = (uint8_t)(bits >> 2);
	} else if (n_pads == 2) {
		data[n++] = (uint8_t)(bits >> 4);
	}
	*ret_data = TAKE_PTR(data);
	*ret_size = n;
	return 0;
}

/* ---- certificates ----------------------------------------------------------------------------------------------- */

static int bad_pkcs7(struct agent_error **err, const char *why)
{
	ERR_clear_error();
	return agent_error_set(err, -EBADMSG, "est.pkcs7", "the EST server's answer is no list of certificates (PKCS #7, certs-only): %s", why);
}

static int write_certs(STACK_OF(X509) *certs, char **ret_pem, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *out = BIO_new(BIO_s_mem());
	char *data;
	long n;

	for (int i = 0; out != NULL && i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);

		if (i2d_X509(cert, NULL) > EST_CERT_BYTES_MAX) {
			ERR_clear_error();
			return agent_error_set(err, -EMSGSIZE, "est.size", "certificate %d of the EST server has more than %d bytes", i + 1, EST_CERT_BYTES_MAX);
		}
		if (PEM_write_bio_X509(out, cert) != 1)
			return bad_pkcs7(err, "a certificate cannot be written again");
	}
	n = out == NULL ? 0 : BIO_get_mem_data(out, &data);
	*ret_pem = n > 0 ? strndup(data, (size_t)n) : NULL;
	return *ret_pem == NULL ? agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory") : 0;
}

int est_read_certs(const char *text, size_t size, char **ret_pem, struct agent_error **err)
{
	_cleanup_(CMS_ContentInfo_freep) CMS_ContentInfo *cms = NULL;
	_cleanup_(free_certs) STACK_OF(X509) *certs = NULL;
	_cleanup_free_ uint8_t *data = NULL;
	ASN1_OCTET_STRING **content;
	const uint8_t *p;
	size_t n;
	int r = est_read_base64(text, size, &data, &n, err);

	if (r < 0)
		return r;
	p = data;
	cms = d2i_CMS_ContentInfo(NULL, &p, (long)n);
	if (cms == NULL)
		return bad_pkcs7(err, "it is damaged");
	if (p != data + n)
		return bad_pkcs7(err, "something follows its end");
	if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
		return bad_pkcs7(err, "it is of another type than SignedData");
	content = CMS_get0_content(cms);
	if (content != NULL && *content != NULL && ASN1_STRING_length(*content) > 0)
		return bad_pkcs7(err, "it has a content");
	if (CMS_get0_SignerInfos(cms) != NULL && sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms)) > 0)
		return bad_pkcs7(err, "it has signers");
	certs = CMS_get1_certs(cms);
	if (certs == NULL || sk_X509_num(certs) == 0)
		return bad_pkcs7(err, "there is no certificate in it");
	if (sk_X509_num(certs) > EST_CERTS_MAX)
		return bad_pkcs7(err, "there are more than 8 certificates in it");
	ERR_clear_error();
	return write_certs(certs, ret_pem, err);
}

/* ---- attributes --------------------------------------------------------------------------------------------------- */

static int bad_attributes(struct agent_error **err)
{
	return agent_error_set(err, -EBADMSG, "est.csrattrs", "the EST server's list of attributes (csrattrs) is damaged");
}

static bool is_oid(const struct buf *oid, const char *bytes, size_t size)
{
	struct buf copy = *oid;
	const uint8_t *is;

	return buf_left(&copy) == size && buf_get_bytes(&copy, size, &is) >= 0 && memcmp(is, bytes, size) == 0;
}
#define IS_OID(oid, text) is_oid(oid, text, sizeof(text) - 1)

/* The list of what is taken: everything else is the server's wish, and counted. */
static void take_oid(struct est_attributes *a, const struct buf *oid, struct buf values)
{
	struct buf value;
	uint8_t tag;

	if (IS_OID(oid, "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07")) { /* 1.2.840.113549.1.9.7 challengePassword */
		a->wants_challenge = true;
	} else if (IS_OID(oid, "\x55\x04\x05")) { /* 2.5.4.5 serialNumber */
		a->wants_serial = true;
	} else if (IS_OID(oid, "\x2a\x86\x48\xce\x3d\x02\x01")) { /* 1.2.840.10045.2.1 id-ecPublicKey, with a curve */
		snprintf(a->key_type, sizeof(a->key_type), "ec-p256");
		if (buf_left(&values) > 0 && der_get(&values, &tag, &value) >= 0 && tag == DER_OID && IS_OID(&value, "\x2b\x81\x04\x00\x22"))
			snprintf(a->key_type, sizeof(a->key_type), "ec-p384"); /* 1.3.132.0.34 secp384r1 */
	} else if (IS_OID(oid, "\x2b\x81\x04\x00\x22")) {
		snprintf(a->key_type, sizeof(a->key_type), "ec-p384");
	} else if (IS_OID(oid, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")) { /* 1.2.840.113549.1.1.1 rsaEncryption */
		snprintf(a->key_type, sizeof(a->key_type), "rsa-2048");
	} else {
		a->n_unknown++;
	}
}

/* AttrOrOID ::= CHOICE { oid OBJECT IDENTIFIER, attribute Attribute { type, values SET } } */
static int take_attribute(struct est_attributes *a, uint8_t tag, struct buf content)
{
	struct buf oid, values;

	if (tag == DER_OID) {
		if (buf_left(&content) == 0)
			return -EBADMSG;
		take_oid(a, &content, buf_from("", 0));
		return 0;
	}
	if (tag != DER_SEQUENCE || der_get(&content, &tag, &oid) < 0 || tag != DER_OID || buf_left(&oid) == 0 ||
	    der_get(&content, &tag, &values) < 0 || tag != DER_SET || buf_left(&content) != 0)
		return -EBADMSG;
	take_oid(a, &oid, values);
	return 0;
}

int est_read_attributes(const char *text, size_t size, struct est_attributes *ret_attributes, struct agent_error **err)
{
	_cleanup_free_ uint8_t *data = NULL;
	struct est_attributes a = { 0 };
	struct buf in, list, content;
	unsigned n_attributes = 0;
	size_t n;
	uint8_t tag;
	int r = est_read_base64(text, size, &data, &n, err);

	if (r < 0)
		return r;
	in = buf_from(data, n);
	if (n > 0 && (der_get(&in, &tag, &list) < 0 || tag != DER_SEQUENCE || buf_left(&in) != 0))
		return bad_attributes(err);
	while (n > 0 && buf_left(&list) > 0)
		if (++n_attributes > EST_ATTRIBUTES_MAX || der_get(&list, &tag, &content) < 0 || take_attribute(&a, tag, content) < 0)
			return bad_attributes(err);
	*ret_attributes = a;
	return 0;
}

int est_read_failure(int r, bool has_signed, struct agent_error **err)
{
	static const char *const names[] = { "tls.alert", "tls.handshake", "fetch.tls", "fetch.lost", "fetch.short", "est.refused" };
	_cleanup_error_ struct agent_error *why = NULL;

	if (r >= 0 || has_signed || *err == NULL)
		return r;
	why = TAKE_PTR(*err);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(agent_error_name(why), names[i]) == 0)
			return agent_error_set(err, r, "est.unseen", "%s (%s), before our certificate was asked for", agent_error_message(why), names[i]);
	*err = TAKE_PTR(why);
	return r;
}
