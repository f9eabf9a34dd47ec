/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/events.h"

#include <syslog.h>

#define EVENT(symbol, name, message_id, priority, meaning) [EVENT_##symbol] = { name, message_id, priority, meaning },
const struct event_type event_types[EVENT_COUNT_] = {
#include "agentd/common/events.def"
};
#undef EVENT
