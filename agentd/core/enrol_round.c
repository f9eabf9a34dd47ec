/* SPDX-License-Identifier: Apache-2.0 */
/* Enrolment: one attempt, from the one-time secret over cacerts, csrattrs and the request to the certificate. */
#include "config.h"

#include "agentd/core/enrol_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "agentd/common/fields.h"
#include "agentd/common/peer.h"
#include "agentd/core/ask.h"
#include "agentd/core/clock.h"
#include "agentd/core/rotation.h"
#include "base/macro.h"
#include "base/text.h"

#define TALK_TIMEOUT_S 600 /* several requests, each with its own limit */

static const char *const identity_names[] = {
	[IDENTITY_CURRENT] = "current", [IDENTITY_FACTORY] = "factory", [IDENTITY_SECRET] = "secret", [IDENTITY_PAST] = "expired",
};

const char *enrol_identity_name(enum enrol_identity identity)
{
	return identity_names[identity];
}

void enrol_round_end(struct enrol *e)
{
	struct enrol_round *round = &e->round;

	free(round->current);
	free(round->factory);
	free(round->anchors);
	free(round->cacerts);
	free(round->csr);
	secret_free(&round->secret);
	*round = (struct enrol_round){ .n_identities = 0 };
	e->is_busy = false;
}

/* A factory reset came between a question and its answer. */
static bool was_reset(struct core *core)
{
	struct enrol *e = core->enrol;

	if (!e->is_reset)
		return false;
	e->is_reset = false;
	enrol_round_end(e);
	enrol_step_in_s(core, 10);
	return true;
}

static void fail(struct core *core, struct agent_error **err)
{
	char text[ENROL_REASON_MAX + 1];

	text_reason(text, sizeof(text), agent_error_message(*err), agent_error_name(*err));
	enrol_put_off(core, 0, true, text);
}

static const char *certificate_of(const struct enrol_round *round)
{
	switch (round->identities[round->at]) {
	case IDENTITY_CURRENT:
	case IDENTITY_PAST:
		return round->current;
	case IDENTITY_FACTORY:
		return round->factory;
	default:
		return "";
	}
}

static void open_identity(struct core *core);

/* The server, or TLS below it, does not take who we are: there may be another way to say it. */
static bool is_about_identity(const struct agent_error *err)
{
	const char *name = agent_error_name(err);

	return strcmp(name, "est.refused") == 0 || strcmp(name, "tls.alert") == 0 || strcmp(name, "tls.key") == 0;
}

static void talk_failed(struct core *core, struct agent_error **err)
{
	struct enrol_round *round = &core->enrol->round;

	if (!is_about_identity(*err) || round->at + 1 >= round->n_identities) {
		fail(core, err);
		return;
	}
	service_log(LOG_NOTICE, "EST: %s; trying with %s instead of %s", agent_error_message(*err), identity_names[round->identities[round->at + 1]],
		    identity_names[round->identities[round->at]]);
	*err = agent_error_free(*err);
	round->at++;
	secret_free(&round->secret);
	free(TAKE_PTR(round->cacerts));
	open_identity(core);
}

struct answer {
	bool is_issued;
	uint64_t retry_after_s;
	char *pem;
	struct enrol_wishes wishes;
};

static int read_answer(sd_bus_message *m, struct answer *a)
{
	const char *pem = NULL;
	const struct field fields[] = {
		{ "is_issued", FIELD_TRUTH, &a->is_issued, 0 },
		{ "retry_after_s", FIELD_NUMBER, &a->retry_after_s, 0 },
		{ "pem", FIELD_TEXT_REF, &pem, 0 },
		{ "wants_challenge", FIELD_TRUTH, &a->wishes.wants_challenge, 0 },
		{ "wants_serial", FIELD_TRUTH, &a->wishes.wants_serial, 0 },
		FIELD_MEMBER(FIELD_TEXT, &a->wishes, key_type),
	};
	int r = fields_read(m, fields, ARRAY_SIZE(fields));

	if (r >= 0 && pem != NULL && (a->pem = strdup(pem)) == NULL)
		r = -ENOMEM;
	return r < 0 ? r : 0;
}

/* Common to the answers: an error, or "later". True: there is a certificate text in @a. */
static bool is_answered(struct core *core, sd_bus_message *reply, int r, struct answer *a, struct agent_error **err)
{
	uint64_t min_s = (uint64_t)core->settings->est.retry_min_s;

	if (r >= 0 && read_answer(reply, a) < 0)
		r = agent_error_set(err, -EBADMSG, "est.answer", "agentd-fetch answered with something that cannot be read");
	if (r >= 0 && a->is_issued && a->pem == NULL)
		r = agent_error_set(err, -EBADMSG, "est.answer", "agentd-fetch gave no certificates");
	if (r < 0) {
		talk_failed(core, err);
		return false;
	}
	if (!a->is_issued) {
		/* Not each second, whatever the server says: each round is written down. */
		enrol_put_off(core, a->retry_after_s > min_s ? a->retry_after_s : min_s, false, "the EST server wants to be asked again later");
		return false;
	}
	return true;
}

static int talk(struct core *core, enum est_kind kind, const char *csr, ask_fn fn, struct agent_error **err)
{
	struct enrol_round *round = &core->enrol->round;
	_cleanup_secret_ struct secret text = { 0 };
	sd_bus_message *m;
	int r;

	/* With a NUL behind it, for the bus. */
	if (secret_alloc(&text, round->secret.size + 1) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a secret");
	if (round->secret.size > 0)
		memcpy(text.data, round->secret.data, round->secret.size);
	r = ask_new(core, PROG_FETCH, "Est", &m, err);
	if (r < 0)
		return r;
	(void)sd_bus_message_sensitive(m);
	r = sd_bus_message_append(m, "usssss", (uint32_t)kind, round->anchors, certificate_of(round), (const char *)text.data, csr, "");
	if (r < 0) {
		ask_drop(core, PROG_FETCH, m);
		return agent_error_set(err, r, "bus.call", "cannot ask agentd-fetch: %s", strerror(-r));
	}
	return ask_send(core, PROG_FETCH, m, TALK_TIMEOUT_S, NULL, fn, err);
}

int enrol_forget_request(struct core *core, struct agent_error **err)
{
	int r = enrol_remove(core->keys_fd, ENROL_FILE_CSR, err);

	return r < 0 || !core->enrol->journal.new_key ? r : enrol_remove(core->keys_fd, ENROL_KEY ROTATION_NEXT ".csr", err);
}

/* The server, not the way to it; and it is not about who asks. */
static bool is_about_request(const struct agent_error *err)
{
	return strncmp(agent_error_name(err), "est.", 4) == 0 && !is_about_identity(err);
}

static void on_taken(struct core *core, struct enrol_job *job, int r, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	char after[24];

	if (was_reset(core))
		return;
	if (r < 0) {
		event_add(core, EVENT_EST_REFUSED, "reason", agent_error_message(*err), NULL);
		(void)enrol_forget_request(core, NULL);
		fail(core, err);
		return;
	}
	if (job->is_begun)
		core_rotation_changed(core, EVENT_KEY_ROTATION_BEGUN, &job->rotation);
	snprintf(after, sizeof(after), "%" PRIu64, job->about.not_after_s);
	clock_signed(core, CLOCK_SIGNED_CERTIFICATE, job->about.not_before_s);
	event_add(core, EVENT_EST_ISSUED, "subject", job->about.subject, "not_after", after, NULL);
	enrol_round_end(core->enrol);
	enrol_say(core->enrol, "the new certificate is on trial");
	/* Also when this cannot be written: the rotation is what counts, and step() looks at it. */
	if (enrol_move(core, ENROL_PROVING, 0, "", &e) < 0)
		service_log(LOG_ERR, "%s", agent_error_message(e));
	core_rotation_tell(core, ENROL_KEY);
	enrol_wake(core);
}

static int on_enrolled(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct enrol_round *round = &core->enrol->round;
	struct answer answer = { 0 };
	struct enrol_job *job;

	if (was_reset(core))
		return 0;
	if (r < 0 && is_about_request(*err))
		(void)enrol_forget_request(core, NULL);
	if (!is_answered(core, reply, r, &answer, err)) {
		free(answer.pem);
		return 0;
	}
	r = enrol_job_new(ENROL_TAKE, on_taken, core, &job, err);
	if (r < 0) {
		free(answer.pem);
		fail(core, err);
		return 0;
	}
	job->pem = answer.pem;
	job->csr = TAKE_PTR(round->csr);
	job->current = TAKE_PTR(round->current);
	job->anchors = TAKE_PTR(round->anchors);
	job->cacerts = TAKE_PTR(round->cacerts);
	job->now_s = enrol_wall_s(core);
	if (enrol_job_submit(core, job, err) < 0)
		fail(core, err);
	return 0;
}

static void on_request(struct core *core, struct enrol_job *job, int r, struct agent_error **err)
{
	struct enrol_round *round = &core->enrol->round;
	enum enrol_identity identity = round->identities[round->at];
	enum est_kind kind = identity == IDENTITY_CURRENT || identity == IDENTITY_PAST ? EST_REENROL : EST_ENROL;

	if (was_reset(core))
		return;
	if (r >= 0) {
		round->csr = TAKE_PTR(job->csr_out);
		if (job->is_begun)
			core_rotation_changed(core, EVENT_KEY_ROTATION_BEGUN, &job->rotation);
		r = talk(core, kind, round->csr, on_enrolled, err);
	}
	if (r < 0)
		fail(core, err);
}

static int on_prepared(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct enrol *e = core->enrol;
	struct answer answer = { 0 };
	struct enrol_job *job;

	if (was_reset(core))
		return 0;
	if (!is_answered(core, reply, r, &answer, err)) {
		free(answer.pem);
		return 0;
	}
	e->round.cacerts = answer.pem;
	e->round.wishes = e->wishes = answer.wishes;
	r = enrol_job_new(ENROL_REQUEST, on_request, core, &job, err);
	if (r >= 0) {
		job->new_key = e->journal.new_key;
		job->wishes = answer.wishes;
		if (e->round.current != NULL && (job->current = strdup(e->round.current)) == NULL) {
			enrol_job_free(job);
			r = agent_error_set(err, -ENOMEM, "core.memory", "no memory for a request");
		}
	}
	if (r >= 0)
		r = enrol_job_submit(core, job, err);
	if (r < 0)
		fail(core, err);
	return 0;
}

static void on_opened(struct core *core, struct enrol_job *job, int r, struct agent_error **err)
{
	struct enrol *e = core->enrol;

	if (was_reset(core))
		return;
	if (r >= 0) {
		e->round.secret = job->secret;
		job->secret = (struct secret){ 0 };
		r = talk(core, EST_PREPARE, "", on_prepared, err);
	}
	if (r < 0)
		fail(core, err);
}

static void open_identity(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol_round *round = &core->enrol->round;
	struct enrol_job *job;
	int r = enrol_job_new(ENROL_OPEN, on_opened, core, &job, &err);

	if (r >= 0) {
		job->needs_secret = round->identities[round->at] == IDENTITY_SECRET;
		r = enrol_job_submit(core, job, &err);
	}
	if (r < 0)
		fail(core, &err);
}

void enrol_choose_identities(struct enrol_round *round, const struct enrol_scene *scene, uint64_t now_s)
{
	bool is_past = scene->has_current && scene->about.not_after_s <= now_s;

	if (scene->has_current && !is_past)
		round->identities[round->n_identities++] = IDENTITY_CURRENT;
	if (scene->has_factory)
		round->identities[round->n_identities++] = IDENTITY_FACTORY;
	if (scene->has_secret)
		round->identities[round->n_identities++] = IDENTITY_SECRET;
	if (is_past)
		round->identities[round->n_identities++] = IDENTITY_PAST;
}

void enrol_round_begin(struct core *core, struct enrol_scene *scene)
{
	struct enrol *e = core->enrol;

	e->round.anchors = enrol_anchors(core);
	enrol_choose_identities(&e->round, scene, enrol_wall_s(core));
	if (e->round.anchors == NULL || e->round.n_identities == 0) {
		enrol_put_off(core, 0, true, e->round.anchors == NULL ?
			"no authority is trusted for the EST server (est.trust): put it into est.ca_file, or confirm its fingerprint with agentctl enrol trust" :
			"nothing says who we are: there is neither a certificate nor a one-time secret (agentctl enrol secret)");
		return;
	}
	e->is_busy = true;
	e->round.current = TAKE_PTR(scene->current);
	e->round.factory = TAKE_PTR(scene->factory);
	enrol_say(e, "asking the EST server");
	open_identity(core);
}
