/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 6960, as a client that holds a chain it has checked itself. OpenSSL parses and checks the one signature; who may sign is decided here, since
 * OCSP_basic_verify() takes dates from the system clock, and more responders than we want.
 */
#include "net/tls_ocsp.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/macro.h"
#include "base/time.h"
#include "crypto/name.h"
#include "crypto/verify_dates.h"

#define DOUBT_SIZE 256
#define SKEW_S 300	/* of the responder's clock against ours: an answer may be that fresh */
#define STATUS_REQUEST 5 /* TLS extension number, RFC 6066 section 1.1 */
#define NAME_SIZE 80
#define BITS_MIN 112

DEFINE_CLEANUP(OCSP_RESPONSE *, OCSP_RESPONSE_free)
DEFINE_CLEANUP(OCSP_BASICRESP *, OCSP_BASICRESP_free)
DEFINE_CLEANUP(OCSP_CERTID *, OCSP_CERTID_free)
DEFINE_CLEANUP(TLS_FEATURE *, TLS_FEATURE_free)

#define REFUSE(err, name, ...) agent_error_set(err, -EKEYREJECTED, name, __VA_ARGS__)

int ocsp_must_staple(const X509 *cert)
{
	_cleanup_(TLS_FEATURE_freep) TLS_FEATURE *features = X509_get_ext_d2i(cert, NID_tlsfeature, NULL, NULL);

	for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
		if (ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == STATUS_REQUEST)
			return 1;
	return 0;
}

static bool is_revoked_by_list(const struct ocsp_question *q, X509 *cert)
{
	for (int i = 0; i < sk_X509_CRL_num(q->crls); i++) {
		X509_CRL *crl = sk_X509_CRL_value(q->crls, i);
		X509_REVOKED *entry = NULL;

		if (X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(q->issuer)) == 0 &&
		    X509_CRL_verify(crl, X509_get0_pubkey(q->issuer)) == 1 && X509_CRL_get0_by_cert(crl, &entry, cert) == 1)
			return true;
	}
	return false;
}

/* RFC 6960 section 4.2.2.2: the authority itself, or one that it issued for this purpose. @doubt: what our clock may have to do with it. */
static const char *why_no_responder(const struct ocsp_question *q, X509 *signer, char doubt[DOUBT_SIZE])
{
	int64_t begin_s, end_s, now_s = (int64_t)q->now->now_s;
	uint32_t flags;
	bool is_early;
	int bits = 0;

	if (X509_cmp(signer, q->issuer) == 0)
		return NULL;
	flags = X509_get_extension_flags(signer);
	if (X509_check_issued(q->issuer, signer) != X509_V_OK || X509_verify(signer, X509_get0_pubkey(q->issuer)) != 1)
		return "it was not issued by the authority of the certificate";
	if ((flags & (EXFLAG_INVALID | EXFLAG_CRITICAL)) != 0 || (flags & EXFLAG_XKUSAGE) == 0 ||
	    (X509_get_extended_key_usage(signer) & XKU_OCSP_SIGN) == 0 ||
	    ((flags & EXFLAG_KUSAGE) != 0 && (X509_get_key_usage(signer) & KU_DIGITAL_SIGNATURE) == 0))
		return "it is not meant for answers about certificates (extended key usage OCSPSigning)";
	if (EVP_PKEY_get_security_bits(X509_get0_pubkey(signer)) < BITS_MIN || X509_get_signature_info(signer, NULL, NULL, &bits, NULL) != 1 ||
	    bits < BITS_MIN)
		return "its key or its signature is too weak";
	if (time_from_asn1(X509_get0_notBefore(signer), &begin_s) < 0 || time_from_asn1(X509_get0_notAfter(signer), &end_s) < 0)
		return "its dates cannot be read";
	is_early = now_s < begin_s && q->now->state >= AGENT_TIME_NETWORK;
	if (is_early || now_s > end_s) {
		time_doubt(q->now, q->system_s, is_early, doubt, DOUBT_SIZE);
		return is_early ? "its certificate is not valid yet" : "its certificate has expired";
	}
	/* Without id-pkix-ocsp-nocheck it may be on a list as well (section 4.2.2.2.1). */
	if (X509_get_ext_by_NID(signer, NID_id_pkix_OCSP_noCheck, -1) < 0 && is_revoked_by_list(q, signer))
		return "it was revoked";
	return NULL;
}

static bool is_weak(const OCSP_BASICRESP *answer)
{
	const X509_ALGOR *algorithm = OCSP_resp_get0_tbs_sigalg(answer);
	const ASN1_OBJECT *oid;
	int digest = NID_undef;

	X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
	/* No digest of its own: Ed25519, RSA-PSS. */
	if (OBJ_find_sigid_algs(OBJ_obj2nid(oid), &digest, NULL) != 1)
		return true;
	return digest != NID_undef && digest != NID_sha256 && digest != NID_sha384 && digest != NID_sha512;
}

static int check_signer(const struct ocsp_question *q, OCSP_BASICRESP *answer, struct agent_error **err)
{
	STACK_OF(X509) *ours = sk_X509_new_null(), *only = sk_X509_new_null();
	char name[NAME_SIZE] = "?", issuer[NAME_SIZE], doubt[DOUBT_SIZE] = "";
	const char *why = NULL;
	X509 *signer = NULL;
	int r = 0;

	name_show(X509_get_subject_name(q->issuer), issuer, sizeof(issuer));
	if (ours == NULL || only == NULL || sk_X509_push(ours, q->issuer) <= 0) {
		r = -ENOMEM;
	} else if (OCSP_resp_get0_signer(answer, &signer, ours) != 1) {
		why = "nobody known signed it";
	} else {
		name_show(X509_get_subject_name(signer), name, sizeof(name));
		why = why_no_responder(q, signer, doubt);
		if (why == NULL && is_weak(answer))
			why = "its signature is too weak";
		if (why == NULL && sk_X509_push(only, signer) <= 0)
			r = -ENOMEM;
		else if (why == NULL && OCSP_basic_verify(answer, only, NULL, OCSP_NOINTERN | OCSP_NOVERIFY) != 1)
			why = "its signature is wrong";
	}
	sk_X509_free(ours);
	sk_X509_free(only);
	if (r < 0)
		return agent_error_set(err, r, "tls.memory", "out of memory");
	if (why != NULL)
		return REFUSE(err, "tls.ocsp-signer", "the stapled OCSP answer by \"%s\" counts for nothing: %s%s (authority \"%s\")", name, why, doubt,
			      issuer);
	return 0;
}

/* The part about our certificate, or NULL. */
static OCSP_SINGLERESP *find_single(const struct ocsp_question *q, OCSP_BASICRESP *answer)
{
	for (int i = 0; i < OCSP_resp_count(answer); i++) {
		OCSP_SINGLERESP *single = OCSP_resp_get0(answer, i);
		OCSP_CERTID *id = (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(single);
		_cleanup_(OCSP_CERTID_freep) OCSP_CERTID *ours = NULL;
		ASN1_OBJECT *md_oid = NULL;
		const EVP_MD *md;

		if (OCSP_id_get0_info(NULL, &md_oid, NULL, NULL, id) != 1)
			continue;
		md = EVP_get_digestbyobj(md_oid); /* SHA-1 as a rule; it only finds, it proves nothing */
		ours = md == NULL ? NULL : OCSP_cert_to_id(md, q->cert, q->issuer);
		if (ours != NULL && OCSP_id_cmp(ours, id) == 0)
			return single;
	}
	return NULL;
}

static int check_dates(const struct ocsp_question *q, const ASN1_GENERALIZEDTIME *begin, const ASN1_GENERALIZEDTIME *end, struct agent_error **err)
{
	char now[TIME_TEXT_SIZE], date[TIME_TEXT_SIZE], doubt[DOUBT_SIZE];
	int64_t begin_s, end_s, now_s = (int64_t)q->now->now_s;
	bool is_early;

	if (time_from_asn1(begin, &begin_s) < 0 || (end != NULL && time_from_asn1(end, &end_s) < 0))
		return REFUSE(err, "tls.ocsp", "the dates of the stapled OCSP answer cannot be read");
	if (end == NULL)
		return REFUSE(err, "tls.ocsp-stale", "the stapled OCSP answer does not say until when it is good");
	is_early = now_s + SKEW_S < begin_s && q->now->state >= AGENT_TIME_NETWORK;
	if (!is_early && now_s <= end_s) {
		if (q->ret_signed_s != NULL)
			*q->ret_signed_s = begin_s - SKEW_S;
		return 0;
	}
	time_text(now_s, now);
	time_text(is_early ? begin_s : end_s, date);
	time_doubt(q->now, q->system_s, is_early, doubt, sizeof(doubt));
	if (is_early)
		return REFUSE(err, "tls.ocsp-not-yet-valid", "the stapled OCSP answer is of %s, it is now %s%s", date, now, doubt);
	return REFUSE(err, "tls.ocsp-stale", "the stapled OCSP answer was good until %s, it is now %s%s", date, now, doubt);
}

static int check_single(const struct ocsp_question *q, OCSP_SINGLERESP *single, struct agent_error **err)
{
	ASN1_GENERALIZEDTIME *revoked = NULL, *begin = NULL, *end = NULL;
	char subject[NAME_SIZE], date[TIME_TEXT_SIZE] = "";
	int reason = OCSP_REVOKED_STATUS_NOSTATUS, status = OCSP_single_get0_status(single, &reason, &revoked, &begin, &end);
	int64_t at_s;

	name_show(X509_get_subject_name(q->cert), subject, sizeof(subject));
	/* First: it does not become less revoked while an answer gets old. */
	if (status == V_OCSP_CERTSTATUS_REVOKED) {
		if (time_from_asn1(revoked, &at_s) >= 0)
			time_text(at_s, date);
		return REFUSE(err, "tls.ocsp-revoked", "certificate \"%s\" was revoked on %s, says its authority's OCSP answer (%s)", subject, date,
			      reason == OCSP_REVOKED_STATUS_NOSTATUS ? "no reason given" : OCSP_crl_reason_str(reason));
	}
	if (status != V_OCSP_CERTSTATUS_GOOD)
		return REFUSE(err, "tls.ocsp-unknown", "its authority's OCSP answer does not know certificate \"%s\"", subject);
	return check_dates(q, begin, end, err);
}

int ocsp_check(const struct ocsp_question *q, const uint8_t *der, size_t size, struct agent_error **err)
{
	const uint8_t *at = der;
	_cleanup_(OCSP_RESPONSE_freep) OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)size);
	_cleanup_(OCSP_BASICRESP_freep) OCSP_BASICRESP *answer = NULL;
	OCSP_SINGLERESP *single;
	char subject[NAME_SIZE];
	int status, r;

	if (response == NULL || at != der + size) {
		ERR_clear_error();
		return REFUSE(err, "tls.ocsp", "the stapled OCSP answer of %zu bytes is damaged", size);
	}
	status = OCSP_response_status(response);
	if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		return REFUSE(err, "tls.ocsp-missing", "the OCSP responder had no answer for the server to staple: %s", OCSP_response_status_str(status));
	answer = OCSP_response_get1_basic(response);
	if (answer == NULL) {
		ERR_clear_error();
		return REFUSE(err, "tls.ocsp", "the stapled OCSP answer is of a kind that is not known");
	}
	r = check_signer(q, answer, err);
	ERR_clear_error();
	if (r < 0)
		return r;
	single = find_single(q, answer);
	ERR_clear_error();
	name_show(X509_get_subject_name(q->cert), subject, sizeof(subject));
	if (single == NULL)
		return REFUSE(err, "tls.ocsp-other", "the stapled OCSP answer is about another certificate than \"%s\"", subject);
	return check_single(q, single, err);
}
