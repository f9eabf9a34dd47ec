/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accounts of other people, and the factory reset by an administrator. Whoever asks shows his own password again: a stolen
 * session, a broken agentd-mgmt or root's place on the socket are not enough to make an administrator. It counts as a login try.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/common/peer.h"
#include "agentd/core/accounts.h"
#include "agentd/core/store.h"
#include "base/macro.h"

#define PASSWORD_ARGUMENT_MAX 4096 /* libagent refuses from 512 bytes on */
#define EDIT_TIMEOUT_S 60	   /* as a password change */
#define QUEUE_RETRY_S 2

struct edit;

struct edit_type {
	const char *name;
	/* In the TPM thread, once the caller proved to be an administrator. */
	int (*run)(struct agent_password *password, struct store *store, struct edit *e, struct agent_error **err);
	/* In the loop, when it is done. */
	void (*spread)(struct core *core, const struct edit *e);
};

struct edit {
	const struct edit_type *type;
	struct op_call *call;
	struct account_try try; /* of the one who asks */
	char name[AGENT_ACCOUNT_NAME_MAX + 1];
	enum agent_account_role role;
	struct secret password;
	uint64_t generation; /* of the last change by it */
};

static void edit_free(void *data)
{
	struct edit *e = data;

	account_try_clear(e->call->core, &e->try);
	secret_free(&e->password);
	op_call_unref(e->call);
	free(e);
}

static int run(struct store *store, void *data, struct agent_error **err)
{
	struct edit *e = data;
	struct agent_password *password;
	int r = account_try_run(e->call->core->accounts, store, &e->try, err);

	if (e->try.outcome == TRY_WRONG)
		return agent_error_set(err, -EACCES, "password.wrong", "your own password is wrong");
	if (r < 0)
		return r;
	/* As of now: the role may have been taken away while this waited. */
	if (e->try.is_limited || e->try.account.role != AGENT_ROLE_ADMIN)
		return agent_error_set(err, -EPERM, "session.role", "this needs the role 'admin'");
	r = store_get_password(store, &password, err);
	return r < 0 ? r : e->type->run(password, store, e, err);
}

static void settle(struct core *core, struct edit *e, int r)
{
	account_try_settle(core, &e->try);
	if (r == 0)
		e->type->spread(core, e);
}

static void done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct edit *e = data;

	/* Given up on: it may still be running and even succeed, see late(). */
	if (r != -ETIMEDOUT)
		settle(core, e, r);
	if (r == -EINVAL && strcmp(agent_error_name(*err), "password.weak") == 0)
		event_add(core, EVENT_PASSWORD_REJECTED, "user", e->name, "by", e->try.user, "source", e->try.source, "reason",
			  agent_error_message(*err), NULL);
	else if (r == -EPERM)
		event_add(core, EVENT_ACCOUNT_REFUSED, "user", e->name, "by", e->try.user, "source", e->try.source, "reason",
			  agent_error_message(*err), NULL);
	if (r == 0)
		r = op_reply(e->call, "");
	else if (r == -EACCES && e->try.outcome != TRY_WRONG)
		r = agent_error_set(err, -EIO, "core.access", "agentd may not use its TPM or its files");
	if (r < 0)
		op_fail(e->call, r, err);
}

static void late(struct core *core, void *data, int r)
{
	settle(core, data, r);
}

static const struct job_ops edit_job = { .name = "account change", .run = run, .done = done, .late = late, .free = edit_free };

static int edit_new(struct op_call *call, const struct edit_type *type, const char *current, const char *name, struct edit **ret_edit,
		    struct agent_error **err)
{
	struct edit *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for an account change");
	e->type = type;
	e->call = op_call_ref(call);
	memcpy(e->try.user, call->caller.user, sizeof(e->try.user));
	memcpy(e->try.source, call->caller.source, sizeof(e->try.source));
	e->try.uid = call->caller.uid;
	if (secret_copy(&e->try.password, current, strnlen(current, PASSWORD_ARGUMENT_MAX)) < 0) {
		edit_free(e);
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for an account change");
	}
	if (strlen(name) >= sizeof(e->name)) {
		edit_free(e);
		return agent_error_set(err, -EINVAL, "account.name", "a name has at most %d characters", AGENT_ACCOUNT_NAME_MAX);
	}
	memcpy(e->name, name, strlen(name) + 1);
	*ret_edit = e;
	return 0;
}

/* Takes the edit also on failure. */
static int edit_start(struct core *core, struct edit *e, struct agent_error **err)
{
	const struct session *s = session_get(&core->accounts->sessions, e->call->caller.session_id);
	int r = 0;

	if (e->try.password.size == 0)
		r = agent_error_set(err, -EACCES, "password.current", "your own current password is needed as well");
	if (r == 0) {
		/* Guesses come out of the budget that the login came out of. */
		if (s != NULL)
			e->try.who = s->who;
		else
			account_identify(core->accounts, &e->call->caller, NULL, &e->try.who);
		r = account_try_admit(core, &e->try, err);
	}
	if (r >= 0) {
		r = worker_submit(core->worker, WORKER_HASH, &edit_job, e, EDIT_TIMEOUT_S, err);
		if (r == -EBUSY)
			agent_error_set(err, r, "core.busy", "other logins are being checked (retry-after=%d)", QUEUE_RETRY_S);
	}
	if (r < 0)
		edit_free(e);
	return r;
}

static int find_role(const char *text, enum agent_account_role *ret_role, struct agent_error **err)
{
	for (enum agent_account_role role = AGENT_ROLE_VIEWER; role <= AGENT_ROLE_ADMIN; role++)
		if (strcmp(text, agent_account_role_name(role)) == 0) {
			*ret_role = role;
			return 0;
		}
	return agent_error_set(err, -EINVAL, "account.role", "a role is viewer, operator or admin");
}

/* Arguments of all edits: the password of the one who asks, a name, and what @types says more. */
static int read_arguments(struct op_call *call, const char *types, const char **texts, struct agent_error **err)
{
	(void)sd_bus_message_sensitive(call->msg); /* wiped when it goes */
	for (size_t i = 0; types[i] != '\0'; i++)
		if (sd_bus_message_read_basic(call->msg, 's', &texts[i]) < 0)
			return op_unreadable(call, err);
	return 0;
}

/* ---- the edits -------------------------------------------------------------------------------------------------- */

static int run_add(struct agent_password *password, struct store *store, struct edit *e, struct agent_error **err)
{
	return agent_password_add(password, e->name, e->role, (const char *)e->password.data, e->password.size, err);
}

static void spread_add(struct core *core, const struct edit *e)
{
	event_add(core, EVENT_ACCOUNT_ADDED, "user", e->name, "role", agent_account_role_name(e->role), "by", e->try.user, "source", e->try.source, NULL);
}

static const struct edit_type edit_add = { "add an account", run_add, spread_add };

static int run_role(struct agent_password *password, struct store *store, struct edit *e, struct agent_error **err)
{
	return agent_password_set_role(password, e->name, e->role, err);
}

static void spread_role(struct core *core, const struct edit *e)
{
	account_end_sessions_of(core, e->name);
	event_add(core, EVENT_ACCOUNT_ROLE, "user", e->name, "role", agent_account_role_name(e->role), "by", e->try.user, "source", e->try.source, NULL);
}

static const struct edit_type edit_role = { "change a role", run_role, spread_role };

static int run_assign(struct agent_password *password, struct store *store, struct edit *e, struct agent_error **err)
{
	return agent_password_assign(password, e->name, (const char *)e->password.data, e->password.size, err);
}

static void spread_assign(struct core *core, const struct edit *e)
{
	account_end_sessions_of(core, e->name);
	event_add(core, EVENT_PASSWORD_ASSIGNED, "user", e->name, "by", e->try.user, "source", e->try.source, NULL);
}

static const struct edit_type edit_assign = { "assign a password", run_assign, spread_assign };

static int run_remove(struct agent_password *password, struct store *store, struct edit *e, struct agent_error **err)
{
	return agent_password_remove(password, e->name, err);
}

static void spread_remove(struct core *core, const struct edit *e)
{
	account_end_sessions_of(core, e->name);
	event_add(core, EVENT_ACCOUNT_REMOVED, "user", e->name, "by", e->try.user, "source", e->try.source, NULL);
}

static const struct edit_type edit_remove = { "remove an account", run_remove, spread_remove };

static int run_reset(struct agent_password *password, struct store *store, struct edit *e, struct agent_error **err)
{
	return store_factory_reset(store, err);
}

static void spread_reset(struct core *core, const struct edit *e)
{
	account_end_all_sessions(core);
}

static const struct edit_type edit_reset = { "factory reset", run_reset, spread_reset };

/* ---- operations -------------------------------------------------------------------------------------------------- */

static int set_password(struct edit *e, const char *text, struct agent_error **err)
{
	return secret_copy(&e->password, text, strnlen(text, PASSWORD_ARGUMENT_MAX)) < 0 ?
		       agent_error_set(err, -ENOMEM, "core.memory", "no memory for an account change") : 0;
}

int op_account_add(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *texts[4];
	struct edit *e;
	int r = read_arguments(call, "ssss", texts, err);

	if (r >= 0)
		r = edit_new(call, &edit_add, texts[0], texts[1], &e, err);
	if (r < 0)
		return r;
	r = find_role(texts[2], &e->role, err);
	if (r >= 0)
		r = set_password(e, texts[3], err);
	if (r < 0) {
		edit_free(e);
		return r;
	}
	return edit_start(core, e, err);
}

int op_account_role(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *texts[3];
	struct edit *e;
	int r = read_arguments(call, "sss", texts, err);

	if (r >= 0)
		r = edit_new(call, &edit_role, texts[0], texts[1], &e, err);
	if (r < 0)
		return r;
	r = find_role(texts[2], &e->role, err);
	if (r < 0) {
		edit_free(e);
		return r;
	}
	return edit_start(core, e, err);
}

int op_account_password(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *texts[3];
	struct edit *e;
	int r = read_arguments(call, "sss", texts, err);

	if (r >= 0)
		r = edit_new(call, &edit_assign, texts[0], texts[1], &e, err);
	if (r < 0)
		return r;
	r = set_password(e, texts[2], err);
	if (r < 0) {
		edit_free(e);
		return r;
	}
	return edit_start(core, e, err);
}

int op_account_remove(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *texts[2];
	struct edit *e;
	int r = read_arguments(call, "ss", texts, err);

	if (r >= 0)
		r = edit_new(call, &edit_remove, texts[0], texts[1], &e, err);
	return r < 0 ? r : edit_start(core, e, err);
}

int op_factory_reset(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *current[1];
	struct edit *e;
	int r = read_arguments(call, "s", current, err);

	if (r >= 0)
		r = edit_new(call, &edit_reset, current[0], "", &e, err);
	if (r < 0)
		return r;
	event_add(core, EVENT_FACTORY_RESET_REQUESTED, "user", e->try.user, "source", e->try.source, "reason", "administrator", NULL);
	return edit_start(core, e, err);
}

static int append_account(sd_bus_message *m, const struct agent_account *a)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = peer_append_string(m, "name", a->name);
	if (r >= 0)
		r = peer_append_string(m, "role", agent_account_role_name(a->role));
	if (r >= 0)
		r = peer_append_bool(m, "must_change", a->must_change);
	if (r >= 0)
		r = peer_append_u64(m, "generation", a->since);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_people(struct core *core, sd_bus_message *m)
{
	int r = sd_bus_message_open_container(m, 'a', "a{sv}");

	for (size_t i = 0; r >= 0 && i < core->n_people; i++)
		r = append_account(m, &core->people[i]);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int op_account_list(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply_made(core, call, append_people, "the accounts", err);
}
