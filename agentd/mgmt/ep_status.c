/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/request.h"

static void on_queues(struct request *req, sd_bus_message *reply)
{
	json_t *list = reply_json_from_bus(reply);

	if (list == NULL)
		reply_problem(req, "internal", NULL, "core's answer cannot be read", NULL);
	else
		reply_json(req, 200, json_pack("{s:o}", "queues", list));
}

void ep_queues_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "QueueList"), 0, on_queues, NULL);
}

void ep_status_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "StatusGet"), 0, reply_from_dict, NULL);
}
