/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_QUEUE_H
#define NET_QUEUE_H
/* For tests: agent_queue_open() with another way to the disk file. */
#include <agent/queue.h>

#include "net/ring.h"

int queue_open(const struct agent_queue_options *options, const struct ring_io *io, struct agent_queue **ret_queue, struct agent_error **err);

#endif
