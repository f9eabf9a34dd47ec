/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/macro.h"
#include "base/time.h"

static const struct field fields[] = {
	{ "setup", "setup" },
	{ "product", "product" },
	{ "serial", "serial number" },
	{ "model", "model" },
	{ "version", "agent version" },
	{ "tpm_state", "TPM" },
	{ "tpm_detail", "TPM detail" },
	{ "srk_name", "SRK name" },
	{ "link_state", "broker" },
	{ "link_detail", "broker detail" },
	{ "link_alive", "broker is" },
	{ "link_round_trip_ms", "round trip (ms)" },
	{ "link_deaf", "times deaf" },
	{ "link_refused", "subscriptions refused" },
	{ "time_state", "time" },
	{ "time_source", "time source" },
	{ "booted_slot", "running slot" },
	{ "update_stage", "update" },
	{ "source_state", "update source" },
	{ "source_detail", "source detail" },
	{ "source_action", "source action" },
	{ "source_version", "source version" },
	{ "floor", "rollback floor" },
	{ "device_ca_fingerprint", "device CA" },
	{ "login_failures", "failed logins" },
	{ "uptime_s", "running for (s)" },
};

static void show_queues(const json_t *body)
{
	static const struct field queue_fields[] = {
		{ "name", "queue" }, { "error", "does not work" },
#define QC(name, meaning) { #name, #name },
#include "agentd/common/queue_counters.def"
#undef QC
	};
	const json_t *queues = json_object_get(body, "queues");
	json_t *queue;
	size_t i;

	if (json_array_size(queues) == 0)
		puts("no queues");
	json_array_foreach(queues, i, queue) {
		if (i > 0)
			putchar('\n');
		print_fields(queue, queue_fields, ARRAY_SIZE(queue_fields));
	}
}

int cmd_queue_list(struct ctl *ctl, int argc, char **argv)
{
	return command_tell(ctl, argc, argv, "/v1/queues", show_queues);
}

int cmd_status(struct ctl *ctl, int argc, char **argv)
{
	return command_show(ctl, argc, argv, "GET", "/v1/status", fields, ARRAY_SIZE(fields));
}

/* JSON has the seconds. */
static void show_times(const json_t *body)
{
	static const struct field first[] = { { "time_state", "time" }, { "time_source", "source" } };
	static const struct field times[] = {
		{ "time_s", "now" }, { "time_floor_s", "not before" }, { "system_clock_s", "system clock" }, { "saved_s", "saved" },
	};
	static const struct field rest[] = { { "uncertainty_s", "uncertain by (s)" }, { "tpm_clock_s", "TPM clock (s)" }, { "changes", "changes" } };
	json_t *texts = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		json_t *seconds = json_object_get(body, times[i].member);
		char text[TIME_TEXT_SIZE];

		if (seconds == NULL)
			continue;
		time_text(json_integer_value(seconds), text);
		json_object_set_new(texts, times[i].member, json_string(text));
	}
	print_fields(body, first, ARRAY_SIZE(first));
	print_fields(texts, times, ARRAY_SIZE(times));
	print_fields(body, rest, ARRAY_SIZE(rest));
	json_decref(texts);
}

int cmd_time(struct ctl *ctl, int argc, char **argv)
{
	return command_tell(ctl, argc, argv, "/v1/time", show_times);
}
