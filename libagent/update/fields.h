/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_FIELDS_H
#define UPDATE_FIELDS_H
/*
 * Typed getters for the tree of sw-description. @where names the group for messages: "image 0 (rootfs.img)". -EBADMSG
 * manifest.missing, manifest.type, manifest.value, manifest.unknown.
 */
#include <stdint.h>

#include <jansson.h>

#include <agent/error.h>

#include "update/manifest.h"

#define FIELD_STRING_MAX 255	/* stock SWUpdate cuts there; a longer text would mean two things */
#define FIELD_WHERE_MAX 96

int field_missing(const char *where, const char *key, struct agent_error **err);
/* 1 to @size - 1 characters. */
int field_get_string(const json_t *group, const char *where, const char *key, char *ret_text, size_t size, struct agent_error **err);
/* manifest_is_name(). */
int field_get_name(const json_t *group, const char *where, const char *key, char ret_text[MANIFEST_TEXT_MAX + 1], struct agent_error **err);
/* A number, or digits in a string: stock SWUpdate wants the values inside "properties" to be strings. */
int field_get_u64(const json_t *group, const char *where, const char *key, uint64_t min, uint64_t max, uint64_t *ret_value, struct agent_error **err);
/* false when it is not there; the strings "true" and "false" as well. */
int field_get_bool(const json_t *group, const char *where, const char *key, bool *ret_value, struct agent_error **err);
int field_get_sha256(const json_t *group, const char *where, const char *key, uint8_t ret_digest[DIGEST_SIZE], struct agent_error **err);
/* Members that only stock SWUpdate reads: of the kind that it wants, where they are there at all. @names ends with NULL. */
int fields_are_strings(const json_t *group, const char *where, const char *const *names, struct agent_error **err);
int fields_are_bools(const json_t *group, const char *where, const char *const *names, struct agent_error **err);
/* Groups of the strict profile hold known keys only: what we would skip, stock SWUpdate or a later version might obey. */
int fields_check(const json_t *group, const char *where, const char *const *known, struct agent_error **err);
/* -EOPNOTSUPP manifest.unsupported if one of @names is there. */
int fields_refuse(const json_t *group, const char *where, const char *const *names, struct agent_error **err);

#endif
