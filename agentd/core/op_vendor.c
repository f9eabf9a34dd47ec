/* SPDX-License-Identifier: Apache-2.0 */
/* What only applications ask for: signatures over their own messages, apart from everything else a key may sign. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <agent/client.h>

#include "agentd/core/core.h"
#include "agentd/core/job.h"
#include "agentd/core/key_permit.h"
#include "agentd/core/store.h"

struct app_job {
	struct op_job base;
	char name[33];
	struct key_meta meta;
	char label[AGENT_APP_LABEL_MAX + 1];
	char context[AGENT_APP_CONTEXT_MAX + 1];
	void *message;
	size_t message_size;
	/* out */
	uint8_t sig[AGENT_SIGNATURE_MAX];
	size_t sig_size;
};

static void app_job_free(struct op_job *base)
{
	free(((struct app_job *)base)->message);
}

static int app_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct app_job *job = (struct app_job *)base;
	uint8_t digest[AGENT_DIGEST_MAX];
	enum agent_key_type type;
	enum agent_hash hash;
	struct store_key *key;
	size_t size;
	int r;

	r = key_get_meant(store, job->name, &job->meta, &key, err);
	if (r < 0)
		return r;
	type = agent_signer_get_type(key->signer);
	r = agent_app_signature_digest(type, job->label, job->context, job->message, job->message_size, &hash, digest, &size, err);
	if (r < 0)
		return r;
	return agent_signer_sign(key->signer, type == AGENT_KEY_EC_P256 || type == AGENT_KEY_EC_P384 ? AGENT_SIGN_ECDSA : AGENT_SIGN_RSA_PSS,
				 hash, digest, size, job->sig, &job->sig_size, err);
}

static int append_signature(sd_bus_message *m, const struct op_job *base)
{
	const struct app_job *job = (const struct app_job *)base;
	int r = sd_bus_message_append_array(m, 'y', job->sig, job->sig_size);

	return r < 0 ? r : sd_bus_message_append_basic(m, 's', job->label);
}

static int app_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return op_job_answer(base, "the answer", append_signature, err);
}

static const struct op_job_type job_app = { .name = "application signature", .run = app_run, .reply = app_reply, .free = app_job_free };

static int fill_job(struct app_job *job, const char *name, const struct key_rule *rule, const char *context, const void *message,
		    size_t size, struct agent_error **err)
{
	strcpy(job->name, name);
	key_rule_label(rule, job->label, sizeof(job->label));
	strcpy(job->context, context);
	job->message = malloc(size > 0 ? size : 1);
	if (job->message == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a message of %zu bytes", size);
	if (size > 0)
		memcpy(job->message, message, size);
	job->message_size = size;
	return 0;
}

int op_app_sign(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *name, *context;
	const void *message = NULL;
	struct key_rule rule;
	struct op_job *base;
	struct key_meta meta;
	size_t size = 0;
	int r;

	if (sd_bus_message_read(call->msg, "ss", &name, &context) < 0 || sd_bus_message_read_array(call->msg, 'y', &message, &size) < 0)
		return op_unreadable(call, err);
	r = key_permit(core, call, name, PURPOSE_SIGN_APP, &meta, &rule, err);
	if (r < 0)
		return r;
	/* What the context may look like is checked with the digest. */
	if (strlen(context) > AGENT_APP_CONTEXT_MAX)
		return agent_error_set(err, -EINVAL, "app.context", "a context has 1 to %d printable ASCII characters", AGENT_APP_CONTEXT_MAX);
	if (size > AGENT_APP_MESSAGE_MAX)
		return agent_error_set(err, -EMSGSIZE, "app.message", "the message has %zu bytes, limit %d", size, AGENT_APP_MESSAGE_MAX);
	r = op_job_new(call, &job_app, sizeof(struct app_job), &base, err);
	if (r < 0)
		return r;
	((struct app_job *)base)->meta = meta;
	r = fill_job((struct app_job *)base, name, &rule, context, message, size, err);
	return op_job_end(base, r, WORKER_VENDOR, 0, err);
}
