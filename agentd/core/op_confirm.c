/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an update: confirmed, and the floor up; or rolled back. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <agent/update.h>

#include "agentd/core/ask.h"
#include "agentd/core/core.h"
#include "agentd/core/source.h"
#include "agentd/core/update_inside.h"
#include "base/macro.h"

#define FLOOR_TIMEOUT_S 600

/* ---- confirm: slot good -> floor up -> journal closed ----------------------------------------------------------- */

struct floor_job {
	struct op_call *call;
	uint64_t target;
	uint64_t reached; /* out */
};

static int end_confirming(struct core *core, int r)
{
	core->updates->is_confirming = false;
	return r;
}

static int on_confirm_done(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	const struct updates *u = core->updates;

	end_confirming(core, 0);
	if (r < 0)
		return r;
	source_wake(core);
	event_add(core, EVENT_UPDATE_CONFIRMED, "release", update_text(u->report.release_id), "version", update_text(u->report.version), "slot",
		  update_text(u->report.booted_slot), "user", call->caller.user, "source", call->caller.source, NULL);
	return updates_ask_status(core, call, err);
}

static int ask_confirm_done(struct core *core, struct op_call *call, struct agent_error **err)
{
	sd_bus_message *m;
	int r;

	r = ask_new(core, PROG_INSTALL, "ConfirmDone", &m, err);
	if (r >= 0)
		r = ask_send(core, PROG_INSTALL, m, 60, call, on_confirm_done, err);
	return r < 0 ? end_confirming(core, r) : 0;
}

static int floor_run(struct store *store, void *data, struct agent_error **err)
{
	struct floor_job *job = data;
	int r;

	if (store->floor == NULL)
		return agent_error_set(err, -EKEYREJECTED, "update.floor", "the rollback floor in the TPM was made again by somebody else");
	r = agent_counter_raise(store->floor, job->target, AGENT_UPDATE_FLOOR_STEPS_MAX, err);
	if (r == -ERANGE)
		agent_error_set(err, r, "update.floor", "security version %" PRIu64 " is more than %d above the floor; it is a count of releases, "
				"not a date", job->target, AGENT_UPDATE_FLOOR_STEPS_MAX);
	if (r >= 0)
		r = agent_counter_get(store->floor, &job->reached, err);
	if (r < 0)
		return r;
	store->floor_value = job->reached;
	store->has_floor = true;
	return 0;
}

static void floor_done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct floor_job *job = data;
	char before[24], after[24];

	if (r >= 0) {
		snprintf(before, sizeof(before), "%" PRIu64, core->floor);
		snprintf(after, sizeof(after), "%" PRIu64, job->reached);
		core->floor = job->reached;
		core->has_floor = true;
		event_add(core, EVENT_FLOOR_RAISED, "to", after, "user", job->call->caller.user, NULL);
		r = ask_confirm_done(core, job->call, err);
	} else {
		end_confirming(core, r);
	}
	if (r < 0)
		op_fail(job->call, r, err);
}

static void floor_free(void *data)
{
	struct floor_job *job = data;

	op_call_unref(job->call);
	free(job);
}

static const struct job_ops job_floor = { .name = "raising the rollback floor", .run = floor_run, .done = floor_done, .free = floor_free };

static int raise_floor(struct core *core, struct op_call *call, uint64_t target, struct agent_error **err)
{
	struct floor_job *job = calloc(1, sizeof(*job));
	int r;

	if (job == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory to raise the floor");
	job->call = op_call_ref(call);
	job->target = target;
	r = worker_submit(core->worker, WORKER_WORK, &job_floor, job, FLOOR_TIMEOUT_S, err);
	if (r < 0)
		floor_free(job);
	return r;
}

static int on_confirm(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	uint64_t target = 0;

	if (r >= 0 && sd_bus_message_read(reply, "t", &target) < 0)
		r = agent_error_set(err, -EBADMSG, "update.report", "agentd-install confirmed without a floor");
	if (r < 0)
		return end_confirming(core, r);
	/* Repeated after a power cut between the steps, each of them finds its work done. */
	if (core->has_floor && target <= core->floor)
		return ask_confirm_done(core, call, err);
	r = raise_floor(core, call, target, err);
	return r < 0 ? end_confirming(core, r) : 0;
}

int op_update_confirm(struct core *core, struct op_call *call, struct agent_error **err)
{
	sd_bus_message *m;
	int r;

	r = updates_check_free(core, err);
	if (r >= 0)
		r = ask_new(core, PROG_INSTALL, "Confirm", &m, err);
	if (r >= 0)
		r = ask_send(core, PROG_INSTALL, m, 60, call, on_confirm, err);
	if (r >= 0)
		core->updates->is_confirming = true;
	return r;
}

static int on_rollback(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	end_confirming(core, 0);
	if (r < 0)
		return r;
	source_wake(core);
	event_add(core, EVENT_UPDATE_ROLLED_BACK, "user", call->caller.user, "source", call->caller.source, NULL);
	return updates_ask_status(core, call, err);
}

int op_update_rollback(struct core *core, struct op_call *call, struct agent_error **err)
{
	sd_bus_message *m;
	int r;

	r = updates_check_free(core, err);
	if (r >= 0 && !core->has_floor)
		r = agent_error_set(err, -ENODEV, "update.floor", "the rollback floor in the TPM cannot be read");
	if (r >= 0)
		r = ask_new(core, PROG_INSTALL, "Rollback", &m, err);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "t", core->floor);
	if (r < 0) {
		ask_drop(core, PROG_INSTALL, m);
		return agent_error_set(err, r, "bus.call", "cannot ask for a rollback: %s", strerror(-r));
	}
	r = ask_send(core, PROG_INSTALL, m, 60, call, on_rollback, err);
	if (r >= 0)
		core->updates->is_confirming = true;
	return r;
}
