/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/file.h"
#include "base/macro.h"
#include "context.h"
#include "update/engine.h"
#include "update/stream.h"
#include "update/verify.h"

_Static_assert((int)AGENT_UPDATE_RAW_RSA == (int)CMS_RAW_RSA && (int)AGENT_UPDATE_RAW_RSA_PSS == (int)CMS_RAW_RSA_PSS, "the same values");

static int options_check(const struct agent_update_options *o, struct agent_error **err)
{
	const char *bad = NULL;

	if (o->trust_dir == NULL || o->trust_dir[0] == '\0')
		bad = "trust_dir";
	else if (o->n_min_signers < 1 || o->n_min_signers > 8) /* zero signatures cannot be asked for */
		bad = "n_min_signers (1 to 8)";
	else if (o->product == NULL || o->product[0] == '\0')
		bad = "product";
	else if (o->state_dir == NULL || o->state_dir[0] == '\0')
		bad = "state_dir";
	else if (o->boot_config == NULL || o->boot_config[0] == '\0')
		bad = "boot_config";
	else if (o->n_tries < 1 || o->n_tries > BOOT_TRIES_MAX)
		bad = "n_tries (1 to 9)";
	else if (o->raw_signatures < AGENT_UPDATE_RAW_NONE || o->raw_signatures > AGENT_UPDATE_RAW_RSA_PSS)
		bad = "raw_signatures";
	else if (o->require_crl != 0 && o->raw_signatures != AGENT_UPDATE_RAW_NONE) /* a bare key cannot be revoked */
		bad = "raw_signatures (none, where revocation lists are demanded)";
	else if (o->booted_slot != NULL && o->booted_slot[0] != '\0' && slot_name_check(o->booted_slot) < 0)
		bad = "booted_slot";
	if (bad != NULL)
		return agent_error_set(err, -EINVAL, "update.options", "the update engine needs a valid %s", bad);
	if (o->boot_backend == NULL || boot_find(o->boot_backend) == NULL)
		return agent_error_set(err, -EINVAL, "boot.backend", "there is no boot backend \"%s\"", o->boot_backend == NULL ? "" : o->boot_backend);
	return 0;
}

static int lock_take(struct agent_update *u, const char *state_dir, struct agent_error **err)
{
	int r = dir_open(state_dir, &u->state_fd, err);

	if (r < 0)
		return r;
	u->lock_fd = openat(u->state_fd, JOURNAL_LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (u->lock_fd < 0)
		return agent_error_set(err, -errno, "update.lock", "cannot open the lock in %s: %s", state_dir, strerror(errno));
	if (flock(u->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return agent_error_set(err, -EBUSY, "update.locked", "another update engine works on %s", state_dir);
		return agent_error_set(err, -errno, "update.lock", "cannot lock %s: %s", state_dir, strerror(errno));
	}
	return 0;
}

int agent_update_new(struct agent_context *ctx, const struct agent_update_options *options, struct agent_update **ret_update,
		     struct agent_error **err)
{
	struct agent_update *u;
	int r;

	if (ctx == NULL || options == NULL || ret_update == NULL)
		return agent_error_set(err, -EINVAL, "update.options", "the update engine needs a context and options");
	r = options_check(options, err);
	if (r < 0)
		return r;
	u = calloc(1, sizeof(*u));
	if (u == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the update engine");
	u->ctx = agent_context_ref(ctx);
	u->state_fd = u->lock_fd = -1;
	u->trust_dir = strdup(options->trust_dir);
	u->product = strdup(options->product);
	u->boot_config = strdup(options->boot_config);
	u->boot = boot_find(options->boot_backend);
	u->n_min_signers = options->n_min_signers;
	u->n_tries = options->n_tries;
	u->allow_compat = options->allow_compat != 0;
	u->require_crl = options->require_crl != 0;
	u->raw_signatures = options->raw_signatures;
	if (options->booted_slot != NULL)
		strcpy(u->booted_option, options->booted_slot);
	if (u->trust_dir == NULL || u->product == NULL || u->boot_config == NULL)
		r = agent_error_set(err, -ENOMEM, "update.memory", "no memory for the update engine");
	else
		r = lock_take(u, options->state_dir, err);
	if (r < 0) {
		agent_update_free(u);
		return r;
	}
	*ret_update = u;
	return 0;
}

struct agent_update *agent_update_free(struct agent_update *u)
{
	if (u == NULL)
		return NULL;
	close_fdp(&u->lock_fd);
	close_fdp(&u->state_fd);
	slot_table_clear(&u->slots);
	secret_free(&u->key);
	free(u->ticket.text);
	for (size_t i = 0; i < u->n_selections; i++)
		free(u->selections[i]);
	for (size_t i = 0; i < u->n_bootenv; i++)
		free(u->bootenv[i]);
	free(u->trust_dir);
	free(u->product);
	free(u->boot_config);
	agent_context_unref(u->ctx);
	free(u);
	return NULL;
}

const char *engine_selection(const struct agent_update *u, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < u->n_selections; i++)
		if (strncmp(u->selections[i], name, n) == 0 && u->selections[i][n] == '=')
			return u->selections[i] + n + 1;
	return NULL;
}

int agent_update_add_slot(struct agent_update *u, const char *slot_class, const char *name, const char *path, struct agent_error **err)
{
	if (u == NULL || slot_class == NULL || name == NULL || path == NULL)
		return agent_error_set(err, -EINVAL, "slot.name", "a slot needs a class, a name and a path");
	return slot_table_add(&u->slots, slot_class, name, path, err);
}

int agent_update_set_selection(struct agent_update *u, const char *name, const char *selection, struct agent_error **err)
{
	bool has_slot = false;
	char *text;

	if (u == NULL || name == NULL || selection == NULL)
		return agent_error_set(err, -EINVAL, "manifest.selection", "a selection needs a slot name and \"SET,MODE\"");
	for (size_t i = 0; i < u->slots.n; i++)
		has_slot = has_slot || strcmp(u->slots.items[i].name, name) == 0;
	if (!has_slot)
		return agent_error_set(err, -ENOENT, "slot.missing", "selection %s is for slot %s, which is not in the slot table", selection, name);
	if (engine_selection(u, name) != NULL)
		return agent_error_set(err, -EEXIST, "slot.duplicate", "slot %s has two selections", name);
	if (strchr(selection, ',') == NULL || strchr(selection, ',') == selection || strchr(selection, ',')[1] == '\0' || strlen(selection) > 120)
		return agent_error_set(err, -EINVAL, "manifest.selection", "selection \"%s\" must be \"SET,MODE\"", selection);
	if (asprintf(&text, "%s=%s", name, selection) < 0)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for a selection");
	u->selections[u->n_selections++] = text;
	return 0;
}

int agent_update_allow_bootenv(struct agent_update *u, const char *pattern, struct agent_error **err)
{
	int r;

	if (u == NULL || pattern == NULL)
		return agent_error_set(err, -EINVAL, "update.bootenv", "to allow a boot loader variable takes an engine and a name");
	r = bootenv_pattern_check(pattern, err);
	if (r < 0)
		return r;
	if (u->n_bootenv == BOOTENV_ALLOWED_MAX)
		return agent_error_set(err, -ENOSPC, "update.bootenv", "more than %d names of boot loader variables", BOOTENV_ALLOWED_MAX);
	u->bootenv[u->n_bootenv] = strdup(pattern);
	if (u->bootenv[u->n_bootenv] == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the name of a boot loader variable");
	u->n_bootenv++;
	return 0;
}

int agent_update_add_version(struct agent_update *u, const char *name, const char *version, struct agent_error **err)
{
	if (u == NULL || name == NULL || version == NULL)
		return agent_error_set(err, -EINVAL, "update.versions", "a version on the device needs an engine, a name and a version");
	return versions_add(&u->versions, name, version, err);
}

int agent_update_set_key(struct agent_update *u, const uint8_t *key, size_t key_size, const uint8_t *iv, struct agent_error **err)
{
	_cleanup_secret_ struct secret fresh = { 0 };
	struct stream_key *k;

	if (u == NULL || (key == NULL && key_size != 0) || (key_size != 0 && key_size != 16 && key_size != 24 && key_size != 32))
		return agent_error_set(err, -EINVAL, "update.key", "a key for encrypted images has 16, 24 or 32 bytes, not %zu", key_size);
	secret_free(&u->key);
	if (key_size == 0)
		return 0;
	if (secret_alloc(&fresh, sizeof(*k)) < 0)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for a key");
	fresh.size = sizeof(*k);
	k = (struct stream_key *)(void *)fresh.data;
	memcpy(k->key, key, key_size);
	k->key_size = key_size;
	if (iv != NULL)
		memcpy(k->iv, iv, sizeof(k->iv));
	u->key = fresh;
	fresh = (struct secret){ 0 };
	return 0;
}

int agent_update_set_unwrap(struct agent_update *u, agent_update_unwrap_fn fn, void *userdata, struct agent_error **err)
{
	if (u == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "to open envelopes takes an engine");
	u->unwrap = fn;
	u->unwrap_data = userdata;
	return 0;
}

int agent_update_set_script(struct agent_update *u, agent_update_script_fn fn, void *userdata, struct agent_error **err)
{
	if (u == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "to run scripts takes an engine");
	u->script = fn;
	u->script_data = userdata;
	return 0;
}

int agent_update_set_policy(struct agent_update *u, agent_update_policy_fn fn, void *userdata, struct agent_error **err)
{
	if (u == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "a policy needs an engine");
	u->policy = fn;
	u->policy_data = userdata;
	return 0;
}

int agent_update_get_status(struct agent_update *u, struct agent_update_status *ret_status, struct agent_error **err)
{
	const struct boot_slot *target;
	const struct journal *j;
	int r;

	if (u == NULL || ret_status == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "status needs an engine and a place for the answer");
	r = engine_load(u, err);
	if (r < 0)
		return r;
	j = &u->journal;
	*ret_status = (struct agent_update_status){
		.stage = j->stage,
		.booted_slot = u->booted,
		/* Idle, and in the other slot: taken back before it ran, or left afterwards. */
		.target_slot = j->target[0] == '\0' || (j->stage == AGENT_UPDATE_IDLE && strcmp(j->target, u->booted) == 0) ? NULL : j->target,
		.version = j->version[0] == '\0' ? NULL : j->version,
		.release_id = j->release_id[0] == '\0' ? NULL : j->release_id,
		.security_version = j->security_version,
		.failed_release_id = j->failed_release_id[0] == '\0' ? NULL : j->failed_release_id,
		.manifest_sha256 = j->manifest[0] == '\0' ? NULL : j->manifest,
		.signers = j->signers[0] == '\0' ? NULL : u->signers,
	};
	for (size_t i = 0; i < sizeof(u->signers); i++)
		u->signers[i] = j->signers[i] == '+' ? ' ' : j->signers[i];
	if (j->stage == AGENT_UPDATE_TRYING) {
		target = boot_state_slot(&u->boot_state, j->target);
		ret_status->n_tries_left = target == NULL ? 0 : target->n_tries_left;
	}
	return 0;
}
