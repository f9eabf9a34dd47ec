/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_VERIFY_ISSUERS_H
#define CRYPTO_VERIFY_ISSUERS_H
/* Which of several anchors with one name issued a certificate: an authority that got a new key and kept its name. */
#include <openssl/types.h>

/*
 * Intermediates of a chain that is looked at at all: PKIs of devices and servers have one or two. Whoever shows a chain is a stranger until it is
 * verified, and with anchors of one name each link of it may cost two signatures.
 */
#define VERIFY_DEPTH_MAX 5
#define VERIFY_DEPTH_TEXT "5"

/* From now on OpenSSL takes for an issuer out of @store only who has the key for it. */
void verify_issuers_use(X509_STORE *store);

#endif
