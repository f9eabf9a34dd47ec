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

void inbox_put(struct inbox *inbox, const char *gap, const char *topic, const void *payload, size_t size)
{
	bool is_full = inbox->n >= INBOX_MESSAGES || inbox->bytes + size > INBOX_BYTES;
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
	inbox->bytes += m->size;
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
	inbox->bytes -= m->size;
	return m;
}

void inbox_clear(struct inbox *inbox)
{
	struct worker_message *m;

	while ((m = inbox_take(inbox)) != NULL)
		worker_message_free(m);
}
