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
#include "base/text.h"
#include "base/time.h"
#include "crypto/name.h"
#include "crypto/verify_dates.h"
#include "crypto/verify_lists.h"
#include "net/tls_cert.h"
#include "net/tls_ocsp.h"
#include "net/tls_reason.h"

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
	size_t size;

	record = calloc(1, sizeof(*record));
	if (record == NULL)
		return -ENOMEM;
	atomic_init(&record->n_refs, 1);
	pthread_mutex_init(&record->lock, NULL);
	record->alert_received = record->alert_sent = record->n_unused_pins = -1;
	record->is_ip = inet_pton(AF_INET, peer_name, address) == 1 || inet_pton(AF_INET6, peer_name, address) == 1;
	record->time = agent_time_ref(time);
	/* The dot that keeps a resolver from trying other domains is no part of the name: RFC 6066 section 3. */
	size = strlen(peer_name);
	record->peer_name = strndup(peer_name, size > 1 && peer_name[size - 1] == '.' ? size - 1 : size);
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
	agent_error_free(record->check_error);
	tls_checks_clear(&record->checks);
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
	record->chain_begin_s = record->chain_end_s = record->signed_s = 0;
	record->reason[0] = '\0';
	record->reason_code = 0;
	record->signer_error = agent_error_free(record->signer_error);
	record->check_error = agent_error_free(record->check_error);
	record->is_before_hello = record->has_signed = record->is_alert_certain = false;
	record->n_unused_pins = -1;
	pthread_mutex_unlock(&record->lock);
}

void tls_record_signed(struct tls_record *record)
{
	pthread_mutex_lock(&record->lock);
	record->has_signed = true;
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

/* Nobody issued an anchor here, and a list that need not be there may be missing. */
static bool may_lack_list(const struct tls_record *record, X509_STORE_CTX *store_ctx)
{
	int n = sk_X509_num(X509_STORE_CTX_get0_chain(store_ctx));

	if (X509_STORE_CTX_get_error(store_ctx) != X509_V_ERR_UNABLE_TO_GET_CRL)
		return false;
	return X509_STORE_CTX_get_error_depth(store_ctx) + 1 == n ||
	       (verify_lists_are_missing(store_ctx) && record->checks.crl == AGENT_TLS_CRL_IF_PRESENT);
}

/* The first fault stays, later ones follow from it. */
static int note_verification(int ok, X509_STORE_CTX *store_ctx)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store_ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_record *record = ssl == NULL ? NULL : record_of(ssl);
	X509 *cert = X509_STORE_CTX_get_current_cert(store_ctx);

	if (ok || record == NULL)
		return ok;
	if (may_lack_list(record, store_ctx)) {
		X509_STORE_CTX_set_error(store_ctx, X509_V_OK);
		return 1;
	}
	pthread_mutex_lock(&record->lock);
	record->verify_error = X509_STORE_CTX_get_error(store_ctx);
	record->verify_depth = X509_STORE_CTX_get_error_depth(store_ctx);
	record->subject[0] = record->issuer[0] = record->names[0] = record->detail[0] = '\0';
	record->not_before[0] = record->not_after[0] = '\0';
	if (cert != NULL) {
		X509_NAME_oneline(X509_get_subject_name(cert), record->subject, sizeof(record->subject));
		X509_NAME_oneline(X509_get_issuer_name(cert), record->issuer, sizeof(record->issuer));
		copy_time(X509_get0_notBefore(cert), record->not_before);
		copy_time(X509_get0_notAfter(cert), record->not_after);
		tls_cert_names(cert, record->names, sizeof(record->names));
		tls_cert_detail(cert, record->verify_error, record->detail, sizeof(record->detail));
	}
	pthread_mutex_unlock(&record->lock);
	return 0;
}

/* A check of ours failed; the chain itself was good. Takes *@err. */
static void note_check(struct tls_record *record, struct agent_error **err)
{
	pthread_mutex_lock(&record->lock);
	agent_error_move(&record->check_error, err);
	pthread_mutex_unlock(&record->lock);
}

static bool is_of_our_kind(struct tls_record *record, const STACK_OF(X509) *chain)
{
	struct agent_error *err = NULL;

	if (tls_cert_check(record->peer_name, chain, &err) >= 0)
		return true;
	note_check(record, &err);
	return false;
}

static bool has_pin(struct tls_record *record, const STACK_OF(X509) *chain)
{
	struct agent_error *err = NULL;
	char subject[160] = "?";
	int n, n_unused;

	if (record->checks.n_pins == 0)
		return true;
	n = tls_checks_count_pins(&record->checks, chain, &n_unused);
	pthread_mutex_lock(&record->lock);
	record->n_unused_pins = n_unused;
	pthread_mutex_unlock(&record->lock);
	if (n > 0)
		return true;
	if (sk_X509_num(chain) > 0)
		name_show(X509_get_subject_name(sk_X509_value(chain, 0)), subject, sizeof(subject));
	agent_error_set(&err, -EKEYREJECTED, "tls.pin", "%s: no key of the certificate \"%s\" and its issuers is one of the %d pinned ones", record->peer_name,
			subject, record->checks.n_pins);
	note_check(record, &err);
	return false;
}

static int verify(X509_STORE_CTX *store_ctx, void *userdata)
{
	struct tls_record *record = userdata;
	int64_t begin_s = 0, end_s = INT64_MAX, list_s;

	if (agent_openssl_verify(store_ctx, record->time) != 1)
		return 0;
	if (!is_of_our_kind(record, X509_STORE_CTX_get0_chain(store_ctx)) || !has_pin(record, X509_STORE_CTX_get0_chain(store_ctx))) {
		X509_STORE_CTX_set_error(store_ctx, X509_V_ERR_APPLICATION_VERIFICATION);
		return 0;
	}
	for (int i = 0; i < sk_X509_num(X509_STORE_CTX_get0_chain(store_ctx)); i++) {
		const X509 *cert = sk_X509_value(X509_STORE_CTX_get0_chain(store_ctx), i);
		int64_t at_s;

		if (time_from_asn1(X509_get0_notBefore(cert), &at_s) >= 0 && at_s > begin_s)
			begin_s = at_s;
		if (time_from_asn1(X509_get0_notAfter(cert), &at_s) >= 0 && at_s < end_s)
			end_s = at_s;
	}
	list_s = verify_lists_signed(store_ctx);
	pthread_mutex_lock(&record->lock);
	record->signed_s = list_s > begin_s ? list_s : begin_s;
	record->chain_begin_s = begin_s;
	record->chain_end_s = end_s;
	pthread_mutex_unlock(&record->lock);
	return 1;
}

static int check_staple(struct tls_record *record, const STACK_OF(X509) *chain, const uint8_t *der, long size, struct agent_error **err)
{
	X509 *cert = sk_X509_value(chain, 0), *issuer = sk_X509_value(chain, sk_X509_num(chain) > 1 ? 1 : 0);
	bool must_staple = ocsp_must_staple(cert);
	struct agent_time_reading now;
	int64_t signed_s = 0;
	struct ocsp_question q = { .cert = cert, .issuer = issuer, .crls = record->checks.crls, .now = &now, .system_s = time_system_s(),
				   .ret_signed_s = &signed_s };
	int r;

	if (der == NULL || size <= 0) {
		if (!must_staple && record->checks.ocsp != AGENT_TLS_OCSP_REQUIRED)
			return 0;
		return agent_error_set(err, -EKEYREJECTED, "tls.ocsp-missing", "the server staples no OCSP answer, and %s",
				       must_staple ? "its certificate says that it must (RFC 7633)" : "one is required here");
	}
	agent_time_get(record->time, &now);
	r = ocsp_check(&q, der, (size_t)size, err);
	pthread_mutex_lock(&record->lock);
	if (r >= 0 && signed_s > record->signed_s)
		record->signed_s = signed_s;
	pthread_mutex_unlock(&record->lock);
	if (r == -EKEYREJECTED && err != NULL && strcmp(agent_error_name(*err), "tls.ocsp-missing") == 0 && !must_staple &&
	    record->checks.ocsp != AGENT_TLS_OCSP_REQUIRED) {
		*err = agent_error_free(*err);
		return 0;
	}
	return r;
}

/* After the chain was found good and before we sign anything; also without a staple. 1: go on. */
static int on_staple(SSL *ssl, void *userdata)
{
	struct tls_record *record = userdata;
	const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	struct agent_error *err = NULL;
	const uint8_t *der = NULL;
	long size = SSL_get_tlsext_status_ocsp_resp(ssl, &der);
	int r;

	if (sk_X509_num(chain) < 1)
		r = agent_error_set(&err, -EKEYREJECTED, "tls.ocsp", "there is no chain to look up");
	else
		r = check_staple(record, chain, der, size, &err);
	if (r >= 0)
		return 1;
	agent_error_prefix(&err, r, "%s", record->peer_name);
	note_check(record, &err);
	return 0;
}

/* The last entry of OpenSSL's queue is what it stumbled over. */
static void note_reason(struct tls_record *record)
{
	unsigned long e = ERR_peek_last_error();
	char buf[OPENSSL_ERROR_TEXT];

	if (e == 0 || record->reason_code != 0)
		return;
	record->reason_code = e;
	snprintf(record->reason, sizeof(record->reason), "%s", tls_reason_text(e, buf));
}

/* The names of the authorities that the server would take a certificate of. With the lock. */
static void note_asked(struct tls_record *record, const SSL *ssl)
{
	const STACK_OF(X509_NAME) *names = SSL_get0_peer_CA_list(ssl);
	char one[80], quoted[sizeof(one) + 2];

	record->asked[0] = '\0';
	for (int i = 0; i < sk_X509_NAME_num(names); i++) {
		name_show(sk_X509_NAME_value(names, i), one, sizeof(one));
		snprintf(quoted, sizeof(quoted), "\"%s\"", one);
		if (!text_list_add(record->asked, sizeof(record->asked), quoted))
			break;
	}
}

static void note_alert(struct tls_record *record, const SSL *ssl, int type, int value)
{
	int description = value & 0xff;

	if (description == SSL3_AD_CLOSE_NOTIFY)
		return;
	pthread_mutex_lock(&record->lock);
	if (type & SSL_CB_READ) {
		record->alert_received = description;
		record->has_identity = SSL_get_certificate(ssl) != NULL;
		note_asked(record, ssl);
		record->is_before_hello = SSL_get_state(ssl) == TLS_ST_CW_CLNT_HELLO || SSL_get_state(ssl) == TLS_ST_CR_SRVR_HELLO;
		/* In TLS 1.2 alerts are not protected before the server's Finished. */
		record->is_alert_certain = record->has_signed && (SSL_version(ssl) >= TLS1_3_VERSION || SSL_is_init_finished(ssl));
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
		note_alert(record, ssl, type, value);
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
	if (record->checks.ocsp != AGENT_TLS_OCSP_OFF) {
		SSL_CTX_set_tlsext_status_type(ssl_ctx, TLSEXT_STATUSTYPE_ocsp);
		SSL_CTX_set_tlsext_status_cb(ssl_ctx, on_staple);
		SSL_CTX_set_tlsext_status_arg(ssl_ctx, record);
	}
	return 0;
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
