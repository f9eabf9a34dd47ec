/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before the owner has set a password only rows marked GATE_OPEN go on. Core enforces the same for every operation; here
 * it is asked so that an upload is turned away before its first byte.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agentd/mgmt/request.h"
#include "agentd/mgmt/setup.h"
#include "base/macro.h"

static void refuse(struct request *req)
{
	char detail[160];

	snprintf(detail, sizeof(detail), "the password has to be set first: PUT /v1/credentials/%s", req->user);
	reply_problem(req, "password-change-required", NULL, detail, reply_next(req));
}

/* The states nobody can log in in, and what ends them; the names are core's. */
static void refuse_unready(struct request *req, const char *state)
{
	static const struct { const char *state, *error, *detail; } rows[] = {
		{ "recovery", "setup.recovery",
		  "the password record and the TPM disagree; the device needs a factory reset with presence, see recovery in agentd(8)" },
		{ "unprovisioned", "setup.unprovisioned", "this device has not been provisioned yet: agentctl provision" },
		{ "unavailable", "tpm.absent", "the TPM does not answer, so nobody can be let in: agentctl tpm doctor" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (strcmp(state, rows[i].state) == 0) {
			reply_problem(req, "not-ready", rows[i].error, rows[i].detail, NULL);
			return;
		}
	reply_problem(req, "not-ready", NULL, "the device is not set up: see setup in /v1/bootstrap", NULL);
}

static void on_setup(struct request *req, sd_bus_message *reply)
{
	const char *state;
	uint32_t min_length;

	if (sd_bus_message_read(reply, "su", &state, &min_length) < 0) {
		reply_unreadable(req);
		return;
	}
	setup_told(req->m, state);
	if (strcmp(state, "active") == 0)
		stage_passed(req);
	else if (strcmp(state, "factory") == 0)
		refuse(req);
	else if (req->route->gate == GATE_DIAGNOSE)
		stage_passed(req);
	else
		refuse_unready(req, state);
}

void stage_gate(struct request *req)
{
	if (req->route->gate == GATE_OPEN) {
		stage_passed(req);
		return;
	}
	if (strcmp(req->scope, "full") != 0) {
		refuse(req);
		return;
	}
	/* Core asks again; this is so that an upload is turned away early. A factory reset or a restart of core empties it. */
	if (strcmp(req->m->setup, "active") == 0) {
		stage_passed(req);
		return;
	}
	request_call_send(req, request_plain_call_new(req, "Bootstrap"), 0, on_setup, NULL);
}
