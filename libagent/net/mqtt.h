/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MQTT_H
#define NET_MQTT_H
/*
 * Inside of struct agent_mqtt: mqtt.c holds the object and what other threads call, mqtt_session.c one connection, mqtt_answer.c what the broker
 * says, mqtt_alive.c whether it still does, mqtt_guard.c how much it may send, and what.
 */
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <agent/mqtt.h>
#include <mosquitto.h>

#include "net/keepalive.h"
#include "net/mqtt_frame.h"
#include "net/mqtt_queue.h"
#include "net/probe.h"
#include "net/turn.h"

#define MQTT_FILTERS_MAX 64
#define MQTT_BROKERS_MAX 8

/* What no broker does that means well. */
enum mqtt_violation { MQTT_NO_VIOLATION, MQTT_TOO_LONG, MQTT_QOS_2, MQTT_BAD_PROPERTY };

enum mqtt_rejected { MQTT_NOT_REJECTED, MQTT_REJECTED, MQTT_REJECTED_WAS_GOOD };

struct mqtt_filter {
	char *filter;
	int qos;
	bool is_sent;	/* on the connection in use */
	int mid;
};

struct mqtt_broker {
	char *host;
	uint16_t port;
	struct agent_tls *tls;
	/* run thread only */
	bool is_311;	/* it said that it does not know MQTT 5 */
	struct keepalive keepalive;
	unsigned first_address;	/* of those that its name stands for; taken modulo their number */
};

struct agent_mqtt {
	struct agent_context *ctx;
	struct agent_mqtt_handlers handlers;
	void *userdata;

	struct mqtt_broker brokers[MQTT_BROKERS_MAX];
	size_t n_brokers;
	char *client_id, *will_topic, *will_payload, *birth_payload, *username, *alpn;
	unsigned backoff_min_ms, backoff_max_ms, return_s;
	enum agent_mqtt_version version;
	uint32_t session_s, max_packet;
	bool no_retain;
	struct turn turn;	/* run thread only */

	int wake_fd;		/* eventfd: something was queued, or stop */
	atomic_bool is_stopping, is_running;
	atomic_bool wants_reconnect; /* agent_mqtt_reconnect() */
	atomic_int rejected;	/* agent_mqtt_reject(): enum mqtt_rejected */
	atomic_int state;

	pthread_mutex_t lock;	/* guards queue, filters and info */
	struct agent_mqtt_info info;
	struct mqtt_queue queue;
	struct mqtt_filter filters[MQTT_FILTERS_MAX];
	size_t n_filters;
	char *ending[MQTT_FILTERS_MAX];	/* the broker is to forget these */
	size_t n_ending;
};

/* Announce a state; run thread only. */
void mqtt_set_state(struct agent_mqtt *mqtt, enum agent_mqtt_state state, const struct agent_error *why);
/* Take what was written to wake_fd. */
void mqtt_drain_wake(struct agent_mqtt *mqtt);

/* One connection or attempt. */
struct session {
	struct agent_mqtt *mqtt;
	struct mqtt_broker *broker;
	struct mosquitto *mosq;
	char address[NI_MAXHOST];
	bool is_5;
	bool is_tcp_up, is_online, is_accepted, is_session_present;
	int reason;	  /* of MQTT 5: why the broker refused us or threw us out; 0 if it did not say */
	char reference[160]; /* which other server it named */
	int disconnect;	  /* what libmosquitto says when it closed the socket itself */
	unsigned server_keepalive_s; /* the broker allows no more; 0 if it did not say */
	uint64_t deadline_ms;
	uint64_t online_since_ms;
	/* mqtt_guard.c */
	bool is_guarded;
	bool may_read;		/* libmosquitto, what TLS has not looked at yet */
	struct mqtt_frame frame; /* of MQTT 5: what was looked at */
	uint64_t unfinished;	/* bytes that came since the last packet that was whole */
	enum mqtt_violation violation;
	/* mqtt_alive.c */
	uint64_t seen_sent, seen_received;	/* bytes of this connection */
	uint64_t last_ms;	/* something went in or out */
	uint64_t asked_ms, asked_idle_ms;	/* what we sent after a silence has no answer yet: since when, how long the silence was; 0 none */
	bool is_ping;		/* it was a PINGREQ: somebody has to answer */
	struct probe *probe;
	uint64_t look_ms;	/* at the first broker */
	bool wants_return;
};

/* One turn: resolve, connect, serve until it ends. Returns 0 after a stop, 1 if another is wanted at once, else the errno and why; *ret_online_ms says
 * how long it was online. */
int mqtt_session(struct agent_mqtt *mqtt, uint64_t *ret_online_ms, struct agent_error **err);

/* mqtt_answer.c */

/* The mosquitto object of one attempt, with every option set. */
int mqtt_session_open(struct session *session, struct agent_error **err);
/* What ended the connection, as precisely as anybody knows. @rc: of libmosquitto. */
int mqtt_session_explain(const struct session *session, int rc, int saved_errno, struct agent_error **err);
/* Number of the first broker of the list in @reference, or n_brokers. */
size_t mqtt_find_broker(const struct agent_mqtt *mqtt, const char *reference);

/* mqtt_guard.c */

/* Count from now on, as soon as there is a TLS connection. */
void mqtt_guard_watch(struct session *session);
/* Look at what TLS has for libmosquitto, which must not read before. -ENOMEM: do not let it read now. */
int mqtt_guard_look(struct session *session);
/* A packet came to its end. */
void mqtt_guard_whole(struct session *session);
void mqtt_guard_log(struct session *session, const char *line);
int mqtt_guard_explain(const struct session *session, struct agent_error **err);

/* mqtt_alive.c */

/* How long the connection may be silent. */
unsigned mqtt_interval_s(const struct session *session);
void mqtt_alive_begin(struct session *session);
/* Count bytes, ask for a sign of life, look at the first broker: after each round of the loop, and before the connection goes. */
void mqtt_alive_count(struct session *session);
int mqtt_alive_check(struct session *session, struct agent_error **err);
/* Time until mqtt_alive_check() has something to do. */
uint64_t mqtt_alive_wait_ms(const struct session *session);
/* The connection ended with @r. */
void mqtt_alive_end(struct session *session, int r);

#endif
