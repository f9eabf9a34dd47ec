/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "password/order.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/macro.h"

#define PROFILE "agent-provisioning-1"
#define UNITS_MAX 4096
#define SERIAL_MAX 128

static int malformed(struct agent_error **err, const char *what)
{
	return agent_error_set(err, -EBADMSG, "provision.format", "the provisioning file: %s", what);
}

static bool is_text(const json_t *node, size_t max)
{
	return json_is_string(node) && json_string_length(node) >= 1 && json_string_length(node) <= max &&
	       strlen(json_string_value(node)) == json_string_length(node);
}

/* It goes into the event log and to a terminal. */
static bool is_id(const json_t *node)
{
	if (!is_text(node, AGENT_ORDER_ID_MAX))
		return false;
	for (const char *p = json_string_value(node); *p != '\0'; p++)
		if (*p <= 0x20 || *p >= 0x7f)
			return false;
	return true;
}

static int check_members(json_t *object, const char *const *known, struct agent_error **err)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value) {
		size_t i = 0;

		while (known[i] != NULL && strcmp(known[i], key) != 0)
			i++;
		if (known[i] == NULL)
			return agent_error_set(err, -EBADMSG, "provision.format", "the provisioning file: unknown member \"%.64s\"", key);
	}
	return 0;
}

/* One entry, whoever's it is: a file that is wrong anywhere is wrong. */
static int unit_parse(json_t *entry, struct order_unit *ret_unit, struct agent_error **err)
{
	static const char *const known[] = { "serial", "generation", "hash", "must_change", NULL };
	const json_t *generation = json_object_get(entry, "generation"), *must_change = json_object_get(entry, "must_change");
	int r;

	if (!json_is_object(entry))
		return malformed(err, "units must be a list of objects");
	r = check_members(entry, known, err);
	if (r < 0)
		return r;
	if (!is_text(json_object_get(entry, "serial"), SERIAL_MAX))
		return malformed(err, "a unit needs a serial");
	if (!is_text(json_object_get(entry, "hash"), 384))
		return malformed(err, "a unit needs a hash");
	if (generation != NULL && (!json_is_integer(generation) || json_integer_value(generation) < 1))
		return malformed(err, "generation must be a number from 1 on");
	if (must_change != NULL && !json_is_boolean(must_change))
		return malformed(err, "must_change must be true or false");
	*ret_unit = (struct order_unit){
		.hash = json_string_value(json_object_get(entry, "hash")),
		.generation = generation == NULL ? 1 : (uint64_t)json_integer_value(generation),
		.must_change = must_change == NULL || json_is_true(must_change), /* unless the signer says that the owner chose it */
	};
	return 0;
}

static int find_unit(const json_t *units, const char *serial, struct order_unit *ret_unit, struct agent_error **err)
{
	struct order_unit found = { 0 };
	bool is_found = false;
	json_t *entry;
	size_t i;

	json_array_foreach(units, i, entry) {
		struct order_unit unit;
		int r = unit_parse(entry, &unit, err);

		if (r < 0)
			return agent_error_prefix(err, r, "unit %zu", i + 1);
		if (strcmp(json_string_value(json_object_get(entry, "serial")), serial) != 0)
			continue;
		if (is_found)
			return malformed(err, "this unit is in it twice");
		is_found = true;
		found = unit;
	}
	if (is_found)
		*ret_unit = found; /* lent from a document that a failure would free */
	return is_found ? 0 : agent_error_set(err, -EPERM, "provision.serial", "the provisioning file is for other units: \"%.128s\" is not in it", serial);
}

int order_parse(const struct agent_password_order *order, json_t **ret_root, struct order_unit *ret_unit, struct agent_error **err)
{
	static const char *const known[] = { "profile", "id", "not_after", "units", NULL };
	_cleanup_(json_decrefp) json_t *root = NULL;
	const json_t *profile, *not_after, *units;
	json_error_t error;
	int r;

	root = json_loadb(order->text, order->text_size, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(root))
		return agent_error_set(err, -EBADMSG, "provision.format", "the provisioning file: not a JSON object, line %d: %s", error.line, error.text);
	r = check_members(root, known, err);
	if (r < 0)
		return r;
	profile = json_object_get(root, "profile");
	not_after = json_object_get(root, "not_after");
	units = json_object_get(root, "units");
	if (!json_is_string(profile) || strcmp(json_string_value(profile), PROFILE) != 0)
		return malformed(err, "profile must be \"" PROFILE "\"");
	if (!is_id(json_object_get(root, "id")))
		return malformed(err, "id must be 1 to 64 characters of ASCII without blanks");
	if (!json_is_integer(not_after) || json_integer_value(not_after) < 1)
		return malformed(err, "not_after must be seconds since 1970");
	if (!json_is_array(units) || json_array_size(units) < 1 || json_array_size(units) > UNITS_MAX)
		return malformed(err, "units must be a list of 1 to 4096");
	if (order->now_s > (uint64_t)json_integer_value(not_after))
		return agent_error_set(err, -ESTALE, "provision.expired", "the provisioning file ended %" PRIu64 " s ago: ask for a new one",
				       order->now_s - (uint64_t)json_integer_value(not_after));
	r = find_unit(units, order->serial, ret_unit, err);
	if (r == 0)
		*ret_root = TAKE_PTR(root);
	return r;
}
