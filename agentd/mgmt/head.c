/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we ask of a request head beyond what libmicrohttpd does: one meaning only. Anything that two programs could read
 * differently (two lengths, a length and a chunked body, odd bytes in a path) is refused rather than interpreted.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agentd/mgmt/request.h"

#define FIELDS_MAX 64

static const char token_bytes[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"; /* RFC 9110 5.6.2 */
static const char path_bytes[] = "/-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char query_bytes[] = "=&-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

static bool has_dot_segment(const char *path)
{
	for (const char *p = path; (p = strchr(p, '/')) != NULL; p++) {
		size_t n = strcspn(p + 1, "/");

		if ((n == 0 && p[1] == '/') || (n == 1 && p[1] == '.') || (n == 2 && p[1] == '.' && p[2] == '.'))
			return true;
	}
	return false;
}

bool head_target(struct request *req, const char *uri)
{
	size_t n_path = strcspn(uri, "?"), n_query;
	const char *query = uri[n_path] == '?' ? uri + n_path + 1 : "";

	n_query = strlen(query);
	req->uri_is_long = n_path > PATH_MAX_BYTES || n_query > PATH_MAX_BYTES;
	if (n_path == 0 || req->uri_is_long || uri[0] != '/')
		return false;
	if (strspn(uri, path_bytes) != n_path || strspn(query, query_bytes) != n_query)
		return false;
	memcpy(req->path, uri, n_path);
	req->path[n_path] = '\0';
	memcpy(req->query, query, n_query + 1);
	return !has_dot_segment(req->path);
}

static void refuse(struct request *req, const char *why)
{
	if (req->head_error == NULL)
		req->head_error = why;
}

static bool copy(char *to, size_t to_size, const char *value, size_t size)
{
	if (size >= to_size)
		return false;
	memcpy(to, value, size);
	to[size] = '\0';
	return true;
}

static void take_length(struct request *req, const char *value, size_t size)
{
	if (req->has_length)
		refuse(req, "more than one Content-Length");
	req->has_length = true;
	if (size == 0 || size > 18 || strspn(value, "0123456789") != size) {
		refuse(req, "Content-Length is not a number");
		return;
	}
	for (size_t i = 0; i < size; i++)
		req->content_length = req->content_length * 10 + (uint64_t)(value[i] - '0');
}

/* Only our own two cookies matter; each may come once. */
static void take_cookies(struct request *req, const char *value)
{
	bool has_device = false;

	for (const char *p = value; *p != '\0';) {
		size_t n, n_name;

		p += strspn(p, " \t");
		n = strcspn(p, ";");
		n_name = strcspn(p, "=;");
		if (n_name == strlen("__Host-agentd") && memcmp(p, "__Host-agentd", n_name) == 0 && n > n_name) {
			if (req->has_cookie)
				refuse(req, "the session cookie occurs twice");
			req->has_cookie = true;
			if (!copy(req->cookie_token, sizeof(req->cookie_token), p + n_name + 1, n - n_name - 1))
				req->has_bad_token = true;
		} else if (n_name == strlen("__Host-agentd-device") && memcmp(p, "__Host-agentd-device", n_name) == 0 && n > n_name) {
			if (has_device || !copy(req->device_cookie, sizeof(req->device_cookie), p + n_name + 1, n - n_name - 1))
				req->device_cookie[0] = '\0';
			has_device = true;
		}
		p += n;
		if (*p == ';')
			p++;
	}
}

static void take_authorization(struct request *req, const char *value, size_t size)
{
	static const char bearer_bytes[] = "-._~+/=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (req->n_auth++ > 0)
		refuse(req, "more than one Authorization");
	req->has_bearer = true;
	if (size <= 7 || strncasecmp(value, "Bearer ", 7) != 0 || strspn(value + 7, bearer_bytes) != size - 7 ||
	    !copy(req->token, sizeof(req->token), value + 7, size - 7))
		req->has_bad_token = true;
}

void head_field(struct request *req, const char *name, size_t name_size, const char *value, size_t value_size)
{
	if (++req->n_fields > FIELDS_MAX)
		return;
	/* The lengths come from the parser, so a NUL inside shows as a difference to strlen(). */
	if (name_size == 0 || strlen(name) != name_size || strspn(name, token_bytes) != name_size) {
		refuse(req, "a header field has a malformed name");
		return;
	}
	if (value == NULL)
		value = "";
	for (size_t i = 0; i < value_size; i++)
		if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f) {
			refuse(req, "a header field holds a control character");
			return;
		}
	while (value_size > 0 && (value[value_size - 1] == ' ' || value[value_size - 1] == '\t'))
		value_size--;

	if (strcasecmp(name, "Host") == 0) {
		if (req->has_host)
			refuse(req, "more than one Host");
		req->has_host = true;
		if (!copy(req->host, sizeof(req->host), value, value_size))
			refuse(req, "Host is too long");
	} else if (strcasecmp(name, "Content-Length") == 0) {
		take_length(req, value, value_size);
	} else if (strcasecmp(name, "Transfer-Encoding") == 0) {
		if (req->n_te++ > 0)
			refuse(req, "more than one Transfer-Encoding");
		if (value_size != 7 || strncasecmp(value, "chunked", 7) != 0)
			refuse(req, "Transfer-Encoding other than chunked");
		req->is_chunked = true;
	} else if (strcasecmp(name, "Content-Type") == 0) {
		if (req->n_type++ > 0)
			refuse(req, "more than one Content-Type");
		if (!copy(req->content_type, sizeof(req->content_type), value, value_size))
			snprintf(req->content_type, sizeof(req->content_type), "?");
	} else if (strcasecmp(name, "Content-Encoding") == 0) {
		refuse(req, "Content-Encoding is not supported");
	} else if (strcasecmp(name, "Authorization") == 0) {
		take_authorization(req, value, value_size);
	} else if (strcasecmp(name, "Cookie") == 0) {
		if (req->n_cookie++ > 0)
			refuse(req, "more than one Cookie field");
		take_cookies(req, value);
	} else if (strcasecmp(name, "Origin") == 0) {
		if (req->has_origin)
			refuse(req, "more than one Origin");
		req->has_origin = true;
		if (!copy(req->origin, sizeof(req->origin), value, value_size))
			snprintf(req->origin, sizeof(req->origin), "null");
	} else if (strcasecmp(name, "Sec-Fetch-Site") == 0) {
		if (req->fetch_site[0] != '\0')
			refuse(req, "more than one Sec-Fetch-Site");
		if (!copy(req->fetch_site, sizeof(req->fetch_site), value, value_size))
			snprintf(req->fetch_site, sizeof(req->fetch_site), "cross-site");
	} else if (strcasecmp(name, "Last-Event-ID") == 0) {
		if (!copy(req->last_event_id, sizeof(req->last_event_id), value, value_size))
			snprintf(req->last_event_id, sizeof(req->last_event_id), "?");
	} else if (strcasecmp(name, "X-Agentd") == 0) {
		req->has_x_agentd = value_size == 1 && value[0] == '1';
	} else if (strcasecmp(name, "Expect") == 0) {
		if (req->n_expect++ > 0 || value_size != 12 || strncasecmp(value, "100-continue", 12) != 0)
			refuse(req, "Expect other than 100-continue");
	}
}

/* Scheme, host and port of Origin against Host; a browser leaves the scheme's own port out in both. */
bool origin_is_same(const char *origin, const char *host, bool is_tls)
{
	const char *scheme = is_tls ? "https://" : "http://";
	size_t n = strlen(scheme);

	return strncasecmp(origin, scheme, n) == 0 && strcasecmp(origin + n, host) == 0;
}

const char *head_check(struct request *req, const char *version, unsigned *ret_status)
{
	*ret_status = 400;
	if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
		return "HTTP version other than 1.0 and 1.1";
	if (req->uri_is_long) {
		*ret_status = 414;
		return "the request target is too long";
	}
	if (req->uri_is_bad)
		return "the request target is no path that starts with /, or holds bytes that are not allowed";
	if (req->n_fields > FIELDS_MAX) {
		*ret_status = 431;
		return "too many header fields";
	}
	if (req->head_error != NULL)
		return req->head_error;
	if (!req->has_host)
		return "Host is missing";
	if (req->is_chunked && req->has_length)
		return "Content-Length together with Transfer-Encoding";
	if (req->is_chunked && strcmp(version, "HTTP/1.1") != 0)
		return "Transfer-Encoding in HTTP/1.0";
	*ret_status = 421;
	if (!host_is_ours(req->m, req->host, req->conn->local_ip))
		return "Host is not a name of this device";
	*ret_status = 403;
	if (req->has_origin && !origin_is_same(req->origin, req->host, req->conn->is_tls))
		return "the request comes from a page of another site";
	if (req->fetch_site[0] != '\0' && strcmp(req->fetch_site, "same-origin") != 0 &&
	    !(strcmp(req->fetch_site, "none") == 0 && req->method == METHOD_GET) &&
	    !(req->method == METHOD_GET && strncmp(req->path, "/v1/", 4) != 0))
		return "the request comes from a page of another site";
	/* A browser sends the cookie by itself; a field that no form can send shows that our own page is asking. */
	if (req->has_cookie && req->method != METHOD_GET && (!req->has_x_agentd || !req->has_origin))
		return "a cookie alone does not allow changes: Origin and X-Agentd are needed";
	*ret_status = 0;
	return NULL;
}
