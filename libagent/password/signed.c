/* SPDX-License-Identifier: Apache-2.0 */
/* The first password of many units, from one file that the owner's provisioning key signed (docs/design/password.md). */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/macro.h"
#include "crypto/cms.h"
#include "password/order.h"
#include "password/store.h"

/* 2026-11-01: before the first release, so a clock that shows less was never set. */
#define CLOCK_FLOOR_S UINT64_C(1793491200)

DEFINE_CLEANUP(struct agent_context *, agent_context_unref)

/* The state says more than any file: it comes first. */
static int check_state(struct agent_password *p, struct agent_error **err)
{
	int r = store_get_ready(p, err);

	if (r < 0)
		return r;
	if (p->state != AGENT_SETUP_FACTORY)
		return agent_error_set(err, -EEXIST, "setup.activated", "this device has an owner's password already");
	return 0;
}

/* The names of cms.h speak of updates. */
static int check_signature(struct agent_password *p, const struct agent_password_order *order, struct agent_error **err)
{
	_cleanup_(agent_context_unrefp) struct agent_context *ctx = NULL;
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	_cleanup_error_ struct agent_error *why = NULL;
	int r;

	/* A record may do without one; certificates do not. */
	if (p->ctx != NULL)
		ctx = agent_context_ref(p->ctx);
	else if (agent_context_new(&ctx) < 0)
		return agent_error_set(err, -ENOMEM, "password.memory", "no memory for a context");
	r = cms_trust_load(ctx, order->trust_dir, &trust, &why);
	if (r < 0)
		return r == -ENOMEM ? agent_error_move(err, &why) :
				      agent_error_set(err, r, "provision.trust", "nobody is trusted to provision: %s", agent_error_message(why));
	r = cms_verify(trust, order->signature, order->signature_size, order->text, order->text_size, 1, order->now_s, NULL, &why);
	if (r < 0)
		return r == -ENOMEM ? agent_error_move(err, &why) :
				      agent_error_set(err, r, strcmp(agent_error_name(why), "update.signer") == 0 ? "provision.signer" : "provision.signature", "%s",
						      agent_error_message(why));
	return 0;
}

int agent_password_adopt_signed(struct agent_password *password, const struct agent_password_order *order, char ret_id[AGENT_ORDER_ID_MAX + 1],
				struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	struct order_unit unit = { 0 };
	int r;

	if (password == NULL || order == NULL || ret_id == NULL || order->trust_dir == NULL || order->serial == NULL || order->serial[0] == '\0' ||
	    (order->text == NULL && order->text_size > 0) || (order->signature == NULL && order->signature_size > 0))
		return agent_error_set(err, -EINVAL, "password.argument", "a record, trust anchors, a serial number, a file and its signature are needed");
	r = check_state(password, err);
	if (r < 0)
		return r;
	if (order->now_s < CLOCK_FLOOR_S)
		return agent_error_set(err, -EINVAL, "provision.clock", "the clock was never set, so nobody can tell whether the file has expired: set it first");
	if (order->text_size > AGENT_ORDER_MAX)
		return agent_error_set(err, -EMSGSIZE, "provision.format", "the provisioning file is %zu bytes, limit %d", order->text_size, AGENT_ORDER_MAX);
	r = check_signature(password, order, err);
	if (r == 0)
		r = order_parse(order, &root, &unit, err);
	if (r < 0)
		return r;
	if (unit.generation != password->record.generation)
		return agent_error_set(err, -ESTALE, "provision.replayed",
				       "the provisioning file is for generation %" PRIu64 " of the accounts, and this is %" PRIu64
				       ": it was used before, or the unit was reset since",
				       unit.generation, password->record.generation);
	r = agent_password_adopt(password, unit.generation, unit.hash, unit.must_change, err);
	if (r == 0)
		snprintf(ret_id, AGENT_ORDER_ID_MAX + 1, "%s", json_string_value(json_object_get(root, "id")));
	return r;
}
