/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <agent/openssl.h>
#include <agent/tls.h>

#include "base/file.h"
#include "base/macro.h"
#include "base/time.h"
#include "context.h"
#include "crypto/verify_issuers.h"
#include "crypto/verify_lists.h"
#include "net/tls_reason.h"

#define PEM_FILE_MAX (256 * KIB)	/* some hundred certificates */

DEFINE_CLEANUP(BIO *, BIO_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(X509_STORE *, X509_STORE_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(struct agent_tls *, agent_tls_unref)
DEFINE_CLEANUP(struct agent_signer *, agent_signer_unref)
#define _cleanup_certs_ _cleanup_(free_certs)

struct agent_tls {
	atomic_uint n_refs;
	struct agent_context *ctx;
	OSSL_LIB_CTX *libctx;	/* lent by ctx */
	struct tls_record *record;
	X509_STORE *anchors;
	STACK_OF(X509) *chain;	/* leaf first; NULL without a client certificate */
	EVP_PKEY *pkey;
	int allow_tls12;
	SSL_CTX *ssl_ctx;
};

static void free_certs(STACK_OF(X509) **certs)
{
	sk_X509_pop_free(*certs, X509_free);
}

static int openssl_failed(struct agent_error **err, const char *what)
{
	unsigned long e = ERR_peek_last_error();
	char buf[OPENSSL_ERROR_TEXT];
	int r;

	r = agent_error_set(err, -EIO, "tls.openssl", "OpenSSL cannot %s: %s", what, tls_reason_text(e, buf));
	agent_error_set_foreign(err, AGENT_ERROR_OPENSSL, (uint32_t)e);
	ERR_clear_error();
	return r;
}

static int parse_certificates(OSSL_LIB_CTX *libctx, const char *pem, size_t size, const char *from, STACK_OF(X509) **ret_certs,
			      struct agent_error **err)
{
	_cleanup_certs_ STACK_OF(X509) *certs = sk_X509_new_null();
	/* Some editors put it there, and OpenSSL would pass over the certificate behind it. */
	size_t mark = size >= 3 && memcmp(pem, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	_cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem + mark, (int)(size - mark));

	if (bio == NULL || certs == NULL)
		return -ENOMEM;
	for (;;) {
		_cleanup_(X509_freep) X509 *cert = X509_new_ex(libctx, NULL);
		unsigned long e;

		if (cert == NULL)
			return -ENOMEM;
		if (PEM_read_bio_X509(bio, &cert, NULL, NULL) == NULL) {
			e = ERR_peek_last_error();
			ERR_clear_error();
			if (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE)
				break;
			return agent_error_set(err, -EBADMSG, "tls.file", "%s: certificate %d is damaged", from, sk_X509_num(certs) + 1);
		}
		if (sk_X509_push(certs, cert) <= 0)
			return -ENOMEM;
		cert = NULL;
	}
	if (sk_X509_num(certs) == 0)
		return agent_error_set(err, -EBADMSG, "tls.file", "%s holds no certificate in PEM form", from);
	*ret_certs = TAKE_PTR(certs);
	return 0;
}

static int read_certificates(OSSL_LIB_CTX *libctx, const char *path, STACK_OF(X509) **ret_certs, struct agent_error **err)
{
	_cleanup_free_ char *pem = NULL;
	size_t size;
	int r;

	r = file_read_at(AT_FDCWD, path, PEM_FILE_MAX, &pem, &size, err);
	return r < 0 ? r : parse_certificates(libctx, pem, size, path, ret_certs, err);
}

/* The signer in use, with its failures kept for agent_tls_explain(): OpenSSL would shrink them to "sign failed". */
struct noting_signer {
	struct agent_signer_ops ops;
	struct agent_signer *inner;
	struct tls_record *record;
};

static int noting_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
		       uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	struct noting_signer *s = userdata;
	_cleanup_error_ struct agent_error *why = NULL;
	int r;

	r = agent_signer_sign(s->inner, scheme, hash, digest, digest_size, ret_sig, ret_size, &why);
	if (r >= 0) {
		tls_record_signed(s->record);
		return r;
	}
	if (why == NULL)
		agent_error_set(&why, r, "signer.failed", "the %s backend gives no reason", agent_signer_get_backend(s->inner));
	agent_error_set(err, r, agent_error_name(why), "%s", agent_error_message(why));
	tls_record_signer_failed(s->record, &why);
	return r;
}

static void noting_free(void *userdata)
{
	struct noting_signer *s = userdata;

	agent_signer_unref(s->inner);
	tls_record_unref(s->record);
	free(s);
}

static int noting_signer_new(struct agent_signer *inner, struct tls_record *record, struct agent_signer **ret_signer,
			     struct agent_error **err)
{
	struct noting_signer *s = calloc(1, sizeof(*s));
	const uint8_t *spki;
	size_t spki_size;
	int r;

	if (s == NULL)
		return -ENOMEM;
	s->ops.backend = agent_signer_get_backend(inner);
	s->ops.sign = noting_sign;
	s->ops.free = noting_free;
	s->inner = agent_signer_ref(inner);
	s->record = tls_record_ref(record);
	agent_signer_get_public(inner, &spki, &spki_size);
	r = agent_signer_new(&s->ops, s, spki, spki_size, ret_signer, err);
	if (r < 0)
		noting_free(s);
	return r;
}

/* Key for OpenSSL that goes with @chain; failures of @signer are noted for agent_tls_explain(). */
static int make_key(struct agent_tls *tls, STACK_OF(X509) *chain, struct agent_signer *signer, const char *from, EVP_PKEY **ret_pkey,
		    struct agent_error **err)
{
	_cleanup_(agent_signer_unrefp) struct agent_signer *noting = NULL;
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *public_key = NULL;
	const uint8_t *spki;
	size_t spki_size;
	int r;

	agent_signer_get_public(signer, &spki, &spki_size);
	public_key = d2i_PUBKEY_ex(NULL, &spki, (long)spki_size, tls->libctx, NULL);
	if (public_key == NULL || EVP_PKEY_eq(public_key, X509_get0_pubkey(sk_X509_value(chain, 0))) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -EKEYREJECTED, "tls.key", "%s: the certificate is for another key than the one we sign with (%s)",
				       from, agent_signer_get_backend(signer));
	}
	r = noting_signer_new(signer, tls->record, &noting, err);
	return r < 0 ? r : agent_openssl_pkey(tls->ctx, noting, ret_pkey, err);
}

static int load_identity(struct agent_tls *tls, const struct agent_tls_options *options, struct agent_error **err)
{
	int r = read_certificates(tls->libctx, options->cert_file, &tls->chain, err);

	if (r < 0)
		return agent_error_prefix(err, r, "client certificate");
	return make_key(tls, tls->chain, options->signer, options->cert_file, &tls->pkey, err);
}

static int load_anchors(struct agent_tls *tls, const char *ca_file, struct agent_error **err)
{
	_cleanup_certs_ STACK_OF(X509) *certs = NULL;
	int r;

	r = read_certificates(tls->libctx, ca_file, &certs, err);
	if (r < 0)
		return agent_error_prefix(err, r, "trust anchors");
	tls->anchors = X509_STORE_new();
	if (tls->anchors == NULL)
		return -ENOMEM;
	for (int i = 0; i < sk_X509_num(certs); i++)
		if (X509_STORE_add_cert(tls->anchors, sk_X509_value(certs, i)) != 1)
			return openssl_failed(err, "use the trust anchors");
	verify_issuers_use(tls->anchors);
	verify_lists_use(tls->anchors);
	for (int i = 0; i < sk_X509_CRL_num(tls->record->checks.crls); i++)
		if (X509_STORE_add_crl(tls->anchors, sk_X509_CRL_value(tls->record->checks.crls, i)) != 1)
			return openssl_failed(err, "use the revocation lists");
	return 0;
}

static int set_checks(struct agent_tls *tls, SSL_CTX *ssl_ctx, struct agent_error **err)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ssl_ctx);
	int ok;

	SSL_CTX_set1_cert_store(ssl_ctx, tls->anchors);
	SSL_CTX_set_verify_depth(ssl_ctx, VERIFY_DEPTH_MAX);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	ok = tls->record->is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, tls->record->peer_name)
				: X509_VERIFY_PARAM_set1_host(param, tls->record->peer_name, 0);
	if (ok != 1 || X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER) != 1)
		return openssl_failed(err, "set up certificate verification");
	if (tls->record->checks.crls != NULL || tls->record->checks.crl == AGENT_TLS_CRL_REQUIRED)
		X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return 0;
}

int agent_openssl_configure(struct agent_tls *tls, SSL_CTX *ssl_ctx, struct agent_error **err)
{
	STACK_OF(X509) *rest = NULL;
	int r;

	if (tls == NULL || ssl_ctx == NULL)
		return agent_error_set(err, -EINVAL, "tls.options", "no TLS profile or no SSL_CTX given");
	r = agent_openssl_restrict(ssl_ctx, tls->allow_tls12 ? AGENT_TLS_CLIENT_OLD : AGENT_TLS_CLIENT, err);
	if (r < 0)
		return r;
	r = set_checks(tls, ssl_ctx, err);
	if (r < 0)
		return r;
	if (tls_record_attach(tls->record, ssl_ctx) < 0)
		return openssl_failed(err, "attach a TLS profile; there may be one already");
	if (tls->chain == NULL)
		return 0;

	rest = sk_X509_dup(tls->chain);
	if (rest == NULL)
		return -ENOMEM;
	sk_X509_shift(rest);
	r = SSL_CTX_use_cert_and_key(ssl_ctx, sk_X509_value(tls->chain, 0), tls->pkey, rest, 1);
	sk_X509_free(rest);
	return r == 1 ? 0 : openssl_failed(err, "use our certificate with its key");
}

static int make_ssl_ctx(struct agent_tls *tls, SSL_CTX **ret_ssl_ctx, struct agent_error **err)
{
	SSL_CTX *ssl_ctx = SSL_CTX_new_ex(tls->libctx, NULL, TLS_client_method());
	int r;

	if (ssl_ctx == NULL)
		return openssl_failed(err, "make an SSL_CTX");
	r = agent_openssl_configure(tls, ssl_ctx, err);
	if (r < 0) {
		SSL_CTX_free(ssl_ctx);
		return r;
	}
	/* MQTT frames its messages, and libmosquitto 2.0 gives up for good on the error this would otherwise be. */
	SSL_CTX_set_options(ssl_ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	*ret_ssl_ctx = ssl_ctx;
	return 0;
}

/*
 * A new SSL_CTX: in the old one a certificate of another type would stay beside the new one. Connections hold the SSL_CTX they
 * were made with.
 */
int agent_tls_set_identity(struct agent_tls *tls, const char *pem, size_t size, struct agent_signer *signer, struct agent_error **err)
{
	_cleanup_certs_ STACK_OF(X509) *chain = NULL;
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	STACK_OF(X509) *old_chain;
	EVP_PKEY *old_pkey;
	SSL_CTX *ssl_ctx;
	int r;

	if (tls == NULL || pem == NULL || signer == NULL || size > PEM_FILE_MAX)
		return agent_error_set(err, -EINVAL, "tls.options", "a profile, a certificate of at most %zu bytes and its signer are required",
				       PEM_FILE_MAX);
	r = parse_certificates(tls->libctx, pem, size, "client certificate", &chain, err);
	if (r >= 0)
		r = make_key(tls, chain, signer, "client certificate", &pkey, err);
	if (r < 0)
		return r == -ENOMEM ? agent_error_set(err, r, "tls.memory", "out of memory") : r;
	old_chain = tls->chain;
	old_pkey = tls->pkey;
	tls->chain = chain;
	tls->pkey = pkey;
	r = make_ssl_ctx(tls, &ssl_ctx, err);
	if (r < 0) {
		tls->chain = old_chain;
		tls->pkey = old_pkey;
		return r;
	}
	SSL_CTX_free(tls->ssl_ctx);
	tls->ssl_ctx = ssl_ctx;
	chain = old_chain; /* for the cleanup */
	pkey = old_pkey;
	return 0;
}

int agent_tls_new(struct agent_context *ctx, const struct agent_tls_options *options, struct agent_tls **ret_tls, struct agent_error **err)
{
	_cleanup_(agent_tls_unrefp) struct agent_tls *tls = NULL;
	int r;

	if (ctx == NULL || options == NULL || ret_tls == NULL || options->ca_file == NULL || options->peer_name == NULL ||
	    options->peer_name[0] == '\0')
		return agent_error_set(err, -EINVAL, "tls.options", "trust anchors and the peer's name are required");
	for (const char *p = options->peer_name; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			return agent_error_set(err, -EINVAL, "tls.options", "certificates have names in ASCII only: write \"%s\" in its form with xn--",
					       options->peer_name);
	if ((options->cert_file == NULL) != (options->signer == NULL))
		return agent_error_set(err, -EINVAL, "tls.options", "a client certificate needs its signer, and a signer its certificate");

	tls = calloc(1, sizeof(*tls));
	if (tls == NULL)
		return agent_error_set(err, -ENOMEM, "tls.memory", "out of memory");
	atomic_init(&tls->n_refs, 1);
	tls->ctx = agent_context_ref(ctx);
	tls->allow_tls12 = options->allow_tls12;
	r = tls_record_new(options->peer_name, options->time, &tls->record);
	if (r < 0)
		return agent_error_set(err, r, "tls.memory", "out of memory");
	r = agent_openssl_libctx(ctx, &tls->libctx, err);
	if (r < 0)
		return r;
	r = tls_checks_load(&tls->record->checks, tls->libctx, options, err);
	if (r >= 0)
		r = load_anchors(tls, options->ca_file, err);
	if (r < 0)
		return r;
	if (options->cert_file != NULL) {
		r = load_identity(tls, options, err);
		if (r < 0)
			return r;
	}
	r = make_ssl_ctx(tls, &tls->ssl_ctx, err);
	if (r < 0)
		return r;
	*ret_tls = TAKE_PTR(tls);
	return 0;
}

struct agent_tls *agent_tls_ref(struct agent_tls *tls)
{
	if (tls != NULL)
		atomic_fetch_add(&tls->n_refs, 1);
	return tls;
}

struct agent_tls *agent_tls_unref(struct agent_tls *tls)
{
	if (tls == NULL || atomic_fetch_sub(&tls->n_refs, 1) != 1)
		return NULL;
	SSL_CTX_free(tls->ssl_ctx);
	EVP_PKEY_free(tls->pkey);
	sk_X509_pop_free(tls->chain, X509_free);
	X509_STORE_free(tls->anchors);
	tls_record_unref(tls->record);
	agent_context_unref(tls->ctx);
	free(tls);
	return NULL;
}

SSL_CTX *agent_openssl_ssl_ctx(struct agent_tls *tls)
{
	return tls == NULL ? NULL : tls->ssl_ctx;
}

int agent_tls_explain(struct agent_tls *tls, struct agent_error **err)
{
	struct agent_time_reading now;

	if (tls == NULL)
		return 0;
	agent_time_get(tls->record->time, &now);
	return tls_record_explain(tls->record, &now, time_system_s(), err);
}

int agent_tls_backup_pins(struct agent_tls *tls)
{
	int n;

	if (tls == NULL)
		return -EINVAL;
	pthread_mutex_lock(&tls->record->lock);
	n = tls->record->n_unused_pins;
	pthread_mutex_unlock(&tls->record->lock);
	return n < 0 ? -ENODATA : n;
}

int agent_tls_check_time(struct agent_tls *tls, int64_t *ret_not_before_s, int64_t *ret_not_after_s, struct agent_error **err)
{
	if (tls == NULL)
		return agent_error_set(err, -EINVAL, "tls.options", "no TLS profile given");
	return tls_record_check_time(tls->record, ret_not_before_s, ret_not_after_s, err);
}

int64_t agent_tls_signed_time(struct agent_tls *tls)
{
	int64_t signed_s = 0;

	if (tls == NULL)
		return 0;
	pthread_mutex_lock(&tls->record->lock);
	signed_s = tls->record->signed_s;
	pthread_mutex_unlock(&tls->record->lock);
	return signed_s;
}

enum agent_tls_shown agent_tls_take_shown(struct agent_tls *tls)
{
	enum agent_tls_shown shown = AGENT_TLS_NOT_SHOWN;

	if (tls == NULL)
		return shown;
	pthread_mutex_lock(&tls->record->lock);
	if (tls->record->has_signed)
		shown = tls->record->is_alert_certain ? AGENT_TLS_REFUSED : AGENT_TLS_SHOWN;
	tls->record->has_signed = tls->record->is_alert_certain = false;
	pthread_mutex_unlock(&tls->record->lock);
	return shown;
}
