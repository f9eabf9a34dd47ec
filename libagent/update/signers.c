/* SPDX-License-Identifier: Apache-2.0 */
/* Which policy of signers is in force, and below which version it must never be again. */
#include "config.h"

#include <errno.h>

#include "base/buf.h"
#include "base/macro.h"
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

void signers_print(const uint8_t keys[][DIGEST_SIZE], size_t n, char between, char *ret_text)
{
	ret_text[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		hex_encode(keys[i], DIGEST_SIZE, ret_text + i * (2 * DIGEST_SIZE + 1));
		if (i + 1 < n)
			ret_text[(i + 1) * (2 * DIGEST_SIZE + 1) - 1] = between;
	}
}

int agent_update_get_trusted_keys(struct agent_update *u, char **ret_keys, uint64_t *ret_version, struct agent_error **err)
{
	uint8_t keys[CMS_TRUST_KEYS_MAX][DIGEST_SIZE];
	_cleanup_trust_ struct trust trust = { 0 };
	_cleanup_free_ char *text = malloc(CMS_TRUST_KEYS_MAX * (2 * DIGEST_SIZE + 1));
	int r;

	if (u == NULL || ret_keys == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "the keys of the signers need an engine and a place for the answer");
	if (text == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for the keys of the signers");
	r = trust_load(u->ctx, u->trust_dir, u->state_fd, u->n_min_signers, &trust, err);
	if (r == 0)
		r = cms_trust_keys(trust.certs, u->allow_compat && u->raw_signatures != AGENT_UPDATE_RAW_NONE, keys, err);
	if (r < 0)
		return r;
	signers_print((const uint8_t(*)[DIGEST_SIZE])keys, (size_t)r, ' ', text);
	*ret_keys = TAKE_PTR(text);
	if (ret_version != NULL)
		*ret_version = trust.version;
	return 0;
}
