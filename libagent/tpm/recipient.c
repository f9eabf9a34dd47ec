/* SPDX-License-Identifier: Apache-2.0 */
/* The key that others encrypt to: ECDH in the TPM, for nothing else. */
#include "config.h"

#include <agent/recipient.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509.h>

#include "base/buf.h"
#include "base/secret.h"
#include "crypto/envelope.h"
#include "tpm/key_inside.h"
#include "tpm/session.h"

#define COORDINATE_SIZE 32

/* A child of ours as the others are (KEY_ATTRIBUTES), that decrypts in the place of signing. */
#define RECIPIENT_ATTRIBUTES ((KEY_ATTRIBUTES & ~TPMA_OBJECT_SIGN_ENCRYPT) | TPMA_OBJECT_DECRYPT)

static const TPM2B_PUBLIC recipient_template = {
	.publicArea = {
		.type = TPM2_ALG_ECC,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = RECIPIENT_ATTRIBUTES,
		.parameters.eccDetail = {
			.symmetric.algorithm = TPM2_ALG_NULL,
			.scheme = { .scheme = TPM2_ALG_ECDH, .details.ecdh.hashAlg = TPM2_ALG_SHA256 },
			.curveID = TPM2_ECC_NIST_P256,
			.kdf.scheme = TPM2_ALG_NULL,
		},
	},
};

static bool is_recipient(const struct agent_key *key)
{
	const TPMT_PUBLIC *pub = &key->object->pub.publicArea;

	return key->kt->type == AGENT_KEY_EC_P256 && pub->objectAttributes == RECIPIENT_ATTRIBUTES;
}

int agent_recipient_key_open(struct agent_tpm *tpm, int dir_fd, const char *name, unsigned flags, struct agent_key **ret_key,
			     struct agent_error **err)
{
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	struct tpm_object *object = NULL;
	int r, is_there = 1;

	if (tpm == NULL || ret_key == NULL || (flags & ~(unsigned)AGENT_TPM_CREATE) != 0)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM or unknown flags 0x%x", flags);
	r = tpm_check_name(name, err);
	if (r == 0 && (flags & AGENT_TPM_CREATE) != 0)
		r = is_there = object_exists(dir_fd, name, err);
	if (r < 0)
		return r;
	r = is_there ? object_open(tpm, dir_fd, name, &object, err) : object_create(tpm, &recipient_template, &object, err);
	if (r == 0)
		r = key_from_object(object, name, TPMA_OBJECT_DECRYPT, &key, err);
	if (r < 0)
		return r;
	if (!is_recipient(key))
		return agent_error_set(err, -EBADMSG, "tpm.key-type", "%s.pem is not a decryption key that was made in this TPM (EC P-256)", name);
	if (!is_there) {
		r = object_store(key->object, dir_fd, name, err);
		if (r < 0)
			return r;
	}
	*ret_key = TAKE_PTR(key);
	return 0;
}

int agent_recipient_key_public(const struct agent_key *key, uint8_t **ret_spki, size_t *ret_size, struct agent_error **err)
{
	unsigned char *spki = NULL;
	int n;

	if (key == NULL || ret_spki == NULL || ret_size == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no key");
	n = i2d_PUBKEY(key->pkey, &spki);
	*ret_spki = n <= 0 ? NULL : malloc((size_t)n);
	if (*ret_spki != NULL) {
		memcpy(*ret_spki, spki, (size_t)n);
		*ret_size = (size_t)n;
	}
	OPENSSL_free(spki);
	return *ret_spki == NULL ? agent_error_set(err, -ENOMEM, "tpm.memory", "the public key of %s cannot be encoded", key->name) : 0;
}

struct agreement {
	struct agent_key *key;
	TPM2B_ECC_POINT point;
	uint8_t agreed[COORDINATE_SIZE];
};

/* The result is worth as much as the key of the images, so it travels encrypted. TPM 2.0 Part 3, 14.5 */
static TSS2_RC attempt_agree(struct agent_tpm *tpm, void *userdata)
{
	struct agreement *a = userdata;
	TPM2B_ECC_POINT *out = NULL;
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc;

	rc = object_need(a->key->object);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = session_start_salted(tpm, &session);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_attributes(tpm, session, TPMA_SESSION_ENCRYPT);
	if (rc == TSS2_RC_SUCCESS)
		rc = Esys_ECDH_ZGen(tpm->esys, a->key->object->handle, session, ESYS_TR_NONE, ESYS_TR_NONE, &a->point, &out);
	session_end(tpm, &session, rc, true);
	/* Chips leave leading zeros out or not. */
	if (rc == TSS2_RC_SUCCESS && out->point.x.size > COORDINATE_SIZE)
		rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
	if (rc == TSS2_RC_SUCCESS)
		memcpy(a->agreed + COORDINATE_SIZE - out->point.x.size, out->point.x.buffer, out->point.x.size);
	if (out != NULL)
		wipe(out, sizeof(*out));
	Esys_Free(out);
	return rc;
}

static const struct agent_recipient *find(const struct agent_recipient *recipients, size_t n, const uint8_t id[AGENT_RECIPIENT_ID_SIZE])
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(recipients[i].key_id, id, AGENT_RECIPIENT_ID_SIZE) == 0)
			return &recipients[i];
	return NULL;
}

static int own_id(const struct agent_key *key, uint8_t ret_id[AGENT_RECIPIENT_ID_SIZE], struct agent_error **err)
{
	_cleanup_free_ uint8_t *spki = NULL;
	size_t size = 0;
	int r = agent_recipient_key_public(key, &spki, &size, err);

	return r < 0 ? r : agent_recipient_id(spki, size, ret_id, err);
}

int agent_recipient_key_unwrap(struct agent_key *key, const struct agent_recipient *recipients, size_t n, uint8_t ret_key[AGENT_RECIPIENT_KEY_MAX],
			       size_t *ret_size, struct agent_error **err)
{
	struct agreement a = { .key = key };
	const struct agent_recipient *mine;
	uint8_t id[AGENT_RECIPIENT_ID_SIZE];
	char text[2 * AGENT_RECIPIENT_ID_SIZE + 1];
	OSSL_LIB_CTX *libctx;
	int r;

	if (key == NULL || recipients == NULL || n > AGENT_RECIPIENTS_MAX || ret_key == NULL || ret_size == NULL || !is_recipient(key))
		return agent_error_set(err, -EINVAL, "tpm.argument", "no decryption key, or more than %d recipients", AGENT_RECIPIENTS_MAX);
	libctx = key->object->tpm->libctx;
	r = own_id(key, id, err);
	if (r < 0)
		return r;
	mine = find(recipients, n, id);
	hex_encode(id, sizeof(id), text);
	if (mine == NULL)
		return agent_error_set(err, -ENOKEY, "update.recipient", "the bundle is encrypted to %zu other device%s: the key of this one is %s", n, n == 1 ? "" : "s", text);
	r = envelope_check(libctx, mine, err);
	if (r < 0)
		return r;
	a.point.point.x.size = a.point.point.y.size = COORDINATE_SIZE;
	memcpy(a.point.point.x.buffer, mine->point + 1, COORDINATE_SIZE);
	memcpy(a.point.point.y.buffer, mine->point + 1 + COORDINATE_SIZE, COORDINATE_SIZE);
	r = tpm_run(key->object->tpm, "agreeing on a key", 0, attempt_agree, &a, err);
	if (r == 0)
		r = envelope_unwrap(libctx, a.agreed, mine, ret_key, ret_size, err);
	wipe(&a, sizeof(a));
	return r;
}
