/* SPDX-License-Identifier: Apache-2.0 */
/* Who calls: a session token, or the uid behind the Unix socket. Core decides; nothing about accounts is known here. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agentd/mgmt/request.h"

static void refuse(struct request *req)
{
	reply_problem(req, "authentication-required", NULL, "log in first", NULL);
	reply_header(req, "WWW-Authenticate", "Bearer");
}

/* The connection ends with this answer: reply.c. */
static void refuse_certificate(struct request *req)
{
	char detail[160];

	client_drop_token(req);
	snprintf(detail, sizeof(detail), "the client certificate does not count any more: %s", req->conn->client_reason == NULL ? "?" : req->conn->client_reason);
	reply_problem(req, "authentication-required", "client.refused", detail, NULL);
	reply_header(req, "WWW-Authenticate", "Bearer");
}

static void on_unknown(struct request *req, int r, struct agent_error **err)
{
	const char *token = req->has_bearer ? req->token : req->cookie_token;

	if (r != -EACCES) {
		reply_error(req, r, err);
		return;
	}
	limit_session_remove(req->m->limits, token);
	if (req->is_by_certificate && !req->is_asked_again) {
		/* Core has forgotten it, the certificate is still good. */
		req->is_asked_again = true;
		client_drop_token(req);
		client_present(req);
		return;
	}
	refuse(req);
}

static bool role_is_enough(const struct request *req)
{
	switch (req->route->role) {
	case ROLE_ANYONE:
	case ROLE_SELF:
		return true;
	case ROLE_VIEW:
		return strcmp(req->role, "viewer") == 0 || strcmp(req->role, "operator") == 0 || strcmp(req->role, "admin") == 0;
	case ROLE_OPERATE:
		return strcmp(req->role, "operator") == 0 || strcmp(req->role, "admin") == 0;
	case ROLE_ADMIN:
		return strcmp(req->role, "admin") == 0;
	}
	return false;
}

static int on_told(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	return 0;
}

/* For the audit log. Nobody waits for it, and core sees to it that there are not too many. */
static void tell_refused(const struct request *req)
{
	const char *token = req->has_bearer ? req->token : req->has_cookie ? req->cookie_token : "";
	sd_bus_message *call = NULL;
	char asked[80];

	snprintf(asked, sizeof(asked), "%s %s", req->method_text, req->route->path[0] != '\0' ? req->route->path : "an unknown path");
	if (core_message(req->m, "RoleRefused", &call, NULL) >= 0 &&
	    sd_bus_message_append(call, "(sus)s", token, req->conn->uid, req->conn->source.text, asked) >= 0)
		(void)core_send(req->m, call, 0, on_told, req->m, NULL, NULL);
	sd_bus_message_unref(call);
}

static void on_known(struct request *req, sd_bus_message *reply)
{
	const char *user, *role, *scope, *token = req->has_bearer ? req->token : req->cookie_token;

	if (sd_bus_message_read(reply, "sss", &user, &role, &scope) < 0) {
		reply_unreadable(req);
		return;
	}
	if (strcmp(role, "none") == 0) {
		refuse(req);
		return;
	}
	snprintf(req->user, sizeof(req->user), "%s", user);
	snprintf(req->role, sizeof(req->role), "%s", role);
	snprintf(req->scope, sizeof(req->scope), "%s", scope);
	req->is_known = true;
	conn_set_known(req->conn);
	if (token[0] != '\0')
		limit_session_add(req->m->limits, token);
	/* During the forced change the gate speaks first: "change the password" helps more than "your role is too low". */
	if (strcmp(scope, "full") == 0 && !role_is_enough(req)) {
		tell_refused(req);
		reply_problem(req, "not-permitted", NULL, req->route->role == ROLE_OPERATE ? "this needs the role operator" : "this needs the role admin",
			      NULL);
		return;
	}
	stage_gate(req);
}

void stage_who_ask(struct request *req)
{
	request_call_send(req, request_call_new(req, "SessionCheck"), 0, on_known, on_unknown);
}

bool stage_who(struct request *req)
{
	if (req->route->role == ROLE_ANYONE)
		return true;
	if (client_is_asking(req)) {
		if (!client_is_good(req->conn))
			refuse_certificate(req);
		else if (req->is_by_certificate)
			stage_who_ask(req);
		else
			client_present(req);
		return false;
	}
	if (req->has_bad_token || (!req->has_bearer && !req->has_cookie && !req->conn->is_unix)) {
		refuse(req);
		return false;
	}
	stage_who_ask(req);
	return false;
}
