/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/manifest.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "update/syntax.h"

#define STRING_MAX 255	/* stock SWUpdate cuts there; a longer text would mean two things */

bool manifest_is_name(const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && strchr("._+:-", text[i]) == NULL)
			return false;
	return n > 0 && n <= MANIFEST_TEXT_MAX;
}

/* ---- typed getters: @where names the group for messages --------------------------------------------------------- */

static int missing(const char *where, const char *key, struct agent_error **err)
{
	return agent_error_set(err, -EBADMSG, "manifest.missing", "%s has no %s", where, key);
}

static int get_string(const json_t *group, const char *where, const char *key, char *ret_text, size_t size, struct agent_error **err)
{
	const json_t *node = json_object_get(group, key);
	size_t n;

	if (node == NULL)
		return missing(where, key, err);
	if (!json_is_string(node))
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s: %s must be a string", where, key);
	n = json_string_length(node);
	if (n == 0 || n >= size || n > STRING_MAX || memchr(json_string_value(node), '\0', n) != NULL)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: %s must have 1 to %zu characters", where, key, size - 1);
	memcpy(ret_text, json_string_value(node), n + 1);
	return 0;
}

static int get_name(const json_t *group, const char *where, const char *key, char ret_text[MANIFEST_TEXT_MAX + 1], struct agent_error **err)
{
	int r = get_string(group, where, key, ret_text, MANIFEST_TEXT_MAX + 1, err);

	if (r == 0 && !manifest_is_name(ret_text))
		r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: %s may hold letters, digits and ._+:- only", where, key);
	return r;
}

/* A number, or digits in a string: stock SWUpdate wants the values inside "properties" to be strings. */
static int get_u64(const json_t *group, const char *where, const char *key, uint64_t min, uint64_t max, uint64_t *ret_value, struct agent_error **err)
{
	const json_t *node = json_object_get(group, key);
	uint64_t value = 0;

	if (node == NULL)
		return missing(where, key, err);
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

static int get_sha256(const json_t *group, const char *where, const char *key, uint8_t ret_digest[DIGEST_SIZE], struct agent_error **err)
{
	static const uint8_t none[DIGEST_SIZE]; /* stock SWUpdate takes all zero for "no hash" */
	char text[2 * DIGEST_SIZE + 1];
	int r = get_string(group, where, key, text, sizeof(text), err);

	if (r < 0)
		return r;
	if (hex_decode(text, strlen(text), ret_digest, DIGEST_SIZE) < 0 || memcmp(ret_digest, none, sizeof(none)) == 0)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: %s must be 64 hexadecimal digits, not all zero", where, key);
	return 0;
}

/* Groups hold known keys only: what we would skip, stock SWUpdate or a later version might obey. */
static int keys_check(const json_t *group, const char *where, const char *const *known, struct agent_error **err)
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

/* ---- one image ---------------------------------------------------------------------------------------------------- */

static const char *const image_keys[] = { "filename", "type", "device", "sha256", "size", "compressed", "installed-directly", "name", "version",
					  "properties", NULL };
static const char *const property_keys[] = { "slot-class", "chunk-table", "chunk-table-sha256", "chunk-size", "decompressed-size", NULL };
/* Keys with a meaning in stock SWUpdate that is never followed here, so that the message can say so. */
static const char *const unsupported_keys[] = { "hook", "preinstall", "postinstall", "encrypted", "ivt", "aes-key", "offset", "volume", "mtdname",
						"path", "filesystem", "install-if-different", "install-if-higher", "preserve-attributes", "ref",
						"data", "embedded-script", NULL };

static int unsupported_check(const json_t *group, const char *where, const char *const *names, struct agent_error **err)
{
	for (size_t i = 0; names[i] != NULL; i++)
		if (json_object_get(group, names[i]) != NULL)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: %s is not supported", where, names[i]);
	return 0;
}

static int member_name_check(const char *name, const char *where, struct agent_error **err)
{
	for (const char *p = name; *p != '\0'; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '/')
			return agent_error_set(err, -EBADMSG, "manifest.value", "%s: a member name must be printable and without a slash", where);
	return 0;
}

static int filter_parse(const json_t *element, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const json_t *node = json_object_get(element, "compressed");

	if (node == NULL || json_is_false(node)) {
		strcpy(image->filter, "none");
	} else if (json_is_true(node)) { /* the old spelling of zlib */
		strcpy(image->filter, "zlib");
	} else {
		int r = get_string(element, where, "compressed", image->filter, sizeof(image->filter), err);

		if (r < 0)
			return r;
		if (strcmp(image->filter, "zlib") != 0 && strcmp(image->filter, "zstd") != 0)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: compression %s is not supported", where, image->filter);
	}
	return 0;
}

static int chunks_parse(const json_t *properties, const char *where, struct manifest_image *image, struct agent_error **err)
{
	uint64_t chunk_bytes = 0;
	int r;

	r = get_string(properties, where, "chunk-table", image->table_member, sizeof(image->table_member), err);
	if (r == 0)
		r = member_name_check(image->table_member, where, err);
	if (r == 0)
		r = get_sha256(properties, where, "chunk-table-sha256", image->table_sha256, err);
	if (r == 0)
		r = get_u64(properties, where, "chunk-size", CHUNK_MIN, CHUNK_MAX, &chunk_bytes, err);
	if (r < 0)
		return r;
	if ((chunk_bytes & (chunk_bytes - 1)) != 0)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: chunk-size %" PRIu64 " is not a power of two", where, chunk_bytes);
	image->chunk_bytes = (uint32_t)chunk_bytes;
	image->has_chunks = true;
	return 0;
}

static int properties_parse(const json_t *element, const char *where, bool is_strict, struct manifest_image *image, struct agent_error **err)
{
	const json_t *properties = json_object_get(element, "properties");
	bool is_plain = strcmp(image->filter, "none") == 0;
	int r;

	if (properties == NULL)
		return is_strict ? missing(where, "properties", err) : 0;
	if (!json_is_object(properties))
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s: properties must be a group", where);
	if (is_strict) {
		r = keys_check(properties, where, property_keys, err);
		if (r == 0)
			r = get_name(properties, where, "slot-class", image->slot_class, err);
		if (r == 0)
			r = chunks_parse(properties, where, image, err);
		if (r < 0)
			return r;
	}
	if (!is_plain || json_object_get(properties, "decompressed-size") != NULL) {
		r = get_u64(properties, where, "decompressed-size", 1, INT64_MAX, &image->plain_bytes, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int image_parse(const json_t *element, size_t index, bool is_strict, struct manifest_image *image, struct agent_error **err)
{
	char where[32];
	int r;

	snprintf(where, sizeof(where), "image %zu", index);
	/* Whole, padding too: selections are compared as bytes. */
	memset(image, 0, sizeof(*image));
	strcpy(image->type, "raw");
	if (!json_is_object(element))
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s must be a group", where);
	r = unsupported_check(element, where, unsupported_keys, err);
	if (r == 0)
		r = keys_check(element, where, image_keys, err);
	if (r == 0)
		r = get_string(element, where, "filename", image->member, sizeof(image->member), err);
	if (r == 0)
		r = member_name_check(image->member, where, err);
	if (r == 0)
		r = get_sha256(element, where, "sha256", image->sha256, err);
	if (r == 0 && json_object_get(element, "type") != NULL)
		r = get_string(element, where, "type", image->type, sizeof(image->type), err);
	if (r == 0)
		r = filter_parse(element, where, image, err);
	if (r == 0 && (is_strict || json_object_get(element, "size") != NULL)) {
		r = get_u64(element, where, "size", 1, UINT32_MAX, &image->stored_bytes, err);
		image->has_stored_bytes = r == 0;
	}
	if (r == 0)
		r = properties_parse(element, where, is_strict, image, err);
	if (r < 0)
		return r;
	if (strcmp(image->filter, "none") == 0) {
		if (image->plain_bytes != 0 && image->has_stored_bytes && image->plain_bytes != image->stored_bytes)
			return agent_error_set(err, -EBADMSG, "manifest.value", "%s: decompressed-size differs from size, but it is not compressed", where);
		image->plain_bytes = image->stored_bytes;
	} else if (image->plain_bytes == 0) {
		return missing(where, "decompressed-size", err);
	}
	return 0;
}

/* ---- the software group --------------------------------------------------------------------------------------------- */

static const char *const unsupported_sections[] = { "files", "scripts", "partitions", "bootenv", "uboot", "vars", "namespace-for-vars", "embedded-script",
						    "hook", "lua", "ref", "update-type", NULL };
static const char *const software_scalars[] = { "version", "description", "name", "hardware-compatibility", "bootloader_transaction_marker",
						"bootloader_state_marker", "reboot", NULL };

static int images_parse(const json_t *list, bool is_strict, struct manifest_image *images, size_t *ret_n, struct agent_error **err)
{
	if (!json_is_array(list))
		return agent_error_set(err, -EBADMSG, "manifest.type", "images must be a list");
	if (json_array_size(list) == 0 || json_array_size(list) > MANIFEST_IMAGES_MAX)
		return agent_error_set(err, -EMSGSIZE, "manifest.images", "%zu images, allowed are 1 to %d", json_array_size(list), MANIFEST_IMAGES_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		int r = image_parse(json_array_get(list, i), i, is_strict, &images[i], err);

		if (r < 0)
			return r;
	}
	*ret_n = json_array_size(list);
	return 0;
}

/*
 * Stock SWUpdate picks one "set" and "mode", which name the device; here the device comes from our configuration. So all
 * of them must carry the same images, and any one may be read. @depth 0 is software itself, then set (or board), then mode.
 */
static int selections_parse(const json_t *group, unsigned depth, bool is_strict, struct manifest *m, struct agent_error **err)
{
	const char *key;
	json_t *value;
	int r = unsupported_check(group, "software", unsupported_sections, err);

	if (r < 0)
		return r;
	json_object_foreach((json_t *)group, key, value) {
		if (strcmp(key, "images") == 0) {
			struct manifest_image images[MANIFEST_IMAGES_MAX];
			size_t n = 0;

			memset(images, 0, sizeof(images));
			r = images_parse(value, is_strict, images, &n, err);
			if (r < 0)
				return r;
			if (m->n_images == 0) {
				memcpy(m->images, images, sizeof(images));
				m->n_images = n;
			} else if (n != m->n_images || memcmp(m->images, images, sizeof(images)) != 0) {
				return agent_error_set(err, -EBADMSG, "manifest.modes", "selections differ in more than the device");
			}
			continue;
		}
		if (depth == 0 && !json_is_object(value)) {
			size_t i = 0;

			while (software_scalars[i] != NULL && strcmp(software_scalars[i], key) != 0)
				i++;
			if (software_scalars[i] != NULL)
				continue;
		}
		if (!json_is_object(value) || depth >= 3)
			return agent_error_set(err, -EBADMSG, "manifest.unknown", "software: %s is not known", key);
		r = selections_parse(value, depth + 1, is_strict, m, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int products_parse(const json_t *list, const char *where, struct manifest *m, struct agent_error **err)
{
	if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > MANIFEST_PRODUCTS_MAX)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s must be a list of 1 to %d strings", where, MANIFEST_PRODUCTS_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *node = json_array_get(list, i);

		if (!json_is_string(node) || json_string_length(node) == 0 || json_string_length(node) > STRING_MAX ||
		    strlen(json_string_value(node)) != json_string_length(node))
			return agent_error_set(err, -EBADMSG, "manifest.type", "%s must hold strings of 1 to %d characters", where, STRING_MAX);
		m->products[i] = strdup(json_string_value(node));
		if (m->products[i] == NULL)
			return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
		m->n_products = i + 1;
	}
	return 0;
}

/* ---- the agent group -------------------------------------------------------------------------------------------------- */

static const char *const agent_keys[] = { "profile", "release-id", "security-version", "products", "min-signers", "not-before", "not-after", NULL };

static int optional_u64(const json_t *group, const char *key, uint64_t min, uint64_t max, uint64_t *value, struct agent_error **err)
{
	return json_object_get(group, key) == NULL ? 0 : get_u64(group, "agent", key, min, max, value, err);
}

static int agent_parse(const json_t *agent, struct manifest *m, struct agent_error **err)
{
	uint64_t n_min_signers = 1;
	char profile[17];
	int r;

	if (!json_is_object(agent))
		return agent_error_set(err, -EBADMSG, "manifest.type", "agent must be a group");
	/* First of all: another profile may have other keys. */
	r = get_string(agent, "agent", "profile", profile, sizeof(profile), err);
	if (r < 0)
		return r;
	if (strcmp(profile, "1") != 0)
		return agent_error_set(err, -EOPNOTSUPP, "manifest.profile", "bundle has profile %s, this agent knows 1", profile);
	r = keys_check(agent, "agent", agent_keys, err);
	if (r == 0)
		r = get_name(agent, "agent", "release-id", m->release_id, err);
	if (r == 0)
		r = get_u64(agent, "agent", "security-version", 0, INT64_MAX, &m->security_version, err);
	if (r == 0 && json_object_get(agent, "products") == NULL)
		r = missing("agent", "products", err);
	if (r == 0)
		r = products_parse(json_object_get(agent, "products"), "agent.products", m, err);
	if (r == 0)
		r = optional_u64(agent, "min-signers", 1, 8, &n_min_signers, err);
	if (r == 0)
		r = optional_u64(agent, "not-before", 1, INT64_MAX, &m->not_before_s, err);
	if (r == 0)
		r = optional_u64(agent, "not-after", 1, INT64_MAX, &m->not_after_s, err);
	m->n_min_signers = (unsigned)n_min_signers;
	m->is_strict = true;
	return r;
}

static int compat_parse(const json_t *software, struct manifest *m, struct agent_error **err)
{
	const json_t *list = json_object_get(software, "hardware-compatibility");

	memcpy(m->release_id, m->version, sizeof(m->release_id));
	m->n_min_signers = 1;
	if (list == NULL)
		return missing("software", "hardware-compatibility", err);
	return products_parse(list, "hardware-compatibility", m, err);
}

/* No member serves twice, and none shadows the first two. */
static int members_check(const struct manifest *m, struct agent_error **err)
{
	const char *names[2 + 2 * MANIFEST_IMAGES_MAX] = { MANIFEST_NAME, SIGNATURE_NAME };
	size_t n = 2;

	for (size_t i = 0; i < m->n_images; i++) {
		names[n++] = m->images[i].member;
		if (m->images[i].has_chunks)
			names[n++] = m->images[i].table_member;
		for (size_t k = 0; k < i; k++)
			if (strcmp(m->images[i].slot_class, m->images[k].slot_class) == 0)
				return agent_error_set(err, -EBADMSG, "manifest.duplicate", "two images are for the slot class %s", m->images[i].slot_class);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(names[i], names[k]) == 0)
				return agent_error_set(err, -EBADMSG, "manifest.duplicate", "member %s is named twice", names[i]);
	return 0;
}

static int tree_parse(const json_t *root, bool allow_compat, struct manifest *m, struct agent_error **err)
{
	static const char *const root_keys[] = { "software", "agent", NULL };
	const json_t *software = json_object_get(root, "software");
	const json_t *agent = json_object_get(root, "agent");
	int r;

	if (!json_is_object(root) || !json_is_object(software))
		return missing("sw-description", "group software", err);
	r = keys_check(root, "sw-description", root_keys, err);
	if (r == 0 && agent == NULL && !allow_compat)
		r = missing("sw-description", "group agent, which the strict profile needs", err);
	if (r == 0)
		r = get_name(software, "software", "version", m->version, err);
	if (r == 0)
		r = agent != NULL ? agent_parse(agent, m, err) : compat_parse(software, m, err);
	if (r == 0)
		r = selections_parse(software, 0, m->is_strict, m, err);
	if (r == 0 && m->n_images == 0)
		r = missing("software", "images", err);
	return r < 0 ? r : members_check(m, err);
}

int manifest_parse(const struct verified_buf *buf, bool allow_compat, struct manifest **ret_manifest, struct agent_error **err)
{
	_cleanup_(manifest_freep) struct manifest *m = calloc(1, sizeof(*m));
	_cleanup_(json_decrefp) json_t *root = NULL;
	const char *text;
	size_t size;
	int r;

	if (m == NULL)
		return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
	text = verified_buf_data(buf, &size);
	r = syntax_parse(text, size, &root, err);
	if (r == 0)
		r = tree_parse(root, allow_compat, m, err);
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
	free(m);
	return NULL;
}

uint64_t manifest_image_chunks(const struct manifest_image *image)
{
	return (image->stored_bytes + image->chunk_bytes - 1) / image->chunk_bytes;
}

bool manifest_fits(const struct manifest *m, const char *product)
{
	const char *colon = strchr(product, ':');

	for (size_t i = 0; i < m->n_products; i++) {
		if (strcmp(m->products[i], product) == 0)
			return true;
		/* Patterns ("#RE:") are not anchored by stock SWUpdate and match too much: never taken. */
		if (!m->is_strict && colon != NULL && strcmp(m->products[i], colon + 1) == 0)
			return true;
	}
	return false;
}
