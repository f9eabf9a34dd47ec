/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/args.h"

#include <errno.h>
#include <string.h>

#include "base/secret.h"

/* jansson has a depth limit of its own, far too generous for the stack of a small device; look before it recurses. */
static bool is_too_deep(const char *data, size_t size)
{
	bool in_text = false;
	unsigned depth = 0;

	for (size_t i = 0; i < size; i++) {
		if (in_text) {
			if (data[i] == '\\')
				i++;
			else if (data[i] == '"')
				in_text = false;
		} else if (data[i] == '"') {
			in_text = true;
		} else if (data[i] == '{' || data[i] == '[') {
			if (++depth > ARGS_DEPTH_MAX)
				return true;
		} else if ((data[i] == '}' || data[i] == ']') && depth > 0) {
			depth--;
		}
	}
	return false;
}

static const struct arg_rule *rule_find(const struct arg_rule *rules, const char *name)
{
	for (; rules->name != NULL; rules++)
		if (strcmp(rules->name, name) == 0)
			return rules;
	return NULL;
}

static int check_text(const struct arg_rule *rule, const json_t *value, struct agent_error **err)
{
	if (json_string_length(value) > rule->max_bytes)
		return agent_error_set(err, -EMSGSIZE, "args.length", "%s has %zu bytes, at most %zu are accepted", rule->name,
				       json_string_length(value), rule->max_bytes);
	return 0;
}

static int check_list(const struct arg_rule *rule, const json_t *list, struct agent_error **err)
{
	const json_t *value;
	size_t i;
	int r = 0;

	if (json_array_size(list) > ARGS_TEXTS_MAX)
		return agent_error_set(err, -EMSGSIZE, "args.length", "%s has %zu entries, at most %d are accepted", rule->name,
				       json_array_size(list), ARGS_TEXTS_MAX);
	json_array_foreach(list, i, value) {
		r = json_is_string(value) ? check_text(rule, value, err) :
					    agent_error_set(err, -EBADMSG, "args.type", "%s must be a list of texts", rule->name);
		if (r < 0)
			break;
	}
	return r;
}

static int check_member(const struct arg_rule *rule, const json_t *value, struct agent_error **err)
{
	static const char *const type_names[] = { "a text", "a whole number", "true or false", "a list of texts" };
	bool is_right = rule->type == ARG_TEXT ? json_is_string(value) :
			rule->type == ARG_NUMBER ? json_is_integer(value) :
			rule->type == ARG_TEXTS	 ? json_is_array(value) :
						   json_is_boolean(value);

	if (!is_right)
		return agent_error_set(err, -EBADMSG, "args.type", "%s must be %s", rule->name, type_names[rule->type]);
	if (rule->type == ARG_TEXTS)
		return check_list(rule, value, err);
	if (rule->type == ARG_TEXT)
		return check_text(rule, value, err);
	return 0;
}

int args_parse(const char *data, size_t size, const struct arg_rule *rules, json_t **ret_args, struct agent_error **err)
{
	json_t *args, *value;
	json_error_t why;
	const char *name;
	int r = 0;

	if (is_too_deep(data, size))
		return agent_error_set(err, -EBADMSG, "args.depth", "JSON is nested deeper than %d levels", ARGS_DEPTH_MAX);
	args = json_loadb(data, size, JSON_REJECT_DUPLICATES, &why);
	if (args == NULL) {
		/* jansson's sentence may quote the text it stumbled over, which can be a password: say the place only. */
		if (json_error_code(&why) == json_error_duplicate_key)
			return agent_error_set(err, -EBADMSG, "args.duplicate", "a member occurs twice, line %d column %d", why.line,
					       why.column);
		return agent_error_set(err, -EBADMSG, "args.syntax", "not valid JSON at line %d column %d", why.line, why.column);
	}
	if (!json_is_object(args)) {
		args_free(args);
		return agent_error_set(err, -EBADMSG, "args.type", "a JSON object is expected");
	}
	json_object_foreach(args, name, value) {
		const struct arg_rule *rule = rule_find(rules, name);

		r = rule == NULL ? agent_error_set(err, -EBADMSG, "args.unknown", "unknown member '%.32s'", name) :
				   check_member(rule, value, err);
		if (r < 0)
			break;
	}
	for (const struct arg_rule *rule = rules; r >= 0 && rule->name != NULL; rule++)
		if (rule->is_required && json_object_get(args, rule->name) == NULL)
			r = agent_error_set(err, -EBADMSG, "args.missing", "member '%s' is missing", rule->name);
	if (r < 0) {
		args_free(args);
		return r;
	}
	*ret_args = args;
	return 0;
}

const char *args_text(const json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

static void wipe_texts(json_t *value)
{
	const char *name;
	json_t *member;
	size_t i;

	if (json_is_string(value)) {
		/* The text is ours alone: parsed here, never shared. */
		wipe((void *)(uintptr_t)json_string_value(value), json_string_length(value));
	} else if (json_is_object(value)) {
		json_object_foreach(value, name, member)
			wipe_texts(member);
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, member)
			wipe_texts(member);
	}
}

void args_free(json_t *args)
{
	if (args == NULL)
		return;
	wipe_texts(args);
	json_decref(args);
}

int query_u64(const char *query, const char *name, uint64_t max, uint64_t *ret_value)
{
	size_t n_name = strlen(name);

	for (const char *p = query; *p != '\0';) {
		size_t n = strcspn(p, "&");

		if (n > n_name && strncmp(p, name, n_name) == 0 && p[n_name] == '=') {
			uint64_t v = 0;

			if (n == n_name + 1)
				return -EBADMSG;
			for (size_t i = n_name + 1; i < n; i++) {
				uint64_t digit = (uint64_t)(unsigned char)p[i] - '0';

				if (digit > 9 || v > (max - digit) / 10)
					return -EBADMSG;
				v = v * 10 + digit;
			}
			*ret_value = v;
			return 0;
		}
		p += n;
		if (*p == '&')
			p++;
	}
	return -ENOENT;
}

bool query_is_known(const char *query, const char *allowed)
{
	unsigned seen = 0;

	for (const char *p = query; *p != '\0';) {
		size_t n = strcspn(p, "&"), n_name = strcspn(p, "=&");
		unsigned index = 0;
		bool is_found = false;

		for (const char *a = allowed; a != NULL && *a != '\0'; index++) {
			size_t n_word = strcspn(a, " ");

			if (n_word == n_name && strncmp(a, p, n_word) == 0) {
				is_found = (seen & 1u << index) == 0;
				seen |= 1u << index;
			}
			a += n_word;
			while (*a == ' ')
				a++;
		}
		if (!is_found)
			return false;
		p += n;
		if (*p == '&')
			p++;
	}
	return true;
}
