/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/enrol_check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/macro.h"
#include "base/time.h"
#include "crypto/verify_dates.h"
#include "crypto/verify_issuers.h"

#define CERTS_MAX 64

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)
DEFINE_CLEANUP(X509_STORE *, X509_STORE_free)
DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free)

static void free_certs(STACK_OF(X509) **certs)
{
	sk_X509_pop_free(*certs, X509_free);
}
#define _cleanup_certs_ _cleanup_(free_certs)

static int no_memory(struct agent_error **err)
{
	ERR_clear_error();
	return agent_error_set(err, -ENOMEM, "core.memory", "no memory for certificates");
}

/* Add those of @pem (NULL: none) to @certs. */
static int read_certs(const char *pem, STACK_OF(X509) *certs, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = pem == NULL ? NULL : BIO_new_mem_buf(pem, -1);
	X509 *cert;
	unsigned long e;

	if (pem == NULL)
		return 0;
	if (bio == NULL)
		return no_memory(err);
	while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if (sk_X509_num(certs) == CERTS_MAX || sk_X509_push(certs, cert) <= 0) {
			X509_free(cert);
			return agent_error_set(err, -EBADMSG, "est.certificate", "more than %d certificates", CERTS_MAX);
		}
	}
	e = ERR_peek_last_error();
	ERR_clear_error();
	if (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE)
		return 0;
	return agent_error_set(err, -EBADMSG, "est.certificate", "a certificate is damaged");
}

static uint64_t seconds_of(const ASN1_TIME *time)
{
	int64_t s;

	return time_from_asn1(time, &s) < 0 || s < 0 ? 0 : (uint64_t)s;
}

static void show_name(const X509_NAME *name, char ret_text[ENROL_TEXT_MAX])
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long n = 0;

	if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
		n = BIO_get_mem_data(bio, &data);
	ERR_clear_error();
	if (n >= ENROL_TEXT_MAX)
		n = ENROL_TEXT_MAX - 1;
	for (long i = 0; i < n; i++)
		ret_text[i] = (char)(data[i] >= ' ' && data[i] <= '~' ? data[i] : '?');
	ret_text[n > 0 ? n : 0] = '\0';
}

static void describe(const X509 *cert, struct enrol_about *about)
{
	show_name(X509_get_subject_name(cert), about->subject);
	show_name(X509_get_issuer_name(cert), about->issuer);
	about->not_before_s = seconds_of(X509_get0_notBefore(cert));
	about->not_after_s = seconds_of(X509_get0_notAfter(cert));
}

int enrol_describe(const char *pem, struct enrol_about *ret_about, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);

	ERR_clear_error();
	if (cert == NULL)
		return agent_error_set(err, -EBADMSG, "est.certificate", "this is no certificate in PEM form");
	describe(cert, ret_about);
	X509_free(cert);
	return 0;
}

/* A server may send those of former times for the same key as well, in any order: the one that lasts longest is the new one. */
static X509 *find_for_key(STACK_OF(X509) *certs, EVP_PKEY *key)
{
	X509 *found = NULL;

	for (int i = 0; i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);

		if (X509_get0_pubkey(cert) == NULL || EVP_PKEY_eq(key, X509_get0_pubkey(cert)) != 1)
			continue;
		if (found == NULL || seconds_of(X509_get0_notAfter(cert)) > seconds_of(X509_get0_notAfter(found)))
			found = cert;
	}
	ERR_clear_error();
	return found;
}

static int expired(uint64_t not_after_s, uint64_t now_s, struct agent_error **err)
{
	char end[TIME_TEXT_SIZE], now[TIME_TEXT_SIZE];

	time_text((int64_t)not_after_s, end);
	time_text((int64_t)now_s, now);
	return agent_error_set(err, -EKEYEXPIRED, "est.expired", "the new certificate has expired already, on %s, or the clock here is wrong, which shows %s", end,
			       now);
}

static int check_life(const struct enrol_about *about, const struct enrol_wanted *wanted, struct agent_error **err)
{
	uint64_t from_s = about->not_before_s > wanted->now_s ? about->not_before_s : wanted->now_s;
	struct enrol_about current;

	if (about->not_after_s <= wanted->now_s)
		return expired(about->not_after_s, wanted->now_s, err);
	if (about->not_after_s < from_s || about->not_after_s - from_s < wanted->min_life_s)
		return agent_error_set(err, -ERANGE, "est.life", "the new certificate is valid for less than est.min_life_s (%llu s)",
				       (unsigned long long)wanted->min_life_s);
	if (wanted->current != NULL && enrol_describe(wanted->current, &current, NULL) >= 0 && about->not_after_s <= current.not_after_s)
		return agent_error_set(err, -ERANGE, "est.life", "the new certificate is not valid longer than the one in use");
	return 0;
}

static int check_leaf(X509 *leaf, X509_REQ *req, const struct enrol_about *about, struct agent_error **err)
{
	char wanted[ENROL_TEXT_MAX];

	if (X509_check_ca(leaf) != 0 || (X509_get_extension_flags(leaf) & EXFLAG_CA) != 0)
		return agent_error_set(err, -EKEYREJECTED, "est.ca", "the new certificate is that of an authority, which a device is not");
	if (X509_NAME_cmp(X509_get_subject_name(leaf), X509_REQ_get_subject_name(req)) != 0) {
		show_name(X509_REQ_get_subject_name(req), wanted);
		return agent_error_set(err, -EKEYREJECTED, "est.subject", "the new certificate is for %s, not for %s", about->subject, wanted);
	}
	if (X509_check_purpose(leaf, X509_PURPOSE_SSL_CLIENT, 0) != 1 || (X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) == 0)
		return agent_error_set(err, -EKEYREJECTED, "est.usage", "the new certificate may not be used by TLS clients (key usage, extended key usage)");
	return 0;
}

/* Up to an authority of the owner or, over it, of the server. Times are judged apart: the clock may be wrong. */
static int check_chain(X509 *leaf, STACK_OF(X509) *others, const struct enrol_wanted *wanted, STACK_OF(X509) **ret_chain, struct agent_error **err)
{
	_cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	_cleanup_(X509_STORE_freep) X509_STORE *store = X509_STORE_new();
	_cleanup_certs_ STACK_OF(X509) *anchors = sk_X509_new_null();
	int r;

	if (ctx == NULL || store == NULL || anchors == NULL)
		return no_memory(err);
	verify_issuers_use(store);
	r = read_certs(wanted->anchors, anchors, err);
	if (r >= 0)
		r = read_certs(wanted->cacerts, anchors, err);
	if (r < 0)
		return r;
	for (int i = 0; i < sk_X509_num(anchors); i++)
		if (X509_STORE_add_cert(store, sk_X509_value(anchors, i)) != 1)
			return no_memory(err);
	if (X509_STORE_CTX_init(ctx, store, leaf, others) != 1)
		return no_memory(err);
	X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_NO_CHECK_TIME | X509_V_FLAG_PARTIAL_CHAIN);
	X509_STORE_CTX_set_depth(ctx, VERIFY_DEPTH_MAX);
	X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(ctx), 2); /* 112 bits */
	if (X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) != 1 || X509_verify_cert(ctx) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -EKEYREJECTED, "est.chain", "the new certificate does not lead to an authority that is trusted: %s",
				       X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	}
	*ret_chain = X509_STORE_CTX_get1_chain(ctx);
	return *ret_chain == NULL ? no_memory(err) : 0;
}

static int write_pem(STACK_OF(X509) *certs, char **ret_pem, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long n;

	for (int i = 0; bio != NULL && i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);

		/* Peers have the root. */
		if (i > 0 && X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0)
			break;
		if (PEM_write_bio_X509(bio, cert) != 1)
			return no_memory(err);
	}
	n = bio == NULL ? 0 : BIO_get_mem_data(bio, &data);
	*ret_pem = n > 0 ? strndup(data, (size_t)n) : NULL;
	return *ret_pem == NULL ? no_memory(err) : 0;
}

int enrol_check(const char *pem, const struct enrol_wanted *wanted, char **ret_chain, struct enrol_about *ret_about, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(wanted->csr, -1);
	_cleanup_(X509_REQ_freep) X509_REQ *req = bio == NULL ? NULL : PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
	_cleanup_certs_ STACK_OF(X509) *certs = sk_X509_new_null(), *chain = NULL;
	struct enrol_about about;
	X509 *leaf;
	int r;

	ERR_clear_error();
	if (req == NULL || X509_REQ_get0_pubkey(req) == NULL || certs == NULL)
		return agent_error_set(err, -EINVAL, "est.request", "the request that was asked with cannot be read");
	r = read_certs(pem, certs, err);
	if (r < 0)
		return r;
	leaf = find_for_key(certs, X509_REQ_get0_pubkey(req));
	if (leaf == NULL)
		return agent_error_set(err, -EKEYREJECTED, "est.key", "the EST server sent no certificate for our key");
	describe(leaf, &about);
	r = check_leaf(leaf, req, &about, err);
	if (r >= 0)
		r = check_life(&about, wanted, err);
	if (r >= 0)
		r = check_chain(leaf, certs, wanted, &chain, err);
	if (r >= 0)
		r = write_pem(chain, ret_chain, err);
	if (r >= 0)
		*ret_about = about;
	return r;
}

/* ---- an authority by its fingerprint ------------------------------------------------------------------------------ */

static bool read_fingerprint(const char *text, char ret_hex[65])
{
	size_t n = 0;

	for (; *text != '\0'; text++) {
		char c = *text >= 'A' && *text <= 'F' ? (char)(*text + 32) : *text;

		if (c == ':')
			continue;
		if (n == 64 || strchr("0123456789abcdef", c) == NULL)
			return false;
		ret_hex[n++] = c;
	}
	ret_hex[n] = '\0';
	return n == 64;
}

int enrol_pick(const char *pem, const char *fingerprint, char **ret_pem, struct enrol_about *ret_about, struct agent_error **err)
{
	_cleanup_certs_ STACK_OF(X509) *certs = sk_X509_new_null(), *one = sk_X509_new_null();
	char wanted[65], is[65] = "", seen[4 * 66] = "";
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned size;
	int r;

	if (certs == NULL || one == NULL)
		return no_memory(err);
	if (!read_fingerprint(fingerprint, wanted))
		return agent_error_set(err, -EINVAL, "est.fingerprint", "a fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits");
	r = read_certs(pem, certs, err);
	if (r < 0)
		return r;
	for (int i = 0; i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);

		if (X509_check_ca(cert) != 1 || X509_digest(cert, EVP_sha256(), digest, &size) != 1 || size != 32)
			continue;
		hex_encode(digest, size, is);
		if (strcmp(is, wanted) == 0) {
			describe(cert, ret_about);
			return X509_up_ref(cert) == 1 && sk_X509_push(one, cert) > 0 ? write_pem(one, ret_pem, err) : no_memory(err);
		}
		if (strlen(seen) + 66 < sizeof(seen))
			snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), " %s", is);
	}
	return agent_error_set(err, -EKEYREJECTED, "est.fingerprint", "no authority of the EST server has this fingerprint; theirs:%s", seen[0] != '\0' ? seen : " none");
}
