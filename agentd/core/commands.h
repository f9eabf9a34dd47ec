/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_COMMANDS_H
#define CORE_COMMANDS_H
/* Commands from the cloud, core's part: may it be, has it been, then the operation as for any other caller. docs/design/commands.md */
#include "agentd/core/core.h"

/* Does nothing where mqtt.command_topic is empty. Before the sandbox. */
int commands_start(struct core *core, struct agent_error **err);
void commands_stop(struct core *core);

#endif
