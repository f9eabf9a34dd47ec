/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/macro.h"

static const struct field fields[] = {
	{ "state", "state" },
	{ "detail", "detail" },
	{ "tcti", "TCTI" },
	{ "resource_manager", "resource manager" },
	{ "manufacturer", "maker" },
	{ "vendor", "model" },
	{ "firmware", "firmware" },
	{ "srk_name", "SRK name" },
	{ "locked_out", "locked out" },
	{ "lockout_counter", "wrong passwords" },
	{ "lockout_max", "wrong passwords that lock" },
	{ "lockout_interval_s", "one forgiven after (s)" },
	{ "lockout_recovery_s", "lockoutAuth usable after (s)" },
	{ "objects_free", "object slots free" },
	{ "sessions_free", "session slots free" },
	{ "persistent_free", "persistent slots free" },
	{ "nv_indices", "NV indices" },
	{ "nv_counters_free", "room for NV counters" },
	{ "floor_increments", "writes of the floor counter" },
	{ "password_increments", "writes of the password counter" },
	{ "commands", "commands since start" },
	{ "requests_waiting", "requests waiting" },
	{ "software_keys", "keys that are files (software)" },
};

int cmd_tpm_status(struct ctl *ctl, int argc, char **argv)
{
	return command_show(ctl, argc, argv, "GET", "/v1/tpm", fields, ARRAY_SIZE(fields));
}

static void print_finding(const json_t *finding)
{
	const char *remedy = json_string_value(json_object_get(finding, "do")), *result = json_string_value(json_object_get(finding, "result"));

	printf("%-5s", result == NULL ? "-" : result);
	print_text(stdout, json_string_value(json_object_get(finding, "check")));
	fputs(": ", stdout);
	print_text(stdout, json_string_value(json_object_get(finding, "means")));
	fputc('\n', stdout);
	if (remedy != NULL && remedy[0] != '\0') {
		fputs("       -> ", stdout);
		print_text(stdout, remedy);
		fputc('\n', stdout);
	}
}

int cmd_tpm_doctor(struct ctl *ctl, int argc, char **argv)
{
	struct reply reply;
	json_t *finding;
	int r, n_bad = 0;
	size_t i;

	if (options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0)
		return CTL_USAGE;
	r = http_request(ctl, "GET", "/v1/tpm/doctor", NULL, &reply);
	if (r == CTL_OK) {
		json_array_foreach(json_object_get(reply.body, "findings"), i, finding) {
			const char *result = json_string_value(json_object_get(finding, "result"));

			n_bad += result != NULL && strcmp(result, "bad") == 0;
			if (!ctl->is_json)
				print_finding(finding);
		}
		if (ctl->is_json)
			print_json(reply.body);
	}
	reply_free(&reply);
	return r == CTL_OK && n_bad > 0 ? CTL_FAILED : r;
}
