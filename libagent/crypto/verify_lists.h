/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_VERIFY_LISTS_H
#define CRYPTO_VERIFY_LISTS_H
/* Which revocation lists count, where there are several with the name of one issuer. */
#include <openssl/x509.h>

/*
 * Lists of the store of @ctx for certificates by @issuer: of those that it signed the newest, by number and else by date of issue; one for each scope
 * (issuing distribution point, RFC 5280 section 5.2.5), and no deltas. Lists of a namesake in the store are none of its. When nothing is left, those
 * that nobody known has signed: they refuse, as a list that cannot be used is no permission. New references; NULL: none.
 */
STACK_OF(X509_CRL) *verify_lists_of(X509_STORE_CTX *ctx, X509 *issuer);
/* From now on OpenSSL looks into these, and into no others, when it verifies against @store. */
void verify_lists_use(X509_STORE *store);

#endif
