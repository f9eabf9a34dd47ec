/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CORE_H
#define CORE_CORE_H
/*
 * agentd: the one program that holds keys, accounts and policy. One event loop, one TPM thread (worker.h); all that other
 * programs may ask is a row of operations.def, which bus.c checks and hands to an op_*() function of an op_*.c file.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include <agent/error.h>
#include <agent/password.h>
#include <agent/time.h>

#include "agentd/common/events.h"
#include "agentd/common/operations.h"
#include "agentd/common/service.h"
#include "agentd/common/settings.h"
#include "agentd/core/link.h"
#include "agentd/core/worker.h"

struct accounts;
struct lists;
struct clients;
struct role_refusals;
struct clock;
struct commands;
struct audit;
struct enrol;
struct bus;
struct key_caller;
struct peer;
struct presence;
struct source;
struct updates;
struct policies;

#define SETUP_STATE_UNKNOWN (-1) /* the TPM did not answer yet, so nobody can tell */

struct core {
	struct service service;
	const struct settings *settings; /* = service.settings */
	sd_event *event;		 /* = service.event */
	struct worker *worker;
	struct audit *audit; /* audit.c */
	struct bus *bus;
	struct role_refusals *refusals; /* op_refused.c; NULL until there is one */
	struct clients *clients; /* known by a certificate: op_client.c; NULL until there is one */
	struct accounts *accounts; /* sessions and limits: accounts.c */
	struct updates *updates;   /* op_update.c */
	struct policies *policies; /* op_policy.c */
	struct presence *presence; /* presence.c */
	struct clock *clock;	   /* clock.c */
	struct agent_time *time;   /* what it is now, for certificates; any thread */
	struct enrol *enrol;	   /* enrol.c; NULL: certificates do not come by EST */
	struct commands *commands; /* op_command.c; NULL: none are taken */
	struct source *source;	   /* source.c; NULL: updates are not looked for */
	bool is_stream_asleep;	   /* agentd-mgmt has seen all there is: op_stream.c */
	int setup;		   /* enum agent_setup_state or SETUP_STATE_UNKNOWN, as of the last word from the worker */
	uint64_t generation;	   /* password generation that goes with it */
	struct agent_account people[AGENT_ACCOUNTS_MAX]; /* who may log in, likewise */
	size_t n_people;
	char *srk_name;		   /* hex, NULL while unknown */
	char *device_ca_pem;	   /* certificate of the device CA, NULL while unknown */
	char *device_ca_fingerprint;
	uint64_t floor;		   /* lowest security version that may be installed; cached, can only rise through us */
	bool has_floor;
	uint64_t trust;		   /* lowest version of the policy of signers that may be in force, likewise */
	bool has_trust;
	uint64_t tickets;	   /* how many service tickets were used, likewise */
	bool has_tickets;
	bool https_expiry_is_told; /* since the certificate was installed: op_https.c */
	struct link_told link;
	struct lists *lists;	/* lists.c */
	sd_bus_message *link_queues; /* what agentd-link last told of its queues, NULL before it did: op_queue.c */
	uint64_t start_us; /* CLOCK_MONOTONIC */
	int tpm_state;	   /* enum agent_tpm_state as last written to the event log, or -1 */
	int open_result;   /* how opening keys and record went last */
	uint64_t leaf_window_us;
	unsigned leaf_count;
	int keys_fd; /* STATE_DIR/keys, for reading rights (op_vendor.c) */
};

/* ---- who asks (accounts.c) -------------------------------------------------------------------------------------- */

#define CALLER_USER_MAX 32
#define CALLER_SOURCE_MAX 64

/* The person behind a call, as far as core could make sure. */
struct caller {
	char user[CALLER_USER_MAX + 1];
	char source[CALLER_SOURCE_MAX + 1]; /* "ip:192.0.2.7", "unix:1000": checked to be short printable ASCII */
	enum account_role role;		    /* ACCOUNT_SELF .. ACCOUNT_ADMIN */
	bool is_limited;		    /* session of scope "password": may do nothing but change the password or leave */
	uint32_t uid;			    /* BUS_NO_UID over the network */
	uint64_t session_id;		    /* 0: no session, known by uid */
	enum program program;		    /* through which door */
};

/* State of accounts.c; called once each. accounts_start() needs core->event and settings only. */
int accounts_start(struct core *core, struct agent_error **err);
void accounts_stop(struct core *core);

/*
 * Who holds @token (empty: who is @uid). -EACCES "session.required" when that is nobody. Knows nothing of the setup gate
 * and of the operation: the dispatcher checks those. Fast: neither TPM nor hash.
 */
int account_resolve(struct core *core, const char *token, uint32_t uid, const char *source, struct caller *ret_caller,
		    struct agent_error **err);
/*
 * The call just resolved is no use of the session (0: known by uid, there is none). Returns the seconds it has left,
 * UINT64_MAX for no end.
 */
uint64_t account_unuse(struct core *core, uint64_t session_id);
/* Failed logins in a row, for the status. */
uint64_t account_failures(const struct core *core);

/* The button for a factory reset, where the settings name one. */
int presence_start(struct core *core, struct agent_error **err);
void presence_stop(struct core *core);
/* A reset is over: nobody is known any more, and the count of failures begins at zero. */
void accounts_were_reset(struct core *core);

/*
 * The worker told (at start, after a change) what the password record says. Main thread. Emits SetupChanged when the
 * state differs from before. Whoever changes the password calls it as well, after ending the older sessions.
 */
void core_setup_changed(struct core *core, int setup, uint64_t generation);
/* The account of that name, lent; NULL if there is none. */
const struct agent_account *core_find_account(const struct core *core, const char *user);
/* "factory", "active", "recovery", "unprovisioned" or, while the TPM does not answer, "unavailable". */
const char *core_setup_name(const struct core *core);

/* ---- operations (bus.c) ----------------------------------------------------------------------------------------- */

/*
 * One call of an operation. A handler answers with op_reply() and friends, at once or later; for later it takes a
 * reference and gives it back after answering. A call that is dropped unanswered is answered with an error.
 */
struct op_call {
	unsigned n_refs;
	struct core *core;
	struct peer *peer;   /* referenced */
	sd_bus_message *msg; /* rows that begin with (sus): read position is after it */
	const struct operation *op;
	struct caller caller; /* rows with an account: resolved; else with (sus): source and uid only, both checked */
	bool is_answered;
	/* Of op_call_inner(): where the answer goes instead of to the peer; @answer is NULL and *err set when @r < 0. */
	void (*answered)(struct op_call *outer, sd_bus_message *answer, int r, struct agent_error **err);
	struct op_call *outer;
};

/* Returns 0 (answered, or will be) or a negative errno with *err, which the dispatcher sends. Arguments have the row's signature. */
typedef int (*op_handler)(struct core *core, struct op_call *call, struct agent_error **err);

struct operation {
	const char *method;
	op_handler handler;
	unsigned programs;	 /* enum program, or-ed */
	enum setup_gate gate;
	enum account_role role;
	const char *in, *out;
};

#define OP(method, handler, programs, gate, role, in, out) \
	int handler(struct core *core, struct op_call *call, struct agent_error **err);
#include "agentd/common/operations.def"
#undef OP

struct op_call *op_call_ref(struct op_call *call);
struct op_call *op_call_unref(struct op_call *call);
/* Answer with values, as in sd_bus_reply_method_return(). A peer that went away is no error. Returns 0. */
int op_reply(struct op_call *call, const char *types, ...);
/* The empty reply, to append to; then op_reply_end() with what came of that. */
int op_reply_new(struct op_call *call, sd_bus_message **ret_reply, struct agent_error **err);
/*
 * Takes @reply: sends it if @r >= 0, otherwise it is dropped and @r returned. *err then is what is there already, or else says that
 * @what ("the accounts") cannot be written.
 */
int op_reply_end(struct op_call *call, sd_bus_message *reply, int r, const char *what, struct agent_error **err);
/* All of it. */
int op_reply_made(struct core *core, struct op_call *call, int (*append)(struct core *core, sd_bus_message *m), const char *what, struct agent_error **err);
/* Answer with an error; takes and frees *err. Returns 0. */
int op_fail(struct op_call *call, int r, struct agent_error **err);
/* -EINVAL "bus.arguments": the signature was right, what is in it was not. */
int op_unreadable(const struct op_call *call, struct agent_error **err);
/*
 * A call that core makes itself while it works on @outer, of the same peer: op_call_message(), append the arguments behind (sus), then
 * op_call_inner(), which checks setup and role of @caller as for any other call and answers @fn once, now or later. -errno with *err: it was not made.
 */
int op_call_message(struct op_call *outer, const struct operation *op, sd_bus_message **ret_msg, struct agent_error **err);
int op_call_inner(struct op_call *outer, const struct operation *op, sd_bus_message *msg, const struct caller *caller,
		  void (*fn)(struct op_call *outer, sd_bus_message *answer, int r, struct agent_error **err), struct agent_error **err);
/* Program at the other end: "mgmt", "link", "fetch", "install", "vendor", "login". */
const char *op_call_program(const struct op_call *call);
/* Who is there, for rights on keys; lent (key_rights.h). */
const struct key_caller *op_call_key_caller(const struct op_call *call);
/* Event key.refused for this call; within limits where anybody may be the caller. */
void op_call_refused(struct op_call *call, const char *key, const char *reason);
/* Event @id for this call, with key, uid and unit; within limits too. */
void op_call_used(struct op_call *call, enum event_id id, const char *key);
/* Answers that wait to be read at the other end. */
uint64_t op_call_n_unread(const struct op_call *call);

/* Once, before anybody asks: finish what a power cut left of a rotation (op_rotation.c). */
void core_recover_rotation(struct core *core);
/* An event when the settings are others than at the last start. */
void configuration_look(struct core *core);

/* ---- audit events (audit.c) -------------------------------------------------------------------------------------- */

/*
 * Write an event to the log and the journal: pairs of key and value (a NULL value leaves the pair out), then NULL. Values
 * are escaped and shortened to 200 bytes here. Never pass a secret. Main thread. Failing to write is logged, not returned.
 */
void event_add(struct core *core, enum event_id id, ...) __attribute__((sentinel));

#endif
