/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ASK_H
#define CORE_ASK_H
/* A question to agentd-install or agentd-fetch, answered in the loop. The connection is made and held for it. */
#include "agentd/core/core.h"

/* @reply is NULL and *err set when @r < 0. The return value is the answer to @call, if there is one: negative with *err fails it. */
typedef int (*ask_fn)(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err);

#define ASK_FOREVER UINT64_MAX

/* Start a question; append its arguments, then ask_send(). */
int ask_new(struct core *core, enum program program, const char *method, sd_bus_message **ret_msg, struct agent_error **err);
/* Takes @msg. @call may be NULL; it is referenced. @fn is called exactly once after a success, and not on failure. */
int ask_send(struct core *core, enum program program, sd_bus_message *msg, uint64_t timeout_s, struct op_call *call, ask_fn fn,
	     struct agent_error **err);
/*
 * Is the program there and its connection set up? To be asked before a question that carries a descriptor: sd-bus waits for
 * the greeting before it sends one, and the loop must not wait for a program that may have trouble to start.
 */
int ask_ready(struct core *core, enum program program, struct op_call *call, ask_fn fn, struct agent_error **err);
/* -ENOTCONN "bus.lost" when sending a descriptor with @msg would wait. */
int ask_is_ready(sd_bus_message *msg, struct agent_error **err);
/* Give a question up before it was sent. */
void ask_drop(struct core *core, enum program program, sd_bus_message *msg);

#endif
