/* SPDX-License-Identifier: Apache-2.0 */
/* The envelope of a bundle, and the key inside of it for whoever agreed on zeros: must refuse or accept, and nothing else. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t agreed[32];
	_cleanup_(envelope_freep) struct envelope *e = NULL;
	uint8_t key[AGENT_RECIPIENT_KEY_MAX];
	size_t key_size = 0;

	if (envelope_parse(data, size, &e, NULL) < 0)
		return 0;
	if (e->n_recipients == 0 || e->n_recipients > AGENT_RECIPIENTS_MAX || e->content_size > sizeof(e->content))
		abort();
	for (size_t i = 0; i < e->n_recipients && i < 4; i++)
		if (envelope_check(NULL, &e->recipients[i], NULL) == 0 && envelope_unwrap(NULL, agreed, &e->recipients[i], key, &key_size, NULL) == 0 &&
		    key_size > sizeof(key))
			abort();
	return 0;
}
