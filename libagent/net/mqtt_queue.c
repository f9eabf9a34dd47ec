/* SPDX-License-Identifier: Apache-2.0 */
#include "net/mqtt_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void mqtt_queue_init(struct mqtt_queue *queue, size_t max_messages, size_t max_bytes)
{
	*queue = (struct mqtt_queue){ .max_messages = max_messages, .max_bytes = max_bytes };
	queue->end = &queue->first;
}

static size_t cost(const struct mqtt_message *m)
{
	return strlen(m->topic) + m->size;
}

static void message_free(struct mqtt_message *m)
{
	if (m == NULL)
		return;
	free(m->topic);
	free(m->payload);
	free(m);
}

static void take_out(struct mqtt_queue *queue, struct mqtt_message **link)
{
	struct mqtt_message *m = *link;

	*link = m->next;
	if (m->next == NULL)
		queue->end = link;
	queue->n_messages--;
	queue->n_bytes -= cost(m);
	if (m->is_sent)
		queue->n_sent--;
	message_free(m);
}

void mqtt_queue_clear(struct mqtt_queue *queue)
{
	while (queue->first != NULL)
		take_out(queue, &queue->first);
}

int mqtt_queue_add(struct mqtt_queue *queue, const char *topic, const void *payload, size_t size, unsigned flags, uint64_t expires_ms, uint64_t *ret_id)
{
	size_t topic_size = strlen(topic);
	struct mqtt_message *m;

	if (size > queue->max_bytes || topic_size > queue->max_bytes - size)
		return -EMSGSIZE;
	if (queue->n_messages >= queue->max_messages || topic_size + size > queue->max_bytes - queue->n_bytes)
		return -EDQUOT;
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return -ENOMEM;
	m->topic = strdup(topic);
	m->payload = malloc(size > 0 ? size : 1);
	if (m->topic == NULL || m->payload == NULL) {
		message_free(m);
		return -ENOMEM;
	}
	if (size > 0)
		memcpy(m->payload, payload, size);
	m->size = size;
	m->flags = flags;
	m->expires_ms = expires_ms;
	m->id = ++queue->last_id;
	*queue->end = m;
	queue->end = &m->next;
	queue->n_messages++;
	queue->n_bytes += topic_size + size;
	*ret_id = m->id;
	return 0;
}

struct mqtt_message *mqtt_queue_next(struct mqtt_queue *queue, uint64_t now_ms, unsigned held)
{
	struct mqtt_message *m = queue->first;

	while (m != NULL && (m->is_sent || m->not_before_ms > now_ms || (m->flags & held) != 0))
		m = m->next;
	return m;
}

bool mqtt_queue_has_sent(const struct mqtt_queue *queue, unsigned qos)
{
	const struct mqtt_message *m = queue->first;

	while (m != NULL && (!m->is_sent || m->qos != qos))
		m = m->next;
	return m != NULL;
}

bool mqtt_queue_has_waiting(const struct mqtt_queue *queue, unsigned flag)
{
	const struct mqtt_message *m = queue->first;

	while (m != NULL && (m->is_sent || (m->flags & flag) == 0))
		m = m->next;
	return m != NULL;
}

struct mqtt_message *mqtt_queue_find(struct mqtt_queue *queue, int mid)
{
	struct mqtt_message *m = queue->first;

	while (m != NULL && (!m->is_sent || m->mid != mid))
		m = m->next;
	return m;
}

void mqtt_queue_postpone(struct mqtt_queue *queue, struct mqtt_message *message, uint64_t not_before_ms)
{
	message->is_sent = false;
	message->n_refused++;
	message->not_before_ms = not_before_ms;
	queue->n_sent--;
	if (queue->again_ms == 0 || not_before_ms < queue->again_ms)
		queue->again_ms = not_before_ms;
}

uint64_t mqtt_queue_again_ms(struct mqtt_queue *queue, uint64_t now_ms)
{
	if (queue->again_ms == 0 || queue->again_ms > now_ms)
		return queue->again_ms;
	queue->again_ms = 0;
	for (const struct mqtt_message *m = queue->first; m != NULL; m = m->next)
		if (!m->is_sent && m->not_before_ms > now_ms && (queue->again_ms == 0 || m->not_before_ms < queue->again_ms))
			queue->again_ms = m->not_before_ms;
	return queue->again_ms;
}

void mqtt_queue_sent(struct mqtt_queue *queue, struct mqtt_message *message, unsigned qos)
{
	message->is_sent = true;
	message->qos = qos;
	message->mid = 0;	/* not known yet */
	queue->n_sent++;
}

bool mqtt_queue_done(struct mqtt_queue *queue, int mid, uint64_t *ret_id)
{
	for (struct mqtt_message **link = &queue->first; *link != NULL; link = &(*link)->next) {
		if (!(*link)->is_sent || (*link)->mid != mid)
			continue;
		*ret_id = (*link)->id;
		take_out(queue, link);
		return true;
	}
	return false;
}

void mqtt_queue_drop(struct mqtt_queue *queue, struct mqtt_message *message)
{
	for (struct mqtt_message **link = &queue->first; *link != NULL; link = &(*link)->next) {
		if (*link != message)
			continue;
		take_out(queue, link);
		return;
	}
}

void mqtt_queue_rewind(struct mqtt_queue *queue)
{
	for (struct mqtt_message *m = queue->first; m != NULL; m = m->next) {
		m->is_sent = false;
		m->n_refused = 0;	/* the next broker may be another one */
		m->not_before_ms = 0;
	}
	queue->n_sent = 0;
}

void mqtt_queue_rewind_qos0(struct mqtt_queue *queue)
{
	for (struct mqtt_message *m = queue->first; m != NULL; m = m->next) {
		if (!m->is_sent || m->qos != 0)
			continue;
		m->is_sent = false;
		queue->n_sent--;
	}
}
