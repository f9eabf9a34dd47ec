/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_ROUTES_LINK_H
#define MGMT_ROUTES_LINK_H
/* What the status says of the broker connection, its queues, and the routes of its own; for routes.c alone. */
#include "agentd/mgmt/route.h"

#define LINK_MEMBERS \
	{ "link_state", ARG_TEXT, REQUIRED, .values = "offline connecting online waiting disabled" }, \
	{ "link_detail", ARG_TEXT, OPTIONAL, .about = "why" }, \
	{ "link_alive", ARG_TEXT, REQUIRED, .values = "unknown alive deaf", .about = "whether the broker brings back what is sent to it; docs/design/link.md" }, \
	{ "link_round_trip_ms", ARG_NUMBER, OPTIONAL, .about = "of the last message to ourselves on this connection" }, \
	{ "link_deaf", ARG_NUMBER, REQUIRED, .about = "connections left because nothing came back, since agentd-link was started" }, \
	{ "link_refused", ARG_NUMBER, REQUIRED, .about = "subscriptions that the broker refused, since then; the last one is in link_detail" }, \
	{ "link_lost", ARG_NUMBER, REQUIRED, .about = "messages that came from the broker faster than they could be taken, since then" }, \
	{ "link_period", ARG_TEXT, OPTIONAL, .about = "what the two below are of: a month of UTC such as 2026-11, or 30 days of running time while nobody knows the date" }, \
	{ "link_bytes", ARG_NUMBER, OPTIONAL, .about = "of TLS, sent and received, without TCP and IP" }, \
	{ "link_connects", ARG_NUMBER, OPTIONAL, .about = "connections that a broker accepted" }, \
	{ "link_budget_percent", ARG_NUMBER, OPTIONAL, .about = "used of the budget of which more is used; left out without link.budget_mib and link.budget_connects" }

static const struct arg_rule link_broker[] = {
	{ "host", ARG_TEXT, REQUIRED },
	{ "port", ARG_NUMBER, REQUIRED },
	{ "current", ARG_TRUTH, REQUIRED, .about = "in use, or tried last" },
	{ "reason", ARG_TEXT, OPTIONAL, .about = "why it could not be used last; left out when it could, or was not tried" },
	{ NULL },
};

static const struct arg_rule link_usage[] = {
	{ "period", ARG_TEXT, REQUIRED, .about = "2026-11, or 30 days" },
	{ "running_s", ARG_NUMBER, REQUIRED, .about = "the device was on for so long in it" },
	{ "sent_bytes", ARG_NUMBER, REQUIRED, .about = "of TLS, without TCP and IP" },
	{ "received_bytes", ARG_NUMBER, REQUIRED },
	{ "connects", ARG_NUMBER, REQUIRED },
	{ NULL },
};

static const struct arg_rule answer_link[] = {
	LINK_MEMBERS,
	{ "brokers", ARG_OBJECTS, REQUIRED, .members = link_broker, .about = "in their order" },
	{ "usage", ARG_OBJECTS, REQUIRED, .members = link_usage, .about = "this period, then the one before" },
	{ "budget_bytes", ARG_NUMBER, OPTIONAL, .about = "of a month" },
	{ "budget_connects", ARG_NUMBER, OPTIONAL },
	{ "budget_holds", ARG_TRUTH, REQUIRED, .about = "queues below link.budget_hold wait for the next period" },
	{ NULL },
};

static const struct arg_rule queue[] = {
	{ "name", ARG_TEXT, REQUIRED, .about = "row of mqtt.queues" },
	{ "error", ARG_TEXT, OPTIONAL, .about = "why it does not work now" },
#define QC(name, meaning) { #name, ARG_NUMBER, REQUIRED, .about = meaning },
#include "agentd/common/queue_counters.def"
#undef QC
	{ NULL },
};

static const struct arg_rule answer_queues[] = {
	{ "queues", ARG_OBJECTS, REQUIRED, .members = queue, .about = "as agentd-link told last, every 2 s if they change; none before the password is set" },
	{ NULL },
};

#endif
