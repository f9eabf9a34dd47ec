/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_MGMT_H
#define MGMT_MGMT_H
/* The program: its parts, and its connection to core. One thread, one event loop. */
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <microhttpd.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include <agent/error.h>
#include <agent/time.h>

#include "agentd/common/settings.h"
#include "agentd/mgmt/limit.h"

struct clients;
struct conn;
struct listener;
struct setup;
struct stream;
struct tls;

struct mgmt {
	const struct settings *settings;
	sd_event *event;

	/* core.c */
	sd_bus *bus;			/* NULL while core cannot be reached */
	sd_bus_slot *lost_slot, *wake_slot, *setup_slot, *setup_call, *sources_call;
	sd_event_source *retry_timer;
	sd_event_source *lost_defer;
	sd_bus_slot *time_slot;
	struct agent_time *time;	/* as core tells it */
	char setup[24];			/* what core last said, "" if not known */
	uint64_t password_min_length;

	/* http.c */
	struct MHD_Daemon *mhd;
	sd_event_source *mhd_io, *mhd_defer;

	/* listener.c, tls.c, conn.c */
	struct listener *listener;
	struct setup *setup_door;	/* setup.c; NULL without mgmt.setup_interface */
	struct tls *tls;		/* NULL without HTTPS */
	struct clients *clients;	/* client.c; NULL without a door for client certificates */
	struct conn *conns;		/* all, newest first */
	struct conn *dead_conns;	/* to be freed in the next turn */
	sd_event_source *reap_defer;
	struct conn *conn_starting;	/* during MHD_add_connection() */
	unsigned n_network, n_unix;	/* with an open socket */
	unsigned n_peak;		/* most connections since memory was given back */
	unsigned n_waiting;		/* of n_network: have no TLS yet */
	unsigned n_plain;		/* of n_network: at the door without TLS */
	uint16_t https_port, plain_port;	/* where plain.c sends people to */
	struct limit_table *limits;
	char *names[16];		/* accepted in Host, lower case */
	size_t n_names;
	sd_event_source *idle_timer;
	struct stream *streams;		/* ep_stream.c */
	uint64_t n_refused, n_limited;	/* since the last event peer.throttled */
	sd_event_source *summary_timer;
	uint64_t last_summary_us;
};

/* Everything but listening sockets: libmicrohttpd, limits, names. Error name mgmt.start. */
int mgmt_new(const struct settings *settings, sd_event *event, struct mgmt **ret_mgmt, struct agent_error **err);
struct mgmt *mgmt_free(struct mgmt *m);
/* Arms the timer of mgmt.idle_exit_s when no connection is left, disarms it otherwise. */
void mgmt_idle_update(struct mgmt *m);
uint64_t mgmt_now_us(struct mgmt *m);
/* What certificates are checked against. */
int64_t mgmt_date(const struct mgmt *m);
/* Counts what was turned away; an event per minute says how many. */
void mgmt_count_refused(struct mgmt *m);
void mgmt_count_limited(struct mgmt *m);

/* ep_stream.c: core says that there is something new for those who follow. */
void streams_wake(struct mgmt *m);

/* core.c: connect now or keep trying; calls below try at once if there is no connection. */
void core_connect(struct mgmt *m);
void core_disconnect(struct mgmt *m);
/* Serve @bus (already started) as core; takes it over. For tests. */
int core_adopt(struct mgmt *m, sd_bus *bus);
/* New call of Core1.@member; -ENOTCONN "core.unreachable" if core is not there. */
int core_message(struct mgmt *m, const char *member, sd_bus_message **ret_message, struct agent_error **err);
/* @timeout_us 0 is the default of core calls (60 s), UINT64_MAX waits for ever. */
int core_send(struct mgmt *m, sd_bus_message *message, uint64_t timeout_us, sd_bus_message_handler_t handler, void *userdata,
	      sd_bus_slot **ret_slot, struct agent_error **err);

/* True if @host (value of the Host field) names this device; @local_ip is the address the client reached. */
bool host_is_ours(const struct mgmt *m, const char *host, const char *local_ip);

#endif
