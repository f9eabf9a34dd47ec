/* SPDX-License-Identifier: Apache-2.0 */
/* TPMS_ATTEST: what is accepted lies within the input, has a Name that fits and names at least one PCR. */
#include <stdint.h>
#include <stdlib.h>

#include "tpm/statement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_within(const uint8_t *part, size_t n, const uint8_t *data, size_t size)
{
	if (part < data || n > size || part > data + size - n)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct statement s;

	if (statement_parse(data, size, TPM2_ST_ATTEST_CERTIFY, &s, NULL) == 0) {
		check_within(s.nonce, s.nonce_size, data, size);
		if (s.name.size < 34 || s.signer.size < 34 || s.name.size > sizeof(s.name.name))
			abort();
	}
	if (statement_parse(data, size, TPM2_ST_ATTEST_QUOTE, &s, NULL) == 0) {
		check_within(s.nonce, s.nonce_size, data, size);
		check_within(s.pcr_digest, s.pcr_digest_size, data, size);
		if (s.pcr_mask == 0 || s.pcr_mask >> 24 != 0)
			abort();
	}
	return 0;
}
