/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_CMS_KEY_H
#define CRYPTO_CMS_KEY_H
/* The private key of a signer of bundles: a PEM file, or a PKCS#11 token through OpenSSL's engine "pkcs11". Error name: bundle.key. */
#include <openssl/types.h>

#include <agent/context.h>
#include <agent/error.h>

/* The caller frees *ret_key. -ENOKEY, -EINVAL, -EOPNOTSUPP, -EMSGSIZE. */
int cms_key_load(OSSL_LIB_CTX *libctx, const char *key, EVP_PKEY **ret_key, struct agent_error **err);

#endif
