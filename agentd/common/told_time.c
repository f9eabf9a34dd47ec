/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/common/told_time.h"

#include <errno.h>

int told_time_take(sd_bus_message *m, struct agent_time *time)
{
	struct agent_time_reading r;
	const char *state;

	if (sd_bus_message_read(m, TOLD_TIME_TYPES, &state, &r.now_s, &r.floor_s, &r.uncertainty_s, &r.n_changes) <= 0 ||
	    agent_time_state_parse(state, &r.state) < 0)
		return -EBADMSG;
	return agent_time_update(time, &r, NULL);
}
