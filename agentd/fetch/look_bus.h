/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_LOOK_BUS_H
#define FETCH_LOOK_BUS_H
/* A look over the bus: what core says of the device, and what it hears. */
#include <systemd/sd-bus.h>

#include "agentd/fetch/source.h"

/* a{sv}; keys that are not known are skipped. -EBADMSG "bus.protocol". */
int look_read_device(sd_bus_message *m, struct device *ret_device, struct agent_error **err);
/* As a{sv}. Negative errno. */
int look_append_result(sd_bus_message *m, const struct source_result *result);

#endif
