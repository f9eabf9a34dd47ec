/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/request.h"

void ep_tpm_get(struct request *req)
{
	request_call(req, "TpmStatus", reply_from_dict, NULL);
}

static void on_findings(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "findings", reply);
}

void ep_tpm_doctor_get(struct request *req)
{
	request_call(req, "TpmDoctor", on_findings, NULL);
}
