/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/link/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int ledger_add(struct ledger *ledger, struct worker *worker, const char *filter, int qos, struct agent_error **err)
{
	size_t i = 0;
	int r;

	while (i < ledger->n && strcmp(ledger->rows[i].filter, filter) != 0)
		i++;
	if (i == LEDGER_MAX)
		return agent_error_set(err, -EDQUOT, "link.filters", "all programs together subscribe %d different filters, and no more", LEDGER_MAX);
	if (i < ledger->n && ledger->rows[i].qos >= qos) {
		ledger->rows[i].n_users++;
		return 0;
	}
	r = worker_subscribe(worker, filter, qos, err);
	if (r < 0)
		return r;
	if (i == ledger->n) {
		char *copy = strdup(filter);

		if (copy == NULL) {
			worker_unsubscribe(worker, filter);
			return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
		}
		ledger->rows[i].filter = copy;
		ledger->rows[i].n_users = 0;
		ledger->n++;
	}
	ledger->rows[i].qos = qos;
	ledger->rows[i].n_users++;
	return 0;
}

void ledger_remove(struct ledger *ledger, struct worker *worker, const char *filter)
{
	for (size_t i = 0; i < ledger->n; i++) {
		if (strcmp(ledger->rows[i].filter, filter) != 0 || --ledger->rows[i].n_users > 0)
			continue;
		if (worker != NULL)
			worker_unsubscribe(worker, filter);
		free(ledger->rows[i].filter);
		ledger->rows[i] = ledger->rows[--ledger->n];
		return;
	}
}
