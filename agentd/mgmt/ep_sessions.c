/* SPDX-License-Identifier: Apache-2.0 */
/* Who is logged in; and the rules for a new password, asked while it is typed. */
#include "agentd/mgmt/request.h"

static void on_sessions(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "sessions", reply);
}

void ep_sessions_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "SessionList"), 0, on_sessions, NULL);
}

static void on_closed(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "ended", reply);
}

void ep_sessions_delete(struct request *req)
{
	request_call_send(req, request_call_new(req, "SessionCloseOthers"), 0, on_closed, NULL);
}

static void on_checked(struct request *req, sd_bus_message *reply)
{
	const char *reasons;

	if (sd_bus_message_read(reply, "s", &reasons) < 0)
		reply_problem(req, "internal", NULL, "core's answer cannot be read", NULL);
	else
		reply_json(req, 200, reply_reasons(reasons));
}

void ep_password_check_post(struct request *req)
{
	sd_bus_message *call = request_call_new(req, "PasswordCheck");

	if (call == NULL)
		return;
	if (sd_bus_message_append(call, "s", args_text(req->args, "new")) < 0) {
		sd_bus_message_unref(call);
		reply_problem(req, "internal", NULL, "out of memory", NULL);
		return;
	}
	request_call_send(req, call, 0, on_checked, NULL);
}
