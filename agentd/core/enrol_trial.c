/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enrolment: a new pair is on trial and there is no broker to judge it. agentd-fetch shows it to the server of est.prove_url, or to the EST
 * server over another connection; when that fails, it shows the old pair to the same server, as agentd-link does at the broker (rotation.md).
 */
#include "config.h"

#include "agentd/core/enrol_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "agentd/common/fields.h"
#include "agentd/core/ask.h"
#include "agentd/core/rotation.h"
#include "base/backoff.h"
#include "base/macro.h"
#include "base/text.h"

#define TIMEOUT_S 300
#define STRIKES_MAX 3	/* a server that just hangs up gives no reason: three times is one */
#define FAILURES_MAX 30

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* What can only be about the certificate. */
static bool is_definite(const char *name)
{
	static const char *const names[] = { "tls.alert", "tls.key", "est.refused" };

	return is_one_of(name, names, ARRAY_SIZE(names));
}

/* What may be: the server was there, was the right one, and went away. */
static bool is_vague(const char *name)
{
	static const char *const names[] = { "tls.handshake", "fetch.tls", "fetch.lost", "fetch.short" };

	return is_one_of(name, names, ARRAY_SIZE(names));
}

bool enrol_judges(const struct core *core, const struct rotation *rotation)
{
	return !core->settings->mqtt.enable && rotation->state == ROTATION_PROVING && strcmp(rotation->key, ENROL_KEY) == 0;
}

static uint64_t now_us(struct core *core)
{
	uint64_t us = 0;

	(void)sd_event_now(core->event, CLOCK_MONOTONIC, &us);
	return us;
}

static void say(struct core *core, const char *why)
{
	char text[ENROL_REASON_MAX + 1];

	snprintf(text, sizeof(text), "the new certificate is on trial%s%s", why[0] != '\0' ? ": " : "", why);
	enrol_say(core->enrol, text);
}

/* No verdict. The old pair goes on working, for however long. */
static void later(struct core *core, const char *why)
{
	const struct settings *s = core->settings;
	struct enrol_trial *t = &core->enrol->trial;
	uint64_t wait_s;

	t->is_busy = false;
	if (t->n_failures < FAILURES_MAX)
		t->n_failures++;
	snprintf(t->why, sizeof(t->why), "%s", why);
	wait_s = enrol_delay_s(t->n_failures, (uint64_t)s->est.retry_min_s, (uint64_t)s->est.retry_max_s, backoff_random());
	t->next_us = now_us(core) + wait_s * 1000000;
	service_log(LOG_NOTICE, "a new certificate has not proved itself yet: %s", t->why);
	say(core, t->why);
	enrol_step_in_s(core, wait_s);
}

/* ---- the verdict ----------------------------------------------------------------------------------------------------- */

static void on_ended(struct core *core, struct enrol_job *job, int r, struct agent_error **err)
{
	if (r < 0) {
		later(core, agent_error_message(*err));
		return;
	}
	core->enrol->trial = (struct enrol_trial){ .is_busy = false };
	core_rotation_changed(core, job->is_proved ? EVENT_KEY_ROTATED : EVENT_KEY_ROTATION_FAILED, &job->rotation);
	core_rotation_tell(core, ENROL_KEY);
	enrol_wake(core);
}

static void end_trial(struct core *core, bool is_proved)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol_trial *t = &core->enrol->trial;
	struct enrol_job *job;
	int r = enrol_job_new(ENROL_END_TRIAL, on_ended, core, &job, &err);

	if (r >= 0) {
		service_log(LOG_NOTICE, is_proved ? "a server took the new certificate" : "a server refused the new certificate and took the old one");
		job->is_proved = is_proved;
		strcpy(job->id, t->id);
		strcpy(job->why, t->why);
		r = enrol_job_submit(core, job, &err);
	}
	if (r < 0)
		later(core, agent_error_message(err));
}

/* ---- attempts ---------------------------------------------------------------------------------------------------------- */

/* An answer counts when the pair was looked at for it. */
static int read_proof(sd_bus_message *m, struct agent_error **err)
{
	bool is_taken = false, has_signed = false;
	const struct field fields[] = { { "is_issued", FIELD_TRUTH, &is_taken, 0 }, { "has_signed", FIELD_TRUTH, &has_signed, 0 } };

	if (fields_read(m, fields, ARRAY_SIZE(fields)) < 0 || !is_taken)
		return agent_error_set(err, -EBADMSG, "est.answer", "agentd-fetch answered with something that cannot be read");
	if (!has_signed)
		return agent_error_set(err, -ENODATA, "est.unasked", "the server does not ask for a certificate, so it proves nothing; name one that does in est.prove_url");
	return 0;
}

static int try_pair(struct core *core, const char *pem, const char *key, ask_fn fn, struct agent_error **err)
{
	bool is_est = core->settings->est.prove_url[0] == '\0';
	_cleanup_free_ char *anchors = is_est ? enrol_anchors(core) : NULL;
	sd_bus_message *m;
	int r;

	if (is_est && anchors == NULL)
		return agent_error_set(err, -ENOKEY, "est.trust", "no authority is trusted for the EST server");
	r = ask_new(core, PROG_FETCH, "Est", &m, err);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "usssss", (uint32_t)EST_PROVE, is_est ? anchors : "", pem, "", "", key);
	if (r < 0) {
		ask_drop(core, PROG_FETCH, m);
		return agent_error_set(err, r, "bus.call", "cannot ask agentd-fetch: %s", strerror(-r));
	}
	return ask_send(core, PROG_FETCH, m, TIMEOUT_S, NULL, fn, err);
}

static int on_old(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct enrol_trial *t = &core->enrol->trial;
	char why[ROTATION_REASON_MAX + 1];

	strcpy(why, t->why);
	if (r >= 0)
		r = read_proof(reply, err);
	if (r >= 0 && (t->is_definite || ++t->n_strikes >= STRIKES_MAX))
		end_trial(core, false);
	else
		later(core, why);
	return 0;
}

/* Is it the certificate, or would the old one fare no better? */
static int try_old(struct core *core, struct agent_error **err)
{
	_cleanup_(enrol_scene_clear) struct enrol_scene scene = { .current = NULL };
	int r = enrol_look(core, &scene, err);

	if (r >= 0 && !scene.has_current)
		return agent_error_set(err, -ENOENT, "est.alone", "there is no other certificate to compare with");
	return r < 0 ? r : try_pair(core, scene.current, ENROL_KEY, on_old, err);
}

static int on_new(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct enrol_trial *t = &core->enrol->trial;

	if (r >= 0)
		r = read_proof(reply, err);
	if (r >= 0) {
		t->why[0] = '\0';
		end_trial(core, true);
		return 0;
	}
	text_reason(t->why, sizeof(t->why), agent_error_message(*err), agent_error_name(*err));
	t->is_definite = is_definite(agent_error_name(*err));
	if ((!t->is_definite && !is_vague(agent_error_name(*err))) || try_old(core, NULL) < 0) {
		char why[ROTATION_REASON_MAX + 1];

		strcpy(why, t->why);
		later(core, why);
	}
	return 0;
}

void enrol_try(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_free_ char *next = NULL;
	struct enrol_trial *t = &core->enrol->trial;
	struct rotation rotation;
	char id[65];

	if (t->is_busy)
		return;
	if (rotation_load(core->keys_fd, &rotation, &err) < 0 || rotation_read(core->keys_fd, ENROL_KEY ROTATION_NEXT, ".crt", &next, &err) < 0) {
		later(core, agent_error_message(err));
		return;
	}
	if (rotation_id(next, id) < 0 || id[0] == '\0') {
		later(core, "its file is gone, or memory is short");
		return;
	}
	if (strcmp(t->id, id) != 0) {
		*t = (struct enrol_trial){ .is_busy = false };
		strcpy(t->id, id);
	}
	say(core, t->why);
	if (now_us(core) < t->next_us) {
		enrol_step_in_s(core, (t->next_us - now_us(core)) / 1000000 + 1);
		return;
	}
	t->is_busy = true;
	if (try_pair(core, next, rotation.is_renewal ? ENROL_KEY : ENROL_KEY ROTATION_NEXT, on_new, &err) < 0)
		later(core, agent_error_message(err));
}
