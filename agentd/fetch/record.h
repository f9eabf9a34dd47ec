/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_RECORD_H
#define FETCH_RECORD_H
/*
 * What the source of updates asked for, how far that is, and what it has been told: one small file in LINK_DIR, written before
 * the work that it announces. And what core says of the device, which moves it on.
 */
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>

#define RECORD_FILE "source.json"
#define ACTION_MAX 64
#define REASON_MAX 400
#define TRIES_MAX 10	/* downloads that broke, for one action */

enum record_phase {
	RECORD_NONE,
	RECORD_ACCEPTED,  /* to be installed, or being installed */
	RECORD_INSTALLED, /* in the other slot; awaits boot and confirmation */
	RECORD_ENDED	  /* success or failure; is_told when the server knows, or is not to know */
};

struct record {
	enum record_phase phase;
	char source[16];			/* "hawkbit" or "index" */
	char action[ACTION_MAX + 1];		/* of hawkBit; release id of an index */
	char version[65];			/* as the server calls it */
	char good_version[65];			/* of the last action that was a success */
	char before[65];			/* release that was there when it was accepted */
	char release_id[65];			/* of the bundle, once installed */
	char slot[33];				/* that it was put into */
	char reason[REASON_MAX + 1];		/* of a failure */
	char attributes[65];			/* digest of those told last */
	unsigned n_tries;
	unsigned n_told_tries;			/* attempts to tell the result */
	unsigned told;				/* progress told: quarters of the bytes, 5 installed, 6 booted */
	bool is_success, is_told;
	bool is_fallback;			/* the old version is to be told as well */
};

/* What core knows, as of now. */
struct device {
	char stage[16], booted_slot[33], target_slot[33], version[65], release_id[65], failed_release_id[65];
	char product[65], serial[65], model[65], agent_version[33];
	uint64_t done_bytes, total_bytes, floor;
	char waits_for[16];			/* what the policy of the device wants first; "" for nothing */
	char approved[ACTION_MAX + 1], approved_version[65]; /* what somebody let in all the same; "" for nothing */
	bool is_busy;				/* an installation is under way */
	char action[ACTION_MAX + 1];		/* of the last installation, if it was ours; or "" */
	bool has_outcome;			/* of that installation, not taken yet */
	char outcome[65];			/* error name, "" for success */
	char outcome_text[REASON_MAX + 1];
};

/* A missing or damaged file is an empty record: the server tells again what is to be done. */
int record_load(const char *dir, struct record *ret_record, struct agent_error **err);
int record_save(const char *dir, const struct record *record, struct agent_error **err);
bool record_is_equal(const struct record *a, const struct record *b);

/* Move @record on by what happened to the device. *ret_just_broke: a try failed and may be repeated, but not at once. */
void record_settle(struct record *record, const struct device *device, bool *ret_just_broke);
/* A new action, not tried yet; keeps what does not belong to an action. */
void record_accept(struct record *record, const char *source, const char *action, const struct device *device);
/* End it as a failure. */
void record_fail(struct record *record, const char *fmt, ...) AGENT_PRINTF(2, 3);
/* Is the installation of this record's action under way? */
bool record_is_installing(const struct record *record, const struct device *device);

#endif
