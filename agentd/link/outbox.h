/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_OUTBOX_H
#define LINK_OUTBOX_H
/* What waits until one program fetches it. Bounded; the oldest go, and a gap takes their place. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

struct outbox_entry;

/* Of all programs together: nobody takes the room of others. */
struct outbox_room {
	size_t bytes;
};

struct outbox {
	struct outbox_room *room;	/* lent */
	struct outbox_entry *first, **end;
	size_t n, bytes;
	uint64_t stuck_since_us;	/* CLOCK_MONOTONIC: something was thrown away and nobody fetched since; 0: no */
};

void outbox_init(struct outbox *box, struct outbox_room *room);
void outbox_clear(struct outbox *box);
/* Copies. False: a loss could not even be noted, so the end of the connection has to tell it. */
bool outbox_put_message(struct outbox *box, const char *topic, const void *payload, size_t size);
/* @reason is a constant. False as above. */
bool outbox_put_gap(struct outbox *box, const char *reason);
/* As many as fit one answer of a(ssay) to @call, on its bus. 0, or a negative errno: the connection is of no use any more. */
int outbox_answer(struct outbox *box, sd_bus_message *call);

#endif
