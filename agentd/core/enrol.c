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

#include "agentd/core/clock.h"
#include "agentd/core/enrol_inside.h"
#include "agentd/core/rotation.h"
#include "base/backoff.h"
#include "base/macro.h"

#define LOOK_AGAIN_S 600     /* the clock may have been set meanwhile */
#define PERSON_FAILURES_MAX 8 /* then what a person asked for is given up, unless it is due anyway */
#define SOON_MS 50
#define FAILURES_MAX 30

static void step(struct core *core);

uint64_t enrol_wall_s(const struct core *core)
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

void enrol_step_in_s(struct core *core, uint64_t s)
{
	step_in(core, 1000 * (s > LOOK_AGAIN_S ? LOOK_AGAIN_S : s));
}

void enrol_say(struct enrol *e, const char *detail)
{
	snprintf(e->detail, sizeof(e->detail), "%s", detail);
	for (char *p = e->detail; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

/* ---- moves of the journal ------------------------------------------------------------------------------------------ */

/* A journal that cannot be written stops the way here: what is not noted is not begun. */
int enrol_move(struct core *core, enum enrol_stage stage, uint64_t wait_s, const char *reason, struct agent_error **err)
{
	struct enrol *e = core->enrol;
	struct enrol_journal next = e->journal;

	next.stage = stage;
	next.since_s = enrol_wall_s(core);
	next.wait_s = wait_s;
	enrol_set_reason(&next, reason);
	return enrol_save(core->keys_fd, &e->journal, &next, err);
}

void enrol_put_off(struct core *core, uint64_t wait_s, bool is_failure, const char *reason)
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
	enrol_round_end(e);
	enrol_say(e, reason);
	/* Each of a thousand attempts of a dead server is not an event. */
	if (is_failure && (before == 0 || (before & (before + 1)) == 0)) {
		char failures[16];

		snprintf(failures, sizeof(failures), "%u", e->journal.failures);
		event_add(core, EVENT_EST_FAILED, "reason", reason, "failures", failures, NULL);
	}
	if (enrol_move(core, ENROL_WAITING, wait_s, is_failure ? reason : "", &err) < 0) {
		e->journal.failures = before;
		service_log(LOG_ERR, "%s", agent_error_message(err));
		enrol_step_in_s(core, min_s);
		return;
	}
	enrol_step_in_s(core, wait_s);
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
	level = enrol_warning(scene->about.not_before_s, scene->about.not_after_s, enrol_wall_s(core));
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
	if (enrol_forget_request(core, &err) < 0) {
		enrol_say(e, agent_error_message(err));
		enrol_step_in_s(core, (uint64_t)core->settings->est.retry_min_s);
		return;
	}
	next.stage = ENROL_ASKING;
	next.cause = cause;
	next.new_key = new_key;
	next.failures = 0;
	next.since_s = enrol_wall_s(core);
	next.wait_s = 0;
	next.reason[0] = '\0';
	if (enrol_save(core->keys_fd, &e->journal, &next, &err) < 0) {
		enrol_say(e, agent_error_message(err));
		enrol_step_in_s(core, (uint64_t)core->settings->est.retry_min_s);
		return;
	}
	enrol_choose_identities(&first, scene, enrol_wall_s(core));
	event_add(core, EVENT_EST_BEGUN, "cause", enrol_cause_name(cause), "identity", first.n_identities > 0 ? enrol_identity_name(first.identities[0]) : "none",
		  "new_key", new_key ? "yes" : "no", NULL);
	enrol_round_begin(core, scene);
}

static void step_idle(struct core *core, struct enrol_scene *scene, const struct rotation *rotation)
{
	struct enrol *e = core->enrol;
	enum enrol_cause cause;

	if (!is_due(scene, enrol_wall_s(core), &cause)) {
		enrol_say(e, "the certificate is not old enough yet");
		enrol_step_in_s(core, scene->due_s - enrol_wall_s(core));
	} else if (rotation_is_active(rotation)) {
		enrol_say(e, "a rotation that somebody began is under way");
		enrol_step_in_s(core, 60);
	} else {
		begin(core, cause, scene->has_current && core->settings->est.new_key, scene);
	}
}

static void step_waiting(struct core *core, struct enrol_scene *scene)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol *e = core->enrol;
	uint64_t left_s = enrol_left_s(&e->journal, enrol_wall_s(core));
	enum enrol_cause cause;

	if (left_s > 0) {
		enrol_step_in_s(core, left_s);
		return;
	}
	if (e->journal.cause == ENROL_PERSON && e->journal.failures >= PERSON_FAILURES_MAX && !is_due(scene, enrol_wall_s(core), &cause)) {
		if (enrol_move(core, ENROL_IDLE, 0, e->journal.reason, &err) < 0)
			service_log(LOG_ERR, "%s", agent_error_message(err));
		enrol_say(e, "given up; the certificate in use is good");
		enrol_step_in_s(core, LOOK_AGAIN_S);
		return;
	}
	if (enrol_move(core, ENROL_ASKING, 0, e->journal.reason, &err) < 0) {
		enrol_say(e, agent_error_message(err));
		enrol_step_in_s(core, (uint64_t)core->settings->est.retry_min_s);
		return;
	}
	enrol_round_begin(core, scene);
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
	next.since_s = enrol_wall_s(core);
	next.wait_s = 0;
	next.reason[0] = '\0';
	/* A secret is good for one certificate. */
	r = enrol_remove(core->keys_fd, ENROL_FILE_CSR, &err);
	if (r >= 0 && scene->has_secret)
		r = enrol_remove(core->keys_fd, ENROL_FILE_SECRET, &err);
	if (r >= 0)
		r = enrol_save(core->keys_fd, &e->journal, &next, &err);
	if (r < 0) {
		enrol_say(e, agent_error_message(err));
		enrol_step_in_s(core, (uint64_t)core->settings->est.retry_min_s);
		return;
	}
	if (scene->has_secret)
		event_add(core, EVENT_EST_SECRET, "action", "wiped", NULL);
	snprintf(after, sizeof(after), "%" PRIu64, scene->about.not_after_s);
	event_add(core, EVENT_EST_DONE, "not_after", after, NULL);
	enrol_say(e, "the new certificate is in use");
	step_in(core, SOON_MS);
}

static void step_proving(struct core *core, const struct enrol_scene *scene, const struct rotation *rotation)
{
	char text[ENROL_REASON_MAX + 1];

	if (strcmp(rotation->key, ENROL_KEY) == 0 && rotation->state == ROTATION_DONE) {
		proved(core, scene);
	} else if (rotation_is_active(rotation)) {
		if (!enrol_judges(core, rotation))
			enrol_say(core->enrol, "the new certificate is on trial");
		enrol_step_in_s(core, 30);
	} else {
		(void)enrol_remove(core->keys_fd, ENROL_FILE_CSR, NULL);
		snprintf(text, sizeof(text), "the new certificate did not prove itself: %s", rotation->reason[0] != '\0' ? rotation->reason : "it is gone");
		enrol_put_off(core, 0, true, text);
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
		enrol_say(e, "the device is not set up, or its TPM does not answer");
		enrol_step_in_s(core, 10);
		return;
	}
	if (e->is_damaged && enrol_load(core->keys_fd, &e->journal, &err) < 0) {
		enrol_say(e, agent_error_message(err));
		enrol_step_in_s(core, 60);
		return;
	}
	e->is_damaged = false;
	if (enrol_look(core, &scene, &err) < 0 || rotation_load(core->keys_fd, &rotation, &err) < 0) {
		enrol_say(e, agent_error_message(err));
		enrol_step_in_s(core, 60);
		return;
	}
	warn(core, &scene);
	if (is_on_trial(e, &rotation) && enrol_move(core, ENROL_PROVING, 0, "", &err) < 0) {
		enrol_say(e, agent_error_message(err));
		enrol_step_in_s(core, 60);
		return;
	}
	switch (e->journal.stage) {
	case ENROL_IDLE:
		step_idle(core, &scene, &rotation);
		break;
	case ENROL_ASKING:
		enrol_round_begin(core, &scene);
		break;
	case ENROL_WAITING:
		step_waiting(core, &scene);
		break;
	case ENROL_PROVING:
		step_proving(core, &scene, &rotation);
		break;
	}
	if (enrol_judges(core, &rotation))
		enrol_try(core);
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
	enrol_say(e, "the device was reset");
}

int enrol_start(struct core *core, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;

	if (core->settings->est.url[0] == '\0')
		return 0;
	core->enrol = calloc(1, sizeof(*core->enrol));
	if (core->enrol == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for enrolment");
	enrol_say(core->enrol, "not looked yet");
	if (enrol_load(core->keys_fd, &core->enrol->journal, &e) < 0) {
		core->enrol->is_damaged = true;
		enrol_say(core->enrol, agent_error_message(e));
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
	enrol_round_end(core->enrol);
	free(core->enrol);
	core->enrol = NULL;
}
