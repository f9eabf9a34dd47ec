/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_PRIVATE_PEM_H
#define CRYPTO_PRIVATE_PEM_H
/* A private key that somebody brings as PEM: PKCS#8, "EC PRIVATE KEY" or "RSA PRIVATE KEY", not encrypted. */
#include <openssl/types.h>

#include <agent/error.h>
#include <agent/signer.h>

/* RSA-3072 with its certificate chain behind it. */
#define PRIVATE_PEM_MAX (16 * 1024)

/*
 * Parse, and refuse what should sign nothing: two keys, types other than ours, explicit curve parameters, halves that do not belong
 * together, RSA with another exponent than 65537, with primes close to each other or of the form of CVE-2017-15361.
 * -EMSGSIZE "import.size", -EBADMSG "import.format", -EINVAL "import.encrypted", "import.public", "import.tpm-key", -EOPNOTSUPP
 * "import.type", -EKEYREJECTED "import.weak", -ENOMEM. The caller frees *ret_pkey, which libcrypto wipes.
 */
int private_pem_parse(OSSL_LIB_CTX *libctx, const char *pem, size_t size, EVP_PKEY **ret_pkey, enum agent_key_type *ret_type,
		      struct agent_error **err);

#endif
