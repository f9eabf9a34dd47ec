/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_MANIFEST_PARTS_H
#define UPDATE_MANIFEST_PARTS_H
/* Between manifest.c (the strict profile), manifest_stock.c, and manifest_parts.c, which is what both have in common. */
#include "update/fields.h"
#include "update/manifest.h"

#define PART_VOLUME_MAX 128

/* "compressed", "encrypted" and "ivt" of an element. */
int part_filters(const json_t *element, const char *where, struct manifest_image *image, struct agent_error **err);
/* "path" of a file: where in the slot; a leading slash is the slot's. -EBADMSG manifest.value for "..". */
int part_path(const char *text, const char *where, struct manifest_image *image, struct agent_error **err);
/* A name a member of the archive can have. */
int part_member(const json_t *element, const char *where, const char *key, char ret_name[256], struct agent_error **err);
/*
 * "type" of an element, or what stock SWUpdate takes without one; "volume", the name of a UBI volume, or empty. -EBADMSG manifest.value where
 * a volume is meant and the element is no image for one.
 */
int part_type(const json_t *element, const char *where, struct manifest_image *image, char ret_volume[PART_VOLUME_MAX], struct agent_error **err);
/* When all of the element is known: an image for a UBI volume needs its size before the first byte, and begins at 0. */
int part_volume_check(const char *where, const struct manifest_image *image, struct agent_error **err);
/* A list of 1 to MANIFEST_PRODUCTS_MAX strings into m->products. */
int part_products(const json_t *list, const char *where, struct manifest *m, struct agent_error **err);
/* One variable of "bootenv"; an empty value, or none, removes it. */
int part_env(const json_t *element, size_t index, struct manifest_env list[MANIFEST_ENV_MAX], size_t *n_env, struct agent_error **err);
/* An element of "scripts": shellscript, preinstall or postinstall. -EOPNOTSUPP manifest.unsupported where they are not allowed, and for Lua. */
int part_script(const json_t *element, size_t index, bool is_allowed, struct manifest_script list[MANIFEST_SCRIPTS_MAX], size_t *n_scripts,
		struct agent_error **err);
/* "image 3 (rootfs.img)". */
void part_where(const json_t *element, const char *kind, size_t index, char ret_where[FIELD_WHERE_MAX]);

/* The whole of a stock sw-description. */
int stock_parse(const json_t *root, const struct manifest_policy *policy, struct manifest *m, struct agent_error **err);

#endif
