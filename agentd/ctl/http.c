/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/ctl/http.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "agentd/ctl/output.h"
#include "agentd/ctl/token.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "base/secret.h"

#define SILENCE_S 40	/* of a stream that says something every 10 s */
#define REPLY_MAX (4 * MIB)	/* the event log's pages are the largest answers */

struct body {
	char *data;
	size_t size;
};

static const struct {
	long status;
	const char *slug;
	int code;
} codes[] = {
	{ 0, "core-unreachable", CTL_UNREACHABLE },
	{ 0, "not-ready", CTL_UNREACHABLE },
	{ 0, "slot-unavailable", CTL_FAILED },
	{ 0, "update-refused", CTL_UPDATE_REFUSED },
	{ 0, "no-space", CTL_UPDATE_REFUSED },
	{ 0, "update-stale", CTL_UPDATE_STALE },
	{ 401, NULL, CTL_CREDENTIALS },
	{ 403, NULL, CTL_REFUSED },
	{ 404, NULL, CTL_NOT_FOUND },
	{ 429, NULL, CTL_BUSY },
	{ 503, NULL, CTL_BUSY },
};

int http_exit_code(long status, const char *slug)
{
	if (status >= 200 && status < 300)
		return CTL_OK;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if ((codes[i].slug != NULL && slug != NULL && strcmp(codes[i].slug, slug) == 0) ||
		    (codes[i].slug == NULL && codes[i].status == status))
			return codes[i].code;
	return CTL_FAILED;
}

void reply_free(struct reply *reply)
{
	json_decref(reply->body);
	*reply = (struct reply){ 0 };
}

static size_t receive(char *data, size_t one, size_t n, void *userdata)
{
	struct body *body = userdata;
	char *more;

	if (n > REPLY_MAX - body->size)
		return 0;
	more = realloc(body->data, body->size + n + 1);
	if (more == NULL)
		return 0;
	memcpy(more + body->size, data, n);
	body->data = more;
	body->size += n;
	body->data[body->size] = '\0';
	return one * n;
}

static size_t send_more(char *data, size_t one, size_t n, void *userdata)
{
	const struct upload *upload = userdata;
	ssize_t got;

	/* What is there at once: a pipe may pause. */
	do
		got = read(fileno(upload->file), data, one * n);
	while (got < 0 && errno == EINTR);
	return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

static int on_progress(void *userdata, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	const struct upload *upload = userdata;

	if (upload->progress != NULL)
		upload->progress(upload->userdata, (uint64_t)up);
	return 0;
}

static const char *slug_of(const json_t *body)
{
	static const char urn[] = "urn:agentd:problem:";
	const char *type = json_string_value(json_object_get(body, "type"));

	return type != NULL && strncmp(type, urn, strlen(urn)) == 0 ? type + strlen(urn) : NULL;
}

/* What to type next, or NULL; @ret_user is whose password it is about. */
static const char *hint_for(const char *slug, const json_t *body, const char **ret_user)
{
	static const char path[] = "/v1/credentials/";
	const char *next = json_string_value(json_object_get(body, "next"));

	*ret_user = NULL;
	if (slug == NULL)
		return NULL;
	if (strcmp(slug, "password-change-required") == 0) {
		if (next != NULL && strncmp(next, path, strlen(path)) == 0 && strcmp(next + strlen(path), "admin") != 0)
			*ret_user = next + strlen(path);
		return "agentctl passwd";
	}
	return strcmp(slug, "authentication-required") == 0 ? "agentctl login" : NULL;
}

/* The sentence of a problem (RFC 9457), its reasons, its name, which docs/troubleshooting.md is sorted by, and what to do next. */
static void explain(const struct ctl *ctl, const struct reply *reply)
{
	const json_t *body = reply->body;
	const char *slug = slug_of(body);
	const char *detail = json_string_value(json_object_get(body, "detail"));
	const char *title = json_string_value(json_object_get(body, "title"));
	const char *name = json_string_value(json_object_get(body, "error")), *user;
	const char *hint = hint_for(slug, body, &user);
	const json_t *reasons = json_object_get(body, "reasons");
	const json_t *reason;
	size_t i;

	if (ctl->is_json && body != NULL)
		print_json(body);
	fprintf(stderr, "agentctl: ");
	if (detail == NULL && title == NULL)
		fprintf(stderr, "the agent answered with status %ld", reply->status);
	else if (slug != NULL && strcmp(slug, "password-change-required") == 0)
		fputs("the password has to be set first", stderr);	/* the detail is for programs */
	else
		print_text(stderr, detail == NULL || json_array_size(reasons) > 0 ? title : detail);
	if (name != NULL) {
		fputs(" (", stderr);
		print_text(stderr, name);
		fputc(')', stderr);
	}
	if (hint != NULL)
		fprintf(stderr, ": %s", hint);
	else if (reply->retry_after_s > 0)
		fprintf(stderr, ": again in %ld s", reply->retry_after_s);
	if (user != NULL) {
		fputs(" --user ", stderr);
		print_text(stderr, user);
	}
	fputc('\n', stderr);
	json_array_foreach(reasons, i, reason) {
		fputs("  - ", stderr);
		print_text(stderr, json_string_value(reason));
		fputc('\n', stderr);
	}
}

static int no_answer(const struct ctl *ctl, CURLcode code, const char *why)
{
	if (code == CURLE_COULDNT_CONNECT)
		fprintf(stderr,
			"agentctl: nobody answers at %s; is the agent running? (systemctl status agentd agentd-mgmt, or agentd --supervise)\n",
			ctl->socket);
	else
		fprintf(stderr, "agentctl: the connection to %s failed: %s\n", ctl->socket, why[0] != '\0' ? why : curl_easy_strerror(code));
	return CTL_UNREACHABLE;
}

static int perform(struct ctl *ctl, CURL *curl, struct reply *ret_reply)
{
	char why[CURL_ERROR_SIZE] = "";
	struct body body = { 0 };
	json_error_t json_error;
	struct reply reply = { 0 };
	curl_off_t wait_s = 0;
	CURLcode code;

	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
	if (curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &wait_s) == CURLE_OK && wait_s > 0 && wait_s <= 86400)
		reply.retry_after_s = (long)wait_s;
	/* A refusal may arrive while the body is still being sent; then the answer counts, not the broken pipe. */
	if (code != CURLE_OK && !(reply.status >= 400 && body.size > 0)) {
		free(body.data);
		return no_answer(ctl, code, why);
	}
	if (body.size > 0)
		reply.body = json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES, &json_error);
	if (body.data != NULL)
		wipe(body.data, body.size);
	free(body.data);
	*ret_reply = reply;
	return http_exit_code(reply.status, slug_of(reply.body));
}

/* A request to the agent's socket as the one who is logged in; NULL without memory. */
static CURL *prepare(const struct ctl *ctl, const char *method, const char *path, struct curl_slist **ret_headers)
{
	char *bearer = NULL;
	_cleanup_free_ char *url = NULL;
	CURL *curl = curl_easy_init();

	*ret_headers = NULL;
	if (curl == NULL || asprintf(&url, "http://localhost%s", path) < 0) {
		curl_easy_cleanup(curl);
		return NULL;
	}
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, ctl->socket);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	if (ctl->token != NULL && asprintf(&bearer, "Authorization: Bearer %s", ctl->token) > 0) {
		*ret_headers = curl_slist_append(NULL, bearer);
		wipe(bearer, strlen(bearer));
		free(bearer);
	}
	return curl;
}

static int request_once(struct ctl *ctl, const char *method, const char *path, const char *text, const struct upload *upload, struct reply *ret_reply)
{
	struct curl_slist *headers;
	CURL *curl = prepare(ctl, method, path, &headers);
	int r;

	if (curl == NULL)
		return CTL_FAILED;
	if (upload != NULL) {
		headers = curl_slist_append(headers, "Content-Type: application/octet-stream");
		/* So that a refusal comes before the first byte is sent. */
		headers = curl_slist_append(headers, "Expect: 100-continue");
		curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, 5000L);
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, send_more);
		curl_easy_setopt(curl, CURLOPT_READDATA, (void *)upload);
		curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
		curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
		curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
		curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)upload);
		if (upload->size_bytes != UINT64_MAX)
			curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)upload->size_bytes);
		else
			headers = curl_slist_append(headers, "Transfer-Encoding: chunked");
	} else {
		/* The TPM and the password hash may take their time; a hung agent should not hang us for ever. */
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, 180L);
		if (text != NULL) {
			headers = curl_slist_append(headers, "Content-Type: application/json");
			curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text);
		} else if (strcmp(method, "POST") == 0) {
			curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
		}
	}
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	r = perform(ctl, curl, ret_reply);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	/* A bundle that does not fit is refused; a disk without room is a failure. */
	return r == CTL_UPDATE_REFUSED && ret_reply->status == 507 && strcmp(path, "/v1/update") != 0 ? CTL_FAILED : r;
}

/* True if the session of an earlier login is over and was forgotten: without it the agent goes by who we are. */
static bool forget_session(struct ctl *ctl, int r)
{
	if (r != CTL_CREDENTIALS || !ctl->is_stored_token || ctl->token == NULL)
		return false;
	token_forget();
	token_free(ctl->token);
	ctl->token = NULL;
	return true;
}

/* For root and admins who they are is enough. The refusal came before the body was read, so a body can be sent again. */
static int request(struct ctl *ctl, const char *method, const char *path, const char *text, const struct upload *upload, struct reply *ret_reply)
{
	int r = request_once(ctl, method, path, text, upload, ret_reply);

	if ((upload == NULL || lseek(fileno(upload->file), 0, SEEK_SET) == 0) && forget_session(ctl, r)) {
		reply_free(ret_reply);
		r = request_once(ctl, method, path, text, upload, ret_reply);
	}
	if (r != CTL_OK && ret_reply->status != 0)
		explain(ctl, ret_reply);
	return r;
}

int http_request(struct ctl *ctl, const char *method, const char *path, json_t *body, struct reply *ret_reply)
{
	char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
	int r;

	*ret_reply = (struct reply){ 0 };
	if (body != NULL && text == NULL) {
		fputs("agentctl: the request is not valid UTF-8 or there is no memory\n", stderr);
		json_decref(body);
		return CTL_USAGE;
	}
	json_decref(body);
	r = request(ctl, method, path, text, NULL, ret_reply);
	if (text != NULL)
		wipe(text, strlen(text));
	free(text);
	return r;
}

int http_do(struct ctl *ctl, const char *method, const char *path, json_t *body)
{
	struct reply reply;
	int r = http_request(ctl, method, path, body, &reply);

	reply_free(&reply);
	return r;
}

int http_done(struct ctl *ctl, const char *method, const char *path, json_t *body, const char *sentence, const char *json)
{
	int r = http_do(ctl, method, path, body);

	if (r == CTL_OK)
		print_done(ctl, sentence, json);
	return r;
}

/* @show, or the rows @fields. */
static int print_answer(struct ctl *ctl, const char *method, const char *path, json_t *body, void (*show)(const json_t *body),
			const struct field *fields, size_t n)
{
	struct reply reply;
	int r = http_request(ctl, method, path, body, &reply);

	if (r != CTL_OK || reply.body == NULL)
		;
	else if (ctl->is_json)
		print_json(reply.body);
	else if (show != NULL)
		show(reply.body);
	else
		print_fields(reply.body, fields, n);
	reply_free(&reply);
	return r;
}

int http_show(struct ctl *ctl, const char *method, const char *path, json_t *body, void (*show)(const json_t *body))
{
	return print_answer(ctl, method, path, body, show, NULL, 0);
}

int http_fields(struct ctl *ctl, const char *method, const char *path, json_t *body, const struct field *fields, size_t n)
{
	return print_answer(ctl, method, path, body, NULL, fields, n);
}

int http_text(struct ctl *ctl, const char *path, json_t *body, const char *member, const char *out)
{
	struct reply reply;
	int r = http_request(ctl, "POST", path, body, &reply);
	const char *text = json_string_value(json_object_get(reply.body, member));

	if (r == CTL_OK && text == NULL)
		r = CTL_FAILED;
	else if (r == CTL_OK && ctl->is_json)
		print_json(reply.body);
	else if (r == CTL_OK)
		r = text_write(out, text);
	reply_free(&reply);
	return r;
}

char *http_path(const char *before, const char *name, const char *after)
{
	char *escaped = curl_easy_escape(NULL, name, 0), *path = NULL;

	if (escaped == NULL || asprintf(&path, "%s%s%s", before, escaped, after) < 0)
		path = NULL;
	curl_free(escaped);
	return path;
}

int http_upload(struct ctl *ctl, const char *path, const struct upload *upload, struct reply *ret_reply)
{
	*ret_reply = (struct reply){ 0 };
	return request(ctl, "POST", path, NULL, upload, ret_reply);
}

/* ---- an answer that has no end ------------------------------------------------------------------------------------ */

struct following {
	CURL *curl;
	struct body refusal;
	int (*take)(void *userdata, const char *data, size_t size);
	void *userdata;
	uint64_t heard_s;
};

static size_t follow_receive(char *data, size_t one, size_t n, void *userdata)
{
	struct following *f = userdata;
	long status = 0;

	f->heard_s = monotonic_s();
	curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return receive(data, one, n, &f->refusal);
	return f->take(f->userdata, data, one * n) == 0 ? one * n : 0;
}

static int follow_progress(void *userdata, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	const struct following *f = userdata;

	return monotonic_s() - f->heard_s > SILENCE_S || reader_is_gone();
}

static int follow_once(struct ctl *ctl, const char *path, struct following *f, struct reply *ret_reply)
{
	struct curl_slist *headers;

	f->curl = prepare(ctl, "GET", path, &headers);
	if (f->curl == NULL)
		return CTL_FAILED;
	f->heard_s = monotonic_s();
	curl_easy_setopt(f->curl, CURLOPT_WRITEFUNCTION, follow_receive);
	curl_easy_setopt(f->curl, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(f->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(f->curl, CURLOPT_XFERINFOFUNCTION, follow_progress);
	curl_easy_setopt(f->curl, CURLOPT_XFERINFODATA, f);
	curl_easy_setopt(f->curl, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_perform(f->curl);
	curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &ret_reply->status);
	if (f->refusal.size > 0)
		ret_reply->body = json_loadb(f->refusal.data, f->refusal.size, JSON_REJECT_DUPLICATES, NULL);
	free(f->refusal.data);
	f->refusal = (struct body){ 0 };
	curl_slist_free_all(headers);
	curl_easy_cleanup(f->curl);
	return ret_reply->status == 0 ? CTL_UNREACHABLE : http_exit_code(ret_reply->status, slug_of(ret_reply->body));
}

int http_follow(struct ctl *ctl, const char *path, int (*take)(void *userdata, const char *data, size_t size), void *userdata)
{
	struct following f = { .take = take, .userdata = userdata };
	struct reply reply = { 0 };
	int r = follow_once(ctl, path, &f, &reply);

	if (forget_session(ctl, r)) {
		reply_free(&reply);
		r = follow_once(ctl, path, &f, &reply);
	}
	if (r != CTL_OK && r != CTL_UNREACHABLE && r != CTL_BUSY)
		explain(ctl, &reply);
	reply_free(&reply);
	return r;
}
