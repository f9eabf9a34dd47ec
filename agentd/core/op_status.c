/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include <agent/context.h>

#include "agentd/common/peer.h"
#include "agentd/core/bus.h"
#include "agentd/core/clock.h"
#include "agentd/core/core.h"
#include "agentd/core/enrol.h"
#include "agentd/core/source.h"
#include "agentd/core/store.h"
#include "agentd/core/update.h"
#include "base/macro.h"

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

static bool is_one_of(const char *word, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

/* Does the broker carry anything? Once for each time that this changes; a deaf one is tried again and again. */
static void tell_alive(struct core *core, const char *alive, uint64_t n_deaf)
{
	bool was_deaf = strcmp(core->link_alive, "deaf") == 0, is_deaf = strcmp(alive, "deaf") == 0;
	char count[24];

	snprintf(count, sizeof(count), "%" PRIu64, n_deaf);
	if (is_deaf && !was_deaf)
		event_add(core, EVENT_LINK_DEAF, "times", count, NULL);
	else if (was_deaf && strcmp(alive, "alive") == 0)
		event_add(core, EVENT_LINK_ALIVE, "times", count, NULL);
}

/* A broker that refuses a subscription does so on each new connection. */
static void tell_refused(struct core *core, uint64_t n_refused)
{
	if (n_refused <= core->n_link_refused || strcmp(core->link_detail, core->link_refusal) == 0)
		return;
	strcpy(core->link_refusal, core->link_detail);
	event_add(core, EVENT_LINK_REFUSED, "reason", core->link_refusal, NULL);
}

int op_link_report(struct core *core, struct op_call *call, struct agent_error **err)
{
	static const char *const states[] = { "disabled", "offline", "connecting", "online", "waiting" };
	static const char *const lives[] = { "unknown", "alive", "deaf" };
	bool was_online = strcmp(core->link_state, "online") == 0;
	const char *state, *detail, *alive;
	uint64_t n_deaf, n_refused;
	int64_t round_trip_ms;

	if (sd_bus_message_read(call->msg, "sssxtt", &state, &detail, &alive, &round_trip_ms, &n_deaf, &n_refused) < 0)
		return op_unreadable(call, err);
	if (!is_one_of(state, states, ARRAY_SIZE(states)) || !is_one_of(alive, lives, ARRAY_SIZE(lives)))
		return agent_error_set(err, -EINVAL, "link.state", "that is no state of a link");
	snprintf(core->link_state, sizeof(core->link_state), "%s", state);
	/* Shortened bytewise: what is left must stay valid UTF-8 for the bus. */
	snprintf(core->link_detail, sizeof(core->link_detail), "%s", detail);
	for (char *p = core->link_detail; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
	/* Attempts come and go by the second in a bad network; an audit wants to know when the link was up. */
	if (was_online != (strcmp(state, "online") == 0))
		event_add(core, EVENT_LINK_STATE, "state", core->link_state, "reason", core->link_detail[0] != '\0' ? core->link_detail : NULL, NULL);
	tell_alive(core, alive, n_deaf);
	tell_refused(core, n_refused);
	snprintf(core->link_alive, sizeof(core->link_alive), "%s", alive);
	core->link_round_trip_ms = round_trip_ms;
	core->n_link_deaf = n_deaf;
	core->n_link_refused = n_refused;
	return op_reply(call, NULL);
}

static void emit_reconnect(struct core *core, sd_bus *bus)
{
	(void)core;
	(void)sd_bus_emit_signal(bus, BUS_PATH, BUS_CORE, "LinkReconnect", NULL);
}

int op_link_reconnect(struct core *core, struct op_call *call, struct agent_error **err)
{
	if (!core->settings->mqtt.enable)
		return agent_error_set(err, -EOPNOTSUPP, "link.disabled", "mqtt.enable is false");
	bus_each(core, PROG_LINK, emit_reconnect);
	return op_reply(call, NULL);
}

static int append_status(struct core *core, sd_bus_message *m)
{
	const struct settings *s = core->settings;
	struct worker_info info;
	struct timespec now;
	int r;

	worker_get_info(core->worker, &info);
	clock_gettime(CLOCK_MONOTONIC, &now);
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
		r = peer_append_string(m, "link_state", core->link_state[0] != '\0' ? core->link_state :
				       s->mqtt.enable ? "offline" : "disabled");
	if (r >= 0)
		r = peer_append_string(m, "link_detail", core->link_detail[0] != '\0' ? core->link_detail : NULL);
	if (r >= 0)
		r = peer_append_string(m, "link_alive", core->link_alive[0] != '\0' ? core->link_alive : "unknown");
	if (r >= 0 && core->link_alive[0] != '\0' && core->link_round_trip_ms >= 0)
		r = peer_append_u64(m, "link_round_trip_ms", (uint64_t)core->link_round_trip_ms);
	if (r >= 0)
		r = peer_append_u64(m, "link_deaf", core->n_link_deaf);
	if (r >= 0)
		r = peer_append_u64(m, "link_refused", core->n_link_refused);
	if (r >= 0)
		r = clock_append_short(core, m);
	if (r >= 0)
		r = updates_append_short(core, m);
	if (r >= 0)
		r = source_append(core, m);
	if (r >= 0)
		r = peer_append_string(m, "device_ca_fingerprint", core->device_ca_fingerprint);
	if (r >= 0)
		r = peer_append_u64(m, "uptime_s", (uint64_t)now.tv_sec - core->start_us / 1000000);
	if (r >= 0)
		r = peer_append_u64(m, "login_failures", account_failures(core));
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int op_status_get(struct core *core, struct op_call *call, struct agent_error **err)
{
	sd_bus_message *reply;
	int r;

	r = op_reply_new(call, &reply, err);
	if (r < 0)
		return r;
	r = append_status(core, reply);
	if (r < 0) {
		sd_bus_message_unref(reply);
		return agent_error_set(err, r, "bus.reply", "cannot write the status: %s", strerror(-r));
	}
	return op_reply_send(call, reply);
}
