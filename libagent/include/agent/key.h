/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_KEY_H
#define AGENT_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/error.h>
#include <agent/signer.h>
#include <agent/tpm.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct agent_key - a signing key made in and bound to the TPM, or imported into it
 *
 * On disk: NAME.pem, a "TSS2 PRIVATE KEY" (draft-bottomley-tpm2-keys), and NAME.auth, its authValue (32 printable
 * characters, 192 random bits); both 0600. tpm2-openssl reads them: openssl ... -inkey NAME.pem -passin file:NAME.auth.
 * Belongs to the thread of its TPM. Reference counted. Since: 0.1
 */
struct agent_key;

/**
 * agent_key_create() - make a key as a child of the SRK and store it
 * @tpm:     kept by the key
 * @dir_fd:  folder for the files
 * @name:    1 to 64 of [A-Za-z0-9._-], not beginning with a dot
 * @ret_key: the caller unrefs it
 *
 * Sign only, fixed to this TPM and SRK, not under dictionary-attack protection. A NAME.auth without NAME.pem, left by a
 * kill, is overwritten. Blocks; RSA up to minutes on slow chips.
 * Returns 0, -EEXIST (the name is taken), -EINVAL, -EOPNOTSUPP (tpm.pss: the TPM's RSA-PSS does not suit TLS 1.3), -errno of
 * the files, or as agent_tpm_open() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_key_create(struct agent_tpm *tpm, enum agent_key_type type, int dir_fd, const char *name,
						   struct agent_key **ret_key, struct agent_error **err);
/**
 * agent_key_import() - take a private key that was made elsewhere into the TPM and store it like one made there
 * @tpm:     kept by the key
 * @dir_fd:  folder for the files
 * @name:    as for agent_key_create()
 * @pem:     PKCS#8, "EC PRIVATE KEY" or "RSA PRIVATE KEY", not encrypted; the caller wipes it
 * @size:    of @pem in bytes, at most 16 KiB
 * @ret_key: the caller unrefs it
 *
 * EC P-256, P-384, RSA-2048 and RSA-3072. Wrapped for TPM2_Import with a fresh AES key that travels encrypted to the SRK (TPM 2.0
 * Part 1, 23.3.2); no copy of @pem is kept. Its attributes do not claim fixedTPM, fixedParent and sensitiveDataOrigin, and with an
 * empty policy nobody can duplicate it out of the TPM; but whoever has a copy from before has the key. One trial signature is made.
 * Nothing is stored before all of that worked. Blocks.
 * Returns 0, -EEXIST (tpm.exists), -EINVAL (import.encrypted, import.public, import.tpm-key), -EMSGSIZE (import.size), -EBADMSG
 * (import.format), -EOPNOTSUPP (import.type; import.tpm: this TPM cannot), -EKEYREJECTED (import.weak), -errno of the files, or as
 * agent_tpm_open() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_key_import(struct agent_tpm *tpm, int dir_fd, const char *name, const char *pem, size_t size,
						   struct agent_key **ret_key, struct agent_error **err);
/** agent_key_is_imported() - whether the key was made outside of the TPM (no sensitiveDataOrigin). Does not block. Since: 0.1 */
AGENT_EXPORT bool agent_key_is_imported(const struct agent_key *key);
/**
 * agent_key_load() - read a stored key and load it into the TPM
 *
 * Also takes keys of tpm2-openssl and tpm2-tools that were made in this TPM. Blocks.
 * Returns 0, -ENOENT, -EBADMSG (keyfile.format, tpm.key-type), -EOPNOTSUPP (keyfile.type, keyfile.field: policy, importable,
 * sealed), -EKEYREJECTED (tpm.foreign: another TPM or SRK; tpm.attributes: may leave the TPM), or as agent_tpm_open() does.
 * Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_key_load(struct agent_tpm *tpm, int dir_fd, const char *name, struct agent_key **ret_key,
						 struct agent_error **err);
/** agent_key_ref() - one more owner. Since: 0.1 */
AGENT_EXPORT struct agent_key *agent_key_ref(struct agent_key *key);
/** agent_key_unref() - one owner less; the last one takes the key out of the TPM. Takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_key *agent_key_unref(struct agent_key *key);
/**
 * agent_key_keep_loaded() - this key is the one that matters: TLS connections wait for it
 *
 * A TPM has room for few keys, and those used last stay in it. A key marked so makes room for others only while the TPM
 * needs all its room for one command, so that a handshake finds it there. Mark one. Does not block; NULL is ignored. Since: 0.1
 */
AGENT_EXPORT void agent_key_keep_loaded(struct agent_key *key);
/** agent_key_get_name() - as given to create or load, lent. Since: 0.1 */
AGENT_EXPORT const char *agent_key_get_name(const struct agent_key *key);
/** agent_key_get_type() - what kind of key it is. Since: 0.1 */
AGENT_EXPORT enum agent_key_type agent_key_get_type(const struct agent_key *key);
/**
 * agent_key_get_object_name() - the TPM's Name of the key, lent
 *
 * A hash over its public area, attributes and policy, with the hash's identifier before it (TPM 2.0 Part 1, section 16): no
 * other key has it. Does not block. Since: 0.1
 */
AGENT_EXPORT void agent_key_get_object_name(const struct agent_key *key, const uint8_t **ret_name, size_t *ret_size);
/** agent_key_type_name() - "ec-p256", "ec-p384", "rsa-2048", "rsa-3072", or "unknown"; lent. Since: 0.1 */
AGENT_EXPORT const char *agent_key_type_name(enum agent_key_type type);
/** agent_key_type_parse() - the inverse. Returns 0 or -EINVAL. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_key_type_parse(const char *text, enum agent_key_type *ret_type);
/**
 * agent_key_get_signer() - signer that signs in the TPM, in the calling thread
 * @ret_signer: the caller unrefs it; it keeps the key
 *
 * A signature costs two commands, TPM2_StartAuthSession and TPM2_Sign, and is verified before it is handed out. It fails
 * with -EINVAL (scheme or digest does not suit the key), -EIO (tpm.answer: the signature was wrong), or as agent_tpm_open()
 * does. EC keys sign longer digests than their own by cutting them, FIPS 186-4 section 6.4.
 * Returns 0, -EINVAL, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_key_get_signer(struct agent_key *key, struct agent_signer **ret_signer,
						       struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
