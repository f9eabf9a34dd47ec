/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <agent/cert.h>

#include "agentd/common/peer.h"
#include "agentd/common/settings.h"
#include "agentd/core/core.h"
#include "agentd/core/job.h"
#include "agentd/core/key_permit.h"
#include "agentd/core/store.h"
#include "base/macro.h"
#include "base/secret.h"
#include "base/text.h"

#define SUBJECT_MAX 512
/* What an application may ask for by itself; certificate requests go through the management API. */
#define CALLER_PURPOSES ((unsigned)(PURPOSE_TLS_CLIENT | PURPOSE_SIGN_APP | PURPOSE_SEAL))
#define CALLER_ANY (CALLER_PURPOSES | PURPOSE_CSR)

/* One job for all operations on keys: what goes in, what comes out. */
struct key_job {
	struct op_job base;
	char name[STORE_NEXT_NAME_MAX + 1];
	char subject[SUBJECT_MAX + 1];
	struct store_new_key new; /* KeyCreate, KeyImport */
	struct secret pem;	  /* KeyImport: lent to new */
	struct key_meta meta; /* KeyCreate: rights to give; KeyPublic, KeySign: rights that were found */
	char *callers[KEY_RULES_MAX]; /* KeyAllow */
	size_t n_callers;
	enum agent_sign_scheme scheme;
	enum agent_hash hash;
	uint8_t digest[AGENT_DIGEST_MAX];
	size_t digest_size;
	/* out */
	uint8_t bytes[1024];
	size_t size;
	char *csr;
	struct key_row {
		char name[33];
		const char *type, *origin;
		const char *backend; /* a constant of the signer's backend; NULL: this key cannot be opened, see problem */
		char problem[200];
		char fingerprint[65];
		struct key_meta meta; /* no purposes: none, or unreadable */
	} rows[STORE_MAX_KEYS];
	size_t n_rows;
};

static void key_job_free(struct op_job *base)
{
	struct key_job *job = (struct key_job *)base;

	free(job->csr);
	secret_free(&job->pem);
	for (size_t i = 0; i < job->n_callers; i++)
		free(job->callers[i]);
}

static int key_job_new(struct op_call *call, const struct op_job_type *type, struct key_job **ret_job, struct agent_error **err)
{
	struct op_job *base;
	int r = op_job_new(call, type, sizeof(struct key_job), &base, err);

	if (r >= 0)
		*ret_job = (struct key_job *)base;
	return r;
}

static int take_text(const char *text, char *out, size_t max, const char *name, struct agent_error **err)
{
	if (strlen(text) > max)
		return agent_error_set(err, -EINVAL, name, "longer than %zu characters", max);
	strcpy(out, text);
	return 0;
}

static int fill_row(struct key_row *row, struct store *store, const struct store_key *key, struct agent_error **err)
{
	int r = store_key_fingerprint(key, row->fingerprint, err);

	if (r < 0)
		return r;
	snprintf(row->name, sizeof(row->name), "%s", key->name);
	row->type = agent_key_type_name(agent_signer_get_type(key->signer));
	row->origin = key_origin_name(key->origin);
	row->backend = agent_signer_get_backend(key->signer);
	if (key_meta_read(store->keys_fd, row->name, &row->meta, NULL) < 0)
		row->meta = (struct key_meta){ .purposes = 0 };
	return 0;
}

static int append_callers(sd_bus_message *m, const struct key_meta *meta)
{
	char texts[KEY_RULES_MAX][UNIT_NAME_MAX + 80];
	const char *list[KEY_RULES_MAX + 1] = { NULL };

	for (size_t i = 0; i < meta->n_rules; i++) {
		size_t n;

		key_rule_label(&meta->rules[i], texts[i], sizeof(texts[i]));
		n = strlen(texts[i]);
		texts[i][n] = ' ';
		purposes_format(meta->rules[i].purposes, texts[i] + n + 1, sizeof(texts[i]) - n - 1);
		list[i] = texts[i];
	}
	return peer_append_strings(m, "callers", list);
}

static int append_row(sd_bus_message *m, const struct key_row *row)
{
	char purposes[64];
	int r = peer_append_string(m, "name", row->name);

	if (r >= 0)
		r = peer_append_string(m, "type", row->type);
	if (r >= 0)
		r = peer_append_string(m, "backend", row->backend);
	if (r >= 0)
		r = peer_append_string(m, "origin", row->origin);
	if (r >= 0)
		r = peer_append_string(m, "fingerprint", row->backend == NULL ? NULL : row->fingerprint);
	if (r >= 0)
		r = peer_append_string(m, "problem", row->backend == NULL ? row->problem : NULL);
	purposes_format(row->meta.purposes, purposes, sizeof(purposes));
	if (r >= 0)
		r = peer_append_string(m, "purposes", purposes);
	return r < 0 ? r : append_callers(m, &row->meta);
}

static int append_row_of(sd_bus_message *m, const struct op_job *base, size_t i)
{
	return append_row(m, &((const struct key_job *)base)->rows[i]);
}

/* ---- KeyList ---------------------------------------------------------------------------------------------------- */

/* One key that cannot be used must not hide the others; a TPM that does not answer is everybody's problem. */
static bool is_about_one_key(int r)
{
	return r == -EPERM || r == -EBADMSG || r == -EKEYREJECTED || r == -EOPNOTSUPP || r == -EINVAL || r == -ENOENT || r == -EMSGSIZE;
}

static int list_one(struct store *store, const char *name, struct key_row *row, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	struct store_key *key;
	int r = store_get_key(store, name, &key, &e);

	if (r >= 0)
		return fill_row(row, store, key, err);
	if (!is_about_one_key(r))
		return agent_error_move(err, &e);
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->problem, sizeof(row->problem), "%s", agent_error_message(e));
	text_drop_cut(row->problem);
	return 0;
}

static int list_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;
	char *names[STORE_MAX_KEYS];
	size_t n = 0;
	int r;

	r = store_list_keys(store, names, &n, err);
	for (size_t i = 0; i < n; i++) {
		if (r >= 0)
			r = list_one(store, names[i], &job->rows[job->n_rows++], err);
		free(names[i]);
	}
	return r;
}

static int list_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return op_job_answer_rows(base, "the list of keys", ((struct key_job *)base)->n_rows, append_row_of, err);
}

static const struct op_job_type job_list = { .name = "key list", .run = list_run, .reply = list_reply, .free = key_job_free };

int op_key_list(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct key_job *job;
	int r = key_job_new(call, &job_list, &job, err);

	return r < 0 ? r : op_job_submit(&job->base, WORKER_WORK, 0, err);
}

/* ---- KeyCreate -------------------------------------------------------------------------------------------------- */

static int create_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;
	struct store_key *key;
	int r;

	r = store_create_key(store, job->name, &job->new, &job->meta, &key, err);
	if (r < 0)
		return r;
	job->n_rows = 1;
	return fill_row(&job->rows[0], store, key, err);
}

static int append_one_row(sd_bus_message *m, const struct op_job *base)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = append_row_of(m, base, 0);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int row_reply(struct key_job *job, struct agent_error **err)
{
	return op_job_answer(&job->base, "the description of a key", append_one_row, err);
}

/* "uid:1000 tls-client, gid:44 sign-app", for the event log, which shortens it. */
static void describe_callers(const struct key_meta *meta, char *ret_text, size_t size)
{
	char label[UNIT_NAME_MAX + 16], purposes[64];
	size_t n = 0;

	snprintf(ret_text, size, "none");
	for (size_t i = 0; i < meta->n_rules && n < size; i++) {
		key_rule_label(&meta->rules[i], label, sizeof(label));
		purposes_format(meta->rules[i].purposes, purposes, sizeof(purposes));
		n += (size_t)snprintf(ret_text + n, size - n, "%s%s %s", n == 0 ? "" : ", ", label, purposes);
	}
}

static void row_event(struct core *core, enum event_id id, const struct key_job *job)
{
	const struct key_row *row = &job->rows[0];
	char purposes[64], callers[256];

	purposes_format(row->meta.purposes, purposes, sizeof(purposes));
	describe_callers(&row->meta, callers, sizeof(callers));
	event_add(core, id, "key", row->name, "type", row->type, "origin", row->origin, "fingerprint", row->fingerprint, "purposes", purposes, "callers", callers,
		  "user", job->base.call->caller.user, "source", job->base.call->caller.source, NULL);
}

static int create_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;

	row_event(core, EVENT_KEY_CREATED, job);
	return row_reply(job, err);
}

static const struct op_job_type job_create = { .name = "key creation", .run = create_run, .reply = create_reply, .free = key_job_free };

/* An array of texts, lent; -EINVAL if there are more than @max. */
static int read_texts(sd_bus_message *m, const char **ret_texts, size_t max, size_t *ret_n)
{
	size_t n = 0;
	int r = sd_bus_message_enter_container(m, 'a', "s");

	while (r >= 0 && (r = sd_bus_message_read_basic(m, 's', n < max ? &ret_texts[n] : NULL)) > 0)
		n++;
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	*ret_n = n;
	return r < 0 || n > max ? -EINVAL : 0;
}

/* What a key is for and who may use it, as asked for. Nothing asked: for the agent's own programs. */
static int read_rights(sd_bus_message *m, struct key_meta *ret_rights, struct agent_error **err)
{
	const char *purposes[8], *callers[KEY_RULES_MAX];
	struct key_meta rights = { .n_rules = 0 };
	size_t n_purposes, n_callers;
	int r = 0;

	if (read_texts(m, purposes, ARRAY_SIZE(purposes), &n_purposes) < 0 || read_texts(m, callers, ARRAY_SIZE(callers), &n_callers) < 0)
		return agent_error_set(err, -EINVAL, "key.caller", "at most %d callers, and each purpose once", KEY_RULES_MAX);
	if (n_purposes == 0 && n_callers == 0) {
		store_default_rights(ret_rights);
		return 0;
	}
	for (size_t i = 0; i < n_purposes && r >= 0; i++) {
		unsigned purpose;

		r = purposes_parse(purposes[i], &purpose, err);
		if (r >= 0 && (purpose == 0 || (rights.purposes & purpose) != 0))
			r = agent_error_set(err, -EINVAL, "key.purpose", "purposes are tls-client, csr, sign-app and seal, each once");
		if (r >= 0)
			rights.purposes |= purpose;
	}
	if (r >= 0 && n_purposes == 0)
		rights.purposes = PURPOSE_TLS_CLIENT | PURPOSE_CSR;
	for (size_t i = 0; i < n_callers && r >= 0; i++)
		r = key_rule_parse(callers[i], rights.purposes & CALLER_PURPOSES, &rights.rules[rights.n_rules++], err);
	if (r >= 0)
		r = key_meta_check(&rights, err);
	if (r >= 0)
		*ret_rights = rights;
	return r;
}

/* Where the key will live: "" or "tpm", or "software". */
static int take_backend(const char *text, bool *ret_is_software, struct agent_error **err)
{
	*ret_is_software = strcmp(text, "software") == 0;
	if (*ret_is_software || text[0] == '\0' || strcmp(text, "tpm") == 0)
		return 0;
	return agent_error_set(err, -EINVAL, "key.backend", "a key lives in the TPM (tpm) or in a file (software)");
}

/* What follows name and type or key in the arguments. */
static int submit_new(struct core *core, struct op_call *call, const char *name, const char *backend, struct key_job *job, struct agent_error **err)
{
	int r;

	if (!store_key_name_is_valid(name))
		r = agent_error_set(err, -EINVAL, "key.name", "a key name has 1 to 32 of a-z, 0-9 and dash and begins with a letter");
	else
		r = take_backend(backend, &job->new.is_software, err);
	if (r >= 0)
		r = read_rights(call->msg, &job->meta, err);
	snprintf(job->name, sizeof(job->name), "%s", name);
	return op_job_end(&job->base, r, WORKER_WORK, (unsigned)core->settings->tpm.keygen_timeout_s, err);
}

int op_key_create(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *name, *backend, *type;
	struct key_job *job;
	int r;

	if (sd_bus_message_read(call->msg, "sss", &name, &backend, &type) < 0)
		return op_unreadable(call, err);
	r = key_job_new(call, &job_create, &job, err);
	if (r < 0)
		return r;
	if (agent_key_type_parse(type, &job->new.type) >= 0)
		return submit_new(core, call, name, backend, job, err);
	op_job_free(&job->base);
	return agent_error_set(err, -EINVAL, "key.type", "a key is one of ec-p256, ec-p384, rsa-2048, rsa-3072");
}

/* ---- KeyImport -------------------------------------------------------------------------------------------------- */

static int import_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;

	row_event(core, EVENT_KEY_IMPORTED, job);
	return row_reply(job, err);
}

static const struct op_job_type job_import = { .name = "key import", .run = create_run, .reply = import_reply, .free = key_job_free };

int op_key_import(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *name, *backend, *pem;
	struct key_job *job;
	int r;

	(void)sd_bus_message_sensitive(call->msg); /* wiped when it goes */
	if (sd_bus_message_read(call->msg, "sss", &name, &backend, &pem) < 0)
		return op_unreadable(call, err);
	if (pem[0] == '\0')
		return agent_error_set(err, -EBADMSG, "import.format", "there is no private key: nothing was sent");
	r = key_job_new(call, &job_import, &job, err);
	if (r < 0)
		return r;
	if (secret_copy(&job->pem, pem, strlen(pem)) < 0) {
		op_job_free(&job->base);
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a private key");
	}
	job->new.pem = (const char *)job->pem.data;
	job->new.pem_size = job->pem.size;
	return submit_new(core, call, name, backend, job, err);
}

/* ---- KeyAllow --------------------------------------------------------------------------------------------------- */

/* The agent's own programs keep what they have; the applications of before are replaced. */
static int allow_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;
	struct key_meta meta;
	struct store_key *key;
	size_t n = 0;
	int r;

	r = store_get_key(store, job->name, &key, err);
	if (r >= 0)
		r = key_meta_read(store->keys_fd, job->name, &meta, err);
	if (r >= 0)
		r = key_is_meant(store, key, &meta, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < meta.n_rules; i++)
		if (meta.rules[i].kind == RULE_PROGRAM)
			meta.rules[n++] = meta.rules[i];
	for (size_t i = 0; i < job->n_callers && r >= 0; i++) {
		struct key_rule rule;

		r = key_rule_parse(job->callers[i], meta.purposes & CALLER_PURPOSES, &rule, err);
		if (r >= 0 && rule.kind == RULE_PROGRAM)
			r = agent_error_set(err, -EINVAL, "key.caller", "a caller is uid:NUMBER, gid:NUMBER or unit:NAME.service");
		if (r >= 0 && rule.purposes == 0)
			r = agent_error_set(err, -EINVAL, "key.purpose", "key %s is for nothing that an application may ask for", job->name);
		if (r >= 0 && n == KEY_RULES_MAX)
			r = agent_error_set(err, -EINVAL, "key.caller", "more than %d callers", KEY_RULES_MAX);
		if (r >= 0)
			meta.rules[n++] = rule;
	}
	meta.n_rules = n;
	if (r >= 0)
		r = key_meta_write(store->keys_fd, job->name, &meta, err);
	if (r < 0)
		return r;
	job->n_rows = 1;
	return fill_row(&job->rows[0], store, key, err);
}

static int allow_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;

	row_event(core, EVENT_KEY_RIGHTS, job);
	return row_reply(job, err);
}

static const struct op_job_type job_allow = { .name = "rights on a key", .run = allow_run, .reply = allow_reply, .free = key_job_free };

int op_key_allow(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *name, *callers[KEY_RULES_MAX];
	struct key_job *job;
	size_t n;
	int r;

	if (sd_bus_message_read(call->msg, "s", &name) < 0 || read_texts(call->msg, callers, ARRAY_SIZE(callers), &n) < 0)
		return agent_error_set(err, -EINVAL, "key.caller", "more than %d callers", KEY_RULES_MAX);
	if (!store_key_name_is_valid(name))
		return agent_error_set(err, -ENOENT, "key.unknown", "there is no key of that name");
	r = key_job_new(call, &job_allow, &job, err);
	if (r < 0)
		return r;
	strcpy(job->name, name);
	for (size_t i = 0; i < n && r >= 0; i++) {
		job->callers[i] = strdup(callers[i]);
		if (job->callers[i] == NULL)
			r = agent_error_set(err, -ENOMEM, "core.memory", "no memory for the callers of a key");
		else
			job->n_callers++;
	}
	return op_job_end(&job->base, r, WORKER_WORK, 0, err);
}

/* ---- KeyCsr ----------------------------------------------------------------------------------------------------- */

static int csr_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;
	struct store_key *key;
	int r;

	r = key_get_meant(store, job->name, &job->meta, &key, err);
	return r < 0 ? r : agent_csr_new(store->ctx, key->signer, job->subject, &job->csr, err);
}

static int pem_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return op_reply(base->call, "s", ((struct key_job *)base)->csr);
}

static const struct op_job_type job_csr = { .name = "certificate request", .run = csr_run, .reply = pem_reply, .free = key_job_free };

/* The caller is a person with the right role; the question is whether the key is for that. */
static int check_csr(struct core *core, struct op_call *call, const char *name, struct key_meta *ret_meta, struct agent_error **err)
{
	const char *reason = "not what the key is for";
	int r;

	if (strcmp(name, STORE_KEY_DEVICE_CA) == 0) {
		reason = "the device CA signs HTTPS certificates only";
	} else {
		r = key_meta_read(core->keys_fd, name, ret_meta, err);
		if (r == -ENOENT)
			return agent_error_set(err, r, "key.unknown", "there is no key '%s'", name);
		if (r < 0 || (ret_meta->purposes & PURPOSE_CSR) != 0)
			return r;
	}
	event_add(core, EVENT_KEY_REFUSED, "program", op_call_program(call), "key", name, "reason", reason, "user", call->caller.user, NULL);
	return agent_error_set(err, -EPERM, "key.refused", "no certificate request can be made with key %s: %s", name, reason);
}

int op_key_csr(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *name, *subject;
	struct key_meta meta;
	struct key_job *job;
	int r;

	if (sd_bus_message_read(call->msg, "ss", &name, &subject) < 0)
		return op_unreadable(call, err);
	if (!store_key_name_is_valid(name))
		return agent_error_set(err, -ENOENT, "key.unknown", "there is no key of that name");
	r = check_csr(core, call, name, &meta, err);
	if (r < 0)
		return r;
	r = key_job_new(call, &job_csr, &job, err);
	if (r < 0)
		return r;
	job->meta = meta;
	strcpy(job->name, name);
	r = take_text(subject, job->subject, SUBJECT_MAX, "key.subject", err);
	return op_job_end(&job->base, r, WORKER_WORK, 0, err);
}

/* ---- KeyPublic, KeySign: link, fetch, applications --------------------------------------------------------------------------- */

static int public_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;
	struct store_key *key;
	const uint8_t *spki;
	int r;

	r = key_get_meant(store, job->name, &job->meta, &key, err);
	if (r < 0)
		return r;
	agent_signer_get_public(key->signer, &spki, &job->size);
	if (job->size > sizeof(job->bytes))
		return agent_error_set(err, -EMSGSIZE, "key.public", "the public key has %zu bytes", job->size);
	memcpy(job->bytes, spki, job->size);
	return 0;
}

static int sign_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;
	struct store_key *key;
	int r;

	r = key_get_meant(store, job->name, &job->meta, &key, err);
	if (r < 0)
		return r;
	return agent_signer_sign(key->signer, job->scheme, job->hash, job->digest, job->digest_size, job->bytes, &job->size, err);
}

static int append_bytes(sd_bus_message *m, const struct op_job *base)
{
	const struct key_job *job = (const struct key_job *)base;

	return sd_bus_message_append_array(m, 'y', job->bytes, job->size);
}

static int bytes_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return op_job_answer(base, "the answer", append_bytes, err);
}

static const struct op_job_type job_public = { .name = "public key", .run = public_run, .reply = bytes_reply, .free = key_job_free };
static const struct op_job_type job_sign = { .name = "signature", .run = sign_run, .reply = bytes_reply, .free = key_job_free };

int op_key_public(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *name;
	struct key_meta meta;
	struct key_rule rule;
	struct key_job *job;
	int r;

	if (sd_bus_message_read(call->msg, "s", &name) < 0)
		return op_unreadable(call, err);
	r = key_permit(core, call, name, CALLER_ANY, &meta, &rule, err);
	if (r >= 0)
		r = key_job_new(call, &job_public, &job, err);
	if (r < 0)
		return r;
	strcpy(job->name, name);
	job->meta = meta;
	return op_job_submit(&job->base, key_priority(call), 0, err);
}

int op_key_sign(struct core *core, struct op_call *call, struct agent_error **err)
{
	static const size_t sizes[] = { [AGENT_HASH_SHA256] = 32, [AGENT_HASH_SHA384] = 48, [AGENT_HASH_SHA512] = 64 };
	const char *name;
	const void *digest = NULL;
	size_t size = 0;
	uint32_t scheme, hash;
	struct key_meta meta;
	struct key_rule rule;
	struct key_job *job;
	int r;

	if (sd_bus_message_read(call->msg, "suu", &name, &scheme, &hash) < 0 ||
	    sd_bus_message_read_array(call->msg, 'y', &digest, &size) < 0)
		return op_unreadable(call, err);
	r = key_permit(core, call, name, PURPOSE_TLS_CLIENT, &meta, &rule, err);
	if (r < 0)
		return r;
	if (scheme < AGENT_SIGN_ECDSA || scheme > AGENT_SIGN_RSA_PSS || hash < AGENT_HASH_SHA256 || hash > AGENT_HASH_SHA512)
		return agent_error_set(err, -EINVAL, "key.scheme", "signature scheme %u with hash %u is not known", scheme, hash);
	if (size != sizes[hash])
		return agent_error_set(err, -EINVAL, "key.digest", "the digest has %zu bytes instead of %zu", size, sizes[hash]);
	r = key_job_new(call, &job_sign, &job, err);
	if (r < 0)
		return r;
	strcpy(job->name, name);
	job->scheme = (enum agent_sign_scheme)scheme;
	job->hash = (enum agent_hash)hash;
	memcpy(job->digest, digest, size);
	job->digest_size = size;
	job->meta = meta;
	return op_job_submit(&job->base, key_priority(call), 0, err);
}
