/* SPDX-License-Identifier: Apache-2.0 */
/* agentd-link: keeps the broker connection. The loop here talks to core and to the watchdog, worker.c to the broker. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_MALLOPT
#include <malloc.h>
#endif
#include <sys/eventfd.h>
#include <sys/random.h>
#include <syslog.h>

#include <systemd/sd-bus.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "agentd/common/sandbox.h"
#include "agentd/common/service.h"
#include "agentd/common/told_time.h"
#include "agentd/link/apps.h"
#include "agentd/link/budget.h"
#include "agentd/link/commands.h"
#include "agentd/link/store.h"
#include "agentd/link/tables.h"
#include "agentd/link/telemetry.h"
#include "agentd/link/worker.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define CORE_RETRY_US (1 * 1000000ull)
#define QUEUES_REPORT_US (2 * 1000000ull)
#define FRESH_BOOT_S 300	/* devices that start within this after boot may be a fleet after a power cut */
#define FIRST_DELAY_MS 30000
#define LOOK_ALIVE_US (60 * 1000000ull)	/* at the latest */

/* What core is told of a connection besides state and reason. */
struct liveness_report {
	enum liveness_state alive;
	int64_t round_trip_ms;
	uint64_t n_deaf, n_refused, n_lost;
};

/* And of each broker. */
struct brokers_report {
	size_t n, at;
	struct worker_broker list[BROKER_ROWS_MAX + 1];
};

struct link {
	struct service service;
	sd_bus *core;
	sd_event_source *core_timer, *telemetry_timer, *queues_timer, *alive_timer, *notify;
	int notify_fd;
	struct tables tables;
	struct agent_time *time;	/* as core tells it */
	char *prefix;			/* of topics */
	struct apps *apps;
	struct commands *commands;	/* NULL: none are taken */
	struct budget *budget;
	struct store *store;		/* both or none: the owner has set a password, and mqtt.enable is set */
	struct worker *worker;
	char setup[32];			/* as core says; "" unknown */
	char boot_id[33];
	uint64_t seq;
	uint64_t n_connects_seen;
	char reported_state[16], reported_why[512];
	struct liveness_report reported;
	struct brokers_report reported_brokers;
	bool core_missing_logged;
	uint64_t reported_queues[QUEUE_CLASSES_MAX][STORE_COUNTERS];
	size_t n_reported_queues;
	char reported_queues_why[QUEUE_CLASSES_MAX][256];
	bool has_reported_queues;	/* by this core */
};

static const char *state_word(enum agent_mqtt_state state)
{
	switch (state) {
	case AGENT_MQTT_CONNECTING:
		return "connecting";
	case AGENT_MQTT_ONLINE:
		return "online";
	case AGENT_MQTT_WAITING:
		return "waiting";
	case AGENT_MQTT_OFFLINE:
		break;
	}
	return "offline";
}

/* The latest state, to core; again after core was restarted, because reported_state is empty then. */
static void report(struct link *link, const char *state, const char *why, const struct worker_status *status)
{
	struct liveness_report news = { .alive = status->alive, .round_trip_ms = status->round_trip_ms, .n_deaf = status->n_deaf,
					.n_refused = status->n_refused, .n_lost = status->n_lost };
	bool is_new_state = strcmp(state, link->reported_state) != 0, is_new_why = strcmp(why, link->reported_why) != 0;
	const struct liveness_report *old = &link->reported;

	if (!is_new_state && !is_new_why && old->alive == news.alive && old->round_trip_ms == news.round_trip_ms && old->n_deaf == news.n_deaf &&
	    old->n_refused == news.n_refused && old->n_lost == news.n_lost)
		return;
	if (news.n_lost > old->n_lost)
		service_log(LOG_WARNING, "%" PRIu64 " messages came from the broker faster than they could be taken", news.n_lost - old->n_lost);
	link->reported = news;
	/* While it tries again and again, a reason is one line in the log and not one per attempt. */
	if (strcmp(state, "online") == 0 ? is_new_state : is_new_why && strcmp(state, "connecting") != 0)
		service_log(strcmp(state, "waiting") == 0 ? LOG_WARNING : LOG_INFO, "%s%s%s", state, why[0] == '\0' ? "" : ": ", why);
	snprintf(link->reported_state, sizeof(link->reported_state), "%s", state);
	snprintf(link->reported_why, sizeof(link->reported_why), "%s", why);
	service_status("%s%s%s", state, why[0] == '\0' ? "" : ": ", why);
	if (link->core != NULL)
		(void)sd_bus_call_method_async(link->core, NULL, NULL, BUS_PATH, BUS_CORE, "LinkReport", NULL, NULL, "sssxttt", state, why,
					       liveness_word(news.alive), news.round_trip_ms, news.n_deaf, news.n_refused, news.n_lost);
}

/* Each broker of the list with its last reason, when that changed. */
static void report_brokers(struct link *link, const struct worker_status *status)
{
	struct brokers_report news = { 0 };
	sd_bus_message *m = NULL;
	int r;

	news.n = status->n_brokers;
	news.at = status->info.broker;
	memcpy(news.list, status->brokers, sizeof(news.list));
	if (link->core == NULL || memcmp(&news, &link->reported_brokers, sizeof(news)) == 0)
		return;
	r = sd_bus_message_new_method_call(link->core, &m, NULL, BUS_PATH, BUS_CORE, "LinkBrokers");
	if (r >= 0)
		r = sd_bus_message_append(m, "u", (uint32_t)news.at);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sqs)");
	for (size_t i = 0; r >= 0 && i < news.n; i++)
		r = sd_bus_message_append(m, "(sqs)", news.list[i].host, news.list[i].port, news.list[i].why);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_call_async(link->core, NULL, m, NULL, NULL, 0);
	if (r >= 0)
		link->reported_brokers = news;
	sd_bus_message_unref(m);
}

/* Core without a TPM does not know: whoever set a password must not read that he did not. */
static bool is_setup_unknown(const char *setup)
{
	return setup[0] == '\0' || strcmp(setup, "unavailable") == 0;
}

/* Why there is nothing to work with: what core reports, and what applications hear. */
struct setup_refusal {
	const char *setup;	/* NULL: all others */
	int errnum;
	const char *name, *why;
};

static const struct setup_refusal *setup_refusal(const struct link *link)
{
	static const struct setup_refusal rows[] = {
		{ "", -EBUSY, "link.starting", "agentd does not answer yet" },
		{ "unavailable", -EBUSY, "link.starting", "the TPM does not answer, so it is not known yet whether the device is set up" },
		{ "recovery", -ENOKEY, "setup.recovery", "the device is in recovery: see recovery in agentd(8)" },
		{ "unprovisioned", -ENOKEY, "setup.unprovisioned", "this device has not been provisioned yet" },
		{ "active", -EBUSY, "link.starting", "the queues cannot be started, see the log; try again" },
		{ NULL, -EKEYEXPIRED, "setup.password-change-required", "setup is not finished: the owner has to set the password of the device first" },
	};
	const struct setup_refusal *row = rows;

	while (row->setup != NULL && strcmp(row->setup, link->setup) != 0)
		row++;
	return row;
}

static void report_now(struct link *link)
{
	struct worker_status status = { .round_trip_ms = -1 };
	char why[512];

	if (!link->service.settings->mqtt.enable) {
		report(link, "disabled", "mqtt.enable is false", &status);
		return;
	}
	if (link->worker == NULL) {
		report(link, "waiting", setup_refusal(link)->why, &status);
		return;
	}
	worker_get_status(link->worker, &status);
	report_brokers(link, &status);
	if (status.state == AGENT_MQTT_ONLINE && status.why[0] == '\0') {
		if (status.round_trip_ms >= 0)
			snprintf(why, sizeof(why), "last round trip %" PRId64 " ms", status.round_trip_ms);
		else
			why[0] = '\0';
		report(link, "online", why, &status);
		return;
	}
	report(link, state_word(status.state), status.why, &status);
}

/* Counters of all queues, when they are others than core knows. */
static void report_queues(struct link *link)
{
	uint64_t counters[QUEUE_CLASSES_MAX][STORE_COUNTERS];
	char why[QUEUE_CLASSES_MAX][256];
	size_t n = link->store == NULL ? 0 : store_count(link->store);
	sd_bus_message *m = NULL;
	int r;

	memset(counters, 0, sizeof(counters));
	memset(why, 0, sizeof(why));
	for (size_t i = 0; i < n; i++)
		store_get_counters(link->store, i, counters[i], why[i], sizeof(why[i]));
	if (link->core == NULL || (link->has_reported_queues && n == link->n_reported_queues &&
				   memcmp(counters, link->reported_queues, sizeof(counters)) == 0 &&
				   memcmp(why, link->reported_queues_why, sizeof(why)) == 0))
		return;
	r = sd_bus_message_new_method_call(link->core, &m, NULL, BUS_PATH, BUS_CORE, "LinkQueues");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(ssat)");
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = sd_bus_message_open_container(m, 'r', "ssat");
		if (r >= 0)
			r = sd_bus_message_append(m, "ss", store_name(link->store, i), why[i]);
		if (r >= 0)
			r = sd_bus_message_append_array(m, 't', counters[i], sizeof(counters[i]));
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_call_async(link->core, NULL, m, NULL, NULL, 0);
	if (r >= 0) {
		memcpy(link->reported_queues, counters, sizeof(counters));
		memcpy(link->reported_queues_why, why, sizeof(why));
		link->n_reported_queues = n;
		link->has_reported_queues = true;
	}
	sd_bus_message_unref(m);
}

static int on_queues_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct link *link = userdata;

	report_queues(link);
	(void)sd_event_source_set_time_relative(source, QUEUES_REPORT_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void send_telemetry(struct link *link)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_free_ char *json = NULL, *topic = NULL;
	struct worker_status status;
	struct telemetry t;
	int r;

	if (link->worker == NULL)
		return;
	worker_get_status(link->worker, &status);
	t = (struct telemetry){
		.serial = link->service.settings->device.serial, .product = link->service.settings->device.product,
		.version = agent_version(), .boot_id = link->boot_id, .seq = ++link->seq, .uptime_s = running_s(),
		.n_connects = status.n_connects, .round_trip_ms = status.round_trip_ms,
	};
	r = telemetry_json(&t, &json);
	if (r >= 0 && asprintf(&topic, "%s/telemetry", link->prefix) < 0) {
		topic = NULL;
		r = -ENOMEM;
	}
	/* Without a connection it waits in its queue. */
	if (r >= 0)
		r = store_put(link->store, topic, json, strlen(json), AGENT_MQTT_QOS1, 0, 0, &err);
	if (r < 0)
		service_log(LOG_WARNING, "telemetry %" PRIu64 " not queued: %s", link->seq, err == NULL ? strerror(-r) : agent_error_message(err));
}

static int on_telemetry_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct link *link = userdata;

	send_telemetry(link);
	report_now(link);
	tables_give_back();	/* what a burst of messages left */
	if (link->worker != NULL) {
		worker_try_again(link->worker);
		worker_look_at_lists(link->worker);
	}
	(void)sd_event_source_set_time_relative(source, (uint64_t)link->service.settings->mqtt.telemetry_s * 1000000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* What arrived, each to whom it is for. */
static void hand_out(struct link *link)
{
	struct worker_message *m;

	while ((m = worker_next_message(link->worker)) != NULL) {
		commands_take(link->commands, m);
		apps_take(link->apps, m);
		worker_message_free(m);
	}
	apps_wake(link->apps);
}

/* Canaries, and what they say. */
static void look_alive(struct link *link)
{
	uint64_t wait_ms = worker_look_alive(link->worker), wait_us = wait_ms < LOOK_ALIVE_US / 1000 ? wait_ms * 1000 : LOOK_ALIVE_US;

	(void)sd_event_source_set_time_relative(link->alive_timer, wait_us);
	(void)sd_event_source_set_enabled(link->alive_timer, SD_EVENT_ONESHOT);
}

static int on_alive_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct link *link = userdata;

	if (link->worker == NULL)
		return 0; /* the first notice of the next worker starts it again */
	look_alive(link);
	report_now(link);
	return 0;
}

static int on_notify(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct link *link = userdata;
	struct worker_status status;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return 0;
	if (link->worker == NULL)
		return 0;
	hand_out(link);
	look_alive(link);
	worker_get_status(link->worker, &status);
	report_now(link);
	if (status.state == AGENT_MQTT_ONLINE && status.n_connects != link->n_connects_seen) {
		link->n_connects_seen = status.n_connects;
		if (link->core != NULL && status.signed_s != 0)
			(void)sd_bus_call_method_async(link->core, NULL, NULL, BUS_PATH, BUS_CORE, "TimeEvidence", NULL, NULL, "stt", "handshake",
						       status.signed_s, status.not_after_s);
		/* At once after a connect, then in rhythm from there. */
		(void)sd_event_source_set_time_relative(link->telemetry_timer, 0);
		(void)sd_event_source_set_enabled(link->telemetry_timer, SD_EVENT_ONESHOT);
	}
	return 0;
}

static unsigned first_delay_ms(const struct settings *settings)
{
	uint32_t bits = 0, span = (uint32_t)settings->mqtt.backoff_max_ms / 10;

	if (running_s() > FRESH_BOOT_S || getrandom(&bits, sizeof(bits), GRND_NONBLOCK) != (ssize_t)sizeof(bits))
		return 0;
	return bits % ((span < FIRST_DELAY_MS ? span : FIRST_DELAY_MS) + 1);
}

static void start_work(struct link *link, struct agent_error **err)
{
	const struct settings *settings = link->service.settings;
	int r = store_open(settings, link->prefix, link->notify_fd, &link->store, err);

	link->n_connects_seen = 0;
	if (r >= 0)
		r = worker_start(settings, link->tables.ctx, link->time, link->store, link->prefix, link->notify_fd, first_delay_ms(settings), &link->worker, err);
	if (r < 0)
		link->store = store_close(link->store, true);
	apps_attach(link->apps, link->store, link->worker);
	commands_attach(link->commands, link->store, link->worker);
	budget_attach(link->budget, link->store, link->worker);
}

static void stop_work(struct link *link)
{
	bool is_over;

	apps_attach(link->apps, NULL, NULL);
	commands_attach(link->commands, NULL, NULL);
	budget_attach(link->budget, NULL, NULL);
	/* A worker that does not come back still points at the store: its files are closed, its memory stays. */
	is_over = worker_stop(TAKE_PTR(link->worker));
	link->store = store_close(link->store, is_over);
}

/* What applications hear while there is nothing to work with. */
static void refuse_apps(struct link *link)
{
	const struct setup_refusal *refusal = setup_refusal(link);

	if (!link->service.settings->mqtt.enable)
		apps_set_refusal(link->apps, -EOPNOTSUPP, "link.disabled", "mqtt.enable is false");
	else
		apps_set_refusal(link->apps, refusal->errnum, refusal->name, refusal->why);
}

/*
 * Broker connection only once the owner has set a password, and no longer after a factory reset. What was so stays so while core, started again
 * without its TPM, cannot tell.
 */
static void follow_setup(struct link *link, const char *setup)
{
	_cleanup_error_ struct agent_error *err = NULL;
	bool is_active = strcmp(setup, "active") == 0;

	snprintf(link->setup, sizeof(link->setup), "%s", setup);
	refuse_apps(link);
	if (link->service.settings->mqtt.enable && is_active && link->worker == NULL) {
		start_work(link, &err);
		if (err != NULL)
			service_log(LOG_ERR, "%s", agent_error_message(err));
	} else if (!is_active && !is_setup_unknown(setup) && link->worker != NULL) {
		service_log(LOG_NOTICE, "setup is %s: leaving the broker", setup);
		stop_work(link);
	}
	/* What waits is of an owner who gave the device away. */
	if (strcmp(setup, "factory") == 0) {
		store_erase(link->service.settings);
		budget_erase(link->budget);
	}
	report_now(link);
}

static int on_setup_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *link = userdata;
	const char *setup;

	if (sd_bus_message_read(m, "s", &setup) >= 0)
		follow_setup(link, setup);
	return 0;
}

static int on_setup_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *link = userdata;

	if (sd_bus_message_is_method_error(m, NULL)) {
		service_log(LOG_ERR, "agentd does not tell the setup state: %s", sd_bus_message_get_error(m)->message);
		return 0;
	}
	return on_setup_changed(m, link, error);
}

static int on_time_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *link = userdata;

	if (told_time_take(m, link->time) >= 0 && link->worker != NULL)
		worker_time_changed(link->worker);
	return 0;
}

static int on_reconnect_wanted(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *link = userdata;

	if (link->worker != NULL)
		worker_reconnect(link->worker);
	return 0;
}

static int on_identity_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *link = userdata;
	const char *key, *current_id, *next_id;

	if (sd_bus_message_read(m, "sss", &key, &current_id, &next_id) >= 0 && link->worker != NULL &&
	    strcmp(key, link->service.settings->mqtt.key) == 0)
		worker_identity_changed(link->worker, current_id, next_id);
	return 0;
}

/* After core was gone: what it had to say meanwhile. */
static int on_identity_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *link = userdata;
	const char *current_id, *next_id;

	if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "sssss", NULL, &current_id, NULL, &next_id, NULL) >= 0 &&
	    link->worker != NULL)
		worker_identity_changed(link->worker, current_id, next_id);
	return 0;
}

static void connect_later(struct link *link)
{
	(void)sd_event_source_set_time_relative(link->core_timer, CORE_RETRY_US);
	(void)sd_event_source_set_enabled(link->core_timer, SD_EVENT_ONESHOT);
}

static int on_core_lost(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *link = userdata;

	/* The broker connection stays; the next handshake needs core again, and core then learns where we stand. */
	service_log(LOG_NOTICE, "connection to agentd lost, trying again");
	commands_set_core(link->commands, NULL);
	budget_set_core(link->budget, NULL);
	sd_bus_detach_event(link->core);
	link->core = sd_bus_close_unref(link->core);
	connect_later(link);
	return 0;
}

static int connect_core(struct link *link, struct agent_error **err)
{
	int r;

	r = peer_connect(link->service.settings->paths.run_dir, "core-link.sock", &link->core, err);
	if (r < 0)
		return r;
	r = sd_bus_attach_event(link->core, link->service.event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_bus_match_signal(link->core, NULL, NULL, BUS_PATH, BUS_CORE, "SetupChanged", on_setup_changed, link);
	if (r >= 0)
		r = sd_bus_match_signal(link->core, NULL, NULL, BUS_PATH, BUS_CORE, "TimeChanged", on_time_changed, link);
	if (r >= 0)
		r = sd_bus_match_signal(link->core, NULL, NULL, BUS_PATH, BUS_CORE, "IdentityChanged", on_identity_changed, link);
	if (r >= 0)
		r = sd_bus_match_signal(link->core, NULL, NULL, BUS_PATH, BUS_CORE, "LinkReconnect", on_reconnect_wanted, link);
	if (r >= 0 && link->worker != NULL)
		r = sd_bus_call_method_async(link->core, NULL, NULL, BUS_PATH, BUS_CORE, "KeyIdentity", on_identity_answer, link, "s",
					     link->service.settings->mqtt.key);
	if (r >= 0)
		r = sd_bus_match_signal(link->core, NULL, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected",
					on_core_lost, link);
	if (r >= 0)
		r = sd_bus_call_method_async(link->core, NULL, NULL, BUS_PATH, BUS_CORE, "SetupGet", on_setup_answer, link, "");
	if (r < 0) {
		sd_bus_detach_event(link->core);
		link->core = sd_bus_close_unref(link->core);
		return agent_error_set(err, r, "bus.connect", "cannot talk to agentd: %s", strerror(-r));
	}
	commands_set_core(link->commands, link->core);
	budget_set_core(link->budget, link->core);
	link->reported_state[0] = '\0';
	memset(&link->reported_brokers, 0, sizeof(link->reported_brokers));
	link->has_reported_queues = false;
	report_now(link);
	report_queues(link);
	return 0;
}

static int on_core_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct link *link = userdata;

	if (connect_core(link, &err) >= 0) {
		link->core_missing_logged = false;
		return 0;
	}
	if (!link->core_missing_logged)
		service_log(LOG_WARNING, "%s", agent_error_message(err));
	link->core_missing_logged = true;
	connect_later(link);
	return 0;
}

/* The C library loads its name service modules at the first look-up; afterwards the sandbox is closed. */
static void load_resolver(void)
{
	struct addrinfo *list = NULL;

	if (getaddrinfo("localhost", NULL, NULL, &list) == 0)
		freeaddrinfo(list);
}

/*
 * Certificates are replaced by rename, and may come later than we do: the folder is granted, not the file. The trust
 * folder is in the sandbox's own table.
 */
static int enter_sandbox(const struct settings *settings, struct agent_error **err)
{
	const char *files[] = { settings->mqtt.ca_file, settings->mqtt.cert_file, settings->mqtt.crl_file };
	struct sandbox_path extra[ARRAY_SIZE(files)];
	char *folders[ARRAY_SIZE(files)];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		const char *slash = strrchr(files[i], '/');

		if (slash == NULL || slash == files[i] || (folders[n] = strndup(files[i], (size_t)(slash - files[i]))) == NULL)
			continue;
		extra[n] = (struct sandbox_path){ .path = folders[n], .access = SANDBOX_READ };
		n++;
	}
	r = sandbox_enter(SANDBOX_LINK, settings, extra, n, err);
	while (n > 0)
		free(folders[--n]);
	return r;
}

/* Half a dozen threads that rarely do anything: a heap for each would keep half a megabyte of pages that were used once. */
static void share_one_heap(void)
{
#ifdef M_ARENA_MAX
	(void)mallopt(M_ARENA_MAX, 1);
#endif
}

static int set_up(struct link *link, struct agent_error **err)
{
	const struct settings *settings = link->service.settings;
	int r;

	if (settings->mqtt.enable && settings->mqtt.host[0] == '\0')
		return agent_error_set(err, -EINVAL, "config.missing", "%s: mqtt.enable is true, but mqtt.host is empty", settings->file);
	link->prefix = topic_prefix(settings);
	if (link->prefix == NULL || agent_time_new(&link->time, NULL) < 0)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	r = telemetry_boot_id(link->boot_id);
	if (r < 0)
		return agent_error_set(err, r, "link.boot-id", "cannot read the boot id: %s", strerror(-r));
	link->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->notify_fd < 0)
		return agent_error_set(err, -errno, "link.setup", "no eventfd: %m");
	r = sd_event_add_io(link->service.event, &link->notify, link->notify_fd, EPOLLIN, on_notify, link);
	if (r >= 0)
		r = sd_event_add_time_relative(link->service.event, &link->core_timer, CLOCK_MONOTONIC, 0, 0, on_core_time, link);
	if (r >= 0)
		r = sd_event_add_time_relative(link->service.event, &link->telemetry_timer, CLOCK_MONOTONIC,
					       (uint64_t)settings->mqtt.telemetry_s * 1000000, 0, on_telemetry_time, link);
	if (r >= 0)
		r = sd_event_add_time_relative(link->service.event, &link->alive_timer, CLOCK_MONOTONIC, LOOK_ALIVE_US, 0, on_alive_time, link);
	if (r >= 0)
		r = sd_event_add_time_relative(link->service.event, &link->queues_timer, CLOCK_MONOTONIC, QUEUES_REPORT_US, 0, on_queues_time, link);
	if (r < 0)
		return agent_error_set(err, r, "link.setup", "cannot set up the event loop: %s", strerror(-r));
	r = budget_open(settings, link->time, link->service.event, &link->budget, err);
	if (r >= 0)
		r = commands_open(settings, link->prefix, &link->commands, err);
	if (r >= 0)
		r = apps_open(settings, link->prefix, link->commands, link->service.event, &link->apps, err);
	if (r < 0)
		return r;
	load_resolver();
	return enter_sandbox(settings, err);
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct link link = { .notify_fd = -1 };
	int r;

	share_one_heap();
	service_start(&link.service, "agentd-link", "Keeps the MQTT connection to the broker, with the device key of agentd.", argc, argv);
	r = tables_open(&link.tables, &err);
	if (r >= 0)
		r = set_up(&link, &err);
	if (r < 0) {
		service_log(LOG_ERR, "%s", agent_error_message(err));
		tables_close(&link.tables);
		return r == -EINVAL ? EXIT_CODE_CONFIG : EXIT_CODE_OS;
	}
	r = service_run(&link.service);
	stop_work(&link);
	apps_close(link.apps);
	commands_close(link.commands);
	budget_close(link.budget);
	if (link.core != NULL)
		sd_bus_flush_close_unref(link.core);
	sd_event_source_unref(link.notify);
	sd_event_source_unref(link.core_timer);
	sd_event_source_unref(link.telemetry_timer);
	sd_event_source_unref(link.queues_timer);
	sd_event_source_unref(link.alive_timer);
	close(link.notify_fd);
	free(link.prefix);
	agent_time_unref(link.time);
	tables_close(&link.tables);
	service_stop(&link.service);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
