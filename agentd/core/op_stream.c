/* SPDX-License-Identifier: Apache-2.0 */
/*
 * StreamPull: what is new for somebody who follows events and the progress of an update. Asked for each portion anew, so a
 * session that ran out, a changed password or a lower role ends the stream like any other call.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "agentd/core/audit.h"
#include "agentd/core/bus.h"
#include "agentd/core/stream.h"
#include "agentd/core/update.h"
#include "base/macro.h"

void stream_wake(struct core *core)
{
	if (!core->is_stream_asleep)
		return;
	core->is_stream_asleep = false;
	bus_emit_stream(core);
}

int op_stream_pull(struct core *core, struct op_call *call, struct agent_error **err)
{
	uint64_t after, last = audit_last_seq(core), left_s = account_unuse(core, call->caller.session_id);
	sd_bus_message *reply;
	uint32_t limit;
	int r;

	if (sd_bus_message_read(call->msg, "tu", &after, &limit) < 0)
		return op_unreadable(call, err);
	r = op_reply_new(call, &reply, err);
	if (r < 0)
		return r;
	r = sd_bus_message_append(reply, "tt", last, left_s);
	if (r >= 0)
		r = updates_append(core, reply);
	if (r >= 0)
		r = audit_append(core, reply, after, limit, err);
	if (r >= 0)
		core->is_stream_asleep = true;
	return op_reply_end(call, reply, r, "what is new", err);
}
