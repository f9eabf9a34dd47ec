/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/mgmt/request.h"

static void errors_become_the_documented_problems(void **state)
{
	static const struct {
		const char *path;
		int r;
		const char *name, *slug;
		unsigned status;
	} cases[] = {
		{ "/v1/session", -EACCES, "session.credentials", "wrong-credentials", 401 },
		{ "/v1/session", -EDQUOT, "session.limited", "too-many-requests", 429 },
		{ "/v1/session", -EBUSY, "core.busy", "busy", 503 },
		{ "/v1/session", -ENOMEM, "password.hash", "busy", 503 },
		{ "/v1/session", -ENOTCONN, "bus.lost", "core-unreachable", 503 },
		{ "/v1/status", -EACCES, "session.required", "authentication-required", 401 },
		{ "/v1/status", -EKEYEXPIRED, "setup.password-change-required", "password-change-required", 403 },
		{ "/v1/status", -ENOKEY, "setup.recovery", "not-ready", 503 },
		{ "/v1/credentials/admin", -EINVAL, "password.weak", "weak-password", 422 },
		{ "/v1/credentials/admin", -ESTALE, "password.changed", "state-changed", 409 },
		{ "/v1/credentials/admin", -EACCES, "session.required", "authentication-required", 401 },
		{ "/v1/credentials/admin", -EACCES, "session.credentials", "wrong-credentials", 401 },
		{ "/v1/keys", -EPERM, "session.role", "not-permitted", 403 },
		{ "/v1/keys", -EEXIST, "key.exists", "already-exists", 409 },
		{ "/v1/keys/none/csr", -ENOENT, "key.unknown", "not-found", 404 },
		{ "/v1/keys", -EINVAL, "key.name", "not-acceptable", 422 },
		{ "/v1/update", -EKEYREJECTED, "update.signature", "update-refused", 422 },
		{ "/v1/update", -EBADMSG, "container.short", "update-refused", 422 },
		{ "/v1/update", -EPERM, "update.product", "update-refused", 422 },
		{ "/v1/update", -EPERM, "session.role", "not-permitted", 403 },
		{ "/v1/update", -ESTALE, "update.stale", "update-stale", 409 },
		{ "/v1/update", -EBUSY, "update.busy", "busy", 503 },
		{ "/v1/update", -ENOSPC, "slot.write", "no-space", 507 },
		{ "/v1/update", -EIO, "slot.write", "internal", 500 },
		{ "/v1/update", -EPERM, "slot.io", "slot-unavailable", 503 },
		{ "/v1/update", -EACCES, "slot.io", "slot-unavailable", 503 },
		{ "/v1/update", -ENOSPC, "slot.io", "no-space", 507 },
		{ "/v1/update", -EROFS, "slot.read-only", "slot-unavailable", 503 },
		{ "/v1/update", -EACCES, "file.open", "internal", 500 },
		{ "/v1/update/confirm", -ENOENT, "update.nothing", "not-found", 404 },
		{ "/v1/anything", -ENOTTY, "who.knows", "internal", 500 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *slug = reply_slug(cases[i].path, cases[i].r, cases[i].name);

		if (strcmp(slug, cases[i].slug) != 0 || reply_status(slug) != cases[i].status)
			fail_msg("%s %s: %s %u", cases[i].path, cases[i].name, slug, reply_status(slug));
	}
}

static void retry_after_is_read_from_the_sentence(void **state)
{
	assert_int_equal(reply_retry_after("wait (retry-after=12)"), 12);
	assert_int_equal(reply_retry_after("wait"), 0);
	assert_int_equal(reply_retry_after("wait (retry-after=)"), 0);
	assert_int_equal(reply_retry_after("wait (retry-after=12"), 0);
	assert_int_equal(reply_retry_after("wait (retry-after=999999999999)"), 0);
}

static void origins(void **state)
{
	static const struct {
		const char *origin, *host;
		bool is_tls, same;
	} cases[] = {
		{ "https://gw.local", "gw.local", true, true },
		{ "https://GW.local", "gw.LOCAL", true, true },
		{ "https://gw.local:8443", "gw.local:8443", true, true },
		{ "https://gw.local:8443", "gw.local", true, false },
		{ "https://gw.local", "gw.local:8443", true, false },
		{ "http://gw.local", "gw.local", true, false },
		{ "http://gw.local", "gw.local", false, true },
		{ "https://gw.local.evil.example", "gw.local", true, false },
		{ "https://evil.example", "gw.local", true, false },
		{ "https://gw.local@evil.example", "gw.local", true, false },
		{ "null", "gw.local", true, false },
		{ "", "gw.local", true, false },
		{ "gw.local", "gw.local", true, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (origin_is_same(cases[i].origin, cases[i].host, cases[i].is_tls) != cases[i].same)
			fail_msg("%s for %s", cases[i].origin, cases[i].host);
}

static void routes_are_found_and_nothing_else(void **state)
{
	char param[65], allow[64];

	for (size_t i = 0; i < n_routes; i++) {
		/* each row answers to its own path, and only the declared method */
		char path[128];
		const char *star = strchr(routes[i].path, '*');

		if (star != NULL)
			snprintf(path, sizeof(path), "%.*skey-1%s", (int)(star - routes[i].path), routes[i].path, star + 1);
		else
			snprintf(path, sizeof(path), "%s", routes[i].path);
		assert_ptr_equal(route_find(routes[i].method, path, param, sizeof(param), allow, sizeof(allow)), &routes[i]);
		assert_string_equal(allow, "");
		assert_string_equal(param, star != NULL ? "key-1" : "");
		/* closed unless it says otherwise; a closed row never serves strangers */
		assert_true(routes[i].gate == GATE_OPEN || routes[i].role != ROLE_ANYONE);
		assert_true(routes[i].body_cap == BODY_NONE || routes[i].method == METHOD_POST || routes[i].method == METHOD_PUT);
		assert_true((routes[i].args != NULL) == (routes[i].body_cap != BODY_NONE && routes[i].body_cap != BODY_STREAM));
		assert_non_null(routes[i].handler);
	}
	assert_ptr_equal(route_find(METHOD_GET, "/v1", param, sizeof(param), allow, sizeof(allow)), &route_unknown);
	assert_ptr_equal(route_find(METHOD_GET, "/v1/statusx", param, sizeof(param), allow, sizeof(allow)), &route_unknown);
	assert_ptr_equal(route_find(METHOD_POST, "/v1/keys//csr", param, sizeof(param), allow, sizeof(allow)), &route_unknown);
	assert_ptr_equal(route_find(METHOD_POST, "/v1/keys/a/b/csr", param, sizeof(param), allow, sizeof(allow)), &route_unknown);
	assert_ptr_equal(route_find(METHOD_POST, "/v1/status", param, sizeof(param), allow, sizeof(allow)), &route_unknown);
	assert_string_equal(allow, "GET");
	assert_ptr_equal(route_find(METHOD_PUT, "/v1/update", param, sizeof(param), allow, sizeof(allow)), &route_unknown);
	assert_string_equal(allow, "POST, GET");
	assert_ptr_equal(route_find(METHOD_GET, "/v1/session", param, sizeof(param), allow, sizeof(allow)), &route_open_path);
	assert_string_equal(allow, "POST, DELETE");
	assert_true(route_unknown.role == ROLE_ADMIN && route_unknown.gate == GATE_CLOSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_become_the_documented_problems),
		cmocka_unit_test(retry_after_is_read_from_the_sentence),
		cmocka_unit_test(origins),
		cmocka_unit_test(routes_are_found_and_nothing_else),
	};

	return cmocka_run_group_tests_name("mgmt_reply", tests, NULL, NULL);
}
