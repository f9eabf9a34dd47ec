/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/fetch/download.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>

#include <agent/openssl.h>
#include <agent/tls.h>
#include <curl/curl.h>

#include "agentd/common/service.h"
#include "agentd/fetch/url.h"
#include "base/macro.h"

#define REDIRECTS_MAX 3
#define STALLED_S 60		/* not a byte for this long: give up */
#define BUFFER_BYTES (128L * 1024)
#define REFUSAL_BODY_MAX (64 * KIB)	/* of an error page, which is thrown away */

DEFINE_CLEANUP(CURL *, curl_easy_cleanup)
DEFINE_CLEANUP(struct agent_context *, agent_context_unref)
DEFINE_CLEANUP(struct agent_tls *, agent_tls_unref)

struct download {
	struct url url;
	char *ca_file, *cert_file, *cert_pem;
	struct agent_signer *signer;
	unsigned connect_timeout_s;
	int pipe_fd, notify_fd;
	int abort_fd;
	atomic_bool is_aborted, is_done;
	pthread_t thread;
	/* Thread only until is_done. */
	CURL *curl;
	struct agent_tls *tls;
	uint64_t n_bytes, n_thrown_away;
	int result;
	struct agent_error *err;
	struct agent_error *local_err;	/* of a callback, which can only tell libcurl "no" */
};

static int canceled(struct agent_error **err)
{
	return agent_error_set(err, -ECANCELED, "fetch.canceled", "the download was given up");
}

/* Backpressure: wait until the installation has taken what is in the pipe. */
static int write_pipe(struct download *d, const char *data, size_t size)
{
	while (size > 0) {
		struct pollfd p[2] = { { .fd = d->pipe_fd, .events = POLLOUT }, { .fd = d->abort_fd, .events = POLLIN } };
		ssize_t n;

		if (atomic_load(&d->is_aborted))
			return canceled(&d->local_err);
		n = write(d->pipe_fd, data, size);
		if (n >= 0) {
			data += n;
			size -= (size_t)n;
			d->n_bytes += (uint64_t)n;
		} else if (errno == EAGAIN) {
			(void)poll(p, 2, -1);
		} else if (errno != EINTR) {
			int r = -errno;

			return agent_error_set(&d->local_err, r, "fetch.pipe", "the installation does not take more after %llu bytes: %s",
					       (unsigned long long)d->n_bytes, strerror(-r));
		}
	}
	return 0;
}

static size_t on_body(char *data, size_t one, size_t size, void *userdata)
{
	struct download *d = userdata;
	long status = 0;

	curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200)
		return write_pipe(d, data, size) < 0 ? 0 : size;
	d->n_thrown_away += size;
	return d->n_thrown_away > REFUSAL_BODY_MAX ? 0 : size;
}

/* libcurl asks at least once a second. */
static int on_progress(void *userdata, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total, curl_off_t ul_now)
{
	struct download *d = userdata;

	return atomic_load(&d->is_aborted) ? 1 : 0;
}

static CURLcode on_ssl_ctx(CURL *curl, void *ssl_ctx, void *userdata)
{
	struct download *d = userdata;

	return agent_openssl_configure(d->tls, ssl_ctx, &d->local_err) < 0 ? CURLE_SSL_CONNECT_ERROR : CURLE_OK;
}

static CURLcode allow_only_https(CURL *curl)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	return curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
#else
	return curl_easy_setopt(curl, CURLOPT_PROTOCOLS, CURLPROTO_HTTPS);
#endif
}

static int make_handle(struct download *d, CURL **ret_curl, struct agent_error **err)
{
	_cleanup_(curl_easy_cleanupp) CURL *curl = curl_easy_init();
	CURLcode code;

	if (curl == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	code = allow_only_https(curl);
#define SET(option, value) (code == CURLE_OK ? (code = curl_easy_setopt(curl, option, value)) : code)
	SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
	SET(CURLOPT_SSL_CTX_DATA, d);
	/* Once more what the profile does, should a libcurl ever call us too late. */
	SET(CURLOPT_CAINFO, d->ca_file);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, d);
	SET(CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(CURLOPT_XFERINFODATA, d);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	SET(CURLOPT_CONNECTTIMEOUT, (long)d->connect_timeout_s);
	SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
	SET(CURLOPT_LOW_SPEED_TIME, (long)STALLED_S);
	SET(CURLOPT_FOLLOWLOCATION, 0L);	/* we look at each step */
	SET(CURLOPT_PROXY, "");			/* no surprise from the environment */
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);	/* one stream needs no HTTP/2 */
	SET(CURLOPT_USERAGENT, "agentd-fetch/" PACKAGE_VERSION);
#undef SET
	if (code != CURLE_OK) {
		int r = agent_error_set(err, -EIO, "fetch.options", "libcurl refuses an option: %s", curl_easy_strerror(code));

		agent_error_set_foreign(err, AGENT_ERROR_CURL, (uint32_t)code);
		return r;
	}
	*ret_curl = TAKE_PTR(curl);
	return 0;
}

/* What went wrong below HTTP, as precisely as anybody knows. */
static int explain(struct download *d, CURLcode code, const struct url *url, struct agent_error **err)
{
	static const struct {
		CURLcode code;
		int errnum;
		const char *name;
	} kinds[] = {
		{ CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH, "fetch.resolve" },
		{ CURLE_COULDNT_CONNECT, -ECONNREFUSED, "fetch.connect" },
		{ CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT, "fetch.timeout" },
		{ CURLE_PARTIAL_FILE, -EBADMSG, "fetch.short" },
		{ CURLE_GOT_NOTHING, -ECONNRESET, "fetch.short" },
		{ CURLE_RECV_ERROR, -ECONNRESET, "fetch.lost" },
		{ CURLE_SEND_ERROR, -ECONNRESET, "fetch.lost" },
		{ CURLE_SSL_CONNECT_ERROR, -EPROTO, "fetch.tls" },
		{ CURLE_PEER_FAILED_VERIFICATION, -EKEYREJECTED, "fetch.tls" },
		{ CURLE_SSL_CACERT_BADFILE, -EBADMSG, "fetch.tls" },
		{ CURLE_OUT_OF_MEMORY, -ENOMEM, "fetch.memory" },
	};
	int errnum = -EIO, r;
	const char *name = "fetch.transfer";

	if (atomic_load(&d->is_aborted))
		return canceled(err);
	if (d->local_err != NULL)
		return agent_error_move(err, &d->local_err);
	r = agent_tls_explain(d->tls, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s", url->shown);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].code == code) {
			errnum = kinds[i].errnum;
			name = kinds[i].name;
		}
	r = agent_error_set(err, errnum, name, "%s: %s after %llu bytes", url->shown, curl_easy_strerror(code),
			    (unsigned long long)d->n_bytes);
	agent_error_set_foreign(err, AGENT_ERROR_CURL, (uint32_t)code);
	return r;
}

static int refused(long status, const struct url *url, struct agent_error **err)
{
	int errnum = status == 404 || status == 410 ? -ENOENT : status == 401 || status == 403 ? -EACCES : -EREMOTEIO;

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
	if (!url_same_origin(from, &to)) {
		r = agent_error_set(err, -EPERM, "fetch.redirect", "%s redirects to another server, %s:%u", from->shown, to.host, to.port);
		url_clear(&to);
		return r;
	}
	*ret_to = to;
	return 0;
}

static int get(struct download *d, struct agent_error **err)
{
	_cleanup_(url_clear) struct url next = { 0 };
	const struct url *url = &d->url;
	long status = 0;
	int r;

	for (int i = 0; i <= REDIRECTS_MAX; i++) {
		struct url to;
		CURLcode code = curl_easy_setopt(d->curl, CURLOPT_URL, url->text);

		if (code == CURLE_OK)
			code = curl_easy_perform(d->curl);
		curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &status);
		if (code != CURLE_OK && (status == 0 || status == 200 || atomic_load(&d->is_aborted)))
			return explain(d, code, url, err);
		if (status == 200)
			return 0;
		if (status < 300 || status > 399)
			return refused(status, url, err);
		r = redirected(d, url, &to, err);
		if (r < 0)
			return r;
		url_clear(&next);
		next = to;
		url = &next;
	}
	return agent_error_set(err, -ELOOP, "fetch.redirect", "%s: more than %d redirections", d->url.shown, REDIRECTS_MAX);
}

static int transfer(struct download *d, struct agent_error **err)
{
	_cleanup_(agent_context_unrefp) struct agent_context *ctx = NULL;
	_cleanup_(agent_tls_unrefp) struct agent_tls *tls = NULL;
	_cleanup_(curl_easy_cleanupp) CURL *curl = NULL;
	struct agent_tls_options options = {
		.ca_file = d->ca_file, .peer_name = d->url.host, .cert_file = d->cert_file, .signer = d->cert_pem == NULL ? d->signer : NULL,
	};
	int r;

	if (agent_context_new(&ctx) < 0)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	r = agent_tls_new(ctx, &options, &tls, err);
	if (r >= 0 && d->cert_pem != NULL)
		r = agent_tls_set_identity(tls, d->cert_pem, strlen(d->cert_pem), d->signer, err);
	if (r < 0)
		return r;
	d->tls = tls;
	r = make_handle(d, &curl, err);
	if (r < 0)
		return r;
	d->curl = curl;
	return get(d, err);
}

static void *work(void *userdata)
{
	struct download *d = userdata;
	uint64_t one = 1;

	d->result = transfer(d, &d->err);
	d->tls = NULL;
	d->curl = NULL;
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
	sigset_t all, old;
	int flags, r;

	if (d == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	d->abort_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->pipe_fd = options->pipe_fd;
	d->notify_fd = options->notify_fd;
	d->connect_timeout_s = options->connect_timeout_s;
	d->signer = agent_signer_ref(options->signer);
	r = url_parse(options->url, &d->url, err);
	if (r < 0)
		return r;
	d->ca_file = strdup(options->ca_file);
	d->cert_file = options->cert_file == NULL ? NULL : strdup(options->cert_file);
	d->cert_pem = options->cert_pem == NULL ? NULL : strdup(options->cert_pem);
	if (d->abort_fd < 0 || d->ca_file == NULL || (options->cert_file != NULL && d->cert_file == NULL) ||
	    (options->cert_pem != NULL && d->cert_pem == NULL))
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory or descriptors");
	flags = fcntl(d->pipe_fd, F_GETFL);
	if (flags < 0 || fcntl(d->pipe_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return agent_error_set(err, -errno, "fetch.pipe", "the pipe cannot be used: %m");
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	r = -pthread_create(&d->thread, NULL, work, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
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

void download_abort(struct download *d)
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
	download_abort(d);
	pthread_join(d->thread, NULL);
	release(d);
	return NULL;
}
