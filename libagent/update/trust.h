/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_TRUST_H
#define UPDATE_TRUST_H
/*
 * Who may sign, after all rotations: the trust folder is where the chain begins, and each policy in STATE_DIR/trust was
 * signed by enough of those before it and of those it names. It is checked again from the start whenever it is read.
 * docs/design/update.md, "Changing the signers". Error names: update.trust-policy, update.trust-version, update.trust.
 */
#include <stddef.h>
#include <stdint.h>

#include <agent/context.h>
#include <agent/error.h>

#include "base/macro.h"
#include "crypto/cms.h"

#define TRUST_FILE "trust"
#define TRUST_BASE_FILE "version"	/* in the trust folder */
#define TRUST_POLICY_MAX ((size_t)64 * 1024)
#define TRUST_STEPS_MAX 32

struct trust {
	struct cms_trust *certs;
	unsigned n_min_signers;		/* the larger one of the device's setting and the policy's */
	uint64_t version;		/* of the last policy, or what the folder stands for; 0: a folder that does not say */
	uint64_t base;			/* what the folder stands for */
	char *chain;			/* as stored, or NULL */
};

/*
 * -EBADMSG update.trust-policy when what is stored is damaged or was not signed by the right ones; else as cms_trust_load(). A file TRUST_BASE_FILE
 * in the folder holds the version of the policy that the folder stands for: stored steps up to that one are over.
 */
int trust_load(struct agent_context *ctx, const char *trust_dir, int state_fd, unsigned n_min_signers, struct trust *ret_trust,
	       struct agent_error **err);
/* -ESTALE update.trust-restored when @trust is older than @floor, which was kept where the disk cannot bring it down. */
int trust_check_floor(const struct trust *trust, uint64_t floor, struct agent_error **err);
void trust_clear(struct trust *trust);
#define _cleanup_trust_ _cleanup_(trust_clear)

/*
 * Take on the policy @text with the CMS signatures @signature, durably (with a @state_fd below 0 in memory only), if it is newer than what there is; the same one
 * again is no error. Nothing is stored before everything was checked. -EBADMSG update.trust-policy, -EKEYREJECTED as cms_verify(),
 * -ESTALE update.trust-version, -ERANGE update.trust-version (more than AGENT_UPDATE_FLOOR_STEPS_MAX at once), or what writing a file said.
 */
int trust_advance(struct agent_context *ctx, struct trust *trust, int state_fd, unsigned n_min_signers, const char *text, size_t text_size,
		  const void *signature, size_t signature_size, uint64_t now_s, struct agent_error **err);

#endif
