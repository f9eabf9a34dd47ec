/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BUS_H
#define CORE_BUS_H
/* Connections to the other programs: accepted on core-mgmt and core-link, made on demand to install and fetch. */
#include "agentd/core/core.h"

/* Take the listening sockets handed over and look up the users that may connect. Before the sandbox. */
int bus_start(struct core *core, struct agent_error **err);
/* Begin to accept. */
int bus_open(struct core *core, struct agent_error **err);
void bus_stop(struct core *core);

/*
 * Connection to agentd-install (PROG_INSTALL) or agentd-fetch (PROG_FETCH), made when there is none; lent. It is closed
 * when nobody holds it any more, so that those programs can leave: bus_hold() while a call is under way, then bus_release().
 */
int bus_hold(struct core *core, enum program program, sd_bus **ret_bus, struct agent_error **err);
void bus_release(struct core *core, enum program program);
/* Cut the connection: calls under way end with an error, and the program with its work. */
void bus_cut(struct core *core, enum program program);

/* Something for each connection of these programs that reads what it is sent. */
void bus_each(struct core *core, unsigned programs, void (*what)(struct core *core, sd_bus *bus));
/* Signal StreamWake to agentd-mgmt. */
void bus_emit_stream(struct core *core);
/* Tell link and fetch. */
void bus_emit_setup(struct core *core);
/* Tell agentd-link which certificate goes with its key, and which one is to prove itself (rotation_id() of each, "" for none). */
void bus_emit_identity(struct core *core, const char *key, const char *current_id, const char *next_id);

#endif
