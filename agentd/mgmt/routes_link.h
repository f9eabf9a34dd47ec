/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_ROUTES_LINK_H
#define MGMT_ROUTES_LINK_H
/* What the status says of the broker connection; for routes.c alone. */
#define LINK_MEMBERS \
	{ "link_state", ARG_TEXT, REQUIRED, .values = "offline connecting online waiting disabled" }, \
	{ "link_detail", ARG_TEXT, OPTIONAL, .about = "why" }, \
	{ "link_alive", ARG_TEXT, REQUIRED, .values = "unknown alive deaf", .about = "whether the broker brings back what is sent to it; docs/design/link.md" }, \
	{ "link_round_trip_ms", ARG_NUMBER, OPTIONAL, .about = "of the last message to ourselves on this connection" }, \
	{ "link_deaf", ARG_NUMBER, REQUIRED, .about = "connections left because nothing came back, since agentd-link was started" }, \
	{ "link_refused", ARG_NUMBER, REQUIRED, .about = "subscriptions that the broker refused, since then; the last one is in link_detail" }

#endif
