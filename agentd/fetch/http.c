/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/fetch/http.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <agent/openssl.h>
#include <agent/tls.h>
#include <curl/curl.h>

#include "base/macro.h"
#include "base/secret.h"

#define STALLED_S 60		/* not a byte for this long: give up */
#define BUFFER_BYTES (128L * 1024)
#define HEAD_LINES_MAX 100
#define RETRY_AFTER_MAX_S 86400

DEFINE_CLEANUP(CURL *, curl_easy_cleanup)

struct http {
	struct agent_context *ctx;
	struct agent_tls *tls;
	CURL *curl;
	const atomic_bool *is_aborted;
	/* Of the request under way. */
	const struct http_request *request;
	struct http_answer *answer;
	char retry_after[64];
	unsigned n_lines;
	uint64_t n_bytes;
	struct agent_error *local_err;	/* of a callback, which can only tell libcurl "no" */
};

static size_t on_body(char *data, size_t one, size_t size, void *userdata)
{
	struct http *http = userdata;

	http->n_bytes += size;
	return http->request->sink(http->request->userdata, data, size, &http->local_err) < 0 ? 0 : size;
}

uint64_t http_read_retry_after(const char *value, uint64_t date_s)
{
	uint64_t at, n = 0;

	if (value[0] >= '0' && value[0] <= '9' && value[strspn(value, "0123456789")] == '\0') {
		for (; *value != '\0' && n <= RETRY_AFTER_MAX_S; value++)
			n = n * 10 + (uint64_t)(*value - '0');
		return n > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : n;
	}
	at = http_date_parse(value);
	if (date_s == 0 || at <= date_s)
		return 0;
	return at - date_s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : at - date_s;
}

/* "text/plain; charset=x" -> "text/plain" */
static void take_content_type(const char *value, char ret_type[64])
{
	size_t n = strcspn(value, "; \t");

	ret_type[0] = '\0';
	if (n >= 64)
		return;
	for (size_t i = 0; i < n; i++)
		ret_type[i] = (char)(value[i] >= 'A' && value[i] <= 'Z' ? value[i] + 32 : value[i]);
	ret_type[n] = '\0';
}

static void take_line(struct http *http, const char *name, const char *value)
{
	if (strcasecmp(name, "Retry-After") == 0)
		snprintf(http->retry_after, sizeof(http->retry_after), "%s", strlen(value) < sizeof(http->retry_after) ? value : "");
	else if (strcasecmp(name, "Date") == 0)
		http->answer->date_s = http_date_parse(value);
	else if (strcasecmp(name, "Age") == 0)
		http->answer->is_cached = strcmp(value, "0") != 0;
	else if (strcasecmp(name, "Content-Type") == 0)
		take_content_type(value, http->answer->content_type);
}

/* One line of a head; a status line begins another head (100 Continue comes before the real one). */
static size_t on_header(char *data, size_t one, size_t size, void *userdata)
{
	struct http *http = userdata;
	char line[512], *value;
	size_t n = size;

	if (++http->n_lines > HEAD_LINES_MAX) {
		agent_error_set(&http->local_err, -EMSGSIZE, "fetch.head", "the server's answer has more than %d header lines", HEAD_LINES_MAX);
		return 0;
	}
	if (size >= 5 && strncmp(data, "HTTP/", 5) == 0) {
		long status = 0;

		*http->answer = (struct http_answer){ 0 };
		curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
		http->answer->status = status;
		http->retry_after[0] = '\0';
		return size;
	}
	while (n > 0 && (unsigned char)data[n - 1] <= ' ')
		n--;
	if (n >= sizeof(line))
		return size; /* none of those that count here */
	memcpy(line, data, n);
	line[n] = '\0';
	value = strchr(line, ':');
	if (value == NULL)
		return size;
	*value++ = '\0';
	value += strspn(value, " \t");
	take_line(http, line, value);
	return size;
}

/* libcurl asks at least once a second. */
static int on_progress(void *userdata, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total, curl_off_t ul_now)
{
	const struct http *http = userdata;

	return atomic_load(http->is_aborted) ? 1 : 0;
}

static CURLcode on_ssl_ctx(CURL *curl, void *ssl_ctx, void *userdata)
{
	struct http *http = userdata;

	return agent_openssl_configure(http->tls, ssl_ctx, &http->local_err) < 0 ? CURLE_SSL_CONNECT_ERROR : CURLE_OK;
}

static CURLcode allow_only_https(CURL *curl)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	return curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
#else
	return curl_easy_setopt(curl, CURLOPT_PROTOCOLS, CURLPROTO_HTTPS);
#endif
}

static int bad_option(CURLcode code, struct agent_error **err)
{
	int r = agent_error_set(err, -EIO, "fetch.options", "libcurl refuses an option: %s", curl_easy_strerror(code));

	agent_error_set_foreign(err, AGENT_ERROR_CURL, (uint32_t)code);
	return r;
}

#define SET(option, value) (code == CURLE_OK ? (code = curl_easy_setopt(curl, option, value)) : code)

static int make_handle(struct http *http, const struct http_options *options, struct agent_error **err)
{
	_cleanup_(curl_easy_cleanupp) CURL *curl = curl_easy_init();
	CURLcode code;

	if (curl == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	code = allow_only_https(curl);
	if (http->tls != NULL) {
		SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
		SET(CURLOPT_SSL_CTX_DATA, http);
		/* Once more what the profile does, should a libcurl ever call us too late. */
		SET(CURLOPT_CAINFO, options->ca_file);
	}
	SET(CURLOPT_SSL_VERIFYPEER, http->tls != NULL ? 1L : 0L);
	SET(CURLOPT_SSL_VERIFYHOST, http->tls != NULL ? 2L : 0L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, http);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, http);
	SET(CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(CURLOPT_XFERINFODATA, http);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	SET(CURLOPT_CONNECTTIMEOUT, (long)options->connect_timeout_s);
	SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
	SET(CURLOPT_LOW_SPEED_TIME, (long)STALLED_S);
	SET(CURLOPT_FOLLOWLOCATION, 0L);	/* the caller looks at each step */
	SET(CURLOPT_PROXY, "");			/* no surprise from the environment */
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);	/* one stream needs no HTTP/2 */
	SET(CURLOPT_USERAGENT, "agentd-fetch/" PACKAGE_VERSION);
	if (code != CURLE_OK)
		return bad_option(code, err);
	http->curl = TAKE_PTR(curl);
	return 0;
}

struct http *http_free(struct http *http)
{
	if (http == NULL)
		return NULL;
	if (http->curl != NULL)
		curl_easy_cleanup(http->curl);
	agent_tls_unref(http->tls);
	agent_context_unref(http->ctx);
	agent_error_free(http->local_err);
	free(http);
	return NULL;
}
DEFINE_CLEANUP(struct http *, http_free)

int http_new(const struct url *url, const struct http_options *options, struct http **ret_http, struct agent_error **err)
{
	_cleanup_(http_freep) struct http *http = calloc(1, sizeof(*http));
	bool has_pem = options->signer != NULL && options->cert_pem != NULL;
	struct agent_tls_options tls = {
		.ca_file = options->ca_file, .peer_name = url->host, .time = options->time,
		.cert_file = options->signer == NULL || has_pem ? NULL : options->cert_file, .signer = has_pem ? NULL : options->signer,
	};
	int r = 0;

	if (http == NULL || agent_context_new(&http->ctx) < 0)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	http->is_aborted = options->is_aborted;
	if (options->ca_file == NULL && options->signer != NULL)
		return agent_error_set(err, -EINVAL, "fetch.options", "a server that is not checked sees no certificate of ours");
	tls_policy_put(options->policy, &tls);
	if (options->ca_file != NULL)
		r = agent_tls_new(http->ctx, &tls, &http->tls, err);
	if (r >= 0 && has_pem)
		r = agent_tls_set_identity(http->tls, options->cert_pem, strlen(options->cert_pem), options->signer, err);
	if (r >= 0)
		r = make_handle(http, options, err);
	if (r < 0)
		return r;
	*ret_http = TAKE_PTR(http);
	return 0;
}

void *http_handle(struct http *http)
{
	return http->curl;
}

struct agent_tls *http_tls(struct http *http)
{
	return http->tls;
}

int http_canceled(struct agent_error **err)
{
	return agent_error_set(err, -ECANCELED, "fetch.canceled", "the download was given up");
}

int http_explain(struct http *http, int code, const struct url *url, uint64_t n_bytes, struct agent_error **local_err, bool *ret_may_pass,
		 struct agent_error **err)
{
	static const struct {
		int code, errnum;
		const char *name;
		bool may_pass;
	} kinds[] = {
		{ CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH, "fetch.resolve", true },
		{ CURLE_COULDNT_CONNECT, -ECONNREFUSED, "fetch.connect", true },
		{ CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT, "fetch.timeout", true },
		{ CURLE_PARTIAL_FILE, -EBADMSG, "fetch.short", true },
		{ CURLE_GOT_NOTHING, -ECONNRESET, "fetch.short", true },
		{ CURLE_RECV_ERROR, -ECONNRESET, "fetch.lost", true },
		{ CURLE_SEND_ERROR, -ECONNRESET, "fetch.lost", true },
		{ CURLE_SSL_CONNECT_ERROR, -EPROTO, "fetch.tls", true },
		{ CURLE_PEER_FAILED_VERIFICATION, -EKEYREJECTED, "fetch.tls", false },
		{ CURLE_SSL_CACERT_BADFILE, -EBADMSG, "fetch.tls", false },
		{ CURLE_OUT_OF_MEMORY, -ENOMEM, "fetch.memory", false },
	};
	int errnum = -EIO, r;
	const char *name = "fetch.transfer";

	if (atomic_load(http->is_aborted))
		return http_canceled(err);
	if (local_err != NULL && *local_err != NULL)
		return agent_error_move(err, local_err);
	if (http->local_err != NULL)
		return agent_error_move(err, &http->local_err);
	r = http->tls == NULL ? 0 : agent_tls_explain(http->tls, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s", url->shown);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].code == code) {
			errnum = kinds[i].errnum;
			name = kinds[i].name;
			if (ret_may_pass != NULL)
				*ret_may_pass = kinds[i].may_pass;
		}
	r = agent_error_set(err, errnum, name, "%s: %s after %" PRIu64 " bytes", url->shown, curl_easy_strerror((CURLcode)code), n_bytes);
	agent_error_set_foreign(err, AGENT_ERROR_CURL, (uint32_t)code);
	return r;
}

int http_header_add(struct curl_slist **list, const char *name, const char *value)
{
	char line[512];
	struct curl_slist *longer;
	int n = snprintf(line, sizeof(line), "%s: %s", name, value);

	longer = n > 0 && (size_t)n < sizeof(line) ? curl_slist_append(*list, line) : NULL;
	wipe(line, sizeof(line));
	if (longer == NULL)
		return -ENOMEM;
	*list = longer;
	return 0;
}

void http_headers_free(struct curl_slist **list)
{
	for (struct curl_slist *item = *list; item != NULL; item = item->next)
		wipe(item->data, strlen(item->data));
	curl_slist_free_all(*list);
}

static int headers_of(const struct http_request *q, struct curl_slist **ret_list)
{
	int r = http_header_add(ret_list, "Expect", ""); /* no waiting for 100 */

	if (r >= 0 && q->authorization != NULL)
		r = http_header_add(ret_list, "Authorization", q->authorization);
	if (r >= 0 && q->body != NULL)
		r = http_header_add(ret_list, "Content-Type", q->content_type != NULL ? q->content_type : "application/json");
	if (r >= 0 && q->is_base64)
		r = http_header_add(ret_list, "Content-Transfer-Encoding", "base64");
	return r;
}

int http_do(struct http *http, const struct http_request *q, struct http_answer *ret_answer, struct agent_error **err)
{
	_cleanup_(http_headers_free) struct curl_slist *list = NULL;
	CURL *curl = http->curl;
	CURLcode code;

	*ret_answer = (struct http_answer){ 0 };
	if (http->tls == NULL && (q->authorization != NULL || q->body != NULL))
		return agent_error_set(err, -EINVAL, "fetch.options", "a server that is not checked is only asked, and not told who we are");
	http->request = q;
	http->answer = ret_answer;
	http->retry_after[0] = '\0';
	http->n_lines = 0;
	http->n_bytes = 0;
	http->local_err = agent_error_free(http->local_err);
	if (headers_of(q, &list) < 0)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory, or a header that is too long");
	code = curl_easy_setopt(curl, CURLOPT_URL, q->url->text);
	SET(CURLOPT_HTTPHEADER, list);
	if (q->body != NULL) {
		SET(CURLOPT_POSTFIELDSIZE, (long)strlen(q->body));
		SET(CURLOPT_POSTFIELDS, q->body);
	} else {
		SET(CURLOPT_HTTPGET, 1L);
	}
	SET(CURLOPT_CUSTOMREQUEST, q->method);
	SET(CURLOPT_TIMEOUT, (long)q->timeout_s);
	if (code != CURLE_OK)
		return bad_option(code, err);
	code = curl_easy_perform(curl);
	(void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
	(void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, NULL);
	ret_answer->retry_after_s = http_read_retry_after(http->retry_after, ret_answer->date_s);
	return code == CURLE_OK ? 0 : http_explain(http, code, q->url, http->n_bytes, NULL, NULL, err);
}
