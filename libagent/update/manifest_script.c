/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of "scripts": what stock SWUpdate runs on the device while it installs. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "update/manifest_parts.h"

static const char *const script_keys[] = { "filename", "type", "sha256", "size", "name", "version", NULL };

static int when_parse(const json_t *element, const char *where, enum manifest_script_when *ret_when, struct agent_error **err)
{
	static const char *const names[] = { [MANIFEST_SCRIPT_BOTH] = "shellscript", [MANIFEST_SCRIPT_BEFORE] = "preinstall", [MANIFEST_SCRIPT_AFTER] = "postinstall" };
	char type[32] = "lua"; /* SWUpdate's default */
	int r = json_object_get(element, "type") == NULL ? 0 : field_get_string(element, where, "type", type, sizeof(type), err);

	if (r < 0)
		return r;
	if (strcmp(type, "lua") == 0)
		return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: scripts of type lua are never run", where);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(type, names[i]) == 0) {
			*ret_when = (enum manifest_script_when)i;
			return 0;
		}
	}
	return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: scripts of type %s are not supported", where, type);
}

int part_script(const json_t *element, size_t index, bool is_allowed, struct manifest_script list[MANIFEST_SCRIPTS_MAX], size_t *n_scripts,
		struct agent_error **err)
{
	struct manifest_script *script = &list[*n_scripts];
	const char *type = json_string_value(json_object_get(element, "type"));
	char where[FIELD_WHERE_MAX];
	int r;

	if (!json_is_object(element))
		return agent_error_set(err, -EBADMSG, "manifest.type", "script %zu must be a group", index);
	part_where(element, "script", index, where);
	/* No setting makes a device run Lua. */
	if (!is_allowed && (type == NULL || strcmp(type, "lua") != 0))
		return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported",
				       "%s: scripts of a bundle are not run on this device; update.scripts decides that", where);
	if (*n_scripts == MANIFEST_SCRIPTS_MAX)
		return agent_error_set(err, -EMSGSIZE, "manifest.images", "more than %d scripts", MANIFEST_SCRIPTS_MAX);
	memset(script, 0, sizeof(*script));
	r = when_parse(element, where, &script->when, err);
	/* Compressed, encrypted, with arguments of their own, by version: nobody would see that it was passed over. */
	if (r == 0)
		r = fields_check(element, where, script_keys, err);
	if (r == 0)
		r = part_member(element, where, "filename", script->member, err);
	if (r == 0)
		r = field_get_sha256(element, where, "sha256", script->sha256, err);
	if (r == 0 && json_object_get(element, "size") != NULL) {
		script->has_size = true;
		r = field_get_u64(element, where, "size", 1, MANIFEST_SCRIPT_MAX, &script->size_bytes, err);
	}
	if (r == 0)
		(*n_scripts)++;
	return r;
}
