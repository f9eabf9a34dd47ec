/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/request.h"

static void on_queues(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "queues", reply);
}

void ep_queues_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "QueueList"), 0, on_queues, NULL);
}

void ep_status_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "StatusGet"), 0, reply_from_dict, NULL);
}

void ep_time_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "TimeStatus"), 0, reply_from_dict, NULL);
}

void ep_link_get(struct request *req)
{
	request_call_send(req, request_call_new(req, "LinkStatus"), 0, reply_from_dict, NULL);
}

static void on_reconnect(struct request *req, sd_bus_message *reply)
{
	(void)reply;
	reply_empty(req, 204);
}

void ep_link_reconnect_post(struct request *req)
{
	request_call_send(req, request_call_new(req, "LinkReconnect"), 0, on_reconnect, NULL);
}
