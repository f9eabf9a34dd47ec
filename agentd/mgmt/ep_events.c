/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/common/bus_json.h"
#include "agentd/mgmt/request.h"

#define LIMIT_DEFAULT 100

static void on_events(struct request *req, sd_bus_message *reply)
{
	json_t *list = bus_json_read(reply), *event;
	uint64_t last = 0;
	size_t i;

	if (list == NULL) {
		reply_unreadable(req);
		return;
	}
	(void)query_u64(req->query, "after", &last);
	json_array_foreach(list, i, event) {
		json_int_t seq = json_integer_value(json_object_get(event, "seq"));

		if (seq > 0 && (uint64_t)seq > last)
			last = (uint64_t)seq;
	}
	reply_json(req, 200, json_pack("{s:o, s:I}", "events", list, "last", (json_int_t)last));
}

void ep_events_get(struct request *req)
{
	uint64_t after = 0, limit = LIMIT_DEFAULT;

	(void)query_u64(req->query, "after", &after);
	(void)query_u64(req->query, "limit", &limit);
	request_call(req, "EventsGet", on_events, "tu", after, (uint32_t)limit);
}
