/* SPDX-License-Identifier: Apache-2.0 */
/* What one handshake left behind, as a sentence with a stable name. */
#include "net/tls.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/macro.h"
#include "base/time.h"
#include "crypto/verify_issuers.h"
#include "net/tls_cert.h"

/* Verification faults. Those that mean the same to an operator have one name. */
static const struct verify_class {
	int code;
	const char *name;
	const char *text;	/* what is wrong; NULL: explain_verification() says it, or OpenSSL */
	int has_detail;		/* after it, from tls_cert_detail() */
} verify_classes[] = {
	{ X509_V_ERR_HOSTNAME_MISMATCH, "tls.name", NULL, 0 },
	{ X509_V_ERR_IP_ADDRESS_MISMATCH, "tls.name", NULL, 0 },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "tls.issuer", NULL, 0 },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "tls.issuer", NULL, 0 },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "tls.issuer", NULL, 0 },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "tls.issuer", NULL, 0 },
	{ X509_V_ERR_CERT_SIGNATURE_FAILURE, "tls.issuer", NULL, 0 },
	{ X509_V_ERR_CERT_UNTRUSTED, "tls.issuer", NULL, 0 },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "tls.self-signed", NULL, 0 },
	{ X509_V_ERR_CERT_HAS_EXPIRED, "tls.expired", NULL, 0 },
	{ X509_V_ERR_CERT_NOT_YET_VALID, "tls.not-yet-valid", NULL, 0 },
	{ X509_V_ERR_INVALID_PURPOSE, "tls.purpose", NULL, 0 },
	{ X509_V_ERR_INVALID_CA, "tls.authority", "it issued another one, and is not that of an authority (basic constraints CA:TRUE, key usage keyCertSign)", 0 },
	{ X509_V_ERR_KEYUSAGE_NO_CERTSIGN, "tls.authority", "it issued another one, which its key usage does not allow (no keyCertSign)", 0 },
	{ X509_V_ERR_CERT_CHAIN_TOO_LONG, "tls.chain", "certificate chain too long: there may be " VERIFY_DEPTH_TEXT " authorities below the trust anchor", 0 },
	{ X509_V_ERR_PATH_LENGTH_EXCEEDED, "tls.chain", "this authority may not have so many others below it (path length)", 0 },
	{ X509_V_ERR_PERMITTED_VIOLATION, "tls.constraints", "the name constraints of an authority above it do not include its names", 0 },
	{ X509_V_ERR_EXCLUDED_VIOLATION, "tls.constraints", "the name constraints of an authority above it exclude its names", 0 },
	{ X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE, "tls.constraints", "an authority above it has name constraints of a kind that cannot be checked", 0 },
	{ X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX, "tls.constraints", "an authority above it has name constraints that cannot be read", 0 },
	{ X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION, "tls.extension", "it has a critical extension that is not known here, ", 1 },
	{ X509_V_ERR_EE_KEY_TOO_SMALL, "tls.weak", "key too weak (RSA needs 2048 bits, EC P-256): ", 1 },
	{ X509_V_ERR_CA_KEY_TOO_SMALL, "tls.weak", "key too weak (RSA needs 2048 bits, EC P-256): ", 1 },
	{ X509_V_ERR_CA_MD_TOO_WEAK, "tls.weak", "signature too weak (SHA-256 or better is needed): ", 1 },
	{ X509_V_ERR_CERT_REVOKED, "tls.revoked", NULL, 0 },
	{ X509_V_ERR_UNABLE_TO_GET_CRL, "tls.crl-missing", NULL, 0 },
	{ X509_V_ERR_CRL_HAS_EXPIRED, "tls.crl-expired", NULL, 0 },
	{ X509_V_ERR_CRL_NOT_YET_VALID, "tls.crl-not-yet-valid", NULL, 0 },
	{ X509_V_ERR_CRL_SIGNATURE_FAILURE, "tls.crl", NULL, 0 },
	{ X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE, "tls.crl", NULL, 0 },
	{ X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER, "tls.crl", NULL, 0 },
	{ X509_V_ERR_KEYUSAGE_NO_CRL_SIGN, "tls.crl", NULL, 0 },
	{ X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION, "tls.crl", NULL, 0 },
	{ X509_V_ERR_DIFFERENT_CRL_SCOPE, "tls.crl", NULL, 0 },
	{ X509_V_ERR_CRL_PATH_VALIDATION_ERROR, "tls.crl", NULL, 0 },
	{ X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD, "tls.crl", NULL, 0 },
	{ X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD, "tls.crl", NULL, 0 },
};

/* OpenSSL's reasons for ending a handshake itself that have a name of ours. */
static const struct {
	int code;
	const char *name;
} reason_classes[] = {
	{ SSL_R_UNSUPPORTED_PROTOCOL, "tls.version" },
	{ SSL_R_WRONG_SSL_VERSION, "tls.version" },
	{ SSL_R_EE_KEY_TOO_SMALL, "tls.weak" },
	{ SSL_R_CA_KEY_TOO_SMALL, "tls.weak" },
	{ SSL_R_CA_MD_TOO_WEAK, "tls.weak" },
	{ SSL_R_DH_KEY_TOO_SMALL, "tls.weak" },
	{ SSL_R_WRONG_VERSION_NUMBER, "tls.no-tls" }, /* of a record: what came has no TLS head */
	{ SSL_R_HTTP_REQUEST, "tls.no-tls" },
	{ SSL_R_HTTPS_PROXY_REQUEST, "tls.no-tls" },
	{ SSL_R_WRONG_CIPHER_RETURNED, "tls.parameters" },
	{ SSL_R_UNKNOWN_CIPHER_RETURNED, "tls.parameters" },
	{ SSL_R_BAD_KEY_SHARE, "tls.parameters" },
	{ SSL_R_WRONG_CURVE, "tls.parameters" },
	{ SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "tls.parameters" },
	{ SSL_R_WRONG_SIGNATURE_TYPE, "tls.parameters" },
};

static int explain_verification(const struct tls_record *record, const struct agent_time_reading *now, uint64_t system_s, struct agent_error **err)
{
	const char *name = "tls.certificate", *text = X509_verify_cert_error_string(record->verify_error), *detail = "";
	char clock[256], now_text[TIME_TEXT_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(verify_classes); i++)
		if (verify_classes[i].code == record->verify_error) {
			name = verify_classes[i].name;
			text = verify_classes[i].text != NULL ? verify_classes[i].text : text;
			detail = verify_classes[i].has_detail ? record->detail : "";
		}
	time_text((int64_t)now->now_s, now_text);
	time_doubt(now, system_s, strcmp(name, "tls.not-yet-valid") == 0 || strcmp(name, "tls.crl-not-yet-valid") == 0, clock, sizeof(clock));

	if (strcmp(name, "tls.name") == 0 && record->names[0] == '\0')
		return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s is for no name at all (subjectAltName); a common name does not count",
				       record->peer_name, record->subject);
	if (strcmp(name, "tls.name") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "the server's certificate is for %s, not for %s%s", record->names,
				       record->is_ip ? "the address " : "", record->peer_name);
	if (strcmp(name, "tls.issuer") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s, issued by %s, does not lead to our trust anchors (%s)",
				       record->peer_name, record->subject, record->issuer,
				       X509_verify_cert_error_string(record->verify_error));
	if (strcmp(name, "tls.expired") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s expired on %s, it is now %s%s", record->peer_name,
				       record->subject, record->not_after, now_text, clock);
	if (strcmp(name, "tls.not-yet-valid") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s is valid from %s on, it is now %s%s",
				       record->peer_name, record->subject, record->not_before, now_text, clock);
	if (strcmp(name, "tls.purpose") == 0 && record->detail[0] != '\0')
		return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s is not meant for %s (extended key usage %s, not serverAuth)",
				       record->peer_name, record->subject, record->verify_depth == 0 ? "a TLS server" : "issuing those of TLS servers",
				       record->detail);
	if (strcmp(name, "tls.purpose") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s is not meant for a TLS server (key usage)", record->peer_name,
				       record->subject);
	if (strcmp(name, "tls.self-signed") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s is self-signed and none of our trust anchors", record->peer_name,
				       record->subject);
	if (strcmp(name, "tls.revoked") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s was revoked by its issuer %s (revocation list)", record->peer_name,
				       record->subject, record->issuer);
	if (strcmp(name, "tls.crl-missing") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: there is no revocation list of %s, the issuer of certificate %s, and one is required",
				       record->peer_name, record->issuer, record->subject);
	if (strcmp(name, "tls.crl-expired") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: the revocation list of %s is out of date, it is now %s%s; install a fresh one",
				       record->peer_name, record->issuer, now_text, clock);
	if (strcmp(name, "tls.crl-not-yet-valid") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: the revocation list of %s is of a later time than now, %s%s", record->peer_name,
				       record->issuer, now_text, clock);
	if (strcmp(name, "tls.crl") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: the revocation list of %s cannot be used: %s", record->peer_name, record->issuer,
				       X509_verify_cert_error_string(record->verify_error));
	return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s at depth %d: %s%s", record->peer_name, record->subject,
			       record->verify_depth, text, detail);
}

/* RFC 8446 section 6.2: alerts that speak of the certificate we sent. */
static bool is_about_our_certificate(int alert)
{
	switch (alert) {
	case SSL3_AD_BAD_CERTIFICATE:
	case SSL3_AD_UNSUPPORTED_CERTIFICATE:
	case SSL3_AD_CERTIFICATE_REVOKED:
	case SSL3_AD_CERTIFICATE_EXPIRED:
	case SSL3_AD_CERTIFICATE_UNKNOWN:
	case TLS1_AD_UNKNOWN_CA:
	case TLS1_AD_ACCESS_DENIED:
	case TLS1_AD_DECRYPT_ERROR:
		return true;
	default:
		return false;
	}
}

static int explain_alert(const struct tls_record *record, struct agent_error **err)
{
	const char *text = SSL_alert_desc_string_long(record->alert_received);
	int r;

	if (record->alert_received == TLS1_AD_PROTOCOL_VERSION)
		return agent_error_set(err, -EPROTONOSUPPORT, "tls.version", "%s does not offer the TLS version we ask for (alert \"%s\")",
				       record->peer_name, text);
	if (record->alert_received == TLS13_AD_CERTIFICATE_REQUIRED && record->has_identity)
		r = agent_error_set(err, -EACCES, "tls.alert",
				    "%s demands a client certificate and takes none of the signature algorithms of our key (alert \"certificate required\")",
				    record->peer_name);
	else if (record->alert_received == TLS13_AD_CERTIFICATE_REQUIRED)
		r = agent_error_set(err, -EACCES, "tls.alert", "%s demands a client certificate and got none (alert \"certificate required\")",
				    record->peer_name);
	else if (is_about_our_certificate(record->alert_received))
		r = agent_error_set(err, -EACCES, "tls.alert", "%s refused our certificate: %s%s%s", record->peer_name, text,
				    record->asked[0] != '\0' ? "; it asks for one issued by " : "", record->asked);
	else if (record->is_before_hello && (record->alert_received == SSL3_AD_HANDSHAKE_FAILURE || record->alert_received == TLS1_AD_INSUFFICIENT_SECURITY))
		r = agent_error_set(err, -EPROTO, "tls.parameters", "%s has no cipher suite, group or signature algorithm in common with us (alert \"%s\"); "
				    "keys of servers may be " TLS_CERT_KEYS, record->peer_name, text);
	else
		r = agent_error_set(err, -EPROTO, "tls.alert", "%s ended the handshake: alert \"%s\"", record->peer_name, text);
	return r;
}

static const char *reason_name(unsigned long code)
{
	for (size_t i = 0; i < ARRAY_SIZE(reason_classes); i++)
		if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == reason_classes[i].code)
			return reason_classes[i].name;
	return "tls.handshake";
}

int tls_record_explain(struct tls_record *record, const struct agent_time_reading *now, uint64_t system_s, struct agent_error **err)
{
	int r = 0;

	pthread_mutex_lock(&record->lock);
	if (record->signer_error != NULL) {
		/* First: without a signature we send no certificate, and the peer's alert would mislead. */
		r = agent_error_errno(record->signer_error);
		if (r >= 0)
			r = -EIO;
		agent_error_set(err, r, "tls.signer", "our key did not sign the handshake with %s: %s (%s)", record->peer_name,
				agent_error_message(record->signer_error), agent_error_name(record->signer_error));
		agent_error_set_foreign(err, agent_error_foreign_source(record->signer_error),
					agent_error_foreign_code(record->signer_error));
	} else if (record->verify_error != X509_V_OK) {
		r = explain_verification(record, now, system_s, err);
	} else if (record->check_error != NULL) {
		r = agent_error_set(err, agent_error_errno(record->check_error), agent_error_name(record->check_error), "%s",
				    agent_error_message(record->check_error));
	} else if (record->alert_received >= 0) {
		r = explain_alert(record, err);
	} else if (record->alert_sent == TLS1_AD_PROTOCOL_VERSION) {
		r = agent_error_set(err, -EPROTONOSUPPORT, "tls.version", "%s chose a TLS version we do not accept", record->peer_name);
	} else if (record->alert_sent < 0 && strcmp(reason_name(record->reason_code), "tls.no-tls") == 0) {
		r = agent_error_set(err, -EPROTO, "tls.no-tls",
				    "what answers in the place of %s does not speak TLS: is it another port, or a captive portal or proxy in between?",
				    record->peer_name);
	} else if (record->alert_sent >= 0 || record->reason_code != 0) {
		r = agent_error_set(err, -EPROTO, reason_name(record->reason_code), "TLS handshake with %s failed: %s", record->peer_name,
				    record->reason_code != 0 ? record->reason : "OpenSSL gives no reason");
		agent_error_set_foreign(err, AGENT_ERROR_OPENSSL, (uint32_t)record->reason_code);
	}
	pthread_mutex_unlock(&record->lock);
	return r;
}
