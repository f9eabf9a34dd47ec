/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of the device by EST: how far, now, with which secret, by which authority. */
#include <string.h>

#include "agentd/mgmt/request.h"

void ep_enrol_get(struct request *req)
{
	request_call(req, "EnrolStatus", reply_from_dict, NULL);
}

void ep_enrol_post(struct request *req)
{
	const char *key = args_text(req->args, "key");

	request_call(req, "EnrolStart", reply_from_dict, "b", (int)(key != NULL && strcmp(key, "new") == 0));
}

void ep_enrol_secret_put(struct request *req)
{
	request_call(req, "EnrolSecret", reply_from_dict, "s", args_text(req->args, "secret"));
}

void ep_enrol_secret_delete(struct request *req)
{
	request_call(req, "EnrolSecret", reply_from_dict, "s", "");
}

void ep_enrol_anchor_put(struct request *req)
{
	request_call(req, "EnrolTrust", reply_from_dict, "s", args_text(req->args, "fingerprint"));
}

void ep_enrol_anchor_delete(struct request *req)
{
	request_call(req, "EnrolTrust", reply_from_dict, "s", "");
}
