/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/common/peer.h"
#include "agentd/core/bus.h"
#include "base/macro.h"

#define READY_TIMEOUT_S 30

struct ask {
	struct core *core;
	enum program program;
	struct op_call *call;
	ask_fn fn;
};

static int new_call(struct core *core, enum program program, const char *interface, const char *method,
		    sd_bus_message **ret_msg, struct agent_error **err)
{
	sd_bus *bus;
	int r;

	r = bus_hold(core, program, &bus, err);
	if (r < 0)
		return r;
	r = sd_bus_message_new_method_call(bus, ret_msg, NULL, BUS_PATH, interface, method);
	if (r < 0) {
		bus_release(core, program);
		return agent_error_set(err, r, "bus.call", "cannot make a call of %s: %s", method, strerror(-r));
	}
	return 0;
}

int ask_new(struct core *core, enum program program, const char *method, sd_bus_message **ret_msg, struct agent_error **err)
{
	return new_call(core, program, program == PROG_INSTALL ? BUS_INSTALL : BUS_FETCH, method, ret_msg, err);
}

int ask_ready(struct core *core, enum program program, struct op_call *call, ask_fn fn, struct agent_error **err)
{
	sd_bus_message *m;
	int r;

	r = new_call(core, program, "org.freedesktop.DBus.Peer", "Ping", &m, err); /* sd-bus answers it by itself */
	return r < 0 ? r : ask_send(core, program, m, READY_TIMEOUT_S, call, fn, err);
}

int ask_is_ready(sd_bus_message *msg, struct agent_error **err)
{
	if (sd_bus_is_ready(sd_bus_message_get_bus(msg)) > 0)
		return 0;
	return agent_error_set(err, -ENOTCONN, "bus.lost", "the connection was lost before it was used; try again");
}

void ask_drop(struct core *core, enum program program, sd_bus_message *msg)
{
	sd_bus_message_unref(msg);
	bus_release(core, program);
}

static void destroy(void *userdata)
{
	struct ask *ask = userdata;

	op_call_unref(ask->call);
	free(ask);
}

static int on_answer(sd_bus_message *msg, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct ask *ask = userdata;
	struct op_call *call = ask->call;
	int r = 0;

	if (sd_bus_message_is_method_error(msg, NULL) > 0)
		r = peer_error_from_bus(sd_bus_message_get_error(msg), -sd_bus_message_get_errno(msg), &err);
	r = ask->fn(ask->core, call, r < 0 ? NULL : msg, r, &err);
	if (r < 0 && call != NULL && !call->is_answered)
		op_fail(call, r, &err);
	bus_release(ask->core, ask->program);
	return 1;
}

int ask_send(struct core *core, enum program program, sd_bus_message *msg, uint64_t timeout_s, struct op_call *call, ask_fn fn,
	     struct agent_error **err)
{
	struct ask *ask = calloc(1, sizeof(*ask));
	sd_bus_slot *slot = NULL;
	int r = -ENOMEM;

	if (ask != NULL) {
		ask->core = core;
		ask->program = program;
		ask->fn = fn;
		r = sd_bus_call_async(sd_bus_message_get_bus(msg), &slot, msg, on_answer, ask,
				      timeout_s == ASK_FOREVER ? UINT64_MAX : timeout_s * 1000000);
	}
	if (r < 0) {
		free(ask);
		ask_drop(core, program, msg);
		return agent_error_set(err, r, "bus.call", "cannot ask agentd-%s: %s", program == PROG_INSTALL ? "install" : "fetch",
				       strerror(-r));
	}
	ask->call = call == NULL ? NULL : op_call_ref(call);
	sd_bus_slot_set_destroy_callback(slot, destroy);
	sd_bus_slot_set_floating(slot, 1);
	sd_bus_slot_unref(slot);
	sd_bus_message_unref(msg);
	return 0;
}
