/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PASSWORD_ORDER_H
#define PASSWORD_ORDER_H
/* A provisioning file, as docs/design/password.md describes it. Its signature is the caller's business, and comes before. */
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <agent/password.h>

/* What the file says about one unit; lent from the document. */
struct order_unit {
	const char *hash;
	uint64_t generation;
	bool must_change;
};

/*
 * The whole file is checked, and then the entry of order->serial is @ret_unit, which lives as long as *ret_root, the caller's.
 * -EBADMSG "provision.format", -ESTALE "provision.expired", -EPERM "provision.serial"; outputs change on success only.
 */
int order_parse(const struct agent_password_order *order, json_t **ret_root, struct order_unit *ret_unit, struct agent_error **err);

#endif
