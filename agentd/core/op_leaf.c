/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <agent/cert.h>

#include "agentd/core/clock.h"
#include "agentd/core/core.h"
#include "agentd/core/job.h"
#include "agentd/core/store.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define LIFETIME_S (7 * 24 * 3600)
#define CLOCK_SLACK_S 3600 /* a browser's clock may be behind ours */
#define MAX_NAMES 32
#define MAX_PER_HOUR 10 /* one at each start of agentd-mgmt; a crash loop must not occupy the TPM */
#define SPKI_MAX 256	/* P-256 has 91 bytes, P-384 has 120 */

struct leaf_job {
	struct op_job base;
	uint8_t spki[SPKI_MAX];
	size_t spki_size;
	char names[MAX_NAMES][254];
	const char *list[MAX_NAMES + 1];
	size_t n_names;
	char common_name[128];
	char *leaf_pem, *ca_pem;
};

/* The device CA vouches for this device only: its own names and addresses, and what the configuration adds. */
static bool name_is_ours(const struct settings *settings, const char *name)
{
	unsigned char address[sizeof(struct in6_addr)];
	char own[300];

	if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1 || strcmp(name, "localhost") == 0)
		return true;
	snprintf(own, sizeof(own), "gw-%s.local", settings->device.serial);
	if (strcasecmp(name, own) == 0)
		return true;
	for (char **host = settings->mgmt.hosts; host != NULL && *host != NULL; host++)
		if (strcasecmp(name, *host) == 0)
			return true;
	return false;
}

static int run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct leaf_job *job = (struct leaf_job *)base;
	int64_t now = clock_now(base->call->core);
	struct agent_leaf_options options = {
		.common_name = job->common_name,
		.names = job->list,
		.not_before_s = now > CLOCK_SLACK_S ? (uint64_t)now - CLOCK_SLACK_S : 0,
		.lifetime_s = LIFETIME_S,
	};
	struct store_key *key;
	int r;

	r = store_get_key(store, STORE_KEY_DEVICE_CA, &key, err);
	if (r < 0)
		return r;
	job->ca_pem = strdup(store->device_ca_pem);
	if (job->ca_pem == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a certificate");
	return agent_device_ca_issue(store->ctx, key->signer, store->device_ca_pem, job->spki, job->spki_size, &options,
				     &job->leaf_pem, err);
}

static int reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	struct leaf_job *job = (struct leaf_job *)base;
	char n[16];

	snprintf(n, sizeof(n), "%zu", job->n_names);
	event_add(core, EVENT_CERT_MINTED, "host", job->names[0], "names", n, NULL);
	return op_reply(base->call, "ss", job->leaf_pem, job->ca_pem);
}

static void release(struct op_job *base)
{
	struct leaf_job *job = (struct leaf_job *)base;

	free(job->leaf_pem);
	free(job->ca_pem);
}

static const struct op_job_type job_leaf = { .name = "HTTPS certificate", .run = run, .reply = reply, .free = release };

static int check_rate(struct core *core, struct agent_error **err)
{
	uint64_t now = monotonic_us();

	if (core->leaf_count == 0 || now - core->leaf_window_us >= UINT64_C(3600) * 1000000) {
		core->leaf_window_us = now;
		core->leaf_count = 0;
	}
	if (core->leaf_count >= MAX_PER_HOUR)
		return agent_error_set(err, -EDQUOT, "leaf.rate", "%d HTTPS certificates were issued within the hour", MAX_PER_HOUR);
	core->leaf_count++;
	return 0;
}

static int read_arguments(const struct op_call *call, struct leaf_job *job, struct agent_error **err)
{
	sd_bus_message *msg = call->msg;
	const void *spki = NULL;
	const char *name;
	size_t size = 0;

	if (sd_bus_message_read_array(msg, 'y', &spki, &size) < 0 || sd_bus_message_enter_container(msg, 'a', "s") < 0)
		return op_unreadable(call, err);
	if (size == 0 || size > SPKI_MAX)
		return agent_error_set(err, -EINVAL, "leaf.key", "a public key of %zu bytes is not accepted", size);
	memcpy(job->spki, spki, size);
	job->spki_size = size;
	while (sd_bus_message_read(msg, "s", &name) > 0) {
		if (job->n_names == MAX_NAMES || strlen(name) >= sizeof(job->names[0]))
			return agent_error_set(err, -EINVAL, "leaf.names", "more than %d names, or one longer than 253 characters", MAX_NAMES);
		if (!name_is_ours(call->core->settings, name))
			return agent_error_set(err, -EPERM, "leaf.names", "'%.64s' is not a name of this device; mgmt.hosts may add it", name);
		strcpy(job->names[job->n_names], name);
		job->list[job->n_names] = job->names[job->n_names];
		job->n_names++;
	}
	if (job->n_names == 0)
		return agent_error_set(err, -EINVAL, "leaf.names", "a certificate without a name is not issued");
	snprintf(job->common_name, sizeof(job->common_name), "gw-%.60s", call->core->settings->device.serial);
	return 0;
}

int op_leaf_issue(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct op_job *base;
	int r;

	r = op_job_new(call, &job_leaf, sizeof(struct leaf_job), &base, err);
	if (r < 0)
		return r;
	r = read_arguments(call, (struct leaf_job *)base, err);
	if (r >= 0)
		r = check_rate(core, err);
	return op_job_end(base, r, WORKER_WORK, 0, err);
}
