/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_NAME_H
#define CRYPTO_NAME_H
/* Names in certificates: text -> X509_NAME, and back into something that may be shown. */
#include <stddef.h>

#include <openssl/types.h>

#include <agent/error.h>

/*
 * "CN=gw-0001,O=Example" -> a distinguished name (RFC 5280 section 4.1.2.4), order as written. Types C ST L O OU CN
 * serialNumber; "\," and "\\" in a value; no empty value, no control character. -EINVAL "cert.subject".
 */
int name_parse(const char *text, X509_NAME **ret_name, struct agent_error **err);

/* The common name, or the whole subject, with everything but printable ASCII as '?'; shortened to fit. */
void name_show(const X509_NAME *name, char *ret_text, size_t size);

#endif
