/* SPDX-License-Identifier: Apache-2.0 */
/* What TLS may be here, for every connection of the agent: one row for each kind. RFC 9325 sections 3.1 to 4.2, RFC 8446. */
#include <errno.h>
#include <stdbool.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <agent/openssl.h>

#include "base/macro.h"
#include "net/tls_cert.h"

static const struct {
	int min, max;		/* version; 0: the newest there is */
	const char *suites_12;	/* NULL: no TLS 1.2. AES-CBC and static key exchange are what it must not bring along */
	const char *groups, *older_groups; /* the second list if OpenSSL does not know all of the first */
	unsigned tickets;	/* a server gives out; in a client and where certificates are asked for, a ticket would stand in for key and check */
} profiles[] = {
	[AGENT_TLS_CLIENT] = { .min = TLS1_3_VERSION, .groups = "X25519:P-256" },
	/* In TLS 1.2 the list speaks of the keys of certificates as well: RFC 8422 section 5.1. */
	[AGENT_TLS_CLIENT_OLD] = { .min = TLS1_2_VERSION, .suites_12 = "ECDHE+AESGCM:ECDHE+CHACHA20", .groups = "X25519:P-256:P-384:P-521" },
	/* The hybrid group is there from OpenSSL 3.5 on. */
	[AGENT_TLS_SERVER] = { .min = TLS1_3_VERSION, .max = TLS1_3_VERSION, .groups = "X25519MLKEM768:X25519:P-256", .older_groups = "X25519:P-256",
			       .tickets = 1 },
	[AGENT_TLS_SERVER_MUTUAL] = { .min = TLS1_3_VERSION, .max = TLS1_3_VERSION, .groups = "X25519MLKEM768:X25519:P-256",
				      .older_groups = "X25519:P-256" },
};
#define SUITES_13 "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"

int agent_openssl_restrict(SSL_CTX *ssl_ctx, enum agent_tls_profile profile, struct agent_error **err)
{
	bool ok;

	if (ssl_ctx == NULL || (size_t)profile >= ARRAY_SIZE(profiles))
		return agent_error_set(err, -EINVAL, "tls.options", "no SSL_CTX, or a profile that does not exist");
	/* Early data is offered to nobody. What somebody sends all the same is skipped, up to OpenSSL's bound: RFC 8446 section 4.2.10. */
	ok = SSL_CTX_set_min_proto_version(ssl_ctx, profiles[profile].min) == 1 &&
	     SSL_CTX_set_max_proto_version(ssl_ctx, profiles[profile].max) == 1 && SSL_CTX_set_ciphersuites(ssl_ctx, SUITES_13) == 1 &&
	     (profiles[profile].suites_12 == NULL || SSL_CTX_set_cipher_list(ssl_ctx, profiles[profile].suites_12) == 1) &&
	     (SSL_CTX_set1_groups_list(ssl_ctx, profiles[profile].groups) == 1 ||
	      (profiles[profile].older_groups != NULL && SSL_CTX_set1_groups_list(ssl_ctx, profiles[profile].older_groups) == 1)) &&
	     SSL_CTX_set1_sigalgs_list(ssl_ctx, TLS_CERT_SIGALGS) == 1 && SSL_CTX_set_num_tickets(ssl_ctx, profiles[profile].tickets) == 1 &&
	     SSL_CTX_set_max_early_data(ssl_ctx, 0) == 1;
	ERR_clear_error();
	if (!ok)
		return agent_error_set(err, -EIO, "tls.openssl", "OpenSSL cannot restrict TLS to our profile");
	SSL_CTX_set_security_level(ssl_ctx, 2); /* 112 bits: RSA from 2048, no SHA-1 signatures */
	SSL_CTX_set_options(ssl_ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | (profiles[profile].tickets == 0 ? SSL_OP_NO_TICKET : 0));
	SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_OFF);
	return 0;
}
