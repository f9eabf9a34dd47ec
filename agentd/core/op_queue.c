/* SPDX-License-Identifier: Apache-2.0 */
/* What agentd-link tells of its queues, kept for whoever asks. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "agentd/common/peer.h"
#include "agentd/common/topics.h"
#include "agentd/core/core.h"
#include "base/macro.h"

#define WHY_MAX 512

static const char *const counters[] = {
#define QC(name, meaning) #name,
#include "agentd/common/queue_counters.def"
#undef QC
};

/* Read to the end once, so that what is kept can be read again by QueueList without an error. */
static int check(sd_bus_message *m)
{
	const char *name, *why;
	const void *numbers;
	size_t size, n = 0;
	int r = sd_bus_message_enter_container(m, 'a', "(ssat)");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "ssat")) > 0) {
		r = sd_bus_message_read(m, "ss", &name, &why);
		if (r >= 0)
			r = sd_bus_message_read_array(m, 't', &numbers, &size);
		if (r >= 0 && (size != ARRAY_SIZE(counters) * sizeof(uint64_t) || ++n > QUEUE_CLASSES_MAX || strlen(name) > QUEUE_NAME_MAX ||
			       strlen(why) > WHY_MAX))
			r = -EINVAL;
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r;
}

int op_link_queues(struct core *core, struct op_call *call, struct agent_error **err)
{
	if (check(call->msg) < 0)
		return agent_error_set(err, -EINVAL, "bus.arguments", "LinkQueues was called with something else than queues and their counters");
	sd_bus_message_unref(core->link_queues);
	core->link_queues = sd_bus_message_ref(call->msg);
	return op_reply(call, NULL);
}

static int append_queue(sd_bus_message *reply, sd_bus_message *m)
{
	const char *name, *why;
	const uint64_t *numbers;
	size_t size;
	int r = sd_bus_message_read(m, "ss", &name, &why);

	if (r >= 0)
		r = sd_bus_message_read_array(m, 't', (const void **)&numbers, &size);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = peer_append_string(reply, "name", name);
	if (r >= 0 && why[0] != '\0')
		r = peer_append_string(reply, "error", why);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(counters); i++)
		r = peer_append_u64(reply, counters[i], numbers[i]);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_queues(struct core *core, sd_bus_message *reply)
{
	sd_bus_message *m = core->link_queues;
	int r = sd_bus_message_open_container(reply, 'a', "a{sv}");

	if (r >= 0 && m != NULL) {
		r = sd_bus_message_rewind(m, true);
		if (r >= 0)
			r = sd_bus_message_enter_container(m, 'a', "(ssat)");
		while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "ssat")) > 0) {
			r = append_queue(reply, m);
			if (r >= 0)
				r = sd_bus_message_exit_container(m);
		}
	}
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

int op_queue_list(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply_made(core, call, append_queues, "the list of queues", err);
}
