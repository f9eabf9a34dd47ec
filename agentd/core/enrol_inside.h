/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ENROL_INSIDE_H
#define CORE_ENROL_INSIDE_H
/* Shared by enrol.c (when), enrol_round.c (one attempt), enrol_trial.c (the new pair), enrol_work.c (TPM and files) and op_enrol.c (what people may ask). */
#include "agentd/common/est_kind.h"
#include "agentd/core/enrol.h"
#include "agentd/core/enrol_check.h"
#include "agentd/core/enrol_journal.h"
#include "agentd/core/store.h"
#include "base/secret.h"

#define ENROL_KEY STORE_KEY_DEVICE

/* What the server is shown. */
enum enrol_identity { IDENTITY_CURRENT, IDENTITY_FACTORY, IDENTITY_SECRET, IDENTITY_PAST, IDENTITIES_ };

/* What the server wants in a request; see fetch/est_read.h. */
struct enrol_wishes {
	bool wants_challenge, wants_serial;
	char key_type[16];
};

/* One attempt, from the first question to the server's last word. */
struct enrol_round {
	enum enrol_identity identities[IDENTITIES_];
	unsigned n_identities, at; /* the one in use; the next when it is refused */
	char *current, *factory;   /* PEM, NULL if there is none */
	char *anchors, *cacerts, *csr;
	struct secret secret;
	struct enrol_wishes wishes;
};

/* A new pair without a broker to judge it: enrol_trial.c. */
struct enrol_trial {
	bool is_busy;
	char id[65];	      /* certificate that the rest is about */
	unsigned n_failures, n_strikes;
	bool is_definite;     /* the last refusal can only be about the certificate */
	uint64_t next_us;     /* CLOCK_MONOTONIC: not tried before */
	char why[ROTATION_REASON_MAX + 1];
};

struct enrol {
	sd_event_source *timer;
	struct enrol_journal journal;
	bool is_damaged;	/* the journal cannot be read: nothing is begun over it */
	bool is_busy;		/* a round is under way */
	bool is_reset;		/* it is one of a former owner: what it gets is dropped */
	struct enrol_round round;
	struct enrol_trial trial;
	struct enrol_wishes wishes; /* of the last answer, for people */
	char detail[ENROL_REASON_MAX + 1];
};

/* What is known of the certificates, from files. */
struct enrol_scene {
	char *current, *factory; /* PEM */
	bool has_current, has_factory, has_secret;
	struct enrol_about about, factory_about;
	char id[65];	 /* of the current one */
	uint64_t due_s;	 /* when it is to be renewed */
};
int enrol_look(struct core *core, struct enrol_scene *ret_scene, struct agent_error **err);
void enrol_scene_clear(struct enrol_scene *scene);
/* est.ca_file and what a person confirmed, as one text; NULL: none. */
char *enrol_anchors(struct core *core);
const char *enrol_identity_name(enum enrol_identity identity);
/* Ask the server soon, because of a person. -EBUSY "est.busy", -ENOKEY "est.trust". */
int enrol_ask_now(struct core *core, bool new_key, struct agent_error **err);

/* ---- when (enrol.c) ------------------------------------------------------------------------------------------------------ */

/* The clock, 0 before 1970. */
uint64_t enrol_wall_s(const struct core *core);
/* What goes on, for people; made printable. */
void enrol_say(struct enrol *e, const char *detail);
/* Look at the state again after so long, or earlier. */
void enrol_step_in_s(struct core *core, uint64_t s);
int enrol_move(struct core *core, enum enrol_stage stage, uint64_t wait_s, const char *reason, struct agent_error **err);
/* Not now: again after @wait_s, or after a delay that grows where that is 0. Ends the round. */
void enrol_put_off(struct core *core, uint64_t wait_s, bool is_failure, const char *reason);

/* ---- one attempt (enrol_round.c) ----------------------------------------------------------------------------------------- */

/* What may be shown, best first. */
void enrol_choose_identities(struct enrol_round *round, const struct enrol_scene *scene, uint64_t now_s);
/* Takes the certificates of @scene. The journal says ASKING. */
void enrol_round_begin(struct core *core, struct enrol_scene *scene);
void enrol_round_end(struct enrol *e);
/* The next attempt makes a request anew: this one was refused, or asks for what is not wanted any more. A new key stays. */
int enrol_forget_request(struct core *core, struct agent_error **err);

/* ---- the trial of a new pair where no broker judges it (enrol_trial.c) ----------------------------------------------------- */

/* Does it come to core? Else agentd-link tells. */
bool enrol_judges(const struct core *core, const struct rotation *rotation);
/* The rotation is proving: try, or wait for the next attempt. */
void enrol_try(struct core *core);

/* ---- work in the TPM thread (enrol_work.c); done is called in the loop ------------------------------------------------- */

struct enrol_job;
typedef void (*enrol_done)(struct core *core, struct enrol_job *job, int r, struct agent_error **err);

enum enrol_work { ENROL_OPEN, ENROL_REQUEST, ENROL_TAKE, ENROL_END_TRIAL };

struct enrol_job {
	enum enrol_work work;
	enrol_done done;
	const struct settings *settings;
	/* in */
	bool needs_secret, new_key;
	struct enrol_wishes wishes;
	char *current, *csr, *anchors, *cacerts, *pem;
	uint64_t now_s;
	bool is_proved;
	char id[65], why[ROTATION_REASON_MAX + 1];
	/* out: to be read in done() only when it was successful */
	struct secret secret;
	char *csr_out;
	struct enrol_about about;
	struct rotation rotation;
	bool is_begun;
};

/* NULL texts stay NULL. */
int enrol_job_new(enum enrol_work work, enrol_done done, struct core *core, struct enrol_job **ret_job, struct agent_error **err);
void enrol_job_free(struct enrol_job *job);
/* Takes the job. */
int enrol_job_submit(struct core *core, struct enrol_job *job, struct agent_error **err);

#endif
