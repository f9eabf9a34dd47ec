/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One key of one backend used in every way OpenSSL offers, driven by tests/e2e/17-signers.sh; built from the installed package
 * alone, like a vendor's program.
 *
 *   signers create TYPE TCTI DIR NAME [PEM]            a key in the TPM, made there or imported; with an SRK if there is none
 *   signers USE OUT tpm TCTI DIR NAME | agentd SOCKET NAME | software PEM  [-- ARGUMENT...]
 *
 *   USE  request             OUT.pub public key, OUT.req by X509_REQ_sign(), OUT.csr by agent_csr_new(); PEM
 *        jwt                 OUT.ES256, OUT.ES384 or OUT.RS256 and OUT.PS256: RFC 7519 tokens
 *        export              every way to the private half fails, the public half comes out
 *        cms CERT FILE plain|pss  OUT, detached, DER
 *        tls CERT CA PORT VERSION [SIGALGS]  OUT is the page of openssl s_server -www on localhost
 *
 * Ends with 0, 1 (failed; the reason is on stderr) or 2 (usage).
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include <agent/agent.h>
#include <agent/openssl.h>

static struct agent_context *ctx;
static struct agent_error *err;
static OSSL_LIB_CTX *libctx;
static struct agent_signer *signer;
static EVP_PKEY *pkey;

static int failed(void)
{
	fprintf(stderr, "signers: %s (%s)\n", agent_error_message(err), agent_error_name(err));
	err = agent_error_free(err);
	return 1;
}

static int openssl_failed(const char *what)
{
	fprintf(stderr, "signers: %s\n", what);
	ERR_print_errors_fp(stderr);
	return 1;
}

/* OUT, or OUT.suffix */
static BIO *output(const char *out, const char *suffix)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s%s%s", out, suffix[0] == '\0' ? "" : ".", suffix);
	return BIO_new_file(path, "wb");
}

/* ---- backends ------------------------------------------------------------------------------------------------------ */

static int read_pem(const char *path, char *pem, size_t size)
{
	FILE *file = fopen(path, "rb");
	size_t n;

	if (file == NULL)
		return -1;
	n = fread(pem, 1, size, file);
	fclose(file);
	return (int)n;
}

static int open_tpm(char **argv, struct agent_tpm **ret_tpm, int *ret_dir_fd)
{
	*ret_dir_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_dir_fd < 0 ? -1 : agent_tpm_new(ctx, argv[0], 0x81000001, ret_tpm, &err);
}

static int create(char **argv)
{
	struct agent_tpm *tpm = NULL;
	struct agent_key *key = NULL;
	enum agent_key_type type;
	char pem[16384];
	int dir_fd, n, r;

	if (agent_key_type_parse(argv[0], &type) < 0)
		return 2;
	r = open_tpm(argv + 1, &tpm, &dir_fd);
	if (r >= 0)
		r = agent_tpm_provision_srk(tpm, &err);
	if (r >= 0 && argv[4] == NULL) {
		r = agent_key_create(tpm, type, dir_fd, argv[3], &key, &err);
	} else if (r >= 0) {
		n = read_pem(argv[4], pem, sizeof(pem));
		r = n < 0 ? -1 : agent_key_import(tpm, dir_fd, argv[3], pem, (size_t)n, &key, &err);
		OPENSSL_cleanse(pem, sizeof(pem));
	}
	agent_key_unref(key);
	agent_tpm_unref(tpm);
	close(dir_fd);
	return r < 0 ? failed() : 0;
}

/* Each signer keeps what is behind it. */
static int signer_of_tpm(char **argv)
{
	struct agent_tpm *tpm = NULL;
	struct agent_key *key = NULL;
	int dir_fd, r;

	r = open_tpm(argv, &tpm, &dir_fd);
	if (r >= 0)
		r = agent_key_load(tpm, dir_fd, argv[2], &key, &err);
	if (r >= 0)
		r = agent_key_get_signer(key, &signer, &err);
	agent_key_unref(key);
	agent_tpm_unref(tpm);
	close(dir_fd);
	return r;
}

static int signer_of_agentd(char **argv)
{
	struct agent_client *client = NULL;
	int r;

	r = agent_client_open(ctx, argv[0], &client, &err);
	if (r >= 0)
		r = agent_client_signer(client, argv[1], &signer, &err);
	agent_client_unref(client);
	return r;
}

static int signer_of_software(char **argv)
{
	char pem[16384];
	int n, r;

	n = read_pem(argv[0], pem, sizeof(pem));
	r = n < 0 ? -1 : agent_software_signer_new(ctx, pem, (size_t)n, &signer, &err);
	OPENSSL_cleanse(pem, sizeof(pem));
	return r;
}

static const struct backend {
	const char *word;
	int n_args;
	int (*open)(char **argv);
} backends[] = {
	{ "tpm", 3, signer_of_tpm },
	{ "agentd", 2, signer_of_agentd },
	{ "software", 1, signer_of_software },
};

/* ---- uses ---------------------------------------------------------------------------------------------------------- */

static int is_rsa(void)
{
	return EVP_PKEY_is_a(pkey, "RSA");
}

static int use_request(const char *out, char **argv)
{
	BIO *pub = output(out, "pub"), *by_openssl = output(out, "req"), *by_us = output(out, "csr");
	X509_REQ *req = X509_REQ_new_ex(libctx, NULL);
	X509_NAME *name = X509_REQ_get_subject_name(req);
	char *pem = NULL;
	int ok;

	(void)argv;
	ok = PEM_write_bio_PUBKEY(pub, pkey) == 1 && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
	     X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"signers", -1, -1, 0) == 1 &&
	     X509_REQ_set_pubkey(req, pkey) == 1 && X509_REQ_sign(req, pkey, NULL) > 0 && PEM_write_bio_X509_REQ(by_openssl, req) == 1;
	if (ok && agent_csr_new(ctx, signer, "CN=signers", &pem, &err) < 0)
		failed();
	ok = pem != NULL && BIO_puts(by_us, pem) > 0;
	free(pem);
	X509_REQ_free(req);
	BIO_free(pub);
	BIO_free(by_openssl);
	BIO_free(by_us);
	return ok ? 0 : openssl_failed("no request");
}

static const struct jwt_algorithm {
	const char *name, *digest;
	int padding; /* 0: ECDSA */
	int ec_bits;
} jwt_algorithms[] = {
	{ "ES256", "SHA256", 0, 256 },
	{ "ES384", "SHA384", 0, 384 },
	{ "RS256", "SHA256", RSA_PKCS1_PADDING, 0 },
	{ "PS256", "SHA256", RSA_PKCS1_PSS_PADDING, 0 },
};

/* RFC 4648 section 5, without padding. */
static size_t base64url(const void *data, size_t size, char *text)
{
	size_t n = (size_t)EVP_EncodeBlock((unsigned char *)text, data, (int)size);

	while (n > 0 && text[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
	text[n] = '\0';
	return n;
}

/* A JWT has r and s side by side, each as long as the curve's order (RFC 7518 section 3.4); OpenSSL makes DER. */
static int raw_ecdsa(unsigned char *sig, size_t *size, int bits)
{
	const unsigned char *p = sig;
	ECDSA_SIG *rs = d2i_ECDSA_SIG(NULL, &p, (long)*size);
	int n = bits / 8, ok;

	ok = rs != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(rs), sig, n) == n && BN_bn2binpad(ECDSA_SIG_get0_s(rs), sig + n, n) == n;
	*size = 2 * (size_t)n;
	ECDSA_SIG_free(rs);
	return ok;
}

static int jwt(const struct jwt_algorithm *a, const char *out)
{
	static const char payload[] = "{\"iss\":\"gateway\",\"aud\":\"cloud\"}";
	unsigned char sig[AGENT_SIGNATURE_MAX];
	char header[64], token[2048];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	BIO *bio = output(out, a->name);
	EVP_PKEY_CTX *pctx;
	size_t n, size = sizeof(sig);
	int ok;

	n = base64url(header, (size_t)snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", a->name), token);
	token[n++] = '.';
	n += base64url(payload, strlen(payload), token + n);
	ok = EVP_DigestSignInit_ex(md, &pctx, a->digest, libctx, NULL, pkey, NULL) == 1;
	if (ok && a->padding != 0)
		ok = EVP_PKEY_CTX_set_rsa_padding(pctx, a->padding) == 1;
	if (ok && a->padding == RSA_PKCS1_PSS_PADDING)
		ok = EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_DigestSign(md, sig, &size, (unsigned char *)token, n) == 1;
	if (ok && a->padding == 0)
		ok = raw_ecdsa(sig, &size, a->ec_bits);
	if (ok) {
		token[n++] = '.';
		base64url(sig, size, token + n);
		ok = BIO_puts(bio, token) > 0;
	}
	EVP_MD_CTX_free(md);
	BIO_free(bio);
	return ok;
}

static int use_jwt(const char *out, char **argv)
{
	int n = 0;

	(void)argv;
	for (size_t i = 0; i < sizeof(jwt_algorithms) / sizeof(jwt_algorithms[0]); i++) {
		const struct jwt_algorithm *a = &jwt_algorithms[i];

		if (is_rsa() ? a->padding == 0 : a->ec_bits != EVP_PKEY_get_bits(pkey))
			continue;
		if (!jwt(a, out))
			return openssl_failed(a->name);
		n++;
	}
	return n == (is_rsa() ? 2 : 1) ? 0 : openssl_failed("no algorithm for this key");
}

static int encodes(int selection, const char *structure)
{
	OSSL_ENCODER_CTX *encoder = OSSL_ENCODER_CTX_new_for_pkey(pkey, selection, "DER", structure, NULL);
	BIO *bio = BIO_new(BIO_s_mem());
	int ok = encoder != NULL && OSSL_ENCODER_to_bio(encoder, bio) == 1;

	BIO_free(bio);
	OSSL_ENCODER_CTX_free(encoder);
	return ok;
}

/* Says for each way what came out of it; @wanted is what should have. */
static int way(const char *what, int came_out, int wanted)
{
	ERR_clear_error();
	printf("%s %s\n", came_out ? "given" : "refused", what);
	if (came_out != wanted)
		fprintf(stderr, "signers: %s was %s\n", what, came_out ? "given" : "refused");
	return came_out == wanted;
}

static int private_is_refused(void)
{
	static const char *const numbers[] = { OSSL_PKEY_PARAM_PRIV_KEY, OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_FACTOR1,
					       OSSL_PKEY_PARAM_RSA_EXPONENT1 };
	BIO *bio = BIO_new(BIO_s_mem());
	OSSL_PARAM *params = NULL;
	unsigned char *der = NULL, raw[512];
	size_t size = sizeof(raw);
	PKCS8_PRIV_KEY_INFO *p8 = NULL;
	BIGNUM *bn = NULL;
	int ok = 1;

	ok &= way("EVP_PKEY_todata KEYPAIR", EVP_PKEY_todata(pkey, EVP_PKEY_KEYPAIR, &params) == 1 || params != NULL, 0);
	ok &= way("EVP_PKEY_todata PRIVATE_KEY", EVP_PKEY_todata(pkey, OSSL_KEYMGMT_SELECT_PRIVATE_KEY, &params) == 1 || params != NULL, 0);
	ok &= way("i2d_PrivateKey", i2d_PrivateKey(pkey, &der) > 0, 0);
	ok &= way("PEM_write_bio_PrivateKey", PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1, 0);
	ok &= way("PEM_write_bio_PrivateKey_traditional", PEM_write_bio_PrivateKey_traditional(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1, 0);
	ok &= way("PEM_write_bio_PKCS8PrivateKey", PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1, 0);
	ok &= way("i2d_PKCS8PrivateKey_bio", i2d_PKCS8PrivateKey_bio(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1, 0);
	ok &= way("EVP_PKEY2PKCS8", (p8 = EVP_PKEY2PKCS8(pkey)) != NULL, 0);
	ok &= way("EVP_PKEY_get_raw_private_key", EVP_PKEY_get_raw_private_key(pkey, raw, &size) == 1, 0);
	ok &= way("OSSL_ENCODER PrivateKeyInfo", encodes(EVP_PKEY_KEYPAIR, "PrivateKeyInfo"), 0);
	ok &= way("OSSL_ENCODER type-specific", encodes(EVP_PKEY_KEYPAIR, "type-specific"), 0);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		ok &= way(numbers[i], EVP_PKEY_get_bn_param(pkey, numbers[i], &bn) == 1, 0);
	ok &= way("bytes on the way", BIO_pending(bio) > 0 || der != NULL, 0);
	PKCS8_PRIV_KEY_INFO_free(p8);
	BN_free(bn);
	BIO_free(bio);
	return ok;
}

static int public_is_given(void)
{
	OSSL_PARAM *params = NULL;
	unsigned char *der = NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	const uint8_t *spki;
	size_t size;
	int n, ok = 1;

	agent_signer_get_public(signer, &spki, &size);
	n = i2d_PUBKEY(pkey, &der);
	ok &= way("i2d_PUBKEY", n > 0 && (size_t)n == size && memcmp(der, spki, size) == 0, 1);
	ok &= way("EVP_PKEY_todata PUBLIC_KEY", EVP_PKEY_todata(pkey, EVP_PKEY_PUBLIC_KEY, &params) == 1, 1);
	ok &= way("PEM_write_bio_PUBKEY", PEM_write_bio_PUBKEY(bio, pkey) == 1, 1);
	ok &= way("OSSL_ENCODER SubjectPublicKeyInfo", encodes(EVP_PKEY_PUBLIC_KEY, "SubjectPublicKeyInfo"), 1);
	OSSL_PARAM_free(params);
	OPENSSL_free(der);
	BIO_free(bio);
	return ok;
}

static int use_export(const char *out, char **argv)
{
	(void)out;
	(void)argv;
	return private_is_refused() & public_is_given() ? 0 : 1;
}

static int add_pss_signer(CMS_ContentInfo *cms, X509 *cert)
{
	CMS_SignerInfo *info = CMS_add1_signer(cms, cert, pkey, EVP_sha256(), CMS_KEY_PARAM);
	EVP_PKEY_CTX *pctx = info == NULL ? NULL : CMS_SignerInfo_get0_pkey_ctx(info);

	return pctx != NULL && EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static int use_cms(const char *out, char **argv)
{
	const unsigned flags = CMS_DETACHED | CMS_BINARY;
	BIO *cert_file = BIO_new_file(argv[0], "r"), *data = BIO_new_file(argv[1], "r"), *bio = output(out, "");
	X509 *cert = X509_new_ex(libctx, NULL);
	CMS_ContentInfo *cms = NULL;
	int ok = cert_file != NULL && data != NULL && PEM_read_bio_X509(cert_file, &cert, NULL, NULL) != NULL;

	if (ok && strcmp(argv[2], "plain") == 0) {
		cms = CMS_sign_ex(cert, pkey, NULL, data, flags, libctx, NULL);
	} else if (ok) {
		cms = CMS_sign_ex(NULL, NULL, NULL, data, flags | CMS_PARTIAL, libctx, NULL);
		ok = cms != NULL && add_pss_signer(cms, cert) && CMS_final(cms, data, NULL, flags) == 1;
	}
	ok = ok && cms != NULL && i2d_CMS_bio(bio, cms) == 1;
	CMS_ContentInfo_free(cms);
	X509_free(cert);
	BIO_free(cert_file);
	BIO_free(data);
	BIO_free(bio);
	return ok ? 0 : openssl_failed("no CMS");
}

static SSL_CTX *new_ssl_ctx(char **argv)
{
	int version = strcmp(argv[3], "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
	SSL_CTX *ssl_ctx = SSL_CTX_new_ex(libctx, NULL, TLS_client_method());

	if (ssl_ctx == NULL || SSL_CTX_use_certificate_chain_file(ssl_ctx, argv[0]) != 1 || SSL_CTX_use_PrivateKey(ssl_ctx, pkey) != 1 ||
	    SSL_CTX_load_verify_locations(ssl_ctx, argv[1], NULL) != 1 || SSL_CTX_set_min_proto_version(ssl_ctx, version) != 1 ||
	    SSL_CTX_set_max_proto_version(ssl_ctx, version) != 1 || (argv[4] != NULL && SSL_CTX_set1_sigalgs_list(ssl_ctx, argv[4]) != 1)) {
		SSL_CTX_free(ssl_ctx);
		return NULL;
	}
	SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, NULL);
	return ssl_ctx;
}

static int use_tls(const char *out, char **argv)
{
	SSL_CTX *ssl_ctx = new_ssl_ctx(argv);
	BIO *bio = ssl_ctx == NULL ? NULL : BIO_new_ssl_connect(ssl_ctx), *page = output(out, "");
	char text[4096];
	SSL *ssl = NULL;
	int n, ok = bio != NULL && page != NULL;

	if (ok) {
		BIO_get_ssl(bio, &ssl);
		BIO_set_conn_hostname(bio, "localhost");
		BIO_set_conn_port(bio, argv[2]);
		ok = SSL_set1_host(ssl, "localhost") == 1 && BIO_do_connect(bio) == 1 && BIO_do_handshake(bio) == 1 &&
		     BIO_puts(bio, "GET / HTTP/1.0\r\n\r\n") > 0;
	}
	while (ok && (n = BIO_read(bio, text, (int)sizeof(text))) > 0)
		ok = BIO_write(page, text, n) == n;
	ok = ok && BIO_tell(page) > 0;
	BIO_free_all(bio);
	BIO_free(page);
	SSL_CTX_free(ssl_ctx);
	return ok ? 0 : openssl_failed("no TLS connection");
}

static const struct use {
	const char *word;
	int n_args;
	int (*run)(const char *out, char **argv);
} uses[] = {
	{ "request", 0, use_request }, { "jwt", 0, use_jwt }, { "export", 0, use_export }, { "cms", 3, use_cms }, { "tls", 4, use_tls },
};

/* ---- */

static int run(const struct use *use, const char *out, const struct backend *backend, char **argv, char **use_argv)
{
	int r;

	if (backend->open(argv) < 0)
		return failed();
	if (strcmp(agent_signer_get_backend(signer), backend->word) != 0)
		return openssl_failed("another backend than asked for");
	if (agent_openssl_libctx(ctx, &libctx, &err) < 0 || agent_openssl_pkey(ctx, signer, &pkey, &err) < 0)
		return failed();
	r = use->run(out, use_argv);
	EVP_PKEY_free(pkey);
	return r;
}

static int dispatch(int argc, char **argv)
{
	const struct backend *backend = NULL;
	const struct use *use = NULL;
	int n_use;

	if (argc >= 6 && strcmp(argv[1], "create") == 0)
		return create(argv + 2);
	for (size_t i = 0; argc > 3 && i < sizeof(uses) / sizeof(uses[0]); i++)
		if (strcmp(argv[1], uses[i].word) == 0)
			use = &uses[i];
	for (size_t i = 0; argc > 3 && i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(argv[3], backends[i].word) == 0)
			backend = &backends[i];
	if (use == NULL || backend == NULL || argc < 4 + backend->n_args)
		return 2;
	n_use = argc - 4 - backend->n_args;
	if (n_use > 0 && strcmp(argv[4 + backend->n_args], "--") == 0)
		n_use--;
	if (n_use < use->n_args)
		return 2;
	return run(use, argv[2], backend, argv + 4, argv + argc - n_use);
}

int main(int argc, char **argv)
{
	sigset_t all;
	int r;

	/* A signal in the middle of a command costs the contact with the TPM, see agent_tpm_new(). */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	if (agent_context_new(&ctx) < 0)
		return 1;
	r = dispatch(argc, argv);
	if (r == 2)
		fputs("usage: see the head of signers.c\n", stderr);
	agent_signer_unref(signer);
	agent_context_unref(ctx);
	return r;
}
