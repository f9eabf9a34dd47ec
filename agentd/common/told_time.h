/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_TOLD_TIME_H
#define COMMON_TOLD_TIME_H
/* The time as core tells it, over the bus: state, now, floor, uncertainty, changes. Seconds; now is the moment of sending. */
#include <systemd/sd-bus.h>

#include <agent/time.h>

#define TOLD_TIME_TYPES "stttt"
#define TOLD_TIME_ARGS(r) agent_time_state_name((r)->state), (r)->now_s, (r)->floor_s, (r)->uncertainty_s, (r)->n_changes

/* Take what a TimeChanged signal says into @time. -EBADMSG. */
int told_time_take(sd_bus_message *m, struct agent_time *time);

#endif
