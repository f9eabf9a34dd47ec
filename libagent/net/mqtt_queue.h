/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MQTT_QUEUE_H
#define NET_MQTT_QUEUE_H
/* Messages in RAM, in order, until they are out. Not locked: struct agent_mqtt holds its lock around every call. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mqtt_message {
	struct mqtt_message *next;
	uint64_t id;
	char *topic;
	void *payload;
	size_t size;
	unsigned flags;
	uint64_t expires_ms;	/* 0: never */
	unsigned n_refused;	/* the broker said no, but maybe not for ever */
	uint64_t not_before_ms;	/* it is tried again then */
	bool is_sent;	/* handed to the connection in use */
	unsigned qos;	/* and this is how */
	int mid;	/* its packet identifier there */
};

struct mqtt_queue {
	struct mqtt_message *first, **end;
	size_t n_messages, n_bytes;
	size_t max_messages, max_bytes;
	size_t n_sent;
	uint64_t last_id;
	uint64_t again_ms;	/* no postponed message may go before; 0: there is none */
};

void mqtt_queue_init(struct mqtt_queue *queue, size_t max_messages, size_t max_bytes);
void mqtt_queue_clear(struct mqtt_queue *queue);
/* Copies topic and payload. -EDQUOT, -EMSGSIZE (would not fit an empty queue), -ENOMEM. */
int mqtt_queue_add(struct mqtt_queue *queue, const char *topic, const void *payload, size_t size, unsigned flags, uint64_t expires_ms, uint64_t *ret_id);
/* First message not sent yet that may go now and has none of the flags @held, or NULL; lent. */
struct mqtt_message *mqtt_queue_next(struct mqtt_queue *queue, uint64_t now_ms, unsigned held);
/* Was one sent with @qos, and is it not done? */
bool mqtt_queue_has_sent(const struct mqtt_queue *queue, unsigned qos);
/* Does one with such a flag wait? */
bool mqtt_queue_has_waiting(const struct mqtt_queue *queue, unsigned flag);
/* The sent message with this packet identifier, or NULL; lent. */
struct mqtt_message *mqtt_queue_find(struct mqtt_queue *queue, int mid);
/* It is not sent any more, but is to be after @not_before_ms. */
void mqtt_queue_postpone(struct mqtt_queue *queue, struct mqtt_message *message, uint64_t not_before_ms);
/* When the next of those may go, later than @now_ms; 0: none waits for that. */
uint64_t mqtt_queue_again_ms(struct mqtt_queue *queue, uint64_t now_ms);
void mqtt_queue_sent(struct mqtt_queue *queue, struct mqtt_message *message, unsigned qos);
/* Take the sent message with this packet identifier out: true and its id. */
bool mqtt_queue_done(struct mqtt_queue *queue, int mid, uint64_t *ret_id);
/* Take a message out that can never be sent. */
void mqtt_queue_drop(struct mqtt_queue *queue, struct mqtt_message *message);
/* The connection is gone: what was sent and not acknowledged is to be sent again. */
void mqtt_queue_rewind(struct mqtt_queue *queue);
/* The same for what was sent with QoS 0 only. */
void mqtt_queue_rewind_qos0(struct mqtt_queue *queue);

#endif
