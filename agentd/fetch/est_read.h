/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_EST_READ_H
#define FETCH_EST_READ_H
/* What an EST server answers (RFC 7030, RFC 8951): bytes of a stranger into certificates and attributes. Nothing here is trust. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#define EST_BODY_MAX (64 * 1024) /* base64 of an answer */
#define EST_CERTS_MAX 8
#define EST_CERT_BYTES_MAX (8 * 1024)
#define EST_ATTRIBUTES_MAX 64

/* Of what a server may want in a request, what we know. */
struct est_attributes {
	bool wants_challenge; /* challengePassword: the binding to the TLS connection */
	bool wants_serial;    /* serialNumber in the subject */
	char key_type[16];    /* name of an agent_key_type, or "" */
	unsigned n_unknown;   /* passed over */
};

/*
 * base64 (RFC 4648 section 4) as RFC 8951 section 3.1 has it: with or without line breaks, whatever a header says. The caller frees
 * the bytes. -EBADMSG "est.base64", -EMSGSIZE "est.size".
 */
int est_read_base64(const char *text, size_t size, uint8_t **ret_data, size_t *ret_size, struct agent_error **err);
/*
 * A certs-only CMC response: base64 of SignedData without content and signers (RFC 7030 section 4.1.3, 4.2.3). New PEM text with
 * 1 to EST_CERTS_MAX certificates in the order of the answer. -EBADMSG "est.pkcs7", "est.base64"; -EMSGSIZE "est.size".
 */
int est_read_certs(const char *text, size_t size, char **ret_pem, struct agent_error **err);
/*
 * A new certificate was to be shown, and failed with @r and *@err. If the server was never checked so far that our key signed for it, that is no
 * word of it about the certificate: alerts of that time can be sent by anybody on the way. Then "est.unseen" in place of the names that core judges by.
 */
int est_read_failure(int r, bool has_signed, struct agent_error **err);
/* CsrAttrs, RFC 7030 section 4.5.2; an empty answer asks for nothing. -EBADMSG "est.csrattrs", "est.base64"; -EMSGSIZE "est.size". */
int est_read_attributes(const char *text, size_t size, struct est_attributes *ret_attributes, struct agent_error **err);

#endif
