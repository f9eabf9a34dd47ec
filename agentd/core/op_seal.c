/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seal and Unseal for applications. A key of purpose seal is the name of a drawer: what is sealed under it opens under it
 * alone, because the password that the TPM wants comes from the key's own secret. Secrets stay in memory that is wiped.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <agent/client.h>
#include <agent/seal.h>

#include "agentd/core/core.h"
#include "agentd/core/job.h"
#include "agentd/core/key_permit.h"
#include "agentd/core/store.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

#define KEY_SECRET_MAX 64
#define UNREAD_MAX 2 /* long answers that an application may leave unread before it gets another */

struct bytes {
	const void *data; /* lent by the call's message, which the job keeps */
	size_t size;
};

struct seal_job {
	struct op_job base;
	char name[33];
	struct key_meta meta;
	uint32_t policy, pcr_mask;
	struct bytes signer, ref, auth, expected, signatures, input;
	/* out */
	uint8_t *sealed;
	size_t sealed_size;
	struct secret secret;
};

static void seal_job_free(struct op_job *base)
{
	struct seal_job *job = (struct seal_job *)base;

	free(job->sealed);
	secret_free(&job->secret);
}

/* ---- the password ------------------------------------------------------------------------------------------------- */

/*
 * HMAC-SHA256 with the key's secret over "libagent-seal-v1", NUL, name, NUL, password of the application. Who removes the key
 * makes everything sealed under it useless; another key's sealed bytes do not open, whatever is claimed about them.
 */
static int drawer_password(struct store *store, const struct seal_job *job, struct secret *ret_password, struct agent_error **err)
{
	static const char domain[] = "libagent-seal-v1";
	_cleanup_secret_ struct secret text = { 0 }, key = { 0 };
	_cleanup_error_ struct agent_error *e = NULL;
	size_t name_size = strlen(job->name) + 1, n = 0;
	char path[64], *file = NULL;
	int r;

	snprintf(path, sizeof(path), "%s.auth", job->name);
	r = file_read_at(store->keys_fd, path, KEY_SECRET_MAX, &file, &n, &e);
	if (r == -ENOENT)
		return agent_error_set(err, -EOPNOTSUPP, "seal.key", "key %s has no secret in a TPM: nothing can be sealed under it", job->name);
	if (r < 0)
		return agent_error_move(err, &e);
	r = n < 16 ? -EBADMSG : secret_copy(&key, file, n);
	wipe(file, n);
	free(file);
	if (r == -EBADMSG)
		return agent_error_set(err, r, "seal.key", "the secret of key %s is too short to seal with", job->name);
	if (r < 0 || secret_alloc(&text, sizeof(domain) + name_size + job->auth.size) < 0 || secret_alloc(ret_password, AGENT_SEAL_AUTH_MAX) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory to seal");
	memcpy(text.data, domain, sizeof(domain));
	memcpy(text.data + sizeof(domain), job->name, name_size);
	if (job->auth.size > 0)
		memcpy(text.data + sizeof(domain) + name_size, job->auth.data, job->auth.size);
	if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key.data, key.size, text.data, sizeof(domain) + name_size + job->auth.size,
		      ret_password->data, AGENT_SEAL_AUTH_MAX, NULL) == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory to seal");
	/* TPMs leave zeros at the end out. */
	ret_password->data[AGENT_SEAL_AUTH_MAX - 1] |= 0x80;
	ret_password->size = AGENT_SEAL_AUTH_MAX;
	return 0;
}

/* The drawer is still the one that the rights were given for. */
static int open_drawer(struct store *store, const struct seal_job *job, struct secret *ret_password, struct agent_error **err)
{
	struct store_key *key;
	int r;

	r = key_get_meant(store, job->name, &job->meta, &key, err);
	return r < 0 ? r : drawer_password(store, job, ret_password, err);
}

/* ---- Seal --------------------------------------------------------------------------------------------------------- */

/* Values of the PCRs in the mask, lowest first, 32 bytes each. */
static int unpack_values(const struct seal_job *job, struct agent_pcr_values *ret_values, struct agent_error **err)
{
	const uint8_t *at = job->expected.data;
	size_t left = job->expected.size;

	*ret_values = (struct agent_pcr_values){ .mask = job->pcr_mask };
	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++) {
		if ((job->pcr_mask & UINT32_C(1) << i) == 0)
			continue;
		if (left < AGENT_TPM_PCR_SIZE)
			return agent_error_set(err, -EINVAL, "seal.argument", "fewer values than PCRs");
		memcpy(ret_values->value[i], at, AGENT_TPM_PCR_SIZE);
		at += AGENT_TPM_PCR_SIZE;
		left -= AGENT_TPM_PCR_SIZE;
	}
	return left == 0 ? 0 : agent_error_set(err, -EINVAL, "seal.argument", "more values than PCRs");
}

static int seal_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct seal_job *job = (struct seal_job *)base;
	_cleanup_secret_ struct secret password = { 0 };
	struct agent_pcr_values values;
	struct agent_seal_options options = {
		.policy = (enum agent_seal_policy)job->policy,
		.pcr_mask = job->pcr_mask,
		.signer = job->signer.size > 0 ? job->signer.data : NULL,
		.signer_size = job->signer.size,
		.ref = job->ref.size > 0 ? job->ref.data : NULL,
		.ref_size = job->ref.size,
	};
	int r = 0;

	if (job->expected.size > 0) {
		r = unpack_values(job, &values, err);
		options.expected = &values;
	}
	if (r >= 0)
		r = open_drawer(store, job, &password, err);
	if (r < 0)
		return r;
	options.auth = password.data;
	options.auth_size = password.size;
	return agent_seal(store->tpm, job->input.data, job->input.size, &options, &job->sealed, &job->sealed_size, err);
}

static int append_sealed(sd_bus_message *m, const struct op_job *base)
{
	const struct seal_job *job = (const struct seal_job *)base;

	return sd_bus_message_append_array(m, 'y', job->sealed, job->sealed_size);
}

static int seal_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	op_call_used(base->call, EVENT_SECRET_SEALED, ((struct seal_job *)base)->name);
	return op_job_answer(base, "the sealed secret", append_sealed, err);
}

/* ---- Unseal ------------------------------------------------------------------------------------------------------- */

static int unseal_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct seal_job *job = (struct seal_job *)base;
	_cleanup_secret_ struct secret password = { 0 };
	_cleanup_error_ struct agent_error *e = NULL;
	struct agent_unseal_options options = {
		.signatures = job->signatures.size > 0 ? job->signatures.data : NULL,
		.signatures_size = job->signatures.size,
	};
	int r;

	r = open_drawer(store, job, &password, err);
	if (r < 0)
		return r;
	if (secret_alloc(&job->secret, job->input.size) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory to unseal");
	options.auth = password.data;
	options.auth_size = password.size;
	r = agent_unseal(store->tpm, job->input.data, job->input.size, &options, job->secret.data, job->input.size, &job->secret.size, &e);
	if (r < 0 && strcmp(agent_error_name(e), "seal.auth") == 0)
		return agent_error_set(err, r, "seal.auth", "that was not sealed under key %s, or with another password", job->name);
	return r < 0 ? agent_error_move(err, &e) : 0;
}

static int append_secret(sd_bus_message *m, const struct op_job *base)
{
	const struct seal_job *job = (const struct seal_job *)base;

	(void)sd_bus_message_sensitive(m); /* wiped when it is sent */
	return sd_bus_message_append_array(m, 'y', job->secret.data, job->secret.size);
}

static int unseal_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	op_call_used(base->call, EVENT_SECRET_UNSEALED, ((struct seal_job *)base)->name);
	return op_job_answer(base, "the secret", append_secret, err);
}

static const struct op_job_type job_seal = { .name = "sealing", .run = seal_run, .reply = seal_reply, .free = seal_job_free };
static const struct op_job_type job_unseal = { .name = "unsealing", .run = unseal_run, .reply = unseal_reply, .free = seal_job_free };

/* ---- calls -------------------------------------------------------------------------------------------------------- */

static int read_bytes(sd_bus_message *m, size_t max, struct bytes *ret_bytes)
{
	int r = sd_bus_message_read_array(m, 'y', &ret_bytes->data, &ret_bytes->size);

	return r < 0 || ret_bytes->size > max ? -EINVAL : 0;
}

/* What both have in common: who may, and a job that lends its input from the message. */
static int begin(struct core *core, struct op_call *call, const struct op_job_type *type, struct seal_job **ret_job, struct agent_error **err)
{
	struct op_job *base;
	struct key_meta meta;
	struct key_rule rule;
	const char *name;
	int r;

	(void)sd_bus_message_sensitive(call->msg); /* wiped when it goes */
	if (sd_bus_message_read(call->msg, "s", &name) < 0)
		return op_unreadable(call, err);
	r = key_permit(core, call, name, PURPOSE_SEAL, &meta, &rule, err);
	if (r < 0)
		return r;
	if (op_call_n_unread(call) > UNREAD_MAX)
		return agent_error_set(err, -EBUSY, "vendor.busy", "read the answers that are there first");
	r = op_job_new(call, type, sizeof(struct seal_job), &base, err);
	if (r < 0)
		return r;
	*ret_job = (struct seal_job *)base;
	strcpy((*ret_job)->name, name);
	(*ret_job)->meta = meta;
	return 0;
}

int op_seal(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct seal_job *job;
	int r;

	r = begin(core, call, &job_seal, &job, err);
	if (r < 0)
		return r;
	if (sd_bus_message_read(call->msg, "uu", &job->policy, &job->pcr_mask) < 0 || read_bytes(call->msg, 1024, &job->signer) < 0 ||
	    read_bytes(call->msg, AGENT_POLICY_REF_MAX, &job->ref) < 0 || read_bytes(call->msg, AGENT_SEAL_AUTH_MAX, &job->auth) < 0 ||
	    read_bytes(call->msg, sizeof(((struct agent_pcr_values *)0)->value), &job->expected) < 0 ||
	    read_bytes(call->msg, SIZE_MAX, &job->input) < 0)
		r = agent_error_set(err, -EINVAL, "seal.argument", "an option of Seal is longer than it may be");
	else if (job->policy > AGENT_SEAL_SIGNED_PCR)
		r = agent_error_set(err, -EINVAL, "seal.argument", "policy %u is not known", job->policy);
	else if (job->input.size == 0 || job->input.size > AGENT_CLIENT_SECRET_MAX)
		r = agent_error_set(err, -EMSGSIZE, "seal.size", "a secret has 1 to %d bytes here, this one has %zu", AGENT_CLIENT_SECRET_MAX,
				    job->input.size);
	return op_job_end(&job->base, r, WORKER_VENDOR, 0, err);
}

int op_unseal(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct seal_job *job;
	int r;

	r = begin(core, call, &job_unseal, &job, err);
	if (r < 0)
		return r;
	if (read_bytes(call->msg, AGENT_POLICY_MAX, &job->signatures) < 0 || read_bytes(call->msg, AGENT_SEAL_AUTH_MAX, &job->auth) < 0 ||
	    read_bytes(call->msg, SIZE_MAX, &job->input) < 0)
		r = agent_error_set(err, -EINVAL, "seal.argument", "an option of Unseal is longer than it may be");
	else if (job->input.size == 0)
		r = agent_error_set(err, -EBADMSG, "seal.file", "nothing was given to unseal");
	return op_job_end(&job->base, r, WORKER_VENDOR, 0, err);
}
