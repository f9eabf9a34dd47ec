/* SPDX-License-Identifier: Apache-2.0 */
/* Enrolment: what needs the TPM or writes keys. */
#include "config.h"

#include "agentd/common/fill_in.h"
#include "agentd/core/enrol_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <agent/cert.h>
#include <agent/seal.h>

#include "agentd/core/rotation.h"
#include "base/file.h"
#include "base/macro.h"

#define NAMES_MAX 16

int enrol_job_new(enum enrol_work work, enrol_done done, struct core *core, struct enrol_job **ret_job, struct agent_error **err)
{
	struct enrol_job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for an enrolment");
	job->work = work;
	job->done = done;
	job->settings = core->settings;
	*ret_job = job;
	return 0;
}

void enrol_job_free(struct enrol_job *job)
{
	if (job == NULL)
		return;
	secret_free(&job->secret);
	free(job->current);
	free(job->csr);
	free(job->anchors);
	free(job->cacerts);
	free(job->pem);
	free(job->csr_out);
	free(job);
}

/* ---- the one-time secret ---------------------------------------------------------------------------------------- */

static int open_secret(struct store *store, struct enrol_job *job, struct agent_error **err)
{
	size_t n = 0;
	int r;

	if (!job->needs_secret)
		return 0;
	if (secret_alloc(&job->secret, AGENT_SEAL_MAX) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a secret");
	r = agent_unseal_file(store->tpm, store->keys_fd, ENROL_FILE_SECRET, NULL, job->secret.data, AGENT_SEAL_MAX, &n, err);
	job->secret.size = r < 0 ? 0 : n;
	return r < 0 ? agent_error_prefix(err, r, "one-time secret of the EST server") : 0;
}

/* ---- the request -------------------------------------------------------------------------------------------------- */

static void free_names(char *(*names)[NAMES_MAX + 1])
{
	for (size_t i = 0; (*names)[i] != NULL; i++)
		free((*names)[i]);
}

/*
 * RFC 7030 section 4.2.2: a renewal has subject and names of the certificate in use, unless the settings say otherwise. @has_next: the new
 * key is there already, and its request was given up.
 */
static int make_csr(struct store *store, struct enrol_job *job, const struct settings *s, bool has_next, struct agent_error **err)
{
	_cleanup_(free_names) char *names[NAMES_MAX + 1] = { NULL };
	_cleanup_free_ char *subject = NULL, *longer = NULL;
	struct agent_csr_options options = { .like_pem = job->current, .for_client = 1 };
	enum agent_key_type type = 0;
	struct store_key *key;
	size_t n = 0;
	int r;

	if (s->est.subject[0] != '\0' || job->current == NULL) {
		subject = settings_fill_in(s, s->est.subject[0] != '\0' ? s->est.subject : "CN={serial}", true);
		if (subject != NULL && job->wishes.wants_serial && strstr(subject, "serialNumber=") == NULL) {
			if (asprintf(&longer, "%s,serialNumber=%s", subject, s->device.serial) < 0)
				longer = NULL;
		}
		options.subject = longer != NULL ? longer : subject;
		if (options.subject == NULL)
			return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a request");
	}
	for (char **name = s->est.names; name != NULL && *name != NULL; name++) {
		if (n == NAMES_MAX)
			return agent_error_set(err, -EINVAL, "cert.names", "est.names has more than %d names", NAMES_MAX);
		names[n] = settings_fill_in(s, *name, false);
		if (names[n++] == NULL)
			return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a request");
	}
	if (n > 0)
		options.names = (const char *const *)names;
	if (job->new_key && !has_next) {
		if (agent_key_type_parse(job->wishes.key_type, &type) < 0)
			type = 0; /* no wish, or one that no TPM key can meet: as the old one */
		job->is_begun = true;
		return store_begin_rotation(store, ENROL_KEY, type, &options, &job->rotation, &job->csr_out, err);
	}
	r = store_get_key(store, has_next ? ENROL_KEY ROTATION_NEXT : ENROL_KEY, &key, err);
	if (r >= 0)
		r = agent_csr_make(store->ctx, key->signer, &options, &job->csr_out, err);
	if (r >= 0 && has_next)
		return rotation_write(store->keys_fd, ENROL_KEY ROTATION_NEXT, ".csr", job->csr_out, err);
	return r < 0 ? r : file_replace_at(store->keys_fd, ENROL_FILE_CSR, 0600, job->csr_out, strlen(job->csr_out), err);
}

/* The request of before, if there is one: after 202 the server wants the very same (RFC 7030 section 4.2.3). */
static int find_csr(struct store *store, struct enrol_job *job, bool *ret_has_next, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	struct rotation rotation;
	size_t size;
	int r;

	if (job->new_key) {
		r = rotation_load(store->keys_fd, &rotation, err);
		if (r < 0 || rotation.state != ROTATION_WAITING || strcmp(rotation.key, ENROL_KEY) != 0)
			return r;
		*ret_has_next = true;
		return rotation_read(store->keys_fd, ENROL_KEY ROTATION_NEXT, ".csr", &job->csr_out, err);
	}
	r = file_read_at(store->keys_fd, ENROL_FILE_CSR, ROTATION_CERT_MAX, &job->csr_out, &size, &e);
	return r < 0 && r != -ENOENT ? agent_error_move(err, &e) : 0;
}

static int make_request(struct store *store, struct enrol_job *job, struct agent_error **err)
{
	bool has_next = false;
	int r = find_csr(store, job, &has_next, err);

	return r < 0 || job->csr_out != NULL ? r : make_csr(store, job, job->settings, has_next, err);
}

/* ---- what came ---------------------------------------------------------------------------------------------------- */

static int take(struct store *store, struct enrol_job *job, struct agent_error **err)
{
	const struct enrol_wanted wanted = {
		.csr = job->csr, .current = job->current, .anchors = job->anchors, .cacerts = job->cacerts, .now_s = job->now_s,
		.min_life_s = (uint64_t)job->settings->est.min_life_s,
	};
	_cleanup_free_ char *chain = NULL;
	int r;

	/* A reset went before in the queue. */
	if (store->setup != AGENT_SETUP_ACTIVE)
		return agent_error_set(err, -ENOKEY, "est.reset", "the device was reset meanwhile");
	r = enrol_check(job->pem, &wanted, &chain, &job->about, err);
	if (r >= 0 && strlen(chain) > ROTATION_CERT_MAX)
		r = agent_error_set(err, -EMSGSIZE, "est.size", "the chain of the new certificate is longer than %d bytes", ROTATION_CERT_MAX);
	return r < 0 ? r : store_take_certificate(store, ENROL_KEY, chain, (int64_t)job->now_s, &job->rotation, &job->is_begun, err);
}

/* ---- the verdict on a new pair ------------------------------------------------------------------------------------- */

static int end_trial(struct store *store, struct enrol_job *job, struct agent_error **err)
{
	return store_end_trial(store, ENROL_KEY, job->id, job->is_proved, job->why, &job->rotation, err);
}

static int run(struct store *store, void *data, struct agent_error **err)
{
	static int (*const works[])(struct store *, struct enrol_job *, struct agent_error **) = {
		[ENROL_OPEN] = open_secret, [ENROL_REQUEST] = make_request, [ENROL_TAKE] = take, [ENROL_END_TRIAL] = end_trial,
	};
	struct enrol_job *job = data;

	return works[job->work](store, job, err);
}

static void done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct enrol_job *job = data;

	job->done(core, job, r, err);
}

static void release(void *data)
{
	enrol_job_free(data);
}

static const struct job_ops ops = { .name = "enrolment", .run = run, .done = done, .free = release };

int enrol_job_submit(struct core *core, struct enrol_job *job, struct agent_error **err)
{
	unsigned timeout_s = (unsigned)(job->work == ENROL_REQUEST && job->new_key ? core->settings->tpm.keygen_timeout_s : core->settings->tpm.sign_timeout_s);
	int r = worker_submit(core->worker, WORKER_WORK, &ops, job, timeout_s, err);

	if (r < 0)
		enrol_job_free(job);
	return r;
}
