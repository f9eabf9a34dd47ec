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

static void refuse(struct request *req)
{
	char detail[160];

	snprintf(detail, sizeof(detail), "the password has to be set first: PUT /v1/credentials/%s", req->user);
	reply_problem(req, "password-change-required", NULL, detail, reply_next(req));
}

static void on_setup(struct request *req, sd_bus_message *reply)
{
	const char *state;
	uint32_t min_length;

	if (sd_bus_message_read(reply, "su", &state, &min_length) < 0) {
		reply_problem(req, "internal", NULL, "core's answer cannot be read", NULL);
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
		reply_problem(req, "not-ready", NULL, "the device is not set up: see setup in /v1/bootstrap", NULL);
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
