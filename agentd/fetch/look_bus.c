/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/look_bus.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "agentd/common/peer.h"
#include "base/macro.h"

static const struct {
	const char *key;
	size_t offset, size;
} texts[] = {
#define TEXT(member) { #member, offsetof(struct device, member), sizeof(((struct device *)0)->member) }
	TEXT(stage), TEXT(booted_slot), TEXT(target_slot), TEXT(version), TEXT(release_id), TEXT(failed_release_id), TEXT(product), TEXT(serial),
	TEXT(model), TEXT(agent_version), TEXT(action), TEXT(waits_for), TEXT(outcome), TEXT(outcome_text),
#undef TEXT
};

static const struct {
	const char *key;
	size_t offset;
} numbers[] = {
	{ "done_bytes", offsetof(struct device, done_bytes) },
	{ "total_bytes", offsetof(struct device, total_bytes) },
	{ "floor", offsetof(struct device, floor) },
};

static const struct {
	const char *key;
	size_t offset;
} truths[] = {
	{ "is_busy", offsetof(struct device, is_busy) },
	{ "has_outcome", offsetof(struct device, has_outcome) },
};

static int read_value(sd_bus_message *m, const char *key, const char *type, struct device *device)
{
	char *base = (char *)device;
	const char *text;
	int truth, r;

	for (size_t i = 0; strcmp(type, "s") == 0 && i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].key, key) == 0) {
			r = sd_bus_message_read(m, "v", "s", &text);
			if (r >= 0)
				snprintf(base + texts[i].offset, texts[i].size, "%s", text);
			return r;
		}
	for (size_t i = 0; strcmp(type, "t") == 0 && i < ARRAY_SIZE(numbers); i++)
		if (strcmp(numbers[i].key, key) == 0)
			return sd_bus_message_read(m, "v", "t", (uint64_t *)(void *)(base + numbers[i].offset));
	for (size_t i = 0; strcmp(type, "b") == 0 && i < ARRAY_SIZE(truths); i++)
		if (strcmp(truths[i].key, key) == 0) {
			r = sd_bus_message_read(m, "v", "b", &truth);
			if (r >= 0)
				*(bool *)(base + truths[i].offset) = truth != 0;
			return r;
		}
	return sd_bus_message_skip(m, "v");
}

int look_read_device(sd_bus_message *m, struct device *ret_device, struct agent_error **err)
{
	struct device device = { 0 };
	int r;

	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		const char *key, *type;
		char kind;

		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0)
			r = sd_bus_message_peek_type(m, &kind, &type);
		if (r >= 0)
			r = read_value(m, key, type, &device);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	if (r < 0)
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
	if (r >= 0 && result->has_told)
		r = peer_append_string(m, "told", result->told);
	if (r >= 0)
		r = append_offer(m, result);
	return r < 0 ? r : sd_bus_message_close_container(m);
}
