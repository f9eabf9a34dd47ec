/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an application of a gateway does with the device's keys, through agentd: no access to the TPM, no private key in
 * its memory, no right but those that its user, group or systemd unit was given with "agentctl key allow".
 *
 *   vendor-app [-s SOCKET] tls KEY CERT CA HOST PORT [1.2]   HTTPS request over plain OpenSSL with a client certificate
 *   vendor-app [-s SOCKET] curl KEY CERT CA URL              the same with libcurl
 *   vendor-app [-s SOCKET] csr KEY SUBJECT                   certificate request, to stdout
 *   vendor-app [-s SOCKET] cms KEY CERT FILE                 detached CMS signature over a file, DER to stdout
 *   vendor-app [-s SOCKET] jwt KEY FILE                      JSON Web Token over the claims in a file, ES256, ES384 or PS256
 *   vendor-app [-s SOCKET] sign KEY CONTEXT FILE             application signature, checked with the public half
 *   vendor-app [-s SOCKET] seal KEY FILE [PCRS [SIGNER.der]]  seal a secret, to stdout; to PCRs "7,11", or to values somebody signs
 *   vendor-app [-s SOCKET] unseal KEY FILE [SIGNATURES]      the secret again, to stdout
 *   vendor-app [-s SOCKET] repeat KEY N                      N signatures for TLS, to see what it costs
 *
 * Ends with 0, 1 (failed; the reason is on stderr) or 2 (usage).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include <agent/agent.h>
#include <agent/openssl.h>

struct app {
	struct agent_context *ctx;
	struct agent_client *client;
	struct agent_signer *signer;
};

static int failed(struct agent_error *err)
{
	fprintf(stderr, "vendor-app: %s (%s)\n", agent_error_message(err), agent_error_name(err));
	agent_error_free(err);
	return 1;
}

static int openssl_failed(const char *what)
{
	fprintf(stderr, "vendor-app: %s\n", what);
	ERR_print_errors_fp(stderr);
	return 1;
}

/* ---- TLS with plain OpenSSL ---------------------------------------------------------------------------------------- */

/* The key as OpenSSL wants it. Everything it is used with has to come from the same library context. */
static EVP_PKEY *open_pkey(struct app *app)
{
	struct agent_error *err = NULL;
	EVP_PKEY *pkey = NULL;

	if (agent_openssl_pkey(app->ctx, app->signer, &pkey, &err) < 0)
		failed(err);
	return pkey;
}

static SSL_CTX *new_ssl_ctx(struct app *app, const char *cert, const char *ca)
{
	EVP_PKEY *pkey = open_pkey(app);
	OSSL_LIB_CTX *libctx = NULL;
	SSL_CTX *ssl_ctx = NULL;

	if (pkey != NULL && agent_openssl_libctx(app->ctx, &libctx, NULL) >= 0)
		ssl_ctx = SSL_CTX_new_ex(libctx, NULL, TLS_client_method());
	if (ssl_ctx != NULL &&
	    (SSL_CTX_use_certificate_chain_file(ssl_ctx, cert) != 1 || SSL_CTX_use_PrivateKey(ssl_ctx, pkey) != 1 ||
	     SSL_CTX_load_verify_locations(ssl_ctx, ca, NULL) != 1 || SSL_CTX_set_min_proto_version(ssl_ctx, TLS1_2_VERSION) != 1)) {
		SSL_CTX_free(ssl_ctx);
		ssl_ctx = NULL;
	}
	EVP_PKEY_free(pkey); /* the SSL_CTX has its own reference */
	if (ssl_ctx != NULL)
		SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, NULL);
	return ssl_ctx;
}

static int request(BIO *bio, const char *host)
{
	char text[512];
	int n;

	if (BIO_do_connect(bio) != 1 || BIO_do_handshake(bio) != 1)
		return openssl_failed("the handshake failed");
	BIO_printf(bio, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", host);
	n = BIO_read(bio, text, (int)sizeof(text) - 1);
	if (n <= 0)
		return openssl_failed("no answer");
	text[n] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	printf("%s\n", text);
	return 0;
}

static int do_tls(struct app *app, char **argv)
{
	SSL_CTX *ssl_ctx = new_ssl_ctx(app, argv[1], argv[2]);
	BIO *bio = ssl_ctx == NULL ? NULL : BIO_new_ssl_connect(ssl_ctx);
	SSL *ssl = NULL;
	int r;

	if (bio == NULL) {
		SSL_CTX_free(ssl_ctx);
		return openssl_failed("TLS cannot be set up");
	}
	BIO_get_ssl(bio, &ssl);
	BIO_set_conn_hostname(bio, argv[3]);
	BIO_set_conn_port(bio, argv[4]);
	if (argv[5] != NULL)
		SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
	SSL_set1_host(ssl, argv[3]);
	SSL_set_tlsext_host_name(ssl, argv[3]);
	r = request(bio, argv[3]);
	if (r == 0)
		printf("%s, client key in %s\n", SSL_get_version(ssl), agent_signer_get_backend(app->signer));
	BIO_free_all(bio);
	SSL_CTX_free(ssl_ctx);
	return r;
}

/* ---- TLS with libcurl ---------------------------------------------------------------------------------------------- */

/* libagent's TLS profile on the SSL_CTX of libcurl: versions, trust anchors, name check, certificate and key at once. */
static CURLcode on_ssl_ctx(CURL *curl, void *ssl_ctx, void *userdata)
{
	struct agent_error *err = NULL;

	(void)curl;
	if (agent_openssl_configure(userdata, ssl_ctx, &err) >= 0)
		return CURLE_OK;
	failed(err);
	return CURLE_SSL_CERTPROBLEM;
}

static int do_curl(struct app *app, char **argv)
{
	struct agent_tls_options options = { .ca_file = argv[2], .cert_file = argv[1], .signer = app->signer };
	char host[256], why[CURL_ERROR_SIZE] = "";
	struct agent_error *err = NULL;
	struct agent_tls *tls;
	CURLcode code;
	CURL *curl;

	/* The profile checks the server's name itself. */
	if (sscanf(argv[3], "https://%255[^:/]", host) != 1) {
		fputs("vendor-app: not an https:// address\n", stderr);
		return 2;
	}
	options.peer_name = host;
	if (agent_tls_new(app->ctx, &options, &tls, &err) < 0)
		return failed(err);
	curl = curl_easy_init();
	curl_easy_setopt(curl, CURLOPT_URL, argv[3]);
	curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
	curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, tls);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 40L);
	code = curl_easy_perform(curl);
	if (code != CURLE_OK)
		fprintf(stderr, "vendor-app: %s\n", why[0] != '\0' ? why : curl_easy_strerror(code));
	curl_easy_cleanup(curl);
	agent_tls_unref(tls);
	return code == CURLE_OK ? 0 : 1;
}

/* ---- other uses of the key ------------------------------------------------------------------------------------------ */

static int do_csr(struct app *app, char **argv)
{
	struct agent_error *err = NULL;
	char *pem;

	if (agent_csr_new(app->ctx, app->signer, argv[1], &pem, &err) < 0)
		return failed(err);
	fputs(pem, stdout);
	free(pem);
	return 0;
}

static int do_cms(struct app *app, char **argv)
{
	BIO *cert_file = BIO_new_file(argv[1], "r"), *data = BIO_new_file(argv[2], "r"), *out = BIO_new_fp(stdout, BIO_NOCLOSE);
	OSSL_LIB_CTX *libctx = NULL;
	EVP_PKEY *pkey = open_pkey(app);
	CMS_ContentInfo *cms = NULL;
	X509 *cert = NULL;
	int ok;

	if (pkey != NULL && cert_file != NULL && data != NULL && agent_openssl_libctx(app->ctx, &libctx, NULL) >= 0)
		cert = X509_new_ex(libctx, NULL);
	if (cert != NULL && PEM_read_bio_X509(cert_file, &cert, NULL, NULL) != NULL)
		cms = CMS_sign_ex(cert, pkey, NULL, data, CMS_DETACHED | CMS_BINARY, libctx, NULL);
	ok = cms != NULL && i2d_CMS_bio(out, cms) == 1;
	CMS_ContentInfo_free(cms);
	X509_free(cert);
	EVP_PKEY_free(pkey);
	BIO_free(cert_file);
	BIO_free(data);
	BIO_free(out);
	return ok ? 0 : openssl_failed("CMS cannot be made");
}

/* ---- JSON Web Tokens ----------------------------------------------------------------------------------------------- */

#define CLAIMS_MAX 8192

static const struct jwt_algorithm {
	enum agent_key_type type;
	const char *name, *digest;
	int ec_size; /* bytes of r and of s; 0: RSA-PSS */
} jwt_algorithms[] = {
	{ AGENT_KEY_EC_P256, "ES256", "SHA256", 32 },
	{ AGENT_KEY_EC_P384, "ES384", "SHA384", 48 },
	{ AGENT_KEY_RSA_2048, "PS256", "SHA256", 0 },
	{ AGENT_KEY_RSA_3072, "PS256", "SHA256", 0 },
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

/* OpenSSL makes DER; a token has r and s side by side, each as long as the curve's order (RFC 7518 section 3.4). */
static int to_raw_ecdsa(uint8_t *sig, size_t *size, int n)
{
	const uint8_t *p = sig;
	ECDSA_SIG *rs = d2i_ECDSA_SIG(NULL, &p, (long)*size);
	int ok;

	ok = rs != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(rs), sig, n) == n && BN_bn2binpad(ECDSA_SIG_get0_s(rs), sig + n, n) == n;
	*size = 2 * (size_t)n;
	ECDSA_SIG_free(rs);
	return ok;
}

static int sign_token(OSSL_LIB_CTX *libctx, EVP_PKEY *pkey, const struct jwt_algorithm *a, const char *text, size_t text_size,
		      uint8_t sig[AGENT_SIGNATURE_MAX], size_t *size)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;
	int ok;

	*size = AGENT_SIGNATURE_MAX;
	ok = md != NULL && EVP_DigestSignInit_ex(md, &pctx, a->digest, libctx, NULL, pkey, NULL) == 1;
	if (ok && a->ec_size == 0)
		ok = EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_DigestSign(md, sig, size, (const unsigned char *)text, text_size) == 1;
	EVP_MD_CTX_free(md);
	return ok && (a->ec_size == 0 || to_raw_ecdsa(sig, size, a->ec_size));
}

static int do_jwt(struct app *app, char **argv)
{
	static char claims[CLAIMS_MAX + 1], token[2 * CLAIMS_MAX + 1024];
	const struct jwt_algorithm *a = jwt_algorithms;
	uint8_t sig[AGENT_SIGNATURE_MAX];
	FILE *file = fopen(argv[1], "rb");
	OSSL_LIB_CTX *libctx = NULL;
	EVP_PKEY *pkey = NULL;
	char header[64];
	size_t n, size;
	int ok;

	while (a->type != agent_signer_get_type(app->signer))
		a++;
	n = file == NULL ? 0 : fread(claims, 1, sizeof(claims), file);
	if (file != NULL)
		fclose(file);
	if (n == 0 || n > CLAIMS_MAX) {
		fprintf(stderr, "vendor-app: %s: no file of 1 to %d bytes\n", argv[1], CLAIMS_MAX);
		return 1;
	}
	size = base64url(header, (size_t)snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", a->name), token);
	token[size++] = '.';
	size += base64url(claims, n, token + size);
	if (agent_openssl_libctx(app->ctx, &libctx, NULL) >= 0)
		pkey = open_pkey(app);
	ok = pkey != NULL && sign_token(libctx, pkey, a, token, size, sig, &n);
	EVP_PKEY_free(pkey);
	if (!ok)
		return openssl_failed("the token cannot be signed");
	token[size++] = '.';
	base64url(sig, n, token + size);
	printf("%s\n", token);
	return 0;
}

static int do_repeat(struct app *app, char **argv)
{
	enum agent_key_type type = agent_signer_get_type(app->signer);
	enum agent_sign_scheme scheme = type == AGENT_KEY_RSA_2048 || type == AGENT_KEY_RSA_3072 ? AGENT_SIGN_RSA_PSS : AGENT_SIGN_ECDSA;
	uint8_t digest[32] = { 0 }, sig[AGENT_SIGNATURE_MAX];
	struct agent_error *err = NULL;
	int n = atoi(argv[1]);
	size_t size;

	for (int i = 0; i < n; i++) {
		memcpy(digest, &i, sizeof(i));
		if (agent_signer_sign(app->signer, scheme, AGENT_HASH_SHA256, digest, sizeof(digest), sig, &size, &err) < 0)
			return failed(err);
	}
	printf("%d signatures\n", n);
	return 0;
}

/* ---- application signatures ----------------------------------------------------------------------------------------- */

static int do_sign(struct app *app, char **argv)
{
	static uint8_t message[AGENT_APP_MESSAGE_MAX + 1];
	char label[AGENT_APP_LABEL_MAX + 1];
	uint8_t sig[AGENT_SIGNATURE_MAX];
	struct agent_error *err = NULL;
	const uint8_t *spki;
	size_t size, sig_size, spki_size;
	FILE *file = fopen(argv[2], "rb");

	if (file == NULL) {
		perror(argv[2]);
		return 1;
	}
	size = fread(message, 1, sizeof(message), file);
	fclose(file);
	if (agent_client_app_sign(app->client, argv[0], argv[1], message, size, sig, &sig_size, label, &err) < 0)
		return failed(err);
	/* What a server does, with the public key it knows the device by. */
	agent_signer_get_public(app->signer, &spki, &spki_size);
	if (agent_app_signature_verify(app->ctx, spki, spki_size, label, argv[1], message, size, sig, sig_size, &err) < 0)
		return failed(err);
	printf("label %s\nsignature ", label);
	for (size_t i = 0; i < sig_size; i++)
		printf("%02x", sig[i]);
	putchar('\n');
	return 0;
}

/* ---- sealed secrets ------------------------------------------------------------------------------------------------ */

#define FILE_MAX_BYTES 65536

/* At most FILE_MAX_BYTES; the caller frees. */
static uint8_t *read_file(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(FILE_MAX_BYTES + 1);

	if (file == NULL || data == NULL) {
		perror(path);
		free(data);
		data = NULL;
	} else {
		*ret_size = fread(data, 1, FILE_MAX_BYTES + 1, file);
	}
	if (file != NULL)
		fclose(file);
	return data;
}

static uint32_t pcr_mask(const char *list)
{
	uint32_t mask = 0;
	char *end;

	for (; *list != '\0'; list = *end == ',' ? end + 1 : end) {
		unsigned long pcr = strtoul(list, &end, 10);

		if (end == list || pcr > 23)
			return 0;
		mask |= UINT32_C(1) << pcr;
	}
	return mask;
}

static int do_seal(struct app *app, char **argv)
{
	struct agent_seal_options options = { .policy = AGENT_SEAL_ALWAYS };
	struct agent_error *err = NULL;
	uint8_t *secret = NULL, *signer = NULL, *sealed = NULL;
	size_t size = 0, sealed_size = 0;
	int r = 1;

	secret = read_file(argv[1], &size);
	if (argv[2] != NULL) {
		options.policy = argv[3] == NULL ? AGENT_SEAL_PCR : AGENT_SEAL_SIGNED_PCR;
		options.pcr_mask = pcr_mask(argv[2]);
	}
	if (argv[2] != NULL && argv[3] != NULL)
		options.signer = signer = read_file(argv[3], &options.signer_size);
	if (secret != NULL && (options.policy != AGENT_SEAL_SIGNED_PCR || signer != NULL)) {
		if (agent_client_seal(app->client, argv[0], secret, size, &options, &sealed, &sealed_size, &err) < 0)
			r = failed(err);
		else
			r = fwrite(sealed, 1, sealed_size, stdout) == sealed_size ? 0 : 1;
		OPENSSL_cleanse(secret, size);
	}
	free(secret);
	free(signer);
	free(sealed);
	return r;
}

static int do_unseal(struct app *app, char **argv)
{
	static uint8_t secret[AGENT_CLIENT_SECRET_MAX];
	struct agent_unseal_options options = { 0 };
	struct agent_error *err = NULL;
	uint8_t *sealed = NULL, *signatures = NULL;
	size_t size = 0, n = 0;
	int r = 1;

	sealed = read_file(argv[1], &size);
	if (argv[2] != NULL)
		options.signatures = (char *)(signatures = read_file(argv[2], &options.signatures_size));
	if (sealed != NULL && (argv[2] == NULL || signatures != NULL)) {
		if (agent_client_unseal(app->client, argv[0], sealed, size, &options, secret, sizeof(secret), &n, &err) < 0)
			r = failed(err);
		else
			r = fwrite(secret, 1, n, stdout) == n ? 0 : 1;
		OPENSSL_cleanse(secret, sizeof(secret));
	}
	free(sealed);
	free(signatures);
	return r;
}

/* ---- */

static const struct command {
	const char *word, *usage;
	int n_min, n_max;
	int is_signing; /* wants a signer over the key */
	int (*run)(struct app *app, char **argv); /* argv[0] is the name of the key */
} commands[] = {
	{ "tls", "KEY CERT CA HOST PORT [1.2]", 5, 6, 1, do_tls },
	{ "curl", "KEY CERT CA URL", 4, 4, 1, do_curl },
	{ "csr", "KEY SUBJECT", 2, 2, 1, do_csr },
	{ "cms", "KEY CERT FILE", 3, 3, 1, do_cms },
	{ "jwt", "KEY FILE", 2, 2, 1, do_jwt },
	{ "sign", "KEY CONTEXT FILE", 3, 3, 1, do_sign },
	{ "seal", "KEY FILE [PCRS [SIGNER.der]]", 2, 4, 0, do_seal },
	{ "unseal", "KEY FILE [SIGNATURES]", 2, 3, 0, do_unseal },
	{ "repeat", "KEY N", 2, 2, 1, do_repeat },
};

static int run(const struct command *command, const char *socket, char **argv)
{
	struct agent_error *err = NULL;
	struct app app = { 0 };
	int r = 1;

	if (agent_context_new(&app.ctx) < 0)
		return 1;
	if (agent_client_open(app.ctx, socket, &app.client, &err) < 0 ||
	    (command->is_signing && agent_client_signer(app.client, argv[0], &app.signer, &err) < 0))
		failed(err);
	else
		r = command->run(&app, argv);
	agent_signer_unref(app.signer);
	agent_client_unref(app.client);
	agent_context_unref(app.ctx);
	return r;
}

int main(int argc, char **argv)
{
	const char *socket = NULL;

	argv++, argc--;
	if (argc > 1 && strcmp(argv[0], "-s") == 0) {
		socket = argv[1];
		argv += 2, argc -= 2;
	}
	for (size_t i = 0; argc > 0 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[0], commands[i].word) == 0 && argc - 1 >= commands[i].n_min && argc - 1 <= commands[i].n_max)
			return run(&commands[i], socket, argv + 1);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(stderr, "%s vendor-app [-s SOCKET] %s %s\n", i == 0 ? "usage:" : "      ", commands[i].word, commands[i].usage);
	return 2;
}
