/* SPDX-License-Identifier: Apache-2.0 */
/* Key files: what is accepted must come out of the writer the same when read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tpm/keyfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct keyfile file, again;
	char *text = NULL;
	size_t n = 0;

	if (keyfile_parse_der(data, size, &file, NULL) < 0 && keyfile_parse((const char *)data, size, &file, NULL) < 0)
		return 0;
	if (keyfile_write(&file, &text, &n, NULL) < 0)
		return 0; /* a public area that unmarshals need not marshal */
	if (keyfile_parse(text, n, &again, NULL) < 0 || again.parent != file.parent || again.has_empty_auth != file.has_empty_auth ||
	    again.priv.size != file.priv.size)
		abort();
	free(text);
	return 0;
}
