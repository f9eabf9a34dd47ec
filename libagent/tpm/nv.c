/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <agent/attest.h>
#include <agent/counter.h>
#include <agent/tpm.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/secret.h"
#include "crypto/counter_inside.h"
#include "tpm/object.h"
#include "tpm/session.h"
#include "tpm/words.h"

/*
 * A counter of TPM 2.0 Part 1, 37.2.4. The index is authorised by a random authValue in NAME.nvauth; NAME.pin holds what
 * the finished counter looked like, written last: with a pin every difference is a refusal, without one the making goes
 * on where it was killed.
 */
#define COUNTER_ATTRIBUTES                                                                                        \
	((TPMA_NV)(TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT) | TPMA_NV_AUTHWRITE | TPMA_NV_AUTHREAD | TPMA_NV_OWNERREAD | \
	 TPMA_NV_NO_DA)
/* WRITEDEFINE: after TPM2_NV_WriteLock never written again (TPM 2.0 Part 2, 13.4) */
#define BASE_ATTRIBUTES \
	(TPMA_NV_AUTHWRITE | TPMA_NV_AUTHREAD | TPMA_NV_OWNERREAD | TPMA_NV_NO_DA | TPMA_NV_WRITEDEFINE)
#define VALUE_SIZE 8
#define PIN_MAX 512
#define NAME_MAX_SIZE 34 /* nameAlg SHA-256 */

struct nv {
	uint32_t index;
	TPMA_NV attributes;	/* as made; WRITTEN and WRITELOCKED come later */
	TPM2B_NAME name;	/* of the finished index */
	ESYS_TR tr;
	uint64_t generation; /* of tr */
};

struct counter {
	struct agent_tpm *tpm;
	char *name;
	bool is_from_zero;
	struct secret auth;
	struct nv main, base;
	uint64_t raw_at_making;
	uint64_t base_value; /* 0 unless from zero */
};

static void *counter_free(struct counter *c)
{
	if (c == NULL)
		return NULL;
	agent_tpm_unref(c->tpm);
	secret_free(&c->auth);
	free(c->name);
	free(c);
	return NULL;
}
DEFINE_CLEANUP(struct counter *, counter_free)

/* ---- one command, or two ------------------------------------------------ */

struct nv_work {
	struct counter *c;
	struct nv *nv;
	bool is_there;
	bool is_changed; /* its Name is not the pinned one */
	TPMA_NV seen;	 /* attributes now */
	uint16_t seen_size;
	uint16_t seen_policy_size;
	uint64_t value;	 /* in or out */
	struct secret *auth;
};

/* Handle and Name; is_there is false if nothing is at the index. */
static TSS2_RC nv_need(struct agent_tpm *tpm, struct nv_work *w)
{
	TPM2B_AUTH auth = { .size = (UINT16)w->c->auth.size };
	TPM2B_NAME *name = NULL;
	TSS2_RC rc;

	w->is_there = true;
	w->is_changed = false;
	if (w->nv->generation == tpm->generation)
		return TSS2_RC_SUCCESS;
	rc = Esys_TR_FromTPMPublic(tpm->esys, w->nv->index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &w->nv->tr);
	if (rc_classify(rc) == RC_HANDLE) {
		w->is_there = false;
		return TSS2_RC_SUCCESS;
	}
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = Esys_TR_GetName(tpm->esys, w->nv->tr, &name);
	if (rc == TSS2_RC_SUCCESS && w->nv->name.size != 0)
		w->is_changed = name->size != w->nv->name.size || memcmp(name->name, w->nv->name.name, name->size) != 0;
	Esys_Free(name);
	if (rc == TSS2_RC_SUCCESS && auth.size > 0) {
		memcpy(auth.buffer, w->c->auth.data, auth.size);
		rc = Esys_TR_SetAuth(tpm->esys, w->nv->tr, &auth);
		wipe(&auth, sizeof(auth));
	}
	if (rc != TSS2_RC_SUCCESS || w->is_changed)
		(void)Esys_TR_Close(tpm->esys, &w->nv->tr);
	else
		w->nv->generation = tpm->generation;
	return rc;
}

static TSS2_RC attempt_look(struct agent_tpm *tpm, void *userdata)
{
	struct nv_work *w = userdata;
	TPM2B_NV_PUBLIC *pub = NULL;
	TSS2_RC rc;

	rc = nv_need(tpm, w);
	if (rc != TSS2_RC_SUCCESS || !w->is_there || w->is_changed)
		return rc;
	rc = Esys_NV_ReadPublic(tpm->esys, w->nv->tr, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &pub, NULL);
	if (rc == TSS2_RC_SUCCESS) {
		w->seen = pub->nvPublic.attributes;
		w->seen_size = pub->nvPublic.dataSize;
		w->seen_policy_size = pub->nvPublic.authPolicy.size;
	}
	Esys_Free(pub);
	return rc;
}

/* A secret and a new index: salted and encrypted. */
static TSS2_RC attempt_auth(struct agent_tpm *tpm, void *userdata)
{
	struct nv_work *w = userdata;
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc;

	rc = session_start_salted(tpm, &session);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = auth_make(tpm, session, w->auth);
	session_end(tpm, &session, rc, false);
	return rc;
}

static TSS2_RC attempt_define(struct agent_tpm *tpm, void *userdata)
{
	struct nv_work *w = userdata;
	TPM2B_NV_PUBLIC pub = {
		.nvPublic = { .nvIndex = w->nv->index, .nameAlg = TPM2_ALG_SHA256, .attributes = w->nv->attributes, .dataSize = VALUE_SIZE },
	};
	TPM2B_AUTH auth = { .size = (UINT16)w->c->auth.size };
	ESYS_TR session = ESYS_TR_NONE, tr;
	TSS2_RC rc;

	rc = session_start_salted(tpm, &session);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	memcpy(auth.buffer, w->c->auth.data, auth.size);
	rc = session_attributes(tpm, session, TPMA_SESSION_DECRYPT);
	if (rc == TSS2_RC_SUCCESS)
		rc = Esys_NV_DefineSpace(tpm->esys, ESYS_TR_RH_OWNER, session, ESYS_TR_NONE, ESYS_TR_NONE, &auth, &pub, &tr);
	wipe(&auth, sizeof(auth));
	session_end(tpm, &session, rc, true);
	if (rc == TSS2_RC_SUCCESS)
		(void)Esys_TR_Close(tpm->esys, &tr);
	/* Ours, if the answer to an earlier try got lost; whoever's it is, the authValue will tell. */
	return rc == TPM2_RC_NV_DEFINED ? TSS2_RC_SUCCESS : rc;
}

enum nv_verb { NV_READ, NV_INCREMENT, NV_WRITE, NV_LOCK };

/* In an HMAC session keyed by the authValue: nobody between us and the chip can make up the answer. */
static TSS2_RC nv_do(struct agent_tpm *tpm, struct nv_work *w, enum nv_verb verb)
{
	TPM2B_MAX_NV_BUFFER out = { .size = VALUE_SIZE }, *in = NULL;
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc;

	rc = nv_need(tpm, w);
	if (rc != TSS2_RC_SUCCESS || !w->is_there || w->is_changed)
		return rc;
	rc = session_start_plain(tpm, &session);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_attributes(tpm, session, 0);
	if (rc != TSS2_RC_SUCCESS) {
		session_end(tpm, &session, rc, true);
		return rc;
	}
	switch (verb) {
	case NV_READ:
		rc = Esys_NV_Read(tpm->esys, w->nv->tr, w->nv->tr, session, ESYS_TR_NONE, ESYS_TR_NONE, VALUE_SIZE, 0, &in);
		break;
	case NV_INCREMENT:
		rc = Esys_NV_Increment(tpm->esys, w->nv->tr, w->nv->tr, session, ESYS_TR_NONE, ESYS_TR_NONE);
		break;
	case NV_WRITE:
		for (unsigned i = 0; i < VALUE_SIZE; i++)
			out.buffer[i] = (BYTE)(w->value >> (56 - 8 * i));
		rc = Esys_NV_Write(tpm->esys, w->nv->tr, w->nv->tr, session, ESYS_TR_NONE, ESYS_TR_NONE, &out, 0);
		break;
	case NV_LOCK:
		rc = Esys_NV_WriteLock(tpm->esys, w->nv->tr, w->nv->tr, session, ESYS_TR_NONE, ESYS_TR_NONE);
		break;
	}
	session_end(tpm, &session, rc, true);
	if (rc == TSS2_RC_SUCCESS && verb == NV_READ) {
		struct buf b = buf_from(in->buffer, in->size);

		if (in->size != VALUE_SIZE || buf_get_be64(&b, &w->value) < 0)
			rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
	}
	Esys_Free(in);
	return rc;
}

static TSS2_RC attempt_read(struct agent_tpm *tpm, void *userdata)
{
	return nv_do(tpm, userdata, NV_READ);
}

static TSS2_RC attempt_increment(struct agent_tpm *tpm, void *userdata)
{
	return nv_do(tpm, userdata, NV_INCREMENT);
}

static TSS2_RC attempt_write(struct agent_tpm *tpm, void *userdata)
{
	return nv_do(tpm, userdata, NV_WRITE);
}

static TSS2_RC attempt_lock(struct agent_tpm *tpm, void *userdata)
{
	return nv_do(tpm, userdata, NV_LOCK);
}

/* ---- work with its errors ----------------------------------------------- */

static int fail_changed(const struct counter *c, uint32_t index, const char *how, struct agent_error **err)
{
	return agent_error_set(err, -EKEYREJECTED, "tpm.counter-changed",
			       "counter %s: NV index 0x%08" PRIx32 " %s; somebody removed or replaced it, or the TPM was cleared", c->name,
			       index, how);
}

static int nv_run(struct nv_work *w, const char *what, unsigned flags, tpm_attempt_fn fn, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	int r;

	r = tpm_run(w->c->tpm, what, flags, fn, w, &e);
	if (r == -EKEYREJECTED && e != NULL && strcmp(agent_error_name(e), "tpm.auth") == 0)
		return fail_changed(w->c, w->nv->index, "does not take the secret it was made with", err);
	if (r < 0)
		return agent_error_prefix(&e, agent_error_move(err, &e), "counter %s", w->c->name);
	if (!w->is_there)
		return fail_changed(w->c, w->nv->index, "is gone", err);
	if (w->is_changed)
		return fail_changed(w->c, w->nv->index, "is not the one that was pinned", err);
	return 0;
}

/* nv_run() for a look, where "not there" is an answer. */
static int nv_look(struct nv_work *w, struct agent_error **err)
{
	int r;

	w->nv->generation = 0; /* attributes, and with them the Name, may have changed */
	r = tpm_run(w->c->tpm, "looking for an NV counter", 0, attempt_look, w, err);
	if (r < 0)
		return agent_error_prefix(err, r, "counter %s", w->c->name);
	if (w->is_changed)
		return fail_changed(w->c, w->nv->index, "is not the one that was pinned", err);
	if (w->is_there && ((w->seen & ~(TPMA_NV_WRITTEN | TPMA_NV_WRITELOCKED)) != w->nv->attributes || w->seen_size != VALUE_SIZE ||
			    w->seen_policy_size != 0))
		return fail_changed(w->c, w->nv->index, "has other attributes", err);
	return 0;
}

static int read_value(struct counter *c, struct nv *nv, uint64_t *ret_value, struct agent_error **err)
{
	struct nv_work w = { .c = c, .nv = nv };
	int r;

	r = nv_run(&w, "reading an NV counter", 0, attempt_read, err);
	if (r == 0)
		*ret_value = w.value;
	return r;
}

static int get_raw(struct counter *c, uint64_t *ret_raw, struct agent_error **err)
{
	uint64_t raw;
	int r;

	r = read_value(c, &c->main, &raw, err);
	if (r < 0)
		return r;
	if (raw < c->raw_at_making || raw < c->base_value)
		return fail_changed(c, c->main.index, "is lower than when it was made", err);
	*ret_raw = raw;
	return 0;
}

static int counter_get(void *userdata, uint64_t *ret_value, struct agent_error **err)
{
	struct counter *c = userdata;
	uint64_t raw;
	int r;

	r = get_raw(c, &raw, err);
	if (r == 0)
		*ret_value = raw - c->base_value;
	return r;
}

/* When the answer gets lost the value tells whether the increment happened: it must happen once, not twice. */
static int counter_increment(void *userdata, uint64_t *ret_value, struct agent_error **err)
{
	struct counter *c = userdata;
	struct nv_work w = { .c = c, .nv = &c->main };
	uint64_t before, after;
	int r;

	r = get_raw(c, &before, err);
	if (r < 0)
		return r;
	if (before == UINT64_MAX)
		return agent_error_set(err, -EOVERFLOW, "tpm.counter-full", "counter %s is at its end", c->name);
	for (unsigned n = 0;; n++) {
		_cleanup_error_ struct agent_error *e = NULL, *e_read = NULL;

		r = nv_run(&w, "raising an NV counter", TPM_RUN_ONCE, attempt_increment, &e);
		if (r < 0 && r != -EIO)
			return agent_error_move(err, &e);
		if (get_raw(c, &after, &e_read) < 0)
			return agent_error_move(err, r < 0 ? &e : &e_read);
		if (after > before)
			break;
		if (n > 0 || r == 0)
			return r < 0 ? agent_error_move(err, &e)
				     : agent_error_set(err, -EIO, "tpm.answer", "counter %s did not rise although the TPM said so", c->name);
	}
	*ret_value = after - c->base_value;
	return 0;
}

static void counter_ops_free(void *userdata)
{
	counter_free(userdata);
}

static const struct agent_counter_ops counter_ops = { .get = counter_get, .increment = counter_increment, .free = counter_ops_free };

int agent_tpm_counter_describe(struct agent_counter *counter, struct agent_tpm_counter_info *ret_info, struct agent_error **err)
{
	struct counter *c = counter_backend(counter, &counter_ops);
	struct agent_tpm_counter_info info = { 0 };
	uint64_t raw;
	int r;

	if (c == NULL || ret_info == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "not a counter in a TPM");
	r = get_raw(c, &raw, err);
	if (r < 0)
		return r;
	info.index = c->main.index;
	info.value = raw - c->base_value;
	info.n_writes = raw - c->raw_at_making + 1; /* with the one that gave it its first value */
	/* The Name that was checked before the reading covers them. */
	info.attributes = c->main.attributes | TPMA_NV_WRITTEN;
	info.n_words = words_of_nv(info.attributes, info.words);
	*ret_info = info;
	return 0;
}

/* ---- pin ---------------------------------------------------------------- */

static void format_pin(const struct counter *c, char text[PIN_MAX])
{
	char name[2 * sizeof(c->main.name.name) + 1], base_name[2 * sizeof(c->base.name.name) + 1];
	int n;

	hex_encode(c->main.name.name, c->main.name.size, name);
	n = snprintf(text, PIN_MAX, "agent-nv-pin 1\nindex %08" PRIx32 "\nname %s\nraw %016" PRIx64 "\n", c->main.index, name,
		     c->raw_at_making);
	if (!c->is_from_zero)
		return;
	hex_encode(c->base.name.name, c->base.name.size, base_name);
	snprintf(text + n, PIN_MAX - (size_t)n, "base-index %08" PRIx32 "\nbase-name %s\nbase %016" PRIx64 "\n", c->base.index, base_name,
		 c->base_value);
}

static int parse_name(const char *text, TPM2B_NAME *ret_name)
{
	if (strlen(text) != 2 * NAME_MAX_SIZE || hex_decode(text, 2 * NAME_MAX_SIZE, ret_name->name, NAME_MAX_SIZE) < 0)
		return -EBADMSG;
	ret_name->size = NAME_MAX_SIZE;
	return 0;
}

/* 1 if there is a pin (read into @c), 0 if not. */
static int read_pin(struct counter *c, int dir_fd, const char *path, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	_cleanup_free_ char *text = NULL;
	char name[2 * NAME_MAX_SIZE + 1], base_name[2 * NAME_MAX_SIZE + 1], again[PIN_MAX];
	uint32_t index, base_index;
	size_t n;
	int r, n_fields;

	r = file_read_at(dir_fd, path, PIN_MAX, &text, &n, &e);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return agent_error_move(err, &e);
	n_fields = sscanf(text, "agent-nv-pin 1\nindex %8" SCNx32 "\nname %68[0-9a-f]\nraw %16" SCNx64 "\nbase-index %8" SCNx32
				"\nbase-name %68[0-9a-f]\nbase %16" SCNx64 "\n",
			  &index, name, &c->raw_at_making, &base_index, base_name, &c->base_value);
	if ((n_fields != 3 && n_fields != 6) || parse_name(name, &c->main.name) < 0 ||
	    (n_fields == 6 && parse_name(base_name, &c->base.name) < 0))
		return agent_error_set(err, -EBADMSG, "tpm.pin-file", "%s is not a pin file of an NV counter", path);
	if ((n_fields == 6) != c->is_from_zero || index != c->main.index || (n_fields == 6 && base_index != c->base.index))
		return agent_error_set(err, -EINVAL, "tpm.pin-file", "%s belongs to a counter at another index or of another kind", path);
	/* Whatever scanf() let pass, the file has to be what we would write. */
	format_pin(c, again);
	if (n != strlen(again) || memcmp(text, again, n) != 0)
		return agent_error_set(err, -EBADMSG, "tpm.pin-file", "%s is damaged", path);
	return 1;
}

/* ---- making ------------------------------------------------------------- */

static int make_auth(struct counter *c, int dir_fd, const char *path, struct agent_error **err)
{
	struct nv_work w = { .c = c, .nv = &c->main, .auth = &c->auth };
	int r;

	r = tpm_run(c->tpm, "making a secret", 0, attempt_auth, &w, err);
	if (r < 0)
		return r;
	return file_replace_at(dir_fd, path, 0600, c->auth.data, c->auth.size, err);
}

/* See that the index is there, made by us now or in a run that was killed. */
static int make_index(struct counter *c, struct nv *nv, TPMA_NV *ret_seen, struct agent_error **err)
{
	struct nv_work w = { .c = c, .nv = nv };
	int r;

	r = nv_look(&w, err);
	if (r < 0)
		return r;
	if (!w.is_there) {
		r = tpm_run(c->tpm, "making an NV counter", TPM_RUN_OWNER_AUTH, attempt_define, &w, err);
		if (r < 0)
			return agent_error_prefix(err, r, "counter %s", c->name);
		r = nv_look(&w, err);
		if (r < 0)
			return r;
		if (!w.is_there)
			return fail_changed(c, nv->index, "is gone", err);
	}
	*ret_seen = w.seen;
	return 0;
}

static int note_name(struct counter *c, struct nv *nv, struct agent_error **err)
{
	struct nv_work w = { .c = c, .nv = nv };
	TPM2B_NAME *name = NULL;
	int r;

	r = nv_look(&w, err);
	if (r < 0)
		return r;
	if (!w.is_there || Esys_TR_GetName(c->tpm->esys, nv->tr, &name) != TSS2_RC_SUCCESS || name->size != NAME_MAX_SIZE) {
		Esys_Free(name);
		return fail_changed(c, nv->index, "is gone", err);
	}
	nv->name = *name;
	Esys_Free(name);
	return 0;
}

static int make_base(struct counter *c, uint64_t raw, struct agent_error **err)
{
	struct nv_work w = { .c = c, .nv = &c->base, .value = raw };
	TPMA_NV seen = 0;
	int r;

	r = make_index(c, &c->base, &seen, err);
	if (r < 0)
		return r;
	if (!(seen & TPMA_NV_WRITTEN)) {
		r = nv_run(&w, "writing the base of an NV counter", 0, attempt_write, err);
		if (r < 0)
			return r;
		c->base.generation = 0; /* WRITTEN changes the Name */
	}
	if (!(seen & TPMA_NV_WRITELOCKED)) {
		r = nv_run(&w, "locking the base of an NV counter", 0, attempt_lock, err);
		if (r < 0)
			return r;
		c->base.generation = 0;
	}
	r = read_value(c, &c->base, &c->base_value, err);
	if (r < 0)
		return r;
	if (c->base_value > raw)
		return fail_changed(c, c->base.index, "holds a base above the counter", err);
	return note_name(c, &c->base, err);
}

static int counter_make(struct counter *c, int dir_fd, const char *auth_path, const char *pin_path, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	struct nv_work w = { .c = c, .nv = &c->main };
	char pin[PIN_MAX];
	TPMA_NV seen = 0;
	int r;

	r = auth_read(dir_fd, auth_path, &c->auth, &e);
	if (r == -ENOENT) {
		/* No secret of ours: whatever is at the index is not ours either. */
		r = tpm_run(c->tpm, "looking for an NV counter", 0, attempt_look, &w, err);
		if (r == 0 && w.is_there)
			r = agent_error_set(err, -EEXIST, "tpm.counter-taken",
					    "NV index 0x%08" PRIx32 " is used by another program; configure another index or remove it with "
					    "tpm2_nvundefine",
					    c->main.index);
		if (r < 0)
			return r;
		r = make_auth(c, dir_fd, auth_path, err);
	} else if (r < 0) {
		r = agent_error_move(err, &e);
	}
	if (r < 0)
		return r;
	r = make_index(c, &c->main, &seen, err);
	if (r < 0)
		return r;
	if (!(seen & TPMA_NV_WRITTEN)) {
		/* Unreadable until the first increment, which starts above every counter that was ever removed from this TPM. */
		r = nv_run(&w, "raising an NV counter", 0, attempt_increment, err);
		if (r < 0)
			return r;
		c->main.generation = 0;
	}
	r = read_value(c, &c->main, &c->raw_at_making, err);
	if (r < 0)
		return r;
	r = note_name(c, &c->main, err);
	if (r == 0 && c->is_from_zero)
		r = make_base(c, c->raw_at_making, err);
	if (r < 0)
		return r;
	format_pin(c, pin);
	return file_replace_at(dir_fd, pin_path, 0600, pin, strlen(pin), err);
}

/* A pinned counter: it has to be what it was. */
static int counter_check(struct counter *c, int dir_fd, const char *auth_path, struct agent_error **err)
{
	struct nv_work w = { .c = c, .nv = &c->main };
	uint64_t value;
	int r;

	r = auth_read(dir_fd, auth_path, &c->auth, err);
	if (r < 0)
		return r;
	r = nv_look(&w, err);
	if (r == 0 && !w.is_there)
		r = fail_changed(c, c->main.index, "is gone", err);
	if (r < 0)
		return r;
	if (c->is_from_zero) {
		r = read_value(c, &c->base, &value, err);
		if (r == 0 && value != c->base_value)
			r = fail_changed(c, c->base.index, "holds another base", err);
		if (r < 0)
			return r;
	}
	return get_raw(c, &value, err);
}

int agent_tpm_counter_open(struct agent_tpm *tpm, uint32_t nv_index, int dir_fd, const char *name, unsigned flags,
			   struct agent_counter **ret_counter, struct agent_error **err)
{
	_cleanup_(counter_freep) struct counter *c = NULL;
	char auth_path[80], pin_path[80];
	int r;

	if (tpm == NULL || ret_counter == NULL || (flags & ~(unsigned)(AGENT_TPM_CREATE | AGENT_TPM_FROM_ZERO)) != 0)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM or unknown flags 0x%x", flags);
	/* TCG Registry of Reserved TPM 2.0 Handles: indices of the owner */
	if (nv_index < 0x01800000 || nv_index > (flags & AGENT_TPM_FROM_ZERO ? 0x01bffffe : 0x01bfffff))
		return agent_error_set(err, -EINVAL, "tpm.nv-index", "NV index 0x%08" PRIx32 " is not in 0x01800000 to 0x01bfffff", nv_index);
	r = tpm_check_name(name, err);
	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (c == NULL || (c->name = strdup(name)) == NULL)
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	c->tpm = agent_tpm_ref(tpm);
	c->is_from_zero = (flags & AGENT_TPM_FROM_ZERO) != 0;
	c->main = (struct nv){ .index = nv_index, .attributes = COUNTER_ATTRIBUTES, .tr = ESYS_TR_NONE };
	c->base = (struct nv){ .index = nv_index + 1, .attributes = BASE_ATTRIBUTES, .tr = ESYS_TR_NONE };
	snprintf(auth_path, sizeof(auth_path), "%s.nvauth", name);
	snprintf(pin_path, sizeof(pin_path), "%s.pin", name);
	r = read_pin(c, dir_fd, pin_path, err);
	if (r < 0)
		return r;
	if (r > 0)
		r = counter_check(c, dir_fd, auth_path, err);
	else if (flags & AGENT_TPM_CREATE)
		r = counter_make(c, dir_fd, auth_path, pin_path, err);
	else
		r = agent_error_set(err, -ENOENT, "tpm.no-counter", "counter %s has not been made; provision the device", name);
	if (r < 0)
		return r;
	r = agent_counter_new(&counter_ops, c, ret_counter, err);
	if (r == 0)
		(void)TAKE_PTR(c);
	return r;
}
