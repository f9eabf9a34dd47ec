/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_AUDIT_H
#define CORE_AUDIT_H
/* The event log of a running core: event_add() writes it and the journal, EventsGet reads it. */
#include "agentd/core/core.h"

/* Open STATE_DIR/events. Also used by agentd --provision (then core->event is NULL and every event is synced). */
int audit_open(struct core *core, struct agent_error **err);
void audit_close(struct core *core);
/* Has it been written already that @release_id fell back, and nothing been installed since? */
bool audit_knows_fallback(struct core *core, const char *release_id);
/* Field "from" of the last update.begun, "" if there is none. */
void audit_last_begun(struct core *core, char *ret_from, size_t size);

/* Number of the newest event. */
uint64_t audit_last_seq(struct core *core);
/* Events after @after, at most @limit of them, as aa{sv}. */
int audit_append(struct core *core, sd_bus_message *reply, uint64_t after, uint32_t limit, struct agent_error **err);

#endif
