/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/common/bus_json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define BUS_DEPTH_MAX 8

static json_t *value_read(sd_bus_message *m, unsigned depth);

static json_t *container_read(sd_bus_message *m, char type, const char *contents, unsigned depth)
{
	bool is_dict = type == 'a' && contents[0] == '{';
	json_t *json = is_dict ? json_object() : json_array(), *value;

	if (json == NULL || sd_bus_message_enter_container(m, type, contents) < 0)
		goto fail;
	while (sd_bus_message_at_end(m, false) == 0) {
		const char *key = NULL;

		if (is_dict) {
			if (sd_bus_message_enter_container(m, 'e', NULL) < 0 || sd_bus_message_read_basic(m, 's', &key) < 0)
				goto fail;
			value = value_read(m, depth + 1);
			if (value == NULL || json_object_set_new(json, key, value) < 0 || sd_bus_message_exit_container(m) < 0)
				goto fail;
		} else {
			value = value_read(m, depth + 1);
			if (value == NULL || json_array_append_new(json, value) < 0)
				goto fail;
		}
	}
	if (sd_bus_message_exit_container(m) < 0)
		goto fail;
	return json;
fail:
	json_decref(json);
	return NULL;
}

static json_t *number(uint64_t v)
{
	char text[24];

	if (v <= INT64_MAX)
		return json_integer((json_int_t)v);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	return json_string(text);
}

static json_t *value_read(sd_bus_message *m, unsigned depth)
{
	union { const char *s; uint8_t y; int b; int16_t n; uint16_t q; int32_t i; uint32_t u; int64_t x; uint64_t t; double d; } v;
	const char *contents;
	json_t *json;
	char type;

	if (depth > BUS_DEPTH_MAX || sd_bus_message_peek_type(m, &type, &contents) <= 0)
		return NULL;
	if (type == 'v') {
		if (sd_bus_message_enter_container(m, 'v', contents) < 0)
			return NULL;
		json = value_read(m, depth + 1);
		if (json != NULL && sd_bus_message_exit_container(m) < 0) {
			json_decref(json);
			json = NULL;
		}
		return json;
	}
	if (type == 'a')
		return container_read(m, type, contents, depth);
	if (strchr("sobynqiuxtd", type) == NULL || sd_bus_message_read_basic(m, type, &v) < 0)
		return NULL;
	switch (type) {
	case 's':
	case 'o':
		return json_string(v.s);
	case 'b':
		return json_boolean(v.b);
	case 'y':
		return json_integer(v.y);
	case 'n':
		return json_integer(v.n);
	case 'q':
		return json_integer(v.q);
	case 'i':
		return json_integer(v.i);
	case 'u':
		return json_integer(v.u);
	case 'x':
		return json_integer(v.x);
	case 't':
		return number(v.t);
	default:
		return json_real(v.d);
	}
}

json_t *bus_json_read(sd_bus_message *message)
{
	return value_read(message, 0);
}
