/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "crypto/provider.h"

#include <errno.h>
#include <stdlib.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#include <agent/openssl.h>

#include "base/macro.h"
#include "context.h"
#include "crypto/openssl_error.h"

DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)

static const OSSL_PARAM *provider_gettable_params(void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_PROV_PARAM_NAME, OSSL_PARAM_UTF8_PTR, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_PROV_PARAM_VERSION, OSSL_PARAM_UTF8_PTR, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_PROV_PARAM_STATUS, OSSL_PARAM_INTEGER, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static int provider_get_params(void *provctx, OSSL_PARAM params[])
{
	OSSL_PARAM *p;

	p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME);
	if (p != NULL && !OSSL_PARAM_set_utf8_ptr(p, "keys of libagent's signers"))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_VERSION);
	if (p != NULL && !OSSL_PARAM_set_utf8_ptr(p, PACKAGE_VERSION))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);
	return p == NULL || OSSL_PARAM_set_int(p, 1);
}

static const OSSL_ALGORITHM *provider_query(void *provctx, int operation_id, int *no_cache)
{
	*no_cache = 0;
	if (operation_id == OSSL_OP_KEYMGMT)
		return provider_keymgmt;
	if (operation_id == OSSL_OP_SIGNATURE)
		return provider_signature;
	return NULL;
}

static void provider_teardown(void *provctx)
{
	free(provctx);
}

static const OSSL_DISPATCH provider_dispatch[] = {
	{ OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))provider_teardown },
	{ OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))provider_gettable_params },
	{ OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))provider_get_params },
	{ OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))provider_query },
	{ 0, NULL },
};

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **provctx)
{
	OSSL_FUNC_core_get_libctx_fn *get_libctx = NULL;
	struct provider *prov;

	for (; in->function_id != 0; in++)
		if (in->function_id == OSSL_FUNC_CORE_GET_LIBCTX)
			get_libctx = OSSL_FUNC_core_get_libctx(in);
	prov = get_libctx == NULL ? NULL : calloc(1, sizeof(*prov));
	if (prov == NULL)
		return 0;
	prov->handle = handle;
	/* A built-in provider shares libcrypto with its caller: provider-base(7), core_get_libctx(). */
	prov->libctx = (OSSL_LIB_CTX *)get_libctx(handle);
	*provctx = prov;
	*out = provider_dispatch;
	return 1;
}

int provider_setup(OSSL_LIB_CTX *libctx, OSSL_PROVIDER **ret_provider, struct agent_error **err)
{
	OSSL_PROVIDER *provider = NULL;

	if (OSSL_PROVIDER_add_builtin(libctx, PROVIDER_NAME, provider_init) == 1)
		provider = OSSL_PROVIDER_load(libctx, PROVIDER_NAME);
	if (provider == NULL)
		return openssl_error_set(err, -ENOMEM, "crypto.provider", "OpenSSL does not take the signer provider");
	*ret_provider = provider;
	return 0;
}

int agent_openssl_libctx(struct agent_context *ctx, OSSL_LIB_CTX **ret_libctx, struct agent_error **err)
{
	if (ctx == NULL || ret_libctx == NULL)
		return agent_error_set(err, -EINVAL, "crypto.argument", "a library context needs an agent context");
	return context_get_libctx(ctx, provider_setup, ret_libctx, err);
}

int agent_openssl_pkey(struct agent_context *ctx, struct agent_signer *signer, EVP_PKEY **ret_pkey, struct agent_error **err)
{
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *kctx = NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(PROVIDER_PARAM_SIGNER, &signer, sizeof(signer)),
		OSSL_PARAM_construct_end(),
	};
	OSSL_LIB_CTX *libctx;
	EVP_PKEY *pkey = NULL;
	const char *algorithm;
	int r;

	if (signer == NULL || ret_pkey == NULL)
		return agent_error_set(err, -EINVAL, "crypto.argument", "an EVP_PKEY needs a signer");
	r = agent_openssl_libctx(ctx, &libctx, err);
	if (r < 0)
		return r;
	switch (agent_signer_get_type(signer)) {
	case AGENT_KEY_EC_P256:
	case AGENT_KEY_EC_P384:
		algorithm = "EC";
		break;
	default:
		algorithm = "RSA";
		break;
	}
	kctx = EVP_PKEY_CTX_new_from_name(libctx, algorithm, PROVIDER_PROPERTY);
	if (kctx == NULL || EVP_PKEY_fromdata_init(kctx) != 1 || EVP_PKEY_fromdata(kctx, &pkey, EVP_PKEY_KEYPAIR, params) != 1)
		return openssl_error_set(err, -ENOMEM, "crypto.provider", "OpenSSL does not take the key of the %s backend",
					 agent_signer_get_backend(signer));
	*ret_pkey = pkey;
	return 0;
}
