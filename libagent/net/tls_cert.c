/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls_cert.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "base/macro.h"
#include "base/text.h"
#include "crypto/name.h"

#define RSA_BITS_MIN 2048	/* 112 bits of strength: NIST SP 800-57 part 1, table 2 */
#define SUBJECT_MAX 160

/* RFC 8446 section 4.2.3; the names are those of EVP_PKEY_get_group_name(). */
static const char *const curves[] = { "prime256v1", "secp384r1", "secp521r1" };

static bool is_allowed(const EVP_PKEY *key)
{
	char group[64];

	if (EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "RSA-PSS"))
		return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN;
	if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1)
		for (size_t i = 0; i < ARRAY_SIZE(curves); i++)
			if (strcmp(group, curves[i]) == 0)
				return true;
	return EVP_PKEY_is_a(key, "ED25519") == 1;
}

static void describe_key(const X509 *cert, char *text, size_t size)
{
	const EVP_PKEY *key = X509_get0_pubkey(cert);
	const char *type = key == NULL ? NULL : EVP_PKEY_get0_type_name(key);
	const ASN1_OBJECT *oid = NULL;
	char group[64];

	if (type == NULL) {
		(void)X509_PUBKEY_get0_param((ASN1_OBJECT **)(uintptr_t)&oid, NULL, NULL, NULL, X509_get_X509_PUBKEY(cert));
		if (oid == NULL || OBJ_obj2txt(group, sizeof(group), oid, 0) <= 0)
			group[0] = '\0';
		snprintf(text, size, "unreadable key%s%s", group[0] == '\0' ? "" : " of the kind ", group);
	} else if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1) {
		snprintf(text, size, "EC key on the curve %s", group);
	} else {
		snprintf(text, size, "%s key of %d bits", strcmp(type, "ED448") == 0 ? "Ed448" : type, EVP_PKEY_get_bits(key));
	}
	ERR_clear_error();
}

/* Critical ones that OpenSSL does not know. */
static void describe_extensions(const X509 *cert, char *text, size_t size)
{
	char oid[80];

	for (int i = 0; i < X509_get_ext_count(cert); i++) {
		X509_EXTENSION *e = X509_get_ext(cert, i);

		if (X509_EXTENSION_get_critical(e) != 0 && X509_supported_extension(e) != 1 &&
		    OBJ_obj2txt(oid, sizeof(oid), X509_EXTENSION_get_object(e), 0) > 0)
			(void)text_list_add(text, size, oid);
	}
}

/* What it may be used for instead. */
static void describe_purpose(const X509 *cert, char *text, size_t size)
{
	EXTENDED_KEY_USAGE *uses = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
	char oid[80];

	for (int i = 0; i < sk_ASN1_OBJECT_num(uses); i++) {
		const ASN1_OBJECT *use = sk_ASN1_OBJECT_value(uses, i);
		int nid = OBJ_obj2nid(use);

		if (nid != NID_undef)
			snprintf(oid, sizeof(oid), "%s", OBJ_nid2sn(nid));
		else if (OBJ_obj2txt(oid, sizeof(oid), use, 1) <= 0)
			continue;
		(void)text_list_add(text, size, oid);
	}
	EXTENDED_KEY_USAGE_free(uses);
}

void tls_cert_detail(X509 *cert, int error, char *text, size_t size)
{
	int nid = X509_get_signature_nid(cert);

	text[0] = '\0';
	switch (error) {
	case X509_V_ERR_EE_KEY_TOO_SMALL:
	case X509_V_ERR_CA_KEY_TOO_SMALL:
		describe_key(cert, text, size);
		break;
	case X509_V_ERR_CA_MD_TOO_WEAK:
		snprintf(text, size, "%s", nid == NID_undef ? "an unknown algorithm" : OBJ_nid2ln(nid));
		break;
	case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
		describe_extensions(cert, text, size);
		break;
	case X509_V_ERR_INVALID_PURPOSE:
		/* Else it is the key usage. */
		if ((X509_get_extended_key_usage(cert) & XKU_SSL_SERVER) == 0)
			describe_purpose(cert, text, size);
		break;
	default:
		break;
	}
}

void tls_cert_names(const X509 *cert, char *text, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	text[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char one[128 + sizeof(" (as a DNS name)")] = "";
		uint8_t address[16];

		if (name->type == GEN_DNS) {
			const unsigned char *s = ASN1_STRING_get0_data(name->d.dNSName);
			size_t n = (size_t)ASN1_STRING_length(name->d.dNSName);

			/* An IA5String says OpenSSL of anything; a NUL in it must not hide the rest. */
			for (size_t k = 0; k < n && k < 127; k++)
				one[k] = (char)(s[k] > ' ' && s[k] < 0x7f ? s[k] : '?');
			/* A frequent slip; as a name it is good for nothing. */
			if (inet_pton(AF_INET, one, address) == 1 || inet_pton(AF_INET6, one, address) == 1)
				strcat(one, " (as a DNS name)");
		} else if (name->type == GEN_IPADD) {
			int length = ASN1_STRING_length(name->d.iPAddress);
			int family = length == 4 ? AF_INET : length == 16 ? AF_INET6 : AF_UNSPEC;

			if (family != AF_UNSPEC)
				inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), one, sizeof(one));
		}
		if (one[0] != '\0')
			(void)text_list_add(text, size, one);
	}
	GENERAL_NAMES_free(names);
}

int tls_cert_check(const char *peer_name, const STACK_OF(X509) *chain, struct agent_error **err)
{
	int n = sk_X509_num(chain);
	char subject[SUBJECT_MAX], key[128];

	for (int i = 0; i < n; i++) {
		X509 *cert = sk_X509_value(chain, i);
		const EVP_PKEY *pkey = X509_get0_pubkey(cert);

		name_show(X509_get_subject_name(cert), subject, sizeof(subject));
		/* OpenSSL also takes one that only has the key usage of an authority; of the anchor it is the owner who says that it is one. */
		if (i > 0 && i < n - 1 && X509_check_ca(cert) != 1)
			return agent_error_set(err, -EKEYREJECTED, "tls.authority", "%s: \"%s\" issued a certificate and has no basic constraints with CA:TRUE",
					       peer_name, subject);
		if (pkey != NULL && is_allowed(pkey))
			continue;
		describe_key(cert, key, sizeof(key));
		return agent_error_set(err, -EKEYREJECTED, "tls.algorithm", "%s: %s \"%s\" has a key of a kind that is not taken (%s); taken are " TLS_CERT_KEYS,
				       peer_name, i == 0 ? "certificate" : "authority", subject, key);
	}
	if (n < 1)
		return agent_error_set(err, -EKEYREJECTED, "tls.certificate", "%s: there is no certificate", peer_name);
	name_show(X509_get_subject_name(sk_X509_value(chain, 0)), subject, sizeof(subject));
	/* In TLS 1.3, and with ECDHE in 1.2, a server does nothing but sign: RFC 8446 section 4.4.2.2. All bits are set where there is no such extension. */
	if ((X509_get_key_usage(sk_X509_value(chain, 0)) & KU_DIGITAL_SIGNATURE) == 0)
		return agent_error_set(err, -EKEYREJECTED, "tls.purpose",
				       "%s: certificate \"%s\" may not sign (key usage without digitalSignature), and a TLS server does that", peer_name, subject);
	/*
	 * Whoever gets at such a server could be any other as well. One that was made an anchor as it is can be nobody else. CA:TRUE alone is what
	 * "openssl req -x509 -CA" makes of every certificate: those are for servers, too.
	 */
	if (n > 1 && (X509_get_extension_flags(sk_X509_value(chain, 0)) & (EXFLAG_CA | EXFLAG_KUSAGE)) == (EXFLAG_CA | EXFLAG_KUSAGE) &&
	    (X509_get_key_usage(sk_X509_value(chain, 0)) & KU_KEY_CERT_SIGN) != 0)
		return agent_error_set(err, -EKEYREJECTED, "tls.purpose",
				       "%s: certificate \"%s\" is that of an authority (CA:TRUE, key usage keyCertSign), which no server should show", peer_name, subject);
	return 0;
}
