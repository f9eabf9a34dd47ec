/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/request.h"

void ep_tpm_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "TpmStatus"), 0, reply_from_dict, NULL);
}

static void on_findings(struct request *req, sd_bus_message *reply)
{
	json_t *list = reply_json_from_bus(reply);

	if (list == NULL)
		reply_problem(req, "internal", NULL, "core's answer cannot be read", NULL);
	else
		reply_json(req, 200, json_pack("{s:o}", "findings", list));
}

void ep_tpm_doctor_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "TpmDoctor"), 0, on_findings, NULL);
}
