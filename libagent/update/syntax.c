/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/syntax.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libconfig.h>

#include "base/macro.h"

/* The end of the comment at @text, or @text where there is none. "#" is one of libconfig alone. */
static char *comment_end(char *text, bool is_json)
{
	char *end;

	if ((text[0] == '#' && !is_json) || (text[0] == '/' && text[1] == '/'))
		return text + strcspn(text, "\n");
	if (text[0] != '/' || text[1] != '*')
		return text;
	end = strstr(text + 2, "*/");
	return end == NULL ? text + strlen(text) : end + 2;
}

/*
 * Comments become blanks, so that nothing behind takes them for text and lines keep their numbers. Stock SWUpdate reads them in JSON as well.
 * Is it JSON? No libconfig file begins with a brace, every JSON manifest does.
 */
static bool comments_blank(char *text)
{
	bool in_string = false, has_begun = false, is_json = false;

	for (char *p = text; *p != '\0'; p++) {
		char *end = in_string ? p : comment_end(p, is_json);

		if (end > p) {
			for (; p < end; p++)
				if (*p != '\n')
					*p = ' ';
			p--;
			continue;
		}
		if (!has_begun && strchr(" \t\r\n", *p) == NULL) {
			has_begun = true;
			is_json = *p == '{';
		}
		if (in_string && *p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '"')
			in_string = !in_string;
	}
	return is_json;
}

/* Before any parser recurses: how deep are brackets nested outside of strings? */
static int depth_check(const char *text, size_t size, struct agent_error **err)
{
	bool in_string = false;
	size_t depth = 0;

	for (size_t i = 0; i < size; i++) {
		char ch = text[i];

		if (in_string) {
			if (ch == '\\')
				i++;
			else if (ch == '"')
				in_string = false;
			continue;
		}
		if (ch == '"')
			in_string = true;
		else if (ch == '{' || ch == '[' || ch == '(')
			depth++;
		else if ((ch == '}' || ch == ']' || ch == ')') && depth > 0)
			depth--;
		if (depth > SYNTAX_DEPTH_MAX)
			return agent_error_set(err, -EMSGSIZE, "manifest.depth", "sw-description nests deeper than %d", SYNTAX_DEPTH_MAX);
	}
	return 0;
}

static int scalar_convert(const config_setting_t *in, json_t **ret_out, struct agent_error **err)
{
	const char *text;

	switch (config_setting_type(in)) {
	case CONFIG_TYPE_INT:
		*ret_out = json_integer(config_setting_get_int(in));
		break;
	case CONFIG_TYPE_INT64:
		*ret_out = json_integer(config_setting_get_int64(in));
		break;
	case CONFIG_TYPE_BOOL:
		*ret_out = json_boolean(config_setting_get_bool(in));
		break;
	case CONFIG_TYPE_STRING:
		text = config_setting_get_string(in);
		*ret_out = json_string(text == NULL ? "" : text);
		if (*ret_out == NULL)
			return agent_error_set(err, -EBADMSG, "manifest.syntax", "line %u of sw-description is not UTF-8", config_setting_source_line(in));
		break;
	default:
		return agent_error_set(err, -EBADMSG, "manifest.syntax", "line %u of sw-description: fractions have no meaning here",
				       config_setting_source_line(in));
	}
	return *ret_out == NULL ? agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description") : 0;
}

static int tree_convert(const config_setting_t *in, unsigned depth, json_t **ret_out, struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *out = NULL;
	bool is_group = config_setting_is_group(in);
	int r;

	if (!config_setting_is_aggregate(in))
		return scalar_convert(in, ret_out, err);
	if (depth > SYNTAX_DEPTH_MAX)
		return agent_error_set(err, -EMSGSIZE, "manifest.depth", "sw-description nests deeper than %d", SYNTAX_DEPTH_MAX);
	out = is_group ? json_object() : json_array();
	for (int i = 0; out != NULL && i < config_setting_length(in); i++) {
		const config_setting_t *child = config_setting_get_elem(in, (unsigned)i);
		const char *name = config_setting_name(child);
		json_t *value = NULL;

		r = tree_convert(child, depth + 1, &value, err);
		if (r < 0)
			return r;
		if (is_group && json_object_get(out, name) != NULL) {
			json_decref(value);
			return agent_error_set(err, -EBADMSG, "manifest.duplicate", "line %u of sw-description: %s appears twice",
					       config_setting_source_line(child), name);
		}
		if ((is_group ? json_object_set_new(out, name, value) : json_array_append_new(out, value)) < 0)
			return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
	}
	if (out == NULL)
		return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
	*ret_out = TAKE_PTR(out);
	return 0;
}

#define WORD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-*.+"

/* Is the word of @n bytes at @text a number without "L"? -ERANGE when 64 bits are too few. */
static int lacks_long(const char *text, size_t n)
{
	size_t sign = *text == '-' || *text == '+', at = sign;
	bool is_hex = n > sign + 2 && text[at] == '0' && (text[at + 1] == 'x' || text[at + 1] == 'X');
	char *end = NULL;

	if (text[at] < '0' || text[at] > '9')
		return 0;
	errno = 0;
	(void)strtoll(text, &end, is_hex ? 16 : 10);
	if (end != text + n && *end != 'L')
		return 0;	/* a fraction, or no number at all */
	return errno != 0 ? -ERANGE : end == text + n;
}

/*
 * libconfig before 1.7 drops the upper half of a number without "L" behind it, and all of them stop at the highest of 64 bits: offset 4294967296
 * would be the beginning of the slot. So each number gets an "L" here; all of them, as those of an array must be of one kind.
 */
static int numbers_widen(const char *text, char **ret_text, struct agent_error **err)
{
	char *out = malloc(strlen(text) * 2 + 1), *to = out;
	bool in_string = false;
	unsigned line = 1;

	if (out == NULL)
		return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
	while (*text != '\0') {
		size_t n = in_string ? 0 : strspn(text, WORD);
		int r = n == 0 ? 0 : lacks_long(text, n);

		if (r < 0) {
			free(out);
			return agent_error_set(err, -EBADMSG, "manifest.syntax", "line %u of sw-description: %.40s has more than 64 bits", line, text);
		}
		line += *text == '\n';
		if (*text == '"')
			in_string = !in_string;
		if (n == 0)
			n = in_string && *text == '\\' && text[1] != '\0' ? 2 : 1;
		memcpy(to, text, n);
		to += n;
		text += n;
		if (r > 0)
			*to++ = 'L';
	}
	*to = '\0';
	*ret_text = out;
	return 0;
}

static int libconfig_parse(const char *given, json_t **ret_root, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	config_t config;
	int r = numbers_widen(given, &text, err);

	if (r < 0)
		return r;
	config_init(&config);
	if (config_read_string(&config, text) != CONFIG_TRUE) {
		const char *why = config_error_text(&config);
		bool is_duplicate = why != NULL && strstr(why, "duplicate") != NULL;

		r = agent_error_set(err, -EBADMSG, is_duplicate ? "manifest.duplicate" : "manifest.syntax", "line %d of sw-description: %s",
				    config_error_line(&config), why == NULL ? "syntax error" : why);
	} else {
		r = tree_convert(config_root_setting(&config), 0, ret_root, err);
	}
	config_destroy(&config);
	return r;
}

/* The member that is a fraction, or holds one in a list; NULL if none does. @name is that of @node. */
static const char *fraction_find(const json_t *node, const char *name)
{
	const char *key, *found = json_is_real(node) ? name : NULL;
	json_t *child;
	size_t i;

	json_object_foreach((json_t *)node, key, child)
		if (found == NULL)
			found = fraction_find(child, key);
	json_array_foreach(node, i, child)
		if (found == NULL)
			found = fraction_find(child, name);
	return found;
}

static int json_parse(const char *text, size_t size, json_t **ret_root, struct agent_error **err)
{
	json_error_t error;
	const char *fraction;
	json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);

	if (root == NULL)
		return agent_error_set(err, -EBADMSG,
				       json_error_code(&error) == json_error_duplicate_key ? "manifest.duplicate" : "manifest.syntax",
				       "line %d of sw-description: %s", error.line, error.text);
	fraction = fraction_find(root, "");
	if (fraction != NULL) {
		agent_error_set(err, -EBADMSG, "manifest.syntax", "sw-description: %.60s is a fraction, which has no meaning here", fraction);
		json_decref(root);
		return -EBADMSG;
	}
	*ret_root = root;
	return 0;
}

int syntax_parse(const char *given, size_t size, json_t **ret_root, bool *ret_is_json, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	bool is_json;
	int r;

	if (memchr(given, '\0', size) != NULL)
		return agent_error_set(err, -EBADMSG, "manifest.syntax", "sw-description holds a NUL byte");
	text = strdup(given);
	if (text == NULL)
		return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
	is_json = comments_blank(text);
	/* libconfig would open files for it. No bundle needs the word, so it is refused even inside strings. */
	if (strstr(text, "@include") != NULL)
		return agent_error_set(err, -EBADMSG, "manifest.include", "sw-description must not include other files");
	r = depth_check(text, size, err);
	if (r < 0)
		return r;
	if (ret_is_json != NULL)
		*ret_is_json = is_json;
	return is_json ? json_parse(text, size, ret_root, err) : libconfig_parse(text, ret_root, err);
}
