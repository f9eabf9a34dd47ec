/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_UPDATE_INSIDE_H
#define CORE_UPDATE_INSIDE_H
/* Between op_update.c (installations), update_report.c (what is told of them) and op_confirm.c (what comes after the reboot). */
#include "agentd/common/digests.h"
#include "agentd/core/core.h"
#include "agentd/core/update.h"

#define UPDATE_STALL_US (UINT64_C(600) * 1000000) /* no byte for this long: give the installation up */
#define UPDATE_WAITERS_MAX 8
#define UPDATE_URL_MAX 2048

/* What agentd-install says, copied. */
struct report {
	bool is_valid;
	char stage[16], booted_slot[33], target_slot[33], version[65], release_id[65], failed_release_id[65], manifest_sha256[65];
	uint64_t done_bytes, total_bytes, security_version, tries_left;
	uint64_t signed_s;	/* the last good bundle was; 0: nobody says */
	char signers[SIGNERS_TEXT], trusted_keys[KEYS_TEXT]; /* digests of keys, blanks between: whose signatures the release has, and whose count */
	uint64_t trust_version; /* of the policy of signers in force, when it is no lower than it was; else 0 */
};

/* A service ticket that an administrator gave: in memory only, so a restart takes it back. op_update_ticket.c */
struct update_ticket {
	char *text; /* NULL: none */
	char release_id[65];
	uint64_t security_version, not_after_s;
};

struct updates {
	struct report report;
	uint64_t last_id;
	uint64_t size;	    /* announced, or 0 */
	bool is_starting;   /* the programs are being asked whether they are there */
	bool is_installing; /* Begin is under way */
	bool is_fetching;   /* Download is under way */
	bool is_confirming; /* Confirm or Rollback */
	bool is_raising_trust;
	bool gave_key; /* to this installation */
	bool is_checking_ticket;
	bool has_dropped_ticket; /* the one that is being looked at was taken back meanwhile */
	struct update_ticket ticket;
	struct agent_error *error; /* why installation last_id failed, or NULL */
	struct {
		bool by_policy;	  /* nobody waits for it: update_run() */
		bool looks_only;
		char release_id[65], manifest_sha256[65]; /* what is to be installed; empty: anything */
		bool by_source;	  /* source.c asked; with what the source said of the bundle */
		char from[UPDATE_ACTION_MAX + 32];
		bool has_ticket;  /* agentd-install got it along */
		bool used_ticket;
		uint64_t tickets; /* the counter that it was told */
	} order;
	bool is_settling; /* what the source asked for is over, and it does not know yet */
	struct update_look look;	/* what was seen, when order.looks_only */
	struct agent_error *kept_error; /* that of the last installation, while there is a look */
	struct op_call *waiters[UPDATE_WAITERS_MAX];
	size_t n_waiters;
	sd_event_source *timer;
	char user[CALLER_USER_MAX + 1], source[CALLER_SOURCE_MAX + 1];
	char url[UPDATE_URL_MAX + 1];
};

/* Take over the report in @reply: was there a fall-back nobody has written down? -EBADMSG update.report. update_report.c */
int updates_take_report(struct core *core, sd_bus_message *reply, struct agent_error **err);
/* Answer @call with the update status as last heard. */
int updates_send_report(struct core *core, struct op_call *call, struct agent_error **err);
/* NULL for an empty text, which the bus and the events leave out. */
const char *update_text(const char *text);
/* Is there a key for encrypted images? */
bool updates_have_key(const struct core *core);
/* May agentd-install have a key for encrypted images now? -EPERM update.key */
int updates_check_key(const struct core *core, struct agent_error **err);
/* Raise the counter in the TPM to the version of the signers that agentd-install told of, if it is behind. */
void updates_keep_trust(struct core *core);
/* May something be installed: is that version known, and kept? -ENODEV update.trust-floor, -EBUSY update.busy */
int updates_check_trust(struct core *core, struct agent_error **err);
/*
 * Append to Begin what lets a release below the floor in: ticket, device, counter; empty for an installation that no person began, and while
 * nobody vouches for the clock.
 */
int updates_append_ticket(struct core *core, sd_bus_message *m);
/* -EBUSY update.busy */
int updates_check_free(struct core *core, struct agent_error **err);
/* Ask agentd-install how things are; the answer goes to @call, or is only remembered if that is NULL. */
int updates_ask_status(struct core *core, struct op_call *call, struct agent_error **err);

#endif
