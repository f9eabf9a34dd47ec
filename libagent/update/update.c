/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"
#include "context.h"
#include "update/container.h"
#include "update/engine.h"
#include "update/handler.h"
#include "update/hash.h"
#include "update/manifest.h"
#include "update/source.h"
#include "update/stream.h"
#include "update/trust.h"
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
	for (size_t i = 0; i < u->n_selections; i++)
		free(u->selections[i]);
	free(u->trust_dir);
	free(u->product);
	free(u->boot_config);
	agent_context_unref(u->ctx);
	free(u);
	return NULL;
}

/* NULL if nobody said. */
static const char *selection_of(const struct agent_update *u, const char *name)
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
	if (selection_of(u, name) != NULL)
		return agent_error_set(err, -EEXIST, "slot.duplicate", "slot %s has two selections", name);
	if (strchr(selection, ',') == NULL || strchr(selection, ',') == selection || strchr(selection, ',')[1] == '\0' || strlen(selection) > 120)
		return agent_error_set(err, -EINVAL, "manifest.selection", "selection \"%s\" must be \"SET,MODE\"", selection);
	if (asprintf(&text, "%s=%s", name, selection) < 0)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for a selection");
	u->selections[u->n_selections++] = text;
	return 0;
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
		.target_slot = j->stage == AGENT_UPDATE_IDLE || j->target[0] == '\0' ? NULL : j->target,
		.version = j->version[0] == '\0' ? NULL : j->version,
		.release_id = j->release_id[0] == '\0' ? NULL : j->release_id,
		.security_version = j->security_version,
		.failed_release_id = j->failed_release_id[0] == '\0' ? NULL : j->failed_release_id,
	};
	if (j->stage == AGENT_UPDATE_TRYING) {
		target = boot_state_slot(&u->boot_state, j->target);
		ret_status->n_tries_left = target == NULL ? 0 : target->n_tries_left;
	}
	return 0;
}

/* ---- installation ------------------------------------------------------------------------------------------------- */

struct install {
	struct agent_update *u;
	struct manifest *manifest;
	const char *target;
	struct trust trust;
	char *trust_text;	/* a change of signers, until its signature has come */
	size_t trust_size;
	bool has_changed_trust;
	uint64_t now_s;
	const struct slot *slots[MANIFEST_IMAGES_MAX];
	uint64_t max_bytes[MANIFEST_IMAGES_MAX];
	uint8_t *tables[MANIFEST_IMAGES_MAX];
	uint64_t table_bytes;
	bool is_done[MANIFEST_IMAGES_MAX];
	bool is_prepared[SLOTS_MAX];
	bool has_begun;
	const char *selection;	/* of a trial */
	unsigned n_signers;
	bool is_trial;		/* agent_bundle_verify(): there are no slots, and nothing is written anywhere */
	const struct source *source;
	char manifest_sha256[2 * DIGEST_SIZE + 1];
	bool may_resume;
	uint64_t done_bytes, total_bytes;	/* stored payload */
	agent_update_progress_fn progress;
	void *userdata;
};

static void tell(const struct install *in, uint64_t done_bytes)
{
	if (in->progress != NULL)
		in->progress(in->userdata, in->u->journal.stage, done_bytes, in->total_bytes);
}

static void image_progress(void *userdata, uint64_t stored_bytes)
{
	const struct install *in = userdata;

	tell(in, in->done_bytes + stored_bytes);
}

/* May this release go onto this device now? */
static int release_check(const struct install *in, unsigned n_signers, uint64_t floor, uint64_t now_s, struct agent_error **err)
{
	const struct manifest *m = in->manifest;
	const struct agent_update *u = in->u;

	if (n_signers < m->n_min_signers)
		return agent_error_set(err, -EKEYREJECTED, "update.signer", "release %s wants %u signers, %u are valid", m->release_id, m->n_min_signers, n_signers);
	if (u->product != NULL && !manifest_fits(m, u->product))
		return agent_error_set(err, -EPERM, "update.product", "release %s is for %s%s, this device is %s", m->release_id,
				       m->n_products == 0 ? "no product" : m->products[0], m->n_products > 1 ? " and others" : "", u->product);
	if (m->security_version < floor)
		return agent_error_set(err, -ESTALE, "update.stale", "release %s has security version %" PRIu64 ", the floor is %" PRIu64, m->release_id,
				       m->security_version, floor);
	/* Now rather than at the confirmation, when the slot runs and could not be made good. */
	if (m->security_version - floor > AGENT_UPDATE_FLOOR_STEPS_MAX)
		return agent_error_set(err, -ERANGE, "update.jump", "release %s has security version %" PRIu64 ", more than %d above the floor %" PRIu64
				       "; it is a count of releases that mend something, not a date", m->release_id, m->security_version,
				       AGENT_UPDATE_FLOOR_STEPS_MAX, floor);
	if (m->not_before_s != 0 && now_s < m->not_before_s)
		return agent_error_set(err, -ESTALE, "update.too-early", "release %s is valid from %" PRIu64 " on, the clock says %" PRIu64, m->release_id,
				       m->not_before_s, now_s);
	if (m->not_after_s != 0 && now_s > m->not_after_s)
		return agent_error_set(err, -ESTALE, "update.expired", "release %s was valid until %" PRIu64 ", the clock says %" PRIu64, m->release_id,
				       m->not_after_s, now_s);
	if (m->n_env > 0)
		return agent_error_set(err, -EPERM, "update.bootenv", "release %s sets the boot loader variable %s; this device lets no bundle do that",
				       m->release_id, m->env[0].name);
	if (strcmp(u->journal.failed_release_id, m->release_id) == 0)
		return agent_error_set(err, -EALREADY, "update.failed-before", "release %s was tried before and did not last", m->release_id);
	return 0;
}

/* Images side by side in one slot: each ends before the next begins. */
static int neighbours_check(struct install *in, size_t i, struct agent_error **err)
{
	const struct manifest_image *image = &in->manifest->images[i];

	for (size_t k = 0; k < in->manifest->n_images; k++) {
		const struct manifest_image *next = &in->manifest->images[k];

		if (in->slots[k] != in->slots[i] || next->offset <= image->offset)
			continue;
		if (next->offset - image->offset < in->max_bytes[i])
			in->max_bytes[i] = next->offset - image->offset;
		if (image->plain_bytes > in->max_bytes[i])
			return agent_error_set(err, -EBADMSG, "update.overlap", "%s reaches into %s, which begins at offset %" PRIu64, image->member,
					       next->member, next->offset);
	}
	return 0;
}

/* Where each image goes, and whether it fits, before anything is touched. */
static int targets_find(struct install *in, struct agent_error **err)
{
	const struct manifest *m = in->manifest;
	const struct slot_table *table = &in->u->slots;
	int r;

	for (size_t i = 0; i < m->n_images; i++) {
		const struct manifest_image *image = &m->images[i];
		const struct update_handler *handler = handler_find(image->type);

		if (handler == NULL)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: images of type %s are not supported", image->member, image->type);
		r = slot_table_find(table, image->slot_class, in->target, &in->slots[i], err);
		if (r == 0)
			r = handler->check(in->slots[i], image, &in->max_bytes[i], err);
		if (r < 0)
			return agent_error_prefix(err, r, "%s", image->member);
		in->total_bytes += image->stored_bytes;
	}
	for (size_t i = 0; i < m->n_images; i++) {
		r = neighbours_check(in, i, err);
		if (r < 0)
			return r;
	}
	/* A slot has one security version: a class left out would keep older bytes under the new number. */
	for (size_t i = 0; i < table->n; i++) {
		bool is_covered = strcmp(table->items[i].name, in->target) != 0;

		for (size_t k = 0; k < m->n_images; k++)
			is_covered = is_covered || in->slots[k] == &table->items[i];
		if (!is_covered)
			return agent_error_set(err, -EBADMSG, "update.classes", "release %s has no image for slot class %s", m->release_id, table->items[i].slot_class);
	}
	return 0;
}

/* For a trial: as much room as can be. */
static int targets_invent(struct install *in, struct agent_error **err)
{
	for (size_t i = 0; i < in->manifest->n_images; i++) {
		if (handler_find(in->manifest->images[i].type) == NULL)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: images of type %s are not supported", in->manifest->images[i].member,
					       in->manifest->images[i].type);
		in->max_bytes[i] = INT64_MAX;
	}
	return 0;
}

/* From here on the inactive slot is no slot to boot: first in the journal, then for the boot loader. */
static int writing_begin(struct install *in, struct agent_error **err)
{
	struct agent_update *u = in->u;
	struct boot_state next = u->boot_state;
	struct boot_slot *target = boot_state_slot(&next, in->target);
	struct journal journal = u->journal;
	int r;

	if (target == NULL)
		return agent_error_set(err, -EBADMSG, "boot.format", "the boot environment has no room for slot %s", in->target);
	strcpy(journal.target, in->target);
	strcpy(journal.version, in->manifest->version);
	strcpy(journal.release_id, in->manifest->release_id);
	journal.security_version = in->manifest->security_version;
	/* Whatever the slot holds then is hashed before it counts: the journal only says that looking is worth the time. */
	in->may_resume = strcmp(journal.manifest, in->manifest_sha256) == 0 && strcmp(u->journal.target, in->target) == 0;
	strcpy(journal.manifest, in->manifest_sha256);
	r = journal_move(u->state_fd, &journal, AGENT_UPDATE_WRITING, err);
	if (r < 0)
		return r;
	u->journal = journal;
	in->has_begun = true;
	engine_disable_slot(target);
	target->security_version = 0;
	target->release[0] = target->version[0] = '\0';
	strcpy(next.primary, u->booted);
	return engine_store_boot(u, &next, err);
}

static int slot_prepare(struct install *in, size_t i, struct agent_error **err)
{
	const struct update_handler *handler = handler_find(in->manifest->images[i].type);
	bool *is_prepared = &in->is_prepared[in->slots[i] - in->u->slots.items];
	int r = *is_prepared || handler->prepare == NULL ? 0 : handler->prepare(in->slots[i], err);

	*is_prepared = *is_prepared || r == 0;
	return r;
}

/* What the device cannot decrypt is refused before anything is touched. */
static int key_check(const struct install *in, struct agent_error **err)
{
	for (size_t i = 0; i < in->manifest->n_images; i++)
		if (in->manifest->images[i].cipher[0] != '\0' && in->u->key.size == 0)
			return agent_error_set(err, -ENOKEY, "update.key", "%s is encrypted, and this device has no key for updates", in->manifest->images[i].member);
	return 0;
}

static int image_install(struct install *in, size_t i, struct container *container, uint64_t member_bytes, struct agent_error **err)
{
	struct manifest_image *image = &in->manifest->images[i];
	struct stream_job job = { .handler = in->is_trial ? &handler_nowhere : NULL, .container = container, .image = image, .table = in->tables[i],
				  .slot = in->slots[i], .max_bytes = in->max_bytes[i],
				  .key = (const struct stream_key *)(const void *)in->u->key.data, .progress = image_progress, .userdata = in };
	struct stream_result result;
	int r = 0;

	if (image->has_stored_bytes && member_bytes != image->stored_bytes)
		return agent_error_set(err, -EBADMSG, "update.size", "%s has %" PRIu64 " bytes, %" PRIu64 " were signed", image->member, member_bytes,
				       image->stored_bytes);
	if (!image->has_stored_bytes) { /* stock bundle: the archive says, the hash will tell */
		image->stored_bytes = member_bytes;
		if (manifest_image_is_plain(image))
			image->plain_bytes = member_bytes;
		in->total_bytes += member_bytes;
	}
	if (member_bytes == 0)
		return agent_error_set(err, -EBADMSG, "update.size", "%s is empty", image->member);
	if (image->plain_bytes > in->max_bytes[i])
		return agent_error_set(err, -ENOSPC, "slot.size", "%s: image of %" PRIu64 " bytes at offset %" PRIu64 " does not fit, there is room for %" PRIu64,
				       image->member, image->plain_bytes, image->offset, in->max_bytes[i]);
	if (in->manifest->trust_member[0] != '\0' && !in->has_changed_trust)
		return agent_error_set(err, -EBADMSG, "update.order", "%s and its signature must come before %s", in->manifest->trust_member, image->member);
	if (image->has_chunks && in->tables[i] == NULL)
		return agent_error_set(err, -EBADMSG, "update.order", "chunk table %s must come before %s", image->table_member, image->member);
	if (!in->has_begun && !in->is_trial)
		r = writing_begin(in, err);
	if (r == 0 && !in->is_trial)
		r = slot_prepare(in, i, err);
	job.may_resume = in->may_resume;
	/* Only a source that need not send what is here makes it worth reading both slots. */
	if (r == 0 && in->source->read != NULL)
		(void)slot_table_find(&in->u->slots, image->slot_class, in->u->booted, &job.active, NULL);
	if (r == 0)
		r = stream_image(&job, &result, err);
	if (r < 0)
		return r;
	if (result.in_place_bytes + result.copied_bytes > 0)
		context_log(in->u->ctx, "%s: of %" PRIu64 " bytes %" PRIu64 " were in place and %" PRIu64 " in slot %s", image->member, result.plain_bytes,
			    result.in_place_bytes, result.copied_bytes, in->u->booted);
	in->done_bytes += image->stored_bytes;
	in->is_done[i] = true;
	if (in->tables[i] != NULL)
		in->table_bytes -= manifest_image_chunks(image) * DIGEST_SIZE;
	free(in->tables[i]);
	in->tables[i] = NULL;
	return 0;
}

/* First the policy, then its signature, and both before the first image: from here on others sign. */
static int trust_install(struct install *in, struct container *container, const struct member *member, struct agent_error **err)
{
	_cleanup_free_ char *signature = NULL;
	int r;

	if (strcmp(member->name, in->manifest->trust_member) == 0) {
		in->trust_size = (size_t)member->size_bytes;
		return verify_load(container, member, TRUST_POLICY_MAX, &in->trust_text, err);
	}
	if (in->trust_text == NULL)
		return agent_error_set(err, -EBADMSG, "update.order", "%s must come before %s", in->manifest->trust_member, member->name);
	r = verify_load(container, member, SIGNATURE_MAX, &signature, err);
	if (r == 0)
		r = trust_advance(in->u->ctx, &in->trust, in->is_trial ? -1 : in->u->state_fd, in->u->n_min_signers, in->trust_text, in->trust_size, signature,
				  (size_t)member->size_bytes, in->now_s, err);
	in->has_changed_trust = r == 0;
	return r;
}

static int member_install(struct install *in, struct container *container, const struct member *member, struct agent_error **err)
{
	const struct manifest *m = in->manifest;

	if (m->trust_member[0] != '\0' && (strcmp(member->name, m->trust_member) == 0 || strcmp(member->name, m->trust_signature) == 0))
		return trust_install(in, container, member, err);
	for (size_t i = 0; i < m->n_images; i++) {
		if (strcmp(member->name, m->images[i].member) == 0)
			return image_install(in, i, container, member->size_bytes, err);
		if (!m->images[i].has_chunks || strcmp(member->name, m->images[i].table_member) != 0)
			continue;
		in->table_bytes += member->size_bytes;
		if (in->table_bytes > STREAM_TABLES_MAX)
			return agent_error_set(err, -EMSGSIZE, "update.chunk-table", "chunk tables of more than %d bytes: use larger chunks", STREAM_TABLES_MAX);
		return stream_read_table(container, &m->images[i], member->size_bytes, &in->tables[i], err);
	}
	if (manifest_skips(m, member->name))
		return stream_skip(container, NULL, NULL, NULL, err);
	return agent_error_set(err, -EBADMSG, "update.member", "member %s is not named in the signed manifest", member->name);
}

/* Every member is named in the manifest, and everything named there has arrived. */
static int members_install(struct install *in, struct container *container, struct agent_error **err)
{
	struct member member;
	int r;

	while ((r = container_next(container, &member, err)) > 0) {
		r = member_install(in, container, &member, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; r == 0 && i < in->manifest->n_images; i++)
		if (!in->is_done[i])
			r = agent_error_set(err, -EBADMSG, "update.member", "member %s is missing", in->manifest->images[i].member);
	return r;
}

/* The caller's word, when all that the manifest says is known to be good and nothing was touched. */
static int policy_ask(struct install *in, struct agent_error **err)
{
	const struct manifest *m = in->manifest;
	const struct agent_update_release release = { .version = m->version, .release_id = m->release_id, .security_version = m->security_version,
						      .kind = m->kind, .advisory = m->advisory, .stored_bytes = in->total_bytes };
	int r = in->u->policy == NULL ? 0 : in->u->policy(in->u->policy_data, &release, err);

	if (r < 0 && (err == NULL || *err == NULL))
		agent_error_set(err, r, "update.policy", "the policy of this device does not admit release %s", m->release_id);
	return r < 0 ? r : 0;
}

static int manifest_hash(struct install *in, const struct verified_buf *verified, struct agent_error **err)
{
	uint8_t digest[DIGEST_SIZE];
	size_t size = 0;
	const char *data = verified_buf_data(verified, &size);
	int r = digest_sha256(data, size, digest);

	if (r < 0)
		return hash_failed(r, err);
	hex_encode(digest, sizeof(digest), in->manifest_sha256);
	return 0;
}

static int bundle_install(struct install *in, uint64_t floor, uint64_t now_s, struct agent_error **err)
{
	_cleanup_(verified_buf_freep) struct verified_buf *verified = NULL;
	_cleanup_(container_freep) struct container *container = NULL;
	struct agent_update *u = in->u;
	int r;

	r = in->is_trial ? 0 : slot_table_other(&u->slots, u->booted, &in->target, err);
	if (r == 0)
		r = container_new_from(in->source, &container, err);
	/* Read anew for each bundle: a certificate or CRL that was put there counts at once. */
	if (r == 0)
		r = trust_load(u->ctx, u->trust_dir, u->state_fd, u->n_min_signers, &in->trust, err);
	if (r == 0)
		r = verify_manifest(&(struct verify_policy){ .trust = in->trust.certs, .n_min_signers = in->trust.n_min_signers,
				    .raw = u->allow_compat ? (enum cms_raw)u->raw_signatures : CMS_RAW_NONE, .now_s = now_s }, container, &verified, err);
	if (r == 0)
		r = manifest_hash(in, verified, err);
	if (r == 0)
		r = manifest_parse(verified, &(struct manifest_policy){ .allow_compat = u->allow_compat, .product = u->product,
				   .selection = in->is_trial ? in->selection : selection_of(u, in->target), .slots = in->is_trial ? NULL : &u->slots,
				   .target = in->target }, &in->manifest, err);
	if (r == 0)
		in->n_signers = verified_buf_signers(verified);
	if (r == 0)
		r = release_check(in, in->n_signers, floor, now_s, err);
	if (r == 0)
		r = in->is_trial ? targets_invent(in, err) : targets_find(in, err);
	if (r == 0)
		r = key_check(in, err);
	if (r == 0)
		r = policy_ask(in, err);
	if (r == 0)
		r = members_install(in, container, err);
	if (r < 0 || in->is_trial)
		return r;
	if (r == 0)
		r = journal_move(u->state_fd, &u->journal, AGENT_UPDATE_WRITTEN, err);
	if (r < 0)
		return r;
	tell(in, in->total_bytes);
	r = engine_switch(u, err);
	if (r == 0)
		tell(in, in->total_bytes);
	return r;
}

static void install_clear(struct install *in)
{
	for (size_t i = 0; i < MANIFEST_IMAGES_MAX; i++)
		free(in->tables[i]);
	manifest_free(in->manifest);
	trust_clear(&in->trust);
	free(in->trust_text);
}

static int source_install(struct agent_update *u, const struct source *source, uint64_t floor, uint64_t now_s, agent_update_progress_fn progress,
			  void *userdata, struct agent_error **err)
{
	struct install in = { .u = u, .source = source, .now_s = now_s, .progress = progress, .userdata = userdata };
	enum agent_update_stage before;
	int r;

	r = agent_update_settle(u, err);
	if (r == 0)
		r = engine_check_idle(u, err);
	if (r < 0)
		return r;
	before = u->journal.stage;
	r = journal_move(u->state_fd, &u->journal, AGENT_UPDATE_RECEIVING, err);
	if (r < 0)
		return r;
	tell(&in, 0);
	r = bundle_install(&in, floor, now_s, err);
	if (r < 0 && u->journal.stage == AGENT_UPDATE_RECEIVING)
		u->journal.stage = before;
	else if (r < 0 && journal_may_move(u->journal.stage, AGENT_UPDATE_FAILED) && u->journal.stage != AGENT_UPDATE_TRYING)
		/* If even this cannot be written, the next settle undoes what is left. */
		(void)journal_move(u->state_fd, &u->journal, AGENT_UPDATE_FAILED, NULL);
	install_clear(&in);
	return r;
}

int engine_verify(struct agent_update *u, int fd, const char *selection, uint64_t floor, uint64_t now_s, struct agent_bundle_facts *ret_facts,
		  struct agent_error **err)
{
	const struct source source = source_from_fd(fd);
	struct install in = { .u = u, .source = &source, .now_s = now_s, .is_trial = true, .selection = selection };
	int r = bundle_install(&in, floor, now_s, err);

	if (r == 0) {
		*ret_facts = (struct agent_bundle_facts){ .security_version = in.manifest->security_version, .n_signers = in.n_signers,
							  .n_images = (unsigned)in.manifest->n_images, .is_strict = in.manifest->is_strict };
		strcpy(ret_facts->version, in.manifest->version);
		strcpy(ret_facts->release_id, in.manifest->release_id);
	}
	install_clear(&in);
	return r;
}

int agent_update_install(struct agent_update *u, int fd, uint64_t floor, uint64_t now_s, agent_update_progress_fn progress, void *userdata,
			 struct agent_error **err)
{
	struct source source;

	if (u == NULL || fd < 0)
		return agent_error_set(err, -EINVAL, "update.argument", "install needs an engine and a descriptor");
	/* More than 64 KiB on their way saves wake-ups; not every descriptor is a pipe. */
	(void)fcntl(fd, F_SETPIPE_SZ, 1024 * 1024);
	source = source_from_fd(fd);
	return source_install(u, &source, floor, now_s, progress, userdata, err);
}

int agent_update_install_from(struct agent_update *u, agent_update_read_fn read, void *read_userdata, uint64_t floor, uint64_t now_s,
			      agent_update_progress_fn progress, void *userdata, struct agent_error **err)
{
	struct source source;

	if (u == NULL || read == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "install needs an engine and a function that reads the bundle");
	source = source_from_read(read, read_userdata);
	return source_install(u, &source, floor, now_s, progress, userdata, err);
}
