/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_SYNTAX_H
#define UPDATE_SYNTAX_H
/* The two spellings of sw-description, libconfig and JSON, become one JSON tree, so that there is one reader of fields. */
#include <stdbool.h>

#include <jansson.h>

#include <agent/error.h>

#define SYNTAX_DEPTH_MAX 12	/* software, board, set, mode, images, element, properties, list: 8 are in use */

/*
 * @text has @size bytes and a NUL after them; *@ret_is_json (or NULL) tells which of the two it is. Comments are no part of it. Integers are 64 bit, fractions are refused, names are unique per group.
 * -EBADMSG manifest.syntax, manifest.include, manifest.duplicate; -EMSGSIZE manifest.depth; -ENOMEM.
 */
int syntax_parse(const char *text, size_t size, json_t **ret_root, bool *ret_is_json, struct agent_error **err);

#endif
