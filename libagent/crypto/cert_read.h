/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_CERT_READ_H
#define CRYPTO_CERT_READ_H
#include <openssl/types.h>

#include <agent/error.h>

/* First certificate in @pem. -EMSGSIZE or -EBADMSG "cert.pem". The caller frees it. */
int cert_read(OSSL_LIB_CTX *libctx, const char *pem, X509 **ret_cert, struct agent_error **err);

#endif
