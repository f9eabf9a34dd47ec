/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <syslog.h>
#include <time.h>

#include "agentd/core/clients.h"
#include "agentd/core/store.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define ADMIN_GROUP "agentd-admin"
#define MAX_ADMIN_UIDS 256
#define MAX_USERS 10000 /* a gateway's user database is a file; where it is not, do not hold up the start */

uint64_t accounts_now_us(void)
{
	return running_us();
}

uint64_t accounts_wall_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec < 0 ? 0 : (uint64_t)ts.tv_sec;
}

/* ---- the count of failures on disk ------------------------------------------------------------------------------ */

static void read_failures(struct core *core, struct limit_counts *ret_counts)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_free_ char *path = NULL, *text = NULL;
	size_t size;
	int r;

	/* When someone or something broke it: the owner gets in by cookie or console, strangers do not. */
	*ret_counts = (struct limit_counts){ .all = LIMITS_CLOSE_AFTER };
	if (asprintf(&path, "%s/accounts/" STORE_FILE_FAILURES, core->settings->paths.state_dir) < 0) {
		path = NULL;
		return;
	}
	r = file_read_at(AT_FDCWD, path, FAILURES_TEXT_MAX, &text, &size, &err);
	if (r == -ENOENT)
		*ret_counts = (struct limit_counts){ 0 };
	else if (r < 0 || failures_parse(text, size, ret_counts) < 0)
		service_log(LOG_WARNING, "%s cannot be read: strangers may not log in until a login by other means succeeds", path);
}

/* In the TPM thread. */
static int write_failures(const struct store *store, const struct limit_counts *counts, struct agent_error **err)
{
	char text[FAILURES_TEXT_MAX];
	size_t n = failures_format(counts, text);

	return file_replace_at(store->accounts_fd, STORE_FILE_FAILURES, 0600, text, n, err);
}

/* ---- who is admin on the Unix socket ---------------------------------------------------------------------------- */

bool account_is_owner_of_process(uint32_t uid)
{
	return uid != BUS_NO_UID && (uid == 0 || uid == (uint32_t)geteuid());
}

/* Those and members of group agentd-admin: admin on the Unix socket without a session. */
static bool account_is_admin_uid(const struct accounts *accounts, uint32_t uid)
{
	if (uid == BUS_NO_UID)
		return false;
	if (account_is_owner_of_process(uid))
		return true;
	for (size_t i = 0; i < accounts->n_admin_uids; i++)
		if (accounts->admin_uids[i] == uid)
			return true;
	return false;
}

static void add_admin(struct accounts *a, uint32_t uid)
{
	if (a->n_admin_uids < MAX_ADMIN_UIDS && !account_is_admin_uid(a, uid))
		a->admin_uids[a->n_admin_uids++] = uid;
}

/* Looked up once: inside the sandbox the user database is out of reach. Changes count from the next start on. */
static int find_admins(struct accounts *a)
{
	const struct group *group = getgrnam(ADMIN_GROUP);
	const struct passwd *user;
	gid_t gid;

	a->admin_uids = calloc(MAX_ADMIN_UIDS, sizeof(*a->admin_uids));
	if (a->admin_uids == NULL)
		return -ENOMEM;
	if (group == NULL)
		return 0;
	gid = group->gr_gid;
	for (char **member = group->gr_mem; *member != NULL; member++) {
		user = getpwnam(*member);
		if (user != NULL)
			add_admin(a, (uint32_t)user->pw_uid);
	}
	/* Whose first group it is does not stand in the group's own list. */
	setpwent();
	for (size_t i = 0; i < MAX_USERS && (user = getpwent()) != NULL; i++)
		if (user->pw_gid == gid)
			add_admin(a, (uint32_t)user->pw_uid);
	endpwent();
	return 0;
}

/* ---- start ------------------------------------------------------------------------------------------------------ */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

int accounts_start(struct core *core, struct agent_error **err)
{
	struct accounts *a = calloc(1, sizeof(*a));
	uint8_t key[16];
	int r;

	if (a == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for accounts");
	core->accounts = a;
	a->core = core;
	r = find_admins(a);
	if (r < 0)
		return agent_error_set(err, r, "core.memory", "no memory for accounts");
	if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
		return agent_error_set(err, -EIO, "core.random", "no random numbers");
	read_failures(core, &a->disk_failures);
	a->limits = limits_new(key, &a->disk_failures, accounts_now_us());
	if (a->limits == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for accounts");
	r = sd_event_add_time(core->event, &a->timer, CLOCK_BOOTTIME, UINT64_MAX, 1000000, on_timer, a);
	if (r >= 0)
		r = sd_event_source_set_enabled(a->timer, SD_EVENT_OFF);
	if (r < 0)
		return agent_error_set(err, r, "core.timer", "cannot make a timer for sessions: %s", strerror(-r));
	return 0;
}

void accounts_stop(struct core *core)
{
	struct accounts *a = core->accounts;

	if (a == NULL)
		return;
	session_end_all(&a->sessions);
	limits_free(a->limits);
	sd_event_source_disable_unref(a->timer);
	wipe(a->cookie_key, sizeof(a->cookie_key));
	free(a->admin_uids);
	free(a);
	core->accounts = NULL;
}

void accounts_were_reset(struct core *core)
{
	struct accounts *a = core->accounts;
	bool was_closed = limits_is_closed(a->limits);

	account_end_all_sessions(core);
	limits_forget(a->limits);
	known_forget(&a->known);
	event_add(core, EVENT_FACTORY_RESET_DONE, NULL);
	if (was_closed)
		event_add(core, EVENT_STRANGERS_OPENED, "reason", "factory reset", NULL);
}

uint64_t account_failures(const struct core *core)
{
	return core->accounts == NULL ? 0 : limits_get_failures(core->accounts->limits);
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

static void arm_timer(struct accounts *a)
{
	uint64_t next_us = session_next_end(&a->sessions);

	if (next_us == UINT64_MAX) {
		sd_event_source_set_enabled(a->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(a->timer, next_us);
	sd_event_source_set_enabled(a->timer, SD_EVENT_ONESHOT);
}

static void tell_expired(struct core *core, const struct session *s, const char *reason)
{
	event_add(core, EVENT_SESSION_EXPIRED, "user", s->user, "source", s->source, "reason", reason, NULL);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct accounts *a = userdata;
	struct session s;

	while (session_take_expired(&a->sessions, accounts_now_us(), &s))
		tell_expired(a->core, &s, "time is over");
	arm_timer(a);
	return 0;
}

int account_open_session(struct core *core, const struct session *session, char ret_token[TOKEN_TEXT_SIZE], uint64_t *ret_expires_s,
			 struct agent_error **err)
{
	struct accounts *a = core->accounts;
	uint64_t now_us = accounts_now_us();
	struct session displaced;
	int r;

	on_timer(a->timer, now_us, a); /* rather one that is over than one in use */
	r = session_add(&a->sessions, session, now_us, ret_token, &displaced);
	if (r < 0)
		return agent_error_set(err, r, "core.random", "no random numbers for a session");
	if (displaced.id != 0)
		tell_expired(core, &displaced, displaced.is_limited ? "a newer login to set a password" : "too many sessions");
	*ret_expires_s = session_expires_s(session_find(&a->sessions, ret_token, now_us), now_us);
	known_add(&a->known, session->source, now_us);
	event_add(core, EVENT_SESSION_CREATED, "user", session->user, "source", session->source, "scope",
		  session->is_limited ? "password" : "full", NULL);
	arm_timer(a);
	return 0;
}

void account_close_session(struct core *core, uint64_t session_id)
{
	struct session *s = session_get(&core->accounts->sessions, session_id);

	if (s != NULL)
		session_end(s);
	arm_timer(core->accounts);
}

void account_end_sessions_of(struct core *core, const char *user)
{
	struct sessions *sessions = &core->accounts->sessions;

	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (sessions->slots[i].id != 0 && strcmp(sessions->slots[i].user, user) == 0)
			session_end(&sessions->slots[i]);
	arm_timer(core->accounts);
}

enum account_role account_role_of(enum agent_account_role role)
{
	return role == AGENT_ROLE_ADMIN ? ACCOUNT_ADMIN : role == AGENT_ROLE_OPERATOR ? ACCOUNT_OPERATOR : ACCOUNT_VIEWER;
}

bool account_session_is_good(const struct core *core, const struct session *s)
{
	const struct agent_account *account = core_find_account(core, s->user);

	if (core->setup == AGENT_SETUP_FACTORY)
		return s->is_limited && s->since == core->generation;
	return account != NULL && account->since == s->since && account->must_change == s->is_limited;
}

void account_end_all_sessions(struct core *core)
{
	session_end_all(&core->accounts->sessions);
	arm_timer(core->accounts);
}

int account_resolve(struct core *core, const char *token, uint32_t uid, const char *source, struct caller *ret_caller,
		    struct agent_error **err)
{
	struct accounts *a = core->accounts;
	struct caller caller = { .uid = uid };
	struct session *s;

	snprintf(caller.source, sizeof(caller.source), "%s", source);
	if (token[0] == '\0') {
		if (!account_is_admin_uid(a, uid))
			return agent_error_set(err, -EACCES, "session.required", "log in first");
		snprintf(caller.user, sizeof(caller.user), ACCOUNT_USER);
		caller.role = ACCOUNT_ADMIN;
		*ret_caller = caller;
		return 0;
	}
	if (clients_find(core, token, &caller)) {
		*ret_caller = caller;
		return 0;
	}
	/* A token that counts for nothing is refused also from root: whoever shows one wants to be known by it. */
	s = session_find(&a->sessions, token, accounts_now_us());
	if (s != NULL && !account_session_is_good(core, s)) {
		session_end(s); /* password or role was changed under it */
		s = NULL;
	}
	arm_timer(a);
	if (s == NULL)
		return agent_error_set(err, -EACCES, "session.required", "this session is over: log in again");
	memcpy(caller.user, s->user, sizeof(caller.user));
	caller.role = s->role;
	caller.is_limited = s->is_limited;
	caller.session_id = s->id;
	*ret_caller = caller;
	return 0;
}

uint64_t account_unuse(struct core *core, uint64_t session_id)
{
	struct session *s = session_get(&core->accounts->sessions, session_id);

	if (s == NULL)
		return UINT64_MAX;
	session_unuse(s);
	arm_timer(core->accounts);
	return session_expires_s(s, accounts_now_us());
}

/* ---- tries ------------------------------------------------------------------------------------------------------ */

void account_identify(const struct accounts *accounts, const struct caller *caller, const uint8_t *cookie_id, struct limit_who *ret_who)
{
	enum limit_bucket bucket = LIMIT_USER;

	/* Only programs of root reach the login door, so only they can say that somebody is at a terminal. */
	if (caller->program == PROG_LOGIN && strncmp(caller->source, "tty:", 4) == 0)
		bucket = LIMIT_CONSOLE;
	else if (caller->uid == BUS_NO_UID)
		bucket = LIMIT_STRANGER;
	else if (account_is_admin_uid(accounts, caller->uid))
		bucket = LIMIT_ROOT;
	limits_identify(accounts->limits, caller->source, bucket, cookie_id, accounts_now_us(), ret_who);
}

int account_try_admit(struct core *core, struct account_try *try, struct agent_error **err)
{
	struct limits *limits = core->accounts->limits;
	unsigned retry_s = 0;
	int r = limits_admit(limits, &try->who, accounts_now_us(), &retry_s);

	if (r < 0 && limits_is_closed_for(limits, try->who.bucket))
		return agent_error_set(err, r, "session.limited",
				       "too many wrong passwords: nobody may try here until an administrator has logged in by %s (retry-after=%u)",
				       try->who.bucket == LIMIT_CONSOLE ? "the network" : "a known browser, a certificate or the console", retry_s);
	if (r < 0)
		return agent_error_set(err, r, "session.limited", "too many tries: wait before the next one (retry-after=%u)", retry_s);
	try->is_admitted = true;
	return 0;
}

static void find_account(const struct agent_password *password, struct account_try *try)
{
	if (agent_password_find(password, try->user, &try->account, NULL) < 0)
		try->account = (struct agent_account){ .name = ACCOUNT_USER, .role = AGENT_ROLE_ADMIN, .must_change = true,
						       .since = agent_password_get_generation(password) };
	try->is_limited = try->account.must_change;
}

int account_try_run(struct accounts *accounts, struct store *store, struct account_try *try, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	struct limit_counts *disk = &accounts->disk_failures;
	struct agent_password *password;
	int r;

	r = store_get_password(store, &password, err);
	if (r < 0)
		return r;
	if (store->failures_are_void)
		*disk = (struct limit_counts){ 0 };
	store->failures_are_void = false;
	limit_counts_add(disk, try->who.bucket);
	r = write_failures(store, disk, &why); /* before the hash: a power cut in between gains no try */
	/* Whoever is not known gets no uncounted try. The owner must get in with a full disk, to make room. */
	if (r < 0 && (try->who.bucket == LIMIT_STRANGER || try->who.bucket == LIMIT_USER)) {
		limit_counts_take(disk, try->who.bucket);
		agent_error_move(err, &why);
		return agent_error_prefix(err, r, "cannot count a login");
	}
	why = agent_error_free(why);
	r = agent_password_verify(password, try->user[0] != '\0' ? try->user : NULL, (const char *)try->password.data, try->password.size, &why);
	if (r == 0)
		find_account(password, try);
	if (r == -EACCES && strcmp(agent_error_name(why), "password.wrong") == 0) {
		try->outcome = TRY_WRONG;
		return agent_error_set(err, r, "session.credentials", "wrong user or password");
	}
	/* Failing here is no harm: the old hash stays, and the next login tries again. */
	if (r == 0 && !try->is_limited)
		try->is_cheap = agent_password_refresh(password, try->user, (const char *)try->password.data, try->password.size, NULL) < 0;
	if (r == 0)
		try->outcome = TRY_RIGHT;
	else
		agent_error_move(err, &why);
	/* Anybody else's success clears nothing: whoever knows one password would have any number of guesses at another. */
	if (r == 0 && try->account.role == AGENT_ROLE_ADMIN)
		*disk = (struct limit_counts){ 0 };
	else
		limit_counts_take(disk, try->who.bucket);
	/* Failing here leaves a count that is too high by one, or a success forgotten at the next start: both are safe. */
	(void)write_failures(store, disk, NULL);
	return r;
}

static void tell_changes(struct core *core, const struct account_try *try, unsigned changes)
{
	if (changes & LIMITS_BACKOFF_ENTERED)
		event_add(core, EVENT_BACKOFF_ENTERED, "source", try->source, NULL);
	if (changes & LIMITS_BACKOFF_LEFT)
		event_add(core, EVENT_BACKOFF_LEFT, "source", try->source, NULL);
	if (changes & LIMITS_CLOSED)
		event_add(core, EVENT_STRANGERS_CLOSED, "source", try->source, NULL);
	if (changes & LIMITS_OPENED)
		event_add(core, EVENT_STRANGERS_OPENED, "source", try->source, NULL);
}

void account_try_settle(struct core *core, struct account_try *try)
{
	struct limits *limits = core->accounts->limits;
	char uid[16];

	if (!try->is_admitted)
		return;
	try->is_admitted = false;
	switch (try->outcome) {
	case TRY_RIGHT:
		if (try->is_cheap)
			service_log(LOG_WARNING, "the password of %s could not be hashed at the cost of today; the next login tries again", try->user);
		tell_changes(core, try, limits_succeeded(limits, &try->who, try->account.role == AGENT_ROLE_ADMIN, accounts_now_us()));
		break;
	case TRY_WRONG:
		snprintf(uid, sizeof(uid), "%" PRIu32, try->uid);
		/* What was typed as the user is not logged: it may be the password. */
		event_add(core, EVENT_SESSION_FAILED, "user", try->user[0] != '\0' ? try->user : "unknown", "source", try->source, "uid",
			  try->uid == BUS_NO_UID ? NULL : uid, NULL);
		tell_changes(core, try, limits_failed(limits, &try->who, accounts_now_us()));
		break;
	case TRY_UNKNOWN:
		limits_undo(limits, &try->who, accounts_now_us());
		break;
	}
}

void account_try_clear(struct core *core, struct account_try *try)
{
	if (core->accounts != NULL)
		account_try_settle(core, try);
	secret_free(&try->password);
}
