/* SPDX-License-Identifier: Apache-2.0 */
/* The first password of many units, from one file that the owner's provisioning key signed (docs/design/password.md). */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "base/macro.h"
#include "crypto/cms.h"
#include "password/store.h"

#define PROFILE "agent-provisioning-1"
#define UNITS_MAX 4096
#define SERIAL_MAX 128
/* 2026-11-01: before the first release, so a clock that shows less was never set. */
#define CLOCK_FLOOR_S UINT64_C(1793491200)


DEFINE_CLEANUP(struct agent_context *, agent_context_unref)

/* What the file says about one unit; lent from the document. */
struct unit {
	const char *hash;
	uint64_t generation;
	bool must_change;
};

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
static int unit_parse(json_t *entry, struct unit *ret_unit, struct agent_error **err)
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
	*ret_unit = (struct unit){
		.hash = json_string_value(json_object_get(entry, "hash")),
		.generation = generation == NULL ? 1 : (uint64_t)json_integer_value(generation),
		.must_change = must_change == NULL || json_is_true(must_change), /* unless the signer says that the owner chose it */
	};
	return 0;
}

static int find_unit(const json_t *units, const char *serial, struct unit *ret_unit, struct agent_error **err)
{
	bool is_found = false;
	json_t *entry;
	size_t i;

	json_array_foreach(units, i, entry) {
		struct unit unit;
		int r = unit_parse(entry, &unit, err);

		if (r < 0)
			return agent_error_prefix(err, r, "unit %zu", i + 1);
		if (strcmp(json_string_value(json_object_get(entry, "serial")), serial) != 0)
			continue;
		if (is_found)
			return malformed(err, "this unit is in it twice");
		is_found = true;
		*ret_unit = unit;
	}
	return is_found ? 0 : agent_error_set(err, -EPERM, "provision.serial", "the provisioning file is for other units: \"%.128s\" is not in it", serial);
}

static int parse(const struct agent_password_order *order, json_t **ret_root, struct unit *ret_unit, struct agent_error **err)
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

/* The state says more than any file: it comes first. */
static int check_state(struct agent_password *p, struct agent_error **err)
{
	int r = store_get_ready(p, err);

	if (r < 0)
		return r;
	if (p->state != AGENT_SETUP_FACTORY)
		return agent_error_set(err, -EEXIST, "setup.activated", "this device has an owner's password already");
	return 0;
}

/* The names of cms.h speak of updates. */
static int check_signature(struct agent_password *p, const struct agent_password_order *order, struct agent_error **err)
{
	_cleanup_(agent_context_unrefp) struct agent_context *ctx = NULL;
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	_cleanup_error_ struct agent_error *why = NULL;
	int r;

	/* A record may do without one; certificates do not. */
	if (p->ctx != NULL)
		ctx = agent_context_ref(p->ctx);
	else if (agent_context_new(&ctx) < 0)
		return agent_error_set(err, -ENOMEM, "password.memory", "no memory for a context");
	r = cms_trust_load(ctx, order->trust_dir, &trust, &why);
	if (r < 0)
		return r == -ENOMEM ? agent_error_move(err, &why) :
				      agent_error_set(err, r, "provision.trust", "nobody is trusted to provision: %s", agent_error_message(why));
	r = cms_verify(trust, order->signature, order->signature_size, order->text, order->text_size, 1, order->now_s, NULL, &why);
	if (r < 0)
		return r == -ENOMEM ? agent_error_move(err, &why) :
				      agent_error_set(err, r, strcmp(agent_error_name(why), "update.signer") == 0 ? "provision.signer" : "provision.signature", "%s",
						      agent_error_message(why));
	return 0;
}

int agent_password_adopt_signed(struct agent_password *password, const struct agent_password_order *order, char ret_id[AGENT_ORDER_ID_MAX + 1],
				struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	struct unit unit = { 0 };
	int r;

	if (password == NULL || order == NULL || ret_id == NULL || order->trust_dir == NULL || order->serial == NULL || order->serial[0] == '\0' ||
	    (order->text == NULL && order->text_size > 0) || (order->signature == NULL && order->signature_size > 0))
		return agent_error_set(err, -EINVAL, "password.argument", "a record, trust anchors, a serial number, a file and its signature are needed");
	r = check_state(password, err);
	if (r < 0)
		return r;
	if (order->now_s < CLOCK_FLOOR_S)
		return agent_error_set(err, -EINVAL, "provision.clock", "the clock was never set, so nobody can tell whether the file has expired: set it first");
	if (order->text_size > AGENT_ORDER_MAX)
		return agent_error_set(err, -EMSGSIZE, "provision.format", "the provisioning file is %zu bytes, limit %d", order->text_size, AGENT_ORDER_MAX);
	r = check_signature(password, order, err);
	if (r == 0)
		r = parse(order, &root, &unit, err);
	if (r < 0)
		return r;
	if (unit.generation != password->record.generation)
		return agent_error_set(err, -ESTALE, "provision.replayed",
				       "the provisioning file is for generation %" PRIu64 " of the accounts, and this is %" PRIu64
				       ": it was used before, or the unit was reset since",
				       unit.generation, password->record.generation);
	r = agent_password_adopt(password, unit.generation, unit.hash, unit.must_change, err);
	if (r == 0)
		snprintf(ret_id, AGENT_ORDER_ID_MAX + 1, "%s", json_string_value(json_object_get(root, "id")));
	return r;
}
