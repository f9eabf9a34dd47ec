/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_VERIFY_LISTS_H
#define CRYPTO_VERIFY_LISTS_H
/* Which revocation lists count, where there are several with the name of one issuer. */
#include <stdbool.h>

#include <openssl/x509.h>

/*
 * Lists of the store of @ctx for certificates by @issuer: of those that it signed the newest, by number and else by date of issue; one for each scope
 * (issuing distribution point, RFC 5280 section 5.2.5), and no deltas, indirect ones or ones for some reasons. Lists of a namesake in the store are none of its. When nothing is left, those
 * that nobody known has signed: they refuse, as a list that cannot be used is no permission. New references; NULL: none.
 */
STACK_OF(X509_CRL) *verify_lists_of(X509_STORE_CTX *ctx, X509 *issuer);
/*
 * For a verify callback with X509_V_ERR_UNABLE_TO_GET_CRL, below the end of the chain: is there no list of the issuer at all? One that is there and
 * cannot be used is no permission, and then the error of @ctx says that.
 */
bool verify_lists_are_missing(X509_STORE_CTX *ctx);
/* From now on OpenSSL looks into these, and into no others, when it verifies against @store. */
void verify_lists_use(X509_STORE *store);

#endif
