/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate of HTTPS: the device's own, or one that the owner had made for a key of the device. */
#include "agentd/mgmt/request.h"

void ep_https_get(struct request *req)
{
	request_call(req, "HttpsStatus", reply_from_dict, NULL);
}

static void on_request(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "csr", reply);
}

void ep_https_request_post(struct request *req)
{
	request_call(req, "HttpsRequest", on_request, NULL);
}

/* New connections have it from the next moment on; this one keeps what it has. */
static void on_installed(struct request *req, sd_bus_message *reply)
{
	reply_from_dict(req, reply);
	tls_owner_ask(req->m);
}

void ep_https_certificate_put(struct request *req)
{
	request_call(req, "HttpsInstall", on_installed, "s", args_text(req->args, "pem"));
}

static void on_removed(struct request *req, sd_bus_message *reply)
{
	reply_empty(req, 204);
	tls_owner_ask(req->m);
}

void ep_https_certificate_delete(struct request *req)
{
	request_call(req, "HttpsRemove", on_removed, NULL);
}
