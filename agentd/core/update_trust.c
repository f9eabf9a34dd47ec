/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The version of the signers of updates, in the TPM: agentd-install keeps the signed policies and says which one is in force, the
 * counter keeps what is not to come back. The file is written first. Killed between the two, the next report of agentd-install makes
 * up for it, and nothing is installed before.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

#include <agent/update.h>

#include "agentd/core/core.h"
#include "agentd/core/update_inside.h"
#include "base/macro.h"

#define RAISE_TIMEOUT_S 600

struct trust_job {
	uint64_t target;
	uint64_t reached; /* out */
};

static int trust_run(struct store *store, void *data, struct agent_error **err)
{
	struct trust_job *job = data;
	uint64_t target = job->target;
	int r;

	if (store->trust == NULL)
		return agent_error_set(err, -EKEYREJECTED, "update.trust-floor", "the counter of the signers of updates in the TPM was made again by somebody else");
	/* A version that is far ahead, of a device that begins with a folder that stands for many changes, takes several turns. */
	if (target > store->trust_value && target - store->trust_value > AGENT_UPDATE_FLOOR_STEPS_MAX)
		target = store->trust_value + AGENT_UPDATE_FLOOR_STEPS_MAX;
	r = agent_counter_raise(store->trust, target, AGENT_UPDATE_FLOOR_STEPS_MAX, err);
	if (r >= 0)
		r = agent_counter_get(store->trust, &job->reached, err);
	if (r < 0)
		return r;
	store->trust_value = job->reached;
	store->has_trust = true;
	return 0;
}

static void trust_done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct trust_job *job = data;
	struct updates *u = core->updates;
	char version[24];

	u->is_raising_trust = false;
	if (r < 0) {
		service_log(LOG_ERR, "the version of the signers of updates cannot be kept in the TPM: %s", agent_error_message(*err));
		return;
	}
	core->trust = job->reached;
	core->has_trust = true;
	snprintf(version, sizeof(version), "%" PRIu64, job->reached);
	event_add(core, EVENT_UPDATE_SIGNERS, "version", version, NULL);
	updates_keep_trust(core);
}

static const struct job_ops job_trust = { .name = "keeping the version of the signers", .run = trust_run, .done = trust_done, .free = free };

void updates_keep_trust(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct updates *u = core->updates;
	struct trust_job *job;

	if (!core->has_trust || u->is_raising_trust || u->report.trust_version <= core->trust)
		return;
	job = calloc(1, sizeof(*job));
	if (job == NULL)
		return; /* with the next report */
	job->target = u->report.trust_version;
	if (worker_submit(core->worker, WORKER_WORK, &job_trust, job, RAISE_TIMEOUT_S, &err) < 0) {
		service_log(LOG_WARNING, "%s", agent_error_message(err));
		free(job);
		return;
	}
	u->is_raising_trust = true;
}

int updates_check_trust(struct core *core, struct agent_error **err)
{
	if (!core->has_trust)
		return agent_error_set(err, -ENODEV, "update.trust-floor",
				       "the version of the signers in the TPM cannot be read; nothing is installed without it (a device of an older release: agentd --provision)");
	updates_keep_trust(core);
	if (core->updates->report.trust_version > core->trust)
		return agent_error_set(err, -EBUSY, "update.busy", "the signers of updates have changed, and the TPM does not know it yet");
	return 0;
}
