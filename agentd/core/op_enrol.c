/* SPDX-License-Identifier: Apache-2.0 */
/* What people may ask of enrolment. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <agent/seal.h>

#include "agentd/common/fields.h"
#include "agentd/common/peer.h"
#include "agentd/core/ask.h"
#include "agentd/core/enrol_inside.h"
#include "agentd/core/job.h"
#include "base/file.h"
#include "base/macro.h"

#define SECRET_TEXT_MAX 256
#define TRUST_TIMEOUT_S 240

static int is_on(struct core *core, struct agent_error **err)
{
	if (core->enrol != NULL)
		return 0;
	return agent_error_set(err, -EOPNOTSUPP, "est.off", "no EST server is named in agentd.conf (est.url)");
}

/* ---- status ---------------------------------------------------------------------------------------------------------- */

static int append_certificate(sd_bus_message *m, const struct enrol_scene *scene)
{
	int r;

	if (!scene->has_current)
		return 0;
	r = peer_append_string(m, "subject", scene->about.subject);
	if (r >= 0)
		r = peer_append_string(m, "issuer", scene->about.issuer);
	if (r >= 0)
		r = peer_append_u64(m, "not_before", scene->about.not_before_s);
	if (r >= 0)
		r = peer_append_u64(m, "not_after", scene->about.not_after_s);
	return r < 0 ? r : peer_append_u64(m, "due", scene->due_s);
}

static int append_way(sd_bus_message *m, const struct enrol *e)
{
	const struct enrol_journal *j = &e->journal;
	int r = peer_append_string(m, "state", e->is_damaged ? "damaged" : enrol_stage_name(j->stage));

	if (r >= 0)
		r = peer_append_string(m, "detail", e->detail);
	if (r >= 0 && j->stage != ENROL_IDLE)
		r = peer_append_string(m, "cause", enrol_cause_name(j->cause));
	if (r >= 0 && e->is_busy && e->round.n_identities > 0)
		r = peer_append_string(m, "identity", enrol_identity_name(e->round.identities[e->round.at]));
	if (r >= 0)
		r = peer_append_u64(m, "failures", j->failures);
	if (r >= 0 && j->reason[0] != '\0')
		r = peer_append_string(m, "reason", j->reason);
	if (r >= 0 && j->stage == ENROL_WAITING)
		r = peer_append_u64(m, "next", j->since_s + j->wait_s);
	return r < 0 ? r : peer_append_bool(m, "wants_binding", e->wishes.wants_challenge);
}

static int append_status(struct core *core, sd_bus_message *m, const struct enrol_scene *scene)
{
	_cleanup_free_ char *anchors = enrol_anchors(core);
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = append_way(m, core->enrol);
	if (r >= 0)
		r = peer_append_bool(m, "has_anchors", anchors != NULL);
	if (r >= 0)
		r = peer_append_bool(m, "has_secret", scene->has_secret);
	if (r >= 0)
		r = peer_append_bool(m, "has_factory", scene->has_factory);
	if (r >= 0)
		r = append_certificate(m, scene);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int answer_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	_cleanup_(enrol_scene_clear) struct enrol_scene scene = { .current = NULL };
	sd_bus_message *reply;
	int r = enrol_look(core, &scene, err);

	if (r >= 0)
		r = op_reply_new(call, &reply, err);
	if (r < 0)
		return r;
	return op_reply_end(call, reply, append_status(core, reply, &scene), "the state of enrolment", err);
}

int op_enrol_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	int r = is_on(core, err);

	return r < 0 ? r : answer_status(core, call, err);
}

int op_enrol_start(struct core *core, struct op_call *call, struct agent_error **err)
{
	int new_key, r;

	if (sd_bus_message_read(call->msg, "b", &new_key) < 0)
		return op_unreadable(call, err);
	r = is_on(core, err);
	if (r >= 0)
		r = enrol_ask_now(core, new_key != 0, err);
	return r < 0 ? r : answer_status(core, call, err);
}

/* ---- the one-time secret ------------------------------------------------------------------------------------------------ */

struct secret_job {
	struct op_job base;
	struct secret secret;
};

static void secret_job_free(struct op_job *base)
{
	secret_free(&((struct secret_job *)base)->secret);
}

static int secret_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct secret_job *job = (struct secret_job *)base;

	if (job->secret.size == 0)
		return enrol_remove(store->keys_fd, ENROL_FILE_SECRET, err);
	return agent_seal_file(store->tpm, store->keys_fd, ENROL_FILE_SECRET, job->secret.data, job->secret.size, NULL, err);
}

static int secret_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	struct secret_job *job = (struct secret_job *)base;

	event_add(core, EVENT_EST_SECRET, "action", job->secret.size > 0 ? "stored" : "wiped", "user", base->call->caller.user, "source", base->call->caller.source,
		  NULL);
	enrol_wake(core);
	return answer_status(core, base->call, err);
}

static const struct op_job_type job_secret = { .name = "secret of an EST server", .run = secret_run, .reply = secret_reply, .free = secret_job_free };

/* RFC 7617: a user without colon, a colon, a password; no control characters. */
static bool is_secret(const char *text)
{
	const char *colon = strchr(text, ':');

	if (colon == NULL || colon == text || strlen(text) > SECRET_TEXT_MAX)
		return false;
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return false;
	return true;
}

int op_enrol_secret(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct op_job *base;
	const char *text;
	int r;

	(void)sd_bus_message_sensitive(call->msg); /* wiped when it goes */
	if (sd_bus_message_read(call->msg, "s", &text) < 0)
		return op_unreadable(call, err);
	r = is_on(core, err);
	if (r >= 0 && text[0] != '\0' && !is_secret(text))
		r = agent_error_set(err, -EINVAL, "est.secret", "the secret is USER:PASSWORD, at most %d bytes, no control characters", SECRET_TEXT_MAX);
	if (r >= 0)
		r = op_job_new(call, &job_secret, sizeof(struct secret_job), &base, err);
	if (r < 0)
		return r;
	if (text[0] != '\0' && secret_copy(&((struct secret_job *)base)->secret, text, strlen(text)) < 0)
		r = agent_error_set(err, -ENOMEM, "core.memory", "no memory for a secret");
	return op_job_end(base, r, WORKER_WORK, 0, err);
}

/* ---- the first authority ------------------------------------------------------------------------------------------------ */

static int read_pem(sd_bus_message *m, const char **ret_pem)
{
	const struct field pem = { "pem", FIELD_TEXT_REF, ret_pem, 0 };
	int r;

	*ret_pem = NULL;
	r = fields_read(m, &pem, 1);
	return r < 0 ? r : *ret_pem == NULL ? -ENODATA : 0;
}

static int on_anchors(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	_cleanup_free_ char *pem = NULL;
	struct enrol_about about;
	const char *found, *fingerprint;

	if (r < 0)
		return r;
	if (read_pem(reply, &found) < 0)
		return agent_error_set(err, -EBADMSG, "est.answer", "the EST server named no authorities; try again later");
	/* The call once more, from its beginning: who asks, then the fingerprint. */
	if (sd_bus_message_rewind(call->msg, true) < 0 || sd_bus_message_skip(call->msg, "(sus)") < 0 || sd_bus_message_read(call->msg, "s", &fingerprint) < 0)
		return op_unreadable(call, err);
	r = enrol_pick(found, fingerprint, &pem, &about, err);
	if (r >= 0)
		r = file_replace_at(core->keys_fd, ENROL_FILE_ANCHORS, 0600, pem, strlen(pem), err);
	if (r < 0)
		return r;
	event_add(core, EVENT_EST_TRUSTED, "subject", about.subject, "fingerprint", fingerprint, "user", call->caller.user, "source", call->caller.source, NULL);
	enrol_wake(core);
	return answer_status(core, call, err);
}

int op_enrol_trust(struct core *core, struct op_call *call, struct agent_error **err)
{
	_cleanup_free_ char *pem = NULL;
	struct agent_error *why = NULL;
	struct enrol_about about;
	const char *fingerprint;
	sd_bus_message *m;
	int r;

	if (sd_bus_message_read(call->msg, "s", &fingerprint) < 0)
		return op_unreadable(call, err);
	r = is_on(core, err);
	if (r < 0)
		return r;
	if (fingerprint[0] == '\0') {
		r = enrol_remove(core->keys_fd, ENROL_FILE_ANCHORS, err);
		return r < 0 ? r : answer_status(core, call, err);
	}
	/* Is it one at all? Asked before a stranger is. */
	if (enrol_pick("", fingerprint, &pem, &about, &why) == -EINVAL)
		return agent_error_move(err, &why);
	agent_error_free(why);
	r = ask_new(core, PROG_FETCH, "Est", &m, err);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "usssss", (uint32_t)EST_ANCHORS, "", "", "", "", "");
	if (r < 0) {
		ask_drop(core, PROG_FETCH, m);
		return agent_error_set(err, r, "bus.call", "cannot ask agentd-fetch: %s", strerror(-r));
	}
	return ask_send(core, PROG_FETCH, m, TRUST_TIMEOUT_S, call, on_anchors, err);
}
