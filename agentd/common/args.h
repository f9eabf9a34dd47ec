/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_ARGS_H
#define COMMON_ARGS_H
/* Arguments of a request or a command: a JSON object checked against the rows of its route before anything else sees it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <agent/error.h>

#include "agentd/common/arg_rule.h"

#define ARGS_DEPTH_MAX 16
#define ARGS_TEXTS_MAX 16 /* in a list */

/*
 * Parse and check; nothing but the members in @rules is accepted. -EBADMSG "args.syntax", "args.depth", "args.duplicate",
 * "args.unknown", "args.missing", "args.type", "args.value", -EMSGSIZE "args.length".
 */
int args_parse(const char *data, size_t size, const struct arg_rule *rules, json_t **ret_args, struct agent_error **err);
/* The same for an object that was parsed already: nothing but the members in @rules. */
int args_check(json_t *object, const struct arg_rule *rules, struct agent_error **err);
/* Text argument, lent; NULL if it was left out. */
const char *args_text(const json_t *args, const char *name);
/* Wipe all texts, then free. */
void args_free(json_t *args);

/* Does @text keep to @rule; 0, -EBADMSG "args.value" or -EMSGSIZE "args.length". */
int args_check_text(const struct arg_rule *rule, const char *text, struct agent_error **err);

/* Number @name in a query string of the form a=1&b=2, at most INT64_MAX; 0 and *ret_value, -ENOENT, -EBADMSG. */
int query_u64(const char *query, const char *name, uint64_t *ret_value);
/* Nothing in @query but what @rules (may be NULL) allow, each once. -EBADMSG "args.unknown", "args.value". */
int query_check(const char *query, const struct arg_rule *rules, struct agent_error **err);

#endif
