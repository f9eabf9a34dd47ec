/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_LOOKUP_H
#define UPDATE_LOOKUP_H
/*
 * Where a key of a stock sw-description is: SWUpdate looks below board, software set and mode, and follows links ("ref").
 * Hops are counted, in one chain and in all, so that no bundle makes us walk in circles.
 */
#include <jansson.h>

#include <agent/error.h>

#define LOOKUP_NODES_MAX 20	/* as in SWUpdate */
#define LOOKUP_NAME_MAX 64
#define LOOKUP_HOPS_MAX 10
#define LOOKUP_HOPS_IN_ALL 500

struct lookup_path {
	char nodes[LOOKUP_NODES_MAX][LOOKUP_NAME_MAX];
	size_t n;
};

struct lookup {
	const json_t *root;
	const char *board, *set, *mode;	/* NULL: not looked below */
	unsigned n_hops;
};

/*
 * The node of @key: below board, set and mode; set and mode; board; or directly in "software", whichever is there first. *ret_node is
 * NULL if there is none. @ret_path is where it really is. -EBADMSG manifest.ref.
 */
int lookup_key(struct lookup *lookup, const char *key, const json_t **ret_node, struct lookup_path *ret_path, struct agent_error **err);
/* The list that the element of the list at @path links to with @ref. -EBADMSG manifest.ref, also when nothing is there. */
int lookup_link(struct lookup *lookup, const struct lookup_path *path, const json_t *ref, const json_t **ret_node,
		struct lookup_path *ret_path, struct agent_error **err);

#endif
