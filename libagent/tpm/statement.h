/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_STATEMENT_H
#define TPM_STATEMENT_H
/* TPMS_ATTEST, TPM 2.0 Part 2, 10.12.12, read from bytes that somebody sent us. Needs no TPM. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tss2/tss2_tpm2_types.h>

#include <agent/error.h>

struct statement {
	uint16_t type; /* TPM2_ST_ATTEST_CERTIFY or TPM2_ST_ATTEST_QUOTE */
	TPM2B_NAME signer; /* qualified Name of the attestation key */
	const uint8_t *nonce; /* lent by the input */
	size_t nonce_size;
	uint64_t clock_ms;
	uint32_t reset_count, restart_count;
	bool is_clock_safe;
	uint64_t firmware_version;
	/* CERTIFY */
	TPM2B_NAME name;
	/* QUOTE: SHA-256 bank only */
	uint32_t pcr_mask;
	const uint8_t *pcr_digest;
	size_t pcr_digest_size;
};

/*
 * -EKEYREJECTED "attest.magic" (not made by a TPM), "attest.type" (another kind of statement than @type);
 * -EBADMSG "attest.format" (anything else, also bytes after the end).
 */
int statement_parse(const uint8_t *data, size_t size, uint16_t type, struct statement *ret_statement, struct agent_error **err);

#endif
