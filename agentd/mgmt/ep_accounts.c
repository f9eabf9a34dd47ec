/* SPDX-License-Identifier: Apache-2.0 */
/* Other people's accounts and the factory reset. Each change carries the caller's own password; core checks it. */
#include <string.h>

#include "agentd/mgmt/request.h"

static void on_list(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "accounts", reply);
}

void ep_accounts_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "AccountList"), 0, on_list, NULL);
}

static void on_done(struct request *req, sd_bus_message *reply)
{
	reply_empty(req, 204);
}

/* All calls take texts: the caller's own password, then up to three more. */
static void send_call(struct request *req, const char *member, const char *first, const char *second, const char *third,
		      void (*on_reply)(struct request *req, sd_bus_message *reply))
{
	const char *const texts[] = { args_text(req->args, "current"), first, second, third };
	sd_bus_message *call = request_call_new(req, member);
	int r = 0;

	if (call == NULL)
		return;
	for (size_t i = 0; r >= 0 && i < sizeof(texts) / sizeof(texts[0]) && texts[i] != NULL; i++)
		r = sd_bus_message_append_basic(call, 's', texts[i]);
	if (r < 0) {
		sd_bus_message_unref(call);
		reply_problem(req, "internal", NULL, "out of memory", NULL);
		return;
	}
	request_call_send(req, call, 0, on_reply, NULL);
}

static void on_added(struct request *req, sd_bus_message *reply)
{
	reply_json(req, 201, json_pack("{s:s, s:s}", "name", args_text(req->args, "name"), "role", args_text(req->args, "role")));
}

void ep_accounts_post(struct request *req)
{
	/* /v1/credentials/check is another route, so that person could not change the password. */
	if (strcmp(args_text(req->args, "name"), "check") == 0) {
		reply_problem(req, "not-acceptable", "account.name", "the name \"check\" is reserved", NULL);
		return;
	}
	send_call(req, "AccountAdd", args_text(req->args, "name"), args_text(req->args, "role"), args_text(req->args, "new"), on_added);
}

void ep_account_role_put(struct request *req)
{
	send_call(req, "AccountRole", req->param, args_text(req->args, "role"), NULL, on_done);
}

void ep_account_password_put(struct request *req)
{
	send_call(req, "AccountPassword", req->param, args_text(req->args, "new"), NULL, on_done);
}

void ep_account_remove_post(struct request *req)
{
	send_call(req, "AccountRemove", req->param, NULL, NULL, on_done);
}

static void on_reset(struct request *req, sd_bus_message *reply)
{
	req->m->setup[0] = '\0'; /* it went back to "factory" */
	reply_empty(req, 204);
}

void ep_factory_reset_post(struct request *req)
{
	send_call(req, "FactoryReset", NULL, NULL, NULL, on_reset);
}
