/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/connection.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tss2/tss2_rc.h>

#include "base/monotonic.h"
#include "context.h"
#include "tpm/object.h"
#include "tpm/properties.h"
#include "tpm/session.h"

/* Waits of 20, 40 ... 640 ms when the TPM asks to be tried again: 1.3 s in all, on top of what ESYS resubmits. */
#define RETRY_N 6
#define RETRY_FIRST_MS 20
/* Waits of 50, 100, 200, 400 ms for another program to free a slot. */
#define RESOURCE_N 4
#define RESOURCE_FIRST_MS 50
/* After a second failure in a row the next open waits 250 ms, doubling to 10 s: a missing TPM costs nothing, a returning one is soon used. */
#define REOPEN_FIRST_MS 250
#define REOPEN_MAX_MS 10000
/* If the TPM does not say when it leaves lockout: an hour. */
#define LOCKOUT_UNKNOWN_S 3600
/* It may be over earlier: ended by its owner, or the TPM was reset. */
#define LOCKOUT_ASK_MS 10000

static void sleep_ms(unsigned ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

static void set_state(struct agent_tpm *tpm, enum agent_tpm_state state)
{
	int old = atomic_exchange(&tpm->state, state);

	if (state == AGENT_TPM_READY)
		tpm->detail[0] = '\0';
	if (old != (int)state)
		context_log(tpm->ctx, "tpm: %s -> %s", agent_tpm_state_name((enum agent_tpm_state)old), agent_tpm_state_name(state));
}

/* A state and why: the sentence of @e is kept for whoever asks later. Hands @e on. */
static int fail_state(struct agent_tpm *tpm, enum agent_tpm_state state, struct agent_error **e, struct agent_error **err)
{
	set_state(tpm, state);
	snprintf(tpm->detail, sizeof(tpm->detail), "%s", agent_error_message(*e));
	return agent_error_move(err, e);
}

static void note_lockout(struct agent_tpm *tpm);

/* The TPM knows best whether it is locked; one command, without any password. */
static void ask_lockout(struct agent_tpm *tpm)
{
	uint64_t now_ms = monotonic_ms();

	if (tpm->locked_until_ms == 0 || tpm->esys == NULL || now_ms < tpm->lockout_asked_ms + LOCKOUT_ASK_MS)
		return;
	tpm->lockout_asked_ms = now_ms;
	if (properties_read_variable(tpm) == TSS2_RC_SUCCESS && !tpm->info.is_locked_out)
		tpm->locked_until_ms = 0;
}

/* The TPM answers, whatever it said to the command at hand. */
static void set_reachable(struct agent_tpm *tpm)
{
	tpm->n_failures = 0;
	tpm->next_open_ms = 0;
	ask_lockout(tpm);
	if (tpm->locked_until_ms == 0) {
		set_state(tpm, AGENT_TPM_READY);
		return;
	}
	set_state(tpm, AGENT_TPM_LOCKED_OUT);
	if (tpm->detail[0] == '\0')
		note_lockout(tpm);
}

const char *agent_tpm_state_name(enum agent_tpm_state state)
{
	static const char *const names[] = {
		[AGENT_TPM_ABSENT] = "ABSENT",	     [AGENT_TPM_OPENING] = "OPENING", [AGENT_TPM_READY] = "READY",
		[AGENT_TPM_LOCKED_OUT] = "LOCKED_OUT", [AGENT_TPM_BUSY] = "BUSY",	      [AGENT_TPM_CHANGED] = "CHANGED",
		[AGENT_TPM_FAILED] = "FAILED",
	};

	return (size_t)state < ARRAY_SIZE(names) ? names[state] : "UNKNOWN";
}

int tpm_check_name(const char *name, struct agent_error **err)
{
	size_t n = name == NULL ? 0 : strlen(name);

	if (n == 0 || n > 64 || name[0] == '.' ||
	    strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != n)
		return agent_error_set(err, -EINVAL, "tpm.name", "a key name is 1 to 64 of [A-Za-z0-9._-] and does not begin with a dot");
	return 0;
}

/* ---- opening and closing ------------------------------------------------ */

int agent_tpm_new(struct agent_context *ctx, const char *tcti, uint32_t srk_handle, struct agent_tpm **ret_tpm,
		  struct agent_error **err)
{
	OSSL_LIB_CTX *libctx;
	struct agent_tpm *tpm;
	int r;

	if (ctx == NULL || tcti == NULL || tcti[0] == '\0' || ret_tpm == NULL)
		return agent_error_set(err, -EINVAL, "tpm.tcti", "no context or no TCTI string");
	/* TPM 2.0 Part 2, 7.4: TPM_HT_PERSISTENT; TCG Registry of Reserved Handles: 0x81000000 to 0x810000ff for SRKs, but any will do */
	if (srk_handle >> 24 != TPM2_HT_PERSISTENT)
		return agent_error_set(err, -EINVAL, "tpm.handle", "0x%08" PRIx32 " is not a persistent handle", srk_handle);
	/* Made here, so that the TPM thread only reads it. */
	r = context_get_libctx(ctx, NULL, &libctx, err);
	if (r < 0)
		return r;
	tpm = calloc(1, sizeof(*tpm));
	if (tpm == NULL || (tpm->conf = strdup(tcti)) == NULL) {
		free(tpm);
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	}
	tpm->n_refs = 1;
	tpm->ctx = agent_context_ref(ctx);
	tpm->libctx = libctx;
	tpm->is_raw = tcti_is_raw(tcti);
	tcti_preload(tcti);
	tpm->srk_handle = srk_handle;
	tpm->srk = ESYS_TR_NONE;
	tpm->generation = 1;
	atomic_init(&tpm->state, AGENT_TPM_OPENING);
	atomic_init(&tpm->n_commands, 0);
	*ret_tpm = tpm;
	return 0;
}

struct agent_tpm *agent_tpm_ref(struct agent_tpm *tpm)
{
	if (tpm != NULL)
		tpm->n_refs++;
	return tpm;
}

/* Throw the ESYS context away. @is_broken: nothing can be sent any more, so remember what stays behind. */
static void discard(struct agent_tpm *tpm, bool is_broken)
{
	if (tpm->esys == NULL)
		return;
	if (is_broken && tpm->is_raw) {
		for (struct tpm_object *o = tpm->objects; o != NULL && tpm->n_strays < ARRAY_SIZE(tpm->strays); o = o->next) {
			TPM2_HANDLE handle;

			if (o->generation != tpm->generation || o->handle == ESYS_TR_NONE ||
			    Esys_TR_GetTpmHandle(tpm->esys, o->handle, &handle) != TSS2_RC_SUCCESS)
				continue;
			tpm->strays[tpm->n_strays] = o->name;
			tpm->stray_handles[tpm->n_strays++] = handle;
		}
		for (unsigned i = 0; i < TPM_N_SESSIONS; i++)
			tpm->stray_sessions[i] = tpm->sessions[i].handle;
	} else if (!is_broken) {
		objects_evict(tpm);
	}
	memset(tpm->sessions, 0, sizeof(tpm->sessions));
	Esys_Finalize(&tpm->esys);
	tcti_wrap_close(&tpm->tcti);
	tpm->esys = NULL;
	tpm->srk = ESYS_TR_NONE;
	tpm->generation++;
}

struct agent_tpm *agent_tpm_unref(struct agent_tpm *tpm)
{
	if (tpm == NULL || --tpm->n_refs > 0)
		return NULL;
	discard(tpm, false);
	agent_context_unref(tpm->ctx);
	free(tpm->conf);
	free(tpm);
	return NULL;
}

/* A raw TPM keeps what a thrown-away context left; it is ours if handle and Name still fit. */
static void clean_strays(struct agent_tpm *tpm)
{
	for (unsigned i = 0; i < tpm->n_strays; i++) {
		TPM2B_NAME *name = NULL;
		ESYS_TR tr;

		if (Esys_TR_FromTPMPublic(tpm->esys, tpm->stray_handles[i], ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &tr) !=
		    TSS2_RC_SUCCESS)
			continue;
		if (Esys_TR_GetName(tpm->esys, tr, &name) == TSS2_RC_SUCCESS && name->size == tpm->strays[i].size &&
		    memcmp(name->name, tpm->strays[i].name, name->size) == 0)
			(void)Esys_FlushContext(tpm->esys, tr);
		else
			(void)Esys_TR_Close(tpm->esys, &tr);
		Esys_Free(name);
	}
	tpm->n_strays = 0;
	for (unsigned i = 0; i < TPM_N_SESSIONS; i++) {
		ESYS_TR tr;

		if (tpm->stray_sessions[i] == 0)
			continue;
		if (Esys_TR_FromTPMPublic(tpm->esys, tpm->stray_sessions[i], ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &tr) ==
			    TSS2_RC_SUCCESS &&
		    Esys_FlushContext(tpm->esys, tr) != TSS2_RC_SUCCESS)
			(void)Esys_TR_Close(tpm->esys, &tr);
		tpm->stray_sessions[i] = 0;
	}
}

/* On a raw TPM that is full and stays full: the slots belong to a program that died, perhaps an earlier run of this one. */
static void reclaim_slots(struct agent_tpm *tpm)
{
	static const UINT32 firsts[] = { TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST };

	for (size_t i = 0; i < ARRAY_SIZE(firsts); i++) {
		TPMS_CAPABILITY_DATA *cap = NULL;
		TPMI_YES_NO more;

		if (Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, firsts[i], 16, &more,
				       &cap) != TSS2_RC_SUCCESS)
			continue;
		for (UINT32 k = 0; k < cap->data.handles.count && k < TPM2_MAX_CAP_HANDLES; k++) {
			ESYS_TR tr;

			if (Esys_TR_FromTPMPublic(tpm->esys, cap->data.handles.handle[k], ESYS_TR_NONE, ESYS_TR_NONE,
						  ESYS_TR_NONE, &tr) != TSS2_RC_SUCCESS)
				continue;
			context_log(tpm->ctx, "tpm: freed left-over handle 0x%08" PRIx32, cap->data.handles.handle[k]);
			if (Esys_FlushContext(tpm->esys, tr) != TSS2_RC_SUCCESS)
				(void)Esys_TR_Close(tpm->esys, &tr);
		}
		Esys_Free(cap);
	}
	tpm->generation++;
}

/* One attempt after the other while the TPM says that waiting or making room may help. */
static TSS2_RC run_patiently(struct agent_tpm *tpm, tpm_attempt_fn fn, void *userdata)
{
	unsigned n_retry = 0, n_resource = 0;
	bool was_evicted = false, was_started = false;

	for (;;) {
		TSS2_RC rc;

		tpm->attempt_clock = tpm->use_clock;
		rc = fn(tpm, userdata);

		switch (rc_classify(rc)) {
		case RC_RETRY:
			if (n_retry == RETRY_N)
				return rc;
			set_state(tpm, AGENT_TPM_BUSY);
			sleep_ms(RETRY_FIRST_MS << n_retry++);
			break;
		case RC_RESOURCE:
			if (n_resource == RESOURCE_N)
				return rc;
			if (!was_evicted && objects_evict(tpm) > 0) {
				was_evicted = true;
				break;
			}
			set_state(tpm, AGENT_TPM_BUSY);
			if (tpm->is_raw && n_resource == RESOURCE_N / 2)
				reclaim_slots(tpm);
			else
				sleep_ms(RESOURCE_FIRST_MS << n_resource);
			n_resource++;
			break;
		case RC_NOT_STARTED:
			/* Behind a resource manager the kernel or firmware has to do this. */
			if (!tpm->is_raw || was_started)
				return rc;
			was_started = true;
			tpm->generation++;
			memset(tpm->sessions, 0, sizeof(tpm->sessions));
			rc = Esys_Startup(tpm->esys, TPM2_SU_CLEAR);
			if (rc != TSS2_RC_SUCCESS && rc != TPM2_RC_INITIALIZE)
				return rc;
			break;
		default:
			return rc;
		}
	}
}

/* The first failure after a success costs no wait: the next use may find the TPM again. */
static void count_failure(struct agent_tpm *tpm)
{
	uint64_t wait_ms = tpm->n_failures == 0 ? 0 : REOPEN_FIRST_MS;

	for (unsigned i = 1; i < tpm->n_failures && wait_ms < REOPEN_MAX_MS; i++)
		wait_ms *= 2;
	if (wait_ms > REOPEN_MAX_MS)
		wait_ms = REOPEN_MAX_MS;
	if (tpm->n_failures < UINT32_MAX)
		tpm->n_failures++;
	tpm->next_open_ms = monotonic_ms() + wait_ms;
}

static int fail_absent(struct agent_tpm *tpm, TSS2_RC rc, struct agent_error **err)
{
	struct agent_error *e = NULL;

	count_failure(tpm);
	agent_error_set(&e, -ENODEV, "tpm.absent",
			"no TPM answers at %s (0x%" PRIx32 ", %s); check that the device exists and that this user may open it", tpm->conf,
			rc, Tss2_RC_Decode(rc));
	agent_error_set_foreign(&e, AGENT_ERROR_TPM, rc);
	return fail_state(tpm, AGENT_TPM_ABSENT, &e, err);
}

static int fail_changed(struct agent_tpm *tpm, const char *how, struct agent_error **err)
{
	struct agent_error *e = NULL;

	agent_error_set(&e, -EKEYREJECTED, "tpm.changed",
			"%s 0x%08" PRIx32 "; the TPM was cleared or replaced, so keys made before cannot be used: "
			"put the old TPM back or provision the device again",
			how, tpm->srk_handle);
	return fail_state(tpm, AGENT_TPM_CHANGED, &e, err);
}

/* Open what is not open. */
static int ensure_open(struct agent_tpm *tpm, bool need_srk, struct agent_error **err)
{
	struct agent_error *e = NULL;
	uint64_t now_ms;
	TSS2_RC rc;

	if (tpm->esys == NULL) {
		now_ms = monotonic_ms();
		if (now_ms < tpm->next_open_ms)
			return agent_error_set(err, -ENODEV, "tpm.absent", "the TPM at %s did not answer; tried again in %" PRIu64 " ms",
					       tpm->conf, tpm->next_open_ms - now_ms);
		if (agent_tpm_get_state(tpm) != AGENT_TPM_ABSENT)
			set_state(tpm, AGENT_TPM_OPENING);
		rc = tcti_wrap_open(&tpm->tcti, tpm->conf, &tpm->n_commands);
		if (rc != TSS2_RC_SUCCESS)
			return fail_absent(tpm, rc, err);
		rc = Esys_Initialize(&tpm->esys, (TSS2_TCTI_CONTEXT *)&tpm->tcti, NULL);
		if (rc != TSS2_RC_SUCCESS) {
			tpm->esys = NULL;
			tcti_wrap_close(&tpm->tcti);
			return tpm_fail(tpm, rc, "opening the TPM", err);
		}
		if (tpm->n_strays > 0 || tpm->stray_sessions[0] != 0 || tpm->stray_sessions[1] != 0)
			clean_strays(tpm);
	}
	if (!need_srk || tpm->srk != ESYS_TR_NONE)
		return 0;
	rc = run_patiently(tpm, srk_read, NULL);
	switch (rc_classify(rc)) {
	case RC_OK:
		break;
	case RC_HANDLE:
		if (tpm->pin.size != 0)
			return fail_changed(tpm, "there is no storage root key any more at", err);
		agent_error_set(&e, -ENOKEY, "tpm.no-srk", "there is no storage root key at 0x%08" PRIx32 "; provision the device",
				tpm->srk_handle);
		return fail_state(tpm, AGENT_TPM_OPENING, &e, err);
	case RC_REINIT:
		discard(tpm, true);
		return fail_absent(tpm, rc, err);
	default:
		return tpm_fail(tpm, rc, "reading the storage root key", err);
	}
	if (tpm->pin.size != 0 &&
	    (tpm->pin.size != tpm->srk_name.size || memcmp(tpm->pin.name, tpm->srk_name.name, tpm->pin.size) != 0)) {
		(void)Esys_TR_Close(tpm->esys, &tpm->srk);
		tpm->srk = ESYS_TR_NONE;
		return fail_changed(tpm, "another storage root key is at", err);
	}
	return 0;
}

/* ---- running work ------------------------------------------------------- */

/* Explain a lockout. TPM 2.0 Part 1, 19.8.2: one failure is forgiven each TPM_PT_LOCKOUT_INTERVAL. */
static void describe_lockout(struct agent_tpm *tpm)
{
	const struct agent_tpm_info *info = &tpm->info;

	snprintf(tpm->detail, sizeof(tpm->detail),
		 "the TPM is in dictionary-attack lockout (0x921): %u wrong passwords, limit %u, one is forgiven every %u s; nothing that needs a "
		 "protected password is tried until then; keys of the agent work on; whoever holds lockoutAuth may end it with "
		 "tpm2_dictionarylockout -c",
		 (unsigned)info->lockout_counter, (unsigned)info->lockout_max, (unsigned)info->lockout_interval_s);
}

/* When the lockout is over; one command. */
static void note_lockout(struct agent_tpm *tpm)
{
	uint64_t wait_s = LOCKOUT_UNKNOWN_S;

	if (tpm->esys != NULL && properties_read_variable(tpm) == TSS2_RC_SUCCESS && tpm->info.lockout_interval_s > 0)
		wait_s = tpm->info.lockout_interval_s;
	tpm->lockout_asked_ms = monotonic_ms();
	tpm->locked_until_ms = tpm->lockout_asked_ms + wait_s * 1000;
	describe_lockout(tpm);
}

static int fail_locked(struct agent_tpm *tpm, const char *what, struct agent_error **err)
{
	uint64_t now_ms = monotonic_ms();

	set_state(tpm, AGENT_TPM_LOCKED_OUT);
	return agent_error_set(err, -EBUSY, "tpm.locked-out",
			       "%s: the TPM is in dictionary-attack lockout after too many wrong passwords; not tried again for "
			       "%" PRIu64 " s (the owner of lockoutAuth may end it with tpm2_dictionarylockout -c)",
			       what, tpm->locked_until_ms > now_ms ? (tpm->locked_until_ms - now_ms + 999) / 1000 : 0);
}

int tpm_fail(struct agent_tpm *tpm, TSS2_RC rc, const char *what, struct agent_error **err)
{
	const char *text = Tss2_RC_Decode(rc);
	struct agent_error *e = NULL;
	int state = -1; /* unchanged */

	switch (rc_classify(rc)) {
	case RC_RETRY:
		state = AGENT_TPM_BUSY;
		agent_error_set(&e, -EBUSY, "tpm.busy", "%s: the TPM asks for patience (0x%" PRIx32 ", %s); it is tried again by itself", what, rc, text);
		break;
	case RC_RESOURCE:
		state = AGENT_TPM_BUSY;
		agent_error_set(&e, -EBUSY, "tpm.busy",
				"%s: the TPM has no room (0x%" PRIx32 ", %s): another program holds its slots; end that program or free them "
				"with tpm2_flushcontext; it is tried again by itself",
				what, rc, text);
		break;
	case RC_REINIT:
		state = AGENT_TPM_OPENING;
		count_failure(tpm);
		agent_error_set(&e, -EIO, "tpm.io", "%s: contact to the TPM broke off (0x%" PRIx32 ", %s); it is opened again at the next use", what,
				rc, text);
		break;
	case RC_NO_SPACE:
		agent_error_set(&e, -ENOSPC, "tpm.no-space",
				"%s: the TPM's NV memory is full; remove indices that nobody needs with tpm2_nvundefine", what);
		break;
	case RC_LOCKOUT:
		note_lockout(tpm);
		fail_locked(tpm, what, &e);
		break;
	case RC_AUTH:
		agent_error_set(&e, -EKEYREJECTED, "tpm.auth",
				"%s: the TPM refuses the authValue (%s); the .auth file does not belong to this key, or the storage "
				"root key has a password",
				what, text);
		break;
	case RC_INTEGRITY:
	case RC_HANDLE:
		agent_error_set(&e, -EKEYREJECTED, "tpm.foreign", "%s: the object belongs to another TPM or storage root key (%s)", what, text);
		break;
	case RC_NOT_STARTED:
		state = AGENT_TPM_FAILED;
		discard(tpm, true);
		agent_error_set(&e, -EIO, "tpm.not-started",
				"%s: nobody has started the TPM (0x%" PRIx32 ", TPM2_Startup is missing); the boot firmware or the kernel has to",
				what, rc);
		break;
	case RC_FATAL:
		state = AGENT_TPM_FAILED;
		discard(tpm, true);
		agent_error_set(&e, -EIO, "tpm.failed", "%s: the TPM is in failure mode (0x%" PRIx32 ", %s); only a power cycle may help", what, rc,
				text);
		break;
	case RC_ANSWER:
		state = AGENT_TPM_FAILED;
		agent_error_set(&e, -EIO, "tpm.answer",
				"%s: the TPM's answer was damaged or forged on its way (0x%" PRIx32 ", %s); look at the bus of the TPM", what, rc, text);
		break;
	default:
		agent_error_set(&e, -EIO, "tpm.refused", "%s: the TPM answered 0x%" PRIx32 " (%s)", what, rc, text);
		break;
	}
	agent_error_set_foreign(&e, AGENT_ERROR_TPM, rc);
	return state < 0 ? agent_error_move(err, &e) : fail_state(tpm, (enum agent_tpm_state)state, &e, err);
}

/* In a lockout. A storage root key with noDA is exempt (Part 1, 19.8.1), and so are the keys below it that are. */
static bool may_use_srk(struct agent_tpm *tpm)
{
	if (ensure_open(tpm, true, NULL) < 0)
		return true; /* whoever tries says why */
	if ((tpm->srk_attributes & TPMA_OBJECT_NODA) != 0)
		return true;
	ask_lockout(tpm);
	return tpm->locked_until_ms == 0;
}

int tpm_run(struct agent_tpm *tpm, const char *what, unsigned flags, tpm_attempt_fn fn, void *userdata, struct agent_error **err)
{
	bool need_srk = (flags & TPM_RUN_NO_SRK) == 0;
	TSS2_RC rc;
	int r;

	if (tpm->locked_until_ms != 0 && monotonic_ms() >= tpm->locked_until_ms)
		tpm->locked_until_ms = 0;
	if ((flags & TPM_RUN_SRK_AUTH) && tpm->locked_until_ms != 0 && !may_use_srk(tpm))
		return fail_locked(tpm, what, err);
	for (unsigned n_opens = 0;; n_opens++) {
		r = ensure_open(tpm, need_srk, err);
		if (r < 0)
			return r;
		rc = run_patiently(tpm, fn, userdata);
		switch (rc_classify(rc)) {
		case RC_OK:
			set_reachable(tpm);
			return 0;
		case RC_REINIT:
			discard(tpm, !rc_is_from_tpm(rc));
			/* A lost answer may hide a command that ran; a refused one did not. */
			if (n_opens > 0 || ((flags & TPM_RUN_ONCE) && !rc_is_from_tpm(rc)))
				return tpm_fail(tpm, rc, what, err);
			context_log(tpm->ctx, "tpm: %s: 0x%" PRIx32 ", opening again", what, rc);
			break;
		case RC_HANDLE:
			/* A handle that somebody else freed or that a broker forgot: look it up again before blaming the object. */
			if (n_opens == 0) {
				discard(tpm, !rc_is_from_tpm(rc));
				break;
			}
			set_reachable(tpm);
			return tpm_fail(tpm, rc, what, err);
		case RC_AUTH:
		case RC_INTEGRITY:
		case RC_OTHER:
			/* Perhaps because the SRK was replaced under us: look before blaming the object. */
			if (need_srk) {
				discard(tpm, !rc_is_from_tpm(rc));
				r = ensure_open(tpm, true, err);
				if (r < 0)
					return r;
			}
			set_reachable(tpm);
			if ((flags & TPM_RUN_OWNER_AUTH) && rc_classify(rc) == RC_AUTH) {
				r = agent_error_set(err, -EPERM, "tpm.owner-auth",
						    "%s: the owner hierarchy has a password; provision before it is set, or clear it with "
						    "tpm2_changeauth -c owner",
						    what);
				agent_error_set_foreign(err, AGENT_ERROR_TPM, rc);
				return r;
			}
			return tpm_fail(tpm, rc, what, err);
		case RC_ANSWER:
			discard(tpm, true);
			count_failure(tpm);
			return tpm_fail(tpm, rc, what, err);
		case RC_NO_SPACE:
			set_reachable(tpm);
			return tpm_fail(tpm, rc, what, err);
		default:
			return tpm_fail(tpm, rc, what, err);
		}
	}
}

/* ---- public ------------------------------------------------------------- */

static TSS2_RC nothing(struct agent_tpm *tpm, void *userdata)
{
	(void)tpm;
	(void)userdata;
	return TSS2_RC_SUCCESS;
}

int agent_tpm_open(struct agent_tpm *tpm, struct agent_error **err)
{
	if (tpm == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM");
	return tpm_run(tpm, "opening the TPM", 0, nothing, NULL, err);
}

/* Slots are part of it: a TPM that answers but can start no session is of no use. */
static TSS2_RC attempt_probe(struct agent_tpm *tpm, void *userdata)
{
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc = properties_read_fixed(tpm);

	(void)userdata;
	if (rc == TSS2_RC_SUCCESS)
		rc = properties_read_variable(tpm);
	if (rc == TSS2_RC_SUCCESS && tpm->is_raw)
		rc = objects_flush_orphans(tpm);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_start_plain(tpm, &session);
	session_end(tpm, &session, rc, false);
	return rc;
}

int agent_tpm_probe(struct agent_tpm *tpm, struct agent_tpm_info *ret_info, struct agent_error **err)
{
	int r;

	if (tpm == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM");
	/* Read again, and compared with the pin. */
	if (tpm->esys != NULL && tpm->srk != ESYS_TR_NONE)
		(void)Esys_TR_Close(tpm->esys, &tpm->srk);
	tpm->srk = ESYS_TR_NONE;
	r = tpm_run(tpm, "looking at the TPM", 0, attempt_probe, NULL, err);
	if (r == 0) {
		/* The TPM knows best whether it is locked, and for how long. */
		if (tpm->info.is_locked_out) {
			tpm->locked_until_ms = monotonic_ms() + (tpm->info.lockout_interval_s > 0 ? tpm->info.lockout_interval_s : LOCKOUT_UNKNOWN_S) * UINT64_C(1000);
			describe_lockout(tpm);
		} else {
			tpm->locked_until_ms = 0;
		}
		set_reachable(tpm);
	}
	if (ret_info != NULL) {
		*ret_info = tpm->info;
		ret_info->is_raw = tpm->is_raw;
		ret_info->is_srk_exempt = (tpm->srk_attributes & TPMA_OBJECT_NODA) != 0;
	}
	return r;
}

int agent_tpm_pin_srk(struct agent_tpm *tpm, const uint8_t *name, size_t name_size, struct agent_error **err)
{
	/* TPM 2.0 Part 1, 16: algorithm and digest */
	if (tpm == NULL || name == NULL || name_size < 2 + 20 || name_size > sizeof(tpm->pin.name))
		return agent_error_set(err, -EINVAL, "tpm.name", "an SRK Name is an algorithm number and a digest, not %zu bytes",
				       name_size);
	tpm->pin.size = (UINT16)name_size;
	memcpy(tpm->pin.name, name, name_size);
	if (tpm->srk != ESYS_TR_NONE &&
	    (tpm->srk_name.size != name_size || memcmp(tpm->srk_name.name, name, name_size) != 0)) {
		discard(tpm, false);
		return fail_changed(tpm, "another storage root key is at", err);
	}
	return 0;
}

int agent_tpm_get_srk_name(const struct agent_tpm *tpm, const uint8_t **ret_name, size_t *ret_size)
{
	if (tpm == NULL || tpm->srk_name.size == 0)
		return -ENODATA;
	*ret_name = tpm->srk_name.name;
	*ret_size = tpm->srk_name.size;
	return 0;
}

enum agent_tpm_state agent_tpm_get_state(const struct agent_tpm *tpm)
{
	return tpm == NULL ? AGENT_TPM_ABSENT : (enum agent_tpm_state)atomic_load(&tpm->state);
}

const char *agent_tpm_get_detail(const struct agent_tpm *tpm)
{
	return tpm == NULL ? "" : tpm->detail;
}

uint64_t agent_tpm_get_n_commands(const struct agent_tpm *tpm)
{
	return tpm == NULL ? 0 : atomic_load(&tpm->n_commands);
}

void tpm_set_hook(struct agent_tpm *tpm, tcti_hook_fn hook, void *userdata)
{
	tpm->tcti.hook = hook;
	tpm->tcti.hook_userdata = userdata;
}
