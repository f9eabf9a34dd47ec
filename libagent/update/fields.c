/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/fields.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"

bool manifest_is_name(const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && strchr("._+:-", text[i]) == NULL)
			return false;
	return n > 0 && n <= MANIFEST_TEXT_MAX;
}

int field_missing(const char *where, const char *key, struct agent_error **err)
{
	return agent_error_set(err, -EBADMSG, "manifest.missing", "%s has no %s", where, key);
}

int field_get_string(const json_t *group, const char *where, const char *key, char *ret_text, size_t size, struct agent_error **err)
{
	const json_t *node = json_object_get(group, key);
	size_t n;

	if (node == NULL)
		return field_missing(where, key, err);
	if (!json_is_string(node))
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s: %s must be a string", where, key);
	n = json_string_length(node);
	if (n == 0 || n >= size || n > FIELD_STRING_MAX || memchr(json_string_value(node), '\0', n) != NULL)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: %s must have 1 to %zu characters", where, key, size - 1);
	memcpy(ret_text, json_string_value(node), n + 1);
	return 0;
}

int field_get_name(const json_t *group, const char *where, const char *key, char ret_text[MANIFEST_TEXT_MAX + 1], struct agent_error **err)
{
	int r = field_get_string(group, where, key, ret_text, MANIFEST_TEXT_MAX + 1, err);

	if (r == 0 && !manifest_is_name(ret_text))
		r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: %s may hold letters, digits and ._+:- only", where, key);
	return r;
}

int field_get_u64(const json_t *group, const char *where, const char *key, uint64_t min, uint64_t max, uint64_t *ret_value, struct agent_error **err)
{
	const json_t *node = json_object_get(group, key);
	uint64_t value = 0;

	if (node == NULL)
		return field_missing(where, key, err);
	if (json_is_integer(node) && json_integer_value(node) >= 0) {
		value = (uint64_t)json_integer_value(node);
	} else if (json_is_string(node) && json_string_length(node) > 0 && json_string_length(node) <= 18 &&
		   strspn(json_string_value(node), "0123456789") == json_string_length(node)) {
		for (const char *p = json_string_value(node); *p != '\0'; p++)
			value = value * 10 + (uint64_t)(*p - '0');
	} else {
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s: %s must be a number that is not negative", where, key);
	}
	if (value < min || value > max)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: %s is %" PRIu64 ", allowed are %" PRIu64 " to %" PRIu64,
				       where, key, value, min, max);
	*ret_value = value;
	return 0;
}

int field_get_bool(const json_t *group, const char *where, const char *key, bool *ret_value, struct agent_error **err)
{
	const json_t *node = json_object_get(group, key);

	*ret_value = json_is_true(node) || (json_is_string(node) && strcmp(json_string_value(node), "true") == 0);
	if (*ret_value || node == NULL || json_is_false(node) || (json_is_string(node) && strcmp(json_string_value(node), "false") == 0))
		return 0;
	return agent_error_set(err, -EBADMSG, "manifest.type", "%s: %s must be true or false", where, key);
}

int field_get_sha256(const json_t *group, const char *where, const char *key, uint8_t ret_digest[DIGEST_SIZE], struct agent_error **err)
{
	static const uint8_t none[DIGEST_SIZE]; /* stock SWUpdate takes all zero for "no hash" */
	char text[2 * DIGEST_SIZE + 1];
	int r = field_get_string(group, where, key, text, sizeof(text), err);

	if (r < 0)
		return r;
	if (hex_decode(text, strlen(text), ret_digest, DIGEST_SIZE) < 0 || memcmp(ret_digest, none, sizeof(none)) == 0)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: %s must be 64 hexadecimal digits, not all zero", where, key);
	return 0;
}

int fields_are_strings(const json_t *group, const char *where, const char *const *names, struct agent_error **err)
{
	for (size_t i = 0; names[i] != NULL; i++)
		if (json_object_get(group, names[i]) != NULL && !json_is_string(json_object_get(group, names[i])))
			return agent_error_set(err, -EBADMSG, "manifest.type", "%s: %s must be a string", where, names[i]);
	return 0;
}

int fields_are_bools(const json_t *group, const char *where, const char *const *names, struct agent_error **err)
{
	bool value;
	int r = 0;

	for (size_t i = 0; r == 0 && names[i] != NULL; i++)
		r = field_get_bool(group, where, names[i], &value, err);
	return r;
}

int fields_check(const json_t *group, const char *where, const char *const *known, struct agent_error **err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)group, key, value) {
		size_t i = 0;

		while (known[i] != NULL && strcmp(known[i], key) != 0)
			i++;
		if (known[i] == NULL)
			return agent_error_set(err, -EBADMSG, "manifest.unknown", "%s: %s is not known", where, key);
	}
	return 0;
}

int fields_refuse(const json_t *group, const char *where, const char *const *names, struct agent_error **err)
{
	for (size_t i = 0; names[i] != NULL; i++)
		if (json_object_get(group, names[i]) != NULL)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: %s is not supported", where, names[i]);
	return 0;
}
