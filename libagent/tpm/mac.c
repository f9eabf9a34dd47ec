/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include <agent/mac.h>
#include <agent/tpm.h>

#include "base/secret.h"
#include "tpm/key_type.h"
#include "tpm/object.h"
#include "tpm/session.h"

static const TPM2B_PUBLIC mac_template = {
	.publicArea = {
		.type = TPM2_ALG_KEYEDHASH,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = KEY_ATTRIBUTES,
		.parameters.keyedHashDetail.scheme = { .scheme = TPM2_ALG_HMAC, .details.hmac.hashAlg = TPM2_ALG_SHA256 },
	},
};

struct compute {
	struct tpm_object *object;
	TPM2B_MAX_BUFFER data;
	uint8_t mac[AGENT_MAC_SIZE];
};

/* What is MACed is as secret as a password hash, so it travels encrypted, both ways. */
static TSS2_RC attempt_compute(struct agent_tpm *tpm, void *userdata)
{
	struct compute *c = userdata;
	TPM2B_DIGEST *mac = NULL;
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc;

	rc = object_need(c->object);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = session_start_salted(tpm, &session);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_attributes(tpm, session, TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT);
	if (rc == TSS2_RC_SUCCESS)
		rc = Esys_HMAC(tpm->esys, c->object->handle, session, ESYS_TR_NONE, ESYS_TR_NONE, &c->data, TPM2_ALG_SHA256, &mac);
	session_end(tpm, &session, rc, true);
	if (rc == TSS2_RC_SUCCESS && mac->size != AGENT_MAC_SIZE)
		rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
	if (rc == TSS2_RC_SUCCESS)
		memcpy(c->mac, mac->buffer, AGENT_MAC_SIZE);
	if (mac != NULL)
		wipe(mac, sizeof(*mac));
	Esys_Free(mac);
	return rc;
}

static int mac_compute(void *userdata, const uint8_t *data, size_t size, uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err)
{
	struct compute c = { .object = userdata };
	int r;

	if (size > sizeof(c.data.buffer))
		return agent_error_set(err, -EMSGSIZE, "mac.size", "%zu bytes to authenticate, limit %zu", size, sizeof(c.data.buffer));
	c.data.size = (UINT16)size;
	if (size > 0)
		memcpy(c.data.buffer, data, size);
	r = tpm_run(c.object->tpm, "computing a MAC", 0, attempt_compute, &c, err);
	if (r == 0)
		memcpy(ret_mac, c.mac, AGENT_MAC_SIZE);
	wipe(&c, sizeof(c));
	return r;
}

static void mac_free(void *userdata)
{
	object_free(userdata);
}

static const struct agent_mac_ops mac_ops = { .backend = "tpm", .compute = mac_compute, .free = mac_free };

static bool is_mac_key(const TPMT_PUBLIC *pub)
{
	const TPMT_KEYEDHASH_SCHEME *scheme = &pub->parameters.keyedHashDetail.scheme;

	return pub->type == TPM2_ALG_KEYEDHASH && (pub->objectAttributes & TPMA_OBJECT_SIGN_ENCRYPT) != 0 &&
	       scheme->scheme == TPM2_ALG_HMAC && scheme->details.hmac.hashAlg == TPM2_ALG_SHA256;
}

int agent_tpm_mac_open(struct agent_tpm *tpm, int dir_fd, const char *name, unsigned flags, struct agent_mac **ret_mac,
		       struct agent_error **err)
{
	_cleanup_(object_freep) struct tpm_object *o = NULL;
	int r;

	if (tpm == NULL || ret_mac == NULL || (flags & ~(unsigned)AGENT_TPM_CREATE) != 0)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM or unknown flags 0x%x", flags);
	r = tpm_check_name(name, err);
	if (r < 0)
		return r;
	r = flags & AGENT_TPM_CREATE ? object_exists(dir_fd, name, err) : 1;
	if (r < 0)
		return r;
	if (r == 0) {
		r = object_create(tpm, &mac_template, &o, err);
		if (r < 0)
			return agent_error_prefix(err, r, "MAC key %s", name);
		r = object_store(o, dir_fd, name, err);
	} else {
		r = object_open(tpm, dir_fd, name, &o, err);
	}
	if (r < 0)
		return r;
	if (!is_mac_key(&o->pub.publicArea))
		return agent_error_set(err, -EBADMSG, "tpm.key-type", "%s.pem is not an HMAC-SHA-256 key", name);
	r = agent_mac_new(&mac_ops, o, ret_mac, err);
	if (r == 0)
		(void)TAKE_PTR(o);
	return r;
}
