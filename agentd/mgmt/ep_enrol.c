/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of the device by EST: how far, now, with which secret, by which authority. */
#include <string.h>

#include "agentd/mgmt/request.h"

void ep_enrol_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "EnrolStatus"), 0, reply_from_dict, NULL);
}

void ep_enrol_post(struct request *req)
{
	const char *key = args_text(req->args, "key");
	sd_bus_message *call = request_call_new(req, "EnrolStart");

	if (call == NULL)
		return;
	if (sd_bus_message_append(call, "b", (int)(key != NULL && strcmp(key, "new") == 0)) < 0) {
		sd_bus_message_unref(call);
		reply_problem(req, "internal", NULL, "out of memory", NULL);
		return;
	}
	request_call_send(req, call, 0, reply_from_dict, NULL);
}

void ep_enrol_secret_put(struct request *req)
{
	request_call_text(req, "EnrolSecret", args_text(req->args, "secret"), reply_from_dict);
}

void ep_enrol_secret_delete(struct request *req)
{
	request_call_text(req, "EnrolSecret", "", reply_from_dict);
}

void ep_enrol_anchor_put(struct request *req)
{
	request_call_text(req, "EnrolTrust", args_text(req->args, "fingerprint"), reply_from_dict);
}

void ep_enrol_anchor_delete(struct request *req)
{
	request_call_text(req, "EnrolTrust", "", reply_from_dict);
}
