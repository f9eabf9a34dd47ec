/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/macro.h"

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
	{ "booted_slot", "running slot" },
	{ "update_stage", "update" },
	{ "source_state", "update source" },
	{ "source_detail", "source detail" },
	{ "source_action", "source action" },
	{ "floor", "rollback floor" },
	{ "device_ca_fingerprint", "device CA" },
	{ "login_failures", "failed logins" },
	{ "uptime_s", "running for (s)" },
};

int cmd_queue_list(struct ctl *ctl, int argc, char **argv)
{
	static const struct field queue_fields[] = {
		{ "name", "queue" }, { "error", "does not work" },
#define QC(name, meaning) { #name, #name },
#include "agentd/common/queue_counters.def"
#undef QC
	};
	struct reply reply;
	json_t *queue;
	size_t i;
	int r;

	if (options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0)
		return CTL_USAGE;
	r = http_request(ctl, "GET", "/v1/queues", NULL, &reply);
	if (r == CTL_OK && ctl->is_json) {
		print_json(reply.body);
	} else if (r == CTL_OK) {
		json_array_foreach(json_object_get(reply.body, "queues"), i, queue) {
			if (i > 0)
				putchar('\n');
			print_fields(queue, queue_fields, ARRAY_SIZE(queue_fields));
		}
	}
	reply_free(&reply);
	return r;
}

int cmd_status(struct ctl *ctl, int argc, char **argv)
{
	return command_show(ctl, argc, argv, "GET", "/v1/status", fields, ARRAY_SIZE(fields));
}
