/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/request.h"

static void on_queues(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "queues", reply);
}

void ep_queues_get(struct request *req)
{
	request_call(req, "QueueList", on_queues, NULL);
}

void ep_status_get(struct request *req)
{
	request_call(req, "StatusGet", reply_from_dict, NULL);
}

void ep_time_get(struct request *req)
{
	request_call(req, "TimeStatus", reply_from_dict, NULL);
}

void ep_link_get(struct request *req)
{
	request_call(req, "LinkStatus", reply_from_dict, NULL);
}

void ep_link_reconnect_post(struct request *req)
{
	request_call(req, "LinkReconnect", reply_done, NULL);
}
