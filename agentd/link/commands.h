/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_COMMANDS_H
#define LINK_COMMANDS_H
/*
 * Commands from the cloud: off the broker connection, to core, and the answer back. What may be done and by whom is core's matter;
 * what is refused here could not be read or is too much. Runs in the event loop. docs/design/commands.md
 */
#include <systemd/sd-bus.h>

#include "agentd/common/settings.h"
#include "agentd/link/store.h"
#include "agentd/link/worker.h"

struct commands;

/* @prefix of topics. *ret_commands is NULL where mqtt.command_topic is empty. -EINVAL config.range: one of the two is no topic. */
int commands_open(const struct settings *settings, const char *prefix, struct commands **ret_commands, struct agent_error **err);
struct commands *commands_close(struct commands *commands);
/* What they come and go by, lent; both NULL while there is none. */
void commands_attach(struct commands *commands, struct store *store, struct worker *worker);
/* Connection to core, lent; NULL while there is none. */
void commands_set_core(struct commands *commands, sd_bus *core);
/* Look at what arrived: nothing happens unless it is a command. */
void commands_take(struct commands *commands, const struct worker_message *message);
/* Is that the topic of commands or of their answers, which programs of this device may neither publish to nor subscribe? */
bool commands_own(const struct commands *commands, const char *topic);

#endif
