/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_VERIFY_DATES_H
#define CRYPTO_VERIFY_DATES_H
#include <stdint.h>

#include <openssl/types.h>

/* Seconds since 1970; without time_t, which may end in 2038. 0, or -EBADMSG for what is no time. */
int time_from_asn1(const ASN1_TIME *t, int64_t *ret_s);

#endif
