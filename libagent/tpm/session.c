/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/session.h"

static const TPMT_SYM_DEF aes_cfb = { .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB };

void session_note(struct agent_tpm *tpm, ESYS_TR tr, TPM2_HANDLE handle)
{
	unsigned i = tpm->sessions[0].handle == 0 ? 0 : 1;

	tpm->sessions[i].tr = tr;
	tpm->sessions[i].handle = handle;
}

void session_forget(struct agent_tpm *tpm, TPM2_HANDLE handle)
{
	for (unsigned i = 0; i < TPM_N_SESSIONS; i++)
		if (tpm->sessions[i].handle == handle)
			tpm->sessions[i].handle = 0;
}

static TSS2_RC start(struct agent_tpm *tpm, TPM2_SE type, ESYS_TR salt_key, const TPMT_SYM_DEF *symmetric, ESYS_TR *ret_session)
{
	TPM2_HANDLE handle;
	ESYS_TR session;
	TSS2_RC rc;

	rc = Esys_StartAuthSession(tpm->esys, salt_key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL,
				   type, symmetric, TPM2_ALG_SHA256, &session);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	if (Esys_TR_GetTpmHandle(tpm->esys, session, &handle) == TSS2_RC_SUCCESS)
		session_note(tpm, session, handle);
	*ret_session = session;
	return TSS2_RC_SUCCESS;
}

TSS2_RC session_start_salted(struct agent_tpm *tpm, ESYS_TR *ret_session)
{
	return start(tpm, TPM2_SE_HMAC, tpm->srk, &aes_cfb, ret_session);
}

TSS2_RC session_start_policy(struct agent_tpm *tpm, ESYS_TR *ret_session)
{
	return start(tpm, TPM2_SE_POLICY, tpm->srk, &aes_cfb, ret_session);
}

TSS2_RC session_start_plain(struct agent_tpm *tpm, ESYS_TR *ret_session)
{
	static const TPMT_SYM_DEF symmetric = { .algorithm = TPM2_ALG_NULL };

	return start(tpm, TPM2_SE_HMAC, ESYS_TR_NONE, &symmetric, ret_session);
}

TSS2_RC session_attributes(struct agent_tpm *tpm, ESYS_TR session, TPMA_SESSION attributes)
{
	return Esys_TRSess_SetAttributes(tpm->esys, session, attributes,
					 TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT |
						 TPMA_SESSION_AUDIT);
}

static void forget(struct agent_tpm *tpm, ESYS_TR session)
{
	for (unsigned i = 0; i < TPM_N_SESSIONS; i++)
		if (tpm->sessions[i].tr == session)
			tpm->sessions[i].handle = 0;
}

void session_end(struct agent_tpm *tpm, ESYS_TR *session, TSS2_RC rc, bool was_last)
{
	if (*session == ESYS_TR_NONE)
		return;
	if (rc == TSS2_RC_SUCCESS && was_last) {
		/* The TPM ended it with the command; give ESYS its memory back. */
		forget(tpm, *session);
		(void)Esys_TR_Close(tpm->esys, session);
	} else if (rc == TSS2_RC_SUCCESS || rc_classify(rc) != RC_REINIT) {
		if (Esys_FlushContext(tpm->esys, *session) == TSS2_RC_SUCCESS)
			forget(tpm, *session);
	} else if (rc_is_from_tpm(rc)) {
		(void)Esys_FlushContext(tpm->esys, *session);
		forget(tpm, *session);
	}
	/* else the context is poisoned and goes; the handle stays noted and is cleaned after the next open */
	*session = ESYS_TR_NONE;
}
