/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_RECIPIENT_H
#define AGENT_RECIPIENT_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/error.h>
#include <agent/key.h>
#include <agent/tpm.h>

#ifdef __cplusplus
extern "C" {
#endif

/** AGENT_RECIPIENT_ID_SIZE - bytes of the identifier of a key: SHA-1 of its public key, RFC 5280 section 4.2.1.2 (1). Since: 0.1 */
#define AGENT_RECIPIENT_ID_SIZE 20
/** AGENT_RECIPIENT_POINT_SIZE - bytes of a point of P-256, uncompressed. Since: 0.1 */
#define AGENT_RECIPIENT_POINT_SIZE 65
/** AGENT_RECIPIENT_WRAPPED_MAX - bytes of a wrapped key: AES-256 and 8 of check value, RFC 3394. Since: 0.1 */
#define AGENT_RECIPIENT_WRAPPED_MAX 40
/** AGENT_RECIPIENT_KEY_MAX - bytes of the key inside. Since: 0.1 */
#define AGENT_RECIPIENT_KEY_MAX 32
/** AGENT_RECIPIENTS_MAX - devices that one bundle is encrypted to. Since: 0.1 */
#define AGENT_RECIPIENTS_MAX 128

/**
 * struct agent_recipient - a key, wrapped for one device: KeyAgreeRecipientInfo of CMS (RFC 5652 section 6.2.2, RFC 5753 section 3)
 * @key_id:    which key can open it
 * @point:     public key that the sender made for this
 * @wrapped:   @wrapped_size bytes, AES key wrap
 * @kdf_bits:  256, 384, 512: ECDH with the X9.63 derivation over this SHA-2. 0: the sender used something that is not supported
 * @wrap_bits: 128, 192, 256: of the AES key that wraps
 *
 * Since: 0.1
 */
struct agent_recipient {
	uint8_t key_id[AGENT_RECIPIENT_ID_SIZE];
	uint8_t point[AGENT_RECIPIENT_POINT_SIZE];
	uint8_t wrapped[AGENT_RECIPIENT_WRAPPED_MAX];
	size_t wrapped_size;
	unsigned kdf_bits;
	unsigned wrap_bits;
};

/**
 * agent_recipient_key_open() - the key of this device that others encrypt to
 * @dir_fd:  folder with NAME.pem and NAME.auth, as for agent_key_create()
 * @flags:   0 or AGENT_TPM_CREATE: make it if it is not there
 * @ret_key: the caller unrefs it
 *
 * EC P-256, made in the TPM and fixed to it; it decrypts and does nothing else: agent_key_get_signer() and agent_key_load() refuse
 * it, and this refuses keys that sign. Blocks.
 * Returns 0, -ENOENT, -EBADMSG (tpm.key-type), -EINVAL, -errno of the files, or as agent_key_load() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_recipient_key_open(struct agent_tpm *tpm, int dir_fd, const char *name, unsigned flags,
							   struct agent_key **ret_key, struct agent_error **err);
/** agent_recipient_key_public() - its SubjectPublicKeyInfo, DER; the caller frees it. Returns 0, -EINVAL, -ENOMEM. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_recipient_key_public(const struct agent_key *key, uint8_t **ret_spki, size_t *ret_size,
							     struct agent_error **err);
/**
 * agent_recipient_id() - the identifier of a public key that certificates call subject key identifier
 * @spki: SubjectPublicKeyInfo, DER
 *
 * Does not block. Returns 0, -EINVAL (recipient.key). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_recipient_id(const uint8_t *spki, size_t size, uint8_t ret_id[AGENT_RECIPIENT_ID_SIZE],
						     struct agent_error **err);
/**
 * agent_recipient_key_unwrap() - find the one of @recipients that @key can open, and open it
 * @key:     from agent_recipient_key_open()
 * @ret_key: at most AGENT_RECIPIENT_KEY_MAX bytes; the caller wipes them
 *
 * One TPM2_ECDH_ZGen; what is agreed travels encrypted on the TPM's bus. Only the TPM holds the private key; derivation and the opening of
 * the wrapped key are done here. Blocks.
 * Source: RFC 5753 section 7.1 and 7.2, RFC 3394, TPM 2.0 Part 3 section 14.5 (TPM2_ECDH_ZGen).
 * Returns 0, -ENOKEY (update.recipient: none is for this key), -EOPNOTSUPP (update.recipient-algorithm), -EBADMSG (update.unwrap: the wrapped
 * key was altered, or its point is none), -EINVAL, or as agent_tpm_open() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_recipient_key_unwrap(struct agent_key *key, const struct agent_recipient *recipients, size_t n,
							     uint8_t ret_key[AGENT_RECIPIENT_KEY_MAX], size_t *ret_size, struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
