/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/link/telemetry.h"

#include <errno.h>

#include <jansson.h>
#include <systemd/sd-id128.h>

int telemetry_json(const struct telemetry *t, char **ret_json)
{
	json_t *round_trip = t->round_trip_ms < 0 ? json_null() : json_integer(t->round_trip_ms);
	json_t *root;
	char *text;

	root = json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:o}", "serial", t->serial, "product", t->product, "seq", (json_int_t)t->seq,
			 "uptime_s", (json_int_t)t->uptime_s, "version", t->version, "boot_id", t->boot_id, "connects",
			 (json_int_t)t->n_connects, "round_trip_ms", round_trip);
	if (root == NULL)
		return -EINVAL;
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	if (text == NULL)
		return -ENOMEM;
	*ret_json = text;
	return 0;
}

int telemetry_boot_id(char ret_id[33])
{
	sd_id128_t id;
	int r;

	r = sd_id128_get_boot(&id);
	if (r < 0)
		return r;
	sd_id128_to_string(id, ret_id);
	return 0;
}

