/* SPDX-License-Identifier: Apache-2.0 */
/* Every endpoint, once. A path that is not here is treated like the strictest row. */
#include <stdio.h>
#include <string.h>

#include "agentd/mgmt/request.h"
#include "base/macro.h"

#define GET METHOD_GET
#define POST METHOD_POST
#define PUT METHOD_PUT
#define DELETE METHOD_DELETE

static const struct arg_rule args_session[] = {
	{ "user", ARG_TEXT, true, 64 },
	{ "password", ARG_TEXT, true, 512 },
	{ NULL },
};

static const struct arg_rule args_credentials[] = {
	{ "current", ARG_TEXT, false, 512 },
	{ "new", ARG_TEXT, true, 512 },
	{ NULL },
};

static const struct arg_rule args_key[] = {
	{ "name", ARG_TEXT, true, 64 },
	{ "type", ARG_TEXT, true, 32 },
	{ "purposes", ARG_TEXTS, false, 32 },
	{ "callers", ARG_TEXTS, false, 192 },
	{ NULL },
};

static const struct arg_rule args_callers[] = {
	{ "callers", ARG_TEXTS, true, 192 },
	{ NULL },
};

static const struct arg_rule args_csr[] = {
	{ "subject", ARG_TEXT, true, 512 },
	{ NULL },
};

static const struct arg_rule args_certify[] = {
	{ "nonce", ARG_TEXT, true, 128 },
	{ NULL },
};

static const struct arg_rule args_quote[] = {
	{ "nonce", ARG_TEXT, true, 128 },
	{ "pcrs", ARG_TEXT, true, 64 },
	{ NULL },
};

static const struct arg_rule args_fetch[] = {
	{ "url", ARG_TEXT, true, 2048 },
	{ NULL },
};

const struct route routes[] = {
	/* method path                     who          before setup  rate class  body cap     arguments         handler                   query */
	{ GET,    "/",                     ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_page_get,              NULL },
	{ GET,    "/app.js",               ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_page_get,              NULL },
	{ GET,    "/style.css",            ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_page_get,              NULL },
	{ GET,    "/v1/health",            ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_health_get,            NULL },
	{ GET,    "/v1/bootstrap",         ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_bootstrap_get,         NULL },
	{ POST,   "/v1/session",           ROLE_ANYONE, GATE_OPEN,    RATE_AUTH,  4 * KIB,     args_session,     ep_session_post,          NULL },
	{ DELETE, "/v1/session",           ROLE_SELF,   GATE_OPEN,    RATE_WRITE, BODY_NONE,   NULL,             ep_session_delete,        NULL },
	{ PUT,    "/v1/credentials/admin", ROLE_SELF,   GATE_OPEN,    RATE_AUTH,  4 * KIB,     args_credentials, ep_credentials_put,       NULL },
	{ GET,    "/v1/status",            ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_status_get,            NULL },
	{ GET,    "/v1/tpm",               ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_tpm_get,               NULL },
	{ GET,    "/v1/tpm/doctor",        ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_tpm_doctor_get,        NULL },
	{ GET,    "/v1/keys",              ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_keys_get,              NULL },
	{ POST,   "/v1/keys",              ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_key,         ep_keys_post,             NULL },
	{ PUT,    "/v1/keys/*/callers",    ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_callers,     ep_keys_callers_put,      NULL },
	{ POST,   "/v1/keys/*/csr",        ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_csr,         ep_keys_csr_post,         NULL },
	{ GET,    "/v1/keys/*",            ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_key_get,               NULL },
	{ POST,   "/v1/keys/*/certify",    ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_certify,     ep_key_certify_post,      NULL },
	{ POST,   "/v1/tpm/quote",         ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_quote,       ep_tpm_quote_post,        NULL },
	{ GET,    "/v1/tpm/counters",      ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_tpm_counters_get,      NULL },
	{ GET,    "/v1/tpm/ek/*",          ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_tpm_ek_get,            NULL },
	{ POST,   "/v1/update",            ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_STREAM, NULL,             ep_update_post,           NULL },
	{ GET,    "/v1/update",            ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_update_get,            NULL },
	{ POST,   "/v1/update/fetch",      ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_fetch,       ep_update_fetch_post,     NULL },
	{ POST,   "/v1/update/confirm",    ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_update_confirm_post,   NULL },
	{ POST,   "/v1/update/rollback",   ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_update_rollback_post,  NULL },
	{ GET,    "/v1/events",            ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_events_get,            "after limit" },
	{ GET,    "/v1/events/stream",     ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_stream_get,            "after" },
};
const size_t n_routes = ARRAY_SIZE(routes);

const struct route route_unknown = { METHOD_OTHER, "", ROLE_ADMIN, GATE_CLOSED, RATE_WRITE, BODY_NONE, NULL, NULL, NULL };
const struct route route_open_path = { METHOD_OTHER, "", ROLE_ANYONE, GATE_OPEN, RATE_READ, BODY_NONE, NULL, NULL, NULL };

static const char *const method_names[] = { "GET", "POST", "PUT", "DELETE" };

int method_from_text(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(method_names); i++)
		if (strcmp(text, method_names[i]) == 0)
			return (int)i;
	return METHOD_OTHER;
}

/* Segment by segment; "*" takes one that is not empty. */
static bool path_matches(const char *pattern, const char *path, char *ret_param, size_t param_size)
{
	for (;;) {
		size_t n;

		while (*pattern != '\0' && *pattern != '*' && *pattern == *path) {
			pattern++;
			path++;
		}
		if (*pattern != '*')
			return *pattern == '\0' && *path == '\0';
		n = strcspn(path, "/");
		if (n == 0 || n >= param_size)
			return false;
		memcpy(ret_param, path, n);
		ret_param[n] = '\0';
		pattern++;
		path += n;
	}
}

const struct route *route_find(int method, const char *path, char *ret_param, size_t param_size, char *ret_allow, size_t allow_size)
{
	const struct route *other = NULL;
	size_t n = 0;

	ret_allow[0] = '\0';
	for (size_t i = 0; i < n_routes; i++) {
		ret_param[0] = '\0';
		if (!path_matches(routes[i].path, path, ret_param, param_size))
			continue;
		if (routes[i].method == method) {
			ret_allow[0] = '\0';
			return &routes[i];
		}
		n += (size_t)snprintf(ret_allow + n, allow_size - n, "%s%s", n > 0 ? ", " : "", method_names[routes[i].method]);
		if (other == NULL || routes[i].role < other->role)
			other = &routes[i];
	}
	return other != NULL && other->role == ROLE_ANYONE ? &route_open_path : &route_unknown;
}
