/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/enrol.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "agentd/common/fields.h"
#include "agentd/common/peer.h"
#include "agentd/core/ask.h"
#include "agentd/core/clock.h"
#include "agentd/core/enrol_inside.h"
#include "agentd/core/rotation.h"
#include "base/backoff.h"
#include "base/macro.h"

#define TALK_TIMEOUT_S 600   /* several requests, each with its own limit */
#define LOOK_AGAIN_S 600     /* the clock may have been set meanwhile */
#define PERSON_FAILURES_MAX 8 /* then what a person asked for is given up, unless it is due anyway */
#define SOON_MS 50
#define FAILURES_MAX 30

static const char *const identity_names[] = {
	[IDENTITY_CURRENT] = "current", [IDENTITY_FACTORY] = "factory", [IDENTITY_SECRET] = "secret", [IDENTITY_PAST] = "expired",
};

static void step(struct core *core);

const char *enrol_identity_name(enum enrol_identity identity)
{
	return identity_names[identity];
}

static uint64_t wall_s(const struct core *core)
{
	int64_t now = clock_now(core);

	return now > 0 ? (uint64_t)now : 0;
}

static int on_timer(sd_event_source *timer, uint64_t usec, void *userdata)
{
	step(userdata);
	return 0;
}

static void step_in(struct core *core, uint64_t ms)
{
	struct enrol *e = core->enrol;

	e->timer = sd_event_source_disable_unref(e->timer);
	if (sd_event_add_time_relative(core->event, &e->timer, CLOCK_MONOTONIC, ms * 1000, 0, on_timer, core) < 0)
		service_log(LOG_ERR, "no timer for enrolment");
}

static void step_in_s(struct core *core, uint64_t s)
{
	step_in(core, 1000 * (s > LOOK_AGAIN_S ? LOOK_AGAIN_S : s));
}

static void say(struct enrol *e, const char *detail)
{
	snprintf(e->detail, sizeof(e->detail), "%s", detail);
	for (char *p = e->detail; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

static void end_round(struct enrol *e)
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
	end_round(e);
	step_in_s(core, 10);
	return true;
}

/* ---- moves of the journal ------------------------------------------------------------------------------------------ */

/* A journal that cannot be written stops the way here: what is not noted is not begun. */
static int move(struct core *core, enum enrol_stage stage, uint64_t wait_s, const char *reason, struct agent_error **err)
{
	struct enrol *e = core->enrol;
	struct enrol_journal next = e->journal;

	next.stage = stage;
	next.since_s = wall_s(core);
	next.wait_s = wait_s;
	enrol_set_reason(&next, reason);
	return enrol_save(core->keys_fd, &e->journal, &next, err);
}

/* Not now: again after @wait_s, or after a delay that grows where that is 0. */
static void put_off(struct core *core, uint64_t wait_s, bool is_failure, const char *reason)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol *e = core->enrol;
	uint64_t min_s = (uint64_t)core->settings->est.retry_min_s, max_s = (uint64_t)core->settings->est.retry_max_s;
	unsigned before = e->journal.failures;

	if (is_failure && e->journal.failures < FAILURES_MAX)
		e->journal.failures++;
	if (wait_s == 0)
		wait_s = enrol_delay_s(e->journal.failures, min_s, max_s, backoff_random());
	if (wait_s > max_s)
		wait_s = max_s;
	end_round(e);
	say(e, reason);
	/* Each of a thousand attempts of a dead server is not an event. */
	if (is_failure && (before == 0 || (before & (before + 1)) == 0)) {
		char failures[16];

		snprintf(failures, sizeof(failures), "%u", e->journal.failures);
		event_add(core, EVENT_EST_FAILED, "reason", reason, "failures", failures, NULL);
	}
	if (move(core, ENROL_WAITING, wait_s, is_failure ? reason : "", &err) < 0) {
		e->journal.failures = before;
		service_log(LOG_ERR, "%s", agent_error_message(err));
		step_in_s(core, min_s);
		return;
	}
	step_in_s(core, wait_s);
}

static void fail(struct core *core, struct agent_error **err)
{
	char text[ENROL_REASON_MAX + 1];

	snprintf(text, sizeof(text), "%s (%s)", agent_error_message(*err), agent_error_name(*err));
	put_off(core, 0, true, text);
}

/* ---- a round: secret, cacerts and csrattrs, request, certificate ----------------------------------------------------- */

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
		put_off(core, a->retry_after_s > min_s ? a->retry_after_s : min_s, false, "the EST server wants to be asked again later");
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
	r = sd_bus_message_append(m, "ussss", (uint32_t)kind, round->anchors, certificate_of(round), (const char *)text.data, csr);
	if (r < 0) {
		ask_drop(core, PROG_FETCH, m);
		return agent_error_set(err, r, "bus.call", "cannot ask agentd-fetch: %s", strerror(-r));
	}
	return ask_send(core, PROG_FETCH, m, TALK_TIMEOUT_S, NULL, fn, err);
}

/* The next attempt makes a request anew: this one was refused, or asks for what is not wanted any more. A new key stays. */
static int forget_request(struct core *core, struct agent_error **err)
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
		(void)forget_request(core, NULL);
		fail(core, err);
		return;
	}
	if (job->is_begun)
		core_rotation_changed(core, EVENT_KEY_ROTATION_BEGUN, &job->rotation);
	snprintf(after, sizeof(after), "%" PRIu64, job->about.not_after_s);
	clock_signed(core, CLOCK_SIGNED_CERTIFICATE, job->about.not_before_s);
	event_add(core, EVENT_EST_ISSUED, "subject", job->about.subject, "not_after", after, NULL);
	end_round(core->enrol);
	say(core->enrol, "the new certificate is on trial");
	/* Also when this cannot be written: the rotation is what counts, and step() looks at it. */
	if (move(core, ENROL_PROVING, 0, "", &e) < 0)
		service_log(LOG_ERR, "%s", agent_error_message(e));
	core_rotation_tell(core, ENROL_KEY);
	step_in_s(core, 30);
}

static int on_enrolled(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct enrol_round *round = &core->enrol->round;
	struct answer answer = { 0 };
	struct enrol_job *job;

	if (was_reset(core))
		return 0;
	if (r < 0 && is_about_request(*err))
		(void)forget_request(core, NULL);
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
	job->now_s = wall_s(core);
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

/* What may be shown, best first. */
static void choose_identities(struct enrol_round *round, const struct enrol_scene *scene, uint64_t now_s)
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

static void begin_round(struct core *core, struct enrol_scene *scene)
{
	struct enrol *e = core->enrol;

	e->round.anchors = enrol_anchors(core);
	choose_identities(&e->round, scene, wall_s(core));
	if (e->round.anchors == NULL || e->round.n_identities == 0) {
		put_off(core, 0, true, e->round.anchors == NULL ?
			"no authority is trusted for the EST server (est.trust): put it into est.ca_file, or confirm its fingerprint with agentctl enrol trust" :
			"nothing says who we are: there is neither a certificate nor a one-time secret (agentctl enrol secret)");
		return;
	}
	e->is_busy = true;
	e->round.current = TAKE_PTR(scene->current);
	e->round.factory = TAKE_PTR(scene->factory);
	say(e, "asking the EST server");
	open_identity(core);
}

/* ---- stages ---------------------------------------------------------------------------------------------------------- */

/* 0: nothing to do; else the cause is in *ret_cause. */
static int is_due(const struct enrol_scene *scene, uint64_t now_s, enum enrol_cause *ret_cause)
{
	if (!scene->has_current)
		*ret_cause = ENROL_FIRST;
	else if (scene->about.not_after_s <= now_s)
		*ret_cause = ENROL_EXPIRED;
	else if (scene->due_s <= now_s)
		*ret_cause = ENROL_DUE;
	else
		return 0;
	return 1;
}

static void warn(struct core *core, const struct enrol_scene *scene)
{
	static const char *const left[] = { "", "a fifth", "a twentieth", "none" };
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol *e = core->enrol;
	struct enrol_journal next = e->journal;
	char after[24];
	unsigned level;

	if (!scene->has_current)
		return;
	level = enrol_warning(scene->about.not_before_s, scene->about.not_after_s, wall_s(core));
	if (strcmp(e->journal.warned_id, scene->id) == 0 ? level <= e->journal.warned : level == 0)
		return;
	snprintf(next.warned_id, sizeof(next.warned_id), "%s", scene->id);
	next.warned = level;
	snprintf(after, sizeof(after), "%" PRIu64, scene->about.not_after_s);
	event_add(core, EVENT_CERT_EXPIRING, "not_after", after, "left", left[level], NULL);
	if (enrol_save(core->keys_fd, &e->journal, &next, &err) < 0)
		service_log(LOG_ERR, "%s", agent_error_message(err));
}

static void begin(struct core *core, enum enrol_cause cause, bool new_key, struct enrol_scene *scene)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol *e = core->enrol;
	struct enrol_journal next = e->journal;
	struct enrol_round first = { .n_identities = 0 };

	/* A request of an earlier enrolment may have another subject. */
	if (forget_request(core, &err) < 0) {
		say(e, agent_error_message(err));
		step_in_s(core, (uint64_t)core->settings->est.retry_min_s);
		return;
	}
	next.stage = ENROL_ASKING;
	next.cause = cause;
	next.new_key = new_key;
	next.failures = 0;
	next.since_s = wall_s(core);
	next.wait_s = 0;
	next.reason[0] = '\0';
	if (enrol_save(core->keys_fd, &e->journal, &next, &err) < 0) {
		say(e, agent_error_message(err));
		step_in_s(core, (uint64_t)core->settings->est.retry_min_s);
		return;
	}
	choose_identities(&first, scene, wall_s(core));
	event_add(core, EVENT_EST_BEGUN, "cause", enrol_cause_name(cause), "identity", first.n_identities > 0 ? identity_names[first.identities[0]] : "none",
		  "new_key", new_key ? "yes" : "no", NULL);
	begin_round(core, scene);
}

static void step_idle(struct core *core, struct enrol_scene *scene, const struct rotation *rotation)
{
	struct enrol *e = core->enrol;
	enum enrol_cause cause;

	if (!is_due(scene, wall_s(core), &cause)) {
		say(e, "the certificate is not old enough yet");
		step_in_s(core, scene->due_s - wall_s(core));
	} else if (rotation_is_active(rotation)) {
		say(e, "a rotation that somebody began is under way");
		step_in_s(core, 60);
	} else {
		begin(core, cause, scene->has_current && core->settings->est.new_key, scene);
	}
}

static void step_waiting(struct core *core, struct enrol_scene *scene)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol *e = core->enrol;
	uint64_t left_s = enrol_left_s(&e->journal, wall_s(core));
	enum enrol_cause cause;

	if (left_s > 0) {
		step_in_s(core, left_s);
		return;
	}
	if (e->journal.cause == ENROL_PERSON && e->journal.failures >= PERSON_FAILURES_MAX && !is_due(scene, wall_s(core), &cause)) {
		if (move(core, ENROL_IDLE, 0, e->journal.reason, &err) < 0)
			service_log(LOG_ERR, "%s", agent_error_message(err));
		say(e, "given up; the certificate in use is good");
		step_in_s(core, LOOK_AGAIN_S);
		return;
	}
	if (move(core, ENROL_ASKING, 0, e->journal.reason, &err) < 0) {
		say(e, agent_error_message(err));
		step_in_s(core, (uint64_t)core->settings->est.retry_min_s);
		return;
	}
	begin_round(core, scene);
}

static void proved(struct core *core, const struct enrol_scene *scene)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol *e = core->enrol;
	struct enrol_journal next = e->journal;
	char after[24];
	int r;

	next.stage = ENROL_IDLE;
	next.failures = 0;
	next.since_s = wall_s(core);
	next.wait_s = 0;
	next.reason[0] = '\0';
	/* A secret is good for one certificate. */
	r = enrol_remove(core->keys_fd, ENROL_FILE_CSR, &err);
	if (r >= 0 && scene->has_secret)
		r = enrol_remove(core->keys_fd, ENROL_FILE_SECRET, &err);
	if (r >= 0)
		r = enrol_save(core->keys_fd, &e->journal, &next, &err);
	if (r < 0) {
		say(e, agent_error_message(err));
		step_in_s(core, (uint64_t)core->settings->est.retry_min_s);
		return;
	}
	if (scene->has_secret)
		event_add(core, EVENT_EST_SECRET, "action", "wiped", NULL);
	snprintf(after, sizeof(after), "%" PRIu64, scene->about.not_after_s);
	event_add(core, EVENT_EST_DONE, "not_after", after, NULL);
	say(e, "the new certificate is in use");
	step_in(core, SOON_MS);
}

static void step_proving(struct core *core, const struct enrol_scene *scene, const struct rotation *rotation)
{
	char text[ENROL_REASON_MAX + 1];

	if (strcmp(rotation->key, ENROL_KEY) == 0 && rotation->state == ROTATION_DONE) {
		proved(core, scene);
	} else if (rotation_is_active(rotation)) {
		say(core->enrol, "the new certificate is on trial");
		step_in_s(core, 30);
	} else {
		(void)enrol_remove(core->keys_fd, ENROL_FILE_CSR, NULL);
		snprintf(text, sizeof(text), "the new certificate did not prove itself: %s", rotation->reason[0] != '\0' ? rotation->reason : "it is gone");
		put_off(core, 0, true, text);
	}
}

/* Cut off between the certificate's arrival and the note of it here: the rotation has it. */
static bool is_on_trial(const struct enrol *e, const struct rotation *rotation)
{
	return e->journal.stage == ENROL_ASKING && rotation->state == ROTATION_PROVING && strcmp(rotation->key, ENROL_KEY) == 0;
}

static void step(struct core *core)
{
	_cleanup_(enrol_scene_clear) struct enrol_scene scene = { 0 };
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol *e = core->enrol;
	struct rotation rotation;

	e->timer = sd_event_source_disable_unref(e->timer);
	if (e->is_busy)
		return;
	if (core->setup != AGENT_SETUP_ACTIVE) {
		say(e, "the device is not set up, or its TPM does not answer");
		step_in_s(core, 10);
		return;
	}
	if (e->is_damaged && enrol_load(core->keys_fd, &e->journal, &err) < 0) {
		say(e, agent_error_message(err));
		step_in_s(core, 60);
		return;
	}
	e->is_damaged = false;
	if (enrol_look(core, &scene, &err) < 0 || rotation_load(core->keys_fd, &rotation, &err) < 0) {
		say(e, agent_error_message(err));
		step_in_s(core, 60);
		return;
	}
	warn(core, &scene);
	if (is_on_trial(e, &rotation) && move(core, ENROL_PROVING, 0, "", &err) < 0) {
		say(e, agent_error_message(err));
		step_in_s(core, 60);
		return;
	}
	switch (e->journal.stage) {
	case ENROL_IDLE:
		step_idle(core, &scene, &rotation);
		break;
	case ENROL_ASKING:
		begin_round(core, &scene);
		break;
	case ENROL_WAITING:
		step_waiting(core, &scene);
		break;
	case ENROL_PROVING:
		step_proving(core, &scene, &rotation);
		break;
	}
}

/* ---- from outside ------------------------------------------------------------------------------------------------------ */

int enrol_ask_now(struct core *core, bool new_key, struct agent_error **err)
{
	_cleanup_(enrol_scene_clear) struct enrol_scene scene = { 0 };
	_cleanup_free_ char *anchors = NULL;
	struct enrol *e = core->enrol;
	struct rotation rotation;
	int r;

	if (e->is_damaged)
		return agent_error_set(err, -EBADMSG, "est.journal", "%s", e->detail);
	if (e->is_busy || e->journal.stage == ENROL_PROVING)
		return agent_error_set(err, -EBUSY, "est.busy", "an enrolment is under way (%s)", enrol_stage_name(e->journal.stage));
	r = enrol_look(core, &scene, err);
	if (r >= 0)
		r = rotation_load(core->keys_fd, &rotation, err);
	if (r < 0)
		return r;
	if (rotation_is_active(&rotation) && !(e->journal.new_key && new_key && e->journal.stage == ENROL_WAITING))
		return agent_error_set(err, -EBUSY, "rotation.active", "key %s is being rotated (%s): wait, or abort it", rotation.key, rotation_state_name(rotation.state));
	anchors = enrol_anchors(core);
	if (anchors == NULL)
		return agent_error_set(err, -ENOKEY, "est.trust", "no authority is trusted for the EST server: put it into est.ca_file, or confirm its "
				       "fingerprint with agentctl enrol trust");
	if (!scene.has_current && !scene.has_factory && !scene.has_secret)
		return agent_error_set(err, -ENOKEY, "est.identity", "nothing says who this device is: there is neither a certificate nor a one-time secret "
				       "(agentctl enrol secret)");
	begin(core, ENROL_PERSON, new_key && scene.has_current, &scene);
	if (e->journal.stage == ENROL_IDLE)
		return agent_error_set(err, -EIO, "est.journal", "%s", e->detail);
	return 0;
}

void enrol_wake(struct core *core)
{
	if (core->enrol != NULL && !core->enrol->is_busy)
		step_in(core, SOON_MS);
}

void enrol_were_reset(struct core *core)
{
	struct enrol *e = core->enrol;

	if (e == NULL)
		return;
	e->journal = (struct enrol_journal){ .stage = ENROL_IDLE };
	e->wishes = (struct enrol_wishes){ 0 };
	e->is_damaged = false;
	e->is_reset = e->is_busy;
	secret_free(&e->round.secret);
	say(e, "the device was reset");
}

int enrol_start(struct core *core, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;

	if (core->settings->est.url[0] == '\0')
		return 0;
	core->enrol = calloc(1, sizeof(*core->enrol));
	if (core->enrol == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for enrolment");
	say(core->enrol, "not looked yet");
	if (enrol_load(core->keys_fd, &core->enrol->journal, &e) < 0) {
		core->enrol->is_damaged = true;
		say(core->enrol, agent_error_message(e));
		service_log(LOG_ERR, "%s", agent_error_message(e));
	}
	return 0;
}

void enrol_open(struct core *core)
{
	if (core->enrol != NULL)
		step_in(core, SOON_MS);
}

void enrol_stop(struct core *core)
{
	if (core->enrol == NULL)
		return;
	sd_event_source_disable_unref(core->enrol->timer);
	end_round(core->enrol);
	free(core->enrol);
	core->enrol = NULL;
}
