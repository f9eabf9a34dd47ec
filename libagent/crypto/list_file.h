/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_LIST_FILE_H
#define CRYPTO_LIST_FILE_H
/* Revocation lists as files hold them. */
#include <stddef.h>

#include <openssl/x509.h>

/*
 * The revocation lists in @data: PEM, one after the other, with other PEM objects and text between them, or one in DER. All or none: what begins as a
 * list and cannot be read to its end is an error and never passed over, as it may be the one that revokes. -EBADMSG: there is none, or list *@ret_at,
 * counted from 1, is damaged; -EMSGSIZE: there are more than @max; -ENOMEM. OpenSSL's errors are cleared.
 */
int list_file_parse(OSSL_LIB_CTX *libctx, const char *data, size_t size, int max, STACK_OF(X509_CRL) **ret_lists, int *ret_at);

#endif
