/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_WORKER_LOOP_H
#define CORE_WORKER_LOOP_H
/* Start and stop of the TPM thread, and what it needs of its surroundings: main.c gives the real ones, a test fakes. */
#include <systemd/sd-event.h>

#include "agentd/core/worker.h"

/* What the thread last saw; handed to the loop after every job and every attempt to open. */
struct worker_news {
	bool was_opened; /* the members below are filled, result says how it went */
	int result;
	struct agent_error *err;
	enum agent_tpm_state tpm_state;
	char tpm_detail[WORKER_DETAIL_MAX];
	uint64_t n_commands;
	bool is_open;
	int setup; /* enum agent_setup_state, or SETUP_STATE_UNKNOWN */
	uint64_t generation;
	struct agent_account accounts[AGENT_ACCOUNTS_MAX];
	size_t n_accounts;
	bool reset_is_done;
	bool has_floor, has_trust, has_tickets;
	uint64_t floor, trust, tickets;
	char *srk_name, *device_ca_pem, *device_ca_fingerprint; /* after opening only */
};

struct worker_hooks {
	/* In the thread. */
	int (*open)(struct store *store, struct agent_error **err);
	bool (*is_usable)(struct store *store); /* false: open() before the next job */
	void (*look)(struct store *store, struct worker_news *ret_news, bool was_opened);
	/* In the loop. */
	void (*news)(struct core *core, const struct worker_news *news);
	unsigned (*timeout_s)(struct core *core);
	/* In the thread: look whether the TPM is still of use, while there is nothing to do. NULL: never. */
	int (*probe)(struct store *store, struct agent_error **err);
	unsigned (*probe_s)(struct core *core); /* so often while all is well; 0: never */
};

/* @store is used by the thread alone until worker_stop() returned 0. */
int worker_start(struct core *core, sd_event *event, struct store *store, const struct worker_hooks *hooks,
		 struct worker **ret_worker, struct agent_error **err);
/* The first attempt to open the TPM is over. */
bool worker_has_tried(struct worker *worker);
/* -EBUSY when a command still hangs after 5 s: leave @store alone and exit. Jobs not done are freed without done(). */
int worker_stop(struct worker *worker);

#endif
