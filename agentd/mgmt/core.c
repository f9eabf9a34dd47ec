/* SPDX-License-Identifier: Apache-2.0 */
/* The one connection to core: made when possible, made again when core restarts, and every call asynchronous. */
#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "agentd/common/service.h"
#include "agentd/common/told_time.h"
#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/mgmt.h"
#include "agentd/mgmt/setup.h"
#include "base/macro.h"

#define SECOND_US UINT64_C(1000000)
#define RETRY_US SECOND_US
#define CALL_US (60 * SECOND_US) /* a slow TPM makes a key in tens of seconds */

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	core_connect(userdata);
	return 0;
}

static void retry_later(struct mgmt *m)
{
	uint64_t at = mgmt_now_us(m) + RETRY_US;

	if (m->retry_timer == NULL) {
		(void)sd_event_add_time(m->event, &m->retry_timer, CLOCK_MONOTONIC, at, 0, on_retry, m);
		return;
	}
	sd_event_source_set_time(m->retry_timer, at);
	sd_event_source_set_enabled(m->retry_timer, SD_EVENT_ONESHOT);
}

void core_disconnect(struct mgmt *m)
{
	m->lost_slot = sd_bus_slot_unref(m->lost_slot);
	m->wake_slot = sd_bus_slot_unref(m->wake_slot);
	m->setup_slot = sd_bus_slot_unref(m->setup_slot);
	m->time_slot = sd_bus_slot_unref(m->time_slot);
	m->setup_call = sd_bus_slot_unref(m->setup_call);
	m->sources_call = sd_bus_slot_unref(m->sources_call);
	if (m->bus != NULL)
		sd_bus_detach_event(m->bus);
	m->bus = sd_bus_close_unref(m->bus);
	m->setup[0] = '\0';
}

/* From the loop, not from inside the bus it closes. */
static int on_lost_defer(sd_event_source *source, void *userdata)
{
	struct mgmt *m = userdata;

	service_log(LOG_WARNING, "connection to core lost");
	core_disconnect(m);
	streams_wake(m);	/* they end, and their readers learn why */
	retry_later(m);
	return 0;
}

static int on_lost(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	struct mgmt *m = userdata;

	if (m->lost_defer == NULL)
		return sd_event_add_defer(m->event, &m->lost_defer, on_lost_defer, m);
	return sd_event_source_set_enabled(m->lost_defer, SD_EVENT_ONESHOT);
}

static int on_wake(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	streams_wake(userdata);
	return 0;
}

static int on_setup_changed(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	struct mgmt *m = userdata;
	bool was_waiting = setup_is_waiting(m);
	const char *state;

	if (sd_bus_message_read(message, "s", &state) >= 0)
		setup_told(m, state);
	/* The next owner's are others. */
	if (strcmp(m->setup, "factory") == 0)
		limit_sources_forget(m->limits);
	tls_owner_ask(m);
	/* A factory reset: who is connected through another interface came in as long as that was right. */
	if (!was_waiting && setup_is_waiting(m))
		setup_hang_up(m);
	return 0;
}

static int on_time_changed(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	struct mgmt *m = userdata;

	if (m->time != NULL && told_time_take(message, m->time) >= 0)
		tls_time_changed(m);
	return 0;
}

static int on_setup(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct mgmt *m = userdata;

	m->setup_call = sd_bus_slot_unref(m->setup_call);
	return sd_bus_message_is_method_error(reply, NULL) ? 0 : on_setup_changed(reply, m, ret_error);
}

/* Which interfaces are open hangs on it, also while nobody asks for anything. */
static void setup_ask(struct mgmt *m)
{
	sd_bus_message *call = NULL;

	if (m->setup_door != NULL && core_message(m, "Bootstrap", &call, NULL) >= 0)
		(void)core_send(m, call, 0, on_setup, m, &m->setup_call, NULL);
	sd_bus_message_unref(call);
}

static int on_sources(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct mgmt *m = userdata;
	struct source source;
	const char *text;
	uint64_t age_s;
	unsigned n = 0;

	m->sources_call = sd_bus_slot_unref(m->sources_call);
	if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_enter_container(reply, 'a', "(st)") < 0)
		return 0;
	while (sd_bus_message_read(reply, "(st)", &text, &age_s) > 0)
		if (source_from_text(text, &source) >= 0 && age_s < SOURCES_KNOWN_US / SECOND_US) {
			limit_source_restore(m->limits, &source, age_s * SECOND_US, mgmt_now_us(m));
			n++;
		}
	if (n > 0)
		service_log(LOG_INFO, "core knows of %u sources that somebody has logged in from", n);
	return 0;
}

/* Sources somebody has logged in from before this program started: a crash of ours costs them nothing. */
static void sources_ask(struct mgmt *m)
{
	sd_bus_message *call = NULL;

	if (core_message(m, "SourcesKnown", &call, NULL) >= 0)
		(void)core_send(m, call, 0, on_sources, m, &m->sources_call, NULL);
	sd_bus_message_unref(call);
}

int core_adopt(struct mgmt *m, sd_bus *bus)
{
	int r;

	(void)sd_bus_set_exit_on_disconnect(bus, false);
	r = sd_bus_attach_event(bus, m->event, SD_EVENT_PRIORITY_IMPORTANT); /* answers before new questions */
	if (r >= 0)
		r = sd_bus_match_signal(bus, &m->lost_slot, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
					"Disconnected", on_lost, m);
	if (r >= 0)
		r = sd_bus_match_signal(bus, &m->wake_slot, NULL, BUS_PATH, BUS_CORE, "StreamWake", on_wake, m);
	if (r >= 0)
		r = sd_bus_match_signal(bus, &m->setup_slot, NULL, BUS_PATH, BUS_CORE, "SetupChanged", on_setup_changed, m);
	if (r >= 0)
		r = sd_bus_match_signal(bus, &m->time_slot, NULL, BUS_PATH, BUS_CORE, "TimeChanged", on_time_changed, m);
	m->bus = bus;
	if (r < 0)
		core_disconnect(m);
	else
		setup_ask(m);
	return r;
}

void core_connect(struct mgmt *m)
{
	_cleanup_error_ struct agent_error *err = NULL;
	sd_bus *bus = NULL;
	int r;

	if (m->bus != NULL)
		return;
	r = peer_connect(m->settings->paths.run_dir, "core-mgmt.sock", &bus, &err);
	if (r < 0) {
		service_log(LOG_DEBUG, "%s", agent_error_message(err));
		retry_later(m);
		return;
	}
	r = core_adopt(m, bus);
	if (r < 0) {
		service_log(LOG_ERR, "cannot use the connection to core: %s", strerror(-r));
		retry_later(m);
		return;
	}
	if (m->retry_timer != NULL)
		sd_event_source_set_enabled(m->retry_timer, SD_EVENT_OFF);
	service_log(LOG_INFO, "connected to core");
	if (m->tls != NULL && !tls_is_ready(m))
		tls_renew(m);
	tls_owner_ask(m);
	if (m->tls != NULL)
		sources_ask(m);
}

int core_message(struct mgmt *m, const char *member, sd_bus_message **ret_message, struct agent_error **err)
{
	int r;

	core_connect(m);
	if (m->bus == NULL)
		return agent_error_set(err, -ENOTCONN, "core.unreachable", "agentd does not answer on %s/core-mgmt.sock",
				       m->settings->paths.run_dir);
	r = sd_bus_message_new_method_call(m->bus, ret_message, NULL, BUS_PATH, BUS_CORE, member);
	if (r < 0)
		return agent_error_set(err, r == -ENOTCONN ? -ENOTCONN : r, "core.unreachable", "cannot ask agentd: %s", strerror(-r));
	return 0;
}

int core_send(struct mgmt *m, sd_bus_message *message, uint64_t timeout_us, sd_bus_message_handler_t handler, void *userdata,
	      sd_bus_slot **ret_slot, struct agent_error **err)
{
	int r = m->bus == NULL ? -ENOTCONN :
				 sd_bus_call_async(m->bus, ret_slot, message, handler, userdata, timeout_us == 0 ? CALL_US : timeout_us);

	if (r < 0)
		return agent_error_set(err, r == -ECONNRESET ? -ENOTCONN : r, "core.unreachable", "cannot ask agentd: %s", strerror(-r));
	return 0;
}
