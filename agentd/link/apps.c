/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/link/apps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include <agent/link.h>

#include "agentd/common/caller.h"
#include "agentd/common/gate.h"
#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "agentd/common/service.h"
#include "agentd/common/topic_rights.h"
#include "agentd/common/topics.h"
#include "agentd/common/vendor.h"
#include "agentd/link/ledger.h"
#include "agentd/link/outbox.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define FD_NAME "link-apps"
#define CONNECTIONS_PER_USER 8
#define BURST_FACTOR 4		/* see mqtt.app_calls_per_s */
#define PAUSE_US 100000		/* after a call over the rate nothing is read for so long */
#define UNREAD_MAX 32		/* answers that a program may leave unread */
#define DEAD_US (60 * UINT64_C(1000000)) /* a full outbox that nobody fetches from: the program is cut off */

struct app {
	struct app *next;
	struct apps *apps;
	sd_bus *bus;
	struct gate *gate;
	struct vendor_user *user;
	struct key_caller caller;
	char *filters[AGENT_LINK_FILTERS_MAX];
	size_t n_filters;
	struct outbox outbox;
	sd_bus_message *waiting;	/* a call of Receive */
	bool is_broken;			/* to be dropped as soon as nobody works with it */
};

/* A call of Publish whose message is on its way into a queue. */
struct pending {
	struct pending *next;
	uint64_t ticket;
	struct app *app;
	sd_bus_message *call;
};

struct apps {
	const struct settings *settings;
	const char *prefix;
	const struct commands *commands;
	sd_event *event;
	sd_event_source *io, *sweep;
	int fd;
	struct store *store;
	struct worker *worker;
	int refusal;
	char refusal_name[64], refusal_why[200];
	struct app *list;
	struct pending *pending;
	uint64_t last_ticket;
	struct vendors vendors;
	struct ledger ledger;
	struct outbox_room room;
};

/* As many as fit one answer, for whoever waits for them. */
static void answer_waiting(struct app *app)
{
	if (app->waiting == NULL || app->outbox.first == NULL)
		return;
	if (outbox_answer(&app->outbox, app->waiting) < 0)
		app->is_broken = true;
	app->waiting = sd_bus_message_unref(app->waiting);
}

static bool wants(const struct app *app, const char *topic)
{
	for (size_t i = 0; i < app->n_filters; i++)
		if (topic_matches(app->filters[i], topic))
			return true;
	return false;
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void drop(struct app *app)
{
	struct apps *apps = app->apps;

	for (struct app **p = &apps->list; *p != NULL; p = &(*p)->next) {
		if (*p == app) {
			*p = app->next;
			break;
		}
	}
	/* What they published goes its way; there is nobody to tell. */
	for (struct pending **p = &apps->pending; *p != NULL;) {
		struct pending *pending = *p;

		if (pending->app != app) {
			p = &pending->next;
			continue;
		}
		*p = pending->next;
		sd_bus_message_unref(pending->call);
		vendor_call_end(app->user);
		free(pending);
	}
	while (app->n_filters > 0) {
		ledger_remove(&apps->ledger, apps->worker, app->filters[--app->n_filters]);
		free(app->filters[app->n_filters]);
	}
	outbox_clear(&app->outbox);
	sd_bus_message_unref(app->waiting);
	sd_bus_detach_event(app->bus);
	sd_bus_close_unref(app->bus);
	gate_free(app->gate);
	vendor_leave(&apps->vendors, app->user);
	free(app);
}

static void drop_broken(struct apps *apps)
{
	struct app *next;

	for (struct app *app = apps->list; app != NULL; app = next) {
		next = app->next;
		if (app->is_broken)
			drop(app);
	}
}

/* Not from inside of a callback of its bus. */
static void break_app(struct app *app, const char *why)
{
	uint64_t left_out = 0;

	if (app->is_broken)
		return;
	app->is_broken = true;
	if (why != NULL && vendor_may_log(app->user, VENDOR_REFUSED, monotonic_us(), &left_out))
		service_log(LOG_WARNING, "a program of user %" PRIu32 "%s%s is cut off: %s (%" PRIu64 " more were not written down)",
			    app->caller.uid, app->caller.unit[0] == '\0' ? "" : " in ", app->caller.unit, why, left_out);
	(void)sd_event_source_set_time_relative(app->apps->sweep, 0);
	(void)sd_event_source_set_enabled(app->apps->sweep, SD_EVENT_ONESHOT);
}

static int on_gone(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	break_app(userdata, NULL);
	return 0;
}

static void on_gate_broken(void *userdata, const char *why)
{
	break_app(userdata, why);
}

/* Drop what is broken, and who has not fetched for too long. */
static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct apps *apps = userdata;
	uint64_t now = monotonic_us();

	for (struct app *app = apps->list; app != NULL; app = app->next)
		if (app->outbox.stuck_since_us != 0 && now - app->outbox.stuck_since_us > DEAD_US)
			break_app(app, "it subscribed and fetches no messages");
	drop_broken(apps);
	(void)sd_event_source_set_time_relative(source, DEAD_US / 4);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static int refused(struct app *app, const char *what, const char *topic, struct agent_error **err)
{
	uint64_t left_out = 0;

	if (vendor_may_log(app->user, VENDOR_REFUSED, monotonic_us(), &left_out))
		service_log(LOG_NOTICE, "user %" PRIu32 "%s%s may not %s there (%" PRIu64 " more were not written down)", app->caller.uid,
			    app->caller.unit[0] == '\0' ? "" : " in ", app->caller.unit, what, left_out);
	return agent_error_set(err, -EPERM, "link.refused", "no row of mqtt.rights lets this program %s %s", what, topic);
}

/* What every call has to pass. On success vendor_call_end() is due. */
static int begin(struct app *app, struct agent_error **err)
{
	struct apps *apps = app->apps;
	uint64_t n_unread = 0;
	int r;

	if (sd_bus_get_n_queued_write(app->bus, &n_unread) >= 0 && n_unread > UNREAD_MAX) {
		break_app(app, "it does not read its answers");
		return agent_error_set(err, -EBUSY, "link.busy", "read the answers first");
	}
	r = vendor_call_begin(&apps->vendors, app->user, monotonic_us());
	if (r == -EDQUOT) {
		gate_pause(app->gate, PAUSE_US);
		return agent_error_set(err, r, "link.rate", "more than %" PRId64 " calls per second by this user's programs",
				       apps->settings->mqtt.app_calls_per_s);
	}
	if (r < 0)
		return agent_error_set(err, r, "link.busy", "too many calls of this user's programs wait for an answer");
	if (apps->store == NULL) {
		vendor_call_end(app->user);
		return agent_error_set(err, apps->refusal, apps->refusal_name, "%s", apps->refusal_why);
	}
	return 0;
}

/* The rest of a call that is answered at once. */
static int finish(struct app *app, sd_bus_message *m, int r, struct agent_error **err)
{
	vendor_call_end(app->user);
	return r < 0 ? peer_reply_error(m, r, err) : sd_bus_reply_method_return(m, NULL);
}

static bool is_own_topic(const struct apps *apps, const char *topic)
{
	static const char *const own[] = { "state", "canary", "telemetry" };
	size_t n = strlen(apps->prefix);

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (strncmp(topic, apps->prefix, n) == 0 && topic[n] == '/' && strcmp(topic + n + 1, own[i]) == 0)
			return true;
	return commands_own(apps->commands, topic);
}

static int publish(struct app *app, sd_bus_message *m, struct agent_error **err)
{
	struct apps *apps = app->apps;
	char topic[TOPIC_MAX + 1];
	struct pending *pending;
	uint32_t flags, ttl_s;
	const void *payload;
	const char *text;
	size_t size;
	int r;

	r = sd_bus_message_read(m, "s", &text);
	if (r >= 0)
		r = sd_bus_message_read_array(m, 'y', &payload, &size);
	if (r >= 0)
		r = sd_bus_message_read(m, "uu", &flags, &ttl_s);
	if (r < 0 || (flags & ~(uint32_t)(AGENT_MQTT_QOS1 | AGENT_MQTT_QOS2 | AGENT_MQTT_RETAIN)) != 0 ||
	    (flags & (AGENT_MQTT_QOS1 | AGENT_MQTT_QOS2)) == (AGENT_MQTT_QOS1 | AGENT_MQTT_QOS2))
		return agent_error_set(err, -EINVAL, "link.argument", "Publish was called with arguments or flags that are not known");
	if (topic_expand(apps->prefix, text, topic) < 0 || !topic_is_valid(topic))
		return agent_error_set(err, -EINVAL, "link.topic", "that is not a topic to publish to");
	if (is_own_topic(apps, topic) || !topic_right_find(apps->settings, apps->prefix, &app->caller, TOPIC_PUBLISH, topic))
		return refused(app, "publish to", topic, err);
	pending = calloc(1, sizeof(*pending));
	if (pending == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	r = store_put(apps->store, topic, payload, size, flags, ttl_s, apps->last_ticket + 1, err);
	if (r < 0) {
		free(pending);
		return r;
	}
	*pending = (struct pending){ .next = apps->pending, .ticket = ++apps->last_ticket, .app = app, .call = sd_bus_message_ref(m) };
	apps->pending = pending;
	return 0;
}

static int on_publish(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct app *app = userdata;
	int r = begin(app, &err);

	if (r < 0)
		return peer_reply_error(m, r, &err);
	r = publish(app, m, &err);
	return r < 0 ? finish(app, m, r, &err) : 1; /* answered when the store says so */
}

static bool is_canary(const struct apps *apps, const char *filter)
{
	size_t n = strlen(apps->prefix);

	return strncmp(filter, apps->prefix, n) == 0 && strcmp(filter + n, "/canary") == 0;
}

static int subscribe(struct app *app, sd_bus_message *m, struct agent_error **err)
{
	struct apps *apps = app->apps;
	char filter[TOPIC_MAX + 1];
	const char *text;
	uint32_t qos;
	int r;

	if (sd_bus_message_read(m, "su", &text, &qos) < 0 || qos > 2)
		return agent_error_set(err, -EINVAL, "link.argument", "Subscribe was called with arguments that are not known");
	if (topic_expand(apps->prefix, text, filter) < 0 || !topic_filter_is_valid(filter))
		return agent_error_set(err, -EINVAL, "link.topic", "that is not a topic filter");
	/* The canary's subscription is ours, and that of commands: who ended the same one would end it for us. */
	if (is_canary(apps, filter) || commands_own(apps->commands, filter) || !topic_right_find(apps->settings, apps->prefix, &app->caller, TOPIC_SUBSCRIBE, filter))
		return refused(app, "subscribe to", filter, err);
	for (size_t i = 0; i < app->n_filters; i++)
		if (strcmp(app->filters[i], filter) == 0) {
			r = ledger_add(&apps->ledger, apps->worker, filter, (int)qos, err); /* perhaps with a higher QoS */
			if (r >= 0)
				ledger_remove(&apps->ledger, apps->worker, filter); /* it was counted already */
			return r;
		}
	if (app->n_filters == AGENT_LINK_FILTERS_MAX)
		return agent_error_set(err, -EDQUOT, "link.filters", "this program has %d subscriptions already", AGENT_LINK_FILTERS_MAX);
	app->filters[app->n_filters] = strdup(filter);
	if (app->filters[app->n_filters] == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	r = ledger_add(&apps->ledger, apps->worker, filter, (int)qos, err);
	if (r < 0)
		free(app->filters[app->n_filters]);
	else
		app->n_filters++;
	return r;
}

static int on_subscribe(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct app *app = userdata;
	int r = begin(app, &err);

	return r < 0 ? peer_reply_error(m, r, &err) : finish(app, m, subscribe(app, m, &err), &err);
}

static int unsubscribe(struct app *app, sd_bus_message *m, struct agent_error **err)
{
	char filter[TOPIC_MAX + 1];
	const char *text;

	if (sd_bus_message_read(m, "s", &text) < 0 || topic_expand(app->apps->prefix, text, filter) < 0)
		return agent_error_set(err, -EINVAL, "link.argument", "Unsubscribe was called with arguments that are not known");
	for (size_t i = 0; i < app->n_filters; i++) {
		if (strcmp(app->filters[i], filter) != 0)
			continue;
		free(app->filters[i]);
		app->filters[i] = app->filters[--app->n_filters];
		ledger_remove(&app->apps->ledger, app->apps->worker, filter);
		break;
	}
	return 0;
}

static int on_unsubscribe(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct app *app = userdata;
	int r = begin(app, &err);

	return r < 0 ? peer_reply_error(m, r, &err) : finish(app, m, unsubscribe(app, m, &err), &err);
}

/* Not counted as unanswered: there is one of a program, and it waits as long as nothing arrives. */
static int on_receive(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct app *app = userdata;
	uint64_t n_unread = 0;
	int r = begin(app, &err);

	if (r < 0)
		return peer_reply_error(m, r, &err);
	vendor_call_end(app->user);
	/* Who has not read the last answer gets no other: they may be long. */
	if (app->waiting != NULL || (sd_bus_get_n_queued_write(app->bus, &n_unread) >= 0 && n_unread > 0)) {
		agent_error_set(&err, -EBUSY, "link.busy", "one call of Receive waits already, or its answer was not read");
		return peer_reply_error(m, -EBUSY, &err);
	}
	app->waiting = sd_bus_message_ref(m);
	answer_waiting(app);
	return 1;
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Publish", "sayuu", "", on_publish, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Subscribe", "su", "", on_subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Unsubscribe", "s", "", on_unsubscribe, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Receive", "", "a(ssay)", on_receive, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

/* ---- the door ---------------------------------------------------------------------------------------------------- */

/* What is not in the table sd-bus would answer by itself, past begin(): uncounted, and piling up when nobody reads. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	static const struct {
		const char *member, *in;
	} calls[] = { { "Publish", "sayuu" }, { "Subscribe", "su" }, { "Unsubscribe", "s" }, { "Receive", "" } };
	struct app *app = userdata;
	const char *path = sd_bus_message_get_path(m);
	uint8_t type = 0;

	(void)error;
	if (sd_bus_message_get_type(m, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
		return 0;
	for (size_t i = 0; !app->is_broken && path != NULL && i < ARRAY_SIZE(calls); i++)
		if (sd_bus_message_is_method_call(m, BUS_LINK, calls[i].member) > 0 && strcmp(path, BUS_PATH) == 0 &&
		    sd_bus_message_has_signature(m, calls[i].in) > 0)
			return 0;
	break_app(app, "it called something else than this door offers");
	return 1;
}

/* Takes @fd. */
static int serve(struct apps *apps, int fd, struct agent_error **err)
{
	struct app *app = calloc(1, sizeof(*app));
	const char *why = "no memory";
	int r, inner = -1;

	if (app == NULL || caller_from_socket(fd, &app->caller) < 0 ||
	    (app->user = vendor_enter(&apps->vendors, app->caller.uid, monotonic_us(), &why)) == NULL) {
		free(app);
		close(fd);
		return agent_error_set(err, -EBUSY, "link.busy", "%s", why);
	}
	app->apps = apps;
	outbox_init(&app->outbox, &apps->room);
	r = gate_new(apps->event, fd, on_gate_broken, app, &inner, &app->gate, err);
	if (r >= 0)
		r = peer_serve(inner, &app->bus, err);
	if (r >= 0) {
		r = sd_bus_add_filter(app->bus, NULL, on_message, app);
		if (r >= 0)
			r = sd_bus_add_object_vtable(app->bus, NULL, BUS_PATH, BUS_LINK, vtable, app);
		if (r >= 0)
			r = sd_bus_match_signal(app->bus, NULL, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
						"Disconnected", on_gone, app);
		if (r >= 0)
			r = sd_bus_attach_event(app->bus, apps->event, SD_EVENT_PRIORITY_NORMAL);
		if (r < 0)
			agent_error_set(err, r, "bus.serve", "cannot serve a program: %s", strerror(-r));
	}
	app->next = apps->list;
	apps->list = app;
	if (r < 0)
		drop(app);
	return r;
}

static int on_connect(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct apps *apps = userdata;
	int peer = -1;
	uint32_t uid;

	/* More than it may have: closed, which it can tell from a refusal, and not worth a line for each. */
	if (peer_accept(fd, &peer, &uid) >= 0 && serve(apps, peer, &err) < 0)
		service_log(LOG_DEBUG, "a program of user %" PRIu32 " was not let in: %s", uid, agent_error_message(err));
	return 0;
}

/* ---- from outside ------------------------------------------------------------------------------------------------ */

static void answer_results(struct apps *apps)
{
	struct store_result *result;

	while ((result = store_next_result(apps->store)) != NULL) {
		for (struct pending **p = &apps->pending; *p != NULL; p = &(*p)->next) {
			struct pending *pending = *p;

			if (pending->ticket != result->ticket)
				continue;
			*p = pending->next;
			if (finish(pending->app, pending->call, result->result, &result->why) < 0)
				break_app(pending->app, NULL);
			sd_bus_message_unref(pending->call);
			free(pending);
			break;
		}
		store_result_free(result);
	}
}

void apps_take(struct apps *apps, const struct worker_message *m)
{
	if (apps == NULL || apps->store == NULL)
		return;
	/* They are not for programs, also where a wildcard covers their topic. */
	if (m->topic != NULL && commands_own(apps->commands, m->topic))
		return;
	for (struct app *app = apps->list; app != NULL; app = app->next)
		if ((m->gap != NULL && app->n_filters > 0 && !outbox_put_gap(&app->outbox, m->gap)) ||
		    (m->gap == NULL && wants(app, m->topic) && !outbox_put_message(&app->outbox, m->topic, m->payload, m->size)))
			app->is_broken = true; /* a loss must not go untold: the end of the connection tells it too */
}

void apps_wake(struct apps *apps)
{
	if (apps == NULL || apps->store == NULL)
		return;
	answer_results(apps);
	for (struct app *app = apps->list; app != NULL; app = app->next)
		if (!app->is_broken)
			answer_waiting(app);
	drop_broken(apps);
}

void apps_attach(struct apps *apps, struct store *store, struct worker *worker)
{
	if (apps == NULL)
		return;
	apps->store = store;
	apps->worker = worker;
	if (store == NULL)
		while (apps->list != NULL)
			drop(apps->list);
}

void apps_set_refusal(struct apps *apps, int r, const char *name, const char *why)
{
	if (apps == NULL)
		return;
	apps->refusal = r;
	snprintf(apps->refusal_name, sizeof(apps->refusal_name), "%s", name);
	snprintf(apps->refusal_why, sizeof(apps->refusal_why), "%s", why);
}

int apps_open(const struct settings *settings, const char *prefix, const struct commands *commands, sd_event *event, struct apps **ret_apps, struct agent_error **err)
{
	int fd = service_listen_fd(FD_NAME), r;
	struct apps *apps;

	*ret_apps = NULL;
	if (fd < 0)
		return 0;
	apps = calloc(1, sizeof(*apps));
	if (apps == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	apps->settings = settings;
	apps->prefix = prefix;
	apps->commands = commands;
	apps->event = event;
	apps->fd = fd;
	apps->vendors.limits = (struct vendor_limits){
		.max_connections = CONNECTIONS_PER_USER, .calls_per_s = (unsigned)settings->mqtt.app_calls_per_s,
		.burst = (unsigned)settings->mqtt.app_calls_per_s * BURST_FACTOR,
	};
	apps_set_refusal(apps, -EBUSY, "link.starting", "agentd does not answer yet; try again");
	r = sd_event_add_io(event, &apps->io, fd, EPOLLIN, on_connect, apps);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &apps->sweep, CLOCK_MONOTONIC, DEAD_US / 4, 0, on_sweep, apps);
	if (r < 0) {
		apps_close(apps);
		return agent_error_set(err, r, "link.setup", "cannot wait for programs: %s", strerror(-r));
	}
	*ret_apps = apps;
	return 0;
}

struct apps *apps_close(struct apps *apps)
{
	if (apps == NULL)
		return NULL;
	while (apps->list != NULL)
		drop(apps->list);
	sd_event_source_disable_unref(apps->io);
	sd_event_source_disable_unref(apps->sweep);
	free(apps);
	return NULL;
}
