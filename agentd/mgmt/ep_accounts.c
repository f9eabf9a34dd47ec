/* SPDX-License-Identifier: Apache-2.0 */
/* Other people's accounts and the factory reset. Each change carries the caller's own password; core checks it. */
#include <string.h>

#include "agentd/common/bus_json.h"
#include "agentd/mgmt/request.h"

static void on_list(struct request *req, sd_bus_message *reply)
{
	json_t *accounts = bus_json_read(reply), *answer = accounts == NULL ? NULL : json_pack("{s:o}", "accounts", accounts), *rows;

	/* Roles of certificates are settings and no accounts, but whoever asks who may do what wants both. */
	if (answer != NULL && req->m->clients != NULL) {
		rows = json_array();
		for (char **row = req->m->settings->mgmt.client_roles; row != NULL && *row != NULL; row++)
			json_array_append_new(rows, json_string(*row));
		json_object_set_new(answer, "certificates", rows);
	}
	if (answer == NULL)
		reply_unreadable(req);
	else
		reply_json(req, 200, answer);
}

void ep_accounts_get(struct request *req)
{
	request_call(req, "AccountList", on_list, NULL);
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
	request_call_end(req, call, r, 0, on_reply);
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
	send_call(req, "AccountRole", req->param, args_text(req->args, "role"), NULL, reply_done);
}

void ep_account_password_put(struct request *req)
{
	send_call(req, "AccountPassword", req->param, args_text(req->args, "new"), NULL, reply_done);
}

void ep_account_remove_post(struct request *req)
{
	send_call(req, "AccountRemove", req->param, NULL, NULL, reply_done);
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
