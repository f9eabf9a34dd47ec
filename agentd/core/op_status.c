/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include <agent/context.h>

#include "agentd/common/peer.h"
#include "agentd/core/bus.h"
#include "agentd/core/clock.h"
#include "agentd/core/core.h"
#include "agentd/core/enrol.h"
#include "agentd/core/link.h"
#include "agentd/core/source.h"
#include "agentd/core/store.h"
#include "agentd/core/update.h"
#include "base/macro.h"
#include "base/monotonic.h"

const char *core_setup_name(const struct core *core)
{
	return core->setup == SETUP_STATE_UNKNOWN ? "unavailable" : agent_setup_state_name((enum agent_setup_state)core->setup);
}

const struct agent_account *core_find_account(const struct core *core, const char *user)
{
	for (size_t i = 0; i < core->n_people; i++)
		if (strcmp(core->people[i].name, user) == 0)
			return &core->people[i];
	return NULL;
}

void core_setup_changed(struct core *core, int setup, uint64_t generation)
{
	int before = core->setup;

	core->setup = setup;
	core->generation = generation;
	if (before == setup)
		return;
	service_log(LOG_INFO, "setup state: %s", core_setup_name(core));
	if (setup == AGENT_SETUP_RECOVERY)
		event_add(core, EVENT_ROLLBACK_DETECTED, "reason", "password record and TPM disagree", NULL);
	bus_emit_setup(core);
	if (setup == AGENT_SETUP_ACTIVE)
		enrol_wake(core);
}

int op_bootstrap(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply(call, "su", core_setup_name(core), (uint32_t)core->settings->password.min_length);
}

int op_setup_get(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply(call, "s", core_setup_name(core));
}

static int append_status(struct core *core, sd_bus_message *m)
{
	const struct settings *s = core->settings;
	struct worker_info info;
	int r;

	worker_get_info(core->worker, &info);
	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = peer_append_string(m, "setup", core_setup_name(core));
	if (r >= 0)
		r = peer_append_string(m, "version", agent_version());
	if (r >= 0)
		r = peer_append_string(m, "product", s->device.product);
	if (r >= 0)
		r = peer_append_string(m, "serial", s->device.serial);
	if (r >= 0)
		r = peer_append_string(m, "model", s->device.model);
	if (r >= 0)
		r = peer_append_string(m, "tpm_state", agent_tpm_state_name(info.tpm_state));
	if (r >= 0)
		r = peer_append_string(m, "tpm_detail", info.tpm_detail[0] != '\0' ? info.tpm_detail : NULL);
	if (r >= 0)
		r = peer_append_u64(m, "tpm_commands", info.n_commands);
	if (r >= 0)
		r = peer_append_string(m, "srk_name", core->srk_name);
	if (r >= 0)
		r = peer_append_u64(m, "software_keys", store_count_software(core->keys_fd));
	if (r >= 0 && core->has_floor)
		r = peer_append_u64(m, "floor", core->floor);
	if (r >= 0)
		r = link_append_short(core, m);
	if (r >= 0)
		r = clock_append_short(core, m);
	if (r >= 0)
		r = updates_append_short(core, m);
	if (r >= 0)
		r = source_append(core, m);
	if (r >= 0)
		r = peer_append_string(m, "device_ca_fingerprint", core->device_ca_fingerprint);
	if (r >= 0)
		r = peer_append_u64(m, "uptime_s", (monotonic_us() - core->start_us) / 1000000);
	if (r >= 0)
		r = peer_append_u64(m, "login_failures", account_failures(core));
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int op_status_get(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply_made(core, call, append_status, "the status", err);
}
