/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_REASON_H
#define NET_TLS_REASON_H
#include "crypto/openssl_error.h"

/* As openssl_error_text(), also where the program left out libssl's texts: those that the side of a client meets are known here. */
const char *tls_reason_text(unsigned long code, char buf[OPENSSL_ERROR_TEXT]);

#endif
