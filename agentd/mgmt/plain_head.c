/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request head at the door without TLS. It is answered by a page or a redirection and nothing else, so it is read here, in
 * one strict pass over the bytes, and never reaches libmicrohttpd.
 */
#include <string.h>
#include <strings.h>

#include "agentd/mgmt/plain.h"
#include "base/macro.h"

#define FIELDS_MAX 64

static const char token_bytes[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"; /* RFC 9110 5.6.2 */
static const char host_bytes[] = "-._:[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

static bool is_made_of(const char *text, size_t size, const char *bytes)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] == '\0' || strchr(bytes, text[i]) == NULL)
			return false;
	return size > 0;
}

static bool is_printable(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)text[i] <= 0x20 || (unsigned char)text[i] >= 0x7f)
			return false;
	return size > 0;
}

/* METHOD SP TARGET SP HTTP/1.x */
static unsigned read_request_line(const char *line, size_t size, struct plain_request *req)
{
	const char *end = line + size, *target = memchr(line, ' ', size), *version;
	size_t n_target;

	if (target == NULL || !is_made_of(line, (size_t)(target - line), token_bytes))
		return 400;
	req->is_head = target - line == 4 && memcmp(line, "HEAD", 4) == 0;
	req->is_get = target - line == 3 && memcmp(line, "GET", 3) == 0;
	target++;
	version = memchr(target, ' ', (size_t)(end - target));
	if (version == NULL)
		return 400;
	n_target = (size_t)(version - target);
	version++;
	if (end - version != 8 || memcmp(version, "HTTP/1.", 7) != 0 || (version[7] != '0' && version[7] != '1'))
		return 400;
	if (!is_printable(target, n_target) || (req->is_get && target[0] != '/'))
		return 400;
	req->is_root = n_target == 1 || (n_target > 1 && target[1] == '?');
	return 0;
}

static unsigned read_field(const char *line, size_t size, struct plain_request *req)
{
	const char *colon = memchr(line, ':', size), *value;
	size_t n_name, n;

	if (colon == NULL || !is_made_of(line, (size_t)(colon - line), token_bytes))
		return 400; /* also a folded line, which begins with a blank */
	n_name = (size_t)(colon - line);
	value = colon + 1;
	n = size - n_name - 1;
	while (n > 0 && (value[0] == ' ' || value[0] == '\t'))
		value++, n--;
	while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
		n--;
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
			return 400;
	if (n_name == 4 && strncasecmp(line, "Host", 4) == 0) {
		if (req->host[0] != '\0' || n >= sizeof(req->host) || !is_made_of(value, n, host_bytes))
			return 400;
		memcpy(req->host, value, n);
		req->host[n] = '\0';
	}
	/* A body has no place here, and two programs could differ on where it ends. */
	if ((n_name == 14 && strncasecmp(line, "Content-Length", 14) == 0) || (n_name == 17 && strncasecmp(line, "Transfer-Encoding", 17) == 0))
		req->has_body = true;
	return 0;
}

unsigned plain_head_read(const char *head, size_t size, struct plain_request *ret_req)
{
	struct plain_request req = { 0 };
	const char *line = head, *end = head + size;
	unsigned n_lines = 0, status = 0;

	while (line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));

		if (newline == NULL)
			break;
		if (newline == line || newline[-1] != '\r')
			return 400;
		if (newline == line + 1) {
			if (n_lines == 0 || req.host[0] == '\0' || (req.is_get && req.has_body))
				return 400;
			*ret_req = req;
			return req.is_get ? 200 : 405;
		}
		if (n_lines > FIELDS_MAX)
			return 431;
		status = n_lines++ == 0 ? read_request_line(line, (size_t)(newline - line - 1), &req) :
					  read_field(line, (size_t)(newline - line - 1), &req);
		if (status != 0)
			return status;
		line = newline + 1;
	}
	return size >= PLAIN_HEAD_MAX ? 431 : 0;
}
