/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "context.h"
#include "update/cipher.h"
#include "update/handler.h"
#include "update/hash.h"
#include "update/install.h"
#include "update/stream.h"
#include "update/verify.h"

static void image_progress(void *userdata, uint64_t stored_bytes)
{
	const struct install *in = userdata;

	install_tell(in, in->done_bytes + stored_bytes);
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
	signers_print((const uint8_t(*)[DIGEST_SIZE])in->signers.keys, in->signers.n, '+', journal.signers);
	memcpy(journal.env, in->manifest->env, sizeof(journal.env));
	journal.n_env = in->manifest->n_env;
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

/* What no key can make of it is said before anything is touched, and not blamed on the key afterwards. */
static int cipher_check(const struct manifest_image *image, uint64_t stored, struct agent_error **err)
{
	const struct cipher_type *type = cipher_find(image->cipher);
	bool is_cbc = type != NULL && strcmp(type->mode, "CBC") == 0;
	uint64_t most = is_cbc ? stored - 1 : stored, least = is_cbc ? stored - CIPHER_BLOCK : stored;

	if (type == NULL)
		return 0;
	if (is_cbc && (stored == 0 || stored % CIPHER_BLOCK != 0))
		return agent_error_set(err, -EBADMSG, "update.decryption", "%s has %" PRIu64 " bytes, which is no multiple of the %d of %s: it was cut, or is not encrypted",
				       image->member, stored, CIPHER_BLOCK, image->cipher);
	if (strcmp(image->filter, "none") == 0 && image->plain_bytes != 0 && (image->plain_bytes < least || image->plain_bytes > most))
		return agent_error_set(err, -EBADMSG, "update.size", "%s decrypts to %" PRIu64 " to %" PRIu64 " bytes, %" PRIu64 " were signed", image->member, least, most,
				       image->plain_bytes);
	return 0;
}

/* What the archive says of image @i against what was signed and what has room; nothing was touched for its member yet. */
static int image_check(struct install *in, size_t i, uint64_t member_bytes, struct agent_error **err)
{
	struct manifest_image *image = &in->manifest->images[i];
	int r;

	if (image->has_stored_bytes && member_bytes != image->stored_bytes)
		return agent_error_set(err, -EBADMSG, "update.size", "%s has %" PRIu64 " bytes, %" PRIu64 " were signed", image->member, member_bytes,
				       image->stored_bytes);
	if (!image->has_stored_bytes) { /* stock bundle: the archive says, the hash will tell */
		image->stored_bytes = member_bytes;
		if (manifest_image_is_plain(image))
			image->plain_bytes = member_bytes;
		if (manifest_image_first(in->manifest, i) == i)
			in->total_bytes += member_bytes;
	}
	/* A file may be empty; an image of nothing is a mistake. */
	if (member_bytes == 0 && !image->is_file)
		return agent_error_set(err, -EBADMSG, "update.size", "%s is empty", image->member);
	r = cipher_check(image, member_bytes, err);
	if (r < 0)
		return r;
	if (image->plain_bytes > in->max_bytes[i])
		return agent_error_set(err, -ENOSPC, "slot.size", "%s: image of %" PRIu64 " bytes at offset %" PRIu64 " does not fit, there is room for %" PRIu64,
				       image->member, image->plain_bytes, image->offset, in->max_bytes[i]);
	if (in->manifest->trust_member[0] != '\0' && !in->has_changed_trust)
		return agent_error_set(err, -EBADMSG, "update.order", "%s and its signature must come before %s", in->manifest->trust_member, image->member);
	if (in->manifest->key_member[0] != '\0' && !in->has_envelope)
		return agent_error_set(err, -EBADMSG, "update.order", "%s must come before %s", in->manifest->key_member, image->member);
	if (image->has_chunks && in->tables[i] == NULL)
		return agent_error_set(err, -EBADMSG, "update.order", "chunk table %s must come before %s", image->table_member, image->member);
	return 0;
}

static struct stream_job image_job(struct install *in, size_t i, struct container *container)
{
	const struct secret *key = in->content_key.size > 0 ? &in->content_key : &in->u->key;
	struct stream_job job = { .handler = in->is_trial ? &handler_nowhere : NULL, .container = container, .image = &in->manifest->images[i],
				  .table = in->tables[i], .slot = in->slots[i], .max_bytes = in->max_bytes[i],
				  .key = (const struct stream_key *)(const void *)key->data, .may_resume = in->may_resume,
				  .progress = image_progress, .userdata = in };

	/* Only a source that need not send what is here makes it worth reading both slots. */
	if (in->source->read != NULL)
		(void)slot_table_find(&in->u->slots, job.image->slot_class, in->u->booted, &job.active, NULL);
	return job;
}

static void image_done(struct install *in, size_t i)
{
	const struct manifest_image *image = &in->manifest->images[i];

	in->is_done[i] = true;
	if (in->tables[i] != NULL)
		in->table_bytes -= manifest_image_chunks(image) * DIGEST_SIZE;
	free(in->tables[i]);
	in->tables[i] = NULL;
}

/* The current member of @container, which is that of image @first, and of others behind it where a stock bundle says so. */
static int images_install(struct install *in, size_t first, struct container *container, uint64_t member_bytes, struct agent_error **err)
{
	const struct manifest *m = in->manifest;
	struct stream_job jobs[MANIFEST_IMAGES_MAX];
	size_t which[MANIFEST_IMAGES_MAX], n = 0;
	struct stream_result result = { 0 };
	int r = 0;

	for (size_t i = first; r == 0 && i < m->n_images; i++)
		if (manifest_image_first(m, i) == first) {
			which[n++] = i;
			r = image_check(in, i, member_bytes, err);
		}
	if (r == 0 && !in->has_begun)
		r = scripts_run(in, false, err);
	if (r == 0 && !in->has_begun && !in->is_trial)
		r = writing_begin(in, err);
	for (size_t k = 0; r == 0 && k < n; k++) {
		r = in->is_trial ? 0 : slot_prepare(in, which[k], err);
		jobs[k] = image_job(in, which[k], container);
	}
	if (r == 0)
		r = n == 1 ? stream_image(&jobs[0], &result, err) : stream_images(jobs, n, err);
	if (r < 0)
		return r;
	if (result.in_place_bytes + result.copied_bytes > 0)
		context_log(in->u->ctx, "%s: of %" PRIu64 " bytes %" PRIu64 " were in place and %" PRIu64 " in slot %s", m->images[first].member, result.plain_bytes,
			    result.in_place_bytes, result.copied_bytes, in->u->booted);
	in->done_bytes += member_bytes;
	for (size_t k = 0; k < n; k++)
		image_done(in, which[k]);
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
	if (r < 0)
		return r;
	r = trust_advance(in->u->ctx, &in->trust, in->is_trial ? -1 : in->u->state_fd, in->u->n_min_signers, in->trust_text, in->trust_size, signature,
			  (size_t)member->size_bytes, in->now_s, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s", member->name);
	in->has_changed_trust = r == 0;
	return r;
}

static int member_install(struct install *in, struct container *container, const struct member *member, struct agent_error **err)
{
	const struct manifest *m = in->manifest;

	if (m->trust_member[0] != '\0' && (strcmp(member->name, m->trust_member) == 0 || strcmp(member->name, m->trust_signature) == 0))
		return trust_install(in, container, member, err);
	if (m->key_member[0] != '\0' && strcmp(member->name, m->key_member) == 0)
		return content_key_install(in, container, member, err);
	for (size_t i = 0; i < m->n_scripts; i++)
		if (strcmp(member->name, m->scripts[i].member) == 0)
			return script_take(in, i, container, member, err);
	for (size_t i = 0; i < m->n_images; i++) {
		if (strcmp(member->name, m->images[i].member) == 0)
			return images_install(in, i, container, member->size_bytes, err);
		if (!m->images[i].has_chunks || strcmp(member->name, m->images[i].table_member) != 0)
			continue;
		in->table_bytes += member->size_bytes;
		if (in->table_bytes > STREAM_TABLES_MAX)
			return agent_error_set(err, -EMSGSIZE, "update.chunk-table", "chunk tables of more than %d bytes, with %s: use larger chunks", STREAM_TABLES_MAX,
					       member->name);
		return stream_read_table(container, &m->images[i], member->size_bytes, &in->tables[i], err);
	}
	if (manifest_skips(m, member->name))
		return stream_skip(container, NULL, NULL, NULL, err);
	return agent_error_set(err, -EBADMSG, "update.member", "member %s is not named in the signed manifest", member->name);
}

int members_install(struct install *in, struct container *container, struct agent_error **err)
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
	for (size_t i = 0; r == 0 && i < in->manifest->n_scripts; i++)
		if (in->script_texts[i] == NULL)
			r = agent_error_set(err, -EBADMSG, "update.member", "member %s is missing", in->manifest->scripts[i].member);
	return r;
}
