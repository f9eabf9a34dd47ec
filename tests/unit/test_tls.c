/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <agent/openssl.h>
#include <agent/tls.h>

#include "net/tls.h"
#include "net/tls_reason.h"
#include "tests/unit/pki.h"
#include "tests/unit/tls_handshake.h"

struct pki {
	struct temp_dir dir;
	struct agent_context *ctx;
	EVP_PKEY *ca_key, *other_ca_key, *server_key, *client_key, *other_key;
	X509 *ca, *other_ca, *client;
	char ca_file[96], other_ca_file[96], client_file[96], junk_file[96], crl_file[96];
	struct pki_signer software;
	struct agent_signer *signer;
};

static void path_in(const struct pki *pki, char *path, const char *name)
{
	snprintf(path, 96, "%s/%s", pki->dir.path, name);
}

/* Of an authority that is in no chain here. */
static void write_crl(const struct pki *pki)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = X509_gmtime_adj(NULL, -60);
	FILE *f = fopen(pki->crl_file, "w");

	assert_non_null(f);
	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(pki->client));
	X509_CRL_set1_lastUpdate(crl, t);
	X509_gmtime_adj(t, 3600);
	X509_CRL_set1_nextUpdate(crl, t);
	assert_true(X509_CRL_sign(crl, pki->client_key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509_CRL(f, crl), 1);
	assert_int_equal(fclose(f), 0);
	ASN1_TIME_free(t);
	X509_CRL_free(crl);
}

static int setup(void **state)
{
	struct pki *pki = calloc(1, sizeof(*pki));
	struct pki_spec client = { .common_name = "gw-0001", .usage = "clientAuth" };
	FILE *f;

	temp_dir_make(&pki->dir);
	assert_int_equal(agent_context_new(&pki->ctx), 0);
	pki->ca_key = pki_key();
	pki->other_ca_key = pki_key();
	pki->server_key = pki_key();
	pki->client_key = pki_key();
	pki->other_key = pki_key();
	pki->ca = pki_cert(&(struct pki_spec){ .common_name = "Test CA", .is_ca = 1 }, pki->ca_key, NULL, NULL);
	pki->other_ca = pki_cert(&(struct pki_spec){ .common_name = "Other CA", .is_ca = 1 }, pki->other_ca_key, NULL, NULL);
	pki->client = pki_cert(&client, pki->client_key, pki->ca, pki->ca_key);
	path_in(pki, pki->ca_file, "ca.pem");
	path_in(pki, pki->other_ca_file, "other.pem");
	path_in(pki, pki->client_file, "client.pem");
	path_in(pki, pki->junk_file, "junk.pem");
	path_in(pki, pki->crl_file, "other.crl");
	pki_write(pki->ca_file, pki->ca);
	pki_write(pki->other_ca_file, pki->other_ca);
	pki_write(pki->client_file, pki->client);
	f = fopen(pki->junk_file, "w");
	assert_non_null(f);
	fputs("no certificate here\n", f);
	fclose(f);
	pki->software.pkey = pki->client_key;
	pki->signer = pki_signer_new(&pki->software);
	write_crl(pki);
	*state = pki;
	return 0;
}

static int teardown(void **state)
{
	struct pki *pki = *state;

	agent_signer_unref(pki->signer);
	X509_free(pki->ca);
	X509_free(pki->other_ca);
	X509_free(pki->client);
	EVP_PKEY_free(pki->ca_key);
	EVP_PKEY_free(pki->other_ca_key);
	EVP_PKEY_free(pki->server_key);
	EVP_PKEY_free(pki->client_key);
	EVP_PKEY_free(pki->other_key);
	agent_context_unref(pki->ctx);
	temp_dir_remove(&pki->dir);
	free(pki);
	return 0;
}

struct server {
	struct pki_spec cert;
	int by_other_ca;
	int max_version;	/* 0: newest */
	const char *ciphers;	/* TLS 1.2, or NULL */
	int wants_client_cert;
	int refuses_clients;	/* does not know the CA of the client's certificate */
};

static SSL_CTX *server_context(const struct pki *pki, const struct server *server)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	X509 *cert;

	assert_non_null(ctx);
	cert = pki_cert(&server->cert, pki->server_key, server->by_other_ca ? pki->other_ca : pki->ca,
			server->by_other_ca ? pki->other_ca_key : pki->ca_key);
	assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, pki->server_key), 1);
	X509_free(cert);
	if (server->max_version != 0)
		SSL_CTX_set_max_proto_version(ctx, server->max_version);
	if (server->ciphers != NULL)
		assert_int_equal(SSL_CTX_set_cipher_list(ctx, server->ciphers), 1);
	if (server->wants_client_cert) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), server->refuses_clients ? pki->other_ca : pki->ca);
	}
	return ctx;
}

#define GOOD .cert = { .common_name = "broker", .names = "DNS:broker.test,IP:192.0.2.7,IP:2001:db8::7", .usage = "serverAuth" }

static const struct {
	const char *claim;
	struct server server;
	const char *peer_name;
	int with_client_cert, allow_tls12, wrong_anchor;
	const char *error;	/* NULL: connects */
	int errnum;
	const char *says;	/* part of the sentence */
} cases[] = {
	{ "right name and anchor connect", { GOOD }, "broker.test", 0, 0, 0, NULL, 0, NULL },
	{ "an IPv4 literal is matched as an address", { GOOD }, "192.0.2.7", 0, 0, 0, NULL, 0, NULL },
	{ "an IPv6 literal is matched as an address", { GOOD }, "2001:db8::7", 0, 0, 0, NULL, 0, NULL },
	{ "another address is refused", { GOOD }, "192.0.2.8", 0, 0, 0, "tls.name", -EKEYREJECTED, "not for the address 192.0.2.8" },
	{ "another name is refused and both names are told", { GOOD }, "other.test", 0, 0, 0, "tls.name", -EKEYREJECTED, "broker.test" },
	{ "the common name is not a name", { .cert = { .common_name = "broker.test", .names = "DNS:x.test", .usage = "serverAuth" } },
	  "broker.test", 0, 0, 0, "tls.name", -EKEYREJECTED, "x.test" },
	{ "a partial wildcard matches nothing", { .cert = { .common_name = "b", .names = "DNS:bro*.test", .usage = "serverAuth" } },
	  "broker.test", 0, 0, 0, "tls.name", -EKEYREJECTED, "bro*.test" },
	{ "another issuer is refused", { GOOD, .by_other_ca = 1 }, "broker.test", 0, 0, 0, "tls.issuer", -EKEYREJECTED, "Other CA" },
	{ "only our anchors count", { GOOD }, "broker.test", 0, 0, 1, "tls.issuer", -EKEYREJECTED, "trust anchors" },
	{ "an expired certificate is refused", { .cert = { .common_name = "broker", .names = "DNS:broker.test", .from_s = -7200, .to_s = -60 } },
	  "broker.test", 0, 0, 0, "tls.expired", -EKEYREJECTED, "expired on" },
	{ "a coming certificate is refused and the clock named",
	  { .cert = { .common_name = "broker", .names = "DNS:broker.test", .from_s = 3600, .to_s = 7200 } },
	  "broker.test", 0, 0, 0, "tls.not-yet-valid", -EKEYREJECTED, "our clock is the likely cause" },
	{ "a client's certificate is not a server's", { .cert = { .common_name = "b", .names = "DNS:broker.test", .usage = "clientAuth" } },
	  "broker.test", 0, 0, 0, "tls.purpose", -EKEYREJECTED, "serverAuth" },
	{ "a server with TLS 1.2 only is refused", { GOOD, .max_version = TLS1_2_VERSION }, "broker.test", 0, 0, 0, "tls.version",
	  -EPROTONOSUPPORT, "version" },
	{ "TLS 1.2 is accepted when asked for", { GOOD, .max_version = TLS1_2_VERSION }, "broker.test", 0, 1, 0, NULL, 0, NULL },
	{ "TLS 1.2 without AEAD is refused also then",
	  { GOOD, .max_version = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-AES128-SHA256" }, "broker.test", 0, 1, 0, "tls.parameters", -EPROTO, "alert" },
	{ "TLS 1.1 is refused also then", { GOOD, .max_version = TLS1_1_VERSION, .ciphers = "ALL:@SECLEVEL=0" }, "broker.test", 0, 1, 0,
	  "tls.version", -EPROTONOSUPPORT, "version" },
	{ "our certificate is shown when asked for", { GOOD, .wants_client_cert = 1 }, "broker.test", 1, 0, 0, NULL, 0, NULL },
	{ "the same over TLS 1.2", { GOOD, .wants_client_cert = 1, .max_version = TLS1_2_VERSION }, "broker.test", 1, 1, 0, NULL, 0, NULL },
	{ "a server that wants a certificate says so", { GOOD, .wants_client_cert = 1 }, "broker.test", 0, 0, 0, "tls.alert", -EACCES,
	  "demands a client certificate" },
	{ "a server that refuses our certificate says so", { GOOD, .wants_client_cert = 1, .refuses_clients = 1 }, "broker.test", 1, 0, 0,
	  "tls.alert", -EACCES, "refused our certificate: unknown CA" },
};

static void handshakes_end_as_the_table_says(void **state)
{
	struct pki *pki = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct agent_tls_options options = {
			.ca_file = cases[i].wrong_anchor ? pki->other_ca_file : pki->ca_file,
			.peer_name = cases[i].peer_name,
			.allow_tls12 = cases[i].allow_tls12,
		};
		struct agent_error *err = NULL;
		struct agent_tls *tls = NULL;
		SSL_CTX *server_ctx = server_context(pki, &cases[i].server);
		struct handshake seen;
		int ok, r;

		print_message("    %s\n", cases[i].claim);
		if (cases[i].with_client_cert) {
			options.cert_file = pki->client_file;
			options.signer = pki->signer;
		}
		assert_int_equal(agent_tls_new(pki->ctx, &options, &tls, &err), 0);
		ok = handshake(agent_openssl_ssl_ctx(tls), server_ctx, &seen);
		r = agent_tls_explain(tls, &err);
		if (err != NULL)
			print_message("      %s: %s\n", agent_error_name(err), agent_error_message(err));
		assert_int_equal(ok, cases[i].error == NULL);
		assert_int_equal(r, cases[i].errnum);
		if (cases[i].error != NULL) {
			assert_non_null(strstr(agent_error_message(err), cases[i].says));
			assert_error(&err, cases[i].errnum, cases[i].error);
		} else {
			assert_null(err);
			assert_string_equal(seen.sni, strchr(cases[i].peer_name, ':') || cases[i].peer_name[0] == '1' ? "" : cases[i].peer_name);
			assert_string_equal(seen.client, cases[i].with_client_cert ? "gw-0001" : "");
			assert_int_equal(seen.version, cases[i].server.max_version != 0 ? cases[i].server.max_version : TLS1_3_VERSION);
		}
		SSL_CTX_free(server_ctx);
		agent_tls_unref(tls);
	}
}

static void a_failing_signer_is_named_before_the_peers_alert(void **state)
{
	struct pki *pki = *state;
	struct agent_tls_options options = {
		.ca_file = pki->ca_file, .peer_name = "broker.test", .cert_file = pki->client_file, .signer = pki->signer,
	};
	struct server server = { GOOD, .wants_client_cert = 1 };
	SSL_CTX *server_ctx = server_context(pki, &server);
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_tls *tls = NULL;
	unsigned n = pki->software.n_signatures;

	assert_int_equal(agent_tls_new(pki->ctx, &options, &tls, NULL), 0);
	assert_int_equal(pki->software.n_signatures, n);	/* none to set up */
	pki->software.is_broken = 1;
	assert_int_equal(handshake(agent_openssl_ssl_ctx(tls), server_ctx, NULL), 0);
	assert_int_equal(agent_tls_explain(tls, &err), -EIO);
	assert_non_null(strstr(agent_error_message(err), "the test key is out of order"));
	assert_error(&err, -EIO, "tls.signer");
	/* The next handshake works, with one signature, and the old reason is gone. */
	pki->software.is_broken = 0;
	assert_int_equal(handshake(agent_openssl_ssl_ctx(tls), server_ctx, NULL), 1);
	assert_int_equal(pki->software.n_signatures, n + 1);
	assert_int_equal(agent_tls_explain(tls, &err), 0);
	assert_null(err);
	SSL_CTX_free(server_ctx);
	agent_tls_unref(tls);
}

/* An alert before our key signed says nothing about the certificate: nobody has seen it, and anybody can send one. */
static void who_has_seen_our_certificate_is_known(void **state)
{
	static const uint8_t alert[] = { 21, 3, 3, 0, 2, 2, TLS1_AD_UNKNOWN_CA };
	struct pki *pki = *state;
	struct agent_tls_options options = {
		.ca_file = pki->ca_file, .peer_name = "broker.test", .cert_file = pki->client_file, .signer = pki->signer, .allow_tls12 = 1,
	};
	struct server refusing = { GOOD, .wants_client_cert = 1, .refuses_clients = 1 }, wrong = { GOOD, .by_other_ca = 1, .wants_client_cert = 1 };
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_tls *tls = NULL;
	SSL_CTX *server_ctx;
	SSL *client;
	BIO *in = BIO_new_mem_buf(alert, sizeof(alert));

	assert_int_equal(agent_tls_new(pki->ctx, &options, &tls, NULL), 0);
	assert_int_equal(agent_tls_take_shown(tls), AGENT_TLS_NOT_SHOWN);
	for (int old = 0; old <= 1; old++) {
		refusing.max_version = old ? TLS1_2_VERSION : 0;
		server_ctx = server_context(pki, &refusing);
		assert_int_equal(handshake(agent_openssl_ssl_ctx(tls), server_ctx, NULL), 0);
		assert_int_equal(agent_tls_take_shown(tls), old ? AGENT_TLS_SHOWN : AGENT_TLS_REFUSED);
		assert_int_equal(agent_tls_take_shown(tls), AGENT_TLS_NOT_SHOWN);
		SSL_CTX_free(server_ctx);
	}
	server_ctx = server_context(pki, &wrong);
	assert_int_equal(handshake(agent_openssl_ssl_ctx(tls), server_ctx, NULL), 0);
	assert_int_equal(agent_tls_take_shown(tls), AGENT_TLS_NOT_SHOWN);
	SSL_CTX_free(server_ctx);
	/* Somebody on the way. */
	client = SSL_new(agent_openssl_ssl_ctx(tls));
	SSL_set_bio(client, in, BIO_new(BIO_s_mem()));
	assert_int_not_equal(SSL_connect(client), 1);
	ERR_clear_error();
	SSL_free(client);
	assert_int_equal(agent_tls_explain(tls, &err), -EACCES);
	assert_error(&err, -EACCES, "tls.alert");
	assert_int_equal(agent_tls_take_shown(tls), AGENT_TLS_NOT_SHOWN);
	agent_tls_unref(tls);
}

static void a_profile_goes_onto_a_foreign_ssl_ctx(void **state)
{
	struct pki *pki = *state;
	struct agent_tls_options options = {
		.ca_file = pki->ca_file, .peer_name = "other.test", .cert_file = pki->client_file, .signer = pki->signer,
	};
	struct server server = { GOOD, .wants_client_cert = 1 };
	SSL_CTX *server_ctx = server_context(pki, &server), *foreign;
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_tls *tls = NULL;
	struct handshake seen;

	for (int right = 0; right <= 1; right++) {
		foreign = SSL_CTX_new(TLS_client_method());	/* in the global library context, as libcurl does */
		options.peer_name = right ? "broker.test" : "other.test";
		assert_int_equal(agent_tls_new(pki->ctx, &options, &tls, NULL), 0);
		assert_int_equal(agent_openssl_configure(tls, foreign, &err), 0);
		assert_int_equal(SSL_CTX_get_options(foreign) & SSL_OP_IGNORE_UNEXPECTED_EOF, 0);
		assert_int_equal(handshake(foreign, server_ctx, &seen), right);
		if (right) {
			assert_string_equal(seen.client, "gw-0001");
		} else {
			assert_int_equal(agent_tls_explain(tls, &err), -EKEYREJECTED);
			assert_error(&err, -EKEYREJECTED, "tls.name");
		}
		agent_tls_unref(tls);
		SSL_CTX_free(foreign);	/* outlives the profile */
	}
	assert_int_equal(agent_openssl_configure(NULL, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tls.options");
	SSL_CTX_free(server_ctx);
}

static void the_profile_is_strict(void **state)
{
	struct pki *pki = *state;
	struct agent_tls_options options = { .ca_file = pki->ca_file, .peer_name = "broker.test" };
	struct agent_tls *tls = NULL;
	SSL_CTX *ctx;

	assert_int_equal(agent_tls_new(pki->ctx, &options, &tls, NULL), 0);
	ctx = agent_openssl_ssl_ctx(tls);
	assert_int_equal(SSL_CTX_get_min_proto_version(ctx), TLS1_3_VERSION);
	assert_int_equal(SSL_CTX_get_verify_mode(ctx), SSL_VERIFY_PEER);
	assert_true(SSL_CTX_get_options(ctx) & SSL_OP_NO_COMPRESSION);
	assert_true(SSL_CTX_get_options(ctx) & SSL_OP_NO_RENEGOTIATION);
	assert_true(SSL_CTX_get_options(ctx) & SSL_OP_NO_TICKET);
	assert_true(SSL_CTX_get_options(ctx) & SSL_OP_IGNORE_UNEXPECTED_EOF);
	assert_int_equal(SSL_CTX_get_session_cache_mode(ctx), SSL_SESS_CACHE_OFF);
	assert_ptr_equal(agent_tls_ref(tls), tls);
	assert_null(agent_tls_unref(tls));
	assert_null(agent_tls_unref(tls));
	assert_null(agent_tls_unref(NULL));
	assert_null(agent_openssl_ssl_ctx(NULL));
}

static void bad_options_and_files_are_refused(void **state)
{
	struct pki *pki = *state;
	struct pki_signer other = { .pkey = pki->other_key };
	struct agent_signer *other_signer = pki_signer_new(&other);
	const struct {
		struct agent_tls_options options;
		int errnum;
		const char *name;
	} bad[] = {
		{ { .peer_name = "broker.test" }, -EINVAL, "tls.options" },
		{ { .ca_file = pki->ca_file }, -EINVAL, "tls.options" },
		{ { .ca_file = pki->ca_file, .peer_name = "" }, -EINVAL, "tls.options" },
		{ { .ca_file = pki->ca_file, .peer_name = "b", .cert_file = pki->client_file }, -EINVAL, "tls.options" },
		{ { .ca_file = pki->ca_file, .peer_name = "b", .signer = pki->signer }, -EINVAL, "tls.options" },
		{ { .ca_file = "/nonexistent/ca.pem", .peer_name = "b" }, -ENOENT, "file.open" },
		{ { .ca_file = pki->dir.path, .peer_name = "b" }, -EINVAL, "file.read" },
		{ { .ca_file = pki->junk_file, .peer_name = "b" }, -EBADMSG, "tls.file" },
		{ { .ca_file = pki->ca_file, .peer_name = "b", .cert_file = pki->junk_file, .signer = pki->signer }, -EBADMSG, "tls.file" },
		{ { .ca_file = pki->ca_file, .peer_name = "b", .cert_file = pki->client_file, .signer = other_signer }, -EKEYREJECTED, "tls.key" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct agent_tls *tls = NULL;

		assert_int_equal(agent_tls_new(pki->ctx, &bad[i].options, &tls, &err), bad[i].errnum);
		assert_error(&err, bad[i].errnum, bad[i].name);
		assert_null(tls);
	}
	agent_signer_unref(other_signer);
}

static void an_unset_clock_is_blamed_for_an_expired_certificate(void **state)
{
	struct tls_record *record = NULL;
	_cleanup_error_ struct agent_error *err = NULL;

	struct agent_time_reading now = { .state = AGENT_TIME_FLOOR, .now_s = 1793491200, .floor_s = 1793491200 };

	assert_int_equal(tls_record_new("broker.test", NULL, &record), 0);
	assert_int_equal(tls_record_explain(record, &now, 0, &err), 0);
	record->verify_error = X509_V_ERR_CERT_HAS_EXPIRED;
	assert_int_equal(tls_record_explain(record, &now, 1000, &err), -EKEYREJECTED);
	assert_non_null(strstr(agent_error_message(err), "our clock is the likely cause: it shows 1970-01-01 00:16:40 UTC"));
	assert_non_null(strstr(agent_error_message(err), "it is now 2026-11-01 00:00:00 UTC"));
	assert_error(&err, -EKEYREJECTED, "tls.expired");
	now = (struct agent_time_reading){ .state = AGENT_TIME_NETWORK, .now_s = 4000000000, .floor_s = 1793491200 };
	assert_int_equal(tls_record_explain(record, &now, 4000000000, &err), -EKEYREJECTED);
	assert_null(strstr(agent_error_message(err), "clock"));
	assert_non_null(strstr(agent_error_message(err), "2096-10-02 07:06:40 UTC"));
	/* What begins later: who knows the time for sure does not doubt it, who has it from the network does. */
	record->verify_error = X509_V_ERR_CERT_NOT_YET_VALID;
	for (int known = AGENT_TIME_NETWORK; known <= AGENT_TIME_AUTHENTICATED; known++) {
		now.state = (enum agent_time_state)known;
		assert_int_equal(tls_record_explain(record, &now, 4000000000, &err), -EKEYREJECTED);
		assert_int_equal(strstr(agent_error_message(err), "our clock") != NULL, known == AGENT_TIME_NETWORK);
		assert_error(&err, -EKEYREJECTED, "tls.not-yet-valid");
	}
	tls_record_unref(record);
}

/* An authority that was renewed with its old key: both certificates lie in the file, in either order. */
static void the_anchor_that_is_good_now_counts(void **state)
{
	struct pki *pki = *state;
	X509 *old = pki_cert(&(struct pki_spec){ .common_name = "Test CA", .is_ca = 1, .from_s = -7200, .to_s = -60 }, pki->ca_key, NULL, NULL);
	X509 *coming = pki_cert(&(struct pki_spec){ .common_name = "Test CA", .is_ca = 1, .from_s = 3600, .to_s = 7200 }, pki->ca_key, NULL, NULL);
	X509 *const lists[][3] = { { old, pki->ca }, { pki->ca, old }, { coming, old, pki->ca }, { old }, { old, coming } };
	struct server server = { GOOD };
	SSL_CTX *server_ctx = server_context(pki, &server);
	char path[96];

	path_in(pki, path, "both.pem");
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		/* A list that need not be there may be missing for both. */
		struct agent_tls_options options = { .ca_file = path, .peer_name = "broker.test", .crl = AGENT_TLS_CRL_IF_PRESENT, .crl_file = pki->crl_file };
		struct agent_error *err = NULL;
		struct agent_tls *tls = NULL;
		FILE *f = fopen(path, "w");
		int64_t begin_s = 0, end_s = 0;

		assert_non_null(f);
		for (size_t n = 0; n < 3 && lists[i][n] != NULL; n++)
			assert_int_equal(PEM_write_X509(f, lists[i][n]), 1);
		assert_int_equal(fclose(f), 0);
		assert_int_equal(agent_tls_new(pki->ctx, &options, &tls, &err), 0);
		assert_int_equal(handshake(agent_openssl_ssl_ctx(tls), server_ctx, NULL), i < 3);
		assert_int_equal(agent_tls_check_time(tls, &begin_s, &end_s, NULL), 0);
		if (i < 3) {
			assert_int_equal(agent_tls_explain(tls, &err), 0);
			assert_true(begin_s < end_s && end_s > (int64_t)time(NULL));
		} else {
			assert_int_equal(agent_tls_explain(tls, &err), -EKEYREJECTED);
			/* Of two that are not good either may be named. */
			if (i == 3)
				assert_string_equal(agent_error_name(err), "tls.expired");
			assert_int_equal(begin_s, 0);
			agent_error_free(err);
		}
		agent_tls_unref(tls);
	}
	SSL_CTX_free(server_ctx);
	X509_free(old);
	X509_free(coming);
}

/* agentd-link has none of OpenSSL's own in memory. */
static void texts_of_reasons_are_those_of_openssl(void **state)
{
	char buf[OPENSSL_ERROR_TEXT];
	int n = 0;

	assert_int_equal(OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS, NULL), 1);
	for (int reason = 100; reason < 600; reason++) {
		const char *text = ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, reason));

		if (text == NULL)
			continue;
		assert_string_equal(tls_reason_text(ERR_PACK(ERR_LIB_SSL, 0, reason), buf), text);
		n++;
	}
	assert_true(n > 250);
	assert_string_equal(tls_reason_text(ERR_PACK(ERR_LIB_SSL, 0, 4000), buf), "OpenSSL error 0A000FA0, see openssl errstr");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshakes_end_as_the_table_says),
		cmocka_unit_test(a_failing_signer_is_named_before_the_peers_alert),
		cmocka_unit_test(who_has_seen_our_certificate_is_known),
		cmocka_unit_test(a_profile_goes_onto_a_foreign_ssl_ctx),
		cmocka_unit_test(the_profile_is_strict),
		cmocka_unit_test(bad_options_and_files_are_refused),
		cmocka_unit_test(an_unset_clock_is_blamed_for_an_expired_certificate),
		cmocka_unit_test(the_anchor_that_is_good_now_counts),
		cmocka_unit_test(texts_of_reasons_are_those_of_openssl),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
