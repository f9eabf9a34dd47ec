/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "update/container.h"
#include "update/hardware.h"
#include "update/manifest_parts.h"
#include "update/syntax.h"

/* ---- one image of the strict profile ------------------------------------------------------------------------------- */

static const char *const image_keys[] = { "filename", "type", "device", "sha256", "size", "compressed", "installed-directly", "name", "version",
					  "properties", "encrypted", "ivt", "volume", NULL };
static const char *const file_keys[] = { "filename", "type", "device", "sha256", "size", "compressed", "installed-directly", "name", "version",
					 "properties", "encrypted", "ivt", "path", "filesystem", NULL };
static const char *const property_keys[] = { "slot-class", "chunk-table", "chunk-table-sha256", "chunk-size", "decompressed-size", "decrypted-size",
					     "create-destination", NULL };
/* Keys with a meaning in stock SWUpdate that is never followed here, so that the message can say so. */
static const char *const unsupported_keys[] = { "hook", "preinstall", "postinstall", "aes-key", "offset", "mtdname",
						"install-if-different", "install-if-higher", "preserve-attributes", "ref",
						"data", "embedded-script", NULL };

/* What is here for stock SWUpdate only. */
static const char *const peer_strings[] = { "device", "name", "version", "filesystem", NULL };
static const char *const peer_bools[] = { "installed-directly", NULL };

static int chunks_parse(const json_t *properties, const char *where, struct manifest_image *image, struct agent_error **err)
{
	uint64_t chunk_bytes = 0;
	int r;

	r = part_member(properties, where, "chunk-table", image->table_member, err);
	if (r == 0)
		r = field_get_sha256(properties, where, "chunk-table-sha256", image->table_sha256, err);
	if (r == 0)
		r = field_get_u64(properties, where, "chunk-size", CHUNK_MIN, CHUNK_MAX, &chunk_bytes, err);
	if (r < 0)
		return r;
	if ((chunk_bytes & (chunk_bytes - 1)) != 0)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: chunk-size %" PRIu64 " is not a power of two", where, chunk_bytes);
	image->chunk_bytes = (uint32_t)chunk_bytes;
	image->has_chunks = true;
	return 0;
}

/* How many bytes come out in the end: what the last filter says, or the member itself. */
static int plain_size_parse(const json_t *properties, const char *where, struct manifest_image *image, struct agent_error **err)
{
	static const char *const keys[] = { "decompressed-size", "decrypted-size" };
	bool is_packed = strcmp(image->filter, "none") != 0;
	uint64_t sizes[2] = { 0 };

	for (int i = 0; i < 2; i++) {
		int r = json_object_get(properties, keys[i]) == NULL ? 0 : field_get_u64(properties, where, keys[i], 1, INT64_MAX, &sizes[i], err);

		if (r < 0)
			return r;
	}
	if (is_packed || image->cipher[0] == '\0')
		image->plain_bytes = sizes[0];
	else
		image->plain_bytes = sizes[1] != 0 ? sizes[1] : sizes[0];
	if (!manifest_image_is_plain(image))
		return image->plain_bytes != 0 ? 0 : field_missing(where, is_packed ? "decompressed-size" : "decrypted-size", err);
	if (image->plain_bytes != 0 && image->plain_bytes != image->stored_bytes)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: decompressed-size differs from size, but it is not compressed", where);
	image->plain_bytes = image->stored_bytes;
	return 0;
}

static int properties_parse(const json_t *element, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const json_t *properties = json_object_get(element, "properties");
	int r;

	if (properties == NULL)
		return field_missing(where, "properties", err);
	if (!json_is_object(properties))
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s: properties must be a group", where);
	r = fields_check(properties, where, property_keys, err);
	if (r == 0)
		r = field_get_name(properties, where, "slot-class", image->slot_class, err);
	if (r == 0)
		r = chunks_parse(properties, where, image, err);
	if (r == 0)
		r = field_get_bool(properties, where, "create-destination", &image->makes_folders, err);
	if (r == 0)
		r = plain_size_parse(properties, where, image, err);
	return r;
}

static int file_path_parse(const json_t *element, const char *where, struct manifest_image *image, struct agent_error **err)
{
	char text[256];
	int r;

	if (!image->is_file)
		return 0;
	r = field_get_string(element, where, "path", text, sizeof(text), err);
	return r < 0 ? r : part_path(text, where, image, err);
}

static int image_parse(const json_t *element, size_t index, bool is_file, struct manifest_image *image, struct agent_error **err)
{
	char where[FIELD_WHERE_MAX], volume[PART_VOLUME_MAX];
	int r;

	part_where(element, is_file ? "file" : "image", index, where);
	image->is_file = is_file;
	if (!json_is_object(element))
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s must be a group", where);
	r = fields_refuse(element, where, unsupported_keys, err);
	if (r == 0)
		r = fields_check(element, where, is_file ? file_keys : image_keys, err);
	if (r == 0)
		r = fields_are_strings(element, where, peer_strings, err);
	if (r == 0)
		r = fields_are_bools(element, where, peer_bools, err);
	if (r == 0)
		r = part_member(element, where, "filename", image->member, err);
	if (r == 0)
		r = field_get_sha256(element, where, "sha256", image->sha256, err);
	/* The name of the volume is for stock SWUpdate, as "device" is: here the class of slots counts. */
	if (r == 0)
		r = part_type(element, where, image, volume, err);
	if (r == 0)
		r = part_filters(element, where, image, err);
	if (r == 0)
		r = field_get_u64(element, where, "size", 1, UINT32_MAX, &image->stored_bytes, err);
	image->has_stored_bytes = r == 0;
	if (r == 0)
		r = properties_parse(element, where, image, err);
	if (r == 0)
		r = file_path_parse(element, where, image, err);
	return r < 0 ? r : part_volume_check(where, image, err);
}

/* ---- the software group --------------------------------------------------------------------------------------------- */

static const char *const unsupported_sections[] = { "partitions", "uboot", "vars", "namespace-for-vars", "embedded-script",
						    "hook", "lua", "ref", "update-type", NULL };
/* Of these only "version" is read here; the others are for stock SWUpdate. */
static const char *const software_strings[] = { "version", "description", "name", NULL };
static const char *const software_bools[] = { "bootloader_transaction_marker", "bootloader_state_marker", "reboot", NULL };
static const char *const software_lists[] = { "hardware-compatibility", NULL };
static const char *const *const software_members[] = { software_strings, software_bools, software_lists };

/* What one selection installs. */
struct choice {
	struct manifest_image images[MANIFEST_IMAGES_MAX];
	size_t n;
	struct manifest_env env[MANIFEST_ENV_MAX];
	size_t n_env;
	struct manifest_script scripts[MANIFEST_SCRIPTS_MAX];
	size_t n_scripts;
};

static int list_parse(const json_t *group, const char *section, struct choice *choice, struct agent_error **err)
{
	const json_t *list = json_object_get(group, section);

	if (list == NULL)
		return 0;
	if (!json_is_array(list))
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s must be a list", section);
	if (json_array_size(list) == 0 || json_array_size(list) > MANIFEST_IMAGES_MAX - choice->n)
		return agent_error_set(err, -EMSGSIZE, "manifest.images", "%zu %s, allowed are 1 to %zu", json_array_size(list), section,
				       MANIFEST_IMAGES_MAX - choice->n);
	for (size_t i = 0; i < json_array_size(list); i++) {
		int r = image_parse(json_array_get(list, i), i, strcmp(section, "files") == 0, &choice->images[choice->n], err);

		if (r < 0)
			return r;
		choice->n++;
	}
	return 0;
}

static int env_parse(const json_t *group, struct choice *choice, struct agent_error **err)
{
	const json_t *list = json_object_get(group, "bootenv");
	static const char *const env_keys[] = { "name", "value", NULL };

	if (list == NULL)
		return 0;
	if (!json_is_array(list))
		return agent_error_set(err, -EBADMSG, "manifest.type", "bootenv must be a list");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *element = json_array_get(list, i);
		char where[FIELD_WHERE_MAX];
		int r;

		snprintf(where, sizeof(where), "bootenv %zu", i);
		if (!json_is_object(element))
			return agent_error_set(err, -EBADMSG, "manifest.type", "%s must be a group", where);
		r = fields_check(element, where, env_keys, err);
		if (r == 0)
			r = part_env(element, i, choice->env, &choice->n_env, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int scripts_parse(const json_t *group, bool are_allowed, struct choice *choice, struct agent_error **err)
{
	const json_t *list = json_object_get(group, "scripts");
	int r = 0;

	if (list != NULL && !json_is_array(list))
		return agent_error_set(err, -EBADMSG, "manifest.type", "scripts must be a list");
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++)
		r = part_script(json_array_get(list, i), i, are_allowed, choice->scripts, &choice->n_scripts, err);
	return r;
}

static int choice_parse(const json_t *group, bool allow_scripts, struct manifest *m, struct agent_error **err)
{
	/* Whole, padding too: selections are compared as bytes. */
	_cleanup_free_ struct choice *choice = calloc(1, sizeof(*choice));
	int r;

	if (choice == NULL)
		return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
	r = list_parse(group, "images", choice, err);
	if (r == 0)
		r = list_parse(group, "files", choice, err);
	if (r == 0)
		r = env_parse(group, choice, err);
	if (r == 0)
		r = scripts_parse(group, allow_scripts, choice, err);
	if (r == 0 && choice->n == 0 && choice->n_env + choice->n_scripts > 0)
		return agent_error_set(err, -EBADMSG, "manifest.modes", "%s stands where there are no images", choice->n_env > 0 ? "bootenv" : "scripts");
	if (r < 0 || choice->n == 0)
		return r;
	if (m->n_images == 0) {
		memcpy(m->images, choice->images, sizeof(m->images));
		m->n_images = choice->n;
		memcpy(m->env, choice->env, sizeof(m->env));
		m->n_env = choice->n_env;
		memcpy(m->scripts, choice->scripts, sizeof(m->scripts));
		m->n_scripts = choice->n_scripts;
	} else if (choice->n != m->n_images || memcmp(m->images, choice->images, sizeof(m->images)) != 0 || choice->n_env != m->n_env ||
		   memcmp(m->env, choice->env, sizeof(m->env)) != 0 || choice->n_scripts != m->n_scripts ||
		   memcmp(m->scripts, choice->scripts, sizeof(m->scripts)) != 0) {
		return agent_error_set(err, -EBADMSG, "manifest.modes", "selections differ in more than the device");
	}
	return 0;
}

static bool is_software_member(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(software_members); i++)
		for (size_t k = 0; software_members[i][k] != NULL; k++)
			if (strcmp(software_members[i][k], key) == 0)
				return true;
	return false;
}

/* What stock SWUpdate could not read, or would read otherwise, does not go through here. */
static int software_check(const json_t *software, struct agent_error **err)
{
	const json_t *list = json_object_get(software, "hardware-compatibility"), *entry;
	bool is_good = list == NULL || json_is_array(list);
	size_t i;
	int r = fields_are_strings(software, "software", software_strings, err);

	if (r == 0)
		r = fields_are_bools(software, "software", software_bools, err);
	json_array_foreach(list, i, entry)
		is_good = is_good && json_is_string(entry);
	return r < 0 || is_good ? r : agent_error_set(err, -EBADMSG, "manifest.type", "software: hardware-compatibility must be a list of strings");
}

/*
 * Stock SWUpdate picks one "set" and "mode", which name the device; here the device comes from our configuration. So all
 * of them must carry the same images, and any one may be read. @depth 0 is software itself, then set (or board), then mode.
 */
static int selections_parse(const json_t *group, const char *where, unsigned depth, bool allow_scripts, struct manifest *m, struct agent_error **err)
{
	const char *key;
	json_t *value;
	int r = fields_refuse(group, where, unsupported_sections, err);

	if (r == 0)
		r = choice_parse(group, allow_scripts, m, err);
	if (r < 0)
		return r;
	json_object_foreach((json_t *)group, key, value) {
		char inner[FIELD_WHERE_MAX];

		if (strcmp(key, "images") == 0 || strcmp(key, "files") == 0 || strcmp(key, "bootenv") == 0 || strcmp(key, "scripts") == 0)
			continue;
		if (depth == 0 && is_software_member(key))
			continue;
		if (!json_is_object(value) || depth >= 3)
			return agent_error_set(err, -EBADMSG, "manifest.unknown", "%s: %s is not known", where, key);
		snprintf(inner, sizeof(inner), "%s.%s", where, key);
		r = selections_parse(value, inner, depth + 1, allow_scripts, m, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the agent group -------------------------------------------------------------------------------------------------- */

static const char *const agent_keys[] = { "profile", "release-id", "security-version", "products", "min-signers", "not-before", "not-after", "trust-policy",
					  "kind", "advisory", "content-key", "content-key-sha256", "scripts", NULL };

static int optional_u64(const json_t *group, const char *key, uint64_t min, uint64_t max, uint64_t *value, struct agent_error **err)
{
	return json_object_get(group, key) == NULL ? 0 : field_get_u64(group, "agent", key, min, max, value, err);
}

/* What an owner reads before he lets it in. */
static int notice_parse(const json_t *agent, struct manifest *m, struct agent_error **err)
{
	int r = json_object_get(agent, "kind") == NULL ? 0 : field_get_string(agent, "agent", "kind", m->kind, sizeof(m->kind), err);

	if (r == 0 && m->kind[0] != '\0' && strcmp(m->kind, "security") != 0 && strcmp(m->kind, "feature") != 0)
		return agent_error_set(err, -EBADMSG, "manifest.value", "agent: kind is \"security\" or \"feature\"");
	if (r == 0 && json_object_get(agent, "advisory") != NULL)
		r = field_get_string(agent, "agent", "advisory", m->advisory, sizeof(m->advisory), err);
	for (const char *p = m->advisory; r == 0 && *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			r = agent_error_set(err, -EBADMSG, "manifest.value", "agent: advisory holds a control character");
	return r;
}

/* The envelope with the key of the images. */
static int key_parse(const json_t *agent, struct manifest *m, struct agent_error **err)
{
	int r = json_object_get(agent, "content-key") == NULL ? 0 : part_member(agent, "agent", "content-key", m->key_member, err);

	if (r == 0 && m->key_member[0] != '\0')
		return field_get_sha256(agent, "agent", "content-key-sha256", m->key_sha256, err);
	if (r == 0 && json_object_get(agent, "content-key-sha256") != NULL)
		return field_missing("agent", "content-key", err);
	return r;
}

static int agent_parse(const json_t *agent, struct manifest *m, struct agent_error **err)
{
	uint64_t n_min_signers = 1;
	char profile[17];
	int r;

	if (!json_is_object(agent))
		return agent_error_set(err, -EBADMSG, "manifest.type", "agent must be a group");
	/* First of all: another profile may have other keys. */
	r = field_get_string(agent, "agent", "profile", profile, sizeof(profile), err);
	if (r < 0)
		return r;
	if (strcmp(profile, "1") != 0)
		return agent_error_set(err, -EOPNOTSUPP, "manifest.profile", "bundle has profile %s, this agent knows 1", profile);
	r = fields_check(agent, "agent", agent_keys, err);
	if (r == 0)
		r = field_get_name(agent, "agent", "release-id", m->release_id, err);
	if (r == 0)
		r = field_get_u64(agent, "agent", "security-version", 0, INT64_MAX, &m->security_version, err);
	if (r == 0 && json_object_get(agent, "products") == NULL)
		r = field_missing("agent", "products", err);
	if (r == 0)
		r = part_products(json_object_get(agent, "products"), "agent.products", m, err);
	if (r == 0)
		r = optional_u64(agent, "min-signers", 1, 8, &n_min_signers, err);
	if (r == 0)
		r = optional_u64(agent, "not-before", 1, INT64_MAX, &m->not_before_s, err);
	if (r == 0)
		r = optional_u64(agent, "not-after", 1, INT64_MAX, &m->not_after_s, err);
	if (r == 0 && m->not_after_s != 0 && m->not_after_s < m->not_before_s)
		r = agent_error_set(err, -EBADMSG, "manifest.value", "agent: not-after is before not-before, so it is never valid");
	m->n_min_signers = (unsigned)n_min_signers;
	m->is_strict = true;
	if (r == 0 && json_object_get(agent, "trust-policy") != NULL)
		r = part_member(agent, "agent", "trust-policy", m->trust_member, err);
	if (r == 0 && strlen(m->trust_member) > sizeof(m->trust_member) - 5)
		r = agent_error_set(err, -EBADMSG, "manifest.value", "agent: trust-policy has no room for \".sig\" behind it");
	if (r == 0 && m->trust_member[0] != '\0')
		snprintf(m->trust_signature, sizeof(m->trust_signature), "%.250s.sig", m->trust_member);
	if (r == 0)
		r = key_parse(agent, m, err);
	return r < 0 ? r : notice_parse(agent, m, err);
}

static bool is_whole_slot(const struct manifest_image *image)
{
	return strcmp(image->type, "raw") == 0 || strcmp(image->type, "ubivol") == 0;
}

/*
 * A stock bundle may have one member for two elements: SWUpdate keeps it in a file and installs it from there twice. Where it would stream, it
 * refuses that or fails half-way, so such a bundle is a mistake.
 */
static int shared_check(const struct manifest_image *image, const struct manifest_image *other, struct agent_error **err)
{
	if (image->is_streamed || other->is_streamed)
		return agent_error_set(err, -EBADMSG, "manifest.duplicate", "member %s is for two elements, and installed-directly of one: SWUpdate does not install that "
				       "either, leave installed-directly out", image->member);
	if (memcmp(image->sha256, other->sha256, DIGEST_SIZE) != 0)
		return agent_error_set(err, -EBADMSG, "manifest.duplicate", "member %s is for two elements, each with another sha256", image->member);
	return 0;
}

/* No member serves twice, but for images of a stock bundle; none shadows the first two, and no image lies on another. */
static int members_check(const struct manifest *m, struct agent_error **err)
{
	const char *names[5 + 2 * MANIFEST_IMAGES_MAX + MANIFEST_SCRIPTS_MAX] = { MANIFEST_NAME, SIGNATURE_NAME };
	size_t n = 2;

	if (m->trust_member[0] != '\0') {
		names[n++] = m->trust_member;
		names[n++] = m->trust_signature;
	}
	if (m->key_member[0] != '\0') {
		names[n++] = m->key_member;
		if (manifest_encrypted(m) == NULL)
			return agent_error_set(err, -EBADMSG, "manifest.value", "agent: content-key has no meaning, no image is encrypted");
	}
	for (size_t i = 0; i < m->n_images; i++) {
		const struct manifest_image *image = &m->images[i];
		size_t first = m->is_strict ? i : manifest_image_first(m, i);

		if (first == i)
			names[n++] = image->member;
		else if (shared_check(image, &m->images[first], err) < 0)
			return -EBADMSG;
		if (image->has_chunks)
			names[n++] = image->table_member;
		for (size_t k = 0; k < i; k++) {
			const struct manifest_image *other = &m->images[k];

			if (strcmp(image->slot_class, other->slot_class) != 0)
				continue;
			if (!is_whole_slot(image) && !is_whole_slot(other))
				continue;	/* files beside each other */
			if (strcmp(image->type, other->type) != 0 || image->offset == other->offset)
				return agent_error_set(err, -EBADMSG, "manifest.duplicate", "%s and %s are both for the slot class %s", other->member,
						       image->member, image->slot_class[0] == '\0' ? "of this device" : image->slot_class);
		}
	}
	for (size_t i = 0; i < m->n_scripts; i++)
		names[n++] = m->scripts[i].member;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(names[i], names[k]) == 0)
				return agent_error_set(err, -EBADMSG, "manifest.duplicate", "member %s is named twice", names[i]);
	return 0;
}

/* agent.scripts: a maker of strict bundles says once more, by name, what is to run on the device. */
static int script_names_check(const json_t *agent, const struct manifest *m, struct agent_error **err)
{
	const json_t *list = json_object_get(agent, "scripts");
	size_t n = json_array_size(list);

	if (list != NULL && !json_is_array(list))
		return agent_error_set(err, -EBADMSG, "manifest.type", "agent.scripts must be a list");
	for (size_t i = 0; i < m->n_scripts; i++) {
		bool is_named = false;

		for (size_t k = 0; k < n; k++)
			is_named = is_named || (json_is_string(json_array_get(list, k)) &&
						strcmp(json_string_value(json_array_get(list, k)), m->scripts[i].member) == 0);
		if (!is_named)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "script %s is not named in agent.scripts, so no device runs it", m->scripts[i].member);
	}
	if (n != m->n_scripts)
		return agent_error_set(err, -EBADMSG, "manifest.value", "agent.scripts names %zu scripts, the bundle has %zu", n, m->n_scripts);
	return 0;
}

static int strict_parse(const json_t *root, const struct manifest_policy *policy, struct manifest *m, struct agent_error **err)
{
	static const char *const root_keys[] = { "software", "agent", NULL };
	const json_t *software = json_object_get(root, "software");
	int r;

	r = fields_check(root, "sw-description", root_keys, err);
	if (r == 0)
		r = field_get_name(software, "software", "version", m->version, err);
	if (r == 0)
		r = agent_parse(json_object_get(root, "agent"), m, err);
	if (r == 0)
		r = software_check(software, err);
	if (r == 0)
		r = selections_parse(software, "software", 0, policy->allow_scripts, m, err);
	return r < 0 ? r : script_names_check(json_object_get(root, "agent"), m, err);
}

static int tree_parse(const json_t *root, const struct manifest_policy *policy, bool is_raw_signature, struct manifest *m, struct agent_error **err)
{
	int r;

	if (!json_is_object(root) || !json_is_object(json_object_get(root, "software")))
		return field_missing("sw-description", "group software", err);
	if (json_object_get(root, "agent") != NULL && is_raw_signature)
		return agent_error_set(err, -EKEYREJECTED, "update.signature", "sw-description.sig: a bundle with the agent group must be signed with CMS");
	if (json_object_get(root, "agent") != NULL)
		r = strict_parse(root, policy, m, err);
	else if (policy->allow_compat)
		r = stock_parse(root, policy, m, err);
	else
		return field_missing("sw-description", "group agent, which the strict profile needs; update.allow_compat admits stock bundles", err);
	if (r == 0 && m->n_images == 0)
		r = field_missing("software", "images", err);
	return r < 0 ? r : members_check(m, err);
}

int manifest_parse(const struct verified_buf *buf, const struct manifest_policy *policy, struct manifest **ret_manifest, struct agent_error **err)
{
	_cleanup_(manifest_freep) struct manifest *m = calloc(1, sizeof(*m));
	_cleanup_(json_decrefp) json_t *root = NULL;
	const char *text;
	size_t size;
	int r;

	if (m == NULL)
		return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
	text = verified_buf_data(buf, &size);
	r = syntax_parse(text, size, &root, NULL, err);
	if (r == 0)
		r = tree_parse(root, policy, verified_buf_is_raw(buf), m, err);
	if (r < 0)
		return r;
	*ret_manifest = TAKE_PTR(m);
	return 0;
}

struct manifest *manifest_free(struct manifest *m)
{
	if (m == NULL)
		return NULL;
	for (size_t i = 0; i < m->n_products; i++)
		free(m->products[i]);
	for (size_t i = 0; i < m->n_other_members; i++)
		free(m->other_members[i]);
	free(m->other_members);
	free(m);
	return NULL;
}

const struct manifest_image *manifest_encrypted(const struct manifest *m)
{
	for (size_t i = 0; i < m->n_images; i++)
		if (m->images[i].cipher[0] != '\0')
			return &m->images[i];
	return NULL;
}

size_t manifest_image_first(const struct manifest *m, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(m->images[k].member, m->images[i].member) == 0)
			return k;
	return i;
}

uint64_t manifest_image_chunks(const struct manifest_image *image)
{
	return (image->stored_bytes + image->chunk_bytes - 1) / image->chunk_bytes;
}

bool manifest_image_is_plain(const struct manifest_image *image)
{
	return strcmp(image->filter, "none") == 0 && image->cipher[0] == '\0';
}

bool manifest_fits(const struct manifest *m, const char *product)
{
	for (size_t i = 0; i < m->n_products; i++)
		if (m->is_strict ? strcmp(m->products[i], product) == 0 : hardware_fits(m->products[i], product))
			return true;
	return false;
}

bool manifest_skips(const struct manifest *m, const char *member)
{
	for (size_t i = 0; i < m->n_other_members; i++)
		if (strcmp(m->other_members[i], member) == 0)
			return true;
	return false;
}
