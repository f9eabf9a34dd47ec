/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_CHECKS_H
#define NET_TLS_CHECKS_H
/* What is looked at beyond the chain: revocation lists, a stapled answer, pins. Never changes once it is made. */
#include <openssl/x509.h>

#include <agent/tls.h>

#include "base/pin.h"

struct tls_checks {
	enum agent_tls_crl crl;
	enum agent_tls_ocsp ocsp;
	STACK_OF(X509_CRL) *crls;	/* NULL: none */
	uint8_t pins[PINS_MAX][PIN_SIZE];
	int n_pins;
};

/* Reads the file. tls.options, tls.pins, tls.crl-missing, tls.file, file.*, -ENOMEM. */
int tls_checks_load(struct tls_checks *checks, OSSL_LIB_CTX *libctx, const struct agent_tls_options *options, struct agent_error **err);
void tls_checks_clear(struct tls_checks *checks);
/* How many pins are in @chain; *@ret_unused: how many are not. */
int tls_checks_count_pins(const struct tls_checks *checks, const STACK_OF(X509) *chain, int *ret_unused);

#endif
