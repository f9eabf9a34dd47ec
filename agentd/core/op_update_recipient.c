/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bundles that bring the key of their images along, encrypted to devices. The key that can open it never leaves the TPM; what it is worth, the
 * key of one bundle, goes to agentd-install as in op_update_key.c. agentd-install read the envelope: here are fields of fixed sizes only.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <agent/cert.h>
#include <agent/recipient.h>

#include "agentd/common/peer.h"
#include "agentd/core/clock.h"
#include "agentd/core/core.h"
#include "agentd/core/job.h"
#include "agentd/core/store.h"
#include "agentd/core/update_inside.h"
#include "base/buf.h"
#include "base/macro.h"
#include "base/secret.h"

#define LIFETIME_S (UINT64_C(100) * 366 * 24 * 3600) /* as long as the device CA, to which it is cut */

/* ---- the certificate -------------------------------------------------------------------------------------------- */

struct recipient_job {
	struct op_job base;
	bool is_new;
	char *pem;
	char key_id[2 * AGENT_RECIPIENT_ID_SIZE + 1];
};

static void recipient_free(struct op_job *base)
{
	free(((struct recipient_job *)base)->pem);
}

static int issue(struct store *store, struct recipient_job *job, const uint8_t *spki, size_t size, struct agent_error **err)
{
	int64_t now = clock_now(job->base.call->core);
	char common_name[65];
	const struct agent_leaf_options options = {
		.common_name = common_name,
		.not_before_s = now > 0 ? (uint64_t)now : 0,
		.lifetime_s = LIFETIME_S,
		.for_encryption = 1,
	};
	struct store_key *ca;
	int r = store_get_key(store, STORE_KEY_DEVICE_CA, &ca, err);

	if (r < 0)
		return r;
	snprintf(common_name, sizeof(common_name), "Updates of %.50s", store->settings->device.serial);
	return agent_device_ca_issue(store->ctx, ca->signer, store->device_ca_pem, spki, size, &options, &job->pem, err);
}

static int recipient_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct recipient_job *job = (struct recipient_job *)base;
	_cleanup_free_ uint8_t *spki = NULL;
	uint8_t id[AGENT_RECIPIENT_ID_SIZE];
	struct agent_key *key;
	size_t size = 0;
	int r = store_get_recipient(store, true, &key, &job->is_new, err);

	if (r >= 0)
		r = agent_recipient_key_public(key, &spki, &size, err);
	if (r >= 0)
		r = agent_recipient_id(spki, size, id, err);
	if (r < 0)
		return r;
	hex_encode(id, sizeof(id), job->key_id);
	return issue(store, job, spki, size, err);
}

static int append_recipient(sd_bus_message *m, const struct op_job *base)
{
	const struct recipient_job *job = (const struct recipient_job *)base;
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = peer_append_string(m, "key_id", job->key_id);
	if (r >= 0)
		r = peer_append_string(m, "certificate", job->pem);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int recipient_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	const struct recipient_job *job = (const struct recipient_job *)base;

	if (job->is_new)
		event_add(core, EVENT_UPDATE_RECIPIENT, "key_id", job->key_id, "user", base->call->caller.user, "source", base->call->caller.source, NULL);
	return op_job_answer(base, "the certificate for updates", append_recipient, err);
}

static const struct op_job_type job_recipient = { .name = "certificate for updates", .run = recipient_run, .reply = recipient_reply, .free = recipient_free };

int op_update_recipient(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct op_job *base;
	int r = op_job_new(call, &job_recipient, sizeof(struct recipient_job), &base, err);

	return r < 0 ? r : op_job_end(base, r, WORKER_WORK, 0, err);
}

/* ---- a bundle's key --------------------------------------------------------------------------------------------- */

struct unwrap_job {
	struct op_job base;
	struct agent_recipient recipients[AGENT_RECIPIENTS_MAX];
	size_t n;
	struct secret key;
};

static void unwrap_free(struct op_job *base)
{
	secret_free(&((struct unwrap_job *)base)->key);
}

static int unwrap_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct unwrap_job *job = (struct unwrap_job *)base;
	struct agent_key *key;
	bool is_new;
	int r = store_get_recipient(store, false, &key, &is_new, err);

	if (r < 0)
		return r;
	if (secret_alloc(&job->key, AGENT_RECIPIENT_KEY_MAX) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a key");
	return agent_recipient_key_unwrap(key, job->recipients, job->n, job->key.data, &job->key.size, err);
}

static int unwrap_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return op_job_answer_secret(base, "the key of a bundle", &((struct unwrap_job *)base)->key, err);
}

static const struct op_job_type job_unwrap = { .name = "key of a bundle", .run = unwrap_run, .reply = unwrap_reply, .free = unwrap_free };

/* Exactly @size bytes, or, with @ret_size, at most. */
static int read_bytes(sd_bus_message *m, uint8_t *out, size_t size, size_t *ret_size)
{
	const void *data = NULL;
	size_t n = 0;
	int r = sd_bus_message_read_array(m, 'y', &data, &n);

	if (r < 0 || n > size || (ret_size == NULL && n != size))
		return -EINVAL;
	if (n > 0)
		memcpy(out, data, n);
	if (ret_size != NULL)
		*ret_size = n;
	return 0;
}

static int read_recipient(sd_bus_message *m, struct agent_recipient *x)
{
	if (read_bytes(m, x->key_id, sizeof(x->key_id), NULL) < 0 || read_bytes(m, x->point, sizeof(x->point), NULL) < 0 ||
	    read_bytes(m, x->wrapped, sizeof(x->wrapped), &x->wrapped_size) < 0)
		return -EINVAL;
	return sd_bus_message_read(m, "uu", &x->kdf_bits, &x->wrap_bits);
}

static int read_recipients(const struct op_call *call, struct unwrap_job *job, struct agent_error **err)
{
	sd_bus_message *m = call->msg;
	int r;

	if (sd_bus_message_enter_container(m, 'a', "(ayayayuu)") < 0)
		return op_unreadable(call, err);
	while ((r = sd_bus_message_enter_container(m, 'r', "ayayayuu")) > 0) {
		if (job->n == AGENT_RECIPIENTS_MAX || read_recipient(m, &job->recipients[job->n]) < 0)
			return agent_error_set(err, -EINVAL, "update.envelope", "agentd-install sent recipients that cannot be: more than %d, or of other sizes",
					       AGENT_RECIPIENTS_MAX);
		job->n++;
		if (sd_bus_message_exit_container(m) < 0)
			return op_unreadable(call, err);
	}
	return r < 0 ? op_unreadable(call, err) : 0;
}

int op_update_unwrap(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct op_job *base;
	int r = updates_check_key(core, err);

	if (r >= 0)
		r = op_job_new(call, &job_unwrap, sizeof(struct unwrap_job), &base, err);
	if (r < 0)
		return r;
	r = read_recipients(call, (struct unwrap_job *)base, err);
	core->updates->gave_key = core->updates->gave_key || r >= 0;
	return op_job_end(base, r, WORKER_WORK, 0, err);
}
