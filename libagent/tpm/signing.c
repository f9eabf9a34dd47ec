/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/signing.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <tss2/tss2_sys.h>

#include "base/secret.h"
#include "tpm/session.h"

#define HASH_SIZE TPM2_SHA256_DIGEST_SIZE
/* As often as ESYS submits a command that the TPM asks to have again; then tpm_run() waits. */
#define SUBMIT_N 5

static const TPM2_CC command_code = TPM2_CC_Sign;

struct session {
	TPM2_HANDLE handle;
	TPM2B_NONCE ours, theirs;
};

static void put_be32(uint8_t *p, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> (24 - 8 * i));
}

static bool new_nonce(struct agent_tpm *tpm, TPM2B_NONCE *nonce)
{
	nonce->size = HASH_SIZE;
	return RAND_bytes_ex(tpm->libctx, nonce->buffer, HASH_SIZE, 0) == 1;
}

/* SHA-256 of up to three pieces. */
static bool hash_pieces(struct agent_tpm *tpm, const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, const uint8_t *c,
			size_t c_size, uint8_t ret_hash[HASH_SIZE])
{
	EVP_MD *md = EVP_MD_fetch(tpm->libctx, "SHA256", NULL);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = md != NULL && ctx != NULL && EVP_DigestInit_ex2(ctx, md, NULL) == 1 && EVP_DigestUpdate(ctx, a, a_size) == 1 &&
		  EVP_DigestUpdate(ctx, b, b_size) == 1 && EVP_DigestUpdate(ctx, c, c_size) == 1 &&
		  EVP_DigestFinal_ex(ctx, ret_hash, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_MD_free(md);
	return ok;
}

/*
 * TPM 2.0 Part 1, 19.6.5: HMAC(sessionKey || authValue, pHash || nonceNewer || nonceOlder || sessionAttributes). The session is
 * neither salted nor bound, so sessionKey is empty; the attributes are all clear, so that the TPM ends it with the command.
 */
static bool authorise(struct agent_tpm *tpm, const struct secret *auth, const uint8_t hash[HASH_SIZE], const TPM2B_NONCE *newer,
		      const TPM2B_NONCE *older, TPMA_SESSION attributes, uint8_t ret_mac[HASH_SIZE])
{
	uint8_t text[HASH_SIZE + 2 * sizeof(newer->buffer) + 1];
	size_t n = 0;

	memcpy(text, hash, HASH_SIZE);
	n += HASH_SIZE;
	memcpy(text + n, newer->buffer, newer->size);
	n += newer->size;
	memcpy(text + n, older->buffer, older->size);
	n += older->size;
	text[n++] = attributes;
	return EVP_Q_mac(tpm->libctx, "HMAC", NULL, "SHA256", NULL, auth->size > 0 ? (const void *)auth->data : "", auth->size, text, n,
			 ret_mac, HASH_SIZE, NULL) != NULL;
}

static TSS2_RC start(struct agent_tpm *tpm, TSS2_SYS_CONTEXT *sys, struct session *s)
{
	static const TPMT_SYM_DEF no_cipher = { .algorithm = TPM2_ALG_NULL };
	static const TPM2B_ENCRYPTED_SECRET no_salt;
	TSS2_RC rc;

	if (!new_nonce(tpm, &s->ours))
		return TSS2_ESYS_RC_GENERAL_FAILURE;
	for (unsigned i = 0; i < SUBMIT_N; i++) {
		rc = Tss2_Sys_StartAuthSession(sys, TPM2_RH_NULL, TPM2_RH_NULL, NULL, &s->ours, &no_salt, TPM2_SE_HMAC, &no_cipher,
					       TPM2_ALG_SHA256, &s->handle, &s->theirs, NULL);
		if (rc_classify(rc) != RC_RETRY)
			break;
	}
	if (rc == TSS2_RC_SUCCESS)
		session_note(tpm, ESYS_TR_NONE, s->handle);
	return rc;
}

/* What the TPM answered was authenticated by somebody who knows the authValue: TPM 2.0 Part 1, 19.6.5 */
static TSS2_RC check_answer(struct agent_tpm *tpm, TSS2_SYS_CONTEXT *sys, const struct tpm_object *object, struct session *s)
{
	TSS2L_SYS_AUTH_RESPONSE auths = { .count = 1 };
	const TPMS_AUTH_RESPONSE *auth = &auths.auths[0];
	uint8_t head[8], hash[HASH_SIZE], mac[HASH_SIZE];
	const uint8_t *parameters;
	size_t n;
	TSS2_RC rc;

	rc = Tss2_Sys_GetRspAuths(sys, &auths);
	if (rc == TSS2_RC_SUCCESS)
		rc = Tss2_Sys_GetRpBuffer(sys, &n, &parameters);
	if (rc != TSS2_RC_SUCCESS)
		return TSS2_ESYS_RC_MALFORMED_RESPONSE;
	put_be32(head, TPM2_RC_SUCCESS);
	put_be32(head + 4, command_code);
	if (auths.count != 1 || auth->hmac.size != HASH_SIZE)
		return TSS2_ESYS_RC_RSP_AUTH_FAILED;
	if (!hash_pieces(tpm, head, sizeof(head), parameters, n, NULL, 0, hash) ||
	    !authorise(tpm, &object->auth, hash, &auth->nonce, &s->ours, auth->sessionAttributes, mac))
		return TSS2_ESYS_RC_GENERAL_FAILURE;
	return CRYPTO_memcmp(mac, auth->hmac.buffer, HASH_SIZE) == 0 ? TSS2_RC_SUCCESS : TSS2_ESYS_RC_RSP_AUTH_FAILED;
}

static TSS2_RC submit(struct agent_tpm *tpm, TSS2_SYS_CONTEXT *sys, const struct tpm_object *object, TPM2_HANDLE handle,
		      const TPM2B_DIGEST *digest, const TPMT_SIG_SCHEME *scheme, struct session *s)
{
	static const TPMT_TK_HASHCHECK no_ticket = { .tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL };
	TSS2L_SYS_AUTH_COMMAND auths = { .count = 1 };
	TPMS_AUTH_COMMAND *auth = &auths.auths[0];
	uint8_t head[4], hash[HASH_SIZE];
	const uint8_t *parameters;
	size_t n;
	TSS2_RC rc;

	rc = Tss2_Sys_Sign_Prepare(sys, handle, digest, scheme, &no_ticket);
	if (rc == TSS2_RC_SUCCESS)
		rc = Tss2_Sys_GetCpBuffer(sys, &n, &parameters);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	/* TPM 2.0 Part 1, 16.7: cpHash covers the Name, so the signature is by this key and no other at that handle */
	put_be32(head, command_code);
	if (!new_nonce(tpm, &s->ours) || !hash_pieces(tpm, head, sizeof(head), object->name.name, object->name.size, parameters, n, hash) ||
	    !authorise(tpm, &object->auth, hash, &s->ours, &s->theirs, 0, auth->hmac.buffer))
		return TSS2_ESYS_RC_GENERAL_FAILURE;
	auth->sessionHandle = s->handle;
	auth->nonce = s->ours;
	auth->hmac.size = HASH_SIZE;
	rc = Tss2_Sys_SetCmdAuths(sys, &auths);
	return rc == TSS2_RC_SUCCESS ? Tss2_Sys_Execute(sys) : rc;
}

TSS2_RC signing_run(struct agent_tpm *tpm, const struct tpm_object *object, const TPM2B_DIGEST *digest, const TPMT_SIG_SCHEME *scheme,
		    TPMT_SIGNATURE *ret_signature)
{
	struct session s = { 0 };
	TSS2_SYS_CONTEXT *sys = NULL;
	TPM2_HANDLE handle;
	TSS2_RC rc;

	rc = Esys_GetSysContext(tpm->esys, &sys);
	if (rc == TSS2_RC_SUCCESS)
		rc = Esys_TR_GetTpmHandle(tpm->esys, object->handle, &handle);
	if (rc == TSS2_RC_SUCCESS)
		rc = start(tpm, sys, &s);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	for (unsigned i = 0; i < SUBMIT_N; i++) {
		rc = submit(tpm, sys, object, handle, digest, scheme, &s);
		if (rc_classify(rc) != RC_RETRY)
			break;
	}
	if (rc == TSS2_RC_SUCCESS) {
		rc = check_answer(tpm, sys, object, &s);
		if (rc != TSS2_RC_SUCCESS)
			return rc;
		session_forget(tpm, s.handle); /* the TPM ended it with the command */
		return Tss2_Sys_Sign_Complete(sys, ret_signature);
	}
	/* Refused, so the session lives on. If contact broke off or the answer is not genuine, it stays noted and goes after the next open. */
	if (rc_is_from_tpm(rc) && Tss2_Sys_FlushContext(sys, s.handle) == TSS2_RC_SUCCESS)
		session_forget(tpm, s.handle);
	return rc;
}
