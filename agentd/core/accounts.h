/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ACCOUNTS_H
#define CORE_ACCOUNTS_H
/* Sessions, limits and device cookies of core, for op_session.c, op_password.c and op_account.c. */
#include "agentd/core/core.h"
#include "agentd/core/known.h"
#include "agentd/core/limits.h"
#include "agentd/core/session.h"
#include "base/secret.h"

#define ACCOUNT_USER AGENT_FIRST_ACCOUNT /* who root is taken for, and what the factory secret opens */

struct accounts {
	struct core *core;
	struct sessions sessions;
	struct limits *limits;
	struct known known;
	sd_event_source *timer; /* for sessions that run out */
	bool has_cookie_key;
	uint8_t cookie_key[COOKIE_KEY_SIZE];
	struct limit_counts disk_failures; /* as in STATE_DIR/accounts/failures; the TPM thread's once that runs */
	uint32_t *admin_uids;	/* members of group agentd-admin */
	size_t n_admin_uids;
};

/* Time since boot, suspended time included: what limits and sessions count in. */
uint64_t accounts_now_us(void);
/* Wall clock, for device cookies only. */
uint64_t accounts_wall_s(void);

/* uid 0 and core's own: whoever that is can reach the TPM anyway. */
bool account_is_owner_of_process(uint32_t uid);

/* Enter a session and say so in the audit log. *ret_expires_s: how long it lasts unused. */
int account_open_session(struct core *core, const struct session *session, char ret_token[TOKEN_TEXT_SIZE], uint64_t *ret_expires_s,
			 struct agent_error **err);
/* End a session; the caller tells the audit log. */
void account_close_session(struct core *core, uint64_t session_id);
/* Everybody's; after a reset. */
void account_end_all_sessions(struct core *core);
/* After something about an account changed: every session of it from before is over. */
void account_end_sessions_of(struct core *core, const char *user);
/* Is what the session was opened with still in force? */
bool account_session_is_good(const struct core *core, const struct session *session);
enum account_role account_role_of(enum agent_account_role role);

enum try_outcome { TRY_UNKNOWN, TRY_WRONG, TRY_RIGHT };

/*
 * One try of a password. account_try_admit() in the loop, before anything is hashed; account_try_run() in the TPM thread;
 * account_try_settle() in the loop when that is over.
 */
struct account_try {
	struct limit_who who;
	char user[CALLER_USER_MAX + 1]; /* "" for one that does not exist */
	char source[CALLER_SOURCE_MAX + 1];
	uint32_t uid;
	struct secret password;
	bool is_admitted; /* and not yet settled */
	/* written by account_try_run() */
	enum try_outcome outcome;     /* an errno would not do: a file or a TPM may say -EACCES as well */
	bool is_cheap;		      /* right, but it could not be hashed again at the cost that is asked for now */
	bool is_limited;	      /* right, but good for nothing than to set a password: the factory secret, or chosen by somebody else */
	struct agent_account account; /* whose it is; for the factory secret @since is the generation */
};

/* Whose budget a try of @caller is taken from. @cookie_id: of a device cookie whose MAC is right, or NULL. */
void account_identify(const struct accounts *accounts, const struct caller *caller, const uint8_t *cookie_id, struct limit_who *ret_who);
/* 0, or -EDQUOT "session.limited" with "(retry-after=N)" at the end of the sentence. */
int account_try_admit(struct core *core, struct account_try *try, struct agent_error **err);
/*
 * Count the try on disk, compare, and clear the count if it was right. 0, -EACCES "session.credentials"; anything else says
 * nothing about the password and is not counted.
 */
int account_try_run(struct accounts *accounts, struct store *store, struct account_try *try, struct agent_error **err);
/* Tell the limits and the audit log. Once; later calls do nothing. */
void account_try_settle(struct core *core, struct account_try *try);
/* Settles if need be, and wipes. */
void account_try_clear(struct core *core, struct account_try *try);

/* Text of the file with the counts; in words, so that a torn or foreign one is told from a count of zero. */
#define FAILURES_TEXT_MAX 256
int failures_parse(const char *text, size_t size, struct limit_counts *ret_counts);
size_t failures_format(const struct limit_counts *counts, char text[FAILURES_TEXT_MAX]);

#endif
