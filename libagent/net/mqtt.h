/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MQTT_H
#define NET_MQTT_H
/*
 * Inside of struct agent_mqtt: mqtt.c holds the object and what other threads call, mqtt_session.c one connection, mqtt_answer.c what the broker
 * says, mqtt_alive.c whether it still does, mqtt_guard.c how much it may send, and what,
 * mqtt_flight.c what of QoS 2 outlives a connection.
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
enum mqtt_violation { MQTT_NO_VIOLATION, MQTT_TOO_LONG, MQTT_QOS_2, MQTT_BAD_PACKET, MQTT_UNRELEASED };

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
	unsigned max_qos;	/* more ends the connection, as we learned the hard way: 3.1.1 cannot say so */
	unsigned n_qos2_ended;	/* connections that it ended when it had got QoS 2, one after the other */
	bool knows_qos2;	/* it answered some */
	bool told_qos;		/* the caller knows that it takes less than was asked for */
	bool is_unknown;	/* its session may know messages of QoS 2 that we do not: their numbers must not be used again */
	bool lost_session;	/* and the caller does not know yet */
	bool wants_sweep;	/* the next connection only ends that session */
};

/* Messages of QoS 2 that came and that the broker has not released: libmosquitto has them, and hands them over then. */
struct mqtt_releases {
	uint8_t *bits;		/* one for each packet identifier; NULL: none came yet */
	size_t n;
	struct mqtt_kept kept;	/* what they cost, with twins */
	bool has_twin;	/* libmosquitto (2.0 to 2.1) keeps a repeated one twice, and would take the second for another one some day */
};

/* A mosquitto object between two connections to the same broker: what is under way with QoS 2 goes on with its own numbers. */
struct mqtt_flight {
	struct mosquitto *mosq;	/* NULL: there is none */
	struct mqtt_broker *broker;
	const void *ssl_ctx;	/* referenced by the object */
	bool is_5;
	struct mqtt_releases releases;
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
	struct mqtt_flight flight;	/* run thread only */

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
	/* mqtt_flight.c */
	bool is_resumed;	/* with the object of the last connection */
	bool is_void;		/* it was only good for ending a session; the next one is made at once */
	unsigned max_qos;
	bool asked_qos2;	/* subscribed */
	bool sent_qos2, holds_qos2; /* some went out; some wait for a session that we know */
	bool wants_to_tell;	/* that QoS is lower than what was asked for */
	bool is_unsure;		/* whether libmosquitto has all that it was given */
	struct mqtt_releases releases;
	int repeated_mid;	/* a PUBREL of a message that was handed over before: not again; 0 none */
	bool is_missing, told_missing; /* a PUBREL of a message that an earlier object had */
	uint64_t heard_ms;	/* a message came */
	int reason;	  /* of MQTT 5: why the broker refused us or threw us out; 0 if it did not say */
	char reference[160]; /* which other server it named */
	int disconnect;	  /* what libmosquitto says when it closed the socket itself */
	unsigned server_keepalive_s; /* the broker allows no more; 0 if it did not say */
	uint64_t deadline_ms;
	uint64_t online_since_ms;
	/* mqtt_guard.c */
	bool is_guarded;	/* and TLS is that of this connection: an object that is kept has the last one's until then */
	bool may_read;		/* libmosquitto, what TLS has not looked at yet */
	bool is_reading;	/* and must not write */
	struct mqtt_frame frame; /* what was looked at */
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

/* mqtt_flight.c */

/* Go on with what the last connection left under way; false: a new object is to be made. */
bool mqtt_flight_resume(struct session *session);
/* The connection ended with @r: keep its object, or destroy it. */
void mqtt_flight_keep(struct session *session, int r);
/* What was kept is nobody's any more: its messages are to be sent anew. */
void mqtt_flight_drop(struct agent_mqtt *mqtt);
/* The broker accepted us. */
void mqtt_flight_accepted(struct session *session);
void mqtt_flight_online(struct session *session);
/* Flags of messages that must not go now. */
unsigned mqtt_flight_held(struct session *session);
/* Is it time to end this connection, so that QoS 2 can go on? */
bool mqtt_flight_wants_end(struct session *session);
/* Messages of QoS 2 that were sent and have not come to their end. */
bool mqtt_flight_has_sent(struct session *session);
/* QoS for a message with @flags, not above what the broker takes; with the lock. */
unsigned mqtt_flight_qos(struct session *session, unsigned flags);
/* What that many bytes at most make of messages that are not released; 0: any. */
uint64_t mqtt_flight_max_kept(const struct session *session);
/* What libmosquitto says of a packet: "PUBLISH (...", "PUBREL (...". */
void mqtt_flight_log(struct session *session, const char *packet);
/* A message of QoS 2 is handed over: is it one that we had? */
bool mqtt_flight_is_repeated(const struct session *session, int mid);
/* How many messages the broker may send ahead: what it is told, or, when that is written, what libmosquitto holds it to. */
void mqtt_flight_set_maximum(struct session *session, bool is_told);
/* Tell of a message that is missing, or of a QoS that is lower than what was asked for. */
void mqtt_flight_tell(struct session *session);

/* mqtt_guard.c */

/* Count from now on, as soon as there is a TLS connection; once there is a socket. */
void mqtt_guard_watch(struct session *session);
/* Look at what TLS has for libmosquitto, and let it read then. What mosquitto_loop_read() says. */
int mqtt_guard_read(struct session *session);
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
