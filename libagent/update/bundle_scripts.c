/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/bundle_scripts.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "update/manifest.h"

struct scripts {
	struct parts *out;
	json_t *names;
	bundle_take_fn take;
	void *userdata;
};

static int no_memory(struct agent_error **err)
{
	return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
}

static bool is_taken(const struct scripts *s, const char *name)
{
	const json_t *taken;
	size_t i;

	json_array_foreach(s->names, i, taken)
		if (strcmp(json_string_value(taken), name) == 0)
			return true;
	return false;
}

static int member_add(struct scripts *s, const char *name, struct agent_error **err)
{
	struct part *member = NULL;
	int r;

	if (strlen(name) > CONTAINER_NAME_MAX || strchr(name, '/') != NULL)
		return agent_error_set(err, -EBADMSG, "manifest.value", "filename %.60s: scripts are files in the folder itself, with at most %d characters", name,
				       CONTAINER_NAME_MAX);
	r = parts_add(s->out, name, &member, err);
	if (r == 0)
		r = s->take(s->userdata, name, member, err);
	if (r == 0 && member->size > MANIFEST_SCRIPT_MAX)
		r = agent_error_set(err, -EMSGSIZE, "bundle.size", "script %s has %" PRIu64 " bytes, limit %d", name, member->size, MANIFEST_SCRIPT_MAX);
	if (r == 0)
		r = part_measure(member, 0, NULL, NULL, err);
	return r < 0 ? r : json_array_append_new(s->names, json_string(name)) < 0 ? no_memory(err) : 0;
}

/* The same script in several selections is one member. */
static int element_do(struct scripts *s, json_t *element, struct agent_error **err)
{
	const char *name = json_string_value(json_object_get(element, "filename"));
	char digest[2 * DIGEST_SIZE + 1];
	const struct part *member;
	int r;

	if (name == NULL)
		return agent_error_set(err, -EBADMSG, "manifest.missing", "a script has no filename");
	r = is_taken(s, name) ? 0 : member_add(s, name, err);
	if (r < 0)
		return r;
	member = parts_find(s->out, name);
	hex_encode(member->sha256, sizeof(member->sha256), digest);
	return json_object_set_new(element, "sha256", json_string(digest)) < 0 || json_object_set_new(element, "size", json_integer((json_int_t)member->size)) < 0
		       ? no_memory(err)
		       : 0;
}

/* Depth is bounded by syntax_parse(). */
static int group_do(struct scripts *s, json_t *group, struct agent_error **err)
{
	const char *key;
	json_t *value;
	size_t i;
	int r = 0;

	json_array_foreach(json_object_get(group, "scripts"), i, value) {
		r = element_do(s, value, err);
		if (r < 0)
			return r;
	}
	json_object_foreach(group, key, value) {
		r = json_is_object(value) ? group_do(s, value, err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

int bundle_scripts_add(json_t *root, struct parts *out, bool names_them, bundle_take_fn take, void *userdata, struct agent_error **err)
{
	struct scripts s = { .out = out, .names = json_array(), .take = take, .userdata = userdata };
	int r = s.names == NULL ? no_memory(err) : group_do(&s, json_object_get(root, "software"), err);

	if (r == 0 && names_them && json_array_size(s.names) == 0)
		r = agent_error_set(err, -EINVAL, "bundle.options", "the description names no scripts");
	if (r == 0 && names_them && json_object_set(json_object_get(root, "agent"), "scripts", s.names) < 0)
		r = no_memory(err);
	json_decref(s.names);
	return r;
}
