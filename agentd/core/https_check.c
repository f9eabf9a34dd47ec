/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/core/https_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/macro.h"
#include "crypto/verify_dates.h"

#define CHAIN_MAX 8
#define STRENGTH_MIN 112 /* bits, as NIST SP 800-57 part 1 counts: RSA 2048, P-256, SHA-256 */

DEFINE_CLEANUP(BIO *, BIO_free_all)

struct chain {
	X509 *items[CHAIN_MAX];
	size_t n;
};

static void chain_free(struct chain *chain)
{
	while (chain->n > 0)
		X509_free(chain->items[--chain->n]);
	ERR_clear_error();
}

/* Else OpenSSL asks at a terminal. */
static int no_passphrase(char *buf, int size, int is_writing, void *userdata)
{
	(void)buf;
	(void)size;
	(void)is_writing;
	(void)userdata;
	return -1;
}

static int chain_read(const char *pem, struct chain *ret_chain, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert;

	*ret_chain = (struct chain){ 0 };
	if (strstr(pem, "PRIVATE KEY-") != NULL)
		return agent_error_set(err, -EINVAL, "https.chain", "there is a private key in it; the device makes its own, send certificates only");
	while (bio != NULL && (cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
		if (ret_chain->n == CHAIN_MAX) {
			X509_free(cert);
			return agent_error_set(err, -EINVAL, "https.chain", "more than %d certificates", CHAIN_MAX);
		}
		ret_chain->items[ret_chain->n++] = cert;
	}
	/* The end of the text, and not something that cannot be read. */
	if (ret_chain->n == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return agent_error_set(err, -EINVAL, "https.chain", "this is no chain of certificates in PEM form");
	ERR_clear_error();
	return 0;
}

/* ---- describe ------------------------------------------------------------------------------------------------------- */

static uint64_t seconds_of(const ASN1_TIME *time)
{
	int64_t s;

	return time_from_asn1(time, &s) < 0 || s < 0 ? 0 : (uint64_t)s;
}

static void name_text(const X509_NAME *name, char *ret_text, size_t size)
{
	X509_NAME_oneline(name, ret_text, (int)size);
	for (char *p = ret_text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
}

static void names_text(const X509 *cert, char *ret_text, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t n = 0;

	ret_text[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const unsigned char *data;
		int length;

		if (name->type == GEN_DNS) {
			data = ASN1_STRING_get0_data(name->d.dNSName);
			length = ASN1_STRING_length(name->d.dNSName);
			if (length <= 0 || n + (size_t)length + 2 >= size)
				continue;
			if (n > 0)
				ret_text[n++] = ' ';
			for (int k = 0; k < length; k++)
				ret_text[n++] = data[k] > 0x20 && data[k] <= 0x7e ? (char)data[k] : '?';
			ret_text[n] = '\0';
		} else if (name->type == GEN_IPADD && ASN1_STRING_length(name->d.iPAddress) == 4 && n + 20 < size) {
			data = ASN1_STRING_get0_data(name->d.iPAddress);
			n += (size_t)snprintf(ret_text + n, size - n, "%s%u.%u.%u.%u", n > 0 ? " " : "", data[0], data[1], data[2], data[3]);
		}
	}
	GENERAL_NAMES_free(names);
}

static int describe(const X509 *leaf, struct https_about *ret_about, struct agent_error **err)
{
	struct https_about about = { 0 };
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned size = 0;

	if (X509_digest(leaf, EVP_sha256(), digest, &size) != 1)
		return agent_error_set(err, -EIO, "https.chain", "OpenSSL cannot compute a digest");
	hex_encode(digest, size, about.fingerprint);
	name_text(X509_get_subject_name(leaf), about.subject, sizeof(about.subject));
	name_text(X509_get_issuer_name(leaf), about.issuer, sizeof(about.issuer));
	names_text(leaf, about.names, sizeof(about.names));
	about.not_before_s = seconds_of(X509_get0_notBefore(leaf));
	about.not_after_s = seconds_of(X509_get0_notAfter(leaf));
	*ret_about = about;
	return 0;
}

int https_describe(const char *pem, struct https_about *ret_about, struct agent_error **err)
{
	struct chain chain;
	int r = chain_read(pem, &chain, err);

	if (r >= 0)
		r = describe(chain.items[0], ret_about, err);
	chain_free(&chain);
	return r;
}

/* ---- check ---------------------------------------------------------------------------------------------------------- */

static int check_dates(X509 *cert, size_t i, int64_t now_s, struct agent_error **err)
{
	if (time_is_early(X509_get0_notBefore(cert), now_s))
		return agent_error_set(err, -EINVAL, "https.dates", "certificate %zu of the chain is not valid yet, or the clock of the device is wrong", i + 1);
	if (time_is_over(X509_get0_notAfter(cert), now_s))
		return agent_error_set(err, -EINVAL, "https.dates", "certificate %zu of the chain has expired, or the clock of the device is wrong", i + 1);
	return 0;
}

/* A root signs itself; nobody relies on that signature. */
static int check_strength(X509 *cert, size_t i, struct agent_error **err)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	int bits = 0;
	uint32_t flags = 0;

	if (key == NULL || EVP_PKEY_get_security_bits(key) < STRENGTH_MIN)
		return agent_error_set(err, -EINVAL, "https.chain", "certificate %zu of the chain has a key that is too weak", i + 1);
	if (X509_self_signed(cert, 0) != 1 && (X509_get_signature_info(cert, NULL, NULL, &bits, &flags) != 1 || bits < STRENGTH_MIN))
		return agent_error_set(err, -EINVAL, "https.chain", "certificate %zu of the chain is signed with a method that is too weak", i + 1);
	return 0;
}

/* Each is issued by the next: browsers get exactly these. */
static int check_link(X509 *cert, X509 *issuer, size_t i, struct agent_error **err)
{
	if (X509_check_ca(issuer) != 1 || X509_check_issued(issuer, cert) != X509_V_OK || X509_verify(cert, X509_get0_pubkey(issuer)) != 1)
		return agent_error_set(err, -EINVAL, "https.chain", "certificate %zu of the chain is not issued by the one behind it", i + 1);
	return 0;
}

static int check_use(X509 *leaf, struct agent_error **err)
{
	/* OpenSSL takes a certificate without extendedKeyUsage for one of any purpose. */
	if ((X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE) == 0 || (X509_get_extended_key_usage(leaf) & XKU_SSL_SERVER) == 0 ||
	    X509_check_purpose(leaf, X509_PURPOSE_SSL_SERVER, 0) != 1)
		return agent_error_set(err, -EINVAL, "https.use", "the first certificate is not made for TLS servers (extendedKeyUsage serverAuth)");
	if ((X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) == 0)
		return agent_error_set(err, -EINVAL, "https.use", "the first certificate may not sign handshakes (keyUsage digitalSignature)");
	/* Without keyCertSign it can sign no certificate, and yet browsers refuse it. */
	if (X509_check_ca(leaf) != 0 || (X509_get_extension_flags(leaf) & EXFLAG_CA) != 0)
		return agent_error_set(err, -EINVAL, "https.use", "the first certificate is one of an authority, not of a server");
	return 0;
}

static bool has_address(const X509 *leaf)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		found |= sk_GENERAL_NAME_value(names, i)->type == GEN_IPADD;
	GENERAL_NAMES_free(names);
	return found;
}

/* A name that Host may have; of addresses only the owner knows whether they are ours. */
static int check_names(const struct settings *settings, X509 *leaf, struct agent_error **err)
{
	const unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
	char own[300];

	snprintf(own, sizeof(own), "gw-%s.local", settings->device.serial);
	if (X509_check_host(leaf, own, 0, flags, NULL) == 1 || has_address(leaf))
		return 0;
	for (char **host = settings->mgmt.hosts; host != NULL && *host != NULL; host++)
		if (X509_check_host(leaf, *host, 0, flags, NULL) == 1)
			return 0;
	return agent_error_set(err, -EINVAL, "https.names",
			       "the first certificate names neither %s nor a name of mgmt.hosts nor an address (subjectAltName); browsers would be turned away", own);
}

int https_check(const struct settings *settings, const char *pem, EVP_PKEY *key, int64_t now_s, struct https_about *ret_about,
		struct agent_error **err)
{
	struct chain chain;
	int r = chain_read(pem, &chain, err);

	if (r >= 0 && (X509_get0_pubkey(chain.items[0]) == NULL || EVP_PKEY_eq(key, X509_get0_pubkey(chain.items[0])) != 1))
		r = agent_error_set(err, -EINVAL, "https.key", "the first certificate is for another key than the one of the device");
	for (size_t i = 0; r >= 0 && i < chain.n; i++) {
		r = check_dates(chain.items[i], i, now_s, err);
		if (r >= 0)
			r = check_strength(chain.items[i], i, err);
		if (r >= 0 && i + 1 < chain.n)
			r = check_link(chain.items[i], chain.items[i + 1], i, err);
	}
	if (r >= 0)
		r = check_use(chain.items[0], err);
	if (r >= 0)
		r = check_names(settings, chain.items[0], err);
	if (r >= 0)
		r = describe(chain.items[0], ret_about, err);
	chain_free(&chain);
	return r;
}
