/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_BUS_JSON_H
#define COMMON_BUS_JSON_H
/* Answers of core as JSON. */
#include <jansson.h>
#include <systemd/sd-bus.h>

/* One value or a{sv}, aa{sv}, ... at the read position of @message; the caller frees it. NULL when it cannot be read. */
json_t *bus_json_read(sd_bus_message *message);

#endif
