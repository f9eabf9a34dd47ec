/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_COMMAND_CHECK_H
#define CORE_COMMAND_CHECK_H
/* What a command has to fit besides its table: this device, this time. No state, no clock in here. */
#include <agent/time.h>

#include "agentd/common/command.h"

/*
 * -EAGAIN command.clock (nobody knows what time it is), -EPERM command.device (it is for another one), -ESTALE command.expired, -ERANGE
 * command.too-far (it ends more than @ahead_s from now). The sentence says what the clock has to do with it.
 */
int command_check(const struct command *command, const char *serial, const struct agent_time_reading *time, uint64_t ahead_s,
		  struct agent_error **err);
/* command_check()'s first question alone, for before a signature is looked at. */
int command_check_clock(const struct agent_time_reading *time, struct agent_error **err);

#endif
