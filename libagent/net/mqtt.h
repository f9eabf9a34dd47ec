/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MQTT_H
#define NET_MQTT_H
/* Inside of struct agent_mqtt: mqtt.c holds the object and what other threads call, mqtt_session.c one connection. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <agent/mqtt.h>
#include <mosquitto.h>

#include "net/mqtt_queue.h"

#define MQTT_FILTERS_MAX 64

struct mqtt_filter {
	char *filter;
	int qos;
	bool is_sent;	/* on the connection in use */
	int mid;
};

struct agent_mqtt {
	struct agent_context *ctx;
	struct agent_tls *tls;
	struct agent_mqtt_handlers handlers;
	void *userdata;

	char *host, *client_id, *will_topic, *will_payload, *birth_payload;
	uint16_t port;
	unsigned keepalive_s, backoff_min_ms, backoff_max_ms;

	int wake_fd;		/* eventfd: something was queued, or stop */
	atomic_bool is_stopping, is_running;
	atomic_bool wants_reconnect; /* agent_mqtt_reconnect() */
	atomic_int state;

	pthread_mutex_t lock;	/* guards queue and filters */
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
uint64_t mqtt_now_ms(void);

/*
 * One connection: resolve, connect, serve until it ends. Returns 0 after a stop, 1 if another is wanted at once, else the errno and why; *ret_online_ms says
 * how long it was online.
 */
int mqtt_session(struct agent_mqtt *mqtt, uint64_t *ret_online_ms, struct agent_error **err);
/* The mosquitto object of one attempt, with every option set. For tests too. */
int mqtt_session_open(struct agent_mqtt *mqtt, void *userdata, struct mosquitto **ret_mosq, struct agent_error **err);

#endif
