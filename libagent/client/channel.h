/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_CHANNEL_H
#define CLIENT_CHANNEL_H
/* A connection to one of agentd's programs that is made again when it broke: D-Bus point to point. */
#include <stdint.h>

#include <agent/error.h>
#include <systemd/sd-bus.h>

struct channel {
	char *path;
	sd_bus *bus;	/* NULL while there is no connection */
	uint64_t epoch; /* of the connection */
	uint64_t timeout_us;
};

/* Connect if there is no connection. "bus.connect". */
int channel_need(struct channel *c, struct agent_error **err);
void channel_drop(struct channel *c);
/* What sd-bus said in our words; a lost connection is -ENOTCONN. */
int channel_error(const sd_bus_error *error, int r, struct agent_error **err);

#endif
