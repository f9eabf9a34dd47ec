/* SPDX-License-Identifier: Apache-2.0 */
/* Errors and results to HTTP: one table of problems, one of errors, one of header fields; and the request's log line. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "agentd/common/bus_json.h"
#include "agentd/common/service.h"
#include "agentd/mgmt/request.h"
#include "base/macro.h"
#include "base/secret.h"

/* First match wins. A NULL or 0 matches anything; a path or name that ends in '.' or '/' or is whole matches as a prefix. */
static const struct mapping {
	const char *path;
	int r;
	const char *name;
	const char *slug;
} mappings[] = {
	{ NULL, -ENOTCONN, NULL, "core-unreachable" },
	{ NULL, 0, "bus.lost", "core-unreachable" },
	{ NULL, 0, "bus.connect", "not-ready" }, /* core does not reach another program */
	{ NULL, 0, "slot.open", "slot-unavailable" },
	{ NULL, 0, "slot.read-only", "slot-unavailable" },
	{ NULL, 0, "boot.not-bootable", "slot-not-bootable" },
	{ NULL, 0, "boot.", "slot-unavailable" },
	{ NULL, -EACCES, "file.", "internal" }, /* a file of ours that has another owner: nobody gets further by logging in */
	{ NULL, -EPERM, "file.", "internal" },
	{ NULL, -EACCES, "journal.", "internal" },
	{ NULL, -EPERM, "journal.", "internal" },
	{ NULL, -EDQUOT, "account.many", "not-acceptable" },
	{ NULL, -EDQUOT, "update.postpone", "not-acceptable" },
	{ NULL, -EDQUOT, NULL, "too-many-requests" },
	{ "/v1/keys", -EKEYEXPIRED, "rotation.certificate", "not-acceptable" },
	{ NULL, -EKEYEXPIRED, NULL, "password-change-required" },
	{ NULL, -EBUSY, NULL, "busy" },
	{ NULL, -EAGAIN, NULL, "busy" },
	{ NULL, -ENOMEM, NULL, "busy" },
	{ NULL, -EMFILE, NULL, "busy" }, /* descriptors: of the program, of the machine */
	{ NULL, -ENFILE, NULL, "busy" },
	{ NULL, -ETIMEDOUT, NULL, "timeout" },
	{ NULL, -ENOSPC, NULL, "no-space" },
	{ "/v1/session", -EACCES, NULL, "wrong-credentials" },
	{ NULL, -EACCES, "password.", "wrong-credentials" }, /* one's own, asked for again */
	{ NULL, -EINVAL, "password.weak", "weak-password" },
	{ "/v1/credentials/", -EACCES, "session.credentials", "wrong-credentials" },
	{ "/v1/credentials/", -EINVAL, NULL, "weak-password" },
	{ "/v1/credentials/", -EMSGSIZE, NULL, "weak-password" },
	{ "/v1/credentials/", -EILSEQ, NULL, "weak-password" },
	{ "/v1/update", -ESTALE, NULL, "update-stale" },
	{ "/v1/update", -EPERM, "manifest.", "update-refused" },
	{ "/v1/update", -EPERM, "update.", "update-refused" },
	{ "/v1/update", -EPERM, "container.", "update-refused" },
	{ "/v1/keys", -EKEYREJECTED, "import.weak", "not-acceptable" },
	{ "/v1/update", -EKEYREJECTED, NULL, "update-refused" },
	{ "/v1/update", -ENOKEY, "update.", "update-refused" }, /* encrypted, and no key; no signer is pinned */
	{ "/v1/update", -EBADMSG, NULL, "update-refused" },
	{ "/v1/update", -EMSGSIZE, NULL, "update-refused" },
	{ "/v1/update", -EOPNOTSUPP, "source.", "not-acceptable" },
	{ "/v1/update", -EOPNOTSUPP, NULL, "update-refused" },
	{ "/v1/update", -EFBIG, NULL, "update-refused" },
	{ "/v1/update", -EPIPE, NULL, "update-refused" },
	{ "/v1/update", -ENODATA, NULL, "update-refused" },
	{ "/v1/update", -EALREADY, NULL, "update-refused" }, /* it fell back before */
	{ "/v1/update", -ERANGE, "update.", "update-refused" },
	{ "/v1/enrolment", 0, "est.", "not-acceptable" },
	{ "/v1/enrolment", 0, "fetch.", "not-acceptable" }, /* the server cannot be reached, or is not who it should be */
	{ "/v1/enrolment", 0, "tls.", "not-acceptable" },
	{ "/v1/update", -EINVAL, NULL, "not-acceptable" },
	{ "/v1/update", -ENOENT, "boot.", "not-ready" },
	{ "/v1/update", -ENOENT, "slot.", "not-ready" },
	{ "/v1/update", 0, "slot.io", "slot-unavailable" }, /* EPERM and EACCES of a disk say nothing about who asks */
	{ NULL, -EACCES, NULL, "authentication-required" },
	{ NULL, -EPERM, NULL, "not-permitted" },
	{ NULL, -ENOENT, NULL, "not-found" },
	{ NULL, -EEXIST, NULL, "already-exists" },
	{ NULL, -ESTALE, NULL, "state-changed" },
	{ NULL, -EMSGSIZE, NULL, "too-large" },
	{ NULL, -EINVAL, NULL, "not-acceptable" },
	{ NULL, -EBADMSG, NULL, "not-acceptable" },
	{ NULL, -EOPNOTSUPP, NULL, "not-acceptable" },
	{ NULL, -ENOKEY, NULL, "not-ready" },
	{ NULL, -ENODEV, NULL, "not-ready" },
};

static const struct {
	const char *name, *value;
} fields[] = {
	{ "Cache-Control", "no-store" },
	{ "X-Content-Type-Options", "nosniff" },
	{ "X-Frame-Options", "DENY" },
	{ "Referrer-Policy", "no-referrer" },
	{ "Cross-Origin-Resource-Policy", "same-origin" },
	{ "Cross-Origin-Opener-Policy", "same-origin" },
};
#define HSTS "max-age=86400" /* a day: after its end or removal nobody is locked out for longer */
#define CSP_API "default-src 'none'; frame-ancestors 'none'"
#define CSP_PAGE "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; " \
		 "base-uri 'none'; frame-ancestors 'none'"

static const struct problem *problem_find(const char *slug)
{
	for (size_t i = 0; i < n_problems; i++)
		if (strcmp(problems[i].slug, slug) == 0)
			return &problems[i];
	return problem_find("internal");
}

unsigned reply_status(const char *slug)
{
	return problem_find(slug)->status;
}

const char *reply_slug(const char *path, int r, const char *error_name)
{
	for (size_t i = 0; i < ARRAY_SIZE(mappings); i++) {
		const struct mapping *m = &mappings[i];

		if ((m->path == NULL || strncmp(path, m->path, strlen(m->path)) == 0) && (m->r == 0 || m->r == r) &&
		    (m->name == NULL || strncmp(error_name, m->name, strlen(m->name)) == 0))
			return m->slug;
	}
	return "internal";
}

#define RETRY_AFTER "(retry-after="

uint32_t reply_retry_after(const char *message)
{
	const char *at = strstr(message, RETRY_AFTER);
	unsigned long seconds;
	char *end;

	if (at == NULL)
		return 0;
	seconds = strtoul(at + strlen(RETRY_AFTER), &end, 10);
	return *end == ')' && seconds <= 86400 ? (uint32_t)seconds : 0;
}

static void clear(struct request *req)
{
	if (req->reply.body != NULL && !req->reply.is_static) {
		wipe(req->reply.body, req->reply.size);
		free(req->reply.body);
	}
	req->reply = (struct reply){ 0 };
}

static void set(struct request *req, unsigned status)
{
	clear(req);
	req->reply.status = status;
	if (req->stage != STAGE_DEAD)
		req->stage = STAGE_REPLIED;
}

static void set_json(struct request *req, unsigned status, const char *type, json_t *json)
{
	/* Not json_dumps(): that grows, and may leave a token behind each time. */
	size_t n = json == NULL ? 0 : json_dumpb(json, NULL, 0, JSON_COMPACT | JSON_ENSURE_ASCII);
	char *line = n == 0 ? NULL : malloc(n + 2);

	if (line != NULL && json_dumpb(json, line, n, JSON_COMPACT | JSON_ENSURE_ASCII) != n) {
		wipe(line, n);
		free(line);
		line = NULL;
	}
	args_free(json);
	set(req, status);
	if (line != NULL) {
		memcpy(line + n, "\n", 2);
		req->reply.body = line;
		req->reply.size = n + 1;
		req->reply.type = type;
	} else {
		req->reply.status = 503;
	}
}

void reply_json(struct request *req, unsigned status, json_t *json)
{
	set_json(req, status, "application/json", json);
}

void reply_empty(struct request *req, unsigned status)
{
	set(req, status);
}

void reply_static(struct request *req, const char *type, const void *data, size_t size)
{
	set(req, 200);
	req->reply.body = (char *)(uintptr_t)data;
	req->reply.size = size;
	req->reply.type = type;
	req->reply.is_static = req->reply.is_page = true;
}

void reply_stream(struct request *req)
{
	set(req, 200);
	req->reply.type = "text/event-stream";
	req->reply.is_stream = true;
}

void reply_problem(struct request *req, const char *slug, const char *error, const char *detail, json_t *extra)
{
	const struct problem *p = problem_find(slug);
	char type[96];
	json_t *json;

	snprintf(type, sizeof(type), "urn:agentd:problem:%s", p->slug);
	json = json_pack("{s:s, s:s, s:i, s:s}", "type", type, "title", p->title, "status", (int)p->status, "detail", detail);
	if (json != NULL && error != NULL)
		json_object_set_new(json, "error", json_string(error));
	if (json != NULL && extra != NULL)
		json_object_update(json, extra);
	json_decref(extra);
	set_json(req, p->status, "application/problem+json", json);
	req->reply.problem = p->slug;
	if (strcmp(slug, "busy") == 0)
		reply_header(req, "Retry-After", "2");
}

json_t *reply_reasons(const char *message)
{
	json_t *list = json_array();

	for (const char *p = message; *p != '\0';) {
		const char *end = strstr(p, "; ");
		size_t n = end == NULL ? strlen(p) : (size_t)(end - p);

		json_array_append_new(list, json_stringn(p, n));
		p += n + (end == NULL ? 0 : 2);
	}
	return json_pack("{s:o}", "reasons", list);
}

json_t *reply_next(const struct request *req)
{
	char path[96];

	snprintf(path, sizeof(path), "/v1/credentials/%s", req->user[0] != '\0' ? req->user : "admin");
	return json_pack("{s:s}", "next", path);
}

void reply_error(struct request *req, int r, struct agent_error **err)
{
	const char *name = agent_error_name(*err);
	const char *slug = reply_slug(req->path, r, name);
	uint32_t retry_s = reply_retry_after(agent_error_message(*err));
	char detail[1024];
	char *suffix;
	json_t *extra = NULL;

	snprintf(detail, sizeof(detail), "%s", *err == NULL ? strerror(-r) : agent_error_message(*err));
	suffix = strstr(detail, RETRY_AFTER);
	if (suffix != NULL)
		*suffix = '\0';
	for (size_t n = strlen(detail); n > 0 && detail[n - 1] == ' '; n--)
		detail[n - 1] = '\0';
	if (strcmp(slug, "weak-password") == 0)
		extra = reply_reasons(detail);
	else if (strcmp(slug, "password-change-required") == 0)
		extra = reply_next(req);
	if (strcmp(slug, "internal") == 0)
		service_log(LOG_ERR, "%s %s: %s (%s)", req->method_text, req->path, detail, name);
	reply_problem(req, slug, *err == NULL ? NULL : name, detail, extra);
	if (retry_s == 0 && strcmp(slug, "too-many-requests") == 0)
		retry_s = 1;
	if (retry_s > 0)
		reply_header(req, "Retry-After", "%u", retry_s);
	if (strcmp(slug, "authentication-required") == 0)
		reply_header(req, "WWW-Authenticate", "Bearer");
	*err = agent_error_free(*err);
}

void reply_header(struct request *req, const char *name, const char *fmt, ...)
{
	struct reply *reply = &req->reply;
	size_t i = 0;
	va_list ap;

	/* Retry-After may be set again, Set-Cookie may come twice. */
	if (strcmp(name, "Set-Cookie") == 0)
		i = reply->n_headers;
	while (i < reply->n_headers && strcmp(reply->headers[i][0], name) != 0)
		i++;
	if (i == ARRAY_SIZE(reply->headers))
		return;
	snprintf(reply->headers[i][0], sizeof(reply->headers[i][0]), "%s", name);
	va_start(ap, fmt);
	vsnprintf(reply->headers[i][1], sizeof(reply->headers[i][1]), fmt, ap);
	va_end(ap);
	if (i == reply->n_headers)
		reply->n_headers++;
}

static void reply_log(struct request *req)
{
	uint64_t now_us = mgmt_now_us(req->m);
	bool is_quiet = req->reply.status < 400 && req->method == METHOD_GET;

	if (req->is_logged)
		return;
	req->is_logged = true;
	/* The documents are made from the table of routes; the tests look for this line. */
	if (req->route != NULL && (req->reply.problem != NULL ? !route_has_problem(req->route, req->reply.problem) :
						       req->reply.status != (req->route->status == 0 ? 200 : req->route->status)))
		service_log(LOG_ERR, "%s %s: the answer %u %s is not documented", req->method_text, req->path, req->reply.status,
			    req->reply.problem == NULL ? "" : req->reply.problem);
	/* Strangers may write a few lines a second in all; what an operator audits is in core's event log. */
	if (!is_quiet && !req->is_known && !req->conn->is_unix && limit_take(req->m->limits, LIMIT_LOG, "", 0, now_us) > 0)
		is_quiet = true;
	service_log(is_quiet ? LOG_DEBUG : LOG_INFO, "%s %s %u %llu ms %s %s", req->method_text, req->uri_is_bad ? "-" : req->path,
		    req->reply.status, (unsigned long long)(now_us - req->begun_us) / 1000, req->conn->source.text,
		    req->user[0] != '\0' ? req->user : "-");
}

bool reply_needs_raw(const struct request *req)
{
	return req->in_body;
}

enum MHD_Result reply_queue(struct request *req)
{
	struct reply *reply = &req->reply;
	struct MHD_Response *response;
	enum MHD_Result result = MHD_YES;

	if (reply_needs_raw(req)) {
		reply_raw(req);
		return MHD_NO;
	}
	reply_log(req);
	req->conn->is_reply_due = true;
	conn_set_phase(req->conn, reply->is_stream ? PHASE_EVENTS : PHASE_REPLY);
	if (reply->is_stream)
		response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4 * KIB, stream_read, req, NULL);
	else
		response = MHD_create_response_from_buffer(reply->size, reply->body,
							   reply->is_static ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_COPY);
	if (response == NULL)
		return MHD_NO;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		result &= MHD_add_response_header(response, fields[i].name, fields[i].value);
	result &= MHD_add_response_header(response, "Content-Security-Policy", reply->is_page ? CSP_PAGE : CSP_API);
	/* Not with the certificate of the device CA: a browser that does not know it would lock its user out. */
	if (req->conn->is_tls && tls_has_owner(req->m))
		result &= MHD_add_response_header(response, "Strict-Transport-Security", HSTS);
	if (reply->type != NULL)
		result &= MHD_add_response_header(response, "Content-Type", reply->type);
	for (size_t i = 0; i < reply->n_headers; i++)
		result &= MHD_add_response_header(response, reply->headers[i][0], reply->headers[i][1]);
	/*
	 * Only the parser knows where it ended, so what came behind it in the same packet was not looked at: conn.c. A stranger who asks too
	 * often pays for his next answer with a handshake, of which there are few; on the same connection he could have hundreds a second.
	 * A certificate that does not count any more has no use for the connection.
	 */
	if (req->is_chunked || conn_ends_soon(req->conn) || req->conn->client_reason != NULL || (reply->status == 429 && !req->conn->is_known && !req->conn->is_unix))
		result &= MHD_add_response_header(response, "Connection", "close");
	if (result == MHD_YES)
		result = MHD_queue_response(req->mhd, reply->status, response);
	MHD_destroy_response(response);
	return result;
}

static void print_fields(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		fprintf(out, "%s: %s\r\n", fields[i].name, fields[i].value);
	fprintf(out, "Content-Security-Policy: %s\r\n", CSP_API);
}

static void plain_problem(struct conn *c, const char *slug, const char *detail, const char *more, bool has_content)
{
	const struct problem *p = problem_find(slug);
	char body[256], *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int n = snprintf(body, sizeof(body), "{\"type\":\"urn:agentd:problem:%s\",\"title\":\"%s\",\"status\":%u,\"detail\":\"%s\"}\n", p->slug,
			 p->title, p->status, detail);

	if (out == NULL) {
		conn_close(c, true);
		return;
	}
	fprintf(out, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %d\r\nContent-Type: application/problem+json\r\n%s", p->status,
		MHD_get_reason_phrase_for(p->status), n, more);
	print_fields(out);
	fprintf(out, "\r\n%s", has_content ? body : "");
	if (fclose(out) == 0)
		conn_answer_and_close(c, text, size);
	else
		conn_close(c, true);
	free(text);
}

void reply_plain_problem(struct conn *c, const char *slug, const char *detail, const char *more)
{
	plain_problem(c, slug, detail, more, true);
}

void reply_plain_head_problem(struct conn *c, const char *slug, const char *detail, const char *more)
{
	plain_problem(c, slug, detail, more, false);
}

void reply_to_broken_head(struct conn *c, unsigned status)
{
	const char *slug = status == 414 ? "target-too-long" :
			   status == 431 ? "head-too-large" :
			   status == 413 ? "too-large" :
			   status == 500 ? "busy" : /* out of memory */
					   "bad-request";

	reply_plain_problem(c, slug, "the request cannot be read", "");
}

/* libmicrohttpd can answer before a body or after it, but not in its middle; an upload that is refused must not go on. */
void reply_raw(struct request *req)
{
	struct reply *reply = &req->reply;
	char *text = NULL;
	size_t size = 0;
	FILE *out;

	if (req->stage == STAGE_DEAD)
		return;
	reply_log(req);
	out = open_memstream(&text, &size);
	if (out != NULL) {
		fprintf(out, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %zu\r\n", reply->status,
			MHD_get_reason_phrase_for(reply->status), reply->size);
		print_fields(out);
		if (reply->type != NULL)
			fprintf(out, "Content-Type: %s\r\n", reply->type);
		for (size_t i = 0; i < reply->n_headers; i++)
			fprintf(out, "%s: %s\r\n", reply->headers[i][0], reply->headers[i][1]);
		fputs("\r\n", out);
		if (reply->size > 0)
			fwrite(reply->body, 1, reply->size, out);
		if (fclose(out) == 0)
			conn_answer_and_close(req->conn, text, size);
		else
			conn_close(req->conn, true);
		free(text);
	} else {
		conn_close(req->conn, true);
	}
	request_abandon(req);
}

void reply_unreadable(struct request *req)
{
	reply_problem(req, "internal", NULL, "core's answer cannot be read", NULL);
}

void reply_value(struct request *req, unsigned status, const char *name, sd_bus_message *message)
{
	json_t *json = bus_json_read(message);

	if (json == NULL)
		reply_unreadable(req);
	else
		reply_json(req, status, name == NULL ? json : json_pack("{s:o}", name, json));
}

void reply_done(struct request *req, sd_bus_message *message)
{
	reply_empty(req, 204);
}

void reply_from_dict(struct request *req, sd_bus_message *message)
{
	reply_value(req, 200, NULL, message);
}
