/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Provisioning file: the document behind the signature, and the hash string in it, which a device would keep. What is accepted is for
 * this unit, not over, and has an id that may go to a terminal. The signature itself is fuzz_cms's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/pwhash.h"
#include "password/order.h"

#define NOW_S UINT64_C(1793491200)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(json_t *root, const struct order_unit *unit)
{
	const char *id = json_string_value(json_object_get(root, "id"));
	size_t n = id == NULL ? 0 : strlen(id);

	if (n < 1 || n > AGENT_ORDER_ID_MAX || unit->hash == NULL || unit->hash[0] == '\0' || unit->generation < 1 ||
	    json_integer_value(json_object_get(root, "not_after")) < (json_int_t)NOW_S)
		abort();
	for (size_t i = 0; i < n; i++)
		if (id[i] <= 0x20 || id[i] >= 0x7f)
			abort();
	/* What the check of a hash lets through is one of ours, at a cost that counts. */
	if (pwhash_check(unit->hash, NULL) == 0 && (strlen(unit->hash) >= PWHASH_MAX || pwhash_cost_of(unit->hash) < PWHASH_COST_FOREIGN))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct agent_password_order order = { .trust_dir = "", .serial = "GW-1", .text = data, .text_size = size, .now_s = NOW_S };
	struct agent_error *err = NULL;
	struct order_unit unit = { 0 };
	json_t *root = NULL;
	int r;

	if (size > AGENT_ORDER_MAX)
		return 0;
	r = order_parse(&order, &root, &unit, &err);
	if (r == 0)
		check_accepted(root, &unit);
	else if (root != NULL || unit.hash != NULL || (r != -EBADMSG && r != -ESTALE && r != -EPERM) || err == NULL)
		abort();
	json_decref(root);
	agent_error_free(err);
	return 0;
}
