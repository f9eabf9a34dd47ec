/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_OPENSSL_ERROR_H
#define CRYPTO_OPENSSL_ERROR_H
/* Errors across OpenSSL: a signer's error goes into OpenSSL's queue on the way down and is found again on the way up. */
#include <agent/error.h>

#define OPENSSL_ERROR_TEXT 64

/*
 * What OpenSSL's @code means, in @buf if need be. A program may have left the texts of libcrypto out (agentd-link does): then a few are known
 * here, and any other is a number for "openssl errstr".
 */
const char *openssl_error_text(unsigned long code, char buf[OPENSSL_ERROR_TEXT]);

/* Put the signer's error @e (may be NULL) into OpenSSL's queue: a provider error with "name: sentence" as its data. */
void openssl_error_raise(int errnum, const struct agent_error *e);

/*
 * Make an error of what failed in OpenSSL and empty its queue. When a signer raised an error, that one wins: its errno
 * and name, its sentence after @fmt's. Otherwise @errnum and @name, and the first reason in the queue after @fmt's.
 * Returns the errno.
 */
int openssl_error_set(struct agent_error **err, int errnum, const char *name, const char *fmt, ...) AGENT_PRINTF(4, 5);

#endif
