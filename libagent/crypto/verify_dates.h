/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_VERIFY_DATES_H
#define CRYPTO_VERIFY_DATES_H
#include <stdbool.h>
#include <stdint.h>

#include <openssl/types.h>

#include <agent/time.h>

/* Seconds since 1970; without time_t, which may end in 2038. 0, or -EBADMSG for what is no time. */
int time_from_asn1(const ASN1_TIME *t, int64_t *ret_s);
/* A validity that ends at @end or begins at @begin, both counted in (RFC 5280 section 4.1.2.5). What is no time is over, and never begins. */
bool time_is_over(const ASN1_TIME *end, int64_t now_s);
bool time_is_early(const ASN1_TIME *begin, int64_t now_s);
/* The other way, in the form that RFC 5280 section 4.1.2.5 wants. 0, -EINVAL (not in the years 1 to 9999), -ENOMEM. */
int time_to_asn1(int64_t s, ASN1_TIME *ret_time);
/*
 * X509_verify_cert() with all dates judged as agent_time_check() does at the time @now. The verification callback is asked about a list of an
 * authority that is not there, and told of a date that does not fit. 1, or 0 with the reason in @ctx.
 */
int verify_at(X509_STORE_CTX *ctx, const struct agent_time_reading *now);

/* When the newest list of authorities was signed that verify_at() has looked into for the chain in @ctx, which it found good; INT64_MIN: none. */
int64_t verify_lists_signed(X509_STORE_CTX *ctx);

#endif
