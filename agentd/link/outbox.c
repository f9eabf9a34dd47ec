/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/link/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "agentd/common/vendor.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define OUTBOX_BYTES (128 * KIB)	/* of one program */
#define ROOM_BYTES (VENDOR_MAX_CONNECTIONS * OUTBOX_BYTES)	/* of all */
#define OUTBOX_ENTRIES 256
#define BATCH_BYTES (64 * KIB)	/* of one answer; at least one message */

struct outbox_entry {
	struct outbox_entry *next;
	const char *gap;	/* its reason; NULL: a message */
	size_t size;
	char *topic;		/* topic and payload are one allocation */
	void *payload;
};

void outbox_init(struct outbox *box, struct outbox_room *room)
{
	*box = (struct outbox){ .room = room };
	box->end = &box->first;
}

static void take_first(struct outbox *box)
{
	struct outbox_entry *e = box->first;

	box->first = e->next;
	if (box->first == NULL)
		box->end = &box->first;
	box->n--;
	box->bytes -= e->size;
	box->room->bytes -= e->size;
	free(e->topic);
	free(e);
}

void outbox_clear(struct outbox *box)
{
	while (box->first != NULL)
		take_first(box);
}

static bool mark_first(struct outbox *box, const char *reason)
{
	struct outbox_entry *e;

	if (box->first != NULL && box->first->gap != NULL)
		return true;
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return false;
	*e = (struct outbox_entry){ .next = box->first, .gap = reason };
	if (box->first == NULL)
		box->end = &e->next;
	box->first = e;
	box->n++;
	return true;
}

static void append(struct outbox *box, struct outbox_entry *e)
{
	*box->end = e;
	box->end = &e->next;
	box->n++;
	box->bytes += e->size;
	box->room->bytes += e->size;
}

/* The oldest go, and a gap takes their place. */
static bool make_room(struct outbox *box, size_t size)
{
	bool is_lost = false;

	while (box->first != NULL &&
	       (box->n >= OUTBOX_ENTRIES || box->bytes + size > OUTBOX_BYTES || box->room->bytes + size > ROOM_BYTES)) {
		is_lost = true;
		take_first(box);
	}
	if (!is_lost)
		return true;
	if (box->stuck_since_us == 0)
		box->stuck_since_us = monotonic_us();
	return mark_first(box, "slow");
}

bool outbox_put_message(struct outbox *box, const char *topic, const void *payload, size_t size)
{
	size_t n_topic = strlen(topic) + 1;
	struct outbox_entry *e;

	if (!make_room(box, n_topic + size))
		return false;
	if (box->room->bytes + n_topic + size > ROOM_BYTES) /* the others' */
		return mark_first(box, "slow");
	e = calloc(1, sizeof(*e));
	if (e == NULL || (e->topic = malloc(n_topic + size)) == NULL) {
		free(e);
		return mark_first(box, "slow");
	}
	memcpy(e->topic, topic, n_topic);
	if (size > 0)
		memcpy(e->topic + n_topic, payload, size);
	e->payload = e->topic + n_topic;
	e->size = n_topic + size;
	append(box, e);
	return true;
}

bool outbox_put_gap(struct outbox *box, const char *reason)
{
	struct outbox_entry *e;

	/* One after the other tells no more than one; the outbox begins with one where it had no room. */
	if (box->n > 0 && box->first->gap != NULL && box->first->next == NULL)
		return true;
	if (!make_room(box, 0))
		return false;
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return false;
	e->gap = reason;
	append(box, e);
	return true;
}

static int append_entry(sd_bus_message *reply, const struct outbox_entry *e)
{
	size_t n_topic = e->gap != NULL ? 0 : strlen(e->topic) + 1;
	int r = sd_bus_message_open_container(reply, 'r', "ssay");

	if (r >= 0)
		r = sd_bus_message_append(reply, "ss", e->gap != NULL ? "gap" : "message", e->gap != NULL ? e->gap : e->topic);
	if (r >= 0)
		r = sd_bus_message_append_array(reply, 'y', e->gap != NULL ? "" : e->payload, e->size - n_topic);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

int outbox_answer(struct outbox *box, sd_bus_message *call)
{
	sd_bus_message *reply = NULL;
	size_t bytes = 0;
	int r;

	box->stuck_since_us = 0;
	r = sd_bus_message_new_method_return(call, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(ssay)");
	while (r >= 0 && box->first != NULL && (bytes == 0 || bytes + box->first->size <= BATCH_BYTES)) {
		bytes += box->first->size + 1;
		r = append_entry(reply, box->first);
		take_first(box);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r >= 0)
		r = sd_bus_send(sd_bus_message_get_bus(call), reply, NULL);
	sd_bus_message_unref(reply);
	return r < 0 ? r : 0;
}
