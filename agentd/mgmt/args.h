/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_ARGS_H
#define MGMT_ARGS_H
/* Arguments of a request: a JSON object checked against the rows of its route before an endpoint sees it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <agent/error.h>

enum arg_type { ARG_TEXT, ARG_NUMBER, ARG_TRUTH, ARG_TEXTS };

struct arg_rule {
	const char *name;	/* NULL ends the list */
	enum arg_type type;
	bool is_required;
	size_t max_bytes;	/* of a text, or of each in a list */
};

#define ARGS_DEPTH_MAX 16
#define ARGS_TEXTS_MAX 16 /* in a list */

/*
 * Parse and check; nothing but the members in @rules is accepted. -EBADMSG "args.syntax", "args.depth", "args.duplicate",
 * "args.unknown", "args.missing", "args.type", -EMSGSIZE "args.length".
 */
int args_parse(const char *data, size_t size, const struct arg_rule *rules, json_t **ret_args, struct agent_error **err);
/* Text argument, lent; NULL if it was left out. */
const char *args_text(const json_t *args, const char *name);
/* Wipe all texts, then free. */
void args_free(json_t *args);

/* Number @name in a query string of the form a=1&b=2; 0 and *ret_value, -ENOENT, -EBADMSG. */
int query_u64(const char *query, const char *name, uint64_t max, uint64_t *ret_value);
/* Are all names of @query in the space separated @allowed, each once. */
bool query_is_known(const char *query, const char *allowed);

#endif
