/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/look_bus.h"

#include <errno.h>

#include "agentd/common/fields.h"
#include "agentd/common/peer.h"
#include "base/macro.h"

int look_read_device(sd_bus_message *m, struct device *ret_device, struct agent_error **err)
{
	struct device device = { 0 };
#define TEXT(member) FIELD_MEMBER(FIELD_TEXT, &device, member)
	const struct field fields[] = {
		TEXT(stage), TEXT(booted_slot), TEXT(target_slot), TEXT(version), TEXT(release_id), TEXT(failed_release_id), TEXT(product), TEXT(serial),
		TEXT(model), TEXT(agent_version), TEXT(action), TEXT(waits_for), TEXT(approved), TEXT(approved_version), TEXT(outcome), TEXT(outcome_text),
		{ "done_bytes", FIELD_NUMBER, &device.done_bytes, 0 },
		{ "total_bytes", FIELD_NUMBER, &device.total_bytes, 0 },
		{ "floor", FIELD_NUMBER, &device.floor, 0 },
		{ "is_busy", FIELD_TRUTH, &device.is_busy, 0 },
		{ "has_outcome", FIELD_TRUTH, &device.has_outcome, 0 },
	};
#undef TEXT

	if (fields_read(m, fields, ARRAY_SIZE(fields)) < 0)
		return agent_error_set(err, -EBADMSG, "bus.protocol", "Look needs the state of the device");
	*ret_device = device;
	return 0;
}

static const char *if_any(const char *text)
{
	return text[0] == '\0' ? NULL : text;
}

static int append_offer(sd_bus_message *m, const struct source_result *result)
{
	int r;

	if (!result->has_offer)
		return 0;
	r = peer_append_string(m, "url", result->bundle.url);
	if (r >= 0)
		r = peer_append_u64(m, "size", result->bundle.size);
	return r < 0 ? r : peer_append_bool(m, "is_forced", result->is_forced);
}

int look_append_result(sd_bus_message *m, const struct source_result *result)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = peer_append_string(m, "state", result->state);
	if (r >= 0)
		r = peer_append_string(m, "detail", if_any(result->detail));
	if (r >= 0)
		r = peer_append_u64(m, "next_ms", result->next_ms);
	if (r >= 0)
		r = peer_append_bool(m, "has_failed", result->has_failed);
	if (r >= 0)
		r = peer_append_bool(m, "must_abort", result->must_abort);
	if (r >= 0)
		r = peer_append_string(m, "action", if_any(result->action));
	if (r >= 0)
		r = peer_append_string(m, "version", if_any(result->version));
	if (r >= 0)
		r = peer_append_string(m, "waits_for", if_any(result->waits_for));
	if (r >= 0 && result->has_told)
		r = peer_append_string(m, "told", result->told);
	if (r >= 0)
		r = append_offer(m, result);
	return r < 0 ? r : sd_bus_message_close_container(m);
}
