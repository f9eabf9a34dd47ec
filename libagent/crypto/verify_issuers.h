/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_VERIFY_ISSUERS_H
#define CRYPTO_VERIFY_ISSUERS_H
/* Which of several anchors with one name issued a certificate: an authority that got a new key and kept its name. */
#include <openssl/types.h>

/* From now on OpenSSL takes for an issuer out of @store only who has the key for it. */
void verify_issuers_use(X509_STORE *store);

#endif
