/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stock sw-description: what SWUpdate would install on this board and for this selection. Keys that only SWUpdate knows
 * are skipped as it skips unknown ones; those that run code or reach past the inactive slot are refused by name.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "update/container.h"
#include "update/hash.h"
#include "update/lookup.h"
#include "update/manifest_parts.h"
#include "update/slot.h"
#include "update/ubi.h"

struct stock {
	struct lookup lookup;
	const struct manifest_policy *policy;
	struct manifest *m;
	bool is_placed;	/* each element named a device of the slot being written */
	char stray[FIELD_WHERE_MAX + 272];	/* the first that did not, and what it named */
	unsigned depth;	/* of links from element to list */
};

/* ---- elements ------------------------------------------------------------------------------------------------------- */

typedef int (*element_fn)(struct stock *s, const json_t *element, size_t index, struct agent_error **err);

static int list_walk(struct stock *s, const char *section, const json_t *list, const struct lookup_path *path, element_fn fn, struct agent_error **err)
{
	int r = 0;

	if (!json_is_array(list))
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s must be a list", section);
	if (s->depth == LOOKUP_HOPS_MAX)
		return agent_error_set(err, -EBADMSG, "manifest.ref", "more than %d links one after the other in %s", LOOKUP_HOPS_MAX, section);
	s->depth++;
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		const json_t *element = json_array_get(list, i), *ref = json_object_get(element, "ref"), *linked;
		struct lookup_path real;

		if (!json_is_object(element))
			return agent_error_set(err, -EBADMSG, "manifest.type", "%s: element %zu must be a group", section, i);
		if (ref == NULL) {
			r = fn(s, element, i, err);
			continue;
		}
		r = lookup_link(&s->lookup, path, ref, &linked, &real, err);
		if (r == 0)
			r = list_walk(s, section, linked, &real, fn, err);
	}
	s->depth--;
	return r;
}

static int section_walk(struct stock *s, const char *section, element_fn fn, struct agent_error **err)
{
	struct lookup_path path;
	const json_t *list;
	int r = lookup_key(&s->lookup, section, &list, &path, err);

	return r < 0 || list == NULL ? r : list_walk(s, section, list, &path, fn, err);
}

/* The bundle means @slot by its @what ("device", "volume"): only the one that is being written will do. */
static int slot_place(struct stock *s, const struct slot *slot, const char *what, const char *name, const char *where, struct manifest_image *image,
		      struct agent_error **err)
{
	if (strcmp(slot->name, s->policy->target) != 0)
		return agent_error_set(err, -EPERM, "update.device", "%s: %s %s is slot %s, which runs; the slot to write is %s: see update.selections",
				       where, what, name, slot->name, s->policy->target);
	if (image->slot_class[0] != '\0' && strcmp(image->slot_class, slot->slot_class) != 0)
		return agent_error_set(err, -EPERM, "update.device", "%s: %s %s is of class %s, the element says %s", where, what, name, slot->slot_class,
				       image->slot_class);
	strcpy(image->slot_class, slot->slot_class);
	return 0;
}

/* May still be for the only class there is. */
static void element_stray(struct stock *s, const char *where, const char *device, const struct manifest_image *image)
{
	s->is_placed = false;
	if (image->slot_class[0] != '\0' || s->stray[0] != '\0')
		return;
	if (device != NULL)
		snprintf(s->stray, sizeof(s->stray), "%s: device %s is no slot of this device", where, device);
	else
		snprintf(s->stray, sizeof(s->stray), "%s: it names no device and no slot class", where);
}

/* Which class of slots the element is for; only in the slot that is being written. */
static int device_place(struct stock *s, const char *device, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const struct slot *slot;

	if (s->policy->slots == NULL)
		return 0;
	slot = slot_table_by_device(s->policy->slots, device);
	if (slot != NULL)
		return slot_place(s, slot, "device", device, where, image, err);
	element_stray(s, where, device, image);
	return 0;
}

/* A UBI volume by its name: one that is a slot here, never another one of this device, whatever the bundle says. */
static int volume_place(struct stock *s, const char *volume, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const struct slot *slot = NULL;

	if (s->policy->slots == NULL)
		return 0;
#if defined(HAVE_UBI)
	slot = ubi_slot_by_name(s->policy->slots, volume, s->policy->target);
#endif
	if (slot != NULL)
		return slot_place(s, slot, "volume", volume, where, image, err);
	return agent_error_set(err, -EPERM, "update.device", "%s: no slot of this device is a UBI volume named %s: update.slots has paths as /dev/ubi0_1", where, volume);
}

/* Where a file goes without a device: below the folder of a slot, never into the system that runs. */
static int path_place(struct stock *s, const char *path, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const struct slot_table *table = s->policy->slots;

	if (table == NULL)
		return part_path(path, where, image, err);
	for (size_t i = 0; i < table->n; i++) {
		size_t n = strlen(table->items[i].path);

		if (strcmp(table->items[i].name, s->policy->target) == 0 && strncmp(path, table->items[i].path, n) == 0 &&
		    (path[n] == '/' || path[n] == '\0')) {
			strcpy(image->slot_class, table->items[i].slot_class);
			return part_path(path + n, where, image, err);
		}
	}
	return agent_error_set(err, -EPERM, "update.device", "%s: path %s is not in a folder of slot %s, and there is no device", where, path,
			       s->policy->target == NULL ? "?" : s->policy->target);
}

/* What may stand behind a number; "KiB" is how newer SWUpdate spells it. */
static uint64_t unit_of(const char *text)
{
	static const char letters[] = "KMG";
	const char *found = *text == '\0' ? NULL : strchr(letters, *text == 'k' ? 'K' : *text);

	if (*text == '\0')
		return 1;
	if (found == NULL || (text[1] != '\0' && strcmp(text + 1, "iB") != 0))
		return 0;
	return UINT64_C(1) << 10 * (found - letters + 1);
}

/* A number as in C, which is how SWUpdate reads it: "0x1000" and, with a leading zero, octal digits. */
static int offset_parse(const json_t *element, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const json_t *node = json_object_get(element, "offset");
	const char *text = json_string_value(node);
	uint64_t value, unit;
	char *end = NULL;

	if (text == NULL)
		return node == NULL ? 0 : field_get_u64(element, where, "offset", 0, INT64_MAX, &image->offset, err);
	errno = 0;
	value = strtoull(text, &end, 0);
	unit = unit_of(end);
	/* strtoull() would take blanks and signs. */
	if (text[0] < '0' || text[0] > '9' || errno != 0 || unit == 0 || __builtin_mul_overflow(value, unit, &value) || value > INT64_MAX)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: offset \"%s\" is no number with K, M or G", where, text);
	image->offset = value;
	return 0;
}

static int identity_parse(const json_t *element, const char *where, struct manifest_image *image, struct agent_error **err)
{
	int r = field_get_bool(element, where, "install-if-different", &image->if_different, err);

	if (r == 0)
		r = field_get_bool(element, where, "install-if-higher", &image->if_higher, err);
	/* Names that nothing depends on may be anything. */
	if (r < 0 || (!image->if_different && !image->if_higher))
		return r;
	r = field_get_name(element, where, "name", image->name, err);
	return r < 0 ? r : field_get_name(element, where, "version", image->version, err);
}

static int sizes_parse(const json_t *element, const char *where, struct manifest_image *image, struct agent_error **err)
{
	const json_t *properties = json_object_get(element, "properties");
	const char *last = strcmp(image->filter, "none") != 0 ? "decompressed-size" : "decrypted-size";
	int r = 0;

	if (json_object_get(element, "size") != NULL) {
		r = field_get_u64(element, where, "size", image->is_file ? 0 : 1, UINT32_MAX, &image->stored_bytes, err);
		image->has_stored_bytes = r == 0;
	}
	if (r == 0 && properties != NULL && !json_is_object(properties))
		return agent_error_set(err, -EBADMSG, "manifest.type", "%s: properties must be a group", where);
	if (r == 0 && json_object_get(properties, "slot-class") != NULL)
		r = field_get_name(properties, where, "slot-class", image->slot_class, err);
	if (r == 0)
		r = field_get_bool(properties, where, "create-destination", &image->makes_folders, err);
	if (r == 0 && !manifest_image_is_plain(image) && json_object_get(properties, last) != NULL)
		r = field_get_u64(properties, where, last, 1, INT64_MAX, &image->plain_bytes, err);
	if (r == 0 && manifest_image_is_plain(image))
		image->plain_bytes = image->stored_bytes;
	return r;
}

static const char *const unsupported_keys[] = { "hook", "preinstall", "postinstall", "aes-key", "mtdname", "embedded-script", NULL };
/* Of images for UBI volumes: names are swapped and volumes made anew, neither of which leaves the other slot alone. */
static const char *const unsupported_properties[] = { "replaces", "auto-resize", "always-remove", NULL };

static int element_parse(struct stock *s, const json_t *element, size_t index, bool is_file, struct agent_error **err)
{
	struct manifest_image *image = &s->m->images[s->m->n_images];
	char where[FIELD_WHERE_MAX], volume[PART_VOLUME_MAX] = "", text[256];
	int r;

	part_where(element, is_file ? "file" : "image", index, where);
	if (s->m->n_images == MANIFEST_IMAGES_MAX)
		return agent_error_set(err, -EMSGSIZE, "manifest.images", "more than %d images and files", MANIFEST_IMAGES_MAX);
	memset(image, 0, sizeof(*image));
	image->is_file = is_file;
	r = fields_refuse(element, where, unsupported_keys, err);
	if (r == 0)
		r = part_member(element, where, "filename", image->member, err);
	if (r == 0)
		r = field_get_sha256(element, where, "sha256", image->sha256, err);
	if (r == 0)
		r = part_type(element, where, image, volume, err);
	if (strcmp(image->type, "tar") == 0) /* its old name */
		strcpy(image->type, "archive");
	/* The section decides only what the type is where none is given: SWUpdate has archives with a path among images as well. */
	image->is_file = strcmp(image->type, "archive") == 0 || strcmp(image->type, "rawfile") == 0;
	image->is_streamed = json_is_true(json_object_get(element, "installed-directly"));
	if (r == 0)
		r = part_filters(element, where, image, err);
	if (r == 0)
		r = sizes_parse(element, where, image, err);
	if (r == 0)
		r = offset_parse(element, where, image, err);
	/* SWUpdate would leave a hole at the beginning of the file. */
	if (r == 0 && image->is_file && image->offset != 0)
		r = agent_error_set(err, -EBADMSG, "manifest.value", "%s: offset is for images in slots; a file has none here", where);
	if (r == 0)
		r = identity_parse(element, where, image, err);
	if (r == 0 && strcmp(image->type, "ubivol") == 0)
		r = fields_refuse(json_object_get(element, "properties"), where, unsupported_properties, err);
	if (r == 0)
		r = part_volume_check(where, image, err);
	if (r == 0 && volume[0] != '\0')
		r = volume_place(s, volume, where, image, err);
	if (r == 0 && json_object_get(element, "device") != NULL) {
		r = field_get_string(element, where, "device", text, sizeof(text), err);
		/* A volume says it already; SWUpdate looks at the volume alone. What the device says must agree if it says anything. */
		if (r == 0 && (volume[0] == '\0' || s->policy->slots == NULL || slot_table_by_device(s->policy->slots, text) != NULL))
			r = device_place(s, text, where, image, err);
	} else if (r == 0 && volume[0] == '\0' && image->slot_class[0] == '\0' && !image->is_file) { /* a file has its path below */
		element_stray(s, where, NULL, image);
	}
	if (r == 0 && image->is_file) {
		r = field_get_string(element, where, "path", text, sizeof(text), err);
		if (r == 0 && json_object_get(element, "device") == NULL && image->slot_class[0] == '\0')
			r = path_place(s, text, where, image, err);
		else if (r == 0)
			r = part_path(text, where, image, err);
	}
	if (r == 0)
		s->m->n_images++;
	return r;
}

static int image_element(struct stock *s, const json_t *element, size_t index, struct agent_error **err)
{
	return element_parse(s, element, index, false, err);
}

static int file_element(struct stock *s, const json_t *element, size_t index, struct agent_error **err)
{
	return element_parse(s, element, index, true, err);
}

static int partition_element(struct stock *s, const json_t *element, size_t index, struct agent_error **err)
{
	return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "partitions, element %zu: a bundle makes no partitions and volumes on this device", index);
}

static int var_element(struct stock *s, const json_t *element, size_t index, struct agent_error **err)
{
	return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "vars, element %zu: a bundle sets no variables of SWUpdate on this device", index);
}

static int script_element(struct stock *s, const json_t *element, size_t index, struct agent_error **err)
{
	return part_script(element, index, s->policy->allow_scripts, s->m->scripts, &s->m->n_scripts, err);
}

static int env_element(struct stock *s, const json_t *element, size_t index, struct agent_error **err)
{
	return part_env(element, index, s->m->env, &s->m->n_env, err);
}

/* ---- a selection ------------------------------------------------------------------------------------------------------ */

static int selection_parse(struct stock *s, struct agent_error **err)
{
	static const struct {
		const char *name;
		element_fn fn;
	} sections[] = {
		{ "images", image_element }, { "files", file_element }, { "bootenv", env_element }, { "uboot", env_element },
		{ "scripts", script_element }, { "partitions", partition_element }, { "vars", var_element },
	};
	int r = 0;

	s->m->n_images = s->m->n_env = s->m->n_scripts = 0;
	s->is_placed = true;
	s->stray[0] = '\0';
	for (size_t i = 0; r == 0 && i < sizeof(sections) / sizeof(sections[0]); i++)
		r = section_walk(s, sections[i].name, sections[i].fn, err);
	return r;
}

struct guess {
	const char *set, *mode;
	unsigned n_fit, n_elsewhere;	/* elsewhere: some device is none of the slots */
	struct agent_error *why;	/* why one that would have been asked for does not fit */
};

/* One that is for the slot that runs does not fit by design; what is wrong with another one is what to tell. */
static void guess_note(struct guess *guess, struct agent_error **why)
{
	if (guess->why != NULL && strcmp(agent_error_name(guess->why), "update.device") != 0)
		return;
	if (guess->why != NULL && strcmp(agent_error_name(*why), "update.device") == 0)
		return;
	agent_error_free(guess->why);
	guess->why = TAKE_PTR(*why);
}

/* Nobody named a selection: the only one whose devices are all in the slot being written. */
static void selection_guess(struct stock *s, const json_t *group, struct guess *guess)
{
	const char *set, *mode;
	json_t *modes, *body;

	json_object_foreach((json_t *)group, set, modes) {
		json_object_foreach(modes, mode, body) {
			_cleanup_error_ struct agent_error *why = NULL;
			int r;

			if (!json_is_object(body))
				continue;
			s->lookup.set = set;
			s->lookup.mode = mode;
			r = selection_parse(s, &why);
			if (r < 0)
				(void)agent_error_prefix(&why, r, "selection %s,%s", set, mode);
			if (r < 0 && why != NULL)
				guess_note(guess, &why);
			if (r == 0 && !s->is_placed)
				guess->n_elsewhere++;
			if (r == 0 && s->is_placed && s->m->n_images > 0) {
				guess->set = set;
				guess->mode = mode;
				guess->n_fit++;
			}
		}
	}
}

static int selection_find(struct stock *s, const json_t *software, struct agent_error **err)
{
	struct guess guess = { 0 };
	int r = selection_parse(s, err);

	/* Images that are in no set: there is nothing to select. */
	if (r < 0 || s->m->n_images > 0)
		return r;
	selection_guess(s, software, &guess);
	if (s->lookup.board != NULL)
		selection_guess(s, json_object_get(software, s->lookup.board), &guess);
	/* A device that is no slot is more likely the mistake than the other slot's selection, which every bundle has. */
	if (guess.n_fit == 0 && guess.why != NULL && (guess.n_elsewhere == 0 || strcmp(agent_error_name(guess.why), "update.device") != 0))
		return agent_error_move(err, &guess.why);
	agent_error_free(guess.why);
	if (guess.n_fit != 1)
		return agent_error_set(err, -EBADMSG, "manifest.selection",
				       "%u selections of the bundle name devices of slot %s only; say which is meant in update.selections", guess.n_fit,
				       s->policy->target == NULL ? "?" : s->policy->target);
	s->lookup.set = guess.set;
	s->lookup.mode = guess.mode;
	return selection_parse(s, err);
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */

/* All members that any selection names, and no Lua anywhere. */
static int tree_walk(const json_t *node, struct manifest *m, struct agent_error **err)
{
	const char *key;
	json_t *child;
	size_t i;
	int r = 0;

	json_object_foreach((json_t *)node, key, child) {
		if (strcmp(key, "embedded-script") == 0)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "software: embedded-script is not supported, Lua is never run");
		if (strcmp(key, "filename") == 0 && json_is_string(child) && m->n_other_members < CONTAINER_MEMBERS_MAX) {
			m->other_members[m->n_other_members] = strdup(json_string_value(child));
			if (m->other_members[m->n_other_members] == NULL)
				return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
			m->n_other_members++;
		}
		r = tree_walk(child, m, err);
		if (r < 0)
			return r;
	}
	json_array_foreach(node, i, child) {
		r = tree_walk(child, m, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Journal, boot environment and topics hold names; a version that is none gets one, with its hash, so that two of them stay two. */
static int release_name(const char *text, struct manifest *m, struct agent_error **err)
{
	uint8_t digest[DIGEST_SIZE];
	char hex[17];
	size_t n = 0;
	int r;

	for (const char *p = text; *p != '\0' && n < MANIFEST_TEXT_MAX; p++, n++) {
		const char one[2] = { *p, '\0' };

		m->version[n] = manifest_is_name(one) ? *p : '_';
	}
	m->version[n] = '\0';
	strcpy(m->release_id, m->version);
	if (strcmp(text, m->version) == 0)
		return 0;
	r = digest_sha256(text, strlen(text), digest);
	if (r < 0)
		return hash_failed(r, err);
	hex_encode(digest, 8, hex);
	snprintf(m->release_id, sizeof(m->release_id), "%.47s-%s", m->version, hex);
	return 0;
}

static int version_parse(struct stock *s, struct agent_error **err)
{
	struct lookup_path path;
	const json_t *node;
	int r = lookup_key(&s->lookup, "version", &node, &path, err);

	if (r < 0)
		return r;
	if (node == NULL)
		return field_missing("software", "version", err);
	if (!json_is_string(node) || json_string_length(node) == 0 || json_string_length(node) > FIELD_STRING_MAX ||
	    strlen(json_string_value(node)) != json_string_length(node))
		return agent_error_set(err, -EBADMSG, "manifest.value", "software: version must be a string of 1 to %d characters", FIELD_STRING_MAX);
	return release_name(json_string_value(node), s->m, err);
}

static int hardware_parse(struct stock *s, struct agent_error **err)
{
	struct lookup_path path;
	const json_t *node;
	int r = lookup_key(&s->lookup, "hardware-compatibility", &node, &path, err);

	if (r < 0)
		return r;
	if (node == NULL)
		return field_missing("software", "hardware-compatibility", err);
	return part_products(node, "hardware-compatibility", s->m, err);
}

/* A device that we do not know may be called otherwise here, as long as there is one place for one image. */
static int stray_check(const struct stock *s, struct agent_error **err)
{
	const struct slot_table *table = s->policy->slots;
	size_t n_classes = 0;

	for (size_t i = 0; table != NULL && i < table->n; i++)
		n_classes += strcmp(table->items[i].name, s->policy->target) == 0;
	if (s->stray[0] == '\0' || table == NULL || (s->m->n_images == 1 && n_classes == 1))
		return 0;
	return agent_error_set(err, -EPERM, "update.device", "%s: see update.slots, or give slot-class in its properties", s->stray);
}

/* "stable,copy-1" */
static int selection_split(const char *selection, char set[LOOKUP_NAME_MAX], const char **ret_mode, struct agent_error **err)
{
	const char *comma = strchr(selection, ',');

	if (comma == NULL || comma == selection || comma[1] == '\0' || comma - selection >= LOOKUP_NAME_MAX)
		return agent_error_set(err, -EINVAL, "manifest.selection", "selection \"%s\" must be \"SET,MODE\"", selection);
	memcpy(set, selection, (size_t)(comma - selection));
	set[comma - selection] = '\0';
	*ret_mode = comma + 1;
	return 0;
}

int stock_parse(const json_t *root, const struct manifest_policy *policy, struct manifest *m, struct agent_error **err)
{
	struct stock s = { .lookup = { .root = root }, .policy = policy, .m = m };
	const char *colon = policy->product == NULL ? NULL : strchr(policy->product, ':');
	char board[LOOKUP_NAME_MAX] = "", set[LOOKUP_NAME_MAX];
	int r;

	if (colon != NULL && colon - policy->product < LOOKUP_NAME_MAX)
		memcpy(board, policy->product, (size_t)(colon - policy->product));
	s.lookup.board = board[0] == '\0' ? NULL : board;
	m->n_min_signers = 1;
	m->other_members = calloc(CONTAINER_MEMBERS_MAX, sizeof(*m->other_members));
	if (m->other_members == NULL)
		return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
	r = tree_walk(root, m, err);
	if (r == 0 && policy->selection != NULL) {
		r = selection_split(policy->selection, set, &s.lookup.mode, err);
		s.lookup.set = set;
		if (r == 0)
			r = selection_parse(&s, err);
		if (r == 0 && m->n_images == 0)
			r = agent_error_set(err, -EBADMSG, "manifest.missing", "software has no images or files for the selection %s, which update.selections asks for",
					    policy->selection);
	} else if (r == 0) {
		r = selection_find(&s, json_object_get(root, "software"), err);
	}
	if (r == 0)
		r = version_parse(&s, err);
	if (r == 0)
		r = hardware_parse(&s, err);
	return r < 0 ? r : stray_check(&s, err);
}
