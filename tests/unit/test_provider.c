/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>

#include <agent/cert.h>
#include <agent/openssl.h>

#include "crypto/openssl_error.h"
#include "crypto/provider.h"
#include "tests/unit/software_signer.h"

static const enum agent_key_type all_types[] = { AGENT_KEY_EC_P256, AGENT_KEY_EC_P384, AGENT_KEY_RSA_2048, AGENT_KEY_RSA_3072 };

struct fixture {
	struct agent_context *ctx;
	OSSL_LIB_CTX *libctx;
	struct software_key key;
	struct agent_signer *signer;
	EVP_PKEY *pkey;
};

static void fixture_make(struct fixture *f, enum agent_key_type type)
{
	*f = (struct fixture){ 0 };
	assert_int_equal(agent_context_new(&f->ctx), 0);
	assert_int_equal(agent_openssl_libctx(f->ctx, &f->libctx, NULL), 0);
	f->signer = software_signer(&f->key, type);
	assert_non_null(f->signer);
	assert_int_equal(agent_openssl_pkey(f->ctx, f->signer, &f->pkey, NULL), 0);
	assert_int_equal(ERR_peek_error(), 0);
}

static void fixture_free(struct fixture *f)
{
	EVP_PKEY_free(f->pkey);
	agent_signer_unref(f->signer);
	assert_int_equal(f->key.n_frees, 1);
	agent_context_unref(f->ctx);
	ERR_clear_error();
}

static X509 *self_signed(struct fixture *f, EVP_PKEY *pkey)
{
	X509 *cert = X509_new_ex(f->libctx, NULL);
	X509_NAME *name = X509_get_subject_name(cert);

	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	assert_int_equal(X509_set_pubkey(cert, pkey), 1);
	assert_true(X509_sign(cert, pkey, EVP_sha256()) > 0);
	return cert;
}

static void the_private_half_is_never_exported_and_the_public_half_is(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(all_types); i++) {
		struct fixture f;
		OSSL_PARAM *params = NULL;
		uint8_t *der = NULL;
		BIO *bio = BIO_new(BIO_s_mem());

		fixture_make(&f, all_types[i]);
		assert_int_equal(EVP_PKEY_todata(f.pkey, EVP_PKEY_KEYPAIR, &params), 0);
		assert_null(params);
		assert_int_equal(EVP_PKEY_todata(f.pkey, EVP_PKEY_PUBLIC_KEY, &params), 1);
		assert_non_null(params);
		OSSL_PARAM_free(params);
		assert_true(i2d_PrivateKey(f.pkey, &der) <= 0);
		assert_int_equal(PEM_write_bio_PrivateKey(bio, f.pkey, NULL, NULL, 0, NULL, NULL), 0);
		assert_true(i2d_PUBKEY(f.pkey, &der) > 0);
		OPENSSL_free(der);
		BIO_free(bio);
		fixture_free(&f);
	}
}

static void parameters_are_those_of_the_public_key(void **state)
{
	static const struct {
		enum agent_key_type type;
		int bits, security_bits;
		const char *algorithm, *group;
	} rows[] = {
		{ AGENT_KEY_EC_P256, 256, 128, "EC", "prime256v1" },
		{ AGENT_KEY_EC_P384, 384, 192, "EC", "secp384r1" },
		{ AGENT_KEY_RSA_2048, 2048, 112, "RSA", NULL },
		{ AGENT_KEY_RSA_3072, 3072, 128, "RSA", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture f;
		EVP_PKEY *copy;
		char group[32], digest[32];

		fixture_make(&f, rows[i].type);
		assert_int_equal(EVP_PKEY_get_bits(f.pkey), rows[i].bits);
		assert_int_equal(EVP_PKEY_get_security_bits(f.pkey), rows[i].security_bits);
		assert_int_equal(EVP_PKEY_get_size(f.pkey), EVP_PKEY_get_size(f.key.pkey));
		assert_true(EVP_PKEY_is_a(f.pkey, rows[i].algorithm));
		assert_true(EVP_PKEY_get_default_digest_name(f.pkey, digest, sizeof(digest)) > 0);
		if (rows[i].group != NULL) {
			assert_int_equal(EVP_PKEY_get_group_name(f.pkey, group, sizeof(group), NULL), 1);
			assert_string_equal(group, rows[i].group);
		}
		assert_string_equal(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(f.pkey)), "agent");
		assert_int_equal(EVP_PKEY_eq(f.pkey, f.key.pkey), 1);
		assert_int_equal(EVP_PKEY_eq(f.key.pkey, f.pkey), 1);
		copy = EVP_PKEY_dup(f.pkey);
		assert_non_null(copy);
		assert_int_equal(EVP_PKEY_eq(copy, f.pkey), 1);
		EVP_PKEY_free(copy);
		copy = software_pkey(rows[i].type);
		assert_int_equal(EVP_PKEY_eq(copy, f.pkey), 0);
		EVP_PKEY_free(copy);
		assert_int_equal(f.key.n_signs, 0);
		fixture_free(&f);
	}
}

static void plain_algorithms_of_the_context_stay_the_default_provider_s(void **state)
{
	struct fixture f;
	EVP_PKEY *made;

	fixture_make(&f, AGENT_KEY_EC_P256);
	made = EVP_PKEY_Q_keygen(f.libctx, NULL, "EC", "P-256");
	assert_non_null(made);
	assert_string_equal(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(made)), "default");
	EVP_PKEY_free(made);
	fixture_free(&f);
}

static void message_signatures_verify_and_the_size_question_is_free(void **state)
{
	static const struct {
		enum agent_key_type type;
		const char *digest;
		int padding;
	} rows[] = {
		{ AGENT_KEY_EC_P256, "SHA256", 0 },
		{ AGENT_KEY_EC_P384, "SHA384", 0 },
		{ AGENT_KEY_EC_P256, NULL, 0 },
		{ AGENT_KEY_RSA_2048, "SHA256", RSA_PKCS1_PADDING },
		{ AGENT_KEY_RSA_2048, "SHA512", RSA_PKCS1_PADDING },
		{ AGENT_KEY_RSA_2048, "SHA256", RSA_PKCS1_PSS_PADDING },
		{ AGENT_KEY_RSA_3072, "SHA384", RSA_PKCS1_PSS_PADDING },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture f;
		EVP_PKEY *verifiers[2];
		uint8_t sig[AGENT_SIGNATURE_MAX];
		size_t size = 0;
		EVP_MD_CTX *md = EVP_MD_CTX_new();
		EVP_PKEY_CTX *pctx;

		fixture_make(&f, rows[i].type);
		assert_int_equal(EVP_DigestSignInit_ex(md, &pctx, rows[i].digest, f.libctx, NULL, f.pkey, NULL), 1);
		if (rows[i].padding != 0)
			assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, rows[i].padding), 1);
		if (rows[i].padding == RSA_PKCS1_PSS_PADDING)
			assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST), 1);
		assert_int_equal(EVP_DigestSignUpdate(md, "mess", 4), 1);
		assert_int_equal(EVP_DigestSignUpdate(md, "age", 3), 1);
		assert_int_equal(EVP_DigestSignFinal(md, NULL, &size), 1);
		assert_int_equal(size, EVP_PKEY_get_size(f.pkey));
		assert_int_equal(f.key.n_signs, 0);
		assert_int_equal(EVP_DigestSignFinal(md, sig, &size), 1);
		assert_int_equal(f.key.n_signs, 1);
		EVP_MD_CTX_free(md);

		verifiers[0] = f.key.pkey;	/* OpenSSL's own */
		verifiers[1] = f.pkey;		/* ours */
		for (size_t j = 0; j < ARRAY_SIZE(verifiers); j++) {
			for (size_t bad = 0; bad < 2; bad++) {
				md = EVP_MD_CTX_new();
				assert_int_equal(EVP_DigestVerifyInit_ex(md, &pctx, rows[i].digest, j == 0 ? NULL : f.libctx, NULL,
									 verifiers[j], NULL), 1);
				if (rows[i].padding != 0)
					assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, rows[i].padding), 1);
				assert_int_equal(EVP_DigestVerify(md, sig, size, (const uint8_t *)(bad ? "massage" : "message"), 7) == 1, !bad);
				EVP_MD_CTX_free(md);
			}
		}
		fixture_free(&f);
	}
}

static void what_signers_cannot_do_is_refused_before_they_are_asked(void **state)
{
	struct fixture f;
	EVP_MD_CTX *md;
	EVP_PKEY_CTX *pctx;
	uint8_t sig[AGENT_SIGNATURE_MAX], digest[20] = { 0 };
	size_t size = sizeof(sig);

	fixture_make(&f, AGENT_KEY_RSA_2048);
	md = EVP_MD_CTX_new();
	assert_int_not_equal(EVP_DigestSignInit_ex(md, &pctx, "SHA1", f.libctx, NULL, f.pkey, NULL), 1);
	EVP_MD_CTX_free(md);
	md = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit_ex(md, &pctx, "SHA256", f.libctx, NULL, f.pkey, NULL), 1);
	assert_true(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_NO_PADDING) <= 0);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
	assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_MAX) <= 0);
	assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 20) <= 0);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 32), 1);
	assert_true(EVP_PKEY_CTX_set_rsa_mgf1_md(pctx, EVP_sha512()) <= 0);
	EVP_MD_CTX_free(md);
	pctx = EVP_PKEY_CTX_new_from_pkey(f.libctx, f.pkey, NULL);
	assert_int_equal(EVP_PKEY_sign_init(pctx), 1);
	assert_true(EVP_PKEY_sign(pctx, sig, &size, digest, sizeof(digest)) <= 0);
	EVP_PKEY_CTX_free(pctx);
	assert_int_equal(f.key.n_signs, 0);
	fixture_free(&f);
}

static void requests_and_certificates_can_be_signed(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(all_types); i++) {
		struct fixture f;
		X509_REQ *req = X509_REQ_new();
		X509 *cert;

		fixture_make(&f, all_types[i]);
		assert_int_equal(X509_REQ_set_pubkey(req, f.pkey), 1);
		assert_true(X509_REQ_sign(req, f.pkey, EVP_sha256()) > 0);
		assert_int_equal(X509_REQ_verify(req, f.key.pkey), 1);
		X509_REQ_free(req);
		cert = self_signed(&f, f.pkey);
		assert_int_equal(X509_verify(cert, f.key.pkey), 1);
		assert_int_equal(X509_check_private_key(cert, f.pkey), 1);
		assert_int_equal(f.key.n_signs, 2);
		X509_free(cert);
		fixture_free(&f);
	}
}

static void an_rsa_pss_certificate_carries_its_parameters(void **state)
{
	struct fixture f;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx;
	X509 *cert;
	int nid;

	fixture_make(&f, AGENT_KEY_RSA_2048);
	cert = self_signed(&f, f.pkey);
	assert_int_equal(EVP_DigestSignInit_ex(md, &pctx, "SHA384", f.libctx, NULL, f.pkey, NULL), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST), 1);
	assert_true(X509_sign_ctx(cert, md) > 0);
	EVP_MD_CTX_free(md);
	assert_int_equal(X509_get_signature_nid(cert), NID_rsassaPss);
	assert_int_equal(X509_get_signature_info(cert, &nid, NULL, NULL, NULL), 1);
	assert_int_equal(nid, NID_sha384);
	assert_int_equal(X509_verify(cert, f.key.pkey), 1);
	X509_free(cert);
	fixture_free(&f);
}

static void a_cms_can_be_signed(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(all_types); i++) {
		const unsigned flags = CMS_DETACHED | CMS_BINARY | CMS_NOSMIMECAP;
		struct fixture f;
		BIO *content = BIO_new_mem_buf("content", 7);
		CMS_ContentInfo *cms;
		X509_STORE *store = X509_STORE_new();
		X509 *cert;

		fixture_make(&f, all_types[i]);
		cert = self_signed(&f, f.pkey);
		X509_STORE_add_cert(store, cert);
		cms = CMS_sign_ex(cert, f.pkey, NULL, content, flags, f.libctx, NULL);
		assert_non_null(cms);
		BIO_free(content);
		content = BIO_new_mem_buf("content", 7);
		assert_int_equal(CMS_verify(cms, NULL, store, content, NULL, CMS_BINARY), 1);
		BIO_free(content);
		CMS_ContentInfo_free(cms);
		X509_STORE_free(store);
		X509_free(cert);
		fixture_free(&f);
	}
}

static int accept_any(int ok, X509_STORE_CTX *store)
{
	return 1;
}

static void pump(BIO *from, BIO *to)
{
	char data[4096];
	int n;

	while ((n = BIO_read(from, data, sizeof(data))) > 0)
		assert_int_equal(BIO_write(to, data, n), n);
}

/* A whole handshake over memory; the server demands a client certificate. Returns 1 if both ends finished. */
static int handshake(struct fixture *f, int version, int *ret_client_cert_seen)
{
	EVP_PKEY *server_key = EVP_EC_gen("P-256");
	struct fixture fs = { .libctx = f->libctx };
	X509 *server_cert = self_signed(&fs, server_key), *client_cert = self_signed(f, f->key.pkey);
	SSL_CTX *server_ctx = SSL_CTX_new(TLS_server_method()), *client_ctx = SSL_CTX_new_ex(f->libctx, NULL, TLS_client_method());
	BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
	BIO *server_out = BIO_new(BIO_s_mem()), *client_out = BIO_new(BIO_s_mem());
	SSL *server, *client;
	int server_done = 0, client_done = 0, r;

	assert_int_equal(SSL_CTX_use_certificate(server_ctx, server_cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(server_ctx, server_key), 1);
	SSL_CTX_set_verify(server_ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_any);
	SSL_CTX_set_min_proto_version(client_ctx, version);
	SSL_CTX_set_max_proto_version(client_ctx, version);
	assert_int_equal(SSL_CTX_use_cert_and_key(client_ctx, client_cert, f->pkey, NULL, 1), 1);
	assert_int_equal(SSL_CTX_check_private_key(client_ctx), 1);

	server = SSL_new(server_ctx);
	client = SSL_new(client_ctx);
	SSL_set_bio(server, to_server, server_out);
	SSL_set_bio(client, to_client, client_out);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (int i = 0; i < 10 && !(server_done && client_done); i++) {
		r = SSL_do_handshake(client);
		client_done = r == 1;
		if (!client_done && SSL_get_error(client, r) == SSL_ERROR_SSL)
			break;	/* before the other end's calls clear the error queue */
		pump(client_out, to_server);
		server_done = SSL_do_handshake(server) == 1;
		pump(server_out, to_client);
	}
	if (server_done)
		assert_int_equal(SSL_version(server), version);
	*ret_client_cert_seen = SSL_get0_peer_certificate(server) != NULL;
	SSL_free(server);
	SSL_free(client);
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	X509_free(server_cert);
	X509_free(client_cert);
	EVP_PKEY_free(server_key);
	return server_done && client_done;
}

static void tls_client_authentication_takes_one_signature(void **state)
{
	static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };

	for (size_t i = 0; i < ARRAY_SIZE(all_types); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(versions); j++) {
			struct fixture f;
			int seen = 0;

			fixture_make(&f, all_types[i]);
			assert_int_equal(handshake(&f, versions[j], &seen), 1);
			assert_int_equal(seen, 1);
			assert_int_equal(f.key.n_signs, 1);
			fixture_free(&f);
		}
	}
}

static void a_broken_backend_fails_the_handshake_and_names_itself(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fixture f;
	int seen = 0;

	fixture_make(&f, AGENT_KEY_EC_P256);
	f.key.fail_with = -ENODEV;
	assert_int_equal(handshake(&f, TLS1_3_VERSION, &seen), 0);
	assert_int_equal(f.key.n_signs, 1);
	assert_int_equal(openssl_error_set(&err, -EIO, "tls.handshake", "handshake failed"), -ENODEV);
	assert_string_equal(agent_error_name(err), "test.broken");
	assert_string_equal(agent_error_message(err), "handshake failed: the test key is out of order today");
	assert_int_equal(ERR_peek_error(), 0);
	fixture_free(&f);
}

static void other_openssl_errors_keep_their_reason_and_code(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;

	ERR_raise_data(ERR_LIB_SYS, ENOENT, "calling fopen(nothing)");
	assert_int_equal(openssl_error_set(&err, -EIO, "test.name", "slot %d", 3), -EIO);
	assert_string_equal(agent_error_message(err), "slot 3: No such file or directory, calling fopen(nothing)");
	assert_int_equal(agent_error_foreign_source(err), AGENT_ERROR_OPENSSL);
	assert_int_equal(openssl_error_set(&err, -EIO, "test.name", "slot %d", 4), -EIO);
	assert_string_equal(agent_error_message(err), "slot 4");
}

/* As in a program without libcrypto's texts: no library has these numbers. */
static void an_error_without_a_text_of_openssl_is_one_of_ours_or_a_number(void **state)
{
	char buf[OPENSSL_ERROR_TEXT];

	assert_string_equal(openssl_error_text(ERR_PACK(ERR_LIB_USER + 9, 0, 345), buf), "OpenSSL error 44800159, see openssl errstr");
	assert_string_equal(openssl_error_text(ERR_PACK(ERR_LIB_X509, 0, X509_R_KEY_VALUES_MISMATCH), buf), "key values mismatch");
	assert_string_equal(openssl_error_text(ERR_PACK(ERR_LIB_USER + 9, 0, ERR_R_MALLOC_FAILURE), buf), "malloc failure");
	assert_string_equal(openssl_error_text(0, buf), "no reason given");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_private_half_is_never_exported_and_the_public_half_is),
		cmocka_unit_test(parameters_are_those_of_the_public_key),
		cmocka_unit_test(plain_algorithms_of_the_context_stay_the_default_provider_s),
		cmocka_unit_test(message_signatures_verify_and_the_size_question_is_free),
		cmocka_unit_test(what_signers_cannot_do_is_refused_before_they_are_asked),
		cmocka_unit_test(requests_and_certificates_can_be_signed),
		cmocka_unit_test(an_rsa_pss_certificate_carries_its_parameters),
		cmocka_unit_test(a_cms_can_be_signed),
		cmocka_unit_test(tls_client_authentication_takes_one_signature),
		cmocka_unit_test(a_broken_backend_fails_the_handshake_and_names_itself),
		cmocka_unit_test(other_openssl_errors_keep_their_reason_and_code),
		cmocka_unit_test(an_error_without_a_text_of_openssl_is_one_of_ours_or_a_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
