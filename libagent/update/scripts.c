/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts of a bundle: kept in memory, held against the signed hash, and given to whoever runs them. Nothing is started here. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "update/hash.h"
#include "update/install.h"
#include "update/verify.h"

int script_take(struct install *in, size_t i, struct container *container, const struct member *member, struct agent_error **err)
{
	const struct manifest_script *script = &in->manifest->scripts[i];
	uint8_t digest[DIGEST_SIZE];
	char *text = NULL;
	int r;

	if (member->size_bytes == 0)
		return agent_error_set(err, -EBADMSG, "update.size", "%s is empty", script->member);
	if (script->has_size && member->size_bytes != script->size_bytes)
		return agent_error_set(err, -EBADMSG, "update.size", "%s has %" PRIu64 " bytes, %" PRIu64 " were signed", script->member, member->size_bytes,
				       script->size_bytes);
	r = verify_load(container, member, MANIFEST_SCRIPT_MAX, &text, err);
	if (r == 0 && (r = digest_sha256(text, (size_t)member->size_bytes, digest)) < 0)
		r = hash_failed(r, err);
	if (r == 0 && memcmp(digest, script->sha256, sizeof(digest)) != 0)
		r = agent_error_set(err, -EBADMSG, "update.hash", "%s is not the script that was signed", script->member);
	if (r < 0) {
		free(text);
		return r;
	}
	in->script_texts[i] = text;
	in->script_sizes[i] = (size_t)member->size_bytes;
	return 0;
}

static bool is_due(const struct manifest_script *script, bool is_after)
{
	return script->when != (is_after ? MANIFEST_SCRIPT_BEFORE : MANIFEST_SCRIPT_AFTER);
}

int scripts_run(const struct install *in, bool is_after, struct agent_error **err)
{
	const struct manifest *m = in->manifest;
	int r = 0;

	/* Images are written as they come: what is to run before them has to be here before them. And all of it, before the first one runs. */
	for (size_t i = 0; i < m->n_scripts; i++)
		if (is_due(&m->scripts[i], is_after) && in->script_texts[i] == NULL)
			return agent_error_set(err, -EBADMSG, "update.order", "script %s must come before the images in the archive", m->scripts[i].member);
	for (size_t i = 0; r == 0 && i < m->n_scripts && !in->is_trial; i++) {
		const struct manifest_script *script = &m->scripts[i];
		struct agent_update_script job = { .name = script->member, .is_after = is_after, .text = (const uint8_t *)in->script_texts[i],
						   .size = in->script_sizes[i] };

		if (!is_due(script, is_after))
			continue;
		if (script->when == MANIFEST_SCRIPT_BOTH)
			job.argument = is_after ? "postinst" : "preinst";
		r = in->u->script(in->u->script_data, &job, err);
		install_tell(in, in->done_bytes); /* who watches sees that it goes on */
	}
	return r;
}
