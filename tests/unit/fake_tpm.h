/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_FAKE_TPM_H
#define TESTS_UNIT_FAKE_TPM_H
/* A counter and a MAC in memory, which fail when told to. Include after test.h. */
#include <errno.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <agent/counter.h>
#include <agent/mac.h>

struct fake_counter {
	uint64_t value;
	int fail_get;		/* negative errno */
	int fail_before;	/* increment fails and does nothing */
	int fail_after;		/* increment works, but we are told that it failed */
	void (*on_increment)(void *userdata);
	void *userdata;
};

static int fake_counter_get(void *userdata, uint64_t *ret_value, struct agent_error **err)
{
	struct fake_counter *c = userdata;

	if (c->fail_get < 0)
		return agent_error_set(err, c->fail_get, "tpm.io", "the fake TPM does not answer");
	*ret_value = c->value;
	return 0;
}

static int fake_counter_increment(void *userdata, uint64_t *ret_value, struct agent_error **err)
{
	struct fake_counter *c = userdata;

	if (c->on_increment != NULL)
		c->on_increment(c->userdata);
	if (c->fail_before < 0)
		return agent_error_set(err, c->fail_before, "tpm.io", "the fake TPM refuses");
	c->value++;
	if (c->fail_after < 0)
		return agent_error_set(err, c->fail_after, "tpm.io", "the answer of the fake TPM got lost");
	*ret_value = c->value;
	return 0;
}

static const struct agent_counter_ops fake_counter_ops = { .get = fake_counter_get, .increment = fake_counter_increment };

struct fake_mac {
	uint8_t key[32];
	int fail;
};

static int fake_mac_compute(void *userdata, const uint8_t *data, size_t size, uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err)
{
	struct fake_mac *m = userdata;
	unsigned n = AGENT_MAC_SIZE;

	if (m->fail < 0)
		return agent_error_set(err, m->fail, "tpm.io", "the fake TPM does not answer");
	if (HMAC(EVP_sha256(), m->key, sizeof(m->key), data, size, ret_mac, &n) == NULL)
		return agent_error_set(err, -EIO, "test.hmac", "HMAC failed");
	return 0;
}

static const struct agent_mac_ops fake_mac_ops = { .backend = "test", .compute = fake_mac_compute };

#endif
