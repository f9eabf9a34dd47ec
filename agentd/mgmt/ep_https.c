/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate of HTTPS: the device's own, or one that the owner had made for a key of the device. */
#include "agentd/mgmt/request.h"

void ep_https_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "HttpsStatus"), 0, reply_from_dict, NULL);
}

static void on_request(struct request *req, sd_bus_message *reply)
{
	const char *pem;

	if (sd_bus_message_read(reply, "s", &pem) < 0)
		reply_problem(req, "internal", NULL, "core's answer cannot be read", NULL);
	else
		reply_json(req, 200, json_pack("{s:s}", "csr", pem));
}

void ep_https_request_post(struct request *req)
{
	request_call_send(req, request_call_new(req, "HttpsRequest"), 0, on_request, NULL);
}

/* New connections have it from the next moment on; this one keeps what it has. */
static void on_installed(struct request *req, sd_bus_message *reply)
{
	reply_from_dict(req, reply);
	tls_owner_ask(req->m);
}

void ep_https_certificate_put(struct request *req)
{
	sd_bus_message *call = request_call_new(req, "HttpsInstall");

	if (call == NULL)
		return;
	if (sd_bus_message_append(call, "s", args_text(req->args, "pem")) < 0) {
		sd_bus_message_unref(call);
		reply_problem(req, "internal", NULL, "out of memory", NULL);
		return;
	}
	request_call_send(req, call, 0, on_installed, NULL);
}

static void on_removed(struct request *req, sd_bus_message *reply)
{
	reply_empty(req, 204);
	tls_owner_ask(req->m);
}

void ep_https_certificate_delete(struct request *req)
{
	request_call_send(req, request_call_new(req, "HttpsRemove"), 0, on_removed, NULL);
}
