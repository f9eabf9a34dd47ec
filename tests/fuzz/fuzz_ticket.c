/* SPDX-License-Identifier: Apache-2.0 */
/* A service ticket: where its lines end and its signatures begin, and the lines, signed or not. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "update/ticket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t size)
{
	struct ticket t;

	if (ticket_parse(text, size, &t, NULL) < 0)
		return;
	/* What comparing and showing rely on. */
	if (ticket_device_check(t.device) < 0 || !manifest_is_name(t.release_id) || strlen(t.manifest) != 2 * DIGEST_SIZE || t.not_after_s < t.not_before_s)
		abort();
	/* It is good for its own device, use and time, and for none beside them. */
	if (ticket_check(&t, t.device, t.counter, t.not_after_s, NULL) != 0 || ticket_check(&t, t.device, t.counter + 1, t.not_after_s, NULL) == 0 ||
	    ticket_check(&t, t.device, t.counter, t.not_after_s + 1, NULL) == 0 || ticket_check(&t, "", t.counter, t.not_after_s, NULL) == 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *der = NULL;
	_cleanup_free_ char *text = malloc(size + 1);
	size_t lines = 0, der_size = 0;

	if (text == NULL)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	/* As a vendor's tool reads them, not yet signed; as a device does, behind a signature over exactly these bytes. */
	check(text, size);
	if (ticket_split(text, &lines, &der, &der_size, NULL) == 0) {
		if (lines == 0 || lines >= size || text[lines - 1] != '\n' || der_size == 0)
			abort();
		check(text, lines);
	}
	return 0;
}
