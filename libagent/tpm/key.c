/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <agent/key.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/macro.h"
#include "tpm/key_inside.h"
#include "tpm/signing.h"

static const struct key_type *const key_types[] = { &key_ec_p256, &key_ec_p384, &key_rsa_2048, &key_rsa_3072 };

/* TPM and OpenSSL names of a hash, and its size. */
static const struct hash_row {
	enum agent_hash hash;
	TPM2_ALG_ID alg;
	const char *name;
	size_t size;
} hash_rows[] = {
	{ AGENT_HASH_SHA256, TPM2_ALG_SHA256, "SHA256", 32 },
	{ AGENT_HASH_SHA384, TPM2_ALG_SHA384, "SHA384", 48 },
	{ AGENT_HASH_SHA512, TPM2_ALG_SHA512, "SHA512", 64 },
};

DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(EVP_MD *, EVP_MD_free)

static const struct hash_row *hash_find(enum agent_hash hash)
{
	for (size_t i = 0; i < ARRAY_SIZE(hash_rows); i++)
		if (hash_rows[i].hash == hash)
			return &hash_rows[i];
	return NULL;
}

TPM2_ALG_ID key_hash_alg(enum agent_hash hash)
{
	const struct hash_row *row = hash_find(hash);

	return row == NULL ? TPM2_ALG_NULL : row->alg;
}

const char *agent_key_type_name(enum agent_key_type type)
{
	for (size_t i = 0; i < ARRAY_SIZE(key_types); i++)
		if (key_types[i]->type == type)
			return key_types[i]->name;
	return "unknown";
}

int agent_key_type_parse(const char *text, enum agent_key_type *ret_type)
{
	for (size_t i = 0; text != NULL && i < ARRAY_SIZE(key_types); i++) {
		if (strcmp(key_types[i]->name, text) == 0) {
			*ret_type = key_types[i]->type;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- signing ------------------------------------------------------------ */

struct sign {
	struct agent_key *key;
	TPMT_SIG_SCHEME scheme;
	TPM2B_DIGEST digest;
	TPMT_SIGNATURE signature;
};

static TSS2_RC attempt_sign(struct agent_tpm *tpm, void *userdata)
{
	struct sign *s = userdata;
	TSS2_RC rc = object_need(s->key->object);

	return rc == TSS2_RC_SUCCESS ? signing_run(tpm, s->key->object, &s->digest, &s->scheme, &s->signature) : rc;
}

/* A signature made wrong (a fault, or done to the chip on purpose) can give the private key away: it does not leave here. */
static bool is_genuine(struct agent_key *key, enum agent_sign_scheme scheme, const struct hash_row *hash, const uint8_t *digest,
		       const uint8_t *sig, size_t sig_size)
{
	OSSL_LIB_CTX *libctx = key->object->tpm->libctx;
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, key->pkey, NULL);
	_cleanup_(EVP_MD_freep) EVP_MD *md = EVP_MD_fetch(libctx, hash->name, NULL);
	bool ok;

	ERR_set_mark();
	ok = pctx != NULL && md != NULL && EVP_PKEY_verify_init(pctx) == 1 &&
	     (key->kt->set_padding == NULL || key->kt->set_padding(pctx, scheme) == 1) &&
	     EVP_PKEY_CTX_set_signature_md(pctx, md) == 1 && EVP_PKEY_verify(pctx, sig, sig_size, digest, hash->size) == 1;
	ERR_pop_to_mark();
	return ok;
}

static int key_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
		    uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	struct agent_key *key = userdata;
	const struct hash_row *row = hash_find(hash);
	struct sign s = { .key = key };
	uint8_t sig[AGENT_SIGNATURE_MAX];
	size_t n = 0;
	int r;

	if (scheme > 31 || !(key->kt->schemes & 1u << scheme))
		return agent_error_set(err, -EINVAL, "tpm.scheme", "a key of type %s cannot sign with scheme %d", key->kt->name, (int)scheme);
	if (row == NULL || row->size != digest_size)
		return agent_error_set(err, -EINVAL, "tpm.digest", "digest of %zu bytes does not fit hash %d", digest_size, (int)hash);
	key->kt->prepare(key->kt, scheme, hash, digest, digest_size, &s.scheme, &s.digest);
	r = tpm_run(key->object->tpm, "signing", 0, attempt_sign, &s, err);
	if (r < 0)
		return agent_error_prefix(err, r, "key %s", key->name);
	r = key->kt->encode(key->kt, &s.signature, sig, &n);
	if (r == -ENOMEM)
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	if (r < 0 || !is_genuine(key, scheme, row, digest, sig, n))
		return agent_error_set(err, -EIO, "tpm.answer", "key %s: the TPM's signature does not verify with the key's public half",
				       key->name);
	memcpy(ret_sig, sig, n);
	*ret_size = n;
	return 0;
}

static void key_signer_free(void *userdata)
{
	agent_key_unref(userdata);
}

static const struct agent_signer_ops key_signer_ops = { .backend = "tpm", .sign = key_sign, .free = key_signer_free };

int agent_key_get_signer(struct agent_key *key, struct agent_signer **ret_signer, struct agent_error **err)
{
	unsigned char *spki = NULL;
	int n, r;

	if (key == NULL || ret_signer == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no key");
	if ((key->object->pub.publicArea.objectAttributes & TPMA_OBJECT_RESTRICTED) != 0)
		return agent_error_set(err, -EINVAL, "tpm.scheme", "key %s signs only what the TPM itself states", key->name);
	if ((key->object->pub.publicArea.objectAttributes & TPMA_OBJECT_SIGN_ENCRYPT) == 0)
		return agent_error_set(err, -EINVAL, "tpm.scheme", "key %s decrypts and signs nothing", key->name);
	n = i2d_PUBKEY(key->pkey, &spki);
	if (n <= 0)
		return agent_error_set(err, -ENOMEM, "tpm.memory", "the public key of %s cannot be encoded", key->name);
	r = agent_signer_new(&key_signer_ops, agent_key_ref(key), spki, (size_t)n, ret_signer, err);
	OPENSSL_free(spki);
	if (r < 0)
		agent_key_unref(key);
	return r;
}

/* ---- life --------------------------------------------------------------- */

struct agent_key *agent_key_ref(struct agent_key *key)
{
	if (key != NULL)
		key->n_refs++;
	return key;
}

struct agent_key *agent_key_unref(struct agent_key *key)
{
	if (key == NULL || --key->n_refs > 0)
		return NULL;
	object_free(key->object);
	EVP_PKEY_free(key->pkey);
	free(key->name);
	free(key);
	return NULL;
}

const char *agent_key_get_name(const struct agent_key *key)
{
	return key->name;
}

enum agent_key_type agent_key_get_type(const struct agent_key *key)
{
	return key->kt->type;
}

void agent_key_keep_loaded(struct agent_key *key)
{
	if (key != NULL)
		key->object->is_kept = true;
}

void agent_key_get_object_name(const struct agent_key *key, const uint8_t **ret_name, size_t *ret_size)
{
	*ret_name = key->object->name.name;
	*ret_size = key->object->name.size;
}

const struct key_type *key_type_find(enum agent_key_type type)
{
	for (size_t i = 0; i < ARRAY_SIZE(key_types); i++)
		if (key_types[i]->type == type)
			return key_types[i];
	return NULL;
}

const struct key_type *key_type_of(const TPMT_PUBLIC *pub)
{
	for (size_t i = 0; i < ARRAY_SIZE(key_types); i++)
		if (key_types[i]->matches(key_types[i], pub))
			return key_types[i];
	return NULL;
}

int key_from_object(struct tpm_object *object, const char *name, TPMA_OBJECT use, struct agent_key **ret_key, struct agent_error **err)
{
	_cleanup_(object_freep) struct tpm_object *o = object;
	_cleanup_(agent_key_unrefp) struct agent_key *key = calloc(1, sizeof(*key));
	const TPMT_PUBLIC *pub = &o->pub.publicArea;

	if (key == NULL || (key->name = strdup(name)) == NULL) {
		free(TAKE_PTR(key));
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	}
	key->n_refs = 1;
	key->kt = key_type_of(pub);
	/* Keys of other makers may do both; ours that decrypts must not sign. */
	if (key->kt == NULL || (pub->objectAttributes & use) == 0 ||
	    (use == TPMA_OBJECT_DECRYPT && (pub->objectAttributes & TPMA_OBJECT_SIGN_ENCRYPT) != 0))
		return agent_error_set(err, -EBADMSG, "tpm.key-type", "%s.pem is not a %s key of a supported type", name,
				       use == TPMA_OBJECT_SIGN_ENCRYPT ? "signing" : "decryption");
	ERR_set_mark();
	key->pkey = key->kt->get_public(key->kt, o->tpm->libctx, pub);
	ERR_pop_to_mark();
	if (key->pkey == NULL)
		return agent_error_set(err, -EBADMSG, "tpm.public", "%s.pem: its public key is no %s key", name, key->kt->name);
	key->object = TAKE_PTR(o);
	*ret_key = TAKE_PTR(key);
	return 0;
}

int key_try(struct agent_key *key, struct agent_error **err)
{
	static const uint8_t digest[32] = { 't', 'r', 'i', 'a', 'l' };
	_cleanup_error_ struct agent_error *e = NULL;
	uint8_t sig[AGENT_SIGNATURE_MAX];
	size_t n;
	int r;

	r = key_sign(key, key->kt->trial, AGENT_HASH_SHA256, digest, sizeof(digest), sig, &n, &e);
	if (r == -EIO && key->kt->trial_decides && strcmp(agent_error_name(e), "tpm.answer") == 0)
		return agent_error_set(err, -EOPNOTSUPP, "tpm.pss",
				       "this TPM makes RSA-PSS signatures with a salt that TLS 1.3 does not accept; use an ec-p256 key");
	return r < 0 ? agent_error_move(err, &e) : 0;
}

int key_name_is_free(int dir_fd, const char *name, struct agent_error **err)
{
	int r = tpm_check_name(name, err);

	if (r >= 0)
		r = object_exists(dir_fd, name, err);
	return r > 0 ? agent_error_set(err, -EEXIST, "tpm.exists", "there is a key %s already", name) : r;
}

int agent_key_create(struct agent_tpm *tpm, enum agent_key_type type, int dir_fd, const char *name, struct agent_key **ret_key,
		     struct agent_error **err)
{
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	const struct key_type *kt = key_type_find(type);
	struct tpm_object *object = NULL;
	int r;

	if (tpm == NULL || ret_key == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM");
	if (kt == NULL)
		return agent_error_set(err, -EINVAL, "tpm.key-type", "key type %d is unknown", (int)type);
	r = key_name_is_free(dir_fd, name, err);
	if (r < 0)
		return r;
	r = object_create(tpm, &kt->template, &object, err);
	if (r < 0)
		return agent_error_prefix(err, r, "key %s", name);
	r = key_from_object(object, name, TPMA_OBJECT_SIGN_ENCRYPT, &key, err);
	if (r < 0)
		return r;
	r = kt->trial_decides ? key_try(key, err) : 0;
	if (r < 0)
		return r;
	r = object_store(key->object, dir_fd, name, err);
	if (r < 0)
		return r;
	*ret_key = TAKE_PTR(key);
	return 0;
}

int agent_key_load(struct agent_tpm *tpm, int dir_fd, const char *name, struct agent_key **ret_key, struct agent_error **err)
{
	struct tpm_object *object = NULL;
	int r;

	if (tpm == NULL || ret_key == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM");
	r = tpm_check_name(name, err);
	if (r < 0)
		return r;
	r = object_open(tpm, dir_fd, name, &object, err);
	if (r < 0)
		return r;
	return key_from_object(object, name, TPMA_OBJECT_SIGN_ENCRYPT, ret_key, err);
}
