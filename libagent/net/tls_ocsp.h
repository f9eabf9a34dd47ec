/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_OCSP_H
#define NET_TLS_OCSP_H
/* A stapled OCSP answer: what it says about one certificate. No state, no network. */
#include <stdint.h>

#include <openssl/ocsp.h>
#include <openssl/x509.h>

#include <agent/error.h>
#include <agent/time.h>

struct ocsp_question {
	X509 *cert, *issuer;	      /* of a chain that was found good */
	const STACK_OF(X509_CRL) *crls; /* that may revoke a responder, or NULL */
	const struct agent_time_reading *now;
	uint64_t system_s;	      /* what the system clock shows, for the sentence */
	int64_t *ret_signed_s;	      /* of a good answer: it is not earlier, whatever our clock says; or NULL */
};

/*
 * 0: the certificate is good. -EKEYREJECTED: tls.ocsp-revoked, tls.ocsp-unknown, tls.ocsp-stale, tls.ocsp-not-yet-valid, tls.ocsp-signer,
 * tls.ocsp-other, tls.ocsp; tls.ocsp-missing: the responder had no answer. -ENOMEM.
 */
int ocsp_check(const struct ocsp_question *q, const uint8_t *der, size_t size, struct agent_error **err);
/* Does the certificate say that it is never to be seen without an answer? (RFC 7633) */
int ocsp_must_staple(const X509 *cert);

#endif
