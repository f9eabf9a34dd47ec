/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_NAME_H
#define TPM_NAME_H
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>
#include <tss2/tss2_tpm2_types.h>

/* Name of a marshalled TPMT_PUBLIC (TPM 2.0 Part 1, 16); -EBADMSG. */
int name_of_public(OSSL_LIB_CTX *libctx, const uint8_t *area, size_t size, TPM2B_NAME *ret_name);

#endif
