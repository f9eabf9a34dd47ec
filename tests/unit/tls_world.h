/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TLS_WORLD_H
#define TESTS_UNIT_TLS_WORLD_H
/* A root, an issuing authority, a stranger with its name, a server, and handshakes with it that must end in a certain way. */
#include "tests/unit/test.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <agent/openssl.h>
#include <agent/tls.h>

#include "tests/unit/pki.h"
#include "tests/unit/tls_handshake.h"

struct world {
	struct temp_dir dir;
	struct agent_context *ctx;
	EVP_PKEY *root_key, *ca_key, *key, *stranger_key, *delegate_key;
	X509 *root, *ca, *stranger, *cert, *must_staple, *other, *delegate, *no_delegate, *old_delegate;
	char root_file[96], crl_file[96];
	uint8_t *staple;
	int staple_size;
};

static inline X509 *issue(const char *name, const char *usage, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	return pki_cert(&(struct pki_spec){ .common_name = name, .names = "DNS:broker.test", .usage = usage }, key, issuer, issuer_key);
}

static inline int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct pki_spec ca = { .common_name = "Issuing CA", .is_ca = 1 };

	temp_dir_make(&w->dir);
	assert_int_equal(agent_context_new(&w->ctx), 0);
	w->root_key = pki_key();
	w->ca_key = pki_key();
	w->key = pki_key();
	w->stranger_key = pki_key();
	w->delegate_key = pki_key();
	w->root = pki_cert(&(struct pki_spec){ .common_name = "Root", .is_ca = 1 }, w->root_key, NULL, NULL);
	w->ca = pki_cert(&ca, w->ca_key, w->root, w->root_key);
	w->stranger = pki_cert(&ca, w->stranger_key, NULL, NULL); /* the same name, another key */
	/* Told apart by their keys. */
	pki_extension(w->ca, w->root, NID_subject_key_identifier, "hash");
	assert_true(X509_sign(w->ca, w->root_key, EVP_sha256()) > 0);
	pki_extension(w->stranger, w->stranger, NID_subject_key_identifier, "hash");
	assert_true(X509_sign(w->stranger, w->stranger_key, EVP_sha256()) > 0);
	w->cert = issue("broker", "serverAuth", w->key, w->ca, w->ca_key);
	pki_extension(w->cert, w->ca, NID_authority_key_identifier, "keyid:always");
	assert_true(X509_sign(w->cert, w->ca_key, EVP_sha256()) > 0);
	w->other = issue("other", "serverAuth", w->key, w->ca, w->ca_key);
	w->delegate = issue("responder", "OCSPSigning", w->delegate_key, w->ca, w->ca_key);
	w->no_delegate = issue("no responder", "serverAuth", w->delegate_key, w->ca, w->ca_key);
	w->old_delegate = pki_cert(&(struct pki_spec){ .common_name = "responder", .usage = "OCSPSigning", .from_s = -7200, .to_s = -60 }, w->delegate_key, w->ca,
				   w->ca_key);
	w->must_staple = issue("strict", "serverAuth", w->key, w->ca, w->ca_key);
	pki_extension(w->must_staple, w->ca, NID_tlsfeature, "status_request");
	assert_true(X509_sign(w->must_staple, w->ca_key, EVP_sha256()) > 0);
	snprintf(w->root_file, sizeof(w->root_file), "%s/root.pem", w->dir.path);
	snprintf(w->crl_file, sizeof(w->crl_file), "%s/ca.crl", w->dir.path);
	pki_write(w->root_file, w->root);
	*state = w;
	return 0;
}

static inline int teardown(void **state)
{
	struct world *w = *state;
	EVP_PKEY *keys[] = { w->root_key, w->ca_key, w->key, w->stranger_key, w->delegate_key };
	X509 *certs[] = { w->root, w->ca, w->stranger, w->cert, w->must_staple, w->other, w->delegate, w->no_delegate, w->old_delegate };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		EVP_PKEY_free(keys[i]);
	for (size_t i = 0; i < ARRAY_SIZE(certs); i++)
		X509_free(certs[i]);
	OPENSSL_free(w->staple);
	agent_context_unref(w->ctx);
	temp_dir_remove(&w->dir);
	free(w);
	return 0;
}

static inline void write_crl(FILE *f, int is_der, X509 *issuer, EVP_PKEY *key, const X509 *revoked, long from_s, long to_s)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = ASN1_TIME_new();

	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer));
	X509_gmtime_adj(t, from_s);
	X509_CRL_set1_lastUpdate(crl, t);
	if (revoked != NULL) {
		X509_REVOKED *r = X509_REVOKED_new();

		X509_REVOKED_set_serialNumber(r, (ASN1_INTEGER *)(uintptr_t)X509_get0_serialNumber(revoked));
		X509_REVOKED_set_revocationDate(r, t);
		assert_int_equal(X509_CRL_add0_revoked(crl, r), 1);
	}
	X509_gmtime_adj(t, to_s);
	X509_CRL_set1_nextUpdate(crl, t);
	ASN1_TIME_free(t);
	assert_true(X509_CRL_sign(crl, key, EVP_sha256()) > 0);
	assert_int_equal(is_der ? i2d_X509_CRL_fp(f, crl) : PEM_write_X509_CRL(f, crl), 1);
	X509_CRL_free(crl);
}

static inline int staple(SSL *ssl, void *userdata)
{
	const struct world *w = userdata;
	uint8_t *copy;

	if (w->staple == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	copy = OPENSSL_memdup(w->staple, (size_t)w->staple_size);
	assert_int_equal(SSL_set_tlsext_status_ocsp_resp(ssl, copy, w->staple_size), 1);
	return SSL_TLSEXT_ERR_OK;
}

/* ---- handshakes ---- */

static inline SSL_CTX *server_context(struct world *w, X509 *cert, EVP_PKEY *key, X509 *issuer, int max_version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	SSL_CTX_set_security_level(ctx, 0);
	assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	if (issuer != NULL)
		assert_int_equal(SSL_CTX_add1_chain_cert(ctx, issuer), 1);
	SSL_CTX_set_tlsext_status_cb(ctx, staple);
	SSL_CTX_set_tlsext_status_arg(ctx, w);
	SSL_CTX_set_max_proto_version(ctx, max_version);
	return ctx;
}

/* One handshake of a new profile; NULL: it is good. */
static inline void expect(struct world *w, struct agent_tls_options options, SSL_CTX *server_ctx, const char *name, const char *says)
{
	struct agent_error *err = NULL;
	struct agent_tls *tls = NULL;
	int ok, r;

	options.ca_file = options.ca_file != NULL ? options.ca_file : w->root_file;
	options.peer_name = "broker.test";
	assert_int_equal(agent_tls_new(w->ctx, &options, &tls, &err), 0);
	ok = handshake(agent_openssl_ssl_ctx(tls), server_ctx, NULL);
	r = agent_tls_explain(tls, &err);
	if (err != NULL)
		print_message("      %s: %s\n", agent_error_name(err), agent_error_message(err));
	assert_int_equal(ok, name == NULL);
	if (name == NULL) {
		assert_int_equal(r, 0);
		assert_null(err);
	} else {
		assert_non_null(err);
		assert_string_equal(agent_error_name(err), name);
		assert_non_null(strstr(agent_error_message(err), says));
		assert_int_equal(r, agent_error_errno(err));
		agent_error_free(err);
	}
	agent_tls_unref(tls);
}

#endif
