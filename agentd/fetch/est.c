/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/fetch/est.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "agentd/fetch/http.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"
#include "base/thread.h"

#define CALL_TIMEOUT_S 180 /* all of one request; the server may ask its CA */
#define SECRET_MAX 256
#define HEADER_SIZE (sizeof("Basic ") + (SECRET_MAX + 2) / 3 * 4)
#define WELL_KNOWN "/.well-known/est" /* RFC 7030 section 3.2.2 */
#define SERVER_TEXT_MAX 200

DEFINE_CLEANUP(struct http *, http_free)

struct est {
	enum est_kind kind;
	char *base, *anchors, *cert_pem, *csr, *dir, *prove_url, *ca_file;
	struct secret secret;
	struct agent_signer *signer;
	unsigned connect_timeout_s;
	struct agent_time *time;
	const struct tls_policy *policy;
	int notify_fd;
	atomic_bool is_aborted, is_done;
	pthread_t thread;
	/* Thread only until is_done. */
	struct est_result result;
	struct agent_error *err;
	int r;
};

struct body {
	char data[EST_BODY_MAX + 1];
	size_t size;
};

static int collect(void *userdata, const void *data, size_t size, struct agent_error **err)
{
	struct body *body = userdata;

	if (size > EST_BODY_MAX - body->size)
		return agent_error_set(err, -EMSGSIZE, "est.size", "the EST server's answer has more than %d bytes", EST_BODY_MAX);
	memcpy(body->data + body->size, data, size);
	body->size += size;
	body->data[body->size] = '\0';
	return 0;
}

/* "Basic ..." of RFC 7617. Only ever sent to a server that was checked. */
static int authorization_of(const struct est *e, char ret_header[HEADER_SIZE])
{
	ret_header[0] = '\0';
	if (e->secret.size == 0)
		return 0;
	if (e->secret.size > SECRET_MAX)
		return -EINVAL;
	memcpy(ret_header, "Basic ", 6);
	return EVP_EncodeBlock((unsigned char *)ret_header + 6, e->secret.data, (int)e->secret.size) > 0 ? 0 : -EINVAL;
}

/* What lies between the lines of a PEM text: RFC 7030 section 4.2.1 wants base64 of the DER. */
static char *inside_of(const char *pem)
{
	const char *begin = strchr(pem, '\n');
	const char *end = begin == NULL ? NULL : strstr(begin, "-----END");

	return end == NULL ? NULL : strndup(begin + 1, (size_t)(end - begin - 1));
}

static int call(struct est *e, struct http *http, const char *operation, const char *body, struct http_answer *ret_answer, struct body *ret_body,
		struct agent_error **err)
{
	_cleanup_(url_clear) struct url url = { 0 };
	_cleanup_free_ char *text = NULL;
	char authorization[HEADER_SIZE];
	struct http_request request = {
		.method = body == NULL ? "GET" : "POST", .url = &url, .body = body, .content_type = "application/pkcs10", .is_base64 = body != NULL,
		.timeout_s = CALL_TIMEOUT_S, .sink = collect, .userdata = ret_body,
	};
	int r;

	ret_body->size = 0;
	ret_body->data[0] = '\0';
	if (asprintf(&text, "%s/%s", e->base, operation) < 0) {
		text = NULL;
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	}
	r = url_parse(text, &url, err);
	if (r < 0)
		return r;
	if (authorization_of(e, authorization) < 0)
		return agent_error_set(err, -EINVAL, "est.secret", "the one-time secret cannot be used");
	request.authorization = authorization[0] != '\0' ? authorization : NULL;
	r = http_do(http, &request, ret_answer, err);
	wipe(authorization, sizeof(authorization));
	return r;
}

/* A sentence of the server, for people: short and ASCII. */
static void sentence_of(const struct http_answer *answer, const struct body *body, char ret_text[SERVER_TEXT_MAX + 4])
{
	size_t n = 0;

	if (strncmp(answer->content_type, "text/plain", 10) == 0 && body->size > 0) {
		memcpy(ret_text, ": ", 2);
		for (n = 2; n - 2 < body->size && n < SERVER_TEXT_MAX; n++)
			ret_text[n] = (char)(body->data[n - 2] >= ' ' && body->data[n - 2] <= '~' ? body->data[n - 2] : ' ');
		while (n > 2 && ret_text[n - 1] == ' ')
			n--;
	}
	ret_text[n] = '\0';
}

static int bad_status(const char *operation, const struct http_answer *answer, const struct body *body, struct agent_error **err)
{
	char text[SERVER_TEXT_MAX + 4];

	sentence_of(answer, body, text);
	if (answer->status == 401 || answer->status == 403)
		return agent_error_set(err, -EACCES, "est.refused", "the EST server does not accept who we are (%s, status %ld)%s", operation, answer->status, text);
	if (answer->status >= 300 && answer->status < 400)
		return agent_error_set(err, -EPERM, "est.redirect", "the EST server sends us elsewhere (%s, status %ld); name the right server in est.url", operation,
				       answer->status);
	return agent_error_set(err, -EIO, "est.http", "the EST server answers %s with status %ld%s", operation, answer->status, text);
}

/* RFC 8951 section 3.2 leaves parameters out of account; so do we. */
static int check_type(const char *operation, const struct http_answer *answer, const char *type, struct agent_error **err)
{
	if (strcmp(answer->content_type, type) == 0)
		return 0;
	return agent_error_set(err, -EBADMSG, "est.type", "the EST server answers %s with something else than %s", operation, type);
}

static bool must_wait(struct est *e, const struct http_answer *answer)
{
	if (answer->status != 202 && answer->status != 503)
		return false;
	e->result.retry_after_s = answer->retry_after_s;
	return true;
}

static int get_cacerts(struct est *e, struct http *http, struct body *body, struct agent_error **err)
{
	struct http_answer answer;
	int r = call(e, http, "cacerts", NULL, &answer, body, err);

	if (r < 0)
		return r;
	if (answer.status == 503) {
		(void)must_wait(e, &answer);
		return 1;
	}
	if (answer.status != 200)
		return bad_status("cacerts", &answer, body, err);
	r = check_type("cacerts", &answer, "application/pkcs7-mime", err);
	return r < 0 ? r : est_read_certs(body->data, body->size, &e->result.pem, err);
}

/* Nobody has to offer them: 204 and 404 ask for nothing (RFC 7030 section 4.5.2), nor do 405 and 501 of servers that do not know the operation. */
static int get_attributes(struct est *e, struct http *http, struct body *body, struct agent_error **err)
{
	struct http_answer answer;
	int r = call(e, http, "csrattrs", NULL, &answer, body, err);

	if (r < 0)
		return r;
	if (answer.status == 204 || answer.status == 404 || answer.status == 405 || answer.status == 501)
		return 0;
	if (answer.status == 503) {
		(void)must_wait(e, &answer);
		return 1;
	}
	if (answer.status != 200)
		return bad_status("csrattrs", &answer, body, err);
	r = check_type("csrattrs", &answer, "application/csrattrs", err);
	return r < 0 ? r : est_read_attributes(body->data, body->size, &e->result.attributes, err);
}

static int prepare(struct est *e, struct http *http, struct body *body, struct agent_error **err)
{
	int r = get_cacerts(e, http, body, err);

	if (r == 0 && e->kind == EST_PREPARE)
		r = get_attributes(e, http, body, err);
	e->result.is_issued = r == 0;
	return r < 0 ? r : 0;
}

static int enrol(struct est *e, struct http *http, struct body *body, struct agent_error **err)
{
	const char *operation = e->kind == EST_ENROL ? "simpleenroll" : "simplereenroll";
	_cleanup_free_ char *csr = e->csr == NULL ? NULL : inside_of(e->csr);
	struct http_answer answer;
	int r;

	if (csr == NULL)
		return agent_error_set(err, -EINVAL, "est.request", "agentd gave no request");
	r = call(e, http, operation, csr, &answer, body, err);
	if (r < 0 || must_wait(e, &answer))
		return r;
	if (answer.status != 200)
		return bad_status(operation, &answer, body, err);
	r = check_type(operation, &answer, "application/pkcs7-mime", err);
	if (r >= 0)
		r = est_read_certs(body->data, body->size, &e->result.pem, err);
	e->result.is_issued = r >= 0;
	return r;
}

/* What a server says that takes us is its own business. */
static int drop(void *userdata, const void *data, size_t size, struct agent_error **err)
{
	return 0;
}

/* In TLS 1.3 a server looks at our certificate after the handshake is over for us: only its answer shows that it went on (RFC 8446 section 4.4.2.4). */
static int prove(struct est *e, struct http *http, const struct url *url, struct agent_error **err)
{
	struct http_request request = { .method = "GET", .url = url, .timeout_s = CALL_TIMEOUT_S, .sink = drop };
	struct http_answer answer;
	int r = http_do(http, &request, &answer, err);

	if (r < 0)
		return r;
	/* nginx: 400 after a handshake in which it took no offence yet. */
	if (answer.status == 400 || answer.status == 401 || answer.status == 403)
		return agent_error_set(err, -EACCES, "est.refused", "%s does not accept the new certificate (status %ld)", url->shown, answer.status);
	if (answer.status < 200 || answer.status > 299)
		return agent_error_set(err, -EIO, "est.http", "%s answers with status %ld, which proves nothing", url->shown, answer.status);
	e->result.is_issued = true;
	return 0;
}

static int parse_address(const struct est *e, struct url *ret_url, struct agent_error **err)
{
	_cleanup_free_ char *cacerts = NULL;

	if (e->prove_url != NULL || e->kind != EST_PROVE)
		return url_parse(e->prove_url != NULL ? e->prove_url : e->base, ret_url, err);
	if (asprintf(&cacerts, "%s/cacerts", e->base) < 0) {
		cacerts = NULL;
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	}
	return url_parse(cacerts, ret_url, err);
}

/* Core holds the anchors, libcurl and the TLS profile read a file. */
static int put_anchors(const struct est *e, char **ret_path, struct agent_error **err)
{
	char *path;
	int r;

	if (asprintf(&path, "%s/est-anchors.pem", e->dir) < 0)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	r = file_replace_at(AT_FDCWD, path, 0600, e->anchors, strlen(e->anchors), err);
	if (r < 0)
		free(path);
	else
		*ret_path = path;
	return r;
}

static int talk(struct est *e, struct agent_error **err)
{
	_cleanup_(http_freep) struct http *http = NULL;
	_cleanup_(url_clear) struct url url = { 0 };
	_cleanup_free_ struct body *body = malloc(sizeof(*body));
	_cleanup_free_ char *path = NULL;
	struct http_options options = {
		.cert_pem = e->cert_pem, .signer = e->signer, .connect_timeout_s = e->connect_timeout_s, .is_aborted = &e->is_aborted,
		.time = e->time, .policy = e->policy,
	};
	int r;

	if (body == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	r = parse_address(e, &url, err);
	if (r >= 0 && e->kind != EST_ANCHORS && e->prove_url == NULL)
		r = put_anchors(e, &path, err);
	options.ca_file = e->prove_url != NULL ? e->ca_file : path;
	if (r >= 0)
		r = http_new(&url, &options, &http, err);
	if (r >= 0 && e->kind == EST_PROVE)
		r = prove(e, http, &url, err);
	else if (r >= 0)
		r = e->kind == EST_ENROL || e->kind == EST_REENROL ? enrol(e, http, body, err) : prepare(e, http, body, err);
	if (path != NULL)
		(void)unlink(path);
	return r;
}

static void *work(void *userdata)
{
	struct est *e = userdata;
	uint64_t one = 1;

	e->r = talk(e, &e->err);
	secret_free(&e->secret);
	atomic_store(&e->is_done, true);
	if (write(e->notify_fd, &one, sizeof(one)) < 0)
		return NULL; /* full: it rings already */
	return NULL;
}

static void release(struct est *e)
{
	if (e == NULL)
		return;
	agent_signer_unref(e->signer);
	agent_error_free(e->err);
	secret_free(&e->secret);
	free(e->base);
	free(e->anchors);
	free(e->cert_pem);
	free(e->csr);
	free(e->dir);
	free(e->prove_url);
	free(e->ca_file);
	free(e->result.pem);
	free(e);
}
DEFINE_CLEANUP(struct est *, release)

static int copy_text(const char *text, char **ret_copy)
{
	if (text == NULL)
		return 0;
	*ret_copy = strdup(text);
	return *ret_copy == NULL ? -ENOMEM : 0;
}

static char *base_of(const char *url)
{
	int n = (int)strlen(url);
	char *base;

	while (n > 0 && url[n - 1] == '/')
		n--;
	return asprintf(&base, "%.*s%s", n, url, strstr(url, WELL_KNOWN) != NULL ? "" : WELL_KNOWN) < 0 ? NULL : base;
}

static bool is_whole(const struct est_options *o)
{
	bool has_anchors = o->anchors != NULL && o->anchors[0] != '\0';

	/* Whoever cannot be checked yet hears nothing of us but that we ask. */
	if (o->kind == EST_ANCHORS)
		return o->cert_pem == NULL && o->secret == NULL && o->signer == NULL;
	if (o->kind != EST_PROVE)
		return has_anchors && o->prove_url == NULL;
	return o->cert_pem != NULL && o->signer != NULL && o->secret == NULL && (o->prove_url != NULL ? o->ca_file != NULL : has_anchors);
}

int est_start(const struct est_options *options, struct est **ret_est, struct agent_error **err)
{
	_cleanup_(releasep) struct est *e = calloc(1, sizeof(*e));
	int r;

	if (e == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	if (!is_whole(options))
		return agent_error_set(err, -EINVAL, "est.anchors", "a server is asked either with anchors or without a word about us");
	e->kind = options->kind;
	e->connect_timeout_s = options->connect_timeout_s;
	e->time = options->time;
	e->policy = options->policy;
	e->notify_fd = options->notify_fd;
	e->signer = agent_signer_ref(options->signer);
	e->base = base_of(options->url);
	if (e->base == NULL || copy_text(options->anchors, &e->anchors) < 0 || copy_text(options->cert_pem, &e->cert_pem) < 0 ||
	    copy_text(options->csr, &e->csr) < 0 || copy_text(options->dir, &e->dir) < 0 || copy_text(options->prove_url, &e->prove_url) < 0 ||
	    copy_text(options->ca_file, &e->ca_file) < 0 ||
	    (options->secret != NULL && secret_copy(&e->secret, options->secret, strlen(options->secret)) < 0))
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	r = thread_start(&e->thread, NULL, work, e);
	if (r < 0)
		return agent_error_set(err, r, "fetch.thread", "cannot start a thread: %s", strerror(-r));
	*ret_est = TAKE_PTR(e);
	return 0;
}

bool est_is_done(struct est *e, int *ret_r, const struct est_result **ret_result, struct agent_error **err)
{
	if (!atomic_load(&e->is_done))
		return false;
	*ret_r = e->r;
	*ret_result = &e->result;
	if (e->r < 0)
		(void)agent_error_move(err, &e->err);
	return true;
}

struct est *est_free(struct est *e)
{
	if (e == NULL)
		return NULL;
	atomic_store(&e->is_aborted, true);
	pthread_join(e->thread, NULL);
	release(e);
	return NULL;
}
