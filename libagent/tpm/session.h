/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_SESSION_H
#define TPM_SESSION_H
/* HMAC sessions, one or two at a time and never idle: a saved, idle session ends in TPM_RC_CONTEXT_GAP for everybody. */
#include <tss2/tss2_esys.h>

#include "tpm/connection.h"

/*
 * Salted with the SRK, AES-128-CFB: for whatever carries a secret. Costs the chip an ECDH.
 * Stays open until session_end(); attributes per command through session_attributes().
 */
TSS2_RC session_start_salted(struct agent_tpm *tpm, ESYS_TR *ret_session);
/* The same as a policy session. */
TSS2_RC session_start_policy(struct agent_tpm *tpm, ESYS_TR *ret_session);
/* Unsalted: proves a 192-bit authValue, and authenticates the answer, without sending it. */
TSS2_RC session_start_plain(struct agent_tpm *tpm, ESYS_TR *ret_session);
/* TPMA_SESSION_CONTINUESESSION, _DECRYPT (request), _ENCRYPT (answer), _AUDIT (answer cannot be forged); without CONTINUESESSION the next command ends it. */
TSS2_RC session_attributes(struct agent_tpm *tpm, ESYS_TR session, TPMA_SESSION attributes);
/* @rc is what the last command in it returned; @was_last says that command had no CONTINUESESSION. */
void session_end(struct agent_tpm *tpm, ESYS_TR *session, TSS2_RC rc, bool was_last);
/* Sessions that exist in the TPM, so that they can be ended after contact was lost. @tr is ESYS_TR_NONE for one ESYS does not know. */
void session_note(struct agent_tpm *tpm, ESYS_TR tr, TPM2_HANDLE handle);
void session_forget(struct agent_tpm *tpm, TPM2_HANDLE handle);

#endif
