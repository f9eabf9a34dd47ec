/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotation of the key of the broker connection: what starts, moves and ends it. The files are rotation.c's. Whoever brings the
 * certificate, a person or a protocol, ends up in KeyCertificate; whoever proves it, in KeyProved.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <agent/cert.h>

#include "agentd/common/peer.h"
#include "agentd/common/settings.h"
#include "agentd/core/bus.h"
#include "agentd/core/clock.h"
#include "agentd/core/core.h"
#include "agentd/core/enrol.h"
#include "agentd/core/job.h"
#include "agentd/core/key_permit.h"
#include "agentd/core/store.h"
#include "base/macro.h"
#include "crypto/verify_dates.h"

#define SUBJECT_MAX 512

DEFINE_CLEANUP(BIO *, BIO_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

struct rotation_job {
	struct op_job base;
	char name[STORE_KEY_NAME_MAX + 1];
	char subject[SUBJECT_MAX + 1];
	char *pem;			     /* KeyCertificate */
	char id[65];			     /* KeyProved, KeyNotProved */
	char reason[ROTATION_REASON_MAX + 1]; /* KeyNotProved, KeyRotateAbort */
	enum agent_key_type type;	     /* KeyRotate; 0: as now */
	/* out */
	struct rotation rotation;
	char *csr;
	enum event_id event;
	bool has_event;
};

static void rotation_job_free(struct op_job *base)
{
	struct rotation_job *job = (struct rotation_job *)base;

	free(job->pem);
	free(job->csr);
}

static void next_name(const char *key, char ret_name[STORE_NEXT_NAME_MAX + 1])
{
	snprintf(ret_name, STORE_NEXT_NAME_MAX + 1, "%.*s" ROTATION_NEXT, STORE_KEY_NAME_MAX, key);
}

/* ---- state ------------------------------------------------------------------------------------------------------ */

static void tell_link(struct core *core, const char *key)
{
	_cleanup_free_ char *now = NULL, *next = NULL;
	char name[STORE_NEXT_NAME_MAX + 1], now_id[65], next_id[65];
	struct rotation rotation;
	bool is_proving = rotation_load(core->keys_fd, &rotation, NULL) >= 0 && rotation.state == ROTATION_PROVING &&
			  strcmp(rotation.key, key) == 0;

	next_name(key, name);
	if (rotation_read(core->keys_fd, key, ".crt", &now, NULL) < 0 ||
	    (is_proving && rotation_read(core->keys_fd, name, ".crt", &next, NULL) < 0) || rotation_id(now, now_id) < 0 ||
	    rotation_id(next, next_id) < 0)
		return; /* it asks before each connection anyway */
	bus_emit_identity(core, key, now_id, next_id);
}

static void report(struct core *core, enum event_id id, const struct rotation *rotation, const struct caller *caller)
{
	event_add(core, id, "key", rotation->key, "type", agent_key_type_name(rotation->type), "renewal", rotation->is_renewal ? "yes" : "no",
		  "reason", rotation->reason[0] != '\0' ? rotation->reason : NULL, "user",
		  caller != NULL && caller->user[0] != '\0' ? caller->user : NULL, "source",
		  caller != NULL && caller->source[0] != '\0' ? caller->source : NULL, NULL);
}

void core_rotation_changed(struct core *core, enum event_id id, const struct rotation *rotation)
{
	report(core, id, rotation, NULL);
}

void core_rotation_tell(struct core *core, const char *key)
{
	tell_link(core, key);
}

void core_recover_rotation(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct rotation rotation;
	bool is_changed;

	if (rotation_recover(core->keys_fd, &rotation, &is_changed, &err) < 0)
		service_log(LOG_ERR, "%s (%s)", agent_error_message(err), agent_error_name(err));
	else if (is_changed)
		report(core, rotation.state == ROTATION_DONE ? EVENT_KEY_ROTATED : EVENT_KEY_ROTATION_FAILED, &rotation, NULL);
}

static int append_rotation(sd_bus_message *m, const struct op_job *base)
{
	const struct rotation_job *job = (const struct rotation_job *)base;
	const struct rotation *rotation = &job->rotation;
	bool is_ours = strcmp(rotation->key, job->name) == 0;
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = peer_append_string(m, "key", job->name);
	if (r >= 0)
		r = peer_append_string(m, "state", rotation_state_name(is_ours ? rotation->state : ROTATION_NONE));
	if (r >= 0 && is_ours) {
		r = peer_append_string(m, "type", agent_key_type_name(rotation->type));
		if (r >= 0)
			r = peer_append_bool(m, "renewal", rotation->is_renewal);
		if (r >= 0)
			r = peer_append_u64(m, "since", rotation->since_s);
		if (r >= 0 && rotation->reason[0] != '\0')
			r = peer_append_string(m, "reason", rotation->reason);
		if (r >= 0)
			r = peer_append_string(m, "csr", job->csr);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int rotation_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	struct rotation_job *job = (struct rotation_job *)base;

	if (job->has_event)
		report(core, job->event, &job->rotation, &base->call->caller);
	tell_link(core, job->name);
	enrol_wake(core);
	return base->call->op->out[0] == '\0' ? op_reply(base->call, NULL) : op_job_answer(base, "the state of a rotation", append_rotation, err);
}

static void set_event(struct rotation_job *job, enum event_id event)
{
	job->event = event;
	job->has_event = true;
}

/* ---- begin ------------------------------------------------------------------------------------------------------ */

static int make_next(struct store *store, const struct rotation *rotation, bool is_software, const struct key_meta *meta,
		     const struct agent_csr_options *csr, char **ret_csr, struct agent_error **err)
{
	char next[STORE_NEXT_NAME_MAX + 1];
	struct store_key *key;
	int r;

	next_name(rotation->key, next);
	r = store_make_next(store, rotation->key, rotation->type, is_software, meta, &key, err);
	if (r >= 0)
		r = agent_csr_make(store->ctx, key->signer, csr, ret_csr, err);
	return r < 0 ? r : rotation_write(store->keys_fd, next, ".csr", *ret_csr, err);
}

int store_begin_rotation(struct store *store, const char *name, enum agent_key_type type, const struct agent_csr_options *csr,
			 struct rotation *ret_rotation, char **ret_csr, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	struct store_key *key;
	struct key_meta meta;
	bool is_software;
	int r;

	r = store_get_key(store, name, &key, err);
	if (r >= 0)
		r = key_meta_read(store->keys_fd, name, &meta, err);
	if (r >= 0)
		r = key_is_meant(store, key, &meta, err);
	if (r >= 0)
		r = rotation_begin(store->keys_fd, name, type != 0 ? type : agent_signer_get_type(key->signer), false, ret_rotation, err);
	if (r < 0)
		return r;
	is_software = key->origin == KEY_SOFTWARE;
	r = make_next(store, ret_rotation, is_software, &meta, csr, ret_csr, &why);
	if (r >= 0)
		return rotation_move(store->keys_fd, ret_rotation, ROTATION_WAITING, "", err);
	(void)rotation_abort(store->keys_fd, ret_rotation, agent_error_message(why), NULL);
	return agent_error_move(err, &why);
}

static int begin_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct rotation_job *job = (struct rotation_job *)base;
	int r = store_begin_rotation(store, job->name, job->type, &(struct agent_csr_options){ .subject = job->subject }, &job->rotation, &job->csr, err);

	if (r >= 0)
		set_event(job, EVENT_KEY_ROTATION_BEGUN);
	return r;
}

static const struct op_job_type job_begin = { .name = "key rotation", .run = begin_run, .reply = rotation_reply, .free = rotation_job_free };

/* Somebody has to try the new pair: agentd-link, or enrol_trial.c. For others make a new key and hand over its name. */
static bool has_judge(const struct settings *s, const char *name)
{
	if (s->mqtt.enable)
		return strcmp(name, s->mqtt.key) == 0;
	return s->est.url[0] != '\0' && strcmp(name, STORE_KEY_DEVICE) == 0;
}

static int rotation_job_new(struct core *core, struct op_call *call, const struct op_job_type *type, const char *name,
			    struct rotation_job **ret_job, struct agent_error **err)
{
	struct op_job *base;
	int r;

	if (!store_key_name_is_valid(name))
		return agent_error_set(err, -ENOENT, "key.unknown", "there is no key of that name");
	if (!has_judge(core->settings, name))
		return agent_error_set(err, -EINVAL, "rotation.key", "only the key of the broker connection (mqtt.key, with mqtt.enable), or else that of the device "
				       "(with est.url), is rotated: nobody would prove another");
	r = op_job_new(call, type, sizeof(struct rotation_job), &base, err);
	if (r < 0)
		return r;
	*ret_job = (struct rotation_job *)base;
	snprintf((*ret_job)->name, sizeof((*ret_job)->name), "%s", name);
	return 0;
}

int op_key_rotate(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *name, *type, *subject;
	struct rotation_job *job;
	int r;

	if (sd_bus_message_read(call->msg, "sss", &name, &type, &subject) < 0)
		return op_unreadable(call, err);
	r = rotation_job_new(core, call, &job_begin, name, &job, err);
	if (r < 0)
		return r;
	if (type[0] != '\0' && agent_key_type_parse(type, &job->type) < 0)
		r = agent_error_set(err, -EINVAL, "key.type", "a key is one of ec-p256, ec-p384, rsa-2048, rsa-3072");
	else if (strlen(subject) > SUBJECT_MAX)
		r = agent_error_set(err, -EINVAL, "key.subject", "longer than %d characters", SUBJECT_MAX);
	else
		strcpy(job->subject, subject);
	return op_job_end(&job->base, r, WORKER_WORK, (unsigned)core->settings->tpm.keygen_timeout_s, err);
}

/* ---- look, abort ------------------------------------------------------------------------------------------------ */

static int look_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct rotation_job *job = (struct rotation_job *)base;
	char next[STORE_NEXT_NAME_MAX + 1];
	int r = rotation_load(store->keys_fd, &job->rotation, err);

	if (r < 0 || job->rotation.state != ROTATION_WAITING || strcmp(job->rotation.key, job->name) != 0)
		return r;
	next_name(job->name, next);
	return rotation_read(store->keys_fd, next, ".csr", &job->csr, err);
}

static int look_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return op_job_answer(base, "the state of a rotation", append_rotation, err);
}

static int abort_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct rotation_job *job = (struct rotation_job *)base;
	char next[STORE_NEXT_NAME_MAX + 1];
	int r = rotation_load(store->keys_fd, &job->rotation, err);

	if (r >= 0 && (strcmp(job->rotation.key, job->name) != 0 || !rotation_may_move(job->rotation.state, ROTATION_ABORT)))
		r = agent_error_set(err, -ESTALE, "rotation.state", "there is no rotation of key %s that could be aborted", job->name);
	if (r < 0)
		return r;
	next_name(job->name, next);
	store_forget_key(store, next);
	set_event(job, EVENT_KEY_ROTATION_FAILED);
	return rotation_abort(store->keys_fd, &job->rotation, job->reason, err);
}

static const struct op_job_type job_look = { .name = "state of a rotation", .run = look_run, .reply = look_reply, .free = rotation_job_free };
static const struct op_job_type job_abort = { .name = "end of a rotation", .run = abort_run, .reply = rotation_reply, .free = rotation_job_free };

int op_key_rotation(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct rotation_job *job;
	const char *name;
	int r;

	if (sd_bus_message_read(call->msg, "s", &name) < 0)
		return op_unreadable(call, err);
	r = rotation_job_new(core, call, &job_look, name, &job, err);
	return r < 0 ? r : op_job_submit(&job->base, WORKER_WORK, 0, err);
}

int op_key_rotate_abort(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct rotation_job *job;
	const char *name;
	int r;

	if (sd_bus_message_read(call->msg, "s", &name) < 0)
		return op_unreadable(call, err);
	r = rotation_job_new(core, call, &job_abort, name, &job, err);
	if (r < 0)
		return r;
	strcpy(job->reason, "aborted by an administrator");
	return op_job_submit(&job->base, WORKER_WORK, 0, err);
}

/* ---- a certificate arrives -------------------------------------------------------------------------------------- */

static int check_dates(X509 *leaf, int64_t now_s, struct agent_error **err)
{
	/* A clock that is behind must not refuse a new certificate: only what is over is refused. */
	if (time_is_over(X509_get0_notAfter(leaf), now_s))
		return agent_error_set(err, -EKEYEXPIRED, "rotation.certificate", "the certificate has expired, or the clock is wrong");
	return 0;
}

/* Every certificate of the chain is one; the first is for @key and for TLS clients. */
static int check_certificate(const struct store_key *key, const char *pem, int64_t now_s, struct agent_error **err)
{
	_cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem, -1);
	_cleanup_(X509_freep) X509 *leaf = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *public_key = NULL;
	const uint8_t *spki;
	size_t size;

	ERR_clear_error();
	if (leaf == NULL || strstr(pem, "PRIVATE KEY-") != NULL)
		return agent_error_set(err, -EBADMSG, "rotation.certificate", "this is no certificate chain in PEM form, or a private key is in it");
	agent_signer_get_public(key->signer, &spki, &size);
	public_key = d2i_PUBKEY(NULL, &spki, (long)size);
	if (public_key == NULL || X509_get0_pubkey(leaf) == NULL || EVP_PKEY_eq(public_key, X509_get0_pubkey(leaf)) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -EINVAL, "rotation.certificate", "the first certificate is for another key than %s", key->name);
	}
	if (X509_check_purpose(leaf, X509_PURPOSE_SSL_CLIENT, 0) != 1)
		return agent_error_set(err, -EINVAL, "rotation.certificate", "the certificate may not be used by TLS clients (extended key usage)");
	return check_dates(leaf, now_s, err);
}

int store_take_certificate(struct store *store, const char *name, const char *pem, int64_t now_s, struct rotation *ret_rotation, bool *ret_is_begun,
			   struct agent_error **err)
{
	char next[STORE_NEXT_NAME_MAX + 1];
	struct store_key *key;
	bool is_waiting;
	int r = rotation_load(store->keys_fd, ret_rotation, err);

	*ret_is_begun = false;
	if (r < 0)
		return r;
	next_name(name, next);
	is_waiting = ret_rotation->state == ROTATION_WAITING && strcmp(ret_rotation->key, name) == 0;
	r = store_get_key(store, is_waiting ? next : name, &key, err);
	if (r >= 0)
		r = check_certificate(key, pem, now_s, err);
	if (r >= 0 && !is_waiting) {
		r = rotation_begin(store->keys_fd, name, agent_signer_get_type(key->signer), true, ret_rotation, err);
		*ret_is_begun = r >= 0;
	}
	if (r < 0)
		return r;
	r = rotation_write(store->keys_fd, next, ".crt", pem, err);
	if (r >= 0)
		r = rotation_move(store->keys_fd, ret_rotation, ROTATION_PROVING, "", err);
	/* A renewal that got no further than its beginning must not bar the next one. */
	if (r < 0 && *ret_is_begun && ret_rotation->state == ROTATION_MAKING)
		(void)rotation_abort(store->keys_fd, ret_rotation, "the new certificate could not be stored", NULL);
	return r;
}

static int certificate_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct rotation_job *job = (struct rotation_job *)base;
	bool is_begun;
	int r = store_take_certificate(store, job->name, job->pem, clock_now(base->call->core), &job->rotation, &is_begun, err);

	if (is_begun)
		set_event(job, EVENT_KEY_ROTATION_BEGUN);
	return r;
}

static const struct op_job_type job_certificate = { .name = "new certificate", .run = certificate_run, .reply = rotation_reply, .free = rotation_job_free };

int op_key_certificate(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct rotation_job *job;
	const char *name, *pem;
	int r;

	if (sd_bus_message_read(call->msg, "ss", &name, &pem) < 0)
		return op_unreadable(call, err);
	r = rotation_job_new(core, call, &job_certificate, name, &job, err);
	if (r < 0)
		return r;
	if (strlen(pem) > ROTATION_CERT_MAX)
		r = agent_error_set(err, -EMSGSIZE, "rotation.certificate", "longer than %d bytes", ROTATION_CERT_MAX);
	else if ((job->pem = strdup(pem)) == NULL)
		r = agent_error_set(err, -ENOMEM, "core.memory", "no memory for a certificate");
	return op_job_end(&job->base, r, WORKER_WORK, 0, err);
}

/* ---- agentd-link ------------------------------------------------------------------------------------------------ */

/* Files only, and read in the loop: which pair is in use must be known while the TPM is away, too. */
int op_key_identity(struct core *core, struct op_call *call, struct agent_error **err)
{
	_cleanup_free_ char *now = NULL, *next = NULL;
	char next_key[STORE_NEXT_NAME_MAX + 1] = "", now_id[65], next_id[65];
	struct rotation rotation;
	struct key_meta meta;
	struct key_rule rule;
	const char *name;
	int r;

	if (sd_bus_message_read(call->msg, "s", &name) < 0)
		return op_unreadable(call, err);
	r = key_permit(core, call, name, PURPOSE_TLS_CLIENT, &meta, &rule, err);
	if (r >= 0)
		r = rotation_read(core->keys_fd, name, ".crt", &now, err);
	if (r < 0)
		return r;
	if (strcmp(op_call_program(call), "link") == 0 && rotation_load(core->keys_fd, &rotation, NULL) >= 0 &&
	    rotation.state == ROTATION_PROVING && strcmp(rotation.key, name) == 0) {
		next_name(name, next_key);
		r = rotation_read(core->keys_fd, next_key, ".crt", &next, err);
	}
	if (r >= 0 && (rotation_id(now, now_id) < 0 || rotation_id(next, next_id) < 0))
		r = agent_error_set(err, -ENOMEM, "core.memory", "no memory for a certificate");
	if (r < 0)
		return r;
	return op_reply(call, "sssss", now == NULL ? "" : now, now_id, next == NULL ? "" : next, next_id,
			next == NULL ? "" : rotation.is_renewal ? name : next_key);
}

/* The certificate that was tried must be the one that is on trial: another may have come meanwhile. */
static int load_proving(struct store *store, const char *name, const char *tried, struct rotation *ret_rotation, struct agent_error **err)
{
	_cleanup_free_ char *pem = NULL;
	char next[STORE_NEXT_NAME_MAX + 1], id[65];
	int r = rotation_load(store->keys_fd, ret_rotation, err);

	if (r >= 0 && (ret_rotation->state != ROTATION_PROVING || strcmp(ret_rotation->key, name) != 0))
		r = agent_error_set(err, -ESTALE, "rotation.state", "key %s is not being rotated, or the rotation is not that far", name);
	next_name(name, next);
	if (r >= 0)
		r = rotation_read(store->keys_fd, next, ".crt", &pem, err);
	if (r < 0 || (rotation_id(pem, id) >= 0 && id[0] != '\0' && strcmp(id, tried) == 0))
		return r;
	return agent_error_set(err, -ESTALE, "rotation.state", "that certificate of key %s is not the one on trial", name);
}

int store_end_trial(struct store *store, const char *name, const char *id, bool is_proved, const char *reason, struct rotation *ret_rotation,
		    struct agent_error **err)
{
	char next[STORE_NEXT_NAME_MAX + 1];
	int r = load_proving(store, name, id, ret_rotation, err);

	if (r < 0)
		return r;
	next_name(name, next);
	store_forget_key(store, next);
	if (!is_proved)
		return rotation_abort(store->keys_fd, ret_rotation, reason, err);
	store_forget_key(store, name);
	return rotation_commit(store->keys_fd, ret_rotation, err);
}

static int verdict_run(struct store *store, struct rotation_job *job, bool is_proved, struct agent_error **err)
{
	int r = store_end_trial(store, job->name, job->id, is_proved, job->reason, &job->rotation, err);

	if (r >= 0)
		set_event(job, is_proved ? EVENT_KEY_ROTATED : EVENT_KEY_ROTATION_FAILED);
	return r;
}

static int proved_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	return verdict_run(store, (struct rotation_job *)base, true, err);
}

static int not_proved_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	return verdict_run(store, (struct rotation_job *)base, false, err);
}

static const struct op_job_type job_proved = { .name = "switch of a key", .run = proved_run, .reply = rotation_reply, .free = rotation_job_free };
static const struct op_job_type job_not_proved = { .name = "end of a rotation", .run = not_proved_run, .reply = rotation_reply,
						   .free = rotation_job_free };

static int submit_verdict(struct core *core, struct op_call *call, const struct op_job_type *type, const char *name, const char *id,
			  const char *reason, struct agent_error **err)
{
	struct rotation_job *job;
	int r = rotation_job_new(core, call, type, name, &job, err);

	if (r < 0)
		return r;
	snprintf(job->id, sizeof(job->id), "%s", id);
	snprintf(job->reason, sizeof(job->reason), "%s", reason);
	return op_job_submit(&job->base, WORKER_SIGN, 0, err);
}

int op_key_proved(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *name, *id;

	if (sd_bus_message_read(call->msg, "ss", &name, &id) < 0)
		return op_unreadable(call, err);
	return submit_verdict(core, call, &job_proved, name, id, "", err);
}

int op_key_not_proved(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *name, *id, *reason;

	if (sd_bus_message_read(call->msg, "sss", &name, &id, &reason) < 0)
		return op_unreadable(call, err);
	return submit_verdict(core, call, &job_not_proved, name, id, reason, err);
}
