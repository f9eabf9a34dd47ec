/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_PROVIDER_H
#define CRYPTO_PROVIDER_H
/*
 * OpenSSL 3 provider "agent": EVP_PKEYs whose private half is a struct agent_signer. provider.c registers it,
 * provider_keymgmt.c holds the keys, provider_signature.c signs. Public halves live in the default provider.
 */
#include <openssl/core.h>
#include <openssl/types.h>

#include <agent/error.h>
#include <agent/signer.h>

#define PROVIDER_NAME "agent"
#define PROVIDER_PROPERTY "provider=" PROVIDER_NAME

/* Octet string of sizeof(struct agent_signer *): the signer by reference, in this process only. */
#define PROVIDER_PARAM_SIGNER "agent-signer"

struct provider {
	const OSSL_CORE_HANDLE *handle;
	OSSL_LIB_CTX *libctx;
};

struct provider_key {
	struct provider *prov;
	const char *algorithm;		/* "EC" or "RSA" */
	struct agent_signer *signer;	/* NULL: public key only */
	EVP_PKEY *public_key;		/* of the default provider; NULL while empty */
};

extern const OSSL_ALGORITHM provider_keymgmt[];
extern const OSSL_ALGORITHM provider_signature[];

/* Add the provider to a library context that has the default provider already: setup of context_get_libctx(). */
int provider_setup(OSSL_LIB_CTX *libctx, OSSL_PROVIDER **ret_provider, struct agent_error **err);

#endif
