/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "update/bootenv.h"
#include "update/handler.h"
#include "update/hardware.h"
#include "update/install.h"
#include "update/stream.h"
#include "update/ticket.h"

/* Policies that need the slots: not for a trial. */
static int device_check(const struct install *in, struct agent_error **err)
{
	const struct agent_update *u = in->u;
	int r = bootenv_check(in->manifest, u->bootenv, u->n_bootenv, u->boot, err);

	return r < 0 ? r : versions_check(&u->versions, in->manifest, err);
}

int admit_ticket(struct install *in, uint64_t floor, uint64_t now_s, struct agent_error **err)
{
	const struct agent_update *u = in->u;
	struct ticket ticket = { 0 };
	int r;

	if (in->manifest->security_version >= floor || u->ticket.text == NULL)
		return 0;
	r = ticket_open(&in->trust, u->ticket.text, now_s, &ticket, err);
	if (r == 0)
		r = ticket_check(&ticket, u->ticket.device, u->ticket.counter, now_s, err);
	if (r == 0)
		r = ticket_fits(&ticket, in->manifest, in->manifest_sha256, err);
	in->uses_ticket = r == 0;
	return r;
}

/* A pattern that nobody can match may be why. */
static int product_error(const struct manifest *m, const char *product, struct agent_error **err)
{
	int r = agent_error_set(err, -EPERM, "update.product", "release %s is for %s%s, this device is %s", m->release_id,
				m->n_products == 0 ? "no product" : m->products[0], m->n_products > 1 ? " and others" : "", product);

	for (size_t i = 0; !m->is_strict && i < m->n_products; i++) {
		const char *fault = hardware_fault(m->products[i]);

		if (fault != NULL)
			return agent_error_set(err, -EPERM, "update.product", "release %s is not for this device, %s; in hardware-compatibility, the pattern %s is not taken: %s",
					       m->release_id, product, m->products[i], fault);
	}
	return r;
}

int admit_release(const struct install *in, unsigned n_signers, uint64_t floor, uint64_t now_s, struct agent_error **err)
{
	const struct manifest *m = in->manifest;
	const struct agent_update *u = in->u;

	if (n_signers < m->n_min_signers)
		return agent_error_set(err, -EKEYREJECTED, "update.threshold", "release %s wants %u signers, %u are valid", m->release_id, m->n_min_signers, n_signers);
	if (u->product != NULL && !manifest_fits(m, u->product))
		return product_error(m, u->product, err);
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

/* Better said before all of it was written. */
static int entry_check(const struct install *in, struct agent_error **err)
{
	const struct boot_state *state = &in->u->boot_state;

	for (size_t i = 0; i < state->n_slots; i++)
		if (strcmp(state->slots[i].name, in->target) == 0)
			return 0;
	if (!in->u->boot->needs_entry)
		return 0;
	return agent_error_set(err, -EINVAL, "boot.config", "the boot loader has no entry for slot %s: put it back as it was when the device was made", in->target);
}

int admit_targets(struct install *in, struct agent_error **err)
{
	const struct manifest *m = in->manifest;
	const struct slot_table *table = &in->u->slots;
	int r = device_check(in, err);

	if (r == 0)
		r = entry_check(in, err);
	for (size_t i = 0; r == 0 && i < m->n_images; i++) {
		const struct manifest_image *image = &m->images[i];
		const struct update_handler *handler = handler_find(image->type);

		if (handler == NULL)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: images of type %s are not supported", image->member, image->type);
		r = slot_table_find(table, image->slot_class, in->target, &in->slots[i], err);
		if (r == 0)
			r = handler->check(in->slots[i], image, &in->max_bytes[i], err);
		if (r < 0)
			return agent_error_prefix(err, r, "%s", image->member);
		/* One member may be for several of them. */
		if (manifest_image_first(m, i) == i)
			in->total_bytes += image->stored_bytes;
	}
	for (size_t i = 0; r == 0 && i < m->n_images; i++)
		r = neighbours_check(in, i, err);
	if (r < 0)
		return r;
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

int admit_trial(struct install *in, struct agent_error **err)
{
	for (size_t i = 0; i < in->manifest->n_images; i++) {
		if (handler_find(in->manifest->images[i].type) == NULL)
			return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: images of type %s are not supported", in->manifest->images[i].member,
					       in->manifest->images[i].type);
		in->max_bytes[i] = INT64_MAX;
	}
	return 0;
}

int admit_keys(const struct install *in, struct agent_error **err)
{
	const struct manifest_image *image = manifest_encrypted(in->manifest);
	const struct stream_key *key = (const struct stream_key *)(const void *)in->u->key.data;
	bool may_open = in->manifest->key_member[0] != '\0' && in->u->unwrap != NULL;

	if (image != NULL && in->u->key.size == 0 && !may_open)
		return agent_error_set(err, -ENOKEY, "update.key", "%s is encrypted, and this device has no key for updates", image->member);
	/* A key that the bundle brings along is known later. */
	for (size_t i = 0; in->u->key.size > 0 && in->manifest->key_member[0] == '\0' && i < in->manifest->n_images; i++) {
		const struct cipher_type *type = cipher_find(in->manifest->images[i].cipher);

		if (type != NULL && type->key_size != 0 && type->key_size != key->key_size)
			return agent_error_set(err, -EINVAL, "update.key", "%s is encrypted with %s, but the key of this device has %zu bits", in->manifest->images[i].member,
					       type->name, key->key_size * 8);
	}
	return 0;
}

int admit_ask(struct install *in, struct agent_error **err)
{
	const struct manifest *m = in->manifest;
	const struct agent_update_release release = { .version = m->version, .release_id = m->release_id, .security_version = m->security_version,
						      .kind = m->kind, .advisory = m->advisory, .stored_bytes = in->total_bytes, .signed_s = in->signers.signed_s,
						      .manifest_sha256 = in->manifest_sha256,
						      .needs_key = manifest_encrypted(m) != NULL && (m->key_member[0] == '\0' || in->u->unwrap == NULL) };
	int r = in->u->policy == NULL ? 0 : in->u->policy(in->u->policy_data, &release, err);

	if (r < 0 && (err == NULL || *err == NULL))
		agent_error_set(err, r, "update.policy", "the policy of this device does not admit release %s", m->release_id);
	return r < 0 ? r : 0;
}
