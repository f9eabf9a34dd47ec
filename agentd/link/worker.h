/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_WORKER_H
#define LINK_WORKER_H
/*
 * The thread that owns the broker connection: bus connection for signatures, TLS profile, MQTT client. It may wait for a
 * signature or a name server; the event loop of main.c does not.
 */
#include <stdbool.h>
#include <stdint.h>

#include <agent/mqtt.h>
#include <agent/time.h>

#include "agentd/common/mqtt_settings.h"
#include "agentd/common/settings.h"
#include "agentd/link/inbox.h"
#include "agentd/link/liveness.h"
#include "agentd/link/store.h"

struct worker;

/* One of the list, as the configuration names it. */
struct worker_broker {
	char host[128];
	uint16_t port;
	char why[320];		/* why it could not be used last, or why the connection to it ended; "" nothing is wrong with it */
};

/* A copy of what the thread last knew. */
struct worker_status {
	enum agent_mqtt_state state;
	char why[512];		/* what ended the last attempt, of several brokers the reason of each; "" when there is nothing to say */
	struct worker_broker brokers[BROKER_ROWS_MAX + 1];
	size_t n_brokers;
	uint64_t n_connects;
	int64_t round_trip_ms;	/* of the last canary; -1: none on this connection yet */
	enum liveness_state alive;
	uint64_t n_deaf;	/* connections that were left because nothing came back */
	uint64_t n_refused;	/* subscriptions that a broker refused */
	uint64_t n_lost;	/* messages that came faster than they were taken */
	uint64_t signed_s, not_after_s;	/* newest signature on what vouches for the broker, and the end of its chain; 0 unknown */
	struct agent_mqtt_info info;	/* counters: since worker_start(), over all clients */
};

/*
 * @ctx: of tables_open(); referenced. @time: for the dates of certificates; referenced. @store: messages come from there; lent until worker_stop(). @prefix: of topics. @notify_fd: eventfd written on every
 * change; lent. @delay_ms: wait before the first attempt.
 */
int worker_start(const struct settings *settings, struct agent_context *ctx, struct agent_time *time, struct store *store, const char *prefix,
		 int notify_fd, unsigned delay_ms, struct worker **ret_worker, struct agent_error **err);
/* Say goodbye to the broker and end the thread; 5 s at most, then it is left to the end of the process: false, and @store stays in use. */
bool worker_stop(struct worker *worker);
void worker_get_status(struct worker *worker, struct worker_status *ret_status);
/* Send a canary or leave a broker that brings none back, where it is time for it. Returns after how many ms to call again; also when @notify_fd rings. */
uint64_t worker_look_alive(struct worker *worker);

/* Remembered for later connections. Returns 0, or as agent_mqtt_subscribe(). */
int worker_subscribe(struct worker *worker, const char *filter, int qos, struct agent_error **err);
void worker_unsubscribe(struct worker *worker, const char *filter);
/* Oldest that arrived, or NULL. @notify_fd rings when there are some. */
struct worker_message *worker_next_message(struct worker *worker);

/* Core has another certificate in use or on trial (ids as in KeyIdentity): connect again unless the one that is shown is all there is. */
void worker_identity_changed(struct worker *worker, const char *current_id, const char *next_id);
/* It is another time than before, or better known: connect again if the broker's certificate is not good any more. */
void worker_time_changed(struct worker *worker);
/* Connect again if there are other revocation lists than at the last connection. */
void worker_look_at_lists(struct worker *worker);
/* Leave the broker and connect again: somebody asked for it. */
void worker_reconnect(struct worker *worker);
/* Connect again if a new certificate was neither taken nor clearly refused. */
void worker_try_again(struct worker *worker);

#endif
