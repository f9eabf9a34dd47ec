/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/common/args.h"

#include <errno.h>
#include <string.h>

#include "agentd/common/json_depth.h"
#include "base/secret.h"

static const struct arg_rule *rule_find(const struct arg_rule *rules, const char *name)
{
	for (; rules->name != NULL; rules++)
		if (strcmp(rules->name, name) == 0)
			return rules;
	return NULL;
}

static size_t count_characters(const char *text)
{
	size_t n = 0;

	/* JSON texts are valid UTF-8 by now: all but continuation bytes begin a character. */
	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* "a-z0-9-": ranges, and a "-" at the end for itself. */
static bool byte_is_in(const char *bytes, char byte)
{
	for (const char *p = bytes; *p != '\0'; p++) {
		if (p[1] == '-' && p[2] != '\0') {
			if (byte >= p[0] && byte <= p[2])
				return true;
			p += 2;
		} else if (*p == byte) {
			return true;
		}
	}
	return false;
}

static bool is_one_of(const char *values, const char *text)
{
	size_t n_text = strlen(text);

	for (const char *p = values; *p != '\0';) {
		size_t n = strcspn(p, " ");

		if (n == n_text && memcmp(p, text, n) == 0)
			return true;
		p += n;
		p += strspn(p, " ");
	}
	return false;
}

int args_check_text(const struct arg_rule *rule, const char *text, struct agent_error **err)
{
	size_t n = count_characters(text);

	if (n > rule->max)
		return agent_error_set(err, -EMSGSIZE, "args.length", "%s has %zu characters, at most %llu are accepted", rule->name, n,
				       (unsigned long long)rule->max);
	if (n < rule->min)
		return agent_error_set(err, -EINVAL, "args.value", "%s has %zu characters, at least %llu are needed", rule->name, n,
				       (unsigned long long)rule->min);
	if (rule->values != NULL && !is_one_of(rule->values, text))
		return agent_error_set(err, -EINVAL, "args.value", "%s is one of: %s", rule->name, rule->values);
	for (const char *p = text; rule->bytes != NULL && *p != '\0'; p++)
		if (!byte_is_in(rule->bytes, *p))
			return agent_error_set(err, -EINVAL, "args.value", "%s may hold %s only", rule->name, rule->bytes);
	return 0;
}

static int check_number(const struct arg_rule *rule, json_int_t value, struct agent_error **err)
{
	if (value < 0 || (uint64_t)value < rule->min || (uint64_t)value > rule->max)
		return agent_error_set(err, -EINVAL, "args.value", "%s is a number from %llu to %llu", rule->name,
				       (unsigned long long)rule->min, (unsigned long long)rule->max);
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
		r = json_is_string(value) ? args_check_text(rule, json_string_value(value), err) :
					    agent_error_set(err, -EBADMSG, "args.type", "%s must be a list of texts", rule->name);
		if (r < 0)
			break;
	}
	return r;
}

static int check_member(const struct arg_rule *rule, const json_t *value, struct agent_error **err)
{
	static const char *const type_names[] = { [ARG_TEXT] = "a text", [ARG_NUMBER] = "a whole number", [ARG_TRUTH] = "true or false",
						  [ARG_TEXTS] = "a list of texts", [ARG_OBJECT] = "an object" };
	bool is_right = rule->type == ARG_TEXT ? json_is_string(value) :
			rule->type == ARG_NUMBER ? json_is_integer(value) :
			rule->type == ARG_TEXTS	 ? json_is_array(value) :
			rule->type == ARG_OBJECT ? json_is_object(value) :
						   json_is_boolean(value);

	if (!is_right)
		return agent_error_set(err, -EBADMSG, "args.type", "%s must be %s", rule->name, type_names[rule->type]);
	if (rule->type == ARG_TEXTS)
		return check_list(rule, value, err);
	if (rule->type == ARG_TEXT)
		return args_check_text(rule, json_string_value(value), err);
	if (rule->type == ARG_NUMBER)
		return check_number(rule, json_integer_value(value), err);
	return 0;
}

int args_check(json_t *object, const struct arg_rule *rules, struct agent_error **err)
{
	json_t *value;
	const char *name;
	int r = 0;

	json_object_foreach(object, name, value) {
		const struct arg_rule *rule = rule_find(rules, name);

		r = rule == NULL ? agent_error_set(err, -EBADMSG, "args.unknown", "unknown member '%.32s'", name) :
				   check_member(rule, value, err);
		if (r < 0)
			return r;
	}
	for (const struct arg_rule *rule = rules; rule->name != NULL; rule++)
		if (rule->is_required && json_object_get(object, rule->name) == NULL)
			return agent_error_set(err, -EBADMSG, "args.missing", "member '%s' is missing", rule->name);
	return 0;
}

int args_parse(const char *data, size_t size, const struct arg_rule *rules, json_t **ret_args, struct agent_error **err)
{
	json_error_t why;
	json_t *args;
	int r;

	if (json_is_too_deep(data, size, ARGS_DEPTH_MAX))
		return agent_error_set(err, -EBADMSG, "args.depth", "JSON is nested deeper than %d levels", ARGS_DEPTH_MAX);
	args = json_loadb(data, size, JSON_REJECT_DUPLICATES, &why);
	if (args == NULL) {
		/* jansson's sentence may quote the text it stumbled over, which can be a password: say the place only. */
		if (json_error_code(&why) == json_error_duplicate_key)
			return agent_error_set(err, -EBADMSG, "args.duplicate", "a member occurs twice, line %d column %d", why.line,
					       why.column);
		return agent_error_set(err, -EBADMSG, "args.syntax", "not valid JSON at line %d column %d%s", why.line, why.column,
				       json_error_code(&why) == json_error_numeric_overflow ? ": no number is so large" :
				       json_error_code(&why) == json_error_invalid_utf8 ? ": text has to be UTF-8" : "");
	}
	if (!json_is_object(args)) {
		args_free(args);
		return agent_error_set(err, -EBADMSG, "args.type", "a JSON object is expected");
	}
	r = args_check(args, rules, err);
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

/* The digits from @p on, up to @end; -EBADMSG if that is no number or one beyond INT64_MAX. */
static int number_read(const char *p, const char *end, uint64_t *ret_value)
{
	uint64_t v = 0;

	if (p >= end)
		return -EBADMSG;
	for (; p < end; p++) {
		uint64_t digit = (uint64_t)(unsigned char)*p - '0';

		if (digit > 9 || v > (INT64_MAX - digit) / 10)
			return -EBADMSG;
		v = v * 10 + digit;
	}
	*ret_value = v;
	return 0;
}

int query_u64(const char *query, const char *name, uint64_t *ret_value)
{
	size_t n_name = strlen(name);

	for (const char *p = query; *p != '\0';) {
		size_t n = strcspn(p, "&");

		if (n > n_name && strncmp(p, name, n_name) == 0 && p[n_name] == '=')
			return number_read(p + n_name + 1, p + n, ret_value);
		p += n;
		if (*p == '&')
			p++;
	}
	return -ENOENT;
}

static int check_query_value(const struct arg_rule *rule, const char *value, size_t size, struct agent_error **err)
{
	char text[257];
	uint64_t number;

	if (rule->type == ARG_NUMBER) {
		if (number_read(value, value + size, &number) < 0 || number < rule->min || number > rule->max)
			return agent_error_set(err, -EBADMSG, "args.value", "%s is a number from %llu to %llu", rule->name,
					       (unsigned long long)rule->min, (unsigned long long)rule->max);
		return 0;
	}
	if (size >= sizeof(text))
		return agent_error_set(err, -EBADMSG, "args.value", "%s is too long", rule->name);
	memcpy(text, value, size);
	text[size] = '\0';
	return args_check_text(rule, text, err) < 0 ? -EBADMSG : 0;
}

int query_check(const char *query, const struct arg_rule *rules, struct agent_error **err)
{
	unsigned seen = 0;
	int r = 0;

	for (const char *p = query; r == 0 && *p != '\0';) {
		size_t n = strcspn(p, "&"), n_name = strcspn(p, "=&");
		const struct arg_rule *rule = rules;

		while (rule != NULL && rule->name != NULL && (strlen(rule->name) != n_name || strncmp(rule->name, p, n_name) != 0))
			rule++;
		if (rule == NULL || rule->name == NULL || (seen & 1u << (rule - rules)) != 0)
			return agent_error_set(err, -EBADMSG, "args.unknown", "unknown or repeated query argument");
		seen |= 1u << (rule - rules);
		r = check_query_value(rule, p + n_name + (n_name < n), n - n_name - (n_name < n), err);
		p += n;
		if (*p == '&')
			p++;
	}
	return r;
}
