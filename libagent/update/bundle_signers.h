/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_BUNDLE_SIGNERS_H
#define UPDATE_BUNDLE_SIGNERS_H
/* The signers of a call of agent/bundle.h, with their keys open. */
#include <agent/bundle.h>

#include "crypto/cms_sign.h"

struct signer_set {
	struct cms_signer *items[AGENT_BUNDLE_SIGNERS_MAX];
	size_t n;
};

void signers_close(struct signer_set *set);
#define _cleanup_signers_ _cleanup_(signers_close)
int signers_open(struct agent_context *ctx, const struct agent_bundle_signer *signers, size_t n, uint64_t now_s, struct signer_set *set,
		 struct agent_error **err);

#endif
