/* SPDX-License-Identifier: Apache-2.0 */
/* The broker connection as agentd-link tells of it, and what people may ask and do. */
#include "config.h"

#include "agentd/core/link.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agentd/common/gcra.h"
#include "agentd/common/mqtt_settings.h"
#include "agentd/common/peer.h"
#include "agentd/core/bus.h"
#include "agentd/core/core.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define EVENT_INTERVAL_US (60 * UINT64_C(1000000))	/* agentd-link must not push all else out of the event log */
#define EVENT_BURST 8
#define PERIOD_SIZE 16
#define TEXT_MAX 512

/* Shortened bytewise: what is left must stay valid UTF-8 for the bus. */
static void put_text(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text);
	for (char *p = to; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
}

/* ---- what agentd-link tells ----------------------------------------------------------------------------------------- */

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
	bool was_deaf = strcmp(core->link.alive, "deaf") == 0, is_deaf = strcmp(alive, "deaf") == 0;
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
	if (n_refused <= core->link.n_refused || strcmp(core->link.detail, core->link.refusal) == 0)
		return;
	strcpy(core->link.refusal, core->link.detail);
	event_add(core, EVENT_LINK_REFUSED, "reason", core->link.refusal, NULL);
}

/* Messages that found no room: a command may be among them. */
static void tell_lost(struct core *core, uint64_t n_lost)
{
	char count[24];

	if (n_lost <= core->link.n_lost || !gcra_take(&core->link.lost_tat_us, monotonic_us(), EVENT_INTERVAL_US, EVENT_BURST))
		return;
	snprintf(count, sizeof(count), "%" PRIu64, n_lost);
	event_add(core, EVENT_LINK_LOST, "count", count, NULL);
}

int op_link_report(struct core *core, struct op_call *call, struct agent_error **err)
{
	static const char *const states[] = { "disabled", "offline", "connecting", "online", "waiting" };
	static const char *const lives[] = { "unknown", "alive", "deaf" };
	bool was_online = strcmp(core->link.state, "online") == 0;
	const char *state, *detail, *alive;
	uint64_t n_deaf, n_refused, n_lost;
	int64_t round_trip_ms;

	if (sd_bus_message_read(call->msg, "sssxttt", &state, &detail, &alive, &round_trip_ms, &n_deaf, &n_refused, &n_lost) < 0)
		return op_unreadable(call, err);
	if (!is_one_of(state, states, ARRAY_SIZE(states)) || !is_one_of(alive, lives, ARRAY_SIZE(lives)))
		return agent_error_set(err, -EINVAL, "link.state", "that is no state of a link");
	snprintf(core->link.state, sizeof(core->link.state), "%s", state);
	put_text(core->link.detail, sizeof(core->link.detail), detail);
	/* Attempts come and go by the second in a bad network; an audit wants to know when the link was up. */
	if (was_online != (strcmp(state, "online") == 0))
		event_add(core, EVENT_LINK_STATE, "state", core->link.state, "reason", core->link.detail[0] != '\0' ? core->link.detail : NULL, NULL);
	tell_alive(core, alive, n_deaf);
	tell_refused(core, n_refused);
	tell_lost(core, n_lost);
	snprintf(core->link.alive, sizeof(core->link.alive), "%s", alive);
	core->link.round_trip_ms = round_trip_ms;
	core->link.n_deaf = n_deaf;
	core->link.n_refused = n_refused;
	core->link.n_lost = n_lost;
	return op_reply(call, NULL);
}

/* Read to the end once, so that what is kept can be read again without an error; and it is kept, so it has bounds. */
static int check_brokers(sd_bus_message *m)
{
	const char *host, *why;
	uint32_t at, n = 0;
	uint16_t port;
	int r = sd_bus_message_read(m, "u", &at);

	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "(sqs)");
	while (r >= 0 && (r = sd_bus_message_read(m, "(sqs)", &host, &port, &why)) > 0)
		if (++n > BROKER_ROWS_MAX + 1 || strlen(host) > TEXT_MAX || strlen(why) > TEXT_MAX)
			return -EINVAL;
	return r;
}

int op_link_brokers(struct core *core, struct op_call *call, struct agent_error **err)
{
	if (check_brokers(call->msg) < 0)
		return agent_error_set(err, -EINVAL, "bus.arguments", "LinkBrokers was called with something else than brokers and their reasons");
	sd_bus_message_unref(core->link.brokers);
	core->link.brokers = sd_bus_message_ref(call->msg);
	return op_reply(call, NULL);
}

static int read_period(sd_bus_message *m, struct link_period *ret_period)
{
	struct link_period p;
	int r = sd_bus_message_read(m, "utttt", &p.month, &p.ran_s, &p.sent, &p.received, &p.connects);

	if (r > 0 && p.month != 0 && (p.month / 100 < 1970 || p.month / 100 > 9999 || p.month % 100 < 1 || p.month % 100 > 12))
		r = -EINVAL;
	*ret_period = p;
	return r > 0 ? 0 : -EINVAL;
}

int op_link_usage(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct link_period now, last;
	int is_held;

	if (read_period(call->msg, &now) < 0 || read_period(call->msg, &last) < 0 || sd_bus_message_read(call->msg, "b", &is_held) <= 0)
		return agent_error_set(err, -EINVAL, "bus.arguments", "LinkUsage was called with something else than two periods");
	core->link.now = now;
	core->link.last = last;
	core->link.is_held = is_held;
	core->link.has_usage = true;
	return op_reply(call, NULL);
}

/* A month, or how long the device has been on in a period whose month nobody knows. */
static void name_period(const struct link_period *p, char ret_name[PERIOD_SIZE])
{
	if (p->month == 0)
		snprintf(ret_name, PERIOD_SIZE, "30 days");
	else
		snprintf(ret_name, PERIOD_SIZE, "%04u-%02u", (unsigned)(p->month / 100 % 10000), (unsigned)(p->month % 100));
}

int op_link_budget(struct core *core, struct op_call *call, struct agent_error **err)
{
	char numbers[3][24], period[PERIOD_SIZE];
	uint64_t used, budget;
	const char *kind;
	uint32_t percent;

	if (sd_bus_message_read(call->msg, "sutt", &kind, &percent, &used, &budget) < 0)
		return op_unreadable(call, err);
	if ((strcmp(kind, "bytes") != 0 && strcmp(kind, "connects") != 0) || (percent != 80 && percent != 100))
		return agent_error_set(err, -EINVAL, "link.budget", "that is no budget of a link");
	if (!gcra_take(&core->link.budget_tat_us, monotonic_us(), EVENT_INTERVAL_US, EVENT_BURST))
		return agent_error_set(err, -EDQUOT, "link.budget", "that was told often enough; again in a minute");
	snprintf(numbers[0], sizeof(numbers[0]), "%u", (unsigned)percent);
	snprintf(numbers[1], sizeof(numbers[1]), "%" PRIu64, used);
	snprintf(numbers[2], sizeof(numbers[2]), "%" PRIu64, budget);
	name_period(&core->link.now, period);
	event_add(core, EVENT_LINK_BUDGET, "kind", kind, "percent", numbers[0], "used", numbers[1], "budget", numbers[2], "period", period, NULL);
	return op_reply(call, NULL);
}

/* ---- what people see ------------------------------------------------------------------------------------------------ */

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t percent(uint64_t used, uint64_t budget)
{
	return used / budget > 1000 ? 100000 : (uint64_t)((double)used * 100 / (double)budget);
}

/* Of the budget of which more is used. -1: there is none. */
static int64_t used_percent(const struct core *core)
{
	uint64_t bytes = (uint64_t)core->settings->link.budget_mib << 20, connects = (uint64_t)core->settings->link.budget_connects;
	const struct link_period *p = &core->link.now;
	int64_t most = -1;

	if (bytes > 0)
		most = (int64_t)percent(sum(p->sent, p->received), bytes);
	if (connects > 0 && (int64_t)percent(p->connects, connects) > most)
		most = (int64_t)percent(p->connects, connects);
	return most;
}

int link_append_short(struct core *core, sd_bus_message *m)
{
	const struct link_period *p = &core->link.now;
	char period[PERIOD_SIZE];
	int r = peer_append_string(m, "link_state", core->link.state[0] != '\0' ? core->link.state : core->settings->mqtt.enable ? "offline" : "disabled");

	if (r >= 0)
		r = peer_append_string(m, "link_detail", core->link.detail[0] != '\0' ? core->link.detail : NULL);
	if (r >= 0)
		r = peer_append_string(m, "link_alive", core->link.alive[0] != '\0' ? core->link.alive : "unknown");
	if (r >= 0 && core->link.alive[0] != '\0' && core->link.round_trip_ms >= 0)
		r = peer_append_u64(m, "link_round_trip_ms", (uint64_t)core->link.round_trip_ms);
	if (r >= 0)
		r = peer_append_u64(m, "link_deaf", core->link.n_deaf);
	if (r >= 0)
		r = peer_append_u64(m, "link_refused", core->link.n_refused);
	if (r >= 0)
		r = peer_append_u64(m, "link_lost", core->link.n_lost);
	if (r < 0 || !core->link.has_usage)
		return r;
	name_period(p, period);
	r = peer_append_string(m, "link_period", period);
	if (r >= 0)
		r = peer_append_u64(m, "link_bytes", sum(p->sent, p->received));
	if (r >= 0)
		r = peer_append_u64(m, "link_connects", p->connects);
	if (r >= 0 && used_percent(core) >= 0)
		r = peer_append_u64(m, "link_budget_percent", (uint64_t)used_percent(core));
	return r;
}

static int append_period(sd_bus_message *m, const struct link_period *p)
{
	char period[PERIOD_SIZE];
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	name_period(p, period);
	if (r >= 0)
		r = peer_append_string(m, "period", period);
	if (r >= 0)
		r = peer_append_u64(m, "running_s", p->ran_s);
	if (r >= 0)
		r = peer_append_u64(m, "sent_bytes", p->sent);
	if (r >= 0)
		r = peer_append_u64(m, "received_bytes", p->received);
	if (r >= 0)
		r = peer_append_u64(m, "connects", p->connects);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* One or two: the present one, and the one before it. */
static int append_usage(struct core *core, sd_bus_message *m)
{
	int r = sd_bus_message_open_container(m, 'e', "sv");

	if (r >= 0)
		r = sd_bus_message_append(m, "s", "usage");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "aa{sv}");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "a{sv}");
	if (r >= 0 && core->link.has_usage)
		r = append_period(m, &core->link.now);
	if (r >= 0 && core->link.has_usage && (core->link.last.month != 0 || core->link.last.ran_s != 0))
		r = append_period(m, &core->link.last);
	for (int i = 0; i < 3 && r >= 0; i++)
		r = sd_bus_message_close_container(m);
	return r;
}

static int append_broker(sd_bus_message *m, const char *host, uint16_t port, const char *why, bool is_current)
{
	char text[256];
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	put_text(text, sizeof(text), host);
	if (r >= 0)
		r = peer_append_string(m, "host", text);
	if (r >= 0)
		r = peer_append_u64(m, "port", port);
	if (r >= 0)
		r = peer_append_bool(m, "current", is_current);
	put_text(text, sizeof(text), why);
	if (r >= 0 && text[0] != '\0')
		r = peer_append_string(m, "reason", text);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_brokers(struct core *core, sd_bus_message *m)
{
	sd_bus_message *told = core->link.brokers;
	const char *host, *why;
	uint32_t at = 0, i = 0;
	uint16_t port;
	int r = sd_bus_message_open_container(m, 'e', "sv");

	if (r >= 0)
		r = sd_bus_message_append(m, "s", "brokers");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "aa{sv}");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "a{sv}");
	if (r >= 0 && told != NULL) {
		r = sd_bus_message_rewind(told, true);
		if (r >= 0)
			r = sd_bus_message_read(told, "u", &at);
		if (r >= 0)
			r = sd_bus_message_enter_container(told, 'a', "(sqs)");
		while (r >= 0 && (r = sd_bus_message_read(told, "(sqs)", &host, &port, &why)) > 0)
			r = append_broker(m, host, port, why, i++ == at);
	}
	for (int k = 0; k < 3 && r >= 0; k++)
		r = sd_bus_message_close_container(m);
	return r;
}

static int append_all(struct core *core, sd_bus_message *m)
{
	const struct settings *s = core->settings;
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = link_append_short(core, m);
	if (r >= 0)
		r = append_brokers(core, m);
	if (r >= 0)
		r = append_usage(core, m);
	if (r >= 0 && s->link.budget_mib > 0)
		r = peer_append_u64(m, "budget_bytes", (uint64_t)s->link.budget_mib << 20);
	if (r >= 0 && s->link.budget_connects > 0)
		r = peer_append_u64(m, "budget_connects", (uint64_t)s->link.budget_connects);
	if (r >= 0)
		r = peer_append_bool(m, "budget_holds", core->link.is_held);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int op_link_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply_made(core, call, append_all, "the state of the link", err);
}

/* ---- and do --------------------------------------------------------------------------------------------------------- */

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

void link_stop(struct core *core)
{
	core->link.brokers = sd_bus_message_unref(core->link.brokers);
}
