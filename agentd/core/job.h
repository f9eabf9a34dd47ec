/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_JOB_H
#define CORE_JOB_H
/* An operation whose work is one job of the TPM thread: what goes in and comes out lives in a struct that begins with this. */
#include "agentd/core/core.h"
#include "base/secret.h"

struct op_job;

struct op_job_type {
	const char *name; /* for people: "signature" */
	/* In the TPM thread. */
	int (*run)(struct store *store, struct op_job *job, struct agent_error **err);
	/* In the loop, when run() succeeded: answer the call, or the reason why not. */
	int (*reply)(struct core *core, struct op_job *job, struct agent_error **err);
	/* In the loop: the members after struct op_job; may be NULL. */
	void (*free)(struct op_job *job);
};

struct op_job {
	const struct op_job_type *type;
	struct op_call *call;
};

/* @size bytes, zeroed, beginning with struct op_job. */
int op_job_new(struct op_call *call, const struct op_job_type *type, size_t size, struct op_job **ret_job, struct agent_error **err);
/* Takes the job also on failure. */
int op_job_submit(struct op_job *job, enum worker_priority priority, unsigned timeout_s, struct agent_error **err);
/* The end of a handler that filled a job with arguments: queue it if they were good (@r >= 0), else free it and return @r. */
int op_job_end(struct op_job *job, int r, enum worker_priority priority, unsigned timeout_s, struct agent_error **err);
void op_job_free(struct op_job *job);

/* Answer the call of a job with what @append writes; @what names it: "the list of keys". */
int op_job_answer(struct op_job *job, const char *what, int (*append)(sd_bus_message *reply, const struct op_job *job),
		  struct agent_error **err);
/* With @secret as bytes; the message is wiped when it is sent. */
int op_job_answer_secret(struct op_job *job, const char *what, const struct secret *secret, struct agent_error **err);
/* The same with an array of @n dictionaries; @append fills the open one of number @i. */
int op_job_answer_rows(struct op_job *job, const char *what, size_t n,
		       int (*append)(sd_bus_message *reply, const struct op_job *job, size_t i), struct agent_error **err);

#endif
