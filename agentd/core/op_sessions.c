/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SessionList, SessionCloseOthers, SourcesKnown: who is logged in, for the person who wonders. An administrator sees and ends all, others
 * their own. PasswordCheck: would this be taken as a password; with the rules of the device, and nothing is kept or counted.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agentd/common/peer.h"
#include "agentd/core/accounts.h"
#include "agentd/core/job.h"
#include "base/macro.h"

#define SECOND UINT64_C(1000000)
#define PASSWORD_ARGUMENT_MAX 4096 /* libagent refuses from 512 bytes on */

/* The caller's view: sessions of a password that is no more are dead already. */
static bool is_visible(const struct core *core, const struct caller *caller, const struct session *s)
{
	return s->id != 0 && account_session_is_good(core, s) && (caller->role >= ACCOUNT_ADMIN || strcmp(s->user, caller->user) == 0);
}

static int append_session(sd_bus_message *m, const struct session *s, bool is_own, uint64_t now_us)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = peer_append_string(m, "user", s->user);
	if (r >= 0)
		r = peer_append_string(m, "role", account_role_name(s->role));
	if (r >= 0)
		r = peer_append_string(m, "source", s->source);
	if (r >= 0)
		r = peer_append_u64(m, "age_s", (now_us - s->opened_us) / SECOND);
	if (r >= 0)
		r = peer_append_u64(m, "idle_s", (now_us - s->used_us) / SECOND);
	if (r >= 0)
		r = peer_append_u64(m, "expires_s", session_expires_s(s, now_us));
	if (r >= 0)
		r = sd_bus_message_append(m, "{sv}", "own", "b", is_own);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int op_session_list(struct core *core, struct op_call *call, struct agent_error **err)
{
	const struct sessions *sessions = &core->accounts->sessions;
	uint64_t now_us = accounts_now_us();
	sd_bus_message *reply;
	int r = op_reply_new(call, &reply, err);

	if (r < 0)
		return r;
	r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (size_t i = 0; r >= 0 && i < SESSIONS_MAX; i++)
		if (is_visible(core, &call->caller, &sessions->slots[i]))
			r = append_session(reply, &sessions->slots[i], sessions->slots[i].id == call->caller.session_id, now_us);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return op_reply_end(call, reply, r, "the sessions", err);
}

int op_session_close_others(struct core *core, struct op_call *call, struct agent_error **err)
{
	const struct caller *caller = &call->caller;
	uint32_t n = 0;

	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		struct session s = core->accounts->sessions.slots[i];

		if (!is_visible(core, caller, &s) || s.id == caller->session_id)
			continue;
		account_close_session(core, s.id);
		event_add(core, EVENT_SESSION_ENDED, "user", s.user, "source", s.source, "by", caller->user, NULL);
		n++;
	}
	return op_reply(call, "u", n);
}

static int append_known(struct core *core, sd_bus_message *m)
{
	const struct known *k = &core->accounts->known;
	uint64_t now_us = accounts_now_us();
	int r = sd_bus_message_open_container(m, 'a', "(st)");

	for (size_t i = 0; r >= 0 && i < KNOWN_MAX; i++)
		if (k->rows[i].source[0] != '\0')
			r = sd_bus_message_append(m, "(st)", k->rows[i].source, (now_us - k->rows[i].seen_us) / SECOND);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* For agentd-mgmt, when it starts. */
int op_sources_known(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply_made(core, call, append_known, "the sources", err);
}

/* ---- PasswordCheck ------------------------------------------------------------------------------------------------ */

struct check_job {
	struct op_job base;
	struct secret text;
	struct agent_error *reasons; /* NULL: it would be taken */
};

static int check_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct check_job *job = (struct check_job *)base;
	struct agent_password *password;
	int r = store_get_password(store, &password, err);

	if (r < 0)
		return r;
	r = agent_password_check(password, base->call->caller.user, (const char *)job->text.data, job->text.size, &job->reasons);
	return r == -ENOMEM ? agent_error_set(err, r, "core.memory", "no memory to check a password") : 0;
}

static int check_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	const struct check_job *job = (const struct check_job *)base;

	return op_reply(base->call, "s", job->reasons == NULL ? "" : agent_error_message(job->reasons));
}

static void check_free(struct op_job *base)
{
	struct check_job *job = (struct check_job *)base;

	secret_free(&job->text);
	agent_error_free(job->reasons);
}

static const struct op_job_type check_type = { .name = "a password check", .run = check_run, .reply = check_reply, .free = check_free };

int op_password_check(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct op_job *base;
	const char *text;
	int r;

	(void)sd_bus_message_sensitive(call->msg); /* wiped when it goes */
	if (sd_bus_message_read(call->msg, "s", &text) < 0)
		return op_unreadable(call, err);
	r = op_job_new(call, &check_type, sizeof(struct check_job), &base, err);
	if (r < 0)
		return r;
	r = secret_copy(&((struct check_job *)base)->text, text, strnlen(text, PASSWORD_ARGUMENT_MAX));
	if (r < 0)
		agent_error_set(err, r, "core.memory", "no memory to check a password");
	return op_job_end(base, r, WORKER_WORK, 0, err);
}
