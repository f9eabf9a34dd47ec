/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/macro.h"
#include "update/hash.h"
#include "update/install.h"
#include "update/verify.h"

void install_tell(const struct install *in, uint64_t done_bytes)
{
	if (in->progress != NULL)
		in->progress(in->userdata, in->u->journal.stage, done_bytes, in->total_bytes);
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
		cms_trust_require_crls(in->trust.certs, u->require_crl);
	if (r == 0)
		r = trust_check_floor(&in->trust, u->trust_floor, err);
	if (r == 0)
		r = verify_manifest(&(struct verify_policy){ .trust = in->trust.certs, .n_min_signers = in->trust.n_min_signers,
				    .raw = u->allow_compat ? (enum cms_raw)u->raw_signatures : CMS_RAW_NONE, .now_s = now_s }, container, &verified, err);
	if (r == 0)
		r = manifest_hash(in, verified, err);
	if (r == 0)
		r = manifest_parse(verified, &(struct manifest_policy){ .allow_compat = u->allow_compat, .allow_scripts = u->script != NULL || (in->is_trial && u->allow_scripts), .product = u->product,
				   .selection = in->is_trial ? in->selection : engine_selection(u, in->target), .slots = in->is_trial ? NULL : &u->slots,
				   .target = in->target }, &in->manifest, err);
	if (r == 0)
		in->signers = *verified_buf_signers(verified);
	if (r == 0)
		r = admit_ticket(in, floor, now_s, err);
	if (r == 0)
		r = admit_release(in, in->signers.n, in->uses_ticket ? in->manifest->security_version : floor, now_s, err);
	if (r == 0)
		r = in->is_trial ? admit_trial(in, err) : admit_targets(in, err);
	if (r == 0)
		r = admit_ask(in, err);
	if (r == 0)
		r = admit_keys(in, err);
	if (r == 0)
		r = members_install(in, container, err);
	if (r < 0 || in->is_trial)
		return r;
	r = scripts_run(in, true, err);
	/* From the next line on a power cut ends in the new slot. So the ticket is used up now: a cut in between costs it, and nothing boots twice by it. */
	if (r == 0 && in->uses_ticket)
		r = u->ticket.use(u->ticket.userdata, err);
	if (r == 0)
		r = journal_move(u->state_fd, &u->journal, AGENT_UPDATE_WRITTEN, err);
	if (r < 0)
		return r;
	install_tell(in, in->total_bytes);
	r = engine_switch(u, err);
	if (r == 0)
		install_tell(in, in->total_bytes);
	return r;
}

static void install_clear(struct install *in)
{
	for (size_t i = 0; i < MANIFEST_IMAGES_MAX; i++)
		free(in->tables[i]);
	for (size_t i = 0; i < MANIFEST_SCRIPTS_MAX; i++)
		free(in->script_texts[i]);
	manifest_free(in->manifest);
	trust_clear(&in->trust);
	secret_free(&in->content_key);
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
	u->is_installing = true;
	install_tell(&in, 0);
	r = bundle_install(&in, floor, now_s, err);
	u->is_installing = false;
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
		*ret_facts = (struct agent_bundle_facts){ .security_version = in.manifest->security_version, .n_signers = in.signers.n,
							  .n_images = (unsigned)in.manifest->n_images, .n_scripts = (unsigned)in.manifest->n_scripts,
							  .is_strict = in.manifest->is_strict };
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
