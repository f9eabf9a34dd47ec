/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed files and policy signatures: what is accepted is, byte for byte, what the writer writes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tpm/policy.h"
#include "tpm/sealfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sealed(const uint8_t *data, size_t size)
{
	struct sealfile file;
	TPM2B_PUBLIC pub;
	TPM2B_NAME name;
	char *text = NULL;
	size_t n = 0;

	if (sealfile_parse(data, size, &file, NULL) < 0)
		return;
	if (sealfile_write_header(&file, &text, &n, NULL) < 0 || n != file.header_size || memcmp(text, data, n) != 0 ||
	    file.ciphertext != data + n || file.tag + SEALFILE_TAG_SIZE != data + size)
		abort();
	free(text);
	if (file.policy == AGENT_SEAL_SIGNED_PCR)
		(void)policy_key(NULL, file.signer, file.signer_size, &pub, &name, NULL);
}

static void check_policies(const uint8_t *data, size_t size)
{
	struct buf in = buf_from(data, size);
	struct sealfile file = { .policy = AGENT_SEAL_SIGNED_PCR, .pcrs.mask = 1u << 16 | 1u << 23 };
	struct policyfile policy;
	size_t start = 0, n;
	char *text;

	while (policyfile_next(&in, &policy, NULL) == 0) {
		text = NULL;
		if (policyfile_write(&policy, &text, &n, NULL) < 0 || n != buf_pos(&in) - start || memcmp(text, data + start, n) != 0)
			abort();
		free(text);
		start = buf_pos(&in);
	}
	/* No key: nothing may be found. */
	if (policy_find(NULL, &file, (const char *)data, size, &file.pcrs, &policy, NULL) == 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_sealed(data, size);
	check_policies(data, size);
	return 0;
}
