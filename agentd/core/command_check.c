/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/command_check.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Below "network" nobody vouches for the clock. */
static const char *doubt(const struct agent_time_reading *time)
{
	return time->state < AGENT_TIME_NETWORK ? "; nothing confirms the clock of this device, which may be wrong" : "";
}

int command_check_clock(const struct agent_time_reading *time, struct agent_error **err)
{
	if (time->state == AGENT_TIME_NONE)
		return agent_error_set(err, -EAGAIN, "command.clock",
				       "the clock of this device was never set, so it cannot tell whether a command is over; send it again when time_state is floor or better");
	return 0;
}

int command_check(const struct command *command, const char *serial, const struct agent_time_reading *time, uint64_t ahead_s,
		  struct agent_error **err)
{
	int r = command_check_clock(time, err);

	if (r < 0)
		return r;
	if (strcmp(command->device, serial) != 0)
		return agent_error_set(err, -EPERM, "command.device", "the command is for \"%s\", and this is \"%s\"", command->device, serial);
	if (command->expires_s <= time->now_s)
		return agent_error_set(err, -ESTALE, "command.expired", "the command was over at %" PRIu64 ", and it is %" PRIu64 " by the clock here%s",
				       command->expires_s, time->now_s, doubt(time));
	if (command->expires_s - time->now_s > ahead_s)
		return agent_error_set(err, -ERANGE, "command.too-far",
				       "the command ends at %" PRIu64 ", more than %" PRIu64 " s after now (%" PRIu64 " by the clock here)%s", command->expires_s,
				       ahead_s, time->now_s, doubt(time));
	return 0;
}
