/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

static int run(struct store *store, void *data, struct agent_error **err)
{
	struct op_job *job = data;

	return job->type->run(store, job, err);
}

static void done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct op_job *job = data;

	if (r >= 0)
		r = job->type->reply(core, job, err);
	if (r < 0)
		op_fail(job->call, r, err);
}

static void release(void *data)
{
	op_job_free(data);
}

static const char *name_of(const void *data)
{
	return ((const struct op_job *)data)->type->name;
}

/* One row for all: what differs is in the type. */
static const struct job_ops ops = { .name_of = name_of, .run = run, .done = done, .free = release };

int op_job_new(struct op_call *call, const struct op_job_type *type, size_t size, struct op_job **ret_job, struct agent_error **err)
{
	struct op_job *job = calloc(1, size);

	if (job == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for %s", type->name);
	job->type = type;
	job->call = op_call_ref(call);
	*ret_job = job;
	return 0;
}

void op_job_free(struct op_job *job)
{
	if (job == NULL)
		return;
	if (job->type->free != NULL)
		job->type->free(job);
	op_call_unref(job->call);
	free(job);
}

int op_job_submit(struct op_job *job, enum worker_priority priority, unsigned timeout_s, struct agent_error **err)
{
	int r = worker_submit(job->call->core->worker, priority, &ops, job, timeout_s, err);

	if (r < 0) {
		/* The dispatcher answers with the reason. */
		op_job_free(job);
	}
	return r;
}

int op_job_end(struct op_job *job, int r, enum worker_priority priority, unsigned timeout_s, struct agent_error **err)
{
	if (r >= 0)
		return op_job_submit(job, priority, timeout_s, err);
	op_job_free(job);
	return r;
}

int op_job_answer(struct op_job *job, const char *what, int (*append)(sd_bus_message *reply, const struct op_job *job),
		  struct agent_error **err)
{
	sd_bus_message *reply;
	int r = op_reply_new(job->call, &reply, err);

	return r < 0 ? r : op_reply_end(job->call, reply, append(reply, job), what, err);
}

int op_job_answer_secret(struct op_job *job, const char *what, const struct secret *secret, struct agent_error **err)
{
	sd_bus_message *reply;
	int r = op_reply_new(job->call, &reply, err);

	if (r < 0)
		return r;
	(void)sd_bus_message_sensitive(reply);
	return op_reply_end(job->call, reply, sd_bus_message_append_array(reply, 'y', secret->data, secret->size), what, err);
}

int op_job_answer_rows(struct op_job *job, const char *what, size_t n,
		       int (*append)(sd_bus_message *reply, const struct op_job *job, size_t i), struct agent_error **err)
{
	sd_bus_message *reply;
	int r = op_reply_new(job->call, &reply, err);

	if (r < 0)
		return r;
	r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = sd_bus_message_open_container(reply, 'a', "{sv}");
		if (r >= 0)
			r = append(reply, job, i);
		if (r >= 0)
			r = sd_bus_message_close_container(reply);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return op_reply_end(job->call, reply, r, what, err);
}
