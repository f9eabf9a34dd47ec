/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_INBOX_H
#define LINK_INBOX_H
/* What came from the broker and the event loop has not taken yet: bounded, and what is lost is told in its place. Not locked. */
#include <stddef.h>
#include <stdint.h>

/* Something from the broker; the receiver frees it. */
struct worker_message {
	struct worker_message *next;
	const char *gap;	/* constant: why messages may be missing here; NULL: this is one */
	char *topic;
	void *payload;
	size_t size;
};

struct inbox {
	struct worker_message *first, **end;
	size_t n, bytes;
	uint64_t n_lost;	/* messages for which there was no room or no memory */
};

void inbox_init(struct inbox *inbox);
/* @gap or a message. Without room or memory what comes is lost, and that is told in its place; a gap itself needs no room but memory. */
void inbox_put(struct inbox *inbox, const char *gap, const char *topic, const void *payload, size_t size);
/* Oldest, or NULL. */
struct worker_message *inbox_take(struct inbox *inbox);
void inbox_clear(struct inbox *inbox);
void worker_message_free(struct worker_message *message);

#endif
