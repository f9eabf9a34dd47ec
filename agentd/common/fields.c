/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/common/fields.h"

#include <stdbool.h>
#include <string.h>

static const char *type_of(enum field_kind kind)
{
	return kind == FIELD_NUMBER ? "t" : kind == FIELD_TRUTH ? "b" : "s";
}

static void take_text(const struct field *field, const char *text)
{
	size_t length = strlen(text);

	if (length >= field->size)
		length = field->kind == FIELD_WHOLE_TEXT ? 0 : field->size - 1;
	memcpy(field->to, text, length);
	((char *)field->to)[length] = '\0';
}

static int read_value(sd_bus_message *m, const struct field *field)
{
	const char *text;
	int r, truth;

	switch (field->kind) {
	case FIELD_NUMBER:
		return sd_bus_message_read(m, "v", "t", field->to);
	case FIELD_TRUTH:
		r = sd_bus_message_read(m, "v", "b", &truth);
		if (r >= 0)
			*(bool *)field->to = truth != 0;
		return r;
	case FIELD_TEXT_REF:
		return sd_bus_message_read(m, "v", "s", field->to);
	default:
		r = sd_bus_message_read(m, "v", "s", &text);
		if (r >= 0)
			take_text(field, text);
		return r;
	}
}

/* The value of one entry, whose key has been read. */
static int read_entry(sd_bus_message *m, const char *key, const struct field *fields, size_t n_fields)
{
	const char *type;
	int r = sd_bus_message_peek_type(m, NULL, &type);

	for (size_t i = 0; r >= 0 && i < n_fields; i++)
		if (strcmp(fields[i].key, key) == 0)
			return strcmp(type, type_of(fields[i].kind)) == 0 ? read_value(m, &fields[i]) : sd_bus_message_skip(m, "v");
	return r < 0 ? r : sd_bus_message_skip(m, "v");
}

int fields_read(sd_bus_message *m, const struct field *fields, size_t n_fields)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		const char *key;

		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0)
			r = read_entry(m, key, fields, n_fields);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}
