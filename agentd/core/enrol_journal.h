/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ENROL_JOURNAL_H
#define CORE_ENROL_JOURNAL_H
/*
 * How far the way to a new certificate is: STATE_DIR/keys/est, replaced as a whole with each move, without TPM and bus. Lines:
 *
 *   version 1 / stage NAME / cause NAME / new-key yes or no / failures N / since SECONDS / wait SECONDS / warned LEVEL ID / reason TEXT
 *
 * Beside it est.csr (the request that is being asked with), est.anchors (authorities whose fingerprint a person confirmed) and
 * est.secret (the one-time secret, sealed). The pair itself is rotation.h's: the old one stays until the new one was used.
 */
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>

#define ENROL_FILE "est"
#define ENROL_FILE_CSR "est.csr"
#define ENROL_FILE_ANCHORS "est.anchors"
#define ENROL_FILE_SECRET "est.secret"
#define ENROL_REASON_MAX 300

enum enrol_stage {
	ENROL_IDLE,    /* until the certificate in use is old enough, or somebody asks */
	ENROL_ASKING,  /* the server is asked, now or at the next start */
	ENROL_WAITING, /* asked again later: it said so, or it failed */
	ENROL_PROVING  /* rotation.h: the new certificate is on trial */
};

enum enrol_cause {
	ENROL_FIRST,   /* there is no certificate */
	ENROL_DUE,     /* old enough */
	ENROL_EXPIRED, /* too late */
	ENROL_PERSON   /* an administrator */
};

struct enrol_journal {
	enum enrol_stage stage;
	enum enrol_cause cause;
	bool new_key;
	unsigned failures;  /* in a row */
	uint64_t since_s;   /* clock when this stage was reached */
	uint64_t wait_s;    /* WAITING: so long from then on */
	unsigned warned;    /* of the certificate warned_id: 0 not, 1 a fifth, 2 a twentieth is left, 3 expired */
	char warned_id[65];
	char reason[ENROL_REASON_MAX + 1]; /* why the last attempt failed, or "" */
};

const char *enrol_stage_name(enum enrol_stage stage);
const char *enrol_cause_name(enum enrol_cause cause);

/* IDLE when there is no file. -EBADMSG "est.journal". */
int enrol_load(int keys_fd, struct enrol_journal *ret_journal, struct agent_error **err);
/* Make @next durable, then *@journal = *@next; -EPROTO "est.stage" if the table does not allow the move. A stage may be written again. */
int enrol_save(int keys_fd, struct enrol_journal *journal, const struct enrol_journal *next, struct agent_error **err);
/* One line of printable ASCII. */
void enrol_set_reason(struct enrol_journal *journal, const char *reason);

/* Remove a file of those above; no error if it is not there. */
int enrol_remove(int keys_fd, const char *file, struct agent_error **err);
/* All of them: factory reset. */
int enrol_forget(int keys_fd, struct agent_error **err);

/* Seconds left of WAITING at @now_s; a clock that was set back ends the wait. */
uint64_t enrol_left_s(const struct enrol_journal *journal, uint64_t now_s);
/* Full jitter (below min * 2^n, at most max), for the n-th failure in a row; @random: any 64 bits. */
uint64_t enrol_delay_s(unsigned n_failures, uint64_t min_s, uint64_t max_s, uint64_t random);
/*
 * When a certificate of @id (hex) that is valid from @from_s to @to_s is to be renewed: a moment of its own between @low and @high
 * percent of its life, the same at each start.
 */
uint64_t enrol_due_s(const char *id, uint64_t from_s, uint64_t to_s, unsigned low, unsigned high);
/* 0 to 3 as in warned. */
unsigned enrol_warning(uint64_t from_s, uint64_t to_s, uint64_t now_s);

#endif
