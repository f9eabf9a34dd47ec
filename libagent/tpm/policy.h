/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_POLICY_H
#define TPM_POLICY_H
/*
 * Policy digests in software, as the TPM computes them (TPM 2.0 Part 3, chapter 23), SHA-256 throughout, and the keys and
 * signatures of TPM2_PolicyAuthorize.
 */
#include <stdint.h>

#include <openssl/types.h>
#include <tss2/tss2_tpm2_types.h>

#include <agent/error.h>
#include <agent/seal.h>

#include "tpm/sealfile.h"

#define POLICY_SIZE 32

/* -EINVAL (seal.argument) unless 1 to 24 PCRs are meant. */
int policy_check_mask(uint32_t mask, struct agent_error **err);
void policy_selection(uint32_t mask, TPML_PCR_SELECTION *ret_selection);
/* Digest over the values in @pcrs, as TPM2_PolicyPCR wants it. -ENOMEM. */
int policy_pcr_digest(OSSL_LIB_CTX *libctx, const struct agent_pcr_values *pcrs, TPM2B_DIGEST *ret_digest);

/* What each command makes of the digest so far, at the start zero. -ENOMEM. */
int policy_add_pcr(OSSL_LIB_CTX *libctx, const struct agent_pcr_values *pcrs, uint8_t digest[POLICY_SIZE]);
int policy_add_authorize(OSSL_LIB_CTX *libctx, const TPM2B_NAME *key, const uint8_t *ref, size_t ref_size, uint8_t digest[POLICY_SIZE]);
int policy_add_auth_value(OSSL_LIB_CTX *libctx, uint8_t digest[POLICY_SIZE]);

/* A public key as TPM2_LoadExternal takes it, in the form of tpm2_loadexternal, and its Name. -EOPNOTSUPP (seal.signer). */
int policy_key(OSSL_LIB_CTX *libctx, const uint8_t *spki, size_t spki_size, TPM2B_PUBLIC *ret_pub, TPM2B_NAME *ret_name,
	       struct agent_error **err);

/* What is signed: SHA-256 of the approved policy and the reference. -ENOMEM. */
int policy_to_sign(OSSL_LIB_CTX *libctx, const uint8_t policy[POLICY_SIZE], const uint8_t *ref, size_t ref_size, TPM2B_DIGEST *ret_digest);

/* As TPM2_VerifySignature takes it; -EBADMSG if it is no signature of such a key. */
int policy_signature(const TPM2B_PUBLIC *pub, const uint8_t *sig, size_t sig_size, TPMT_SIGNATURE *ret_signature);

/* The one of @text that fits the sealed file and the PCRs @now; verified. seal.policy, seal.pcr, seal.signature. */
int policy_find(OSSL_LIB_CTX *libctx, const struct sealfile *file, const char *text, size_t size, const struct agent_pcr_values *now,
		struct policyfile *ret_policy, struct agent_error **err);

/* -EPERM, seal.pcr, with the PCRs that differ. */
int policy_fail_pcr(const struct agent_pcr_values *want, const struct agent_pcr_values *now, struct agent_error **err);

#endif
