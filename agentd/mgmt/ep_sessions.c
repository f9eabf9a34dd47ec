/* SPDX-License-Identifier: Apache-2.0 */
/* Who is logged in; and the rules for a new password, asked while it is typed. */
#include "agentd/mgmt/request.h"

static void on_sessions(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "sessions", reply);
}

void ep_sessions_get(struct request *req)
{
	request_call(req, "SessionList", on_sessions, NULL);
}

static void on_closed(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "ended", reply);
}

void ep_sessions_delete(struct request *req)
{
	request_call(req, "SessionCloseOthers", on_closed, NULL);
}

static void on_checked(struct request *req, sd_bus_message *reply)
{
	const char *reasons;

	if (sd_bus_message_read(reply, "s", &reasons) < 0)
		reply_unreadable(req);
	else
		reply_json(req, 200, reply_reasons(reasons));
}

void ep_password_check_post(struct request *req)
{
	request_call(req, "PasswordCheck", on_checked, "s", args_text(req->args, "new"));
}
