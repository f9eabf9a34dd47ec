/* SPDX-License-Identifier: Apache-2.0 */
/* Which policy of signers is in force, and below which version it must never be again. */
#include "config.h"

#include <errno.h>

#include "update/engine.h"
#include "update/trust.h"

int agent_update_set_trust_floor(struct agent_update *u, uint64_t version, struct agent_error **err)
{
	if (u == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "a floor of signers needs an engine");
	u->trust_floor = version;
	return 0;
}

int agent_update_get_trust_version(struct agent_update *u, uint64_t *ret_version, struct agent_error **err)
{
	_cleanup_trust_ struct trust trust = { 0 };
	int r;

	if (u == NULL || ret_version == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "the version of the signers needs an engine and a place for the answer");
	r = trust_load(u->ctx, u->trust_dir, u->state_fd, u->n_min_signers, &trust, err);
	if (r == 0)
		*ret_version = trust.version;
	return r;
}
