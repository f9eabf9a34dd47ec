/* SPDX-License-Identifier: Apache-2.0 */
/* What the strict profile and stock bundles have in common: the members of an element. */
#include "config.h"

#include "update/manifest_parts.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "update/bootenv.h"
#include "update/cipher.h"
#include "update/container.h"

void part_where(const json_t *element, const char *kind, size_t index, char ret_where[FIELD_WHERE_MAX])
{
	const char *name = json_string_value(json_object_get(element, "filename"));

	if (name == NULL)
		snprintf(ret_where, FIELD_WHERE_MAX, "%s %zu", kind, index);
	else
		snprintf(ret_where, FIELD_WHERE_MAX, "%s %zu (%.60s)", kind, index, name);
}

int part_member(const json_t *element, const char *where, const char *key, char ret_name[256], struct agent_error **err)
{
	int r = field_get_string(element, where, key, ret_name, 256, err);

	if (r == 0 && !container_is_name(ret_name))
		r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: %s must be a plain name: no slash, no control character", where, key);
	return r;
}

static int cipher_parse(const json_t *element, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const json_t *node = json_object_get(element, "encrypted"), *iv = json_object_get(element, "ivt");
	char text[2 * MANIFEST_IV_SIZE + 1];
	int r;

	if (json_is_true(node)) /* the old spelling */
		strcpy(image->cipher, "aes-cbc");
	else if (node != NULL && !json_is_false(node)) {
		r = field_get_string(element, where, "encrypted", image->cipher, sizeof(image->cipher), err);
		if (r < 0)
			return r;
		if (cipher_find(image->cipher) == NULL)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: encrypted = \"%s\" is not supported", where, image->cipher);
	}
	if (iv == NULL)
		return 0;
	if (image->cipher[0] == '\0')
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: ivt has no meaning, it is not encrypted", where);
	r = field_get_string(element, where, "ivt", text, sizeof(text), err);
	if (r == 0 && hex_decode(text, strlen(text), image->iv, MANIFEST_IV_SIZE) < 0)
		r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: ivt must be %d hexadecimal digits", where, 2 * MANIFEST_IV_SIZE);
	image->has_iv = true;
	return r;
}

int part_filters(const json_t *element, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const json_t *node = json_object_get(element, "compressed");

	if (node == NULL || json_is_false(node)) {
		strcpy(image->filter, "none");
	} else if (json_is_true(node)) { /* the old spelling of zlib */
		strcpy(image->filter, "zlib");
	} else {
		int r = field_get_string(element, where, "compressed", image->filter, sizeof(image->filter), err);

		if (r < 0)
			return r;
		if (strcmp(image->filter, "zlib") != 0 && strcmp(image->filter, "zstd") != 0)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: compressed = \"%s\" is not supported", where, image->filter);
	}
	return cipher_parse(element, where, image, err);
}

int part_path(const char *text, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const char *part;

	while (*text == '/')
		text++;
	for (part = text; *part != '\0'; part += strcspn(part, "/"), part += strspn(part, "/"))
		if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
			return agent_error_set(err, -EBADMSG, "manifest.value", "%s: path must not contain \"..\"", where);
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return agent_error_set(err, -EBADMSG, "manifest.value", "%s: path holds a control character", where);
	if (strlen(text) >= sizeof(image->path))
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: path must have at most %zu characters", where, sizeof(image->path) - 1);
	strcpy(image->path, text);
	return 0;
}

int part_env(const json_t *element, size_t index, struct manifest_env list[MANIFEST_ENV_MAX], size_t *n_env, struct agent_error **err)
{
	struct manifest_env *env = &list[*n_env];
	char where[FIELD_WHERE_MAX];
	const json_t *value = json_object_get(element, "value");
	int r;

	snprintf(where, sizeof(where), "bootenv %zu", index);
	if (*n_env == MANIFEST_ENV_MAX)
		return agent_error_set(err, -EMSGSIZE, "manifest.images", "more than %d variables in bootenv", MANIFEST_ENV_MAX);
	memset(env, 0, sizeof(*env));
	r = field_get_string(element, where, "name", env->name, sizeof(env->name), err);
	if (r == 0 && !bootenv_is_name(env->name))
		r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: name may hold letters, digits, '_', '.' and '-' only", where);
	if (r == 0 && value != NULL && !(json_is_string(value) && json_string_length(value) == 0))
		r = field_get_string(element, where, "value", env->value, sizeof(env->value), err);
	for (const char *p = env->value; r == 0 && *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: value of %s holds a control character", where, env->name);
	if (r == 0)
		(*n_env)++;
	return r;
}

int part_products(const json_t *list, const char *where, struct manifest *m, struct agent_error **err)
{
	if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > MANIFEST_PRODUCTS_MAX)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s must be a list of 1 to %d strings", where, MANIFEST_PRODUCTS_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *node = json_array_get(list, i);

		if (!json_is_string(node) || json_string_length(node) == 0 || json_string_length(node) > FIELD_STRING_MAX ||
		    strlen(json_string_value(node)) != json_string_length(node))
			return agent_error_set(err, -EBADMSG, "manifest.type", "%s must hold strings of 1 to %d characters", where, FIELD_STRING_MAX);
		m->products[i] = strdup(json_string_value(node));
		if (m->products[i] == NULL)
			return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
		m->n_products = i + 1;
	}
	return 0;
}

int part_type(const json_t *element, const char *where, struct manifest_image *image, char ret_volume[PART_VOLUME_MAX], struct agent_error **err)
{
	bool has_volume = json_object_get(element, "volume") != NULL;
	int r = 0;

	ret_volume[0] = '\0';
	strcpy(image->type, image->is_file ? "rawfile" : has_volume ? "ubivol" : "raw");
	if (json_object_get(element, "type") != NULL) {
		char text[64];

		r = field_get_string(element, where, "type", text, sizeof(text), err);
		/* SWUpdate has handlers with longer names than any of ours. */
		if (r == 0 && strlen(text) >= sizeof(image->type))
			r = agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: images of type %s are not supported", where, text);
		else if (r == 0)
			strcpy(image->type, text);
	}
	if (r == 0 && has_volume)
		r = field_get_string(element, where, "volume", ret_volume, PART_VOLUME_MAX, err);
	for (const char *p = ret_volume; r == 0 && *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: volume holds a control character", where);
	if (r == 0 && has_volume && strcmp(image->type, "ubivol") != 0)
		r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: volume has a meaning for images of type ubivol only, not %s", where, image->type);
	if (r == 0 && image->is_file && strcmp(image->type, "ubivol") == 0)
		r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: type ubivol is for images, not for files", where);
	return r;
}

int part_volume_check(const char *where, const struct manifest_image *image, struct agent_error **err)
{
	if (strcmp(image->type, "ubivol") != 0)
		return 0;
	if (image->offset != 0)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: a UBI volume is written from its beginning, so there is no offset", where);
	if (image->plain_bytes == 0)
		return agent_error_set(err, -EBADMSG, "manifest.missing", "%s: a UBI volume needs the number of bytes before the first: %s is missing", where,
				       manifest_image_is_plain(image) ? "size" : strcmp(image->filter, "none") != 0 ? "properties.decompressed-size" : "properties.decrypted-size");
	return 0;
}
