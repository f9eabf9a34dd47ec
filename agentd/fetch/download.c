/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/fetch/download.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>

#include <agent/tls.h>
#include <curl/curl.h>

#include "agentd/common/asks.h"
#include "agentd/common/service.h"
#include "agentd/fetch/http.h"
#include "agentd/fetch/range.h"
#include "agentd/fetch/url.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "base/secret.h"
#include "base/thread.h"

#define REDIRECTS_MAX 3
#define REFUSAL_BODY_MAX (64 * KIB)	/* of an error page, which is thrown away */
#define RETRY_S_MAX 30		/* between two attempts to go on; the first comes after a second */
#define RETRY_TOTAL_S 300	/* in all, without a byte in between */

struct download {
	struct url url, home;
	char *ca_file, *cert_file, *cert_pem, *authorization;
	const struct tls_policy *policy;
	bool may_leave;
	uint64_t size;
	struct agent_signer *signer;
	unsigned connect_timeout_s;
	struct agent_time *time;
	int socket_fd, notify_fd;
	int abort_fd;
	atomic_bool is_aborted, is_done;
	pthread_t thread;
	/* Thread only until is_done. */
	struct http *http;
	struct url server;		/* that http is for */
	CURL *curl;			/* of http */
	struct range_file file;
	struct range_head head;		/* of the answer being read */
	bool is_checked;		/* this head */
	bool is_stream;			/* the server knows no ranges */
	bool may_pass;			/* the last failure is one of those after which it is worth going on */
	struct ask ask;
	uint64_t position, end;		/* of the bytes asked for, those still to come */
	bool is_answered;		/* the header of the answer is out */
	uint64_t n_bytes, n_thrown_away;
	int result;
	struct agent_error *err;
	struct agent_error *local_err;	/* of a callback, which can only tell libcurl "no" */
};

/* Backpressure: wait until the installation has taken what is in the socket. */
static int write_socket(struct download *d, const void *bytes, size_t size)
{
	const char *data = bytes;

	while (size > 0) {
		struct pollfd p[2] = { { .fd = d->socket_fd, .events = POLLOUT }, { .fd = d->abort_fd, .events = POLLIN } };
		ssize_t n;

		if (atomic_load(&d->is_aborted))
			return http_canceled(&d->local_err);
		n = write(d->socket_fd, data, size);
		if (n >= 0) {
			data += n;
			size -= (size_t)n;
		} else if (errno == EAGAIN) {
			(void)poll(p, 2, -1);
		} else if (errno != EINTR) {
			return agent_error_set(&d->local_err, -EPIPE, "fetch.pipe", "the installation does not take more after %llu bytes: %s",
					       (unsigned long long)d->n_bytes, strerror(errno));
		}
	}
	return 0;
}

/* The head of an answer that brings bytes of the bundle, once: is it what was asked for? */
static int head_check(struct download *d, long status)
{
	struct ask_answer answer = { .offset = d->ask.offset, .length = ASK_STREAM };
	int r;

	if (d->is_checked)
		return 0;
	if (status == 206) {
		r = range_check(&d->head, d->position, d->end - 1, &d->file, &d->local_err);
		if (r < 0)
			return r;
		if (d->size != 0 && d->size != d->file.size_bytes)
			return agent_error_set(&d->local_err, -EBADMSG, "fetch.size", "%s has %llu bytes, %llu were announced", d->url.shown,
					       (unsigned long long)d->file.size_bytes, (unsigned long long)d->size);
		if (d->end > d->file.size_bytes)
			d->end = d->file.size_bytes;
		answer.length = d->end - d->ask.offset;
	} else if (d->file.is_known) {
		return agent_error_set(&d->local_err, -ESTALE, "fetch.changed", "asked for bytes from %llu on, the server sends a whole file: the bundle there is "
				       "another one than when the download began; start again", (unsigned long long)d->position);
	} else if (d->ask.offset != 0) {
		return agent_error_set(&d->local_err, -EBADMSG, "fetch.range", "asked for bytes from %llu on, the server sends all",
				       (unsigned long long)d->position);
	} else {
		curl_off_t length = -1;

		curl_easy_getinfo(d->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
		if (d->size != 0 && length >= 0 && (uint64_t)length != d->size)
			return agent_error_set(&d->local_err, -EBADMSG, "fetch.size", "%s has %llu bytes, %llu were announced", d->url.shown,
					       (unsigned long long)length, (unsigned long long)d->size);
		d->is_stream = true;
	}
	d->is_checked = true;
	r = d->is_answered ? 0 : write_socket(d, &answer, sizeof(answer));
	d->is_answered = true;
	return r;
}

static size_t on_body(char *data, size_t one, size_t size, void *userdata)
{
	struct download *d = userdata;
	long status = 0;

	curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200 && status != 206) {
		d->n_thrown_away += size;
		return d->n_thrown_away > REFUSAL_BODY_MAX ? 0 : size;
	}
	if (head_check(d, status) < 0)
		return 0;
	if (!d->is_stream && size > d->end - d->position) {
		agent_error_set(&d->local_err, -EBADMSG, "fetch.range", "the server sends more than the %llu bytes that were asked for",
				(unsigned long long)(d->end - d->ask.offset));
		return 0;
	}
	if (write_socket(d, data, size) < 0)
		return 0;
	d->position += size;
	d->n_bytes += size;
	return size;
}

static size_t on_header(char *line, size_t one, size_t size, void *userdata)
{
	struct download *d = userdata;

	range_head_add(&d->head, line, size);
	return size;
}

/* A handle for the server of @url, kept while it stays the same one. Who we are is shown to our own only. */
static int connect_to(struct download *d, const struct url *url, struct agent_error **err)
{
	bool is_home = url_same_origin(url, &d->home);
	struct http_options options = {
		.ca_file = d->ca_file, .policy = d->policy, .cert_file = d->cert_file, .cert_pem = d->cert_pem, .signer = is_home ? d->signer : NULL,
		.connect_timeout_s = d->connect_timeout_s, .is_aborted = &d->is_aborted, .time = d->time,
	};
	CURLcode code;
	int r;

	if (d->http != NULL && strcmp(d->server.host, url->host) == 0 && d->server.port == url->port)
		return 0;
	d->http = http_free(d->http);
	url_clear(&d->server);
	r = url_parse(url->text, &d->server, err);
	if (r >= 0)
		r = http_new(url, &options, &d->http, err);
	if (r < 0)
		return r;
	d->curl = http_handle(d->http);
	code = curl_easy_setopt(d->curl, CURLOPT_WRITEFUNCTION, on_body);
#define SET(option, value) (code == CURLE_OK ? (code = curl_easy_setopt(d->curl, option, value)) : code)
	SET(CURLOPT_WRITEDATA, d);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, d);
#undef SET
	return code == CURLE_OK ? 0 : agent_error_set(err, -EIO, "fetch.options", "libcurl refuses an option: %s", curl_easy_strerror(code));
}

static int explain(struct download *d, CURLcode code, const struct url *url, struct agent_error **err)
{
	return http_explain(d->http, (int)code, url, d->n_bytes, &d->local_err, &d->may_pass, err);
}

static int refused(struct download *d, long status, const struct url *url, struct agent_error **err)
{
	int errnum = status == 404 || status == 410 ? -ENOENT : status == 401 || status == 403 ? -EACCES : -EREMOTEIO;

	d->may_pass = status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
	return agent_error_set(err, errnum, "fetch.http", "%s: the server answers %ld", url->shown, status);
}

static int redirected(struct download *d, const struct url *from, struct url *ret_to, struct agent_error **err)
{
	const char *location = NULL;
	struct url to;
	int r;

	curl_easy_getinfo(d->curl, CURLINFO_REDIRECT_URL, &location);
	if (location == NULL)
		return agent_error_set(err, -EREMOTEIO, "fetch.http", "%s: the server redirects to nowhere", from->shown);
	r = url_parse(location, &to, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s redirects", from->shown);
	if (!d->may_leave && !url_same_origin(from, &to)) {
		r = agent_error_set(err, -EPERM, "fetch.redirect", "%s redirects to another server, %s:%u", from->shown, to.host, to.port);
		url_clear(&to);
		return r;
	}
	*ret_to = to;
	return 0;
}

/* The request is set up: where are the bytes? */
static int perform(struct download *d, const struct url *url, long *ret_status, struct agent_error **err)
{
	_cleanup_(http_headers_free) struct curl_slist *list = NULL;
	const char *validator = range_validator(&d->file);
	char range[48];
	CURLcode code;
	int r = connect_to(d, url, err);

	if (r < 0)
		return r;
	snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)d->position, (unsigned long long)(d->end - 1));
	if ((validator != NULL && http_header_add(&list, "If-Range", validator) < 0) ||
	    (d->authorization != NULL && url_same_origin(url, &d->home) && http_header_add(&list, "Authorization", d->authorization) < 0) ||
	    curl_easy_setopt(d->curl, CURLOPT_RANGE, range) != CURLE_OK || curl_easy_setopt(d->curl, CURLOPT_HTTPHEADER, list) != CURLE_OK)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	code = curl_easy_setopt(d->curl, CURLOPT_URL, url->text);

	d->is_checked = false;
	d->n_thrown_away = 0;
	d->head = (struct range_head){ 0 };
	if (code == CURLE_OK)
		code = curl_easy_perform(d->curl);
	(void)curl_easy_setopt(d->curl, CURLOPT_HTTPHEADER, NULL);
	curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, ret_status);
	if (d->local_err != NULL || (code != CURLE_OK && (*ret_status == 0 || *ret_status == 200 || *ret_status == 206 || atomic_load(&d->is_aborted))))
		return explain(d, code, url, err);
	if ((*ret_status == 200 || *ret_status == 206) && head_check(d, *ret_status) < 0)	/* without a body */
		return explain(d, code, url, err);
	if (*ret_status != 206 || d->position == d->end)
		return 0;
	d->may_pass = true;
	return agent_error_set(err, -EBADMSG, "fetch.short", "%s: the server sends bytes up to %llu, %llu were announced", url->shown,
			       (unsigned long long)d->position, (unsigned long long)d->end);
}

/* Bytes position to end of the bundle, once. */
static int get(struct download *d, struct agent_error **err)
{
	_cleanup_(url_clear) struct url next = { 0 };
	const struct url *url = &d->url;
	long status = 0;
	int r;

	for (int i = 0; i <= REDIRECTS_MAX; i++) {
		struct url to;

		r = perform(d, url, &status, err);
		if (r < 0 || status == 200 || status == 206)
			return r;
		if (status < 300 || status > 399)
			return refused(d, status, url, err);
		r = redirected(d, url, &to, err);
		if (r < 0)
			return r;
		url_clear(&next);
		next = to;
		url = &next;
	}
	return agent_error_set(err, -ELOOP, "fetch.redirect", "%s: more than %d redirections", d->url.shown, REDIRECTS_MAX);
}

/* False if there is nobody any more to go on for. */
static bool wait_before_retry(struct download *d, unsigned seconds)
{
	struct pollfd p[2] = { { .fd = d->socket_fd }, { .fd = d->abort_fd, .events = POLLIN } };

	return poll(p, 2, (int)seconds * 1000) == 0 && !atomic_load(&d->is_aborted);
}

/* One ask, over as many connections as it takes. */
static int answer(struct download *d, struct agent_error **err)
{
	unsigned wait_s = 1;
	uint64_t since_s = monotonic_s();

	d->position = d->ask.offset;
	d->end = d->ask.offset + d->ask.length;
	d->is_answered = false;
	if (d->file.is_known && d->position >= d->file.size_bytes)
		return write_socket(d, &(struct ask_answer){ .offset = d->position }, sizeof(struct ask_answer)) < 0 ? agent_error_move(err, &d->local_err) : 0;
	for (;;) {
		_cleanup_error_ struct agent_error *why = NULL;
		uint64_t before = d->position;
		int r;

		d->may_pass = false;
		r = get(d, &why);
		if (r >= 0)
			return 0;
		if (d->position > before) {
			wait_s = 1;
			since_s = monotonic_s();
		}
		/* What never worked is not worth a second attempt, and a stream without ranges has no middle to begin at. */
		if (!d->may_pass || !d->file.is_known || monotonic_s() - since_s >= RETRY_TOTAL_S)
			return agent_error_move(err, &why);
		service_log(LOG_NOTICE, "%s; going on at byte %llu in %u s", agent_error_message(why), (unsigned long long)d->position, wait_s);
		if (!wait_before_retry(d, wait_s))
			return agent_error_move(err, &why);
		wait_s = wait_s * 2 < RETRY_S_MAX ? wait_s * 2 : RETRY_S_MAX;
	}
}

/* 1; 0 when the installation has all it wants. */
static int next_ask(struct download *d, struct agent_error **err)
{
	size_t done = 0;

	while (done < sizeof(d->ask)) {
		struct pollfd p[2] = { { .fd = d->socket_fd, .events = POLLIN }, { .fd = d->abort_fd, .events = POLLIN } };
		ssize_t n;

		if (atomic_load(&d->is_aborted))
			return http_canceled(err);
		n = read(d->socket_fd, (char *)&d->ask + done, sizeof(d->ask) - done);
		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno == ECONNRESET)
			return 0;
		else if (errno == EAGAIN)
			(void)poll(p, 2, -1);
		else if (errno != EINTR)
			return agent_error_set(err, -errno, "fetch.pipe", "cannot hear what the installation wants: %s", strerror(errno));
	}
	if (d->ask.length == 0 || d->ask.offset > INT64_MAX || d->ask.length > INT64_MAX)
		return agent_error_set(err, -EBADMSG, "fetch.pipe", "the installation asks for what no file has");
	return 1;
}

static int serve_asks(struct download *d, struct agent_error **err)
{
	int r;

	while ((r = next_ask(d, err)) > 0) {
		r = answer(d, err);
		if (r < 0 || d->is_stream)
			return r;
	}
	return r;
}

static void *work(void *userdata)
{
	struct download *d = userdata;
	uint64_t one = 1;

	d->result = serve_asks(d, &d->err);
	d->http = http_free(d->http);
	atomic_store(&d->is_done, true);
	if (write(d->notify_fd, &one, sizeof(one)) < 0)
		return NULL;	/* full: it rings already */
	return NULL;
}

static void release(struct download *d)
{
	if (d == NULL)
		return;
	if (d->abort_fd >= 0)
		close(d->abort_fd);
	url_clear(&d->url);
	url_clear(&d->home);
	url_clear(&d->server);
	if (d->authorization != NULL)
		wipe(d->authorization, strlen(d->authorization));
	free(d->authorization);
	agent_signer_unref(d->signer);
	agent_error_free(d->err);
	agent_error_free(d->local_err);
	free(d->ca_file);
	free(d->cert_file);
	free(d->cert_pem);
	free(d);
}
DEFINE_CLEANUP(struct download *, release)

int download_start(const struct download_options *options, struct download **ret_download, struct agent_error **err)
{
	_cleanup_(releasep) struct download *d = calloc(1, sizeof(*d));
	int flags, r;

	if (d == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	d->abort_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->socket_fd = options->socket_fd;
	d->notify_fd = options->notify_fd;
	d->connect_timeout_s = options->connect_timeout_s;
	d->time = options->time;
	d->policy = options->policy;
	d->signer = agent_signer_ref(options->signer);
	d->may_leave = options->may_leave;
	d->size = options->size;
	r = url_parse(options->url, &d->url, err);
	if (r >= 0)
		r = url_parse(options->home == NULL ? options->url : options->home, &d->home, err);
	if (r < 0)
		return r;
	d->authorization = options->authorization == NULL ? NULL : strdup(options->authorization);
	d->ca_file = strdup(options->ca_file);
	d->cert_file = options->cert_file == NULL ? NULL : strdup(options->cert_file);
	d->cert_pem = options->cert_pem == NULL ? NULL : strdup(options->cert_pem);
	if (d->abort_fd < 0 || d->ca_file == NULL || (options->authorization != NULL && d->authorization == NULL) || (options->cert_file != NULL && d->cert_file == NULL) ||
	    (options->cert_pem != NULL && d->cert_pem == NULL))
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory or descriptors");
	flags = fcntl(d->socket_fd, F_GETFL);
	if (flags < 0 || fcntl(d->socket_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return agent_error_set(err, -errno, "fetch.pipe", "the socket cannot be used: %m");
	r = thread_start(&d->thread, NULL, work, d);
	if (r < 0)
		return agent_error_set(err, r, "fetch.thread", "cannot start a thread: %s", strerror(-r));
	*ret_download = TAKE_PTR(d);
	return 0;
}

bool download_is_done(struct download *d, int *ret_result, uint64_t *ret_bytes, struct agent_error **err)
{
	if (!atomic_load(&d->is_done))
		return false;
	*ret_result = d->result;
	*ret_bytes = d->n_bytes;
	if (d->err != NULL)
		agent_error_move(err, &d->err);
	return true;
}

/* Makes it end within a second. */
static void make_end(struct download *d)
{
	uint64_t one = 1;

	atomic_store(&d->is_aborted, true);
	if (write(d->abort_fd, &one, sizeof(one)) < 0)
		return;	/* full: it rings already */
}

struct download *download_free(struct download *d)
{
	if (d == NULL)
		return NULL;
	make_end(d);
	pthread_join(d->thread, NULL);
	release(d);
	return NULL;
}
