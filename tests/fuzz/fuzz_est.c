/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of an EST server: the first byte chooses which; in lower case they are bare bytes, as base64 hides them from a fuzzer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "agentd/fetch/est_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct est_attributes attributes;
	char *text, *pem = NULL;
	size_t n;

	if (size == 0 || size > EST_BODY_MAX)
		return 0;
	text = malloc(size * 2 + 8);
	if (text == NULL)
		return 0;
	n = size - 1;
	if (data[0] >= 'a')
		n = (size_t)EVP_EncodeBlock((unsigned char *)text, data + 1, (int)n);
	else
		memcpy(text, data + 1, n);
	if (data[0] == 'a' || data[0] == 'A')
		(void)!est_read_attributes(text, n, &attributes, NULL);
	else if (est_read_certs(text, n, &pem, NULL) >= 0)
		free(pem);
	free(text);
	return 0;
}
