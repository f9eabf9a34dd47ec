/* SPDX-License-Identifier: Apache-2.0 */
/* One call of an operation: its answer, and what is written down about it. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "agentd/common/peer.h"
#include "agentd/core/bus_inside.h"
#include "agentd/core/dispatch.h"
#include "agentd/core/key_rights.h"
#include "base/macro.h"
#include "base/monotonic.h"

const char *program_name(enum program program)
{
	switch (program) {
	case PROG_MGMT:
		return "mgmt";
	case PROG_LINK:
		return "link";
	case PROG_FETCH:
		return "fetch";
	case PROG_INSTALL:
		return "install";
	case PROG_VENDOR:
		return "vendor";
	case PROG_LOGIN:
		return "login";
	}
	return "?";
}

const char *op_call_program(const struct op_call *call)
{
	return program_name(call->peer->program);
}

const struct key_caller *op_call_key_caller(const struct op_call *call)
{
	return call->peer->caller;
}

bool peer_may_log(struct peer *peer, enum vendor_event event, char left_out[LEFT_OUT_SIZE])
{
	uint64_t n = 0;

	left_out[0] = '\0';
	if (peer->user == NULL)
		return true;
	if (!vendor_may_log(peer->user, event, monotonic_us(), &n))
		return false;
	if (n > 0)
		snprintf(left_out, LEFT_OUT_SIZE, "%" PRIu64, n);
	return true;
}

void op_call_refused(struct op_call *call, const char *key, const char *reason)
{
	struct peer *peer = call->peer;
	char left_out[LEFT_OUT_SIZE], uid[16];

	if (!peer_may_log(peer, VENDOR_REFUSED, left_out))
		return;
	snprintf(uid, sizeof(uid), "%" PRIu32, peer->uid);
	event_add(peer->core, EVENT_KEY_REFUSED, "program", program_name(peer->program), "key", key, "uid", uid, "unit",
		  or_null(peer->caller->unit), "method", call->op->method, "reason", reason, "left_out", or_null(left_out), NULL);
}

void op_call_used(struct op_call *call, enum event_id id, const char *key)
{
	struct peer *peer = call->peer;
	char left_out[LEFT_OUT_SIZE], uid[16];

	if (!peer_may_log(peer, VENDOR_USED, left_out))
		return;
	snprintf(uid, sizeof(uid), "%" PRIu32, peer->uid);
	event_add(peer->core, id, "key", key, "uid", uid, "unit", or_null(peer->caller->unit), "left_out", or_null(left_out), NULL);
}

uint64_t op_call_n_unread(const struct op_call *call)
{
	uint64_t n = 0;

	return call->peer->bus != NULL && sd_bus_get_n_queued_write(call->peer->bus, &n) >= 0 ? n : 0;
}

struct peer *peer_unref(struct peer *peer)
{
	if (peer == NULL || --peer->n_refs > 0)
		return NULL;
	free(peer->caller);
	free(peer);
	return NULL;
}

struct op_call *op_call_ref(struct op_call *call)
{
	call->n_refs++;
	return call;
}

struct op_call *op_call_unref(struct op_call *call)
{
	_cleanup_error_ struct agent_error *err = NULL;

	if (call == NULL || --call->n_refs > 0)
		return NULL;
	if (!call->is_answered) {
		call->n_refs = 1;
		agent_error_set(&err, -EIO, "core.unanswered", "%s was not carried out", call->op->method);
		op_fail(call, -EIO, &err);
	}
	call->peer->n_calls--;
	if (call->peer->user != NULL)
		vendor_call_end(call->peer->user);
	sd_bus_message_unref(call->msg);
	peer_unref(call->peer);
	op_call_unref(call->outer);
	free(call);
	return NULL;
}

int op_reply_new(struct op_call *call, sd_bus_message **ret_reply, struct agent_error **err)
{
	int r = sd_bus_message_new_method_return(call->msg, ret_reply);

	return r < 0 ? agent_error_set(err, r, "bus.reply", "cannot answer %s: %s", call->op->method, strerror(-r)) : 0;
}

/* Made readable where it was written. */
static int pass_answer(struct op_call *call, sd_bus_message *reply)
{
	int r = sd_bus_message_seal(reply, 1, 0);

	if (r >= 0)
		r = sd_bus_message_rewind(reply, 1);
	if (r >= 0)
		call->answered(call->outer, reply, 0, NULL);
	return r;
}

/* Takes @reply. */
static int send_reply(struct op_call *call, sd_bus_message *reply)
{
	int r = 0;

	if (!call->is_answered && call->answered != NULL)
		r = pass_answer(call, reply);
	else if (!call->is_answered && call->peer->bus != NULL)
		r = sd_bus_send(call->peer->bus, reply, NULL);
	call->is_answered = true;
	sd_bus_message_unref(reply);
	/* A reply that does not fit the row is our own slip; a peer that went away is none. */
	if (r < 0 && r != -ENOTCONN && r != -ECONNRESET && r != -EPIPE)
		service_log(LOG_ERR, "cannot answer %s of agentd-%s: %s", call->op->method, program_name(call->peer->program), strerror(-r));
	return 0;
}

int op_reply_end(struct op_call *call, sd_bus_message *reply, int r, const char *what, struct agent_error **err)
{
	if (r >= 0)
		return send_reply(call, reply);
	sd_bus_message_unref(reply);
	if (err != NULL && *err == NULL)
		agent_error_set(err, r, "bus.reply", "cannot write %s: %s", what, strerror(-r));
	return r;
}

int op_reply_made(struct core *core, struct op_call *call, int (*append)(struct core *, sd_bus_message *), const char *what, struct agent_error **err)
{
	sd_bus_message *reply;
	int r = op_reply_new(call, &reply, err);

	return r < 0 ? r : op_reply_end(call, reply, append(core, reply), what, err);
}

int op_reply(struct op_call *call, const char *types, ...)
{
	_cleanup_error_ struct agent_error *err = NULL;
	sd_bus_message *reply;
	va_list ap;
	int r = op_reply_new(call, &reply, &err);

	if (r >= 0) {
		va_start(ap, types);
		r = types == NULL || types[0] == '\0' ? 0 : sd_bus_message_appendv(reply, types, ap);
		va_end(ap);
		r = op_reply_end(call, reply, r, "the answer", &err);
	}
	return r < 0 ? op_fail(call, r, &err) : 0;
}

int op_unreadable(const struct op_call *call, struct agent_error **err)
{
	return agent_error_set(err, -EINVAL, "bus.arguments", "%s was called with arguments that cannot be read", call->op->method);
}

int op_fail(struct op_call *call, int r, struct agent_error **err)
{
	if (!call->is_answered && call->answered != NULL) {
		call->answered(call->outer, NULL, r, err);
	} else if (!call->is_answered && call->peer->bus != NULL) {
		int sent = peer_reply_error(call->msg, r, err);

		if (sent < 0 && sent != -ENOTCONN && sent != -ECONNRESET && sent != -EPIPE)
			service_log(LOG_ERR, "cannot refuse %s: %s", call->op->method, strerror(-sent));
	}
	call->is_answered = true;
	if (err != NULL)
		*err = agent_error_free(*err);
	return 0;
}

int op_call_message(struct op_call *outer, const struct operation *op, sd_bus_message **ret_msg, struct agent_error **err)
{
	int r = outer->peer->bus == NULL ? -ENOTCONN :
					   sd_bus_message_new_method_call(outer->peer->bus, ret_msg, NULL, BUS_PATH, BUS_CORE, op->method);

	return r < 0 ? agent_error_set(err, r, "bus.call", "cannot call %s: %s", op->method, strerror(-r)) : 0;
}

int op_call_inner(struct op_call *outer, const struct operation *op, sd_bus_message *msg, const struct caller *caller,
		  void (*fn)(struct op_call *outer, sd_bus_message *answer, int r, struct agent_error **err), struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	struct op_call *call;
	int r = operation_check(op, outer->core->setup, caller, err);

	if (r < 0)
		return r;
	r = sd_bus_message_seal(msg, 1, 0);
	if (r >= 0)
		r = sd_bus_message_rewind(msg, 1);
	call = r < 0 ? NULL : calloc(1, sizeof(*call));
	if (call == NULL)
		return agent_error_set(err, r < 0 ? r : -ENOMEM, "bus.call", "cannot call %s: %s", op->method, strerror(r < 0 ? -r : ENOMEM));
	*call = (struct op_call){ .n_refs = 1, .core = outer->core, .peer = outer->peer, .op = op, .caller = *caller, .answered = fn };
	call->outer = op_call_ref(outer);
	call->msg = sd_bus_message_ref(msg);
	call->peer->n_refs++;
	call->peer->n_calls++;
	r = op->handler(call->core, call, &why);
	if (r < 0)
		op_fail(call, r, &why);
	op_call_unref(call);
	return 0;
}
