/* SPDX-License-Identifier: Apache-2.0 */
/* What the TPM states about keys, PCRs, counters and itself, for somebody who has to be convinced. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include <agent/attest.h>
#include <agent/recipient.h>

#include "agentd/common/peer.h"
#include "agentd/core/core.h"
#include "agentd/core/job.h"
#include "agentd/core/store.h"
#include "base/buf.h"
#include "base/macro.h"

#define EK_TIMEOUT_S 300 /* an RSA key takes a small TPM minutes */
#define HEX_MAX (2 * AGENT_ATTEST_STATEMENT_MAX + 1)
#define N_COUNTERS 4

struct evidence_job {
	struct op_job base;
	char name[33];
	uint8_t nonce[AGENT_ATTEST_NONCE_MAX];
	size_t nonce_size;
	uint32_t pcr_mask;
	enum agent_ek_type ek_type;
	/* out */
	bool made_ak;
	const char *type;
	const char *backend; /* a constant of the signer's backend */
	const char *origin;
	char fingerprint[65];
	struct agent_key_info info;
	struct agent_attest attest;
	struct agent_ek ek;
	struct agent_tpm_counter_info counters[N_COUNTERS];
	const char *counter_names[N_COUNTERS];
	size_t n_counters;
	int (*append)(sd_bus_message *m, const struct evidence_job *job); /* what the answer is made of */
};

static int job_new(struct op_call *call, const struct op_job_type *type, struct evidence_job **ret_job, struct agent_error **err)
{
	struct op_job *base;
	int r = op_job_new(call, type, sizeof(struct evidence_job), &base, err);

	if (r >= 0)
		*ret_job = (struct evidence_job *)base;
	return r;
}

/* ---- arguments -------------------------------------------------------------------------------------------------- */

static int take_nonce(struct evidence_job *job, const char *text, struct agent_error **err)
{
	size_t n = strlen(text);

	job->nonce_size = n / 2;
	if (n < 2 * AGENT_ATTEST_NONCE_MIN || n > 2 * sizeof(job->nonce) || n % 2 != 0 || hex_decode(text, n, job->nonce, n / 2) < 0)
		return agent_error_set(err, -EINVAL, "attest.nonce-size", "a nonce is %d to %zu bytes in hexadecimal digits",
				       AGENT_ATTEST_NONCE_MIN, sizeof(job->nonce));
	return 0;
}

/* "0,7": numbers of PCRs, each once. */
static int take_pcrs(struct evidence_job *job, const char *text, struct agent_error **err)
{
	for (const char *p = text;; p++) {
		unsigned n = 0, n_digits = 0;

		for (; *p >= '0' && *p <= '9' && n_digits < 2; p++, n_digits++)
			n = 10 * n + (unsigned)(*p - '0');
		if (n_digits == 0 || n >= AGENT_TPM_N_PCRS || (job->pcr_mask & 1u << n) || (*p != ',' && *p != '\0'))
			return agent_error_set(err, -EINVAL, "attest.pcr", "PCRs are numbers from 0 to %d, each once, as in 0,7", AGENT_TPM_N_PCRS - 1);
		job->pcr_mask |= 1u << n;
		if (*p == '\0')
			return 0;
	}
}

/* ---- in the TPM thread ------------------------------------------------------------------------------------------ */

/* Like the others, but it signs nothing, and is made by op_update_recipient(). */
static int describe_recipient(struct store *store, struct evidence_job *job, struct agent_key **ret_key, struct agent_error **err)
{
	_cleanup_free_ uint8_t *spki = NULL;
	uint8_t digest[32];
	bool is_new;
	size_t size;
	int r = store_get_recipient(store, false, ret_key, &is_new, err);

	if (r >= 0)
		r = agent_recipient_key_public(*ret_key, &spki, &size, err);
	if (r < 0)
		return r;
	if (EVP_Digest(spki, size, digest, NULL, EVP_sha256(), NULL) != 1)
		return agent_error_set(err, -ENOMEM, "key.fingerprint", "cannot compute a fingerprint");
	hex_encode(digest, sizeof(digest), job->fingerprint);
	job->type = agent_key_type_name(agent_key_get_type(*ret_key));
	job->backend = "tpm";
	job->origin = key_origin_name(KEY_MADE);
	return 0;
}

static int describe_stored(struct store *store, struct evidence_job *job, struct agent_key **ret_key, struct agent_error **err)
{
	struct store_key *stored;
	int r;

	if (strcmp(job->name, STORE_KEY_RECIPIENT) == 0)
		return describe_recipient(store, job, ret_key, err);
	r = store_get_key(store, job->name, &stored, err);

	if (r >= 0)
		r = store_key_fingerprint(stored, job->fingerprint, err);
	if (r < 0)
		return r;
	job->type = agent_key_type_name(agent_signer_get_type(stored->signer));
	job->backend = agent_signer_get_backend(stored->signer);
	job->origin = key_origin_name(stored->origin);
	*ret_key = stored->key;
	return 0;
}

static int describe_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct evidence_job *job = (struct evidence_job *)base;
	struct agent_key *key;
	int r;

	/* The attestation key is described like the others, but has no signer. */
	if (strcmp(job->name, STORE_KEY_ATTEST) == 0) {
		r = store_get_ak(store, &key, &job->made_ak, err);
		if (r >= 0)
			job->type = agent_key_type_name(agent_key_get_type(key));
		job->backend = job->origin = "tpm";
	} else {
		r = describe_stored(store, job, &key, err);
	}
	if (r < 0)
		return r;
	if (key != NULL)
		return agent_key_describe(key, &job->info, err);
	job->info.words[job->info.n_words++] = "a software key: it lies in a file, and whoever copies the file has it";
	job->info.words[job->info.n_words++] = "no TPM can say anything about it";
	return 0;
}

static int certify_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct evidence_job *job = (struct evidence_job *)base;
	struct agent_key *ak, *key;
	int r;

	r = describe_stored(store, job, &key, err);
	if (r >= 0 && key == NULL)
		r = agent_error_set(err, -EOPNOTSUPP, "key.software", "%s is a software key: there is nothing that a TPM could certify", job->name);
	if (r >= 0)
		r = agent_key_describe(key, &job->info, err);
	if (r >= 0)
		r = store_get_ak(store, &ak, &job->made_ak, err);
	return r < 0 ? r : agent_attest_certify(key, ak, job->nonce, job->nonce_size, &job->attest, err);
}

static int quote_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct evidence_job *job = (struct evidence_job *)base;
	struct agent_key *ak;
	int r;

	r = store_get_ak(store, &ak, &job->made_ak, err);
	return r < 0 ? r : agent_attest_quote(ak, job->pcr_mask, job->nonce, job->nonce_size, &job->attest, err);
}

static int counters_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	const struct {
		const char *name;
		struct agent_counter *counter;
	} rows[N_COUNTERS] = { { STORE_COUNTER_FLOOR, store->floor }, { STORE_COUNTER_GENERATION, store->generation },
				 { STORE_COUNTER_TRUST, store->trust }, { STORE_COUNTER_TICKETS, store->tickets } };
	struct evidence_job *job = (struct evidence_job *)base;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int r;

		if (rows[i].counter == NULL) /* removed or made again: the status says so */
			continue;
		r = agent_tpm_counter_describe(rows[i].counter, &job->counters[job->n_counters], err);
		if (r < 0)
			return r;
		job->counter_names[job->n_counters++] = rows[i].name;
	}
	return 0;
}

static int ek_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct evidence_job *job = (struct evidence_job *)base;

	return agent_tpm_read_ek(store->tpm, job->ek_type, &job->ek, err);
}

/* ---- replies ---------------------------------------------------------------------------------------------------- */

static int append_hex(sd_bus_message *m, const char *key, const void *data, size_t size)
{
	char text[HEX_MAX];

	if (size > (sizeof(text) - 1) / 2)
		return -EMSGSIZE;
	if (size == 0)
		return 0;
	hex_encode(data, size, text);
	return peer_append_string(m, key, text);
}

static int append_words(sd_bus_message *m, const char *const *words, size_t n)
{
	const char *list[AGENT_WORDS_MAX + 1];

	memcpy(list, words, n * sizeof(list[0]));
	list[n] = NULL;
	return peer_append_strings(m, "words", list);
}

static int append_attributes(sd_bus_message *m, uint32_t attributes)
{
	char text[16];

	snprintf(text, sizeof(text), "0x%08" PRIx32, attributes);
	return peer_append_string(m, "attributes", text);
}

static int append_key(sd_bus_message *m, const struct evidence_job *job)
{
	int r = peer_append_string(m, "name", job->name);

	if (r >= 0)
		r = peer_append_string(m, "type", job->type);
	if (r >= 0)
		r = peer_append_string(m, "backend", job->backend);
	if (r >= 0)
		r = peer_append_string(m, "origin", job->origin);
	if (r >= 0)
		r = peer_append_string(m, "fingerprint", job->fingerprint[0] == '\0' ? NULL : job->fingerprint);
	if (r >= 0)
		r = append_hex(m, "tpm_name", job->info.name, job->info.name_size);
	if (r >= 0)
		r = append_hex(m, "public_area", job->info.public_area, job->info.public_area_size);
	if (r >= 0)
		r = job->info.name_size == 0 ? 0 : append_attributes(m, job->info.attributes);
	return r < 0 ? r : append_words(m, job->info.words, job->info.n_words);
}

/* {sv} with a{ss}: number of the PCR, value */
static int append_pcrs(sd_bus_message *m, const struct agent_attest *a)
{
	char number[8], value[2 * AGENT_TPM_PCR_SIZE + 1];
	int r;

	r = sd_bus_message_open_container(m, 'e', "sv");
	if (r >= 0)
		r = sd_bus_message_append_basic(m, 's', "pcrs");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "a{ss}");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "{ss}");
	for (unsigned i = 0; r >= 0 && i < AGENT_TPM_N_PCRS; i++) {
		if (!(a->pcr_mask & 1u << i))
			continue;
		snprintf(number, sizeof(number), "%u", i);
		hex_encode(a->pcrs[i], AGENT_TPM_PCR_SIZE, value);
		r = sd_bus_message_append(m, "{ss}", number, value);
	}
	for (unsigned i = 0; r >= 0 && i < 3; i++)
		r = sd_bus_message_close_container(m);
	return r;
}

static int append_attest(sd_bus_message *m, const struct evidence_job *job)
{
	const struct agent_attest *a = &job->attest;
	bool is_quote = a->pcr_mask != 0;
	int r;

	r = peer_append_string(m, "kind", is_quote ? "quote" : "certify");
	if (r >= 0)
		r = append_hex(m, "nonce", job->nonce, job->nonce_size);
	if (r >= 0)
		r = append_hex(m, "statement", a->statement, a->statement_size);
	if (r >= 0)
		r = append_hex(m, "signature", a->signature, a->signature_size);
	if (r >= 0)
		r = append_hex(m, "tpm_signature", a->tpm_signature, a->tpm_signature_size);
	if (r >= 0)
		r = append_hex(m, "ak_public", a->ak_public, a->ak_public_size);
	if (r >= 0 && is_quote) {
		r = peer_append_string(m, "pcr_bank", "sha256");
		if (r >= 0)
			r = append_pcrs(m, a);
	} else if (r >= 0) {
		r = peer_append_string(m, "key", job->name);
		if (r >= 0)
			r = peer_append_string(m, "origin", job->origin);
		if (r >= 0)
			r = peer_append_string(m, "fingerprint", job->fingerprint);
		if (r >= 0)
			r = append_hex(m, "tpm_name", job->info.name, job->info.name_size);
		if (r >= 0)
			r = append_hex(m, "key_public", a->key_public, a->key_public_size);
	}
	return r;
}

static int append_ek(sd_bus_message *m, const struct evidence_job *job)
{
	int r = peer_append_string(m, "type", job->ek_type == AGENT_EK_RSA_2048 ? "rsa-2048" : "ec-p256");

	if (r >= 0)
		r = append_hex(m, "public_key", job->ek.spki, job->ek.spki_size);
	return r < 0 ? r : peer_append_string(m, "certificates", job->ek.has_certificate ? job->ek.chain_pem : NULL);
}

static int append_dict(sd_bus_message *m, const struct op_job *base)
{
	const struct evidence_job *job = (const struct evidence_job *)base;
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = job->append(m, job);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int reply_dict(struct core *core, struct evidence_job *job, int (*append)(sd_bus_message *m, const struct evidence_job *job),
		      struct agent_error **err)
{
	struct op_call *call = job->base.call;

	if (job->made_ak)
		event_add(core, EVENT_KEY_CREATED, "key", STORE_KEY_ATTEST, "type", "ec-p256", "reason", "first evidence asked for", "user",
			  call->caller.user, "source", call->caller.source, NULL);
	job->append = append;
	return op_job_answer(&job->base, "the evidence", append_dict, err);
}

static int describe_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return reply_dict(core, (struct evidence_job *)base, append_key, err);
}

static int attest_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	struct evidence_job *job = (struct evidence_job *)base;
	struct op_call *call = base->call;

	event_add(core, EVENT_EVIDENCE_GIVEN, "kind", job->attest.pcr_mask != 0 ? "quote" : "certify", "key",
		  job->name[0] == '\0' ? NULL : job->name, "user", call->caller.user, "source", call->caller.source, NULL);
	return reply_dict(core, job, append_attest, err);
}

static int ek_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return reply_dict(core, (struct evidence_job *)base, append_ek, err);
}

static int append_counter(sd_bus_message *m, const struct op_job *base, size_t i)
{
	const struct evidence_job *job = (const struct evidence_job *)base;
	const struct agent_tpm_counter_info *info = &job->counters[i];
	uint64_t budget = (uint64_t)base->call->core->settings->tpm.nv_write_budget;
	char index[16];
	int r;

	snprintf(index, sizeof(index), "0x%08" PRIx32, info->index);
	r = peer_append_string(m, "name", job->counter_names[i]);
	if (r >= 0)
		r = peer_append_string(m, "index", index);
	if (r >= 0)
		r = peer_append_u64(m, "value", info->value);
	if (r >= 0)
		r = peer_append_u64(m, "writes", info->n_writes);
	if (r >= 0)
		r = peer_append_u64(m, "budget", budget);
	if (r >= 0)
		r = peer_append_bool(m, "over_budget", info->n_writes > budget);
	if (r >= 0)
		r = append_attributes(m, info->attributes);
	return r < 0 ? r : append_words(m, info->words, info->n_words);
}

static int counters_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return op_job_answer_rows(base, "the list of counters", ((struct evidence_job *)base)->n_counters, append_counter, err);
}

/* ---- operations ------------------------------------------------------------------------------------------------- */

static const struct op_job_type job_describe = { .name = "key description", .run = describe_run, .reply = describe_reply };
static const struct op_job_type job_certify = { .name = "key certification", .run = certify_run, .reply = attest_reply };
static const struct op_job_type job_quote = { .name = "quote", .run = quote_run, .reply = attest_reply };
static const struct op_job_type job_counters = { .name = "counter list", .run = counters_run, .reply = counters_reply };
static const struct op_job_type job_ek = { .name = "endorsement key", .run = ek_run, .reply = ek_reply };

static int take_key(struct evidence_job *job, const char *name, struct agent_error **err)
{
	if (!store_key_name_is_valid(name))
		return agent_error_set(err, -ENOENT, "key.unknown", "there is no key of that name");
	strcpy(job->name, name);
	return 0;
}

int op_key_describe(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct evidence_job *job;
	const char *name;
	int r;

	if (sd_bus_message_read(call->msg, "s", &name) < 0)
		return op_unreadable(call, err);
	r = job_new(call, &job_describe, &job, err);
	return r < 0 ? r : op_job_end(&job->base, take_key(job, name, err), WORKER_WORK, 0, err);
}

int op_key_certify(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct evidence_job *job;
	const char *name, *nonce;
	int r;

	if (sd_bus_message_read(call->msg, "ss", &name, &nonce) < 0)
		return op_unreadable(call, err);
	r = job_new(call, &job_certify, &job, err);
	if (r < 0)
		return r;
	r = take_key(job, name, err);
	return op_job_end(&job->base, r < 0 ? r : take_nonce(job, nonce, err), WORKER_WORK, 0, err);
}

int op_tpm_quote(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct evidence_job *job;
	const char *nonce, *pcrs;
	int r;

	if (sd_bus_message_read(call->msg, "ss", &nonce, &pcrs) < 0)
		return op_unreadable(call, err);
	r = job_new(call, &job_quote, &job, err);
	if (r < 0)
		return r;
	r = take_nonce(job, nonce, err);
	return op_job_end(&job->base, r < 0 ? r : take_pcrs(job, pcrs, err), WORKER_WORK, 0, err);
}

int op_tpm_counters(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct evidence_job *job;
	int r = job_new(call, &job_counters, &job, err);

	return r < 0 ? r : op_job_submit(&job->base, WORKER_WORK, 0, err);
}

int op_tpm_ek(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct evidence_job *job;
	const char *type;
	int r;

	if (sd_bus_message_read(call->msg, "s", &type) < 0)
		return op_unreadable(call, err);
	r = job_new(call, &job_ek, &job, err);
	if (r < 0)
		return r;
	job->ek_type = strcmp(type, "rsa-2048") == 0 ? AGENT_EK_RSA_2048 : strcmp(type, "ec-p256") == 0 ? AGENT_EK_EC_P256 : 0;
	if (job->ek_type == 0)
		r = agent_error_set(err, -ENOENT, "ek.type", "an endorsement key is one of rsa-2048, ec-p256");
	return op_job_end(&job->base, r, WORKER_WORK, EK_TIMEOUT_S, err);
}
