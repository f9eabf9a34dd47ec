/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_EVENTS_H
#define COMMON_EVENTS_H
/* Ids of events.def. Core writes them to its event log (agentd/core/event_log.h) and to the journal. */
#define EVENT(symbol, name, message_id, priority, meaning) EVENT_##symbol,
enum event_id {
#include "agentd/common/events.def"
	EVENT_COUNT_
};
#undef EVENT

struct event_type {
	const char *name;
	const char *message_id;
	int priority;
	const char *meaning;
};
extern const struct event_type event_types[EVENT_COUNT_];

#endif
