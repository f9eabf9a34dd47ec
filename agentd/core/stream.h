/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_STREAM_H
#define CORE_STREAM_H
/* Who follows events and progress learns that there is something new, and then asks (StreamPull). */
#include "agentd/core/core.h"

/* There is something new. One signal for each answer of StreamPull at most, so nothing can pile up. */
void stream_wake(struct core *core);

#endif
