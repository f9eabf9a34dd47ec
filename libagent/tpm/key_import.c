/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key that was made elsewhere becomes a child of the SRK. TPM2_Import takes it with an inner wrapper (TPM 2.0 Part 1,
 * 23.3.2): the private part encrypted with a fresh AES key, and that key is the first parameter of the command, which the
 * salted session encrypts. So nothing of it is on the bus in clear, whatever kind of key the SRK is.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>
#include <tss2/tss2_mu.h>

#include "base/secret.h"
#include "crypto/private_pem.h"
#include "tpm/key_inside.h"
#include "tpm/session.h"

/* Neither fixedTPM nor fixedParent nor sensitiveDataOrigin may be claimed. Leaving would need a policy, and there is none. */
#define IMPORTED_ATTRIBUTES (TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA)

#define AES_KEY_SIZE 16
#define DIGEST_SIZE 32 /* nameAlg of our templates is SHA-256 */
/* TPM2B_DIGEST, then TPM2B_SENSITIVE */
#define WRAPPED_MAX (2 + DIGEST_SIZE + sizeof(TPM2B_SENSITIVE))

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)
DEFINE_CLEANUP(EVP_CIPHER *, EVP_CIPHER_free)
DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(EVP_MD *, EVP_MD_free)

struct import {
	TPM2B_PUBLIC pub;
	struct secret private_part; /* holds a TPM2B_SENSITIVE; its authValue is filled in by the attempt */
	struct tpm_object *object;  /* made from pub; receives priv and auth */
	TSS2_RC rc;		    /* of the last TPM2_Import */
};

static bool encrypt(struct agent_tpm *tpm, const uint8_t key[AES_KEY_SIZE], const uint8_t *in, size_t size, uint8_t *out)
{
	static const uint8_t no_iv[16];
	_cleanup_(EVP_CIPHER_freep) EVP_CIPHER *aes = EVP_CIPHER_fetch(tpm->libctx, "AES-128-CFB", NULL);
	_cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0;

	return aes != NULL && c != NULL && EVP_EncryptInit_ex2(c, aes, key, no_iv, NULL) == 1 &&
	       EVP_EncryptUpdate(c, out, &n, in, (int)size) == 1 && (size_t)n == size;
}

/* Inner integrity: over the sensitive area as marshalled, then the Name. */
static bool digest(struct agent_tpm *tpm, const uint8_t *sensitive, size_t size, const TPM2B_NAME *name, uint8_t ret_digest[DIGEST_SIZE])
{
	_cleanup_(EVP_MD_freep) EVP_MD *sha256 = EVP_MD_fetch(tpm->libctx, "SHA256", NULL);
	_cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *c = EVP_MD_CTX_new();
	unsigned n = 0;

	return sha256 != NULL && c != NULL && EVP_DigestInit_ex2(c, sha256, NULL) == 1 && EVP_DigestUpdate(c, sensitive, size) == 1 &&
	       EVP_DigestUpdate(c, name->name, name->size) == 1 && EVP_DigestFinal_ex(c, ret_digest, &n) == 1 && n == DIGEST_SIZE;
}

static bool wrap(struct agent_tpm *tpm, const TPM2B_SENSITIVE *sensitive, const TPM2B_NAME *name, const uint8_t key[AES_KEY_SIZE],
		 TPM2B_PRIVATE *ret_wrapped)
{
	_cleanup_secret_ struct secret clear = { 0 };
	size_t n = 2 + DIGEST_SIZE;

	if (secret_alloc(&clear, WRAPPED_MAX) < 0)
		return false;
	clear.data[0] = 0;
	clear.data[1] = DIGEST_SIZE;
	if (Tss2_MU_TPM2B_SENSITIVE_Marshal(sensitive, clear.data, WRAPPED_MAX, &n) != TSS2_RC_SUCCESS || n > sizeof(ret_wrapped->buffer) ||
	    !digest(tpm, clear.data + 2 + DIGEST_SIZE, n - 2 - DIGEST_SIZE, name, clear.data + 2))
		return false;
	ret_wrapped->size = (UINT16)n;
	return encrypt(tpm, key, clear.data, n, ret_wrapped->buffer);
}

static TSS2_RC import_with(struct agent_tpm *tpm, struct import *i, ESYS_TR session)
{
	static const TPMT_SYM_DEF_OBJECT aes_cfb = { .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB };
	static const TPM2B_ENCRYPTED_SECRET no_seed;
	TPM2B_SENSITIVE *sensitive = (TPM2B_SENSITIVE *)(void *)i->private_part.data;
	TPM2B_AUTH *auth = &sensitive->sensitiveArea.authValue;
	TPM2B_DATA key = { .size = AES_KEY_SIZE };
	TPM2B_PRIVATE wrapped = { 0 }, *priv = NULL;
	TSS2_RC rc = TSS2_ESYS_RC_GENERAL_FAILURE;

	auth->size = (UINT16)i->object->auth.size;
	memcpy(auth->buffer, i->object->auth.data, auth->size);
	if (getrandom(key.buffer, AES_KEY_SIZE, 0) == AES_KEY_SIZE && wrap(tpm, sensitive, &i->object->name, key.buffer, &wrapped))
		rc = session_attributes(tpm, session, TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT);
	if (rc == TSS2_RC_SUCCESS)
		rc = i->rc = Esys_Import(tpm->esys, tpm->srk, session, ESYS_TR_NONE, ESYS_TR_NONE, &key, &i->pub, &wrapped, &no_seed, &aes_cfb, &priv);
	wipe(&key, sizeof(key));
	if (rc == TSS2_RC_SUCCESS)
		i->object->priv = *priv;
	Esys_Free(priv);
	return rc;
}

static TSS2_RC attempt_import(struct agent_tpm *tpm, void *userdata)
{
	struct import *i = userdata;
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc;

	objects_make_room(tpm);
	rc = session_start_salted(tpm, &session);
	if (rc == TSS2_RC_SUCCESS)
		rc = auth_make(tpm, session, &i->object->auth);
	if (rc == TSS2_RC_SUCCESS)
		rc = import_with(tpm, i, session);
	session_end(tpm, &session, rc, true);
	return rc;
}

/* What a TPM says that cannot do it: no such command, or none of this size or curve. */
static bool is_unsupported(TSS2_RC rc)
{
	if (!rc_is_from_tpm(rc))
		return false;
	rc &= ~TSS2_RC_LAYER_MASK;
	if ((rc & TPM2_RC_FMT1) == 0)
		return rc == TPM2_RC_COMMAND_CODE || rc == TPM2_RC_DISABLED;
	switch (rc & ~UINT32_C(0xf40)) { /* handle, session and parameter numbers */
	case TPM2_RC_CURVE:
	case TPM2_RC_KEY_SIZE:
	case TPM2_RC_TYPE:
	case TPM2_RC_VALUE:
	case TPM2_RC_SYMMETRIC:
		return true;
	default:
		return false;
	}
}

static int run_import(struct agent_tpm *tpm, struct import *i, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	int r = tpm_run(tpm, "importing a key", TPM_RUN_SRK_AUTH, attempt_import, i, &e);

	if (r >= 0)
		return 0;
	if (is_unsupported(i->rc))
		return agent_error_set(err, -EOPNOTSUPP, "import.tpm", "this TPM does not import such a key: %s", agent_error_message(e));
	return agent_error_move(err, &e);
}

static int fill_parts(const struct key_type *kt, const EVP_PKEY *pkey, struct import *i, struct agent_error **err)
{
	if (secret_alloc(&i->private_part, sizeof(TPM2B_SENSITIVE)) < 0)
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	i->pub = kt->template;
	i->pub.publicArea.objectAttributes = IMPORTED_ATTRIBUTES;
	if (kt->take_private(kt, pkey, &i->pub.publicArea, &((TPM2B_SENSITIVE *)(void *)i->private_part.data)->sensitiveArea) < 0)
		return agent_error_set(err, -EBADMSG, "import.format", "the key's numbers do not fit its type");
	return 0;
}

static int make(struct agent_tpm *tpm, const struct key_type *kt, const EVP_PKEY *pkey, const char *name, struct agent_key **ret_key,
		struct agent_error **err)
{
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	_cleanup_(object_freep) struct tpm_object *object = NULL;
	struct import i = { .rc = TSS2_RC_SUCCESS };
	int r;

	r = fill_parts(kt, pkey, &i, err);
	if (r >= 0)
		r = object_adopt(tpm, &i.pub, &(TPM2B_PRIVATE){ 0 }, NULL, 0, &object, err);
	if (r >= 0) {
		i.object = object;
		r = run_import(tpm, &i, err);
	}
	secret_free(&i.private_part);
	if (r >= 0)
		r = key_from_object(TAKE_PTR(object), name, TPMA_OBJECT_SIGN_ENCRYPT, &key, err);
	/* Both halves arrived: the TPM signs, and the public half that was brought verifies it. */
	if (r >= 0)
		r = key_try(key, err);
	if (r >= 0)
		*ret_key = TAKE_PTR(key);
	return r;
}

int agent_key_import(struct agent_tpm *tpm, int dir_fd, const char *name, const char *pem, size_t size, struct agent_key **ret_key,
		     struct agent_error **err)
{
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	enum agent_key_type type;
	int r;

	if (tpm == NULL || ret_key == NULL || pem == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM or no key");
	r = key_name_is_free(dir_fd, name, err);
	if (r >= 0)
		r = private_pem_parse(tpm->libctx, pem, size, &pkey, &type, err);
	if (r >= 0)
		r = make(tpm, key_type_find(type), pkey, name, &key, err);
	if (r >= 0)
		r = object_store(key->object, dir_fd, name, err);
	if (r < 0)
		return agent_error_prefix(err, r, "key %s", name);
	*ret_key = TAKE_PTR(key);
	return 0;
}

bool agent_key_is_imported(const struct agent_key *key)
{
	return (key->object->pub.publicArea.objectAttributes & TPMA_OBJECT_SENSITIVEDATAORIGIN) == 0;
}
