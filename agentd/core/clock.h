/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H
/* What core knows of the time, where it is kept, and who is told: docs/design/time.md. */
#include "agentd/core/core.h"

/* core->time exists from here on. Reads what was saved. Before the sandbox. */
int clock_start(struct core *core, struct agent_error **err);
/* The TPM can be used: its clock is asked. */
void clock_tpm_is_open(struct core *core);
/* Saves. */
void clock_stop(struct core *core);
/* Seconds since 1970 for certificates: never below the floor. Any thread. */
int64_t clock_now(const struct core *core);
/* Something that was signed at @signed_s was found good: a certificate for us by its authority, or a bundle by its signers. Nothing is no news. */
enum clock_signed { CLOCK_SIGNED_CERTIFICATE, CLOCK_SIGNED_BUNDLE };
void clock_signed(struct core *core, enum clock_signed what, uint64_t signed_s);
/* A factory reset: a floor that is too high goes with what the owner had. */
void clock_was_reset(struct core *core);
/* Who just connected hears what time it is. */
void clock_greet(struct core *core, sd_bus *bus);
/* time_state, time_source, time, time_floor for the status. */
int clock_append_short(struct core *core, sd_bus_message *m);

#endif
