/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/provider.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/x509.h>

#include "base/macro.h"

DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)

static struct provider_key *key_new(struct provider *prov, const char *algorithm)
{
	struct provider_key *key = calloc(1, sizeof(*key));

	if (key == NULL)
		return NULL;
	key->prov = prov;
	key->algorithm = algorithm;
	return key;
}

static void *ec_new(void *provctx)
{
	return key_new(provctx, "EC");
}

static void *rsa_new(void *provctx)
{
	return key_new(provctx, "RSA");
}

static void key_free(void *keydata)
{
	struct provider_key *key = keydata;

	if (key == NULL)
		return;
	EVP_PKEY_free(key->public_key);
	agent_signer_unref(key->signer);
	free(key);
}

static void *key_dup(const void *keydata, int selection)
{
	const struct provider_key *from = keydata;
	struct provider_key *key = key_new(from->prov, from->algorithm);

	if (key == NULL)
		return NULL;
	if (from->public_key != NULL && EVP_PKEY_up_ref(from->public_key) == 1)
		key->public_key = from->public_key;
	if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)
		key->signer = agent_signer_ref(from->signer);
	return key;
}

static int key_has(const void *keydata, int selection)
{
	const struct provider_key *key = keydata;

	if (key == NULL)
		return 0;
	if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) && key->signer == NULL)
		return 0;
	if ((selection & (OSSL_KEYMGMT_SELECT_PUBLIC_KEY | OSSL_KEYMGMT_SELECT_ALL_PARAMETERS)) && key->public_key == NULL)
		return 0;
	return 1;
}

/* Keys are the same when their public halves are; nobody can look at the other half. */
static int key_match(const void *keydata1, const void *keydata2, int selection)
{
	const struct provider_key *a = keydata1, *b = keydata2;

	if (a->public_key == NULL || b->public_key == NULL)
		return 0;
	if (!(selection & OSSL_KEYMGMT_SELECT_KEYPAIR))
		return EVP_PKEY_parameters_eq(a->public_key, b->public_key) == 1;
	return EVP_PKEY_eq(a->public_key, b->public_key) == 1;
}

static int import_signer(struct provider_key *key, const OSSL_PARAM *p)
{
	struct agent_signer *signer;
	const uint8_t *spki;
	size_t size;

	if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size != sizeof(signer) || p->data == NULL)
		return 0;
	memcpy(&signer, p->data, sizeof(signer));
	agent_signer_get_public(signer, &spki, &size);
	key->public_key = d2i_PUBKEY_ex(NULL, &spki, (long)size, key->prov->libctx, "provider=default");
	if (key->public_key == NULL || !EVP_PKEY_is_a(key->public_key, key->algorithm))
		return 0;
	key->signer = agent_signer_ref(signer);
	return 1;
}

/* The public key of a certificate, for comparison with one of ours. */
static int import_public(struct provider_key *key, const OSSL_PARAM params[])
{
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx = NULL;

	ctx = EVP_PKEY_CTX_new_from_name(key->prov->libctx, key->algorithm, "provider=default");
	return ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
	       EVP_PKEY_fromdata(ctx, &key->public_key, EVP_PKEY_PUBLIC_KEY, (OSSL_PARAM *)params) == 1;
}

static int key_import(void *keydata, int selection, const OSSL_PARAM params[])
{
	struct provider_key *key = keydata;
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, PROVIDER_PARAM_SIGNER);

	if (key->public_key != NULL)
		return 0;
	return p != NULL ? import_signer(key, p) : import_public(key, params);
}

/*
 * Fails whenever the private half is asked for: libcrypto tries that first, and falls back to our own signature code
 * only then. Handing out the public half under that name would make it sign with a key that is not there.
 */
static int key_export(void *keydata, int selection, OSSL_CALLBACK *callback, void *arg)
{
	struct provider_key *key = keydata;
	OSSL_PARAM *params = NULL;
	int ok;

	if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) || key->public_key == NULL)
		return 0;
	if (EVP_PKEY_todata(key->public_key, selection, &params) != 1)
		return 0;
	ok = callback(params, arg);
	OSSL_PARAM_free(params);
	return ok;
}

static int key_get_params(void *keydata, OSSL_PARAM params[])
{
	struct provider_key *key = keydata;

	return key->public_key != NULL && EVP_PKEY_get_params(key->public_key, params) == 1;
}

#define COMMON_GETTABLE                                                            \
	OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL), OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL), \
	OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL), OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0)

static const OSSL_PARAM *ec_gettable_params(void *provctx)
{
	static const OSSL_PARAM params[] = {
		COMMON_GETTABLE,
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_X, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_Y, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static const OSSL_PARAM *rsa_gettable_params(void *provctx)
{
	static const OSSL_PARAM params[] = {
		COMMON_GETTABLE,
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static const OSSL_PARAM *ec_types(int selection)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_octet_string(PROVIDER_PARAM_SIGNER, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
		OSSL_PARAM_END,
	};

	/* The private half goes in, by reference, and never comes out. */
	return params + ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) ? 0 : 1);
}

static const OSSL_PARAM *rsa_types(int selection)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_octet_string(PROVIDER_PARAM_SIGNER, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
		OSSL_PARAM_END,
	};

	return params + ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) ? 0 : 1);
}

static const OSSL_PARAM *ec_export_types(int selection)
{
	return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) ? NULL : ec_types(selection);
}

static const OSSL_PARAM *rsa_export_types(int selection)
{
	return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) ? NULL : rsa_types(selection);
}

static const char *ec_operation_name(int operation_id)
{
	return operation_id == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

static const char *rsa_operation_name(int operation_id)
{
	return operation_id == OSSL_OP_SIGNATURE ? "RSA" : NULL;
}

#define FN(id, f) { OSSL_FUNC_KEYMGMT_##id, (void (*)(void))f }
#define KEYMGMT(type)                                                                                         \
	{                                                                                                     \
		FN(NEW, type##_new), FN(FREE, key_free), FN(DUP, key_dup), FN(HAS, key_has), FN(MATCH, key_match),       \
		FN(IMPORT, key_import), FN(IMPORT_TYPES, type##_types), FN(EXPORT, key_export),              \
		FN(EXPORT_TYPES, type##_export_types), FN(GET_PARAMS, key_get_params),                      \
		FN(GETTABLE_PARAMS, type##_gettable_params), FN(QUERY_OPERATION_NAME, type##_operation_name), { 0, NULL } \
	}

static const OSSL_DISPATCH ec_keymgmt[] = KEYMGMT(ec);
static const OSSL_DISPATCH rsa_keymgmt[] = KEYMGMT(rsa);

const OSSL_ALGORITHM provider_keymgmt[] = {
	{ "EC:id-ecPublicKey:1.2.840.10045.2.1", PROVIDER_PROPERTY, ec_keymgmt, "EC key behind a signer" },
	{ "RSA:rsaEncryption:1.2.840.113549.1.1.1", PROVIDER_PROPERTY, rsa_keymgmt, "RSA key behind a signer" },
	{ NULL, NULL, NULL, NULL },
};
