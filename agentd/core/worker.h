/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_WORKER_H
#define CORE_WORKER_H
/*
 * The one TPM thread of core. It owns every object that touches the TPM (struct store): only job functions, which run
 * there, use them. Jobs wait in bounded queues by priority; what comes of them is delivered in the event loop. All signals
 * are blocked in the thread: a signal in the middle of a command costs the ESYS context (docs/design/core.md).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/context.h>
#include <agent/counter.h>
#include <agent/error.h>
#include <agent/key.h>
#include <agent/mac.h>
#include <agent/password.h>
#include <agent/tpm.h>

#include "agentd/core/key_rights.h"

struct core;
struct settings;
struct worker;

#define STORE_MAX_KEYS 16
#define STORE_KEY_NAME_MAX 32
#define STORE_NEXT_NAME_MAX (STORE_KEY_NAME_MAX + 5) /* NAME.next, rotation.h */

/* What the thread owns. Members are NULL while the TPM or the record is not there. */
struct store {
	const struct settings *settings;
	struct agent_context *ctx; /* the thread's own */
	struct agent_tpm *tpm; /* stays from the first opening to the end: it knows what it left in the TPM */
	struct agent_counter *generation;
	struct agent_counter *floor;
	struct agent_counter *trust; /* version of the signers of updates */
	struct agent_counter *tickets; /* how many service tickets were used */
	struct agent_mac *mac;
	struct agent_password *password;
	struct store_key {
		char name[STORE_NEXT_NAME_MAX + 1];
		struct agent_key *key; /* NULL for a software key */
		struct agent_signer *signer;
		enum key_origin origin;
	} keys[STORE_MAX_KEYS + 1]; /* opened on first use; one more for a rotation */
	size_t n_keys;
	struct agent_key *ak; /* attestation key, opened on first use */
	struct agent_key *recipient; /* that bundles are encrypted to, opened on first use */
	char *device_ca_pem;
	int keys_fd, accounts_fd; /* STATE_DIR/keys and accounts */
	enum agent_setup_state setup; /* while !is_open only if setup_is_known */
	bool setup_is_known;
	bool is_open;		    /* everything that provisioning made was found and opened */
	bool has_floor, has_trust, has_tickets;
	bool reset_is_done;	    /* a factory reset came to its end; look_at_store() takes it */
	bool failures_are_void;	    /* the count on disk went with a reset; account_try_run() takes it */
	uint64_t floor_value, trust_value, tickets_value; /* as last read or raised */
};

/* The password record, or the reason why there is none: -ENOKEY "setup.recovery" or "setup.unprovisioned". */
int store_get_password(struct store *store, struct agent_password **ret_password, struct agent_error **err);

/* Who goes first. Each has its own bound on waiting jobs, over which worker_submit() answers -EBUSY "core.busy". */
enum worker_priority {
	WORKER_SIGN, /* a TLS handshake waits; 16 */
	WORKER_WORK, /* keys, certificates, counters; 16 */
	WORKER_HASH, /* password hashes; 4 */
	WORKER_VENDOR, /* applications: whatever they do, the agent and its owner go first; 32 */
	WORKER_PRIORITIES_
};

/*
 * A kind of job. @run: in the thread; the store is open or the job fails before with the reason. @done: in the loop,
 * exactly once, with what run() returned or -ETIMEDOUT "tpm.timeout"; in that case run() may still be going on, so done()
 * must leave alone what run() writes. *err may be taken. @late: in the loop, when run() of a job given up on came to its
 * end after all; may be NULL. @free: in the loop, last. @name: for people; NULL: @name_of says it.
 */
struct job_ops {
	const char *name;
	int (*run)(struct store *store, void *data, struct agent_error **err);
	void (*done)(struct core *core, void *data, int r, struct agent_error **err);
	void (*late)(struct core *core, void *data, int r);
	void (*free)(void *data);
	bool runs_closed; /* run() also while the store cannot be opened; store->tpm may then be NULL */
	const char *(*name_of)(const void *data);
};

/*
 * Queue a job. @timeout_s from now, including the wait in the queue; 0 for tpm.sign_timeout_s. @data belongs to the worker
 * on success; on failure (-EBUSY, -ENOMEM) it stays with the caller. Never blocks. done() is never called from inside.
 */
int worker_submit(struct worker *worker, enum worker_priority priority, const struct job_ops *ops, void *data,
		  unsigned timeout_s, struct agent_error **err);

/* What the loop may know of the TPM without asking it. */
#define WORKER_DETAIL_MAX 512
struct worker_info {
	enum agent_tpm_state tpm_state; /* BUSY also while a command hangs */
	char tpm_detail[WORKER_DETAIL_MAX]; /* why, "" when READY */
	uint64_t n_commands;
	uint64_t n_waiting;
	bool is_open;
};
void worker_get_info(struct worker *worker, struct worker_info *ret_info);

#endif
