/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_CONNECTION_H
#define TPM_CONNECTION_H
/*
 * The one ESYS context and how work is done on it: tpm_run() calls an attempt, looks at its response code and decides
 * whether to wait, make room, open again or give up. Attempts therefore start from nothing each time: they look up
 * handles afresh and end their sessions on every path.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>
#include <tss2/tss2_esys.h>

#include <agent/context.h>
#include <agent/error.h>
#include <agent/tpm.h>

#include "base/macro.h"
#include "tpm/rc.h"
#include "tpm/tcti.h"

/* Two at a time: TPM2_Certify is authorised by two keys. */
#define TPM_N_SESSIONS 2

struct tpm_object;

struct agent_tpm {
	unsigned n_refs;
	struct agent_context *ctx;
	OSSL_LIB_CTX *libctx; /* of ctx: checks what the TPM answers; never the global one, which may have a TPM provider */
	char *conf;
	bool is_raw;
	uint32_t srk_handle;
	_Atomic int state;
	char detail[512]; /* why, "" when READY */
	_Atomic uint64_t n_commands;
	struct tcti_wrap tcti;
	ESYS_CONTEXT *esys;	/* NULL while closed */
	ESYS_TR srk;		/* ESYS_TR_NONE until read */
	TPM2B_NAME srk_name;	/* size 0 until read */
	TPMA_OBJECT srk_attributes; /* that go with it */
	struct agent_tpm_info info; /* as last read */
	bool has_fixed;		/* what cannot change of it was read */
	TPM2B_NAME pin;		/* size 0 without a pin */
	uint64_t generation;	/* handles of transient objects and of NV indices from another generation are dead */
	uint64_t next_open_ms;	/* CLOCK_MONOTONIC; do not try to open before */
	unsigned n_failures;	/* in a row */
	uint64_t locked_until_ms; /* CLOCK_MONOTONIC; dictionary-attack lockout */
	uint64_t lockout_asked_ms; /* when the TPM was asked last whether it is over */
	struct tpm_object *objects; /* every object in use, loaded or not */
	uint64_t use_clock;	    /* for least recently used */
	uint64_t attempt_clock;	    /* use_clock when the attempt under way began */
	struct {
		ESYS_TR tr;
		TPM2_HANDLE handle;
	} sessions[TPM_N_SESSIONS]; /* those that exist now; handle 0 else */
	/* left in a raw TPM by a context that was thrown away; cleaned after the next open */
	TPM2B_NAME strays[4];
	TPM2_HANDLE stray_handles[4];
	unsigned n_strays;
	TPM2_HANDLE stray_sessions[TPM_N_SESSIONS];
};

enum tpm_run_flags {
	TPM_RUN_ONCE = 1u << 0,	  /* must not run twice: no second try when the answer got lost */
	TPM_RUN_NO_SRK = 1u << 1, /* works without an SRK */
	TPM_RUN_SRK_AUTH = 1u << 2, /* authorised by the SRK, which may be under dictionary-attack protection */
	TPM_RUN_OWNER_AUTH = 1u << 3 /* authorised by the owner hierarchy */
};

typedef TSS2_RC (*tpm_attempt_fn)(struct agent_tpm *tpm, void *userdata);

/* @what names the work in messages: "signing". Returns 0 or a negative errno as in docs/design/tpm.md. */
int tpm_run(struct agent_tpm *tpm, const char *what, unsigned flags, tpm_attempt_fn fn, void *userdata, struct agent_error **err);

/* Turn a code into errno, name, sentence and state. */
int tpm_fail(struct agent_tpm *tpm, TSS2_RC rc, const char *what, struct agent_error **err);

/* Read the SRK (srk.c): an attempt; sets srk and srk_name. */
TSS2_RC srk_read(struct agent_tpm *tpm, void *userdata);

/* For tests: see and replace what goes over the wire. Survives a new open. */
void tpm_set_hook(struct agent_tpm *tpm, tcti_hook_fn hook, void *userdata);

/* -EINVAL unless @name is 1 to 64 of [A-Za-z0-9._-] and does not begin with a dot. */
int tpm_check_name(const char *name, struct agent_error **err);

DEFINE_CLEANUP(struct agent_tpm *, agent_tpm_unref)

#endif
