/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include <agent/update.h>

#include "base/buf.h"
#include "base/file.h"

#define CHAIN_MAX ((size_t)4 * 1024 * 1024)
#define CERTS_MAX 16

/* What one policy says. */
struct policy {
	uint64_t version, issued_s;
	unsigned n_min_signers;
	struct cms_trust *certs;
};

static int bad(struct agent_error **err, const char *what)
{
	return agent_error_set(err, -EBADMSG, "update.trust-policy", "the policy of signers: %s", what);
}

void trust_clear(struct trust *trust)
{
	cms_trust_free(trust->certs);
	free(trust->chain);
	*trust = (struct trust){ 0 };
}

static int number_get(const json_t *root, const char *key, uint64_t max, uint64_t *ret_value, struct agent_error **err)
{
	const json_t *node = json_object_get(root, key);

	if (!json_is_integer(node) || json_integer_value(node) < 1 || (uint64_t)json_integer_value(node) > max)
		return agent_error_set(err, -EBADMSG, "update.trust-policy", "the policy of signers: %s must be a number from 1 to %" PRIu64, key, max);
	*ret_value = (uint64_t)json_integer_value(node);
	return 0;
}

/* One PEM text after the other. */
static int certificates_join(const json_t *root, char **ret_text, struct agent_error **err)
{
	const json_t *list = json_object_get(root, "certificates");
	size_t size = 0, n = json_array_size(list), i;
	json_t *item;
	char *p;

	if (n < 1 || n > CERTS_MAX)
		return agent_error_set(err, -EBADMSG, "update.trust-policy", "the policy of signers: certificates must be a list of 1 to %d PEM texts", CERTS_MAX);
	json_array_foreach(list, i, item) {
		if (!json_is_string(item) || strlen(json_string_value(item)) != json_string_length(item))
			return bad(err, "certificates must hold PEM texts");
		size += json_string_length(item) + 1;
	}
	p = *ret_text = malloc(size + 1);
	if (p == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the policy of signers");
	json_array_foreach(list, i, item)
		p += sprintf(p, "%s\n", json_string_value(item));
	return 0;
}

static int policy_parse(struct agent_context *ctx, const struct cms_trust *before, const char *text, size_t size, struct policy *ret_policy,
			struct agent_error **err)
{
	static const char *const keys[] = { "profile", "version", "issued", "min-signers", "certificates" };
	_cleanup_free_ char *certs = NULL;
	_cleanup_(json_decrefp) json_t *root = NULL;
	struct policy p = { 0 };
	json_error_t error;
	uint64_t n_min = 0;
	const char *key;
	json_t *value;
	int r;

	if (size > TRUST_POLICY_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.trust-policy", "the policy of signers has %zu bytes, limit %zu", size, TRUST_POLICY_MAX);
	root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(root))
		return agent_error_set(err, -EBADMSG, "update.trust-policy", "the policy of signers is no JSON object: %s", root == NULL ? error.text : "");
	value = json_object_get(root, "profile");
	if (!json_is_string(value) || strcmp(json_string_value(value), "agent-trust-1") != 0)
		return bad(err, "profile must be \"agent-trust-1\"");
	json_object_foreach(root, key, value) {
		size_t i = 0;

		while (i < ARRAY_SIZE(keys) && strcmp(keys[i], key) != 0)
			i++;
		if (i == ARRAY_SIZE(keys))
			return agent_error_set(err, -EBADMSG, "update.trust-policy", "the policy of signers: %s is not known", key);
	}
	r = number_get(root, "version", INT64_MAX, &p.version, err);
	if (r == 0)
		r = number_get(root, "issued", INT64_MAX, &p.issued_s, err);
	if (r == 0)
		r = number_get(root, "min-signers", CMS_SIGNERS_MAX, &n_min, err);
	if (r == 0)
		r = certificates_join(root, &certs, err);
	p.n_min_signers = (unsigned)n_min;
	if (r == 0)
		r = cms_trust_parse(ctx, certs, before, &p.certs, err);
	if (r == 0)
		*ret_policy = p;
	return r;
}

static unsigned larger(unsigned a, unsigned b)
{
	return a > b ? a : b;
}

/*
 * Enough of the old ones and enough of the new ones, at the time of issue @now_s: certificates and revocation lists are of another
 * time. On success @trust is the new state but for its chain; on failure it must not be used any more.
 */
static int step(struct agent_context *ctx, struct trust *trust, unsigned n_min_signers, const char *text, size_t text_size,
		const void *signature, size_t signature_size, uint64_t now_s, struct agent_error **err)
{
	struct policy p = { 0 };
	int r;

	cms_trust_skip_crls(trust->certs, true);
	/* Old signatures first: a stranger's text is not read. */
	r = cms_verify(trust->certs, signature, signature_size, text, text_size, trust->n_min_signers, now_s, NULL, err);
	if (r < 0)
		return agent_error_prefix(err, r, "policy of signers, by those it replaces");
	r = policy_parse(ctx, trust->certs, text, text_size, &p, err);
	if (r < 0)
		return r;
	cms_trust_skip_crls(p.certs, true);
	if (p.version <= trust->version)
		r = agent_error_set(err, -ESTALE, "update.trust-version", "the policy of signers has version %" PRIu64 ", this device has %" PRIu64 " already",
				    p.version, trust->version);
	if (r == 0 && p.version > AGENT_UPDATE_TRUST_VERSION_MAX)
		r = agent_error_set(err, -ERANGE, "update.trust-version", "the policy of signers has version %" PRIu64 ", %d is the highest; it is a count of "
				    "policies, not a date", p.version, AGENT_UPDATE_TRUST_VERSION_MAX);
	/* Counted up one by one in NV memory, like the floor of releases. */
	if (r == 0 && p.version - trust->version > AGENT_UPDATE_FLOOR_STEPS_MAX)
		r = agent_error_set(err, -ERANGE, "update.trust-version", "the policy of signers has version %" PRIu64 ", more than %d above %" PRIu64
				    "; it is a count of policies, not a date", p.version, AGENT_UPDATE_FLOOR_STEPS_MAX, trust->version);
	if (r == 0) {
		r = cms_verify(p.certs, signature, signature_size, text, text_size, larger(p.n_min_signers, n_min_signers), now_s, NULL, err);
		if (r < 0)
			agent_error_prefix(err, r, "policy of signers, by those it names");
	}
	if (r < 0) {
		cms_trust_free(p.certs);
		return r;
	}
	cms_trust_skip_crls(p.certs, false);
	cms_trust_free(trust->certs);
	trust->certs = p.certs;
	trust->version = p.version;
	trust->n_min_signers = larger(p.n_min_signers, n_min_signers);
	return 0;
}

static int number_read(const char *text, size_t size, const char *key, uint64_t *ret_value, struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);

	return number_get(root, key, INT64_MAX, ret_value, err);
}

/* A time at which the stored step must have been good: certificates may have expired since, its signatures stay. */
static int issued_get(const char *text, size_t size, uint64_t *ret_issued_s, struct agent_error **err)
{
	return number_read(text, size, "issued", ret_issued_s, err);
}

static int stored_step(struct agent_context *ctx, struct trust *trust, unsigned n_min_signers, const json_t *item, struct agent_error **err)
{
	const json_t *policy = json_object_get(item, "policy"), *signature = json_object_get(item, "signature");
	_cleanup_free_ uint8_t *der = NULL;
	uint64_t issued_s = 0, version = 0;
	size_t n;
	int r;

	if (!json_is_string(policy) || !json_is_string(signature) || json_string_length(signature) % 2 != 0)
		return bad(err, "what is stored is damaged");
	/* Who edits a version to have his step passed over leaves one out: the next one, or the floor, misses it. */
	r = number_read(json_string_value(policy), json_string_length(policy), "version", &version, err);
	if (r < 0 || version <= trust->base)
		return r;
	n = json_string_length(signature) / 2;
	der = malloc(n + 1);
	if (der == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the policy of signers");
	if (hex_decode(json_string_value(signature), 2 * n, der, n) < 0)
		return bad(err, "what is stored is damaged");
	r = issued_get(json_string_value(policy), json_string_length(policy), &issued_s, err);
	if (r == 0)
		r = step(ctx, trust, n_min_signers, json_string_value(policy), json_string_length(policy), der, n, issued_s, err);
	return r;
}

/* The folder belongs to the system image: who could write this could put his own certificates there. */
static int base_load(const char *trust_dir, uint64_t *ret_base, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *path = NULL, *text = NULL;
	uint64_t base = 0;
	size_t size = 0, n;
	int r;

	if (asprintf(&path, "%s/" TRUST_BASE_FILE, trust_dir) < 0) {
		path = NULL;
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the policy of signers");
	}
	r = file_read_at(AT_FDCWD, path, 32, &text, &size, &why);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return agent_error_move(err, &why);
	n = strspn(text, "0123456789");
	for (size_t i = 0; i < n; i++)
		base = base * 10 + (uint64_t)(text[i] - '0');
	if (n < 1 || n > 15 || n + (text[n] == '\n') != size)
		return agent_error_set(err, -EBADMSG, "update.trust", "%s must hold one number, the version of the policy of signers that the folder stands for", path);
	if (base > AGENT_UPDATE_TRUST_VERSION_MAX) /* the TPM's counter would follow, and never come back */
		return agent_error_set(err, -ERANGE, "update.trust-version", "%s holds %" PRIu64 ", %d is the highest; it is a count of policies, not a date", path,
				       base, AGENT_UPDATE_TRUST_VERSION_MAX);
	*ret_base = base;
	return 0;
}

int trust_check_floor(const struct trust *trust, uint64_t floor, struct agent_error **err)
{
	if (trust->version >= floor)
		return 0;
	return agent_error_set(err, -ESTALE, "update.trust-restored",
			       "the policy of signers on the disk has version %" PRIu64 ", this device had %" PRIu64
			       " before: what is stored was removed or restored", trust->version, floor);
}

int trust_load(struct agent_context *ctx, const char *trust_dir, int state_fd, unsigned n_min_signers, struct trust *ret_trust,
	       struct agent_error **err)
{
	_cleanup_trust_ struct trust trust = { .n_min_signers = n_min_signers };
	_cleanup_(json_decrefp) json_t *chain = NULL;
	_cleanup_error_ struct agent_error *why = NULL;
	size_t size = 0, i;
	json_t *item;
	int r;

	r = cms_trust_load(ctx, trust_dir, &trust.certs, err);
	if (r == 0)
		r = base_load(trust_dir, &trust.base, err);
	if (r < 0)
		return r;
	trust.version = trust.base;
	r = file_read_at(state_fd, TRUST_FILE, CHAIN_MAX, &trust.chain, &size, &why);
	if (r < 0 && r != -ENOENT)
		return agent_error_move(err, &why);
	if (r == 0) {
		chain = json_loadb(trust.chain, size, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_array(chain) || json_array_size(chain) == 0 || json_array_size(chain) > TRUST_STEPS_MAX)
			return bad(err, "what is stored is damaged");
	}
	json_array_foreach(chain, i, item) {
		r = stored_step(ctx, &trust, n_min_signers, item, err);
		if (r < 0)
			return agent_error_prefix(err, r, "stored step %zu", i + 1);
	}
	*ret_trust = trust;
	trust = (struct trust){ 0 };
	return 0;
}

/* The chain with one step more, as text. */
static int chain_extend(const struct trust *trust, const char *text, size_t text_size, const void *signature, size_t signature_size, char **ret_text,
			struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *chain = trust->chain == NULL ? json_array() : json_loads(trust->chain, 0, NULL);
	_cleanup_free_ char *hex = malloc(2 * signature_size + 1);
	const json_t *first;
	uint64_t version;
	json_t *item;

	if (chain == NULL || hex == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the policy of signers");
	/* What the folder stands for needs no steps any more. */
	while ((first = json_object_get(json_array_get(chain, 0), "policy")) != NULL &&
	       number_read(json_string_value(first), json_string_length(first), "version", &version, NULL) == 0 && version <= trust->base)
		json_array_remove(chain, 0);
	if (json_array_size(chain) == TRUST_STEPS_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.trust-policy", "more than %d changes of signers: put the present ones, and their version, into the trust folder of a release",
				       TRUST_STEPS_MAX);
	hex_encode(signature, signature_size, hex);
	item = json_pack("{s:o, s:s}", "policy", json_stringn(text, text_size), "signature", hex);
	if (item == NULL || json_array_append_new(chain, item) < 0 || (*ret_text = json_dumps(chain, JSON_COMPACT)) == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the policy of signers");
	return 0;
}

/* Is this the last step that was taken? */
static bool is_current(const struct trust *trust, const char *text, size_t size)
{
	_cleanup_(json_decrefp) json_t *chain = trust->chain == NULL ? NULL : json_loads(trust->chain, 0, NULL);
	const json_t *last = json_object_get(json_array_get(chain, json_array_size(chain) - 1), "policy");

	return json_is_string(last) && json_string_length(last) == size && memcmp(json_string_value(last), text, size) == 0;
}

int trust_advance(struct agent_context *ctx, struct trust *trust, int state_fd, unsigned n_min_signers, const char *text, size_t text_size,
		  const void *signature, size_t signature_size, uint64_t now_s, struct agent_error **err)
{
	_cleanup_free_ char *chain = NULL;
	uint64_t issued_s = 0;
	int r;

	if (is_current(trust, text, text_size))
		return 0;
	r = chain_extend(trust, text, text_size, signature, signature_size, &chain, err);
	/* Good now, revocation lists included, and good at the time of issue, which is when it will be checked from here on. */
	if (r == 0)
		r = cms_verify(trust->certs, signature, signature_size, text, text_size, trust->n_min_signers, now_s, NULL, err);
	if (r < 0)
		return agent_error_prefix(err, r, "policy of signers, by those it replaces");
	r = issued_get(text, text_size, &issued_s, err);
	if (r == 0 && issued_s > now_s)
		r = agent_error_set(err, -ESTALE, "update.too-early", "the policy of signers was issued in the future: the clock says %" PRIu64 ", it says %" PRIu64,
				    now_s, issued_s);
	if (r == 0)
		r = step(ctx, trust, n_min_signers, text, text_size, signature, signature_size, issued_s, err);
	if (r < 0)
		return r;
	r = cms_verify(trust->certs, signature, signature_size, text, text_size, trust->n_min_signers, now_s, NULL, err);
	if (r < 0)
		return agent_error_prefix(err, r, "policy of signers, by those it names");
	r = state_fd < 0 ? 0 : file_replace_at(state_fd, TRUST_FILE, 0600, chain, strlen(chain), err);
	if (r < 0)
		return r;
	free(trust->chain);
	trust->chain = TAKE_PTR(chain);
	return 0;
}
