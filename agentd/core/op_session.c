/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SessionOpen, LoginCheck, SessionCheck, SessionClose. A login: who is that (cookie, address, uid), may they try now, hash in
 * the TPM thread, session. Until the owner has set a password the factory secret opens a session that can do nothing else.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/common/peer.h"
#include "agentd/core/accounts.h"
#include "agentd/core/dispatch.h"
#include "base/macro.h"

#define PASSWORD_ARGUMENT_MAX 4096 /* longer ones are cut off here; libagent refuses from 512 on */
#define QUEUE_RETRY_S 2

struct login {
	struct op_call *call;
	struct account_try try;
	char cookie[COOKIE_TEXT_SIZE]; /* as it came, "" for none */
	bool is_check;		       /* LoginCheck: a full session is wanted only if so said, a device cookie never */
	bool wants_session;
};

static void login_free(void *data)
{
	struct login *login = data;

	account_try_clear(login->call->core, &login->try);
	op_call_unref(login->call);
	free(login);
}

static int run(struct store *store, void *data, struct agent_error **err)
{
	struct login *login = data;

	return account_try_run(login->call->core->accounts, store, &login->try, err);
}

/* A login program lets the person in by itself; it needs a session only to change the password with. */
static int answer_without_session(struct core *core, struct login *login)
{
	event_add(core, EVENT_LOGIN_ACCEPTED, "user", login->try.user, "source", login->try.source, NULL);
	return op_reply(login->call, "ssts", "", "full", UINT64_C(0), account_role_name(account_role_of(login->try.account.role)));
}

static int answer(struct core *core, struct login *login, struct agent_error **err)
{
	const struct account_try *try = &login->try;
	const struct agent_account *account = core_find_account(core, try->user);
	struct session session = {
		.role = account_role_of(try->account.role),
		.is_limited = try->is_limited,
		.uid = try->uid,
		.since = try->account.since,
		.who = try->who,
	};
	char token[TOKEN_TEXT_SIZE], cookie[COOKIE_TEXT_SIZE] = "";
	uint64_t expires_s;
	int r;

	if (core->setup == AGENT_SETUP_FACTORY ? try->account.since != core->generation :
						 account == NULL || account->since != try->account.since)
		return agent_error_set(err, -EACCES, "session.credentials", "the password was changed during this login");
	if (login->is_check && !login->wants_session && !session.is_limited)
		return answer_without_session(core, login);
	memcpy(session.user, try->user, sizeof(session.user));
	memcpy(session.source, try->source, sizeof(session.source));
	r = account_open_session(core, &session, token, &expires_s, err);
	if (r < 0)
		return r;
	if (core->setup == AGENT_SETUP_FACTORY)
		event_add(core, EVENT_LABEL_CODE_USED, "source", try->source, NULL);
	if (!login->is_check && try->uid == BUS_NO_UID && core->accounts->has_cookie_key &&
	    cookie_new(core->accounts->cookie_key, try->user, accounts_wall_s(), cookie) < 0)
		cookie[0] = '\0'; /* a login without a cookie is still a login */
	if (login->is_check)
		r = op_reply(login->call, "ssts", token, session.is_limited ? "password" : "full", expires_s, account_role_name(session.role));
	else
		r = op_reply(login->call, "sstss", token, session.is_limited ? "password" : "full", expires_s, cookie, account_role_name(session.role));
	wipe(token, sizeof(token));
	return r;
}

static void done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct login *login = data;

	/* Given up on: it may still be running, so it counts when it is over: in late() or in login_free(). */
	if (r != -ETIMEDOUT)
		account_try_settle(core, &login->try);
	if (r == 0)
		r = answer(core, login, err);
	else if (r == -EACCES && login->try.outcome != TRY_WRONG)
		r = agent_error_set(err, -EIO, "core.access", "agentd may not use its TPM or its files");
	if (r < 0)
		op_fail(login->call, r, err);
}

static void late(struct core *core, void *data, int r)
{
	struct login *login = data;

	account_try_settle(core, &login->try);
}

static const struct job_ops login_job = { .name = "login", .run = run, .done = done, .late = late, .free = login_free };

/* Takes the login also on failure. */
static int login_start(struct core *core, struct login *login, struct agent_error **err)
{
	struct accounts *a = core->accounts;
	struct account_try *try = &login->try;
	uint8_t id[LIMITS_COOKIE_ID_SIZE];
	bool is_known = a->has_cookie_key && login->cookie[0] != '\0' &&
			cookie_check(a->cookie_key, try->user, login->cookie, accounts_wall_s(), id);
	int r;

	account_identify(a, &login->call->caller, is_known ? id : NULL, &try->who);
	r = account_try_admit(core, try, err);
	if (r >= 0)
		r = worker_submit(core->worker, WORKER_HASH, &login_job, login, 0, err);
	if (r == -EBUSY)
		agent_error_set(err, r, "core.busy", "other logins are being checked (retry-after=%d)", QUEUE_RETRY_S);
	if (r < 0)
		login_free(login);
	return r;
}

/* ---- key of the device cookies: derived in the TPM, so that the disk holds none ---------------------------------- */

struct cookie_key {
	struct login *login; /* waits for it */
	struct core *core;
	uint8_t key[AGENT_MAC_SIZE];
};

static int derive(struct store *store, void *data, struct agent_error **err)
{
	static const char label[] = "agentd-device-cookie-v1";
	struct cookie_key *k = data;

	return agent_mac_compute(store->mac, (const uint8_t *)label, sizeof(label) - 1, k->key, err);
}

static void derived(struct core *core, void *data, int r, struct agent_error **err)
{
	struct cookie_key *k = data;
	struct login *login = TAKE_PTR(k->login);
	struct op_call *call = op_call_ref(login->call);

	if (r >= 0) {
		memcpy(core->accounts->cookie_key, k->key, sizeof(k->key));
		core->accounts->has_cookie_key = true;
		r = login_start(core, login, err);
	} else {
		login_free(login);
	}
	if (r < 0)
		op_fail(call, r, err);
	op_call_unref(call);
}

static void cookie_key_free(void *data)
{
	struct cookie_key *k = data;

	if (k->login != NULL)
		login_free(k->login);
	wipe(k, sizeof(*k));
	free(k);
}

static const struct job_ops cookie_key_job = { .name = "device cookie key", .run = derive, .done = derived, .free = cookie_key_free };

/* First login over the network since the start. Takes the login also on failure. */
static int derive_then_start(struct core *core, struct login *login, struct agent_error **err)
{
	struct cookie_key *k = calloc(1, sizeof(*k));
	int r;

	if (k == NULL) {
		login_free(login);
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a login");
	}
	k->login = login;
	r = worker_submit(core->worker, WORKER_WORK, &cookie_key_job, k, 0, err);
	if (r < 0)
		cookie_key_free(k);
	return r;
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static int login_new(struct op_call *call, const char *user, const char *password, struct login **ret_login, struct agent_error **err)
{
	struct login *login;
	int r = setup_check(call->core->setup, err);

	if (r < 0)
		return r;
	login = calloc(1, sizeof(*login));
	if (login == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a login");
	login->call = op_call_ref(call);
	login->try.uid = call->caller.uid;
	memcpy(login->try.source, call->caller.source, sizeof(login->try.source));
	if (call->core->setup == AGENT_SETUP_FACTORY ? strcmp(user, ACCOUNT_USER) == 0 : core_find_account(call->core, user) != NULL)
		snprintf(login->try.user, sizeof(login->try.user), "%s", user);
	r = secret_copy(&login->try.password, password, strnlen(password, PASSWORD_ARGUMENT_MAX));
	if (r < 0) {
		login_free(login);
		return agent_error_set(err, r, "core.memory", "no memory for a login");
	}
	*ret_login = login;
	return 0;
}

int op_session_open(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *user, *password, *cookie;
	struct login *login;
	int r;

	(void)sd_bus_message_sensitive(call->msg); /* wiped when it goes */
	r = sd_bus_message_read(call->msg, "sss", &user, &password, &cookie);
	if (r < 0)
		return op_unreadable(call, err);
	r = login_new(call, user, password, &login, err);
	if (r < 0)
		return r;
	if (strlen(cookie) == sizeof(login->cookie) - 1)
		memcpy(login->cookie, cookie, sizeof(login->cookie));
	if (call->caller.uid == BUS_NO_UID && !core->accounts->has_cookie_key)
		return derive_then_start(core, login, err);
	return login_start(core, login, err);
}

int op_login_check(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *user, *password;
	struct login *login;
	int wants_session, r;

	(void)sd_bus_message_sensitive(call->msg); /* wiped when it goes */
	r = sd_bus_message_read(call->msg, "ssb", &user, &password, &wants_session);
	if (r < 0)
		return op_unreadable(call, err);
	r = login_new(call, user, password, &login, err);
	if (r < 0)
		return r;
	login->is_check = true;
	login->wants_session = wants_session != 0;
	return login_start(core, login, err);
}

/* Nothing here that the label and the login page do not show. */
static int append_greeting(struct core *core, sd_bus_message *m)
{
	const struct settings *s = core->settings;
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = peer_append_string(m, "setup", core_setup_name(core));
	if (r >= 0)
		r = peer_append_string(m, "serial", s->device.serial);
	if (r >= 0)
		r = peer_append_string(m, "model", s->device.model);
	if (r >= 0)
		r = peer_append_string(m, "device_ca_fingerprint", core->device_ca_fingerprint);
	if (r >= 0)
		r = peer_append_u64(m, "password_min", (uint64_t)s->password.min_length);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int op_login_greet(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply_made(core, call, append_greeting, "the greeting", err);
}

int op_session_check(struct core *core, struct op_call *call, struct agent_error **err)
{
	const struct caller *caller = &call->caller;
	/* Known by uid: nothing but the password is open to root either before it is set. */
	bool is_limited = caller->is_limited || core->setup == AGENT_SETUP_FACTORY;

	return op_reply(call, "sss", caller->user, account_role_name(caller->role), is_limited ? "password" : "full");
}

int op_session_close(struct core *core, struct op_call *call, struct agent_error **err)
{
	if (call->caller.session_id != 0) {
		account_close_session(core, call->caller.session_id);
		event_add(core, EVENT_SESSION_ENDED, "user", call->caller.user, "source", call->caller.source, NULL);
	}
	return op_reply(call, "");
}
