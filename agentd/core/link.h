/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LINK_H
#define CORE_LINK_H
/* What agentd-link told last of the broker connection; op_link.c. It may be taken over by whoever talks to it: what it says is shown and decides nothing. */
#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

struct core;

/* Use of the connection in a period: agentd/link/usage.h. */
struct link_period {
	uint32_t month;		/* 202611; 0: not known */
	uint64_t ran_s, sent, received, connects;
};

struct link_told {
	char state[16];
	char detail[512];
	char alive[8];		/* as agentd-link told last, as what follows */
	int64_t round_trip_ms;	/* -1: none */
	uint64_t n_deaf, n_refused, n_lost;
	char refusal[512];	/* last one that was told */
	uint64_t lost_tat_us, budget_tat_us;	/* events */
	sd_bus_message *brokers;	/* LinkBrokers; NULL before it came */
	bool has_usage, is_held;
	struct link_period now, last;
};

/* For the status: state, and the use of the connection in short. */
int link_append_short(struct core *core, sd_bus_message *m);
void link_stop(struct core *core);

#endif
