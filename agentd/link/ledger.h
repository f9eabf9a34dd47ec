/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_LEDGER_H
#define LINK_LEDGER_H
/* What the broker was asked for, and for how many: one subscription for all programs that want the same filter. */
#include "agentd/link/worker.h"

#define LEDGER_MAX 32	/* different filters, of all programs */

struct ledger {
	struct {
		char *filter;
		unsigned n_users;
		int qos;
	} rows[LEDGER_MAX];
	size_t n;
};

/* One more user of @filter, in full. 0, -EDQUOT link.filters, -ENOMEM, and as worker_subscribe(). */
int ledger_add(struct ledger *ledger, struct worker *worker, const char *filter, int qos, struct agent_error **err);
/* One less; the last one ends the subscription. @worker NULL: there is no broker connection to end it on. */
void ledger_remove(struct ledger *ledger, struct worker *worker, const char *filter);

#endif
