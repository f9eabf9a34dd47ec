/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/lookup.h"

#include <errno.h>
#include <string.h>

static int path_push(struct lookup_path *path, const char *name, size_t n, struct agent_error **err)
{
	if (path->n == LOOKUP_NODES_MAX || n >= LOOKUP_NAME_MAX)
		return agent_error_set(err, -EBADMSG, "manifest.ref", "a path in sw-description has more than %d nodes or a name above %d characters",
				       LOOKUP_NODES_MAX, LOOKUP_NAME_MAX - 1);
	memcpy(path->nodes[path->n], name, n);
	path->nodes[path->n++][n] = '\0';
	return 0;
}

/*
 * "#./a/b", "#./../a" or "#/software/a" in place of the last node of @path: "." is the group that holds it, ".." the one around
 * that.
 */
static int ref_apply(struct lookup *lookup, struct lookup_path *path, const json_t *ref, struct agent_error **err)
{
	const char *text = json_string_value(ref);
	int r = 0;

	if (text == NULL || text[0] != '#' || strlen(text) < 3)
		return agent_error_set(err, -EBADMSG, "manifest.ref", "ref of %s must look like \"#./name\"", path->nodes[path->n - 1]);
	if (++lookup->n_hops > LOOKUP_HOPS_IN_ALL)
		return agent_error_set(err, -EBADMSG, "manifest.ref", "more than %d links in sw-description", LOOKUP_HOPS_IN_ALL);
	path->n = text[1] == '.' ? path->n - 1 : 0;
	for (const char *p = text + 1; r == 0 && *p != '\0'; p += strspn(p, "/")) {
		size_t n = strcspn(p, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.') {
			if (path->n == 0)
				return agent_error_set(err, -EBADMSG, "manifest.ref", "ref \"%s\" leads out of sw-description", text);
			path->n--;
		} else if (n > 0 && !(n == 1 && p[0] == '.')) {
			r = path_push(path, p, n, err);
		}
		p += n;
	}
	return r;
}

/* Follows links on the way; @path becomes the path without them. */
static int node_find(struct lookup *lookup, struct lookup_path *path, const json_t **ret_node, struct agent_error **err)
{
	const json_t *node = lookup->root;
	unsigned n_hops = 0;
	size_t i = 0;

	while (i < path->n) {
		const json_t *ref;
		struct lookup_path rest;
		int r;

		node = json_object_get(node, path->nodes[i++]);
		ref = json_object_get(node, "ref");
		if (node == NULL)
			break;
		if (ref == NULL)
			continue;
		if (++n_hops > LOOKUP_HOPS_MAX)
			return agent_error_set(err, -EBADMSG, "manifest.ref", "more than %d links one after the other at %s", LOOKUP_HOPS_MAX, path->nodes[i - 1]);
		rest = *path;
		path->n = i;
		r = ref_apply(lookup, path, ref, err);
		while (r == 0 && i < rest.n) {
			r = path_push(path, rest.nodes[i], strlen(rest.nodes[i]), err);
			i++;
		}
		if (r < 0)
			return r;
		node = lookup->root;
		i = 0;
	}
	*ret_node = node;
	return 0;
}

/* One of the four places; @names ends with NULL. */
static int key_find(struct lookup *lookup, const char *const *names, const json_t **ret_node, struct lookup_path *ret_path, struct agent_error **err)
{
	int r = 0;

	ret_path->n = 0;
	for (size_t i = 0; r == 0 && names[i] != NULL; i++)
		r = path_push(ret_path, names[i], strlen(names[i]), err);
	return r < 0 ? r : node_find(lookup, ret_path, ret_node, err);
}

int lookup_key(struct lookup *lookup, const char *key, const json_t **ret_node, struct lookup_path *ret_path, struct agent_error **err)
{
	const char *board = lookup->board, *set = lookup->set, *mode = lookup->mode;
	const char *const places[4][6] = {
		{ "software", board, set, mode, key, NULL },
		{ "software", set, mode, key, NULL },
		{ "software", board, key, NULL },
		{ "software", key, NULL },
	};
	const json_t *node = NULL;

	for (size_t i = 0; node == NULL && i < 4; i++) {
		int r;

		if (((i == 0 || i == 2) && board == NULL) || (i < 2 && (set == NULL || mode == NULL)))
			continue;
		r = key_find(lookup, places[i], &node, ret_path, err);
		if (r < 0)
			return r;
	}
	*ret_node = node;
	return 0;
}

int lookup_link(struct lookup *lookup, const struct lookup_path *path, const json_t *ref, const json_t **ret_node,
		struct lookup_path *ret_path, struct agent_error **err)
{
	int r;

	*ret_path = *path;
	r = ref_apply(lookup, ret_path, ref, err);
	if (r == 0)
		r = node_find(lookup, ret_path, ret_node, err);
	if (r == 0 && *ret_node == NULL)
		r = agent_error_set(err, -EBADMSG, "manifest.ref", "ref \"%s\" leads to nothing", json_string_value(ref));
	return r;
}
