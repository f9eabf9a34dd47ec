/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TLS_CHAIN_H
#define TESTS_UNIT_TLS_CHAIN_H
/*
 * Keys of every kind, certificates in every form, and handshakes that must end in a certain way: each once with the SSL_CTX of the profile, as agentd-link
 * has it, and once on a foreign one, as libcurl hands it to agentd-fetch.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdbool.h>

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include <agent/openssl.h>
#include <agent/tls.h>

#include "tests/unit/pki.h"
#include "tests/unit/tls_handshake.h"

/* ---- keys ---- */

enum kind { RSA_2048, RSA_3072, RSA_PSS, P_256, P_384, P_521, ED_25519, ED_448, RSA_1024, P_224, BRAINPOOL, KINDS };

static inline EVP_PKEY *make_key(enum kind kind)
{
	static const char *const curves[KINDS] = { [P_256] = "P-256", [P_384] = "P-384", [P_521] = "P-521", [P_224] = "P-224", [BRAINPOOL] = "brainpoolP256r1" };
	EVP_PKEY *pkey = NULL;

	if (kind == RSA_PSS) {
		EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);

		assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048), 1);
		assert_int_equal(EVP_PKEY_keygen(ctx, &pkey), 1);
		EVP_PKEY_CTX_free(ctx);
	} else if (curves[kind] != NULL) {
		pkey = EVP_EC_gen(curves[kind]);
	} else if (kind == ED_25519 || kind == ED_448) {
		pkey = EVP_PKEY_Q_keygen(NULL, NULL, kind == ED_25519 ? "ED25519" : "ED448");
	} else {
		pkey = EVP_RSA_gen(kind == RSA_1024 ? 1024 : kind == RSA_2048 ? 2048 : 3072);
	}
	assert_non_null(pkey);
	return pkey;
}

struct world {
	struct temp_dir dir;
	struct agent_context *ctx;
	EVP_PKEY *keys[KINDS], *second, *third;
	char anchors[96], client_file[96];
};

static inline int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	temp_dir_make(&w->dir);
	assert_int_equal(agent_context_new(&w->ctx), 0);
	for (int i = 0; i < KINDS; i++)
		w->keys[i] = make_key((enum kind)i);
	w->second = pki_key();
	w->third = pki_key();
	snprintf(w->anchors, sizeof(w->anchors), "%s/anchors.pem", w->dir.path);
	snprintf(w->client_file, sizeof(w->client_file), "%s/client.pem", w->dir.path);
	*state = w;
	return 0;
}

static inline int teardown(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < KINDS; i++)
		EVP_PKEY_free(w->keys[i]);
	EVP_PKEY_free(w->second);
	EVP_PKEY_free(w->third);
	agent_context_unref(w->ctx);
	temp_dir_remove(&w->dir);
	free(w);
	return 0;
}

/* ---- certificates ---- */

/* Extensions in OpenSSL's config syntax; NULL: none. */
struct form {
	const char *cn, *names, *eku, *ku, *bc, *constraints;
	const char *odd;	/* OID of an extension that nobody knows, with "critical," perhaps before it */
	bool is_v1, has_ids;
	int days_from, days_to;	/* 0, 0: good now */
	const EVP_MD *md;
};

static inline void add(X509 *cert, X509 *issuer, int nid, const char *value)
{
	if (value != NULL)
		pki_extension(cert, issuer, nid, value);
}

static inline void add_odd(X509 *cert, const char *odd)
{
	bool is_critical = strncmp(odd, "critical,", 9) == 0;
	ASN1_OBJECT *oid = OBJ_txt2obj(is_critical ? odd + 9 : odd, 1);
	ASN1_OCTET_STRING *null = ASN1_OCTET_STRING_new();
	X509_EXTENSION *e;

	assert_int_equal(ASN1_OCTET_STRING_set(null, (const uint8_t *)"\5\0", 2), 1);
	e = X509_EXTENSION_create_by_OBJ(NULL, oid, is_critical, null);
	assert_int_equal(X509_add_ext(cert, e, -1), 1);
	X509_EXTENSION_free(e);
	ASN1_OCTET_STRING_free(null);
	ASN1_OBJECT_free(oid);
}

static inline void sign(X509 *cert, EVP_PKEY *key, const EVP_MD *md)
{
	bool is_ed = EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");

	assert_true(X509_sign(cert, key, is_ed ? NULL : md != NULL ? md : EVP_sha256()) > 0);
}

/* @issuer NULL: self-signed. */
static inline X509 *make(const struct form *f, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	static long serial = 1;
	X509 *cert = X509_new(), *by = issuer == NULL ? cert : issuer;
	X509_NAME *name = X509_get_subject_name(cert);

	assert_int_equal(X509_set_version(cert, f->is_v1 ? X509_VERSION_1 : X509_VERSION_3), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(cert), f->days_from == 0 && f->days_to == 0 ? -3600 : f->days_from * 86400L);
	X509_gmtime_adj(X509_getm_notAfter(cert), f->days_from == 0 && f->days_to == 0 ? 3600 : f->days_to * 86400L);
	assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)f->cn, -1, -1, 0), 1);
	X509_set_issuer_name(cert, X509_get_subject_name(by));
	X509_set_pubkey(cert, key);
	add(cert, by, NID_basic_constraints, f->bc);
	add(cert, by, NID_subject_alt_name, f->names);
	add(cert, by, NID_ext_key_usage, f->eku);
	add(cert, by, NID_key_usage, f->ku);
	add(cert, by, NID_name_constraints, f->constraints);
	if (f->has_ids) {
		add(cert, by, NID_subject_key_identifier, "hash");
		add(cert, by, NID_authority_key_identifier, "keyid:always");
	}
	if (f->odd != NULL)
		add_odd(cert, f->odd);
	sign(cert, issuer_key == NULL ? key : issuer_key, f->md);
	return cert;
}

#define GOOD_BC .bc = "critical,CA:TRUE"
#define ROOT { .cn = "Root", GOOD_BC }
#define SUB { .cn = "Issuing CA", GOOD_BC }
#define LEAF .cn = "broker", .names = "DNS:broker.test", .eku = "serverAuth"
static const struct form root_form = ROOT, sub_form = SUB, leaf_form = { LEAF, .bc = "critical,CA:FALSE" };

/* ---- handshakes ---- */

static inline void write_anchors(const struct world *w, X509 *const *certs, size_t n)
{
	FILE *f = fopen(w->anchors, "w");

	assert_non_null(f);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(PEM_write_X509(f, certs[i]), 1);
	assert_int_equal(fclose(f), 0);
}

/* What the server has and shows: @certs[0] is its own. */
static inline SSL_CTX *serve(X509 *const *certs, size_t n, EVP_PKEY *key, int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	SSL_CTX_set_security_level(ctx, 0);
	assert_int_equal(SSL_CTX_use_certificate(ctx, certs[0]), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	for (size_t i = 1; i < n; i++)
		assert_int_equal(SSL_CTX_add1_chain_cert(ctx, certs[i]), 1);
	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	return ctx;
}

/* @name NULL: it has to be good. */
static inline void expect_with(struct world *w, struct agent_tls_options options, SSL_CTX *server, const char *name, const char *says)
{
	options.ca_file = w->anchors;
	for (int is_foreign = 0; is_foreign <= 1; is_foreign++) {
		SSL_CTX *foreign = is_foreign ? SSL_CTX_new(TLS_client_method()) : NULL;
		struct agent_error *err = NULL;
		struct agent_tls *tls = NULL;
		int ok, r;

		assert_int_equal(agent_tls_new(w->ctx, &options, &tls, &err), 0);
		if (is_foreign)
			assert_int_equal(agent_openssl_configure(tls, foreign, NULL), 0);
		ok = handshake(is_foreign ? foreign : agent_openssl_ssl_ctx(tls), server, NULL);
		r = agent_tls_explain(tls, &err);
		if (err != NULL && !is_foreign)
			print_message("      %s: %s\n", agent_error_name(err), agent_error_message(err));
		assert_int_equal(ok, name == NULL);
		if (name != NULL) {
			assert_true(r < 0 && err != NULL);
			assert_string_equal(agent_error_name(err), name);
			if (strstr(agent_error_message(err), says) == NULL)
				fail_msg("\"%s\" does not say \"%s\"", agent_error_message(err), says);
		} else {
			assert_int_equal(r, 0);
		}
		agent_error_free(err);
		agent_tls_unref(tls);
		SSL_CTX_free(foreign);
	}
}

static inline void expect(struct world *w, const char *peer_name, SSL_CTX *server, const char *name, const char *says)
{
	expect_with(w, (struct agent_tls_options){ .peer_name = peer_name }, server, name, says);
}

#endif
