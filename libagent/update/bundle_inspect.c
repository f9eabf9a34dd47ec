/* SPDX-License-Identifier: Apache-2.0 */
/* What a bundle says of itself. Nothing here decides anything: who wants to know whether it is true verifies it. */
#include "config.h"

#include <agent/bundle.h>

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "base/buf.h"
#include "crypto/cms.h"
#include "crypto/cms_sign.h"
#include "update/container.h"
#include "update/hash.h"
#include "update/manifest.h"
#include "update/syntax.h"
#include "update/verify.h"

#define BLOCK_BYTES ((size_t)256 * 1024)


struct inspection {
	struct agent_context *ctx;
	struct container *container;
	json_t *out, *members;
	char *description, *signature;
	size_t description_size, signature_size;
};

static int no_memory(struct agent_error **err)
{
	return agent_error_set(err, -ENOMEM, "update.memory", "no memory to inspect the bundle");
}

/* The first thing that was wrong is the one to tell. */
static void problem_add(struct inspection *in, const struct agent_error *e)
{
	if (json_object_get(in->out, "problem") != NULL)
		return;
	json_object_set_new(in->out, "problem", json_string(agent_error_message(e)));
	json_object_set_new(in->out, "problem_name", json_string(agent_error_name(e)));
}

/* Hash it, and keep the first two. */
static int member_read(struct inspection *in, const struct member *member, uint8_t *block, struct agent_error **err)
{
	_cleanup_(digest_freep) struct digest *hash = NULL;
	char **keep = strcmp(member->name, MANIFEST_NAME) == 0 ? &in->description : strcmp(member->name, SIGNATURE_NAME) == 0 ? &in->signature : NULL;
	size_t max = keep == &in->description ? MANIFEST_MAX : SIGNATURE_MAX, at = 0;
	uint8_t digest[DIGEST_SIZE];
	char text[2 * DIGEST_SIZE + 1];
	int r = hash_start(&hash, err);

	if (keep != NULL && member->size_bytes <= max) {
		*keep = malloc((size_t)member->size_bytes + 1);
		if (*keep == NULL)
			return no_memory(err);
	}
	while (r == 0 && container_left(in->container) > 0) {
		size_t size = container_left(in->container) < BLOCK_BYTES ? (size_t)container_left(in->container) : BLOCK_BYTES;

		r = container_read(in->container, block, size, err);
		if (r == 0)
			r = hash_add(hash, block, size, err);
		if (r == 0 && keep != NULL && *keep != NULL)
			memcpy(*keep + at, block, size);
		at += size;
	}
	if (r == 0)
		r = hash_end(hash, digest, err);
	if (r < 0) {
		if (keep != NULL) {
			free(*keep);
			*keep = NULL;
		}
		return r;
	}
	if (keep != NULL && *keep != NULL) {
		(*keep)[at] = '\0';
		*(keep == &in->description ? &in->description_size : &in->signature_size) = at;
	}
	hex_encode(digest, sizeof(digest), text);
	if (json_array_append_new(in->members, json_pack("{s:s, s:I, s:s}", "name", member->name, "size", (json_int_t)member->size_bytes, "sha256", text)) < 0)
		return no_memory(err);
	return 0;
}

static int members_read(struct inspection *in, int fd, struct agent_error **err)
{
	_cleanup_free_ uint8_t *block = malloc(BLOCK_BYTES);
	struct member member;
	int r = block == NULL ? no_memory(err) : container_new(fd, &in->container, err);

	while (r >= 0 && (r = container_next(in->container, &member, err)) > 0)
		r = member_read(in, &member, block, err);
	return r;
}

static int signers_show(struct inspection *in, struct agent_error **err)
{
	struct cms_claim claims[AGENT_BUNDLE_SIGNERS_MAX];
	json_t *list = json_array();
	size_t n = 0;
	int r = 0;

	json_object_set_new(in->out, "signers", list);
	if (in->signature == NULL)
		return 0;
	if (!cms_is_signed_data(in->signature, in->signature_size)) {
		json_object_set_new(in->out, "signature", json_string("not CMS, or a bare one"));
		return 0;
	}
	r = cms_claims(in->ctx, in->signature, in->signature_size, claims, ARRAY_SIZE(claims), &n, err);
	if (r < 0)
		return r;
	json_object_set_new(in->out, "signature", json_string("CMS"));
	for (size_t i = 0; i < n && i < ARRAY_SIZE(claims); i++) {
		char key[2 * DIGEST_SIZE + 1];
		json_t *one = json_pack("{s:s, s:s, s:I}", "issuer", claims[i].issuer, "digest", claims[i].digest, "signed", (json_int_t)claims[i].signed_s);

		hex_encode(claims[i].key, sizeof(claims[i].key), key);
		if (claims[i].has_certificate) {
			json_object_set_new(one, "subject", json_string(claims[i].subject));
			json_object_set_new(one, "key_sha256", json_string(key));
			json_object_set_new(one, "not_after", json_integer((json_int_t)claims[i].not_after_s));
		}
		if (json_array_append_new(list, one) < 0)
			return no_memory(err);
	}
	return 0;
}

static void copy(json_t *out, const char *to, const json_t *from, const char *key)
{
	if (json_object_get(from, key) != NULL)
		json_object_set(out, to, json_object_get(from, key));
}

static const char *member_hash(const struct inspection *in, const char *name)
{
	const json_t *m;
	size_t i;

	json_array_foreach(in->members, i, m)
		if (name != NULL && strcmp(json_string_value(json_object_get(m, "name")), name) == 0)
			return json_string_value(json_object_get(m, "sha256"));
	return NULL;
}

static json_t *same(const char *declared, const char *is)
{
	return declared == NULL || is == NULL ? json_null() : json_boolean(strcasecmp(declared, is) == 0);
}

static void image_show(const struct inspection *in, const json_t *element, const char *kind, json_t *list)
{
	static const char *const keys[] = { "filename", "type", "device", "volume", "path", "compressed", "encrypted", "size", "sha256", "version", "name" };
	static const char *const properties[] = { "slot-class", "decompressed-size", "decrypted-size", "chunk-table", "chunk-size" };
	const json_t *p = json_object_get(element, "properties");
	json_t *one = json_pack("{s:s}", "section", kind);

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		copy(one, keys[i], element, keys[i]);
	for (size_t i = 0; i < ARRAY_SIZE(properties); i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s", properties[i]);
		for (char *c = name; *c != '\0'; c++)
			*c = *c == '-' ? '_' : *c;
		copy(one, name, p, properties[i]);
	}
	json_object_set_new(one, "sha256_matches", same(json_string_value(json_object_get(element, "sha256")),
							member_hash(in, json_string_value(json_object_get(element, "filename")))));
	if (json_object_get(p, "chunk-table") != NULL)
		json_object_set_new(one, "chunk_table_matches", same(json_string_value(json_object_get(p, "chunk-table-sha256")),
								     member_hash(in, json_string_value(json_object_get(p, "chunk-table")))));
	json_array_append_new(list, one);
}

/* All selections one after the other; "selection" says which. */
static void group_show(const struct inspection *in, const json_t *group, const char *selection, json_t *images)
{
	static const char *const lists[] = { "images", "files", "scripts", "partitions" };
	const char *key;
	json_t *value;
	size_t k;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		json_array_foreach(json_object_get(group, lists[i]), k, value) {
			image_show(in, value, lists[i], images);
			if (selection[0] != '\0')
				json_object_set_new(json_array_get(images, json_array_size(images) - 1), "selection", json_string(selection));
		}
	}
	json_object_foreach((json_t *)group, key, value) {
		char name[128];

		snprintf(name, sizeof(name), "%s%s%s", selection, selection[0] == '\0' ? "" : ",", key);
		if (json_is_object(value))
			group_show(in, value, name, images);
	}
}

static int description_show(struct inspection *in, struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	json_t *images = json_array();
	const json_t *software, *agent;
	int r;

	json_object_set_new(in->out, "images", images);
	if (in->description == NULL)
		return agent_error_set(err, -EBADMSG, "container.order", "the bundle has no %s of 1 to %d bytes", MANIFEST_NAME, MANIFEST_MAX);
	r = syntax_parse(in->description, in->description_size, &root, NULL, err);
	if (r < 0)
		return r;
	software = json_object_get(root, "software");
	agent = json_object_get(root, "agent");
	json_object_set_new(in->out, "profile", json_string(agent == NULL ? "stock" : "strict"));
	copy(in->out, "version", software, "version");
	copy(in->out, "description", software, "description");
	copy(in->out, "hardware_compatibility", software, "hardware-compatibility");
	copy(in->out, "release_id", agent, "release-id");
	copy(in->out, "security_version", agent, "security-version");
	copy(in->out, "products", agent, "products");
	copy(in->out, "min_signers", agent, "min-signers");
	copy(in->out, "not_before", agent, "not-before");
	copy(in->out, "not_after", agent, "not-after");
	copy(in->out, "trust_policy", agent, "trust-policy");
	copy(in->out, "scripts", agent, "scripts");
	group_show(in, software, "", images);
	return 0;
}

int agent_bundle_inspect(struct agent_context *ctx, int fd, char **ret_json, struct agent_error **err)
{
	struct inspection in = { .ctx = ctx, .out = json_object(), .members = json_array() };
	_cleanup_error_ struct agent_error *why = NULL;
	int r;

	if (ctx == NULL || fd < 0 || ret_json == NULL)
		r = agent_error_set(err, -EINVAL, "bundle.options", "to inspect takes a context and a descriptor");
	else
		r = json_object_set_new(in.out, "verified", json_false());
	if (r == 0)
		json_object_set(in.out, "members", in.members);
	if (r == 0) {
		r = members_read(&in, fd, &why);
		if (r < 0 && r != -ENOMEM && r != -EIO) {
			problem_add(&in, why);
			r = 0;
		} else if (r < 0) {
			agent_error_move(err, &why);
		}
	}
	for (int step = 0; r == 0 && step < 2; step++) {
		_cleanup_error_ struct agent_error *e = NULL;

		if ((step == 0 ? signers_show(&in, &e) : description_show(&in, &e)) < 0)
			problem_add(&in, e);
	}
	if (r == 0) {
		*ret_json = json_dumps(in.out, JSON_COMPACT);
		r = *ret_json == NULL ? no_memory(err) : 0;
	}
	free(in.description);
	free(in.signature);
	container_free(in.container);
	json_decref(in.members);
	json_decref(in.out);
	return r;
}
