/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_MAC_H
#define AGENT_MAC_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** AGENT_MAC_SIZE - bytes of an HMAC-SHA-256 (RFC 2104, FIPS 198-1). Since: 0.1 */
#define AGENT_MAC_SIZE 32

/** struct agent_mac_ops - HMAC-SHA-256 with a key that cannot leave where it lives. Since: 0.1 */
struct agent_mac_ops {
	const char *backend;	/* "tpm", "test" */
	int (*compute)(void *userdata, const uint8_t *data, size_t size, uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err);
	void (*free)(void *userdata);
};

/** struct agent_mac - such a key; reference counted. One thread at a time, but for ref and unref. Since: 0.1 */
struct agent_mac;

/**
 * agent_mac_new() - wrap a backend
 * @ops:      lent for the object's life
 * @userdata: handed to @ops; owned by the object on success
 *
 * Does not block. Returns 0, -EINVAL (no backend), -ENOMEM. Since: 0.1
 */

AGENT_EXPORT AGENT_MUST_CHECK int agent_mac_new(const struct agent_mac_ops *ops, void *userdata, struct agent_mac **ret_mac,
						struct agent_error **err);
/** agent_mac_ref() - take one more reference, from any thread; returns @mac. Since: 0.1 */
AGENT_EXPORT struct agent_mac *agent_mac_ref(struct agent_mac *mac);
/** agent_mac_unref() - give one reference back; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_mac *agent_mac_unref(struct agent_mac *mac);
/** agent_mac_compute() - @size at most 1024 bytes (else -EMSGSIZE); may block on the TPM. Returns 0, -EINVAL or the backend's error. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_mac_compute(struct agent_mac *mac, const uint8_t *data, size_t size,
						    uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
