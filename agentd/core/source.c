/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/source.h"
#include "agentd/core/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include <agent/context.h>
#include <agent/password.h>

#include "agentd/common/fields.h"
#include "agentd/common/peer.h"
#include "agentd/core/ask.h"
#include "agentd/core/audit.h"
#include "agentd/core/update.h"
#include "base/backoff.h"
#include "base/macro.h"

#define LOOK_TIMEOUT_S 900	/* several requests, each with its own limit */
#define SOON_MS 100
#define FAILURES_MAX 20

struct source {
	sd_event_source *timer;
	bool is_looking, is_due; /* due: once more, as soon as the look is over */
	unsigned n_failures;
	char state[16], detail[400];
	char action[UPDATE_ACTION_MAX + 1], version[65]; /* that the source speaks of */
	char waits_for[16]; /* what the policy wants before it, and what an approval takes the place of */
	char offered[UPDATE_ACTION_MAX + 1];	/* of the last installation, if it was ours */
	bool has_outcome, has_sent_outcome;
	char outcome[65], outcome_text[400];
};

/* What a look brought, copied from the answer. */
struct found {
	char state[16], detail[400], action[UPDATE_ACTION_MAX + 1], version[65], waits_for[16], told[16], url[2049];
	uint64_t next_ms, size;
	bool has_failed, must_abort, is_forced;
};

static void look(struct core *core);

static int on_timer(sd_event_source *timer, uint64_t usec, void *userdata)
{
	look(userdata);
	return 0;
}

static void look_in(struct core *core, uint64_t ms)
{
	struct source *s = core->source;

	s->timer = sd_event_source_disable_unref(s->timer);
	if (sd_event_add_time_relative(core->event, &s->timer, CLOCK_MONOTONIC, ms * 1000, 0, on_timer, core) < 0)
		service_log(LOG_ERR, "no timer for the source of updates");
}

static void say(struct source *s, const char *state, const char *detail)
{
	snprintf(s->state, sizeof(s->state), "%s", state);
	snprintf(s->detail, sizeof(s->detail), "%s", detail);
}

/* The look itself could not be made: agentd-fetch does not start, or died. */
static void look_failed(struct core *core, const char *why)
{
	struct source *s = core->source;
	uint64_t min_ms = (uint64_t)core->settings->source.poll_min_s * 1000, max_ms = (uint64_t)core->settings->source.poll_max_s * 1000;

	if (s->n_failures < FAILURES_MAX)
		s->n_failures++;
	say(s, "failed", why);
	s->waits_for[0] = '\0';
	stream_wake(core);
	look_in(core, min_ms + backoff_random() % (backoff_ceiling(s->n_failures - 1, min_ms, max_ms) + 1));
}

/* ---- what a look brought ---------------------------------------------------------------------------------------- */

static int read_found(sd_bus_message *m, struct found *found)
{
	const struct field fields[] = {
		FIELD_MEMBER(FIELD_WHOLE_TEXT, found, state),
		FIELD_MEMBER(FIELD_WHOLE_TEXT, found, detail),
		FIELD_MEMBER(FIELD_WHOLE_TEXT, found, action),
		FIELD_MEMBER(FIELD_WHOLE_TEXT, found, version),
		FIELD_MEMBER(FIELD_WHOLE_TEXT, found, waits_for),
		FIELD_MEMBER(FIELD_WHOLE_TEXT, found, told),
		FIELD_MEMBER(FIELD_WHOLE_TEXT, found, url),
		{ "next_ms", FIELD_NUMBER, &found->next_ms, 0 },
		{ "size", FIELD_NUMBER, &found->size, 0 },
		{ "has_failed", FIELD_TRUTH, &found->has_failed, 0 },
		{ "must_abort", FIELD_TRUTH, &found->must_abort, 0 },
		{ "is_forced", FIELD_TRUTH, &found->is_forced, 0 },
	};

	return fields_read(m, fields, ARRAY_SIZE(fields));
}

static void install(struct core *core, const struct found *found)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct source *s = core->source;
	struct update_offer offer = {
		.kind = core->settings->source.kind, .action = found->action, .version = found->version, .url = found->url, .size = found->size,
	};

	if (strcmp(s->offered, found->action) != 0)
		event_add(core, EVENT_SOURCE_OFFERED, "source", offer.kind, "action", found->action, "version", found->version, NULL);
	snprintf(s->offered, sizeof(s->offered), "%s", found->action);
	s->has_outcome = false;
	if (updates_take_offer(core, &offer, &err) < 0)
		source_ended(core, err);
}

static int on_found(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct source *s = core->source;
	struct found found = { 0 };
	uint64_t min_ms = (uint64_t)core->settings->source.poll_min_s * 1000;

	s->is_looking = false;
	if (r >= 0 && read_found(reply, &found) < 0)
		r = agent_error_set(err, -EBADMSG, "source.answer", "agentd-fetch answered with something that cannot be read");
	if (r < 0) {
		look_failed(core, agent_error_message(*err));
		return 0;
	}
	if (s->has_sent_outcome)
		s->has_outcome = false;
	s->n_failures = !found.has_failed ? 0 : s->n_failures < FAILURES_MAX ? s->n_failures + 1 : s->n_failures;
	say(s, found.state, found.detail);
	snprintf(s->action, sizeof(s->action), "%s", found.action);
	snprintf(s->version, sizeof(s->version), "%s", found.version);
	snprintf(s->waits_for, sizeof(s->waits_for), "%s", found.waits_for);
	stream_wake(core); /* who follows is told what differs, if anything does */
	if (found.told[0] != '\0')
		event_add(core, EVENT_SOURCE_REPORTED, "source", core->settings->source.kind, "action", found.action, "version",
			  found.version[0] != '\0' ? found.version : NULL, "result", found.told, NULL);
	look_in(core, s->is_due ? SOON_MS : found.next_ms < min_ms ? min_ms : found.next_ms);
	s->is_due = false;
	if (found.must_abort)
		updates_cancel(core);
	if (found.url[0] != '\0' && found.action[0] != '\0')
		install(core, &found);
	return 0;
}

/* ---- a look ----------------------------------------------------------------------------------------------------- */

static int append_device(struct core *core, sd_bus_message *m)
{
	const struct settings *settings = core->settings;
	struct source *s = core->source;
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = updates_append_device(core, m);
	if (r >= 0)
		r = peer_append_string(m, "product", settings->device.product);
	if (r >= 0)
		r = peer_append_string(m, "serial", settings->device.serial);
	if (r >= 0)
		r = peer_append_string(m, "model", settings->device.model);
	if (r >= 0)
		r = peer_append_string(m, "agent_version", agent_version());
	if (r >= 0)
		r = peer_append_string(m, "action", s->offered);
	if (r >= 0)
		r = peer_append_string(m, "waits_for", policy_waits_for(core));
	if (r >= 0)
		r = policy_append_approved(core, m);
	if (r >= 0)
		r = peer_append_bool(m, "has_outcome", s->has_outcome);
	if (r >= 0 && s->has_outcome) {
		r = peer_append_string(m, "outcome", s->outcome);
		if (r >= 0)
			r = peer_append_string(m, "outcome_text", s->outcome_text);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int ask_look(struct core *core, struct agent_error **err)
{
	struct source *s = core->source;
	sd_bus_message *m;
	int r;

	r = ask_new(core, PROG_FETCH, "Look", &m, err);
	if (r < 0)
		return r;
	r = append_device(core, m);
	if (r >= 0)
		r = sd_bus_message_append(m, "u", (uint32_t)s->n_failures);
	if (r < 0) {
		ask_drop(core, PROG_FETCH, m);
		return agent_error_set(err, r, "bus.call", "cannot tell agentd-fetch about the device: %s", strerror(-r));
	}
	s->has_sent_outcome = s->has_outcome;
	return ask_send(core, PROG_FETCH, m, LOOK_TIMEOUT_S, NULL, on_found, err);
}

static void look(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct source *s = core->source;
	uint64_t min_ms = (uint64_t)core->settings->source.poll_min_s * 1000;

	s->timer = sd_event_source_disable_unref(s->timer);
	if (s->is_looking)
		return;
	/* A release that is installed before could not be confirmed: that is closed until then as well. */
	if (core->setup != AGENT_SETUP_ACTIVE) {
		say(s, "waiting", "the device is not set up, or its TPM does not answer");
		look_in(core, min_ms);
		return;
	}
	if (!updates_are_known(core)) {
		say(s, "waiting", "the state of the slots is not known");
		updates_look(core);
		look_in(core, min_ms);
		return;
	}
	if (ask_look(core, &err) < 0)
		look_failed(core, agent_error_message(err));
	else
		s->is_looking = true;
}

void source_wake(struct core *core)
{
	struct source *s = core->source;

	if (s == NULL)
		return;
	if (s->is_looking)
		s->is_due = true;
	else
		look_in(core, SOON_MS);
}

static int append_state(struct core *core, sd_bus_message *m)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = source_append(core, m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int op_update_check(struct core *core, struct op_call *call, struct agent_error **err)
{
	if (core->source == NULL)
		return agent_error_set(err, -EOPNOTSUPP, "source.none", "source.kind is none: there is nowhere to look for updates");
	source_wake(core);
	return op_reply_made(core, call, append_state, "the state of the source", err);
}

void source_ended(struct core *core, const struct agent_error *error)
{
	struct source *s = core->source;

	if (s == NULL)
		return;
	s->has_outcome = true;
	s->has_sent_outcome = false;
	snprintf(s->outcome, sizeof(s->outcome), "%s", error == NULL ? "" : agent_error_name(error));
	snprintf(s->outcome_text, sizeof(s->outcome_text), "%s", error == NULL ? "" : agent_error_message(error));
	/* Cut bytewise; what is left must be text for the bus. */
	for (char *p = s->outcome_text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
	source_wake(core);
}

int source_append(struct core *core, sd_bus_message *m)
{
	const struct source *s = core->source;
	int r;

	if (s == NULL)
		return 0;
	r = peer_append_string(m, "source_state", s->state);
	if (r >= 0)
		r = peer_append_string(m, "source_detail", s->detail[0] != '\0' ? s->detail : NULL);
	if (r >= 0)
		r = peer_append_string(m, "source_action", s->action[0] != '\0' ? s->action : NULL);
	if (r >= 0)
		r = peer_append_string(m, "source_version", s->version[0] != '\0' ? s->version : NULL);
	return r < 0 ? r : peer_append_string(m, "source_waits_for", s->waits_for[0] != '\0' ? s->waits_for : NULL);
}

int op_source_approve(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct source *s = core->source;
	const char *action, *version;
	int r;

	if (sd_bus_message_read(call->msg, "ss", &action, &version) < 0)
		return op_unreadable(call, err);
	if (s == NULL || strcmp(s->state, "waiting") != 0 || s->action[0] == '\0')
		return agent_error_set(err, -ENOENT, "update.nothing", "no update of the source waits: %s", s == NULL ? "there is no source" : s->state);
	/* What is approved is what was shown. */
	if (strcmp(action, s->action) != 0)
		return agent_error_set(err, -EPERM, "update.policy", "action %s of the source waits, not %.64s", s->action, action);
	if (strcmp(version, s->version) != 0)
		return agent_error_set(err, -EPERM, "update.policy", "action %s of the source is of version \"%s\" now, and not of \"%.64s\", which was shown: look again",
				       s->action, s->version, version);
	r = policy_approve_source(core, s->action, s->version, err);
	if (r < 0)
		return r;
	event_add(core, EVENT_UPDATE_APPROVED, "action", s->action, "version", s->version[0] != '\0' ? s->version : NULL, "user", call->caller.user, "source",
		  call->caller.source, NULL);
	s->waits_for[0] = '\0';
	stream_wake(core);
	source_wake(core);
	return op_reply(call, NULL);
}

/* ---- start and stop --------------------------------------------------------------------------------------------- */

int source_start(struct core *core, struct agent_error **err)
{
	if (strcmp(core->settings->source.kind, "none") == 0)
		return 0;
	core->source = calloc(1, sizeof(*core->source));
	if (core->source == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the source of updates");
	say(core->source, "waiting", "not looked yet");
	return 0;
}

void source_open(struct core *core)
{
	struct source *s = core->source;
	const char *kind = core->settings->source.kind;
	char from[UPDATE_ACTION_MAX + 32];
	size_t n = strlen(kind);

	if (s == NULL)
		return;
	/* Was the last installation ours? The event log outlives us. */
	audit_last_begun(core, from, sizeof(from));
	if (strncmp(from, kind, n) == 0 && from[n] == ' ')
		snprintf(s->offered, sizeof(s->offered), "%s", from + n + 1);
	/* A fleet that comes back after a power cut does not come at once. */
	look_in(core, backoff_random() % ((uint64_t)core->settings->source.poll_min_s * 1000 + 1));
}

void source_stop(struct core *core)
{
	if (core->source == NULL)
		return;
	sd_event_source_disable_unref(core->source->timer);
	free(core->source);
	core->source = NULL;
}
