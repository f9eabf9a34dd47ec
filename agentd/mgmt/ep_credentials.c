/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "agentd/mgmt/request.h"

static void on_set(struct request *req, sd_bus_message *reply)
{
	const char *token, *scope;
	uint64_t expires_s;
	json_t *json;

	if (sd_bus_message_read(reply, "sst", &token, &scope, &expires_s) < 0) {
		reply_unreadable(req);
		return;
	}
	/* All sessions from before are gone in core. */
	limit_session_remove(req->m->limits, req->has_bearer ? req->token : req->cookie_token);
	if (token[0] != '\0')
		limit_session_add(req->m->limits, token);
	json = json_pack("{s:s, s:I}", "scope", scope, "expires_s", (json_int_t)expires_s);
	if (json != NULL && !req->has_cookie)
		json_object_set_new(json, "token", json_string(token));
	reply_json(req, 200, json);
	if (req->has_cookie)
		session_cookies(req, token, expires_s, NULL);
}

void ep_credentials_put(struct request *req)
{
	const char *current = args_text(req->args, "current");

	/* Other people's passwords are elsewhere, and for administrators only. */
	if (strcmp(req->param, req->user) != 0) {
		reply_problem(req, "not-permitted", NULL, "this is for your own password: PUT /v1/credentials/ and your name", NULL);
		return;
	}
	request_call(req, "PasswordSet", on_set, "ss", current == NULL ? "" : current, args_text(req->args, "new"));
}
