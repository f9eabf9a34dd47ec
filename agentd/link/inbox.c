/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/link/inbox.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

#define INBOX_MESSAGES 256
#define INBOX_BYTES (512 * KIB)

void worker_message_free(struct worker_message *m)
{
	if (m == NULL)
		return;
	free(m->topic);
	free(m->payload);
	free(m);
}

void inbox_init(struct inbox *inbox)
{
	*inbox = (struct inbox){ .end = &inbox->first };
}

/* Topics count as well: a broker may make them as long as 64 KiB. */
static size_t bytes_of(const struct worker_message *m)
{
	return m->size + (m->topic == NULL ? 0 : strlen(m->topic) + 1);
}

void inbox_put(struct inbox *inbox, const char *gap, const char *topic, const void *payload, size_t size)
{
	size_t n_topic = topic == NULL ? 0 : strlen(topic) + 1;
	bool is_full = inbox->n >= INBOX_MESSAGES || inbox->bytes + n_topic + size > INBOX_BYTES;
	struct worker_message *m;

	if (gap == NULL && is_full) {
		gap = "slow";
		inbox->n_lost++;
	}
	if (gap != NULL && inbox->n > INBOX_MESSAGES)
		return;	/* the last one there is a gap */
	m = calloc(1, sizeof(*m));
	if (m == NULL) {
		inbox->n_lost += gap == NULL;
		return;
	}
	m->gap = gap;
	/* Of one that is too long somebody may want to say so. */
	if (gap != NULL && topic != NULL && !is_full)
		m->topic = strdup(topic);
	if (gap == NULL && ((m->topic = strdup(topic)) == NULL || (size > 0 && (m->payload = malloc(size)) == NULL))) {
		m->gap = "slow";
		inbox->n_lost++;
		size = 0;
	}
	if (m->gap == NULL && size > 0)
		memcpy(m->payload, payload, size);
	m->size = m->gap == NULL ? size : 0;
	*inbox->end = m;
	inbox->end = &m->next;
	inbox->n++;
	inbox->bytes += bytes_of(m);
}

struct worker_message *inbox_take(struct inbox *inbox)
{
	struct worker_message *m = inbox->first;

	if (m == NULL)
		return NULL;
	inbox->first = m->next;
	if (inbox->first == NULL)
		inbox->end = &inbox->first;
	inbox->n--;
	inbox->bytes -= bytes_of(m);
	return m;
}

void inbox_clear(struct inbox *inbox)
{
	struct worker_message *m;

	while ((m = inbox_take(inbox)) != NULL)
		worker_message_free(m);
}
