/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PasswordSet: the way from the factory secret to the owner's password, and from one password to the next. Whoever asks
 * proves the password in force: by the session of scope "password" that the factory secret opened, or in `current`, which
 * counts as a login try. Only uid 0 and core's own uid may set the first password without it; nobody may go without one.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/core/accounts.h"
#include "base/macro.h"

#define PASSWORD_ARGUMENT_MAX 4096 /* libagent refuses from 512 bytes on */
#define CHANGE_TIMEOUT_S 60	   /* three hashes, a few TPM commands and four syncs on a slow chip and a slow disk */
#define QUEUE_RETRY_S 2

struct change {
	struct op_call *call;
	struct account_try try;
	struct secret new_password;
	bool needs_current;
	uint64_t since;	      /* that the caller was known under: of the account, in factory state the generation */
	bool is_first;
	/* written by run() */
	uint64_t new_generation; /* in force afterwards */
	int new_setup;
};

static void change_free(void *data)
{
	struct change *c = data;

	account_try_clear(c->call->core, &c->try);
	secret_free(&c->new_password);
	op_call_unref(c->call);
	free(c);
}

static int run(struct store *store, void *data, struct agent_error **err)
{
	struct change *c = data;
	struct agent_password *password;
	int r;

	if (c->needs_current) {
		r = account_try_run(c->call->core->accounts, store, &c->try, err);
		if (c->try.outcome == TRY_WRONG)
			return agent_error_set(err, -EACCES, "password.wrong", "the current password is wrong");
		if (r < 0)
			return r;
	}
	r = store_get_password(store, &password, err);
	if (r < 0)
		return r;
	r = agent_password_change(password, c->try.user, c->since, (const char *)c->new_password.data, c->new_password.size, err);
	c->new_setup = (int)agent_password_get_state(password);
	c->new_generation = agent_password_get_generation(password);
	return r;
}

/* The record is another now, whether or not somebody still waits for the answer. */
static void spread(struct core *core, const struct change *c)
{
	account_end_sessions_of(core, c->try.user);
	core_setup_changed(core, c->new_setup, c->new_generation);
	event_add(core, c->is_first ? EVENT_PASSWORD_FIRST_SET : EVENT_PASSWORD_CHANGED, "user", c->try.user, "source",
		  c->call->caller.source, NULL);
}

static int answer(struct core *core, struct change *c, struct agent_error **err)
{
	const struct caller *caller = &c->call->caller;
	const struct agent_account *account = core_find_account(core, c->try.user);
	struct session session = {
		.role = account == NULL ? caller->role : account_role_of(account->role),
		.uid = caller->uid,
		.since = c->new_generation,
		.who = c->try.who,
	};
	char token[TOKEN_TEXT_SIZE] = "";
	uint64_t expires_s = 0;
	int r;

	/* Known by uid before, known by uid after. */
	if (caller->session_id != 0) {
		memcpy(session.user, caller->user, sizeof(session.user));
		memcpy(session.source, caller->source, sizeof(session.source));
		r = account_open_session(core, &session, token, &expires_s, err);
		if (r < 0)
			return r;
	}
	r = op_reply(c->call, "sst", token, "full", expires_s);
	wipe(token, sizeof(token));
	return r;
}

static void settle(struct core *core, struct change *c, int r)
{
	account_try_settle(core, &c->try);
	if (r == 0)
		spread(core, c);
}

static void done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct change *c = data;

	/* Given up on: it may still be running and even succeed, see late(). */
	if (r != -ETIMEDOUT)
		settle(core, c, r);
	if (r == -EINVAL)
		event_add(core, EVENT_PASSWORD_REJECTED, "user", c->try.user, "source", c->call->caller.source, "reason",
			  agent_error_message(*err), NULL);
	if (r == 0)
		r = answer(core, c, err);
	else if (r == -EACCES && c->try.outcome != TRY_WRONG)
		r = agent_error_set(err, -EIO, "core.access", "agentd may not use its TPM or its files");
	if (r < 0)
		op_fail(c->call, r, err);
}

static void late(struct core *core, void *data, int r)
{
	settle(core, data, r);
}

static const struct job_ops change_job = { .name = "password change", .run = run, .done = done, .late = late, .free = change_free };

/* Must `current` be shown, and under which generation does the caller act? */
static int find_out_proof(struct core *core, const struct caller *caller, bool has_current, struct change *c, struct agent_error **err)
{
	const struct session *s = session_get(&core->accounts->sessions, caller->session_id);
	const struct agent_account *account = core_find_account(core, c->try.user);

	if (caller->session_id != 0 && s == NULL)
		return agent_error_set(err, -EACCES, "session.required", "this session is over: log in again");
	c->is_first = core->setup == AGENT_SETUP_FACTORY;
	if (s != NULL)
		c->since = s->since;
	else if (c->is_first)
		c->since = core->generation;
	else if (account != NULL)
		c->since = account->since;
	else
		return agent_error_set(err, -ENOENT, "account.unknown", "there is no account \"%s\" any more: log in with another", c->try.user);
	c->needs_current = !caller->is_limited; /* the factory secret, or the password to be replaced, opened a limited one */
	if (c->is_first && s == NULL && account_is_owner_of_process(caller->uid) && !has_current)
		c->needs_current = false;
	if (c->needs_current && !has_current)
		return agent_error_set(err, -EACCES, "password.current", "%s",
				       core->setup == AGENT_SETUP_FACTORY ? "the code on the label is needed as the current password" :
									    "the current password is needed as well");
	/* Guesses at `current` come out of the budget that the login came out of. */
	if (s != NULL)
		c->try.who = s->who;
	else
		account_identify(core->accounts, caller, NULL, &c->try.who);
	return 0;
}

int op_password_set(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *current, *new_password;
	struct change *c;
	int r;

	(void)sd_bus_message_sensitive(call->msg); /* wiped when it goes */
	r = sd_bus_message_read(call->msg, "ss", &current, &new_password);
	if (r < 0)
		return op_unreadable(call, err);
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a password change");
	c->call = op_call_ref(call);
	memcpy(c->try.user, call->caller.user, sizeof(c->try.user));
	memcpy(c->try.source, call->caller.source, sizeof(c->try.source));
	c->try.uid = call->caller.uid;
	r = secret_copy(&c->try.password, current, strnlen(current, PASSWORD_ARGUMENT_MAX));
	if (r >= 0)
		r = secret_copy(&c->new_password, new_password, strnlen(new_password, PASSWORD_ARGUMENT_MAX));
	if (r < 0)
		agent_error_set(err, r, "core.memory", "no memory for a password change");
	if (r >= 0)
		r = find_out_proof(core, &call->caller, current[0] != '\0', c, err);
	if (r >= 0 && c->needs_current)
		r = account_try_admit(core, &c->try, err);
	if (r >= 0) {
		r = worker_submit(core->worker, WORKER_HASH, &change_job, c, CHANGE_TIMEOUT_S, err);
		if (r == -EBUSY)
			agent_error_set(err, r, "core.busy", "other logins are being checked (retry-after=%d)", QUEUE_RETRY_S);
	}
	if (r < 0)
		change_free(c);
	return r;
}
