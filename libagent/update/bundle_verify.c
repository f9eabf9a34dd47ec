/* SPDX-License-Identifier: Apache-2.0 */
/* What a device would say of a bundle, where there is no device: the engine of update.c with a policy and nothing else. */
#include "config.h"

#include <agent/bundle.h>

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "update/engine.h"

int agent_bundle_verify(struct agent_context *ctx, int fd, const struct agent_bundle_policy *policy, struct agent_bundle_facts *ret_facts,
			struct agent_error **err)
{
	struct agent_update u = { .ctx = ctx, .state_fd = -1, .lock_fd = -1 };
	int r;

	if (ctx == NULL || fd < 0 || policy == NULL || ret_facts == NULL || policy->trust_dir == NULL || policy->n_min_signers < 1 ||
	    policy->n_min_signers > AGENT_BUNDLE_SIGNERS_MAX || policy->raw_signatures < AGENT_UPDATE_RAW_NONE ||
	    policy->raw_signatures > AGENT_UPDATE_RAW_RSA_PSS || (policy->require_crl != 0 && policy->raw_signatures != AGENT_UPDATE_RAW_NONE))
		return agent_error_set(err, -EINVAL, "bundle.options", "to verify takes a context, a descriptor, a folder of signers, 1 to %d signers, and no bare keys where revocation lists are demanded",
				       AGENT_BUNDLE_SIGNERS_MAX);
	u.trust_dir = (char *)policy->trust_dir;
	u.product = (char *)policy->product;
	u.n_min_signers = policy->n_min_signers;
	u.allow_compat = policy->allow_compat != 0;
	u.allow_scripts = policy->allow_scripts != 0;
	u.raw_signatures = policy->raw_signatures;
	u.require_crl = policy->require_crl != 0;
	/* A device's policies of signers are looked for beside its certificates. */
	r = dir_open(policy->trust_dir, &u.state_fd, err);
	if (r == 0 && policy->aes_key_size != 0)
		r = agent_update_set_key(&u, policy->aes_key, policy->aes_key_size, policy->aes_iv, err);
	if (r == 0)
		r = engine_verify(&u, fd, policy->selection, policy->floor, policy->now_s, ret_facts, err);
	secret_free(&u.key);
	close_fdp(&u.state_fd);
	return r;
}
