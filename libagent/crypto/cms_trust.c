/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/cms_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <agent/command.h>
#include <agent/openssl.h>

#include "base/file.h"
#include "base/time.h"
#include "crypto/list_file.h"
#include "crypto/name.h"
#include "crypto/openssl_error.h"
#include "crypto/verify_dates.h"
#include "crypto/verify_issuers.h"
#include "crypto/verify_lists.h"

#define FILE_MAX_BYTES (64 * KIB)
#define CRLS_MAX 64
#define CRL_MAX_BYTES (256 * KIB)
#define AUTH_LEVEL 2	/* 112 bits: RSA-2048 and better, no SHA-1 in the chain; X509_VERIFY_PARAM_set_auth_level(3) */

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(DIR *, closedir)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free)

struct cms_trust *cms_trust_free(struct cms_trust *trust)
{
	if (trust == NULL)
		return NULL;
	sk_X509_pop_free(trust->certs, X509_free);
	X509_STORE_free(trust->store);
	for (size_t i = 0; i < trust->n_keys; i++)
		EVP_PKEY_free(trust->keys[i]);
	agent_context_unref(trust->ctx);
	free(trust);
	return NULL;
}

static int at_end_of_pem(void)
{
	unsigned long e = ERR_peek_last_error();

	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static int add_certs(struct cms_trust *trust, const char *name, BIO *bio, struct agent_error **err)
{
	unsigned n = 0;

	ERR_clear_error();
	for (;;) {
		_cleanup_(X509_freep) X509 *cert = X509_new_ex(trust->libctx, NULL);

		if (cert == NULL)
			return agent_error_set(err, -ENOMEM, "memory", "no memory for certificates");
		if (PEM_read_bio_X509(bio, &cert, NULL, NULL) == NULL) {
			if (n > 0 && at_end_of_pem())
				break;
			return openssl_error_set(err, -EBADMSG, "update.trust", "%s holds something that is no PEM certificate", name);
		}
		if (sk_X509_num(trust->certs) >= CMS_CERTS_MAX)
			return agent_error_set(err, -EMSGSIZE, "update.trust", "more than %d certificates", CMS_CERTS_MAX);
		if (X509_STORE_add_cert(trust->store, cert) != 1 || sk_X509_push(trust->certs, cert) <= 0)
			return openssl_error_set(err, -ENOMEM, "update.trust", "cannot add a certificate of %s", name);
		cert = NULL;
		n++;
	}
	ERR_clear_error();
	return 0;
}

static int add_crls(struct cms_trust *trust, const char *name, const char *data, size_t size, unsigned *n_crls, struct agent_error **err)
{
	STACK_OF(X509_CRL) *lists = NULL;
	int at, r = list_file_parse(trust->libctx, data, size, CRLS_MAX - (int)*n_crls, &lists, &at);

	if (r == -EBADMSG)
		return agent_error_set(err, r, "update.trust", "%s holds no revocation list, or list %d is damaged", name, at);
	if (r == -EMSGSIZE)
		return agent_error_set(err, r, "update.trust", "more than %d revocation lists", CRLS_MAX);
	if (r < 0)
		return agent_error_set(err, r, "memory", "no memory for revocation lists");
	for (int i = 0; r >= 0 && i < sk_X509_CRL_num(lists); i++, ++*n_crls)
		if (X509_STORE_add_crl(trust->store, sk_X509_CRL_value(lists, i)) != 1)
			r = openssl_error_set(err, -ENOMEM, "update.trust", "cannot add the revocation list %s", name);
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
	return r;
}

static int add_key(struct cms_trust *trust, const char *name, BIO *bio, struct agent_error **err)
{
	EVP_PKEY *key = PEM_read_bio_PUBKEY_ex(bio, NULL, NULL, NULL, trust->libctx, NULL);

	if (key == NULL)
		return openssl_error_set(err, -EBADMSG, "update.trust", "%s is no PEM public key", name);
	if (trust->n_keys == CMS_KEYS_MAX || !EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) < 2048 || EVP_PKEY_get_bits(key) > 8192) {
		EVP_PKEY_free(key);
		return agent_error_set(err, -EBADMSG, "update.trust", "%s must be one of at most %d RSA keys of 2048 to 8192 bits", name, CMS_KEYS_MAX);
	}
	trust->keys[trust->n_keys++] = key;
	return 0;
}

static int has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && strcmp(name + n - m, suffix) == 0;
}

static int add_file(struct cms_trust *trust, int dir_fd, const char *name, unsigned *n_crls, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = NULL;
	_cleanup_free_ char *data = NULL;
	int is_crl = has_suffix(name, ".crl"), is_key = has_suffix(name, ".pub"), r;
	size_t size;

	if (name[0] == '.' || (!is_crl && !is_key && !has_suffix(name, ".pem")))
		return 0;
	r = file_read_at(dir_fd, name, is_crl ? CRL_MAX_BYTES : FILE_MAX_BYTES, &data, &size, err);
	if (r < 0)
		return r;
	if (is_crl)
		return add_crls(trust, name, data, size, n_crls, err);
	bio = BIO_new_mem_buf(data, (int)size);
	if (bio == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for certificates");
	return is_key ? add_key(trust, name, bio, err) : add_certs(trust, name, bio, err);
}

static int trust_new(struct agent_context *ctx, struct cms_trust **ret_trust, struct agent_error **err)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = calloc(1, sizeof(*trust));
	int r;

	if (trust == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for certificates");
	r = agent_openssl_libctx(ctx, &trust->libctx, err);
	if (r < 0)
		return r;
	trust->ctx = agent_context_ref(ctx);
	trust->certs = sk_X509_new_null();
	trust->store = X509_STORE_new();
	if (trust->certs == NULL || trust->store == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for certificates");
	verify_issuers_use(trust->store);
	verify_lists_use(trust->store);
	*ret_trust = TAKE_PTR(trust);
	return 0;
}

int cms_trust_parse(struct agent_context *ctx, const char *certs, const struct cms_trust *crls_of, struct cms_trust **ret_trust,
		    struct agent_error **err)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(certs, -1);
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(crls_of->store);
	int r = bio == NULL ? agent_error_set(err, -ENOMEM, "memory", "no memory for certificates") : trust_new(ctx, &trust, err);

	if (r == 0)
		r = add_certs(trust, "the list of certificates", bio, err);
	if (r < 0)
		return r;
	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509_CRL *crl = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));

		if (crl != NULL && X509_STORE_add_crl(trust->store, crl) != 1)
			return openssl_error_set(err, -ENOMEM, "update.trust", "cannot add a revocation list");
	}
	trust->requires_crls = crls_of->requires_crls;
	*ret_trust = TAKE_PTR(trust);
	return 0;
}

void cms_trust_require_crls(struct cms_trust *trust, bool require)
{
	trust->requires_crls = require;
}

void cms_trust_set_purpose(struct cms_trust *trust, enum cms_purpose purpose)
{
	trust->purpose = purpose;
}

void cms_trust_skip_crls(struct cms_trust *trust, bool skip)
{
	trust->skips_crls = skip;
}

int cms_trust_load(struct agent_context *ctx, const char *path, struct cms_trust **ret_trust, struct agent_error **err)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *entry;
	unsigned n_crls = 0;
	int r = trust_new(ctx, &trust, err);

	if (r < 0)
		return r;
	dir = opendir(path);
	if (dir == NULL)
		return agent_error_set(err, -errno, "update.trust", "cannot open the folder of update signers %s: %s", path, strerror(errno));
	while ((errno = 0, entry = readdir(dir)) != NULL) {
		r = add_file(trust, dirfd(dir), entry->d_name, &n_crls, err);
		if (r < 0)
			return agent_error_prefix(err, r, "update signers in %s", path);
	}
	if (errno != 0)
		return agent_error_set(err, -errno, "update.trust", "cannot read the folder %s: %s", path, strerror(errno));
	if (sk_X509_num(trust->certs) == 0 && trust->n_keys == 0)
		return agent_error_set(err, -ENOKEY, "update.trust", "no update signer is pinned: put its certificate into %s/NAME.pem", path);
	*ret_trust = TAKE_PTR(trust);
	return 0;
}

int cms_key_digest(X509_PUBKEY *key, uint8_t ret_digest[DIGEST_SIZE], struct agent_error **err)
{
	uint8_t *der = NULL;
	int n = i2d_X509_PUBKEY(key, &der), r;

	r = n <= 0 ? -ENOMEM : digest_sha256(der, (size_t)n, ret_digest);
	OPENSSL_free(der);
	return r < 0 ? agent_error_set(err, r, "memory", "no memory for a digest") : 0;
}

bool cms_key_is_among(const uint8_t keys[][DIGEST_SIZE], size_t n, const uint8_t key[DIGEST_SIZE])
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(keys[i], key, DIGEST_SIZE) == 0)
			return true;
	return false;
}

_Static_assert(CMS_CERTS_MAX + CMS_KEYS_MAX == CMS_TRUST_KEYS_MAX, "room for all of them");

int cms_trust_keys(const struct cms_trust *trust, bool with_bare, uint8_t ret_keys[CMS_TRUST_KEYS_MAX][DIGEST_SIZE], struct agent_error **err)
{
	int n_certs = sk_X509_num(trust->certs), n = 0, r;

	for (int i = 0; i < n_certs + (with_bare ? (int)trust->n_keys : 0); i++) {
		X509_PUBKEY *bare = NULL;

		if (i >= n_certs && X509_PUBKEY_set(&bare, trust->keys[i - n_certs]) != 1)
			return openssl_error_set(err, -ENOMEM, "memory", "no memory for a key");
		r = cms_key_digest(bare != NULL ? bare : X509_get_X509_PUBKEY(sk_X509_value(trust->certs, i)), ret_keys[n], err);
		X509_PUBKEY_free(bare);
		if (r < 0)
			return r;
		n += !cms_key_is_among((const uint8_t(*)[DIGEST_SIZE])ret_keys, (size_t)n, ret_keys[n]);
	}
	return n;
}

int cms_trust_has(const struct cms_trust *trust, const X509 *cert)
{
	for (int i = 0; i < sk_X509_num(trust->certs); i++)
		if (X509_cmp(sk_X509_value(trust->certs, i), cert) == 0)
			return 1;
	return 0;
}

static const char *show_time(const ASN1_TIME *t, char text[32])
{
	struct tm tm;

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1 || strftime(text, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(text, 32, "an unreadable time");
	return text;
}

/* What X509_verify_cert() objects to, as a sentence about the certificate it objects to. */
static int explain(X509_STORE_CTX *check, uint64_t now_s, const char *signer, struct agent_error **err)
{
	int code = X509_STORE_CTX_get_error(check);
	X509 *cert = X509_STORE_CTX_get_current_cert(check);
	char subject[80] = "?", when[32], clock[TIME_TEXT_SIZE];
	int r;

	time_text((int64_t)now_s, clock);
	if (cert != NULL)
		name_show(X509_get_subject_name(cert), subject, sizeof(subject));
#define REFUSE(...) r = agent_error_set(err, -EKEYREJECTED, "update.signer", __VA_ARGS__)
	switch (code) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		REFUSE("signer \"%s\": certificate \"%s\" expired on %s, the clock says %s", signer, subject,
		       show_time(cert == NULL ? NULL : X509_get0_notAfter(cert), when), clock);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		REFUSE("signer \"%s\": certificate \"%s\" is not yet valid: it starts on %s, the clock says %s", signer, subject,
		       show_time(cert == NULL ? NULL : X509_get0_notBefore(cert), when), clock);
		break;
	case X509_V_ERR_CERT_REVOKED:
		REFUSE("signer \"%s\": certificate \"%s\" is revoked", signer, subject);
		break;
	case X509_V_ERR_UNABLE_TO_GET_CRL:
		REFUSE("signer \"%s\": there is no revocation list of the issuer of \"%s\", and this device demands one", signer, subject);
		break;
	case X509_V_ERR_CRL_HAS_EXPIRED:
	case X509_V_ERR_CRL_NOT_YET_VALID:
		REFUSE("signer \"%s\": the revocation list for \"%s\" is not valid now (%s); install a fresh one", signer, subject, clock);
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		REFUSE("signer \"%s\" is unknown: neither it nor its issuer is pinned on this device", signer);
		break;
	case X509_V_ERR_OUT_OF_MEM:
		r = agent_error_set(err, -ENOMEM, "memory", "no memory to check the signer \"%s\"", signer);
		break;
	default:
		REFUSE("signer \"%s\": certificate \"%s\": %s", signer, subject, X509_verify_cert_error_string(code));
		break;
	}
#undef REFUSE
	return r;
}

/* A revocation list is checked where there is one; having none is no error, unless the device says so. An anchor was issued by nobody here. */
static int crl_is_optional(int ok, X509_STORE_CTX *check)
{
	const struct cms_trust *trust = X509_STORE_CTX_get_app_data(check);
	int depth = X509_STORE_CTX_get_error_depth(check);

	if (!ok && X509_STORE_CTX_get_error(check) == X509_V_ERR_UNABLE_TO_GET_CRL &&
	    (depth + 1 == sk_X509_num(X509_STORE_CTX_get0_chain(check)) || (verify_lists_are_missing(check) && !trust->requires_crls))) {
		X509_STORE_CTX_set_error(check, X509_V_OK);
		return 1;
	}
	return ok;
}

static int verify_chain(const struct cms_trust *trust, X509 *cert, uint64_t now_s, unsigned long flags, const char *signer,
			int *ret_code, struct agent_error **err)
{
	_cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *check = X509_STORE_CTX_new_ex(trust->libctx, NULL);
	/* Whoever says what time it is has to be right: what begins later is refused, whatever the state of the time is. */
	const struct agent_time_reading now = { .state = AGENT_TIME_NETWORK, .now_s = now_s };
	int ok;

	/* No untrusted certificates: what came with the signature builds no chain. */
	if (check == NULL || X509_STORE_CTX_init(check, trust->store, cert, NULL) != 1)
		return agent_error_set(err, -ENOMEM, "memory", "no memory to check a certificate");
	X509_STORE_CTX_set_flags(check, (trust->skips_crls ? 0 : X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) | flags);
	X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(check), AUTH_LEVEL);
	if (X509_STORE_CTX_set_app_data(check, (void *)(uintptr_t)trust) != 1)
		return agent_error_set(err, -ENOMEM, "memory", "no memory to check a certificate");
	X509_STORE_CTX_set_verify_cb(check, crl_is_optional);
	ok = verify_at(check, &now) == 1;
	*ret_code = X509_STORE_CTX_get_error(check);
	return ok ? 0 : explain(check, now_s, signer, err);
}

static int lacks_root(int code)
{
	return code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT || code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	       code == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

int cms_trust_is_key(EVP_PKEY *pkey)
{
	char group[32];

	if (pkey == NULL)
		return 0;
	if (EVP_PKEY_is_a(pkey, "RSA") || EVP_PKEY_is_a(pkey, "RSA-PSS"))
		return EVP_PKEY_get_bits(pkey) >= 2048 && EVP_PKEY_get_bits(pkey) <= 8192;
	if (EVP_PKEY_is_a(pkey, "EC"))
		return EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) == 1 &&
		       (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0 || strcmp(group, "secp521r1") == 0);
	return EVP_PKEY_is_a(pkey, "ED25519");
}

static bool has_command_usage(const X509 *cert)
{
	EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
	bool is_there = false;
	char oid[96];

	for (int i = 0; i < sk_ASN1_OBJECT_num(usages); i++)
		is_there |= OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(usages, i), 1) > 0 && strcmp(oid, AGENT_COMMAND_EKU) == 0;
	EXTENDED_KEY_USAGE_free(usages);
	return is_there;
}

int cms_trust_check(const struct cms_trust *trust, X509 *cert, uint64_t now_s, struct agent_error **err)
{
	uint32_t flags = X509_get_extension_flags(cert);
	char signer[80];
	int code, r;

	name_show(X509_get_subject_name(cert), signer, sizeof(signer));
#define REFUSE(...) return agent_error_set(err, -EKEYREJECTED, "update.signer", __VA_ARGS__)
	if (!cms_trust_is_key(X509_get0_pubkey(cert)))
		REFUSE("signer \"%s\" has a key that is not RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519", signer);
	if (flags & EXFLAG_INVALID)
		REFUSE("signer \"%s\": its certificate has malformed extensions", signer);
	if (flags & EXFLAG_CRITICAL)
		REFUSE("signer \"%s\": its certificate has an unknown critical extension", signer);
	if ((flags & EXFLAG_CA) && !cms_trust_has(trust, cert))
		REFUSE("signer \"%s\" is a CA that is not pinned; a CA issues signers and does not sign itself", signer);
	r = verify_chain(trust, cert, now_s, 0, signer, &code, err);
	/* A pinned signer or intermediate CA stands for itself when its own issuer is not pinned. */
	if (r < 0 && lacks_root(code))
		r = verify_chain(trust, cert, now_s, X509_V_FLAG_PARTIAL_CHAIN, signer, &code, err);
	if (r < 0)
		return r;
	/* After the chain, so that a stranger's certificate is called unknown first. */
	if (trust->purpose == CMS_PURPOSE_COMMAND && !has_command_usage(cert))
		REFUSE("signer \"%s\": its certificate lacks the extended key usage of commands, " AGENT_COMMAND_EKU, signer);
	if (trust->purpose == CMS_PURPOSE_CODE && (!(flags & EXFLAG_XKUSAGE) || !(X509_get_extended_key_usage(cert) & XKU_CODE_SIGN)))
		REFUSE("signer \"%s\": its certificate lacks the extended key usage codeSigning", signer);
	if ((flags & EXFLAG_KUSAGE) && !(X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE))
		REFUSE("signer \"%s\": its certificate lacks the key usage digitalSignature", signer);
#undef REFUSE
	return 0;
}
