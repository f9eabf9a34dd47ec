/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_SEAL_H
#define AGENT_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/error.h>
#include <agent/signer.h>
#include <agent/tpm.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Secrets that only this TPM gives back, and, if so wished, only to the software that was measured into its PCRs.
 *
 * Secret bytes are in buffers of the caller, who wipes them; inside they are kept out of core dumps and wiped on every path.
 * They never go over the TPM's bus: what is sealed is the key they are encrypted with, and that key travels in salted,
 * encrypted sessions. Functions with a struct agent_tpm belong to its thread and block on the TPM.
 */

/** AGENT_SEAL_SECRET_MAX - longest secret in bytes. Since: 0.1 */
#define AGENT_SEAL_SECRET_MAX (1000 * 1024)

/** AGENT_SEAL_MAX - longest sealed form in bytes; docs/design/seal.md describes it. Since: 0.1 */
#define AGENT_SEAL_MAX (1024 * 1024)

/** AGENT_POLICY_MAX - longest text with policy signatures in bytes. Since: 0.1 */
#define AGENT_POLICY_MAX (64 * 1024)

/** AGENT_SEAL_AUTH_MAX - longest password in bytes: a SHA-256 digest, TPM 2.0 Part 1 section 19.6.4.3. Since: 0.1 */
#define AGENT_SEAL_AUTH_MAX 32

/** AGENT_POLICY_REF_MAX - longest policy reference in bytes. Since: 0.1 */
#define AGENT_POLICY_REF_MAX 32

/** struct agent_pcr_values - PCRs of the SHA-256 bank. Since: 0.1 */
struct agent_pcr_values {
	uint32_t mask; /* bit n: PCR n is meant */
	uint8_t value[AGENT_TPM_N_PCRS][AGENT_TPM_PCR_SIZE]; /* of those in @mask; the others are not looked at */
};

/** enum agent_seal_policy - when the TPM gives a secret back. Since: 0.1 */
enum agent_seal_policy {
	AGENT_SEAL_ALWAYS = 0,	/* to whoever has the sealed bytes, and the password if there is one */
	AGENT_SEAL_PCR = 1,	/* while the PCRs have the values named when it was sealed */
	AGENT_SEAL_SIGNED_PCR = 2 /* while they have values that the holder of a key has signed, now or later: TPM2_PolicyAuthorize */
};

/**
 * struct agent_seal_options - how to seal; zero what is not wanted
 * @policy:      when the TPM gives the secret back
 * @pcr_mask:    bit n: PCR n counts; PCR and SIGNED_PCR only, at least one
 * @expected:    PCR: the values to wait for instead of those of now, for the software after a restart; its mask is @pcr_mask
 * @signer:      SIGNED_PCR: public key whose policy signatures count: DER SubjectPublicKeyInfo, EC P-256 or RSA-2048
 * @signer_size: its length in bytes
 * @ref:         SIGNED_PCR: policy reference, a name that signatures for this secret must carry too; may be empty
 * @ref_size:    its length, at most AGENT_POLICY_REF_MAX
 * @auth:        password that is wanted as well, or NULL. Wrong ones are not counted by the TPM, so not one that can be guessed
 * @auth_size:   its length, at most AGENT_SEAL_AUTH_MAX; the last byte must not be zero
 *
 * Since: 0.1
 */
struct agent_seal_options {
	enum agent_seal_policy policy;
	uint32_t pcr_mask;
	const struct agent_pcr_values *expected;
	const uint8_t *signer;
	size_t signer_size;
	const uint8_t *ref;
	size_t ref_size;
	const uint8_t *auth;
	size_t auth_size;
};

/**
 * struct agent_unseal_options - what to show to get a secret back; NULL if nothing is needed
 * @signatures:      SIGNED_PCR: one or more texts of agent_policy_sign(), one after the other
 * @signatures_size: their length in bytes, at most AGENT_POLICY_MAX
 * @auth:            the password, if it was sealed with one
 * @auth_size:       its length
 *
 * Since: 0.1
 */
struct agent_unseal_options {
	const char *signatures;
	size_t signatures_size;
	const uint8_t *auth;
	size_t auth_size;
};

/**
 * agent_pcr_read() - values of PCRs now
 * @pcr_mask:   bit n: PCR n, SHA-256 bank
 * @ret_values: of those in @pcr_mask
 *
 * Authenticated by the TPM: nobody on the bus can make them up. Blocks.
 * Returns 0, -EINVAL, -EOPNOTSUPP (tpm.pcr-bank: the TPM has no such PCR in a SHA-256 bank), or as agent_tpm_open() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_pcr_read(struct agent_tpm *tpm, uint32_t pcr_mask, struct agent_pcr_values *ret_values,
						 struct agent_error **err);
/**
 * agent_seal() - seal a secret
 * @secret:     1 to AGENT_SEAL_SECRET_MAX bytes; only read
 * @options:    NULL is AGENT_SEAL_ALWAYS without password
 * @ret_sealed: sealed form, not secret; the caller frees it with free()
 *
 * Blocks. Returns 0, -EINVAL (seal.argument), -EMSGSIZE (seal.size), -EOPNOTSUPP (tpm.pcr-bank, seal.signer: not P-256 or
 * RSA-2048), -ENOMEM, or as agent_tpm_open() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_seal(struct agent_tpm *tpm, const uint8_t *secret, size_t secret_size,
					     const struct agent_seal_options *options, uint8_t **ret_sealed, size_t *ret_sealed_size,
					     struct agent_error **err);
/**
 * agent_unseal() - get a secret back
 * @sealed:      from agent_seal()
 * @options:     NULL if neither signatures nor a password are needed
 * @secret:      buffer of the caller; one of @sealed_size bytes is always enough. Written on success only
 * @secret_size: its length in bytes
 * @ret_size:    length of the secret
 *
 * Blocks. Returns 0, -EBADMSG (seal.file: damaged, cut or changed; seal.policy: signatures cannot be read), -EMSGSIZE
 * (seal.size), -EOPNOTSUPP (seal.version), -ENOBUFS (seal.buffer), -EPERM (seal.pcr: PCRs have other values, the sentence
 * says which; seal.policy: no policy signature for this secret), -EKEYREJECTED (seal.signature: not made by the right key;
 * seal.auth: wrong password; tpm.foreign: another TPM or SRK), or as agent_tpm_open() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_unseal(struct agent_tpm *tpm, const uint8_t *sealed, size_t sealed_size,
					       const struct agent_unseal_options *options, uint8_t *secret, size_t secret_size,
					       size_t *ret_size, struct agent_error **err);
/**
 * agent_seal_file() - agent_seal() into a file
 * @dir_fd: folder
 * @path:   file in it; replaced in one step, 0600: after a power cut it is the old or the new one
 *
 * Returns as agent_seal() does, or -errno of the file. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_seal_file(struct agent_tpm *tpm, int dir_fd, const char *path, const uint8_t *secret,
						  size_t secret_size, const struct agent_seal_options *options,
						  struct agent_error **err);
/** agent_unseal_file() - agent_unseal() from a file of at most AGENT_SEAL_MAX bytes. Returns as that does, or -errno. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_unseal_file(struct agent_tpm *tpm, int dir_fd, const char *path,
						    const struct agent_unseal_options *options, uint8_t *secret, size_t secret_size,
						    size_t *ret_size, struct agent_error **err);
/**
 * agent_reseal_file() - unseal a file and seal its secret anew, under another policy or to other PCR values
 *
 * The file is replaced in one step, so it can be unsealed by the old or by the new rules at any moment. Old copies of it keep
 * the old rules. Returns as agent_unseal_file() and agent_seal_file() do. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_reseal_file(struct agent_tpm *tpm, int dir_fd, const char *path,
						    const struct agent_unseal_options *old_options,
						    const struct agent_seal_options *new_options, struct agent_error **err);
/**
 * agent_policy_sign() - approve PCR values, so that secrets sealed to this key's signatures open under them
 * @signer:   EC P-256 or RSA-2048; wherever the maker of updates keeps his key. Needs no TPM
 * @values:   PCR values of the approved software; its mask must be the one the secrets were sealed with
 * @ref:      policy reference of those secrets
 * @ref_size: its length, at most AGENT_POLICY_REF_MAX
 * @ret_text: signature with what it is about, a few lines of text with a NUL after it; the caller frees it with free()
 *
 * Blocks as long as the signer. Such a signature has no date: it counts as long as secrets are sealed to the key.
 * Returns 0, -EINVAL (seal.argument), -EOPNOTSUPP (seal.signer), -ENOMEM, or the signer's error. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_policy_sign(struct agent_signer *signer, const struct agent_pcr_values *values,
						    const uint8_t *ref, size_t ref_size, char **ret_text, size_t *ret_size,
						    struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
