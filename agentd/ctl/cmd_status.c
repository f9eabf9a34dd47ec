/* SPDX-License-Identifier: Apache-2.0 */
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
	{ "floor", "rollback floor" },
	{ "device_ca_fingerprint", "device CA" },
	{ "login_failures", "failed logins" },
	{ "uptime_s", "running for (s)" },
};

int cmd_status(struct ctl *ctl, int argc, char **argv)
{
	return command_show(ctl, argc, argv, "GET", "/v1/status", fields, ARRAY_SIZE(fields));
}
