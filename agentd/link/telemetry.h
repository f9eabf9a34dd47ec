/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_TELEMETRY_H
#define LINK_TELEMETRY_H
#include <stddef.h>
#include <stdint.h>

struct telemetry {
	const char *serial, *product;
	const char *version;	/* of the agent */
	const char *boot_id;	/* 32 hex digits; a new one per boot */
	uint64_t seq;		/* counts from 1 since agentd-link started */
	uint64_t uptime_s;	/* since boot, suspend included */
	uint64_t n_connects;	/* broker connections since agentd-link started */
	int64_t round_trip_ms;	/* of the last message that went round the broker; -1: none yet */
};

/* One line of JSON; the caller frees it. -EINVAL (not UTF-8), -ENOMEM. */
int telemetry_json(const struct telemetry *t, char **ret_json);
/* This machine's boot id. -errno. */
int telemetry_boot_id(char ret_id[33]);

#endif
