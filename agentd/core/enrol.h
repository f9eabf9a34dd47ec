/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ENROL_H
#define CORE_ENROL_H
/*
 * Certificates by EST, core's part: when one is asked for, what is shown to the server, whether what came is taken, and what is
 * left to do after a power cut. agentd-fetch talks to the server; the pair is changed by rotation.h. docs/design/connectivity.md
 */
#include "agentd/core/core.h"

int enrol_start(struct core *core, struct agent_error **err);
void enrol_stop(struct core *core);
/* Begin to look, once connections are possible. */
void enrol_open(struct core *core);
/* The files are gone: what was begun for the former owner ends, too. Takes a core without EST. */
void enrol_were_reset(struct core *core);
/* A rotation moved, or the device was set up; look at the state again soon. Takes a core without EST. */
void enrol_wake(struct core *core);

#endif
