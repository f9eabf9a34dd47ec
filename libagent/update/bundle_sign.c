/* SPDX-License-Identifier: Apache-2.0 */
/* One signer more, or others, for a bundle that is there. */
#include "config.h"

#include <agent/bundle.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "update/bundle_parts.h"
#include "update/bundle_signers.h"
#include "update/ticket.h"
#include "update/verify.h"

void signers_close(struct signer_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		cms_signer_free(set->items[i]);
	set->n = 0;
}

int signers_open(struct agent_context *ctx, const struct agent_bundle_signer *signers, size_t n, uint64_t now_s, struct signer_set *set,
		 struct agent_error **err)
{
	for (size_t i = 0; i < n; i++) {
		int r;

		if (signers[i].certificate == NULL || (signers[i].key == NULL && signers[i].signer == NULL))
			return agent_error_set(err, -EINVAL, "bundle.options", "each signer needs a certificate and a key");
		r = cms_signer_open(ctx, signers[i].certificate, signers[i].key, signers[i].signer, now_s, &set->items[i], err);
		if (r < 0)
			return r;
		set->n = i + 1;
	}
	return 0;
}

/* One of the first two members, whole. */
static int member_text(const struct part *part, size_t max, char **ret_data, struct agent_error **err)
{
	if (part->size == 0 || part->size > max)
		return agent_error_set(err, -EMSGSIZE, "container.size", "%s has %" PRIu64 " bytes, allowed are 1 to %zu", part->name, part->size, max);
	*ret_data = malloc((size_t)part->size);
	if (*ret_data == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for %s", part->name);
	return part_read(part, 0, *ret_data, (size_t)part->size, err);
}

static int order_check(const struct parts *parts, const char *path, struct agent_error **err)
{
	static const char *const names[] = { MANIFEST_NAME, SIGNATURE_NAME };

	for (size_t i = 0; i < 2; i++)
		if (parts->n <= i || strcmp(parts->items[i].name, names[i]) != 0)
			return agent_error_set(err, -EBADMSG, "container.order", "%s has %s where %s must be", path, parts->n <= i ? "its end" : parts->items[i].name,
					       names[i]);
	return 0;
}

static int resign(struct agent_context *ctx, struct parts *parts, const struct signer_set *signers, enum agent_bundle_sign how, uint64_t time_s,
		  struct agent_error **err)
{
	_cleanup_free_ char *description = NULL, *old = NULL;
	_cleanup_free_ uint8_t *der = NULL;
	const struct part *first = &parts->items[0], *second = &parts->items[1];
	size_t size = 0;
	int r = member_text(first, MANIFEST_MAX, &description, err);

	/* What is signed as a bundle must never be a ticket, whatever somebody put into the archive. */
	if (r == 0 && first->size >= strlen(TICKET_MAGIC) && memcmp(description, TICKET_MAGIC, strlen(TICKET_MAGIC)) == 0)
		r = agent_error_set(err, -EBADMSG, "bundle.source", "%s of the bundle is the text of a service ticket", MANIFEST_NAME);
	if (r == 0 && how == AGENT_BUNDLE_SIGN_ADD)
		r = member_text(second, SIGNATURE_MAX, &old, err);
	if (r == 0)
		r = cms_sign(ctx, old, (size_t)second->size, description, (size_t)first->size, signers->items, signers->n, time_s, &der, &size, err);
	if (r == 0 && size > SIGNATURE_MAX)
		r = agent_error_set(err, -EMSGSIZE, "container.size", "%s would have %zu bytes, limit %d", SIGNATURE_NAME, size, SIGNATURE_MAX);
	if (r == 0)
		r = part_set(&parts->items[1], der, size, err);
	for (size_t i = 0; r == 0 && i < parts->n; i++)
		if (!parts->items[i].is_measured)
			r = part_measure(&parts->items[i], 0, NULL, NULL, err);
	return r;
}

int agent_bundle_sign(struct agent_context *ctx, const char *path, const char *out, const struct agent_bundle_signer *signers, size_t n_signers,
		      enum agent_bundle_sign how, uint64_t time_s, struct agent_error **err)
{
	_cleanup_parts_ struct parts parts = { .fd = -1 };
	_cleanup_signers_ struct signer_set set = { 0 };
	int r;

	if (ctx == NULL || path == NULL || out == NULL || signers == NULL || n_signers == 0 || n_signers > AGENT_BUNDLE_SIGNERS_MAX || time_s == 0)
		return agent_error_set(err, -EINVAL, "bundle.options", "to sign takes a bundle, a file to write, 1 to %d signers and the time", AGENT_BUNDLE_SIGNERS_MAX);
	r = out_check(out, err);
	if (r == 0)
		r = signers_open(ctx, signers, n_signers, time_s, &set, err);
	if (r == 0)
		r = parts_read(&parts, path, err);
	if (r == 0)
		r = order_check(&parts, path, err);
	if (r == 0)
		r = resign(ctx, &parts, &set, how, time_s, err);
	return r < 0 ? r : parts_write(&parts, out, time_s, err);
}
