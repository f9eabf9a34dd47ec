/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TLS_HANDSHAKE_H
#define TESTS_UNIT_TLS_HANDSHAKE_H
/* A TLS handshake in memory. */
#include "tests/unit/test.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

struct handshake {
	char sni[64], client[64];	/* what the server was asked for, common name of the client's certificate */
	int version;
};

/*
 * Both ends in this thread over a pair of memory BIOs. 1 when both are content, after the client has read once more: in TLS 1.3 it is done before the
 * server has looked at its certificate. @ret may be NULL.
 */
static inline int handshake(SSL_CTX *client_ctx, SSL_CTX *server_ctx, struct handshake *ret)
{
	SSL *client = SSL_new(client_ctx), *server = SSL_new(server_ctx);
	int c = -1, s = -1, ok;
	BIO *a, *b;
	char byte;

	assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
	SSL_set_bio(client, a, a);
	SSL_set_bio(server, b, b);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	for (int i = 0; i < 20 && (c != 1 || s != 1); i++) {
		if (c != 1)
			c = SSL_do_handshake(client);
		if (s != 1)
			s = SSL_do_handshake(server);
	}
	ok = SSL_read(client, &byte, 1);
	ok = c == 1 && s == 1 && SSL_get_error(client, ok) == SSL_ERROR_WANT_READ && SSL_session_reused(client) == 0;
	if (ret != NULL) {
		const char *sni = SSL_get_servername(server, TLSEXT_NAMETYPE_host_name);
		X509 *cert = SSL_get0_peer_certificate(server);

		*ret = (struct handshake){ .version = SSL_version(client) };
		snprintf(ret->sni, sizeof(ret->sni), "%s", sni == NULL ? "" : sni);
		if (cert != NULL)
			X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, ret->client, (int)sizeof(ret->client));
	}
	SSL_free(client);
	SSL_free(server);
	ERR_clear_error();
	return ok;
}

#endif
