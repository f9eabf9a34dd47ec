/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/macro.h"

static void print_list(const json_t *list, const char *title, const struct field *fields, size_t n)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		printf("\n%s\n", title);
		print_fields(item, fields, n);
	}
}

static void show(const json_t *body)
{
	static const struct field fields[] = {
		{ "link_state", "broker" }, { "link_detail", "detail" }, { "link_alive", "broker is" }, { "link_round_trip_ms", "round trip (ms)" },
		{ "link_deaf", "times deaf" }, { "link_refused", "subscriptions refused" }, { "link_lost", "messages lost" },
		{ "budget_bytes", "budget (bytes)" }, { "budget_connects", "budget (connects)" }, { "link_budget_percent", "used of it (%)" },
		{ "budget_holds", "queues wait for it" },
	};
	static const struct field brokers[] = { { "host", "host" }, { "port", "port" }, { "current", "current" }, { "reason", "last reason" } };
	static const struct field usage[] = {
		{ "period", "period" }, { "sent_bytes", "sent (bytes)" }, { "received_bytes", "received (bytes)" }, { "connects", "connects" },
		{ "running_s", "running for (s)" },
	};

	print_fields(body, fields, ARRAY_SIZE(fields));
	print_list(json_object_get(body, "brokers"), "Broker", brokers, ARRAY_SIZE(brokers));
	print_list(json_object_get(body, "usage"), "Used", usage, ARRAY_SIZE(usage));
}

int cmd_link(struct ctl *ctl, int argc, char **argv)
{
	return command_tell(ctl, argc, argv, "/v1/link", show);
}

int cmd_link_reconnect(struct ctl *ctl, int argc, char **argv)
{
	return command_do(ctl, argc, argv, "POST", "/v1/link/reconnect", "Connecting anew: agentctl link", "{\"reconnecting\":true}");
}

int cmd_update_check(struct ctl *ctl, int argc, char **argv)
{
	static const struct field fields[] = {
		{ "source_state", "update source" }, { "source_detail", "source detail" }, { "source_action", "source action" }, { "source_version", "source version" },
	};

	return command_show(ctl, argc, argv, "POST", "/v1/update/check", fields, ARRAY_SIZE(fields));
}
