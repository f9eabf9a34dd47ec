/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/bundle_text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"

/* libconfig manual, "Settings": a letter or '*', then letters, digits, '-', '_' and '*'. */
static bool is_name(const char *text)
{
	if (!isalpha((unsigned char)text[0]) && text[0] != '*')
		return false;
	for (const char *p = text; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && strchr("-_*", *p) == NULL)
			return false;
	return true;
}

static void put_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7f)
			fprintf(out, "\\x%02x", *p);
		else
			fputc(*p, out);
	}
	fputc('"', out);
}

static void indent(FILE *out, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		fputs("  ", out);
}

/* The name of the setting decides about the "L": sizes are 64 bit for stock SWUpdate, whatever their value. */
static void put_integer(FILE *out, const char *name, json_int_t value)
{
	static const char *const wide[] = { "size", "security-version", "not-before", "not-after" };
	bool is_wide = value > INT32_MAX || value < INT32_MIN;

	for (size_t i = 0; name != NULL && i < ARRAY_SIZE(wide); i++)
		is_wide = is_wide || strcmp(name, wide[i]) == 0;
	fprintf(out, "%" JSON_INTEGER_FORMAT "%s", value, is_wide ? "L" : "");
}

static int put_value(FILE *out, const char *name, const json_t *value, unsigned depth, struct agent_error **err);

static int put_group(FILE *out, const json_t *group, unsigned depth, struct agent_error **err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)group, key, value) {
		int r;

		if (!is_name(key))
			return agent_error_set(err, -EBADMSG, "manifest.syntax", "libconfig has no spelling for the name \"%.60s\": write the description as JSON", key);
		indent(out, depth);
		fprintf(out, "%s = ", key);
		r = put_value(out, key, value, depth, err);
		if (r < 0)
			return r;
		fputs(";\n", out);
	}
	return 0;
}

/* "[ ]" for scalars, which stock SWUpdate wants for hardware-compatibility, and "( )" for the rest. */
static int put_list(FILE *out, const json_t *list, unsigned depth, struct agent_error **err)
{
	bool is_array = !json_is_object(json_array_get(list, 0)) && !json_is_array(json_array_get(list, 0));
	const json_t *value;
	size_t i;

	fputs(is_array ? "[ " : "( ", out);
	json_array_foreach(list, i, value) {
		int r;

		if (i > 0)
			fputs(", ", out);
		r = put_value(out, NULL, value, depth, err);
		if (r < 0)
			return r;
	}
	fputs(is_array ? " ]" : " )", out);
	return 0;
}

static int put_value(FILE *out, const char *name, const json_t *value, unsigned depth, struct agent_error **err)
{
	int r;

	switch (json_typeof(value)) {
	case JSON_OBJECT:
		fputs("{\n", out);
		r = put_group(out, value, depth + 1, err);
		indent(out, depth);
		fputc('}', out);
		return r;
	case JSON_ARRAY:
		return put_list(out, value, depth, err);
	case JSON_STRING:
		put_string(out, json_string_value(value));
		return 0;
	case JSON_INTEGER:
		put_integer(out, name, json_integer_value(value));
		return 0;
	case JSON_TRUE:
	case JSON_FALSE:
		fputs(json_is_true(value) ? "true" : "false", out);
		return 0;
	default:
		return agent_error_set(err, -EBADMSG, "manifest.syntax", "%s has a value that no description holds", name == NULL ? "a list" : name);
	}
}

int bundle_text(const json_t *root, bool as_json, char **ret_text, struct agent_error **err)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out;
	int r = 0;

	if (as_json) {
		*ret_text = json_dumps(root, JSON_INDENT(2));
		return *ret_text == NULL ? agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description") : 0;
	}
	out = open_memstream(&text, &size);
	if (out != NULL) {
		r = put_group(out, root, 0, err);
		if (fclose(out) != 0)
			text = NULL;
	}
	if (text == NULL)
		return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
	if (r < 0) {
		free(text);
		return r;
	}
	*ret_text = text;
	return 0;
}
