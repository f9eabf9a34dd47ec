/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_BUDGET_H
#define LINK_BUDGET_H
/* Counts what the broker connection uses (usage.h), keeps it over restarts and power cuts, and does what link.budget_* says. In the event loop. */
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "agentd/common/settings.h"
#include "agentd/link/store.h"
#include "agentd/link/worker.h"

struct budget;

/* Reads what was kept. All arguments are lent, but for @time, which is referenced. */
int budget_open(const struct settings *settings, struct agent_time *time, sd_event *event, struct budget **ret_budget, struct agent_error **err);
/* What is counted from now on. NULLs: before these go. */
void budget_attach(struct budget *budget, struct store *store, struct worker *worker);
/* NULL: it is gone. A new one is told everything. */
void budget_set_core(struct budget *budget, sd_bus *core);
/* The device has another owner. */
void budget_erase(struct budget *budget);
/* Keeps; takes NULL, returns NULL. */
struct budget *budget_close(struct budget *budget);

#endif
