/* SPDX-License-Identifier: Apache-2.0 */
/* Which row of routes.c is asked for, and which problems its answer may be. */
#include <stdio.h>
#include <string.h>

#include "agentd/mgmt/route.h"
#include "base/macro.h"

#define PROBLEM(slug, status, title) { slug, status, title },
const struct problem problems[] = {
#include "agentd/mgmt/problems.def"
};
const size_t n_problems = ARRAY_SIZE(problems);

const char *const method_names[] = { "GET", "POST", "PUT", "DELETE" };
const char *const role_names[] = { [ROLE_ANYONE] = "anyone", [ROLE_SELF] = "session", [ROLE_VIEW] = "viewer", [ROLE_OPERATE] = "operator",
				     [ROLE_ADMIN] = "admin" };
const char *const gate_names[] = { [GATE_CLOSED] = "closed", [GATE_OPEN] = "open", [GATE_DIAGNOSE] = "diagnose" };
const char *const rate_names[] = { [RATE_READ] = "read", [RATE_WRITE] = "write", [RATE_AUTH] = "auth" };

int method_from_text(const char *text)
{
	for (int i = 0; i < METHOD_OTHER; i++)
		if (strcmp(text, method_names[i]) == 0)
			return i;
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
	bool is_literal = false; /* a path that is written out is not also a value of "*" */
	size_t n = 0;

	ret_allow[0] = '\0';
	for (size_t i = 0; i < n_routes; i++)
		is_literal |= strcmp(routes[i].path, path) == 0;
	for (size_t i = 0; i < n_routes; i++) {
		ret_param[0] = '\0';
		if ((is_literal && strcmp(routes[i].path, path) != 0) || !path_matches(routes[i].path, path, ret_param, param_size))
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

static bool has_word(const char *words, const char *word)
{
	size_t n_word = strlen(word);

	for (const char *p = words; p != NULL && *p != '\0';) {
		size_t n = strcspn(p, " ");

		if (n == n_word && strncmp(p, word, n) == 0)
			return true;
		p += n;
		p += strspn(p, " ");
	}
	return false;
}

bool route_has_problem(const struct route *route, const char *slug)
{
	/* The head is looked at before the row is. */
	if (has_word("bad-request target-too-long head-too-large wrong-host cross-origin too-large too-many-requests internal busy", slug))
		return true;
	if (route->role != ROLE_ANYONE && has_word("authentication-required core-unreachable timeout", slug))
		return true;
	if (route->role == ROLE_ANYONE && route->media == NULL && has_word("core-unreachable timeout", slug))
		return true;
	if (route->role != ROLE_ANYONE && has_word("not-permitted password-change-required not-ready", slug))
		return true;
	if (route->body_cap != BODY_NONE && has_word("length-required unsupported-media-type request-timeout", slug))
		return true;
	if (route->args != NULL && strcmp(slug, "not-acceptable") == 0)
		return true;
	if (strchr(route->path, '*') != NULL && strcmp(slug, "not-found") == 0)
		return true;
	return has_word(route->problems, slug);
}
