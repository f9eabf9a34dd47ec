/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "agentd/common/operations.h"
#include "agentd/mgmt/request.h"

#define DEVICE_COOKIE_S (90 * 24 * 3600)

/* Only our own page sends X-Agentd; other clients keep the token themselves and would be refused for sending both. */
void session_cookies(struct request *req, const char *token, uint64_t expires_s, const char *device_cookie)
{
	if (!req->conn->is_tls)
		return;
	if (req->has_x_agentd)
		reply_header(req, "Set-Cookie", "__Host-agentd=%s; Path=/; Max-Age=%llu; Secure; HttpOnly; SameSite=Strict", token,
			     (unsigned long long)expires_s);
	if (device_cookie != NULL && device_cookie[0] != '\0')
		reply_header(req, "Set-Cookie", "__Host-agentd-device=%s; Path=/; Max-Age=%d; Secure; HttpOnly; SameSite=Strict",
			     device_cookie, DEVICE_COOKIE_S);
}

static void on_open(struct request *req, sd_bus_message *reply)
{
	const char *token, *scope, *device_cookie, *role;
	uint64_t expires_s;
	json_t *json;

	if (sd_bus_message_read(reply, "sstss", &token, &scope, &expires_s, &device_cookie, &role) < 0) {
		reply_unreadable(req);
		return;
	}
	req->is_known = true;
	conn_set_known(req->conn);
	limit_session_add(req->m->limits, token);
	json = json_pack("{s:s, s:s, s:I}", "scope", scope, "role", role, "expires_s", (json_int_t)expires_s);
	if (json != NULL && !(req->conn->is_tls && req->has_x_agentd))
		json_object_set_new(json, "token", json_string(token));
	reply_json(req, 201, json);
	session_cookies(req, token, expires_s, device_cookie);
}

void ep_session_post(struct request *req)
{
	sd_bus_message *call = request_plain_call_new(req, "SessionOpen");
	int r;

	if (call == NULL)
		return;
	/* No token: a login does not build on a session, and a stale one must not decide which limit applies. */
	r = sd_bus_message_append(call, "(sus)sss", "", req->conn->uid, req->conn->source.text, args_text(req->args, "user"),
				  args_text(req->args, "password"), req->device_cookie);
	request_call_end(req, call, r, 0, on_open);
}

static void on_close(struct request *req, sd_bus_message *reply)
{
	limit_session_remove(req->m->limits, req->has_bearer ? req->token : req->cookie_token);
	reply_empty(req, 204);
	if (req->has_cookie)
		reply_header(req, "Set-Cookie", "__Host-agentd=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
}

void ep_session_delete(struct request *req)
{
	request_call(req, "SessionClose", on_close, NULL);
}
