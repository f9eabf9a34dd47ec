/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_UPDATE_POLICY_H
#define CORE_UPDATE_POLICY_H
/*
 * When is an update that somebody offers installed? The offer, what its owner said to it, and the policy, in one file that is
 * replaced with every change: a power cut leaves the old or the new. No clock, no bus and no loop in here: those are handed in.
 * docs/design/update.md has the states.
 */
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <agent/error.h>

#define POLICY_FILE "offer"
#define POLICY_URL_MAX 2048
#define POLICY_REFERENCE_MAX 64
#define POLICY_NAME_MAX 64
#define POLICY_ACTION_MAX 96	/* "hawkbit 5" */
#define POLICY_ADVISORY_MAX 255
#define POLICY_WINDOWS_MAX 16

enum policy_mode { POLICY_AUTOMATIC, POLICY_WINDOW, POLICY_APPROVAL, POLICY_MODES_ };

enum offer_state {
	OFFER_NONE,
	OFFER_ANNOUNCED,  /* an address; the bundle was not looked into yet */
	OFFER_WAITING,	  /* looked into and good, not installed yet */
	OFFER_INSTALLING,
	OFFER_INSTALLED,  /* in the slot; what becomes of it is the business of the stages */
	OFFER_REFUSED,	  /* cannot be installed; another offer takes its place */
	OFFER_STATES_
};

/* Why a waiting offer waits. */
enum offer_wait { WAIT_NOTHING, WAIT_APPROVAL, WAIT_WINDOW, WAIT_CLOCK, WAIT_POSTPONED, WAIT_RETRY, WAITS_ };

/* From minute to minute of the week that begins on Sunday; @to may lie in the next week. */
struct policy_window {
	unsigned days;	/* bit 0: Sunday */
	unsigned from_min, to_min; /* of the day it begins on; to_min up to 48 * 60 */
};

struct policy {
	/* From the configuration. */
	enum policy_mode default_mode;
	struct policy_window windows[POLICY_WINDOWS_MAX];
	unsigned n_windows;
	unsigned n_postpone_max;
	uint64_t postpone_total_s;
	int dir_fd;

	/* Kept in the file. */
	bool has_mode;
	enum policy_mode mode;	/* the owner's choice, if has_mode */
	enum offer_state state;
	char url[POLICY_URL_MAX + 1], reference[POLICY_REFERENCE_MAX + 1];
	char release_id[POLICY_NAME_MAX + 1], version[POLICY_NAME_MAX + 1], kind[9], advisory[POLICY_ADVISORY_MAX + 1];
	char manifest_sha256[POLICY_NAME_MAX + 1]; /* the bundle: what is approved and installed is these signed bytes */
	uint64_t security_version;
	char approved_by[33];	/* empty: nobody yet */
	/* Of what a source offers no release is known before it is installed: its action is approved, at the version that was shown. */
	char source_action[POLICY_ACTION_MAX + 1], source_version[POLICY_NAME_MAX + 1];
	unsigned n_postponed;
	uint64_t postponed_total_s, postponed_s; /* in all; still to go, counted while the device runs */
	/* The restart into what was installed without a person: update_reboot.h. */
	char reboot_release[POLICY_NAME_MAX + 1];
	uint64_t reboot_asked, reboot_held_s, n_reboot_postponed, reboot_postponed_total_s, reboot_postponed_s;
	uint64_t seen_s;	/* latest time that was believed */
	char error_name[64], error[256];

	/* Not kept. */
	unsigned n_tries;
	uint64_t retry_at_s;	/* of the clock of policy_decide() */
};

struct policy_now {
	uint64_t running_s;	/* monotonic */
	uint64_t wall_s;	/* since 1970, as the clock says */
	bool clock_is_set;	/* somebody set it from outside, as far as anybody can tell */
	struct tm local;	/* wall_s in the time zone of the windows */
	bool is_left;		/* somebody went back from the release of the offer to the one before */
};

const char *policy_mode_name(enum policy_mode mode);
/* false: there is none of that name. */
bool policy_mode_find(const char *name, enum policy_mode *ret_mode);
const char *offer_state_name(enum offer_state state);
/* "approval", "window", "clock", "postponed", "retry"; "" for WAIT_NOTHING. */
const char *offer_wait_name(enum offer_wait wait);

/* "mon-fri 02:00-04:00", "sat,sun 22:00-06:00", "daily 00:00-24:00". -EINVAL update.windows. */
int policy_window_parse(const char *text, struct policy_window *ret_window, struct agent_error **err);
bool policy_window_is_open(const struct policy_window *window, const struct tm *local);
/* A POSIX TZ string as "UTC0" or "CET-1CEST,M3.5.0,M10.5.0/3"; never the name of a file. -EINVAL update.time_zone. */
int policy_zone_check(const char *zone, struct agent_error **err);

enum policy_mode policy_mode_now(const struct policy *policy);
/* Is the time neither before what was seen already nor unknown? */
bool policy_clock_is_trusted(const struct policy *policy, const struct policy_now *now);
/* Is one of the windows open by that clock? */
bool policy_in_window(const struct policy *policy, const struct policy_now *now);
/* Why the offer, which is in state WAITING (or ANNOUNCED, to be looked into), is not gone on with now. */
enum offer_wait policy_decide(const struct policy *policy, const struct policy_now *now);

/* Read the file. An installation that was under way waits again. Damaged: -EBADMSG update.offer, and the offer is none. */
int policy_load(struct policy *policy, struct agent_error **err);
/* file.*: the change is in memory all the same. */
int policy_save(const struct policy *policy, struct agent_error **err);

/* Each is one row of the table of moves, else -EPROTO update.offer-move; none of them saves. */
/* An address. The same again changes nothing; 1 if it is news. -EINVAL update.url, -EBUSY update.busy while one is installed. */
int policy_announce(struct policy *policy, const char *url, const char *reference, struct agent_error **err);
int policy_withdraw(struct policy *policy, struct agent_error **err);
/* What was found in a bundle that was looked into; texts are lent. */
struct policy_found {
	const char *release_id, *version, *kind, *advisory;
	const char *manifest_sha256; /* 64 digits */
	uint64_t security_version;
};
/* An approval counts for a bundle and a postponement for a release, so another one begins anew. */
int policy_looked(struct policy *policy, const struct policy_found *found, struct agent_error **err);
int policy_move(struct policy *policy, enum offer_state to, struct agent_error **err);
/* It did not work this time: again after a while that doubles from 1 minute to 1 hour. */
void policy_put_off(struct policy *policy, uint64_t running_s, const struct agent_error *why);
/* -ENOENT update.nothing, -EPERM update.policy (it is another release that waits, or another bundle of that name). */
int policy_approve(struct policy *policy, const char *release_id, const char *manifest_sha256, const char *user, struct agent_error **err);
/* Another action takes its place. -EINVAL update.action: no name for one. */
int policy_approve_action(struct policy *policy, const char *action, const char *version, struct agent_error **err);
bool policy_action_is_approved(const struct policy *policy, const char *action, const char *version);
/* -ENOENT update.nothing, -EINVAL update.postpone (0 hours), -EDQUOT update.postpone (often enough, or long enough). */
int policy_postpone(struct policy *policy, uint64_t hours, struct agent_error **err);
/* May @release_id, put off so often and by so much, be put off by @hours more? */
int policy_postpone_check(const struct policy *policy, const char *release_id, uint64_t n, uint64_t total_s, uint64_t hours, struct agent_error **err);

#endif
