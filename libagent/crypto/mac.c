/* SPDX-License-Identifier: Apache-2.0 */
#include <agent/mac.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MAC_INPUT_MAX 1024	/* TPM2_HMAC takes one buffer: TPM 2.0 Part 2, 10.4.8 TPM2B_MAX_BUFFER is at least this */

struct agent_mac {
	atomic_uint n_refs;
	const struct agent_mac_ops *ops;
	void *userdata;
};

int agent_mac_new(const struct agent_mac_ops *ops, void *userdata, struct agent_mac **ret_mac, struct agent_error **err)
{
	struct agent_mac *m;

	if (ops == NULL || ops->backend == NULL || ops->compute == NULL || ret_mac == NULL)
		return agent_error_set(err, -EINVAL, "mac.argument", "a MAC needs a backend that computes it");
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a MAC");
	atomic_init(&m->n_refs, 1);
	m->ops = ops;
	m->userdata = userdata;
	*ret_mac = m;
	return 0;
}

struct agent_mac *agent_mac_ref(struct agent_mac *mac)
{
	if (mac != NULL)
		atomic_fetch_add(&mac->n_refs, 1);
	return mac;
}

struct agent_mac *agent_mac_unref(struct agent_mac *mac)
{
	if (mac == NULL || atomic_fetch_sub(&mac->n_refs, 1) != 1)
		return NULL;
	if (mac->ops->free != NULL)
		mac->ops->free(mac->userdata);
	free(mac);
	return NULL;
}

int agent_mac_compute(struct agent_mac *mac, const uint8_t *data, size_t size, uint8_t ret_mac[AGENT_MAC_SIZE],
		      struct agent_error **err)
{
	if (mac == NULL || (data == NULL && size > 0) || ret_mac == NULL)
		return agent_error_set(err, -EINVAL, "mac.argument", "a MAC needs a key and data");
	if (size > MAC_INPUT_MAX)
		return agent_error_set(err, -EMSGSIZE, "mac.size", "%zu bytes to authenticate, limit %d", size, MAC_INPUT_MAX);
	return mac->ops->compute(mac->userdata, data, size, ret_mac, err);
}
