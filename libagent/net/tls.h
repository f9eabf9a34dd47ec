/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_H
#define NET_TLS_H
/* What one handshake left behind, and the sentence made of it. Written by OpenSSL callbacks, read by agent_tls_explain(). */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <openssl/types.h>

#include <agent/error.h>
#include <agent/time.h>

#include "net/tls_checks.h"

struct tls_record {
	atomic_uint n_refs;	/* the profile and every SSL_CTX it is on */
	char *peer_name;	/* never changes, like the three below */
	int is_ip;
	struct agent_time *time;
	struct tls_checks checks;

	pthread_mutex_t lock;	/* guards the rest */
	int verify_error;	/* X509_V_ERR_*, X509_V_OK if none */
	int verify_depth;
	char subject[160];	/* of the certificate that failed */
	char issuer[160];
	char names[256];	/* its subjectAltName */
	char detail[160];	/* what in it is wrong: tls_cert_detail() */
	char not_before[40], not_after[40];
	int64_t chain_begin_s, chain_end_s;	/* of the chain that was accepted, 0 if none was */
	int64_t signed_s;	/* the newest of what vouched for it: begin of the chain, lists, a stapled answer */
	int alert_received;	/* TLS AlertDescription, RFC 8446 section 6; -1 if none */
	bool is_before_hello;	/* it came instead of a ServerHello */
	bool has_identity;	/* we have a certificate, shown or not */
	char asked[160];	/* whose certificates the server asked for, as far as it said */
	bool has_signed;	/* our key did: the server had been checked by then */
	bool is_alert_certain;	/* alert_received came after that, and could not be written on the way */
	int alert_sent;
	char reason[160];	/* OpenSSL's, when it ended the handshake itself */
	unsigned long reason_code;
	struct agent_error *signer_error;
	struct agent_error *check_error; /* of pins and stapled answers */
	int n_unused_pins;	/* of the chain that was looked at, -1 if none was */
};

int tls_record_new(const char *peer_name, struct agent_time *time, struct tls_record **ret_record);
struct tls_record *tls_record_ref(struct tls_record *record);
struct tls_record *tls_record_unref(struct tls_record *record);

/* Install the callbacks that write @record on @ssl_ctx, which takes a reference. -ENOMEM. */
int tls_record_attach(struct tls_record *record, SSL_CTX *ssl_ctx);
/* Our key signed. Any thread. */
void tls_record_signed(struct tls_record *record);
/* Our key did not sign; takes *@err. Any thread. */
void tls_record_signer_failed(struct tls_record *record, struct agent_error **err);
/* As agent_tls_explain(), at the time @now, while the system clock shows @system_s. */
int tls_record_explain(struct tls_record *record, const struct agent_time_reading *now, uint64_t system_s, struct agent_error **err);
/* As agent_tls_check_time(). */
int tls_record_check_time(struct tls_record *record, int64_t *ret_not_before_s, int64_t *ret_not_after_s, struct agent_error **err);

#endif
