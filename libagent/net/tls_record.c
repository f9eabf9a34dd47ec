/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <agent/openssl.h>

#include "base/macro.h"
#include "base/time.h"
#include "crypto/verify_dates.h"

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int record_index = -1;	/* an OpenSSL ex-data slot number, the same for the life of the process */

static void record_ex_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	tls_record_unref(ptr);
}

static void make_index(void)
{
	record_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, record_ex_free);
}

int tls_record_new(const char *peer_name, struct agent_time *time, struct tls_record **ret_record)
{
	struct tls_record *record;
	unsigned char address[16];

	record = calloc(1, sizeof(*record));
	if (record == NULL)
		return -ENOMEM;
	atomic_init(&record->n_refs, 1);
	pthread_mutex_init(&record->lock, NULL);
	record->alert_received = record->alert_sent = -1;
	record->is_ip = inet_pton(AF_INET, peer_name, address) == 1 || inet_pton(AF_INET6, peer_name, address) == 1;
	record->time = agent_time_ref(time);
	record->peer_name = strdup(peer_name);
	if (record->peer_name == NULL) {
		tls_record_unref(record);
		return -ENOMEM;
	}
	*ret_record = record;
	return 0;
}

struct tls_record *tls_record_ref(struct tls_record *record)
{
	if (record != NULL)
		atomic_fetch_add(&record->n_refs, 1);
	return record;
}

struct tls_record *tls_record_unref(struct tls_record *record)
{
	if (record == NULL || atomic_fetch_sub(&record->n_refs, 1) != 1)
		return NULL;
	agent_error_free(record->signer_error);
	pthread_mutex_destroy(&record->lock);
	agent_time_unref(record->time);
	free(record->peer_name);
	free(record);
	return NULL;
}

static void forget(struct tls_record *record)
{
	pthread_mutex_lock(&record->lock);
	record->verify_error = X509_V_OK;
	record->alert_received = record->alert_sent = -1;
	record->chain_begin_s = record->chain_end_s = 0;
	record->reason[0] = '\0';
	record->reason_code = 0;
	record->signer_error = agent_error_free(record->signer_error);
	pthread_mutex_unlock(&record->lock);
}

void tls_record_signer_failed(struct tls_record *record, struct agent_error **err)
{
	pthread_mutex_lock(&record->lock);
	agent_error_move(&record->signer_error, err);
	pthread_mutex_unlock(&record->lock);
}

static struct tls_record *record_of(const SSL *ssl)
{
	return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), record_index);
}

static void copy_time(const ASN1_TIME *t, char text[TIME_TEXT_SIZE])
{
	int64_t at_s;

	text[0] = '\0';
	if (time_from_asn1(t, &at_s) >= 0)
		time_text(at_s, text);
}

/* "DNS:a, DNS:b, IP 192.0.2.1": what the certificate is for, cut at the buffer's end. */
static void copy_names(X509 *cert, char *text, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char one[128] = "";

		if (name->type == GEN_DNS) {
			snprintf(one, sizeof(one), "%.*s", ASN1_STRING_length(name->d.dNSName),
				 (const char *)ASN1_STRING_get0_data(name->d.dNSName));
		} else if (name->type == GEN_IPADD) {
			int length = ASN1_STRING_length(name->d.iPAddress);
			int family = length == 4 ? AF_INET : length == 16 ? AF_INET6 : AF_UNSPEC;

			if (family != AF_UNSPEC)
				inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), one, sizeof(one));
		}
		if (one[0] == '\0' || used + strlen(one) + 3 > size)
			continue;
		used += (size_t)snprintf(text + used, size - used, "%s%s", used == 0 ? "" : ", ", one);
	}
	GENERAL_NAMES_free(names);
}

/* Never changes the verdict; the first fault stays, later ones follow from it. */
static int note_verification(int ok, X509_STORE_CTX *store_ctx)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store_ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_record *record = ssl == NULL ? NULL : record_of(ssl);
	X509 *cert = X509_STORE_CTX_get_current_cert(store_ctx);

	if (ok || record == NULL)
		return ok;
	pthread_mutex_lock(&record->lock);
	record->verify_error = X509_STORE_CTX_get_error(store_ctx);
	record->verify_depth = X509_STORE_CTX_get_error_depth(store_ctx);
	record->subject[0] = record->issuer[0] = record->names[0] = '\0';
	record->not_before[0] = record->not_after[0] = '\0';
	if (cert != NULL) {
		X509_NAME_oneline(X509_get_subject_name(cert), record->subject, sizeof(record->subject));
		X509_NAME_oneline(X509_get_issuer_name(cert), record->issuer, sizeof(record->issuer));
		copy_time(X509_get0_notBefore(cert), record->not_before);
		copy_time(X509_get0_notAfter(cert), record->not_after);
		copy_names(cert, record->names, sizeof(record->names));
	}
	pthread_mutex_unlock(&record->lock);
	return 0;
}

static int verify(X509_STORE_CTX *store_ctx, void *userdata)
{
	struct tls_record *record = userdata;
	int64_t begin_s = 0, end_s = INT64_MAX;

	if (agent_openssl_verify(store_ctx, record->time) != 1)
		return 0;
	for (int i = 0; i < sk_X509_num(X509_STORE_CTX_get0_chain(store_ctx)); i++) {
		const X509 *cert = sk_X509_value(X509_STORE_CTX_get0_chain(store_ctx), i);
		int64_t at_s;

		if (time_from_asn1(X509_get0_notBefore(cert), &at_s) >= 0 && at_s > begin_s)
			begin_s = at_s;
		if (time_from_asn1(X509_get0_notAfter(cert), &at_s) >= 0 && at_s < end_s)
			end_s = at_s;
	}
	pthread_mutex_lock(&record->lock);
	record->chain_begin_s = begin_s;
	record->chain_end_s = end_s;
	pthread_mutex_unlock(&record->lock);
	return 1;
}

/* The last entry of OpenSSL's queue is what it stumbled over. */
static void note_reason(struct tls_record *record)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(e);

	if (e == 0 || record->reason_code != 0)
		return;
	record->reason_code = e;
	snprintf(record->reason, sizeof(record->reason), "%s", reason == NULL ? "unknown reason" : reason);
}

static void note_alert(struct tls_record *record, int type, int value)
{
	int description = value & 0xff;

	if (description == SSL3_AD_CLOSE_NOTIFY)
		return;
	pthread_mutex_lock(&record->lock);
	if (type & SSL_CB_READ) {
		record->alert_received = description;
	} else {
		record->alert_sent = description;
		note_reason(record);	/* raised just before the alert is written */
	}
	pthread_mutex_unlock(&record->lock);
}

static void note_progress(const SSL *ssl, int type, int value)
{
	struct tls_record *record = record_of(ssl);

	if (record == NULL)
		return;
	if (type & SSL_CB_HANDSHAKE_START) {
		const char *sni = record->is_ip ? NULL : record->peer_name;

		forget(record);
		/*
		 * The library that drives the connection may have been given an address to dial; the server must be
		 * asked for the name we check (RFC 6066 section 3: names only). OpenSSL hands the callback a const
		 * pointer for historical reasons; the ClientHello has not been made yet.
		 */
		SSL_set_tlsext_host_name((SSL *)(uintptr_t)ssl, sni);
	}
	if (type & SSL_CB_ALERT)
		note_alert(record, type, value);
	if ((type & SSL_CB_EXIT) && value <= 0) {
		/* Without an alert: what came in was not TLS at all. */
		pthread_mutex_lock(&record->lock);
		note_reason(record);
		pthread_mutex_unlock(&record->lock);
	}
}

int tls_record_attach(struct tls_record *record, SSL_CTX *ssl_ctx)
{
	pthread_once(&index_once, make_index);
	if (record_index < 0 || SSL_CTX_get_ex_data(ssl_ctx, record_index) != NULL ||
	    SSL_CTX_set_ex_data(ssl_ctx, record_index, record) != 1)
		return -ENOMEM;
	tls_record_ref(record);
	SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, note_verification);
	SSL_CTX_set_cert_verify_callback(ssl_ctx, verify, record); /* lives as long as the SSL_CTX */
	SSL_CTX_set_info_callback(ssl_ctx, note_progress);
	return 0;
}

/* Verification faults that mean the same to an operator. */
static const struct verify_class {
	int code;
	const char *name;
} verify_classes[] = {
	{ X509_V_ERR_HOSTNAME_MISMATCH, "tls.name" },
	{ X509_V_ERR_IP_ADDRESS_MISMATCH, "tls.name" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "tls.issuer" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "tls.issuer" },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "tls.issuer" },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "tls.issuer" },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "tls.issuer" },
	{ X509_V_ERR_CERT_SIGNATURE_FAILURE, "tls.issuer" },
	{ X509_V_ERR_CERT_UNTRUSTED, "tls.issuer" },
	{ X509_V_ERR_CERT_HAS_EXPIRED, "tls.expired" },
	{ X509_V_ERR_CERT_NOT_YET_VALID, "tls.not-yet-valid" },
	{ X509_V_ERR_INVALID_PURPOSE, "tls.purpose" },
};

static int explain_verification(const struct tls_record *record, const struct agent_time_reading *now, uint64_t system_s, struct agent_error **err)
{
	const char *name = "tls.certificate";
	char clock[256], now_text[TIME_TEXT_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(verify_classes); i++)
		if (verify_classes[i].code == record->verify_error)
			name = verify_classes[i].name;
	time_text((int64_t)now->now_s, now_text);
	time_doubt(now, system_s, strcmp(name, "tls.not-yet-valid") == 0, clock, sizeof(clock));

	if (strcmp(name, "tls.name") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "the server's certificate is for %s, not for %s",
				       record->names[0] != '\0' ? record->names : record->subject, record->peer_name);
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
	if (strcmp(name, "tls.purpose") == 0)
		return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s is not meant for a TLS server (extended key usage serverAuth)",
				       record->peer_name, record->subject);
	return agent_error_set(err, -EKEYREJECTED, name, "%s: certificate %s at depth %d: %s", record->peer_name, record->subject,
			       record->verify_depth, X509_verify_cert_error_string(record->verify_error));
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
	if (record->alert_received == TLS13_AD_CERTIFICATE_REQUIRED)
		r = agent_error_set(err, -EACCES, "tls.alert", "%s demands a client certificate and got none (alert \"certificate required\")",
				    record->peer_name);
	else if (is_about_our_certificate(record->alert_received))
		r = agent_error_set(err, -EACCES, "tls.alert", "%s refused our certificate: %s", record->peer_name, text);
	else
		r = agent_error_set(err, -EPROTO, "tls.alert", "%s ended the handshake: alert \"%s\"", record->peer_name, text);
	return r;
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
	} else if (record->alert_received >= 0) {
		r = explain_alert(record, err);
	} else if (record->alert_sent == TLS1_AD_PROTOCOL_VERSION) {
		r = agent_error_set(err, -EPROTONOSUPPORT, "tls.version", "%s chose a TLS version we do not accept", record->peer_name);
	} else if (record->alert_sent >= 0 || record->reason_code != 0) {
		r = agent_error_set(err, -EPROTO, "tls.handshake", "TLS handshake with %s failed: %s", record->peer_name,
				    record->reason_code != 0 ? record->reason : "OpenSSL gives no reason");
		agent_error_set_foreign(err, AGENT_ERROR_OPENSSL, (uint32_t)record->reason_code);
	}
	pthread_mutex_unlock(&record->lock);
	return r;
}

int tls_record_check_time(struct tls_record *record, int64_t *ret_not_before_s, int64_t *ret_not_after_s, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	int64_t begin_s, end_s;
	int r;

	pthread_mutex_lock(&record->lock);
	begin_s = record->chain_begin_s;
	end_s = record->chain_end_s;
	pthread_mutex_unlock(&record->lock);
	if (ret_not_before_s != NULL)
		*ret_not_before_s = begin_s;
	if (ret_not_after_s != NULL)
		*ret_not_after_s = end_s;
	r = agent_time_check(record->time, begin_s, end_s, record->peer_name, &why);
	return r < 0 ? agent_error_set(err, -EKEYREJECTED, r == -EKEYEXPIRED ? "tls.expired" : "tls.not-yet-valid", "a certificate of %s",
				       agent_error_message(why)) : 0;
}
