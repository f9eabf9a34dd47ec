/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_BUNDLE_TEXT_H
#define UPDATE_BUNDLE_TEXT_H
/* The tree of syntax.h back into text, in either spelling. */
#include <stdbool.h>

#include <jansson.h>

#include <agent/error.h>

/* The caller frees *ret_text. -EBADMSG manifest.syntax: a name that libconfig cannot spell; -ENOMEM. */
int bundle_text(const json_t *root, bool as_json, char **ret_text, struct agent_error **err);

#endif
