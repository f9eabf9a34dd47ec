/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <agent/command.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "crypto/cms.h"

int agent_command_verify(struct agent_context *ctx, const char *trust_dir, const void *text, size_t size, const void *signature,
			 size_t signature_size, uint64_t now_s, char ret_signer[AGENT_COMMAND_SIGNER_MAX + 1], struct agent_error **err)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	_cleanup_error_ struct agent_error *why = NULL;
	char signer[CMS_SIGNER_SIZE];
	int r;

	if (ctx == NULL || trust_dir == NULL || (text == NULL && size > 0) || (signature == NULL && signature_size > 0) || ret_signer == NULL)
		return agent_error_set(err, -EINVAL, "command.argument", "a context, a folder of signers, a text and its signature are needed");
	r = cms_trust_load(ctx, trust_dir, &trust, &why);
	if (r == -ENOMEM)
		return agent_error_move(err, &why);
	/* Whatever is wrong with the folder, the sender can do nothing about it. */
	if (r < 0) {
		bool is_empty = (r == -ENOENT || r == -ENOKEY) && strcmp(agent_error_name(why), "update.trust") == 0;

		return agent_error_set(err, r, is_empty ? "command.trust" : "command.trust-broken", "%s", agent_error_message(why));
	}
	cms_trust_set_purpose(trust, CMS_PURPOSE_COMMAND);
	r = cms_verify_signer(trust, signature, signature_size, text, size, now_s, signer, &why);
	if (r == -ENOMEM)
		return agent_error_move(err, &why);
	if (r < 0)
		return agent_error_set(err, r, strcmp(agent_error_name(why), "update.signer") == 0 ? "command.signer" : "command.signature", "%s",
				       agent_error_message(why));
	memcpy(ret_signer, signer, sizeof(signer));
	return 0;
}
