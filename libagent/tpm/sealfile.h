/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_SEALFILE_H
#define TPM_SEALFILE_H
/*
 * The sealed form and the policy signature, docs/design/seal.md. Both are text in one spelling only: what the writer would
 * not write byte for byte is refused, so there is nothing to skip, to repeat or to add.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tss2/tss2_tpm2_types.h>

#include <agent/error.h>
#include <agent/seal.h>
#include <agent/signer.h>

#include "tpm/keyfile.h"

#define SEALFILE_SIGNER_MAX 320 /* RSA-2048 is 294 bytes */
#define SEALFILE_KEY_SIZE 32
#define SEALFILE_NONCE_SIZE 12
#define SEALFILE_TAG_SIZE 16

struct sealfile {
	struct keyfile blob; /* seals the AES-256 key */
	enum agent_seal_policy policy;
	bool has_auth;
	TPM2B_NAME srk_name;
	struct agent_pcr_values pcrs; /* mask 0 with AGENT_SEAL_ALWAYS; with SIGNED_PCR the values are only for the error message */
	uint8_t signer[SEALFILE_SIGNER_MAX];
	size_t signer_size;
	uint8_t ref[AGENT_POLICY_REF_MAX];
	size_t ref_size;
	uint8_t nonce[SEALFILE_NONCE_SIZE];
	size_t secret_size;
	/* lent from the input of sealfile_parse() */
	const uint8_t *header; /* all before the ciphertext */
	size_t header_size;
	const uint8_t *ciphertext; /* secret_size bytes */
	const uint8_t *tag;	   /* SEALFILE_TAG_SIZE bytes */
};

/* -EBADMSG (seal.file), -EMSGSIZE (seal.size), -EOPNOTSUPP (seal.version). */
int sealfile_parse(const uint8_t *data, size_t size, struct sealfile *ret_file, struct agent_error **err);
/* All before the ciphertext. The caller frees *ret_text. */
int sealfile_write_header(const struct sealfile *file, char **ret_text, size_t *ret_size, struct agent_error **err);

struct policyfile {
	struct agent_pcr_values pcrs;
	uint8_t ref[AGENT_POLICY_REF_MAX];
	size_t ref_size;
	uint8_t signer_hash[32]; /* SHA-256 of the DER SubjectPublicKeyInfo */
	uint8_t policy[32];	 /* policy digest of these values */
	uint8_t signature[AGENT_SIGNATURE_MAX];
	size_t signature_size;
};

struct buf;

/* The next of several; -EBADMSG (seal.policy). */
int policyfile_next(struct buf *in, struct policyfile *ret_file, struct agent_error **err);
/* The caller frees *ret_text. */
int policyfile_write(const struct policyfile *file, char **ret_text, size_t *ret_size, struct agent_error **err);

/* "7,11" of a mask; room for all 24. */
#define PCR_LIST_MAX 64
void pcr_list(uint32_t mask, char ret_text[PCR_LIST_MAX]);

#endif
