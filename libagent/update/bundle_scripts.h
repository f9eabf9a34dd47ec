/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_BUNDLE_SCRIPTS_H
#define UPDATE_BUNDLE_SCRIPTS_H
/* Scripts of a bundle that is being made. */
#include <stdbool.h>

#include <jansson.h>

#include <agent/error.h>

#include "update/bundle_parts.h"

/* The file @name of the source, in @ret_part, which has a place in the bundle already. */
typedef int (*bundle_take_fn)(void *userdata, const char *name, struct part *ret_part, struct agent_error **err);

/*
 * All scripts that software of @root names, wherever they stand, become members of @out, with hash and size in their elements. To be called before
 * the images are added: some run before them. @names_them: they are also put into agent.scripts. -EINVAL bundle.options: there are none.
 */
int bundle_scripts_add(json_t *root, struct parts *out, bool names_them, bundle_take_fn take, void *userdata, struct agent_error **err);

#endif
