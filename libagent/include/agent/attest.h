/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_ATTEST_H
#define AGENT_ATTEST_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/counter.h>
#include <agent/error.h>
#include <agent/key.h>
#include <agent/tpm.h>

#ifdef __cplusplus
extern "C" {
#endif

/** AGENT_ATTEST_NONCE_MIN and _MAX - a verifier's nonce in bytes; 16 random ones or more make sense. Since: 0.1 */
#define AGENT_ATTEST_NONCE_MIN 8
#define AGENT_ATTEST_NONCE_MAX 64
/** AGENT_ATTEST_STATEMENT_MAX - no TPMS_ATTEST is longer. Since: 0.1 */
#define AGENT_ATTEST_STATEMENT_MAX 1024
/** AGENT_ATTEST_TPM_SIGNATURE_MAX - longest TPMT_SIGNATURE of an attestation key: ECDSA P-256. Since: 0.1 */
#define AGENT_ATTEST_TPM_SIGNATURE_MAX 72
/** AGENT_TPM_PUBLIC_MAX - no TPM2B_PUBLIC of ours is longer. Since: 0.1 */
#define AGENT_TPM_PUBLIC_MAX 640
/** AGENT_TPM_NAME_MAX - longest Name of a TPM object: algorithm and SHA-512. Since: 0.1 */
#define AGENT_TPM_NAME_MAX 66
/** AGENT_SPKI_MAX - longest SubjectPublicKeyInfo: RSA-3072. Since: 0.1 */
#define AGENT_SPKI_MAX 512
/** AGENT_WORDS_MAX - most words of a description. Since: 0.1 */
#define AGENT_WORDS_MAX 16

/** enum agent_key_attribute - bits of TPMA_OBJECT, TPM 2.0 Part 2 section 8.3. Since: 0.1 */
enum agent_key_attribute {
	AGENT_KEY_FIXED_TPM = 1u << 1,
	AGENT_KEY_FIXED_PARENT = 1u << 4,
	AGENT_KEY_MADE_IN_TPM = 1u << 5, /* sensitiveDataOrigin */
	AGENT_KEY_USER_WITH_AUTH = 1u << 6,
	AGENT_KEY_NO_DA = 1u << 10,
	AGENT_KEY_RESTRICTED = 1u << 16,
	AGENT_KEY_DECRYPT = 1u << 17,
	AGENT_KEY_SIGN = 1u << 18,
	/* made in this TPM and unable to leave it */
	AGENT_KEY_BOUND = AGENT_KEY_FIXED_TPM | AGENT_KEY_FIXED_PARENT | AGENT_KEY_MADE_IN_TPM
};

/**
 * struct agent_attest - what the device hands to a verifier; all of it may be public
 * @statement:     TPMS_ATTEST, TPM 2.0 Part 2 section 10.12.12
 * @signature:     of its SHA-256 by the attestation key, DER ECDSA-Sig-Value
 * @tpm_signature: the same as TPMT_SIGNATURE, for tpm2-tools
 * @ak_public:     TPM2B_PUBLIC of the attestation key; to be believed only as far as the verifier knows it already
 * @key_public:    TPM2B_PUBLIC of the certified key; size 0 in a quote
 * @pcr_mask:      bit N is PCR N; 0 in a certification
 * @pcrs:          the values, at index N; the others are zero
 *
 * Since: 0.1
 */
struct agent_attest {
	uint8_t statement[AGENT_ATTEST_STATEMENT_MAX];
	size_t statement_size;
	uint8_t signature[AGENT_SIGNATURE_MAX];
	size_t signature_size;
	uint8_t tpm_signature[AGENT_ATTEST_TPM_SIGNATURE_MAX];
	size_t tpm_signature_size;
	uint8_t ak_public[AGENT_TPM_PUBLIC_MAX];
	size_t ak_public_size;
	uint8_t key_public[AGENT_TPM_PUBLIC_MAX];
	size_t key_public_size;
	uint32_t pcr_mask;
	uint8_t pcrs[AGENT_TPM_N_PCRS][AGENT_TPM_PCR_SIZE];
};

/**
 * agent_attest_key_open() - an attestation key: a restricted ECDSA P-256 child of the SRK
 * @dir_fd:  folder of NAME.pem and NAME.auth, as for agent_key_create()
 * @name:    normally "ak"
 * @flags:   0 or AGENT_TPM_CREATE
 * @ret_key: the caller unrefs it; for this header's functions, it gives no signer
 *
 * The TPM lets it sign only what the TPM itself states. Blocks. Returns 0, -ENOENT (no such file and no CREATE), -EBADMSG
 * (damaged file, tpm.key-type), -EKEYREJECTED (tpm.foreign; tpm.attributes: not restricted), or as agent_tpm_open() does.
 * Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_attest_key_open(struct agent_tpm *tpm, int dir_fd, const char *name, unsigned flags,
							struct agent_key **ret_key, struct agent_error **err);
/**
 * agent_attest_certify() - have the TPM state that a key lives in it, with its attributes (TPM2_Certify)
 * @key:        to be certified; of the same TPM as @ak
 * @ak:         from agent_attest_key_open()
 * @nonce:      the verifier's, against replay
 * @nonce_size: AGENT_ATTEST_NONCE_MIN to _MAX bytes
 * @ret_attest: filled on success only
 *
 * Costs three commands when both keys are loaded. Checked like a verifier would before it is handed out. Blocks.
 * Returns 0, -EINVAL (nonce; @ak is no attestation key; keys of two TPMs), -EIO (tpm.answer), or as agent_tpm_open() does.
 * Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_attest_certify(struct agent_key *key, struct agent_key *ak, const uint8_t *nonce,
						       size_t nonce_size, struct agent_attest *ret_attest,
						       struct agent_error **err);
/**
 * agent_attest_quote() - have the TPM state the values of PCRs (TPM2_Quote), SHA-256 bank
 * @pcr_mask: bit N asks for PCR N; at least one of 0 to 23
 *
 * Read again when a PCR changes meanwhile. Blocks. Returns 0, -EINVAL (nonce, no PCR, @ak), -EOPNOTSUPP (tpm.pcr-bank: the
 * TPM keeps no SHA-256 values of them), -EBUSY (tpm.pcr-changing), -EIO (tpm.answer), or as agent_tpm_open() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_attest_quote(struct agent_key *ak, uint32_t pcr_mask, const uint8_t *nonce,
						     size_t nonce_size, struct agent_attest *ret_attest, struct agent_error **err);

/**
 * struct agent_attest_info - what a verified statement says
 * @clock_ms:         time the TPM was powered, ms
 * @reset_count:      TPM resets, and @restart_count resumes; with @firmware_version offset by a constant of the
 *                    attestation key, because it lives in the owner hierarchy (TPM 2.0 Part 2 section 10.12.12): compare
 *                    values of one key, read nothing into one of them
 * @is_clock_safe:    the clock has not been set back by a power cut
 * @key_name:         Name of the certified key; size 0 in a quote, like what follows
 * @key_attributes:   its enum agent_key_attribute
 * @key_spki:         its DER SubjectPublicKeyInfo, to compare with a certificate's
 *
 * Since: 0.1
 */
struct agent_attest_info {
	uint64_t clock_ms;
	uint32_t reset_count, restart_count;
	int is_clock_safe;
	uint64_t firmware_version;
	uint8_t key_name[AGENT_TPM_NAME_MAX];
	size_t key_name_size;
	uint32_t key_attributes;
	uint8_t key_spki[AGENT_SPKI_MAX];
	size_t key_spki_size;
};

/**
 * agent_attest_verify_certify() - check the evidence that a key lives in a TPM; for the verifier, who needs no TPM
 * @ctx:            for its OpenSSL context
 * @ak_public:      TPM2B_PUBLIC of the attestation key as known from enrolment, not from @attest
 * @nonce:          what this verifier asked with
 * @attest:         from the device: @statement, @signature and @key_public are used, and need not be trusted
 * @required:       enum agent_key_attribute that the key must have; normally AGENT_KEY_BOUND
 * @ret_info:       filled on success only; may be NULL
 *
 * The signature is checked before a field is read. Does not block. Returns 0, -EINVAL (attest.argument; attest.ak: not a
 * restricted ECDSA P-256 key bound to its TPM), -EKEYREJECTED (attest.signature, attest.magic, attest.type, attest.nonce,
 * attest.key: the statement is about another key), -EPERM (attest.attributes), -EBADMSG (attest.format), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_attest_verify_certify(struct agent_context *ctx, const uint8_t *ak_public,
							      size_t ak_public_size, const uint8_t *nonce, size_t nonce_size,
							      const struct agent_attest *attest, uint32_t required,
							      struct agent_attest_info *ret_info, struct agent_error **err);
/**
 * agent_attest_verify_quote() - check a quote and the PCR values that came with it
 *
 * Arguments and errors as in agent_attest_verify_certify(); besides -EKEYREJECTED (attest.selection: not exactly the PCRs
 * of @pcr_mask; attest.pcrs: other values). What the values mean is for the caller to say. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_attest_verify_quote(struct agent_context *ctx, const uint8_t *ak_public,
							    size_t ak_public_size, const uint8_t *nonce, size_t nonce_size,
							    uint32_t pcr_mask, const struct agent_attest *attest,
							    struct agent_attest_info *ret_info, struct agent_error **err);

/**
 * struct agent_key_info - a key as the TPM sees it
 * @attributes:  enum agent_key_attribute and other bits of TPMA_OBJECT
 * @name:        its Name, TPM 2.0 Part 1 section 16
 * @public_area: TPM2B_PUBLIC, as tpm2_readpublic -o writes it
 * @words:       the attributes for people, "cannot leave this TPM (fixedTPM)"; constants
 *
 * Since: 0.1
 */
struct agent_key_info {
	uint32_t attributes;
	uint8_t name[AGENT_TPM_NAME_MAX];
	size_t name_size;
	uint8_t public_area[AGENT_TPM_PUBLIC_MAX];
	size_t public_area_size;
	const char *words[AGENT_WORDS_MAX];
	size_t n_words;
};

/**
 * agent_key_describe() - public area and attributes in plain words
 *
 * As in the key's file, which the TPM took when the key was loaded, so it cannot be told otherwise. Does not block.
 * Returns 0, -EINVAL. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_key_describe(const struct agent_key *key, struct agent_key_info *ret_info,
						     struct agent_error **err);

/**
 * struct agent_tpm_counter_info - an NV counter and its wear
 * @index:      NV index
 * @value:      as agent_counter_get() gives it
 * @n_writes:   increments since it was made, the first included; what a wear budget is compared with
 * @attributes: TPMA_NV, TPM 2.0 Part 2 section 13.4
 * @words:      the same for people; constants
 *
 * Since: 0.1
 */
struct agent_tpm_counter_info {
	uint32_t index;
	uint64_t value;
	uint64_t n_writes;
	uint32_t attributes;
	const char *words[AGENT_WORDS_MAX];
	size_t n_words;
};

/**
 * agent_tpm_counter_describe() - value, writes and attributes of a counter from agent_tpm_counter_open()
 *
 * Reads the counter, so it blocks. The number of writes needs no state of its own: it is the raw value less the one at the
 * making. Returns 0, -EINVAL (not such a counter), or the errors of agent_counter_get(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_counter_describe(struct agent_counter *counter, struct agent_tpm_counter_info *ret_info,
							     struct agent_error **err);

/** enum agent_ek_type - endorsement keys of the TCG EK Credential Profile 2.5, templates L-1 and L-2. Since: 0.1 */
enum agent_ek_type { AGENT_EK_RSA_2048 = 1, AGENT_EK_EC_P256 = 2 };

/** AGENT_EK_CHAIN_MAX - longest certificate chain that is read. Since: 0.1 */
#define AGENT_EK_CHAIN_MAX 16384

/**
 * struct agent_ek - the maker's identity of a TPM
 * @spki:          DER SubjectPublicKeyInfo of the endorsement key
 * @has_certificate: the TPM holds a certificate for it; then @chain_pem has that first
 * @chain_pem:     PEM certificates, NUL at the end; "" without any. Parsed here, but not verified against anything
 * @chain_size:    strlen of it
 *
 * Since: 0.1
 */
struct agent_ek {
	uint8_t spki[AGENT_SPKI_MAX];
	size_t spki_size;
	int has_certificate;
	char chain_pem[AGENT_EK_CHAIN_MAX];
	size_t chain_size;
};

/**
 * agent_tpm_read_ek() - endorsement key, and its certificate chain when the maker put one into the TPM
 * @type: which of the two
 *
 * The key is made from its template and not kept; the RSA one takes slow chips up to a minute. Blocks. Returns 0,
 * -EOPNOTSUPP (tpm.ek: the TPM does not make this type), -EPERM (tpm.ek-auth: the endorsement hierarchy has a password),
 * -EBADMSG (tpm.ek-certificate: what is in NV is no certificate, too large, or of another key), or as agent_tpm_open() does.
 * Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_read_ek(struct agent_tpm *tpm, enum agent_ek_type type, struct agent_ek *ret_ek,
						    struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
