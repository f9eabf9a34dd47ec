/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner's own certificate for HTTPS. We make the key and a request for it, so the private half never travels to us; at rest
 * it is sealed by the TPM. A TPM makes too few signatures for handshakes, so agentd-mgmt gets the key while the certificate
 * is good, over its private socket, and keeps it in memory. Key and chain are one file: both change in one step.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <agent/seal.h>

#include "agentd/common/peer.h"
#include "agentd/core/clock.h"
#include "agentd/core/core.h"
#include "agentd/core/https_check.h"
#include "agentd/core/job.h"
#include "agentd/core/store.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

#define FILE_NEXT "https-next.owner" /* the sealed key that a certificate is waited for */
#define SEALED_NAME "AGENTD SEALED KEY"
#define FILE_MAX (64 * KIB)
#define DER_MAX 512 /* a P-256 key as PKCS #8 has 138 bytes */

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(PKCS8_PRIV_KEY_INFO *, PKCS8_PRIV_KEY_INFO_free)

struct https_job {
	struct op_job base;
	char *pem;	 /* in: a chain; out: a request, or the chain in use */
	struct secret key; /* out: PKCS #8 */
	struct https_about about;
	bool is_installed, is_pending, is_expired, is_early, was_there;
};

static void https_job_free(struct op_job *base)
{
	struct https_job *job = (struct https_job *)base;

	free(job->pem);
	secret_free(&job->key);
}

static int crypto_failed(struct agent_error **err)
{
	ERR_clear_error();
	return agent_error_set(err, -EIO, "https.crypto", "OpenSSL cannot make a key or a request");
}

/* ---- the file: sealed key, then chain ------------------------------------------------------------------------------- */

static int seal_key(struct store *store, EVP_PKEY *key, char **ret_pem, struct agent_error **err)
{
	_cleanup_(PKCS8_PRIV_KEY_INFO_freep) PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	_cleanup_(BIO_free_allp) BIO *out = BIO_new(BIO_s_mem());
	_cleanup_secret_ struct secret der = { 0 };
	_cleanup_free_ uint8_t *sealed = NULL;
	int size = info == NULL ? -1 : i2d_PKCS8_PRIV_KEY_INFO(info, NULL), r;
	size_t sealed_size;
	uint8_t *to;
	char *text;
	long n;

	if (size <= 0 || size > DER_MAX || out == NULL)
		return crypto_failed(err);
	if (secret_alloc(&der, (size_t)size) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a key");
	to = der.data;
	if (i2d_PKCS8_PRIV_KEY_INFO(info, &to) != size)
		return crypto_failed(err);
	der.size = (size_t)size;
	r = agent_seal(store->tpm, der.data, der.size, NULL, &sealed, &sealed_size, err);
	if (r < 0)
		return r;
	if (PEM_write_bio(out, SEALED_NAME, "", sealed, (long)sealed_size) <= 0 || (n = BIO_get_mem_data(out, &text)) <= 0)
		return crypto_failed(err);
	*ret_pem = strndup(text, (size_t)n);
	return *ret_pem == NULL ? agent_error_set(err, -ENOMEM, "core.memory", "no memory for a key") : 0;
}

/* -ENOENT when there is no such file. *ret_chain is what stands behind the key. */
static int read_file(struct store *store, const char *file, char **ret_text, const char **ret_chain, struct agent_error **err)
{
	static const char end[] = "-----END " SEALED_NAME "-----\n";
	size_t size;
	char *chain;
	int r = file_read_at(store->keys_fd, file, FILE_MAX, ret_text, &size, err);

	if (r < 0)
		return r;
	chain = strstr(*ret_text, end);
	if (chain == NULL || strlen(*ret_text) != size)
		return agent_error_set(err, -EBADMSG, "https.file", "%s is damaged; remove the certificate and install it again", file);
	*ret_chain = chain + strlen(end);
	return 0;
}

static int unseal_key(struct store *store, const char *text, struct secret *ret_key, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(text, -1);
	char *name = NULL, *header = NULL;
	unsigned char *sealed = NULL;
	long size = 0;
	size_t n = 0;
	int r;

	if (bio == NULL || PEM_read_bio(bio, &name, &header, &sealed, &size) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -EBADMSG, "https.file", "the sealed key of the HTTPS certificate is damaged");
	}
	r = secret_alloc(ret_key, (size_t)size);
	r = r < 0 ? agent_error_set(err, -ENOMEM, "core.memory", "no memory for a key") :
		    agent_unseal(store->tpm, sealed, (size_t)size, NULL, ret_key->data, (size_t)size, &n, err);
	if (r >= 0)
		ret_key->size = n;
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(sealed);
	return r;
}

static EVP_PKEY *parse_key(const struct secret *key)
{
	const unsigned char *at = key->data;

	return d2i_AutoPrivateKey(NULL, &at, (long)key->size);
}

static int remove_at(struct store *store, const char *file, struct agent_error **err)
{
	if (unlinkat(store->keys_fd, file, 0) < 0)
		return errno == ENOENT ? 0 : agent_error_set(err, -errno, "file.write", "cannot remove keys/%s: %s", file, strerror(errno));
	return dir_sync(store->keys_fd, err);
}

int store_remove_https(struct store *store, struct agent_error **err)
{
	int r = remove_at(store, STORE_FILE_HTTPS, err);

	return r < 0 ? r : remove_at(store, FILE_NEXT, err);
}

/* ---- a request ------------------------------------------------------------------------------------------------------ */

static int add_names(X509_REQ *req, const struct settings *settings)
{
	STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
	X509_EXTENSION *names = NULL, *usage = NULL;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	bool is_good = out != NULL;

	if (is_good) {
		fprintf(out, "DNS:gw-%s.local", settings->device.serial);
		for (char **host = settings->mgmt.hosts; host != NULL && *host != NULL; host++)
			if (strpbrk(*host, ",:; \t") == NULL)
				fprintf(out, ",DNS:%s", *host);
		is_good = fclose(out) == 0;
	}
	if (is_good) {
		names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text);
		usage = X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, "serverAuth");
	}
	is_good = names != NULL && usage != NULL && extensions != NULL && sk_X509_EXTENSION_push(extensions, names) > 0;
	if (is_good) {
		names = NULL;
		is_good = sk_X509_EXTENSION_push(extensions, usage) > 0;
		if (is_good)
			usage = NULL;
	}
	is_good = is_good && X509_REQ_add_extensions(req, extensions) == 1;
	X509_EXTENSION_free(names);
	X509_EXTENSION_free(usage);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	free(text);
	return is_good ? 0 : -EIO;
}

static int make_request(const struct settings *settings, EVP_PKEY *key, char **ret_pem, struct agent_error **err)
{
	_cleanup_(X509_REQ_freep) X509_REQ *req = X509_REQ_new();
	_cleanup_(BIO_free_allp) BIO *out = BIO_new(BIO_s_mem());
	char name[68], *text;
	long n;

	snprintf(name, sizeof(name), "gw-%.60s", settings->device.serial);
	if (req == NULL || out == NULL || X509_REQ_set_version(req, 0) != 1 || X509_REQ_set_pubkey(req, key) != 1 ||
	    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) != 1 ||
	    add_names(req, settings) < 0 || X509_REQ_sign(req, key, EVP_sha256()) <= 0 || PEM_write_bio_X509_REQ(out, req) != 1 ||
	    (n = BIO_get_mem_data(out, &text)) <= 0)
		return crypto_failed(err);
	*ret_pem = strndup(text, (size_t)n);
	return *ret_pem == NULL ? agent_error_set(err, -ENOMEM, "core.memory", "no memory for a request") : 0;
}

static int request_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct https_job *job = (struct https_job *)base;
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_free_ char *sealed = NULL;
	int r;

	if (key == NULL)
		return crypto_failed(err);
	r = make_request(store->settings, key, &job->pem, err);
	if (r >= 0)
		r = seal_key(store, key, &sealed, err);
	return r < 0 ? r : file_replace_at(store->keys_fd, FILE_NEXT, 0600, sealed, strlen(sealed), err);
}

static int request_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	event_add(core, EVENT_HTTPS_REQUESTED, "user", base->call->caller.user, "source", base->call->caller.source, NULL);
	return op_reply(base->call, "s", ((struct https_job *)base)->pem);
}

/* ---- a certificate arrives, or goes --------------------------------------------------------------------------------- */

/* For the key of the last request, else for the one in use: a renewal. */
static int install_from(struct store *store, struct https_job *job, const char *file, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL, *both = NULL;
	_cleanup_secret_ struct secret secret = { 0 };
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
	const char *chain;
	int r = read_file(store, file, &text, &chain, err);

	if (r >= 0)
		r = unseal_key(store, text, &secret, err);
	if (r < 0)
		return r;
	key = parse_key(&secret);
	if (key == NULL)
		return crypto_failed(err);
	r = https_check(store->settings, job->pem, key, clock_now(job->base.call->core), &job->about, err);
	if (r < 0)
		return r;
	if (asprintf(&both, "%.*s%s", (int)(chain - text), text, job->pem) < 0) {
		both = NULL;
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a certificate");
	}
	return file_replace_at(store->keys_fd, STORE_FILE_HTTPS, 0600, both, strlen(both), err);
}

static int install_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct https_job *job = (struct https_job *)base;
	_cleanup_error_ struct agent_error *e = NULL;
	int r = install_from(store, job, FILE_NEXT, &e);

	if (r >= 0) {
		job->is_installed = true;
		/* The certificate is in force; a request that is left behind has the same key. */
		(void)remove_at(store, FILE_NEXT, NULL);
		return 0;
	}
	/* No request, or the chain is for another key than the requested one: then it must be for the one in use. */
	if (r == -ENOENT || (e != NULL && strcmp(agent_error_name(e), "https.key") == 0)) {
		_cleanup_error_ struct agent_error *second = NULL;

		r = install_from(store, job, STORE_FILE_HTTPS, &second);
		if (r == -ENOENT)
			r = agent_error_set(&second, -EINVAL, "https.key",
					    e != NULL && strcmp(agent_error_name(e), "https.key") == 0 ?
						    "the first certificate is for another key than the last request" :
						    "there is no request to answer: make one first, so that the key never leaves the device");
		job->is_installed = r >= 0;
		return r < 0 ? agent_error_move(err, &second) : 0;
	}
	return agent_error_move(err, &e);
}

static int append_members(sd_bus_message *m, const struct https_job *job)
{
	int r = peer_append_string(m, "source", job->is_installed && !job->is_expired && !job->is_early ? "owner" : "device");

	if (r >= 0)
		r = peer_append_bool(m, "pending", job->is_pending);
	if (r < 0 || !job->is_installed)
		return r;
	r = peer_append_bool(m, "expired", job->is_expired);
	if (r >= 0)
		r = peer_append_string(m, "subject", job->about.subject);
	if (r >= 0)
		r = peer_append_string(m, "issuer", job->about.issuer);
	if (r >= 0)
		r = peer_append_string(m, "names", job->about.names);
	if (r >= 0)
		r = peer_append_string(m, "fingerprint", job->about.fingerprint);
	if (r >= 0)
		r = peer_append_u64(m, "not_before", job->about.not_before_s);
	return r < 0 ? r : peer_append_u64(m, "not_after", job->about.not_after_s);
}

static int append_about(sd_bus_message *m, const struct op_job *base)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = append_members(m, (const struct https_job *)base);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int install_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	const struct https_job *job = (const struct https_job *)base;

	core->https_expiry_is_told = false;
	event_add(core, EVENT_HTTPS_INSTALLED, "user", base->call->caller.user, "source", base->call->caller.source, "subject", job->about.subject,
		  "issuer", job->about.issuer, "fingerprint", job->about.fingerprint, NULL);
	return op_job_answer(base, "the certificate of HTTPS", append_about, err);
}

static int remove_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct https_job *job = (struct https_job *)base;

	job->was_there = faccessat(store->keys_fd, STORE_FILE_HTTPS, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	return store_remove_https(store, err);
}

static int remove_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	core->https_expiry_is_told = false;
	if (((const struct https_job *)base)->was_there)
		event_add(core, EVENT_HTTPS_REMOVED, "user", base->call->caller.user, "source", base->call->caller.source, NULL);
	return op_reply(base->call, "");
}

/* ---- what is in use ------------------------------------------------------------------------------------------------- */

static int status_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct https_job *job = (struct https_job *)base;
	_cleanup_free_ char *text = NULL;
	const char *chain;
	_cleanup_error_ struct agent_error *e = NULL;
	int r = read_file(store, STORE_FILE_HTTPS, &text, &chain, &e);

	job->is_pending = faccessat(store->keys_fd, FILE_NEXT, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = https_describe(chain, &job->about, &e);
	if (r < 0)
		return agent_error_move(err, &e);
	job->is_installed = true;
	job->is_expired = job->about.not_after_s <= (uint64_t)clock_now(base->call->core);
	job->is_early = job->about.not_before_s > (uint64_t)clock_now(base->call->core);
	return 0;
}

static int status_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return op_job_answer(base, "the certificate of HTTPS", append_about, err);
}

/* For agentd-mgmt: what it is to serve now. No key leaves us for a certificate that is not good now. */
static int get_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct https_job *job = (struct https_job *)base;
	_cleanup_free_ char *text = NULL;
	const char *chain;
	int r = status_run(store, base, err);

	if (r < 0 || !job->is_installed || job->is_expired || job->is_early)
		return r;
	r = read_file(store, STORE_FILE_HTTPS, &text, &chain, err);
	if (r >= 0)
		r = unseal_key(store, text, &job->key, err);
	if (r >= 0 && (job->pem = strdup(chain)) == NULL)
		r = agent_error_set(err, -ENOMEM, "core.memory", "no memory for a certificate");
	return r;
}

static int get_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	struct https_job *job = (struct https_job *)base;
	sd_bus_message *reply;
	int r;

	if (job->is_expired && !core->https_expiry_is_told) {
		core->https_expiry_is_told = true;
		event_add(core, EVENT_HTTPS_EXPIRED, "subject", job->about.subject, "fingerprint", job->about.fingerprint, NULL);
	}
	r = op_reply_new(base->call, &reply, err);
	if (r < 0)
		return r;
	(void)sd_bus_message_sensitive(reply); /* wiped when it is sent */
	r = sd_bus_message_append(reply, "bs", job->is_installed, job->pem == NULL ? "" : job->pem);
	if (r >= 0)
		r = sd_bus_message_append_array(reply, 'y', job->key.data, job->key.size);
	return op_reply_end(base->call, reply, r, "the certificate of HTTPS", err);
}

/* ---- operations ----------------------------------------------------------------------------------------------------- */

static const struct op_job_type job_request = { .name = "HTTPS request", .run = request_run, .reply = request_reply, .free = https_job_free };
static const struct op_job_type job_install = { .name = "HTTPS certificate", .run = install_run, .reply = install_reply, .free = https_job_free };
static const struct op_job_type job_remove = { .name = "HTTPS certificate", .run = remove_run, .reply = remove_reply, .free = https_job_free };
static const struct op_job_type job_status = { .name = "HTTPS certificate", .run = status_run, .reply = status_reply, .free = https_job_free };
static const struct op_job_type job_get = { .name = "HTTPS certificate", .run = get_run, .reply = get_reply, .free = https_job_free };

static int submit(struct op_call *call, const struct op_job_type *type, const char *pem, struct agent_error **err)
{
	struct op_job *base;
	int r = op_job_new(call, type, sizeof(struct https_job), &base, err);

	if (r < 0)
		return r;
	if (pem != NULL && strlen(pem) > HTTPS_CHAIN_MAX)
		r = agent_error_set(err, -EMSGSIZE, "https.chain", "longer than %d bytes", HTTPS_CHAIN_MAX);
	else if (pem != NULL && (((struct https_job *)base)->pem = strdup(pem)) == NULL)
		r = agent_error_set(err, -ENOMEM, "core.memory", "no memory for a certificate");
	return op_job_end(base, r, WORKER_WORK, 0, err);
}

int op_https_request(struct core *core, struct op_call *call, struct agent_error **err)
{
	return submit(call, &job_request, NULL, err);
}

int op_https_install(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *pem;

	if (sd_bus_message_read(call->msg, "s", &pem) < 0)
		return agent_error_set(err, -EINVAL, "bus.arguments", "HttpsInstall was called with arguments that cannot be read");
	return submit(call, &job_install, pem, err);
}

int op_https_remove(struct core *core, struct op_call *call, struct agent_error **err)
{
	return submit(call, &job_remove, NULL, err);
}

int op_https_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	return submit(call, &job_status, NULL, err);
}

int op_https_get(struct core *core, struct op_call *call, struct agent_error **err)
{
	return submit(call, &job_get, NULL, err);
}
