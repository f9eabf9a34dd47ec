/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What agentd-mgmt looks at itself in a request: target, header fields, JSON arguments, and the ClientHello. The input is
 * a request without its method: target, new line, fields, empty line, body.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/mgmt/plain.h"
#include "agentd/mgmt/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct arg_rule query_rules[] = {
	{ "after", ARG_NUMBER, false, INT64_MAX },
	{ "limit", ARG_NUMBER, false, 1000, 1 },
	{ NULL },
};

static const struct arg_rule rules[] = {
	{ "user", ARG_TEXT, true, 64 },
	{ "count", ARG_NUMBER, false, 0 },
	{ "force", ARG_TRUTH, false, 0 },
	{ NULL },
};

static char *copy(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (text == NULL)
		abort();
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

static const uint8_t *line_end(const uint8_t *data, size_t size)
{
	const uint8_t *end = size == 0 ? NULL : memchr(data, '\n', size);

	return end == NULL ? data + size : end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mgmt m = { .names = { (char *)(uintptr_t)"gw-1.local" }, .n_names = 1 };
	struct conn conn = { .m = &m, .is_tls = true, .local_ip = "192.0.2.1" };
	struct request *req = calloc(1, sizeof(*req));
	const uint8_t *end = line_end(data, size), *all_end = data + size;
	struct agent_error *err = NULL;
	json_t *args = NULL;
	unsigned status;
	struct plain_request plain;
	size_t want;
	uint64_t value;
	char *text;

	if (req == NULL)
		abort();
	(void)tls_hello_check(data, size, &want);
	if (plain_head_read((const char *)data, size, &plain) == 200 && (plain.host[0] == '\0' || !plain.is_get))
		abort();
	req->m = &m;
	req->conn = &conn;
	text = copy(data, (size_t)(end - data));
	req->uri_is_bad = !head_target(req, text);
	free(text);
	if (!req->uri_is_bad) {
		char param[65], allow[64];

		(void)route_find(METHOD_GET, req->path, param, sizeof(param), allow, sizeof(allow));
		(void)query_check(req->query, query_rules, NULL);
		(void)query_u64(req->query, "after", &value);
	}
	for (data = end; data < all_end;) {
		const uint8_t *colon;

		data++;
		end = line_end(data, (size_t)(all_end - data));
		if (end == data)
			break;
		colon = memchr(data, ':', (size_t)(end - data));
		if (colon == NULL)
			colon = end;
		text = copy(data, (size_t)(end - data));
		text[colon - data] = '\0';
		head_field(req, text, (size_t)(colon - data), colon == end ? "" : text + (colon - data) + 1,
			   colon == end ? 0 : (size_t)(end - colon - 1));
		free(text);
		data = end;
	}
	(void)head_check(req, "HTTP/1.1", &status);
	if (data < all_end)
		data++;
	if (args_parse((const char *)data, (size_t)(all_end - data), rules, &args, &err) == 0 && args_text(args, "user") == NULL)
		abort();
	args_free(args);
	agent_error_free(err);
	free(req);
	return 0;
}
