/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_KEYFILE_H
#define TPM_KEYFILE_H
/*
 * The "TSS2 PRIVATE KEY" PEM file of draft-bottomley-tpm2-keys, as tpm2-openssl and tpm2-tools write it:
 *
 *   TPMKey ::= SEQUENCE {
 *     type        OBJECT IDENTIFIER,            2.23.133.10.1.3, loadable key, or .5, sealed data: as asked for
 *     emptyAuth   [0] EXPLICIT BOOLEAN OPTIONAL, any non-zero is true (tpm2-openssl writes 0x01)
 *     policy      [1] EXPLICIT SEQUENCE OPTIONAL,     refused: we do not run policies
 *     secret      [2] EXPLICIT OCTET STRING OPTIONAL, refused: importable keys only
 *     authPolicy  [3] EXPLICIT SEQUENCE OPTIONAL,     refused
 *     description [4] EXPLICIT UTF8String OPTIONAL,   read and dropped
 *     rsaParent   [5] EXPLICIT BOOLEAN OPTIONAL,      refused if true
 *     parent      INTEGER,                      TPM handle, unsigned
 *     pubkey      OCTET STRING,                 TPM2B_PUBLIC
 *     privkey     OCTET STRING }                TPM2B_PRIVATE
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tss2/tss2_tpm2_types.h>

#include <agent/error.h>

/* Larger than any real one: RSA-4096 needs under 3 KiB of PEM. */
#define KEYFILE_MAX (8 * 1024)

struct keyfile {
	bool is_sealed; /* sealed data, PEM name and all; else a loadable key */
	bool has_empty_auth;
	uint32_t parent;
	TPM2B_PUBLIC pub;
	TPM2B_PRIVATE priv;
};

/* A loadable key: PEM text, nothing before or after but white space. -EBADMSG, -EMSGSIZE, -EOPNOTSUPP (a field we refuse); "keyfile.*". */
int keyfile_parse(const char *text, size_t size, struct keyfile *ret_file, struct agent_error **err);
/* The DER inside. */
int keyfile_parse_der(const uint8_t *der, size_t size, struct keyfile *ret_file, struct agent_error **err);
/* Sealed data as PEM text; a policy is not in it but beside it, see sealfile.h. */
int keyfile_parse_sealed(const char *text, size_t size, struct keyfile *ret_file, struct agent_error **err);
/* Of either kind. The caller frees *ret_text. */
int keyfile_write(const struct keyfile *file, char **ret_text, size_t *ret_size, struct agent_error **err);

#endif
