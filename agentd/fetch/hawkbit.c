/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eclipse hawkBit, direct device integration API. The order of one look: settle what happened here, tell a result, poll, then the
 * one thing that the server wants. A result is told after the boot was confirmed or fell back, never when bytes were written.
 */
#include "agentd/fetch/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "agentd/fetch/delay.h"
#include "agentd/fetch/url.h"
#include "base/backoff.h"
#include "base/buf.h"
#include "base/macro.h"

/*
 * A result that the server did not take so often is dropped, as its quota may be used up, or something there fails over this one for ever, and no
 * other update would come. It is told again when the server still offers the action.
 */
#define TELL_MAX 10

struct look {
	const struct source_options *options;
	const struct device *device;
	const struct wire *wire;
	struct source_result *result;
	struct url base;
	struct record record, stored;
	bool just_broke;
	uint64_t sleep_s;
};

static void answer_clear(struct wire_answer *answer)
{
	free(answer->body);
	*answer = (struct wire_answer){ 0 };
}
#define _cleanup_answer_ _cleanup_(answer_clear)

static int save(struct look *l, struct agent_error **err)
{
	int r;

	if (record_is_equal(&l->record, &l->stored))
		return 0;
	r = record_save(l->options->dir, &l->record, err);
	if (r >= 0)
		l->stored = l->record;
	return r;
}

static int call(struct look *l, const char *method, const char *url, const char *body, struct wire_answer *ret_answer, struct agent_error **err)
{
	return l->wire->call(l->wire->userdata, method, url, body, ret_answer, err);
}

/* A server that says no to everything, in words for whoever has to mend it. */
static int unusable(struct look *l, const struct wire_answer *answer, struct agent_error **err)
{
	const char *hint = answer->status == 401 ? ": it does not know this device, or its token or certificate; is the target there, and the mode of access enabled?" :
			   answer->status == 403 ? ": this device or its address is barred" :
			   answer->status == 404 ? ": tenant or controller id are not known there" :
			   answer->status == 429 ? ": too many requests" :
			   answer->status >= 300 && answer->status < 400 && answer->status != 304 ? ": it redirects, which is followed for bundles only" : "";

	source_fail(l->options, l->result, answer->retry_after_s, "%s: the server answers %ld%s", l->base.shown, answer->status, hint);
	return agent_error_set(err, -EREMOTEIO, "source.answer", "%s", l->result->detail);
}

static bool is_good(long status)
{
	return status >= 200 && status < 300;
}

/* Says nothing about what was sent: a proxy that lost patience, or too much at once. */
static bool is_passing(long status)
{
	return status == 408 || status == 425 || status == 429;
}

static bool may_take_it_later(long status)
{
	return is_passing(status) || status == 401 || status == 403 || status >= 500 || (status >= 300 && status < 400);
}

/* Links are followed as they are, but to our own server only. */
static int check_link(struct look *l, const char *href, struct agent_error **err)
{
	struct url url;
	int r = url_parse(href, &url, err);

	if (r < 0)
		return agent_error_prefix(err, r, "a link of the server");
	if (!url_same_origin(&url, &l->base))
		r = agent_error_set(err, -EPERM, "source.link", "the server links to another one, %s; is its public address set up?", url.shown);
	url_clear(&url);
	return r;
}

static int post(struct look *l, const char *what, const char *id, const char *body, struct wire_answer *ret_answer, struct agent_error **err)
{
	char url[2400];

	if (body == NULL)
		return agent_error_set(err, -ENOMEM, "source.memory", "out of memory");
	snprintf(url, sizeof(url), "%s/%s/%s/feedback", l->options->base, what, id);
	return call(l, "POST", url, body, ret_answer, err);
}

/* *ret_status: what the server made of it. */
static int feedback(struct look *l, const char *what, const char *id, const char *execution, const char *finished, int progress,
		    const char *detail, struct wire_answer *ret_answer, struct agent_error **err)
{
	_cleanup_free_ char *body = body_feedback(id, execution, finished, progress, detail);

	return post(l, what, id, body, ret_answer, err);
}

static void told(struct look *l, const char *what)
{
	l->result->has_told = true;
	snprintf(l->result->told, sizeof(l->result->told), "%s", what);
	snprintf(l->result->action, sizeof(l->result->action), "%s", l->record.action);
	snprintf(l->result->version, sizeof(l->result->version), "%s", l->record.version);
}

/* The action is no longer the server's: nothing more is told, and what runs here stays. */
static void drop(struct look *l)
{
	if (record_is_installing(&l->record, l->device)) {
		l->result->must_abort = true; /* ends as "canceled", which nobody is told of */
		return;
	}
	if (l->record.phase == RECORD_ACCEPTED)
		l->record.phase = RECORD_ENDED;
	if (l->record.phase == RECORD_ENDED)
		l->record.is_told = true;
}

/* The versions in use after a fall-back; the server need not know them. */
static int tell_installed_base(struct look *l, struct agent_error **err)
{
	_cleanup_answer_ struct wire_answer answer = { 0 };
	_cleanup_free_ char *body = NULL;
	char url[2400];
	int r;

	if (!l->record.is_fallback || l->options->distribution[0] == '\0' || l->record.good_version[0] == '\0')
		return 0;
	body = body_installed(l->options->distribution, l->record.good_version);
	if (body == NULL)
		return agent_error_set(err, -ENOMEM, "source.memory", "out of memory");
	snprintf(url, sizeof(url), "%s/installedBase", l->options->base);
	r = call(l, "PUT", url, body, &answer, err);
	if (r < 0)
		return r;
	if (may_take_it_later(answer.status) && ++l->record.n_told_tries < TELL_MAX) {
		r = save(l, err);
		return r < 0 ? r : unusable(l, &answer, err);
	}
	l->record.is_fallback = false;
	return save(l, err);
}

static int tell_result(struct look *l, struct agent_error **err)
{
	_cleanup_answer_ struct wire_answer answer = { 0 };
	const struct record *rec = &l->record;
	char detail[512];
	int r;

	if (rec->phase != RECORD_ENDED || rec->is_told)
		return 0;
	if (rec->is_success)
		snprintf(detail, sizeof(detail), "release %s runs and was confirmed", rec->release_id);
	else
		snprintf(detail, sizeof(detail), "%s", rec->reason);
	r = feedback(l, "deploymentBase", rec->action, "closed", rec->is_success ? "success" : "failure", -1, detail, &answer, err);
	if (r < 0)
		return r;
	if (is_good(answer.status)) {
		told(l, rec->is_success ? "success" : "failure");
	} else if (may_take_it_later(answer.status) && ++l->record.n_told_tries < TELL_MAX) {
		r = save(l, err);
		return r < 0 ? r : unusable(l, &answer, err);
	} else {
		told(l, "dropped"); /* 410, 404: closed there; 400, or another again and again: it will not take it */
	}
	l->record.is_told = true;
	l->record.n_told_tries = 0;
	return save(l, err);
}

/* ---- what the server wants -------------------------------------------------------------------------------------- */

/* Core names the release that was handled last. That is the one that runs unless it failed, or was taken back. */
static bool knows_release(const struct look *l)
{
	bool was_taken_back = l->record.phase == RECORD_ENDED && !l->record.is_success && strcmp(l->record.release_id, l->device->release_id) == 0;

	return strcmp(l->device->stage, "idle") == 0 && l->device->target_slot[0] == '\0' && !was_taken_back;
}

static int send_attributes(struct look *l, const char *href, struct agent_error **err)
{
	_cleanup_answer_ struct wire_answer answer = { 0 };
	_cleanup_free_ char *body = body_attributes(l->device, knows_release(l));
	uint8_t digest[EVP_MAX_MD_SIZE];
	char hex[EVP_MAX_MD_SIZE * 2 + 1], url[2400];
	unsigned n;
	int r;

	if (body == NULL || EVP_Digest(body, strlen(body), digest, &n, EVP_sha256(), NULL) != 1)
		return agent_error_set(err, -ENOMEM, "source.memory", "out of memory");
	hex_encode(digest, n, hex);
	if (href == NULL && (strcmp(hex, l->record.attributes) == 0 || !knows_release(l)))
		return 0;
	if (href != NULL) {
		r = check_link(l, href, err);
		if (r < 0)
			return r;
	}
	snprintf(url, sizeof(url), "%s/configData", l->options->base);
	r = call(l, "PUT", href != NULL ? href : url, body, &answer, err);
	if (r < 0)
		return r;
	/* A server that will not have them is no reason to miss an update. */
	if (may_take_it_later(answer.status)) {
		source_say(l->result, "idle", "the server answers %ld to the attributes of this device; they are sent again", answer.status);
		return 0;
	}
	strcpy(l->record.attributes, hex);
	return save(l, err);
}

static int get(struct look *l, const char *href, struct wire_answer *ret_answer, struct agent_error **err)
{
	int r = check_link(l, href, err);

	return r < 0 ? r : call(l, "GET", href, NULL, ret_answer, err);
}

static void look_again_soon(struct look *l)
{
	l->result->next_ms = l->options->poll_min_s * 1000;
}

static int on_cancel(struct look *l, const char *href, struct agent_error **err)
{
	_cleanup_answer_ struct wire_answer answer = { 0 }, reply = { 0 };
	char id[ACTION_MAX + 1], stop_id[ACTION_MAX + 1];
	bool is_ours, is_late;
	int r;

	r = get(l, href, &answer, err);
	if (r < 0)
		return r;
	if (answer.status == 404) { /* taken back meanwhile */
		look_again_soon(l);
		return 0;
	}
	if (!is_good(answer.status))
		return unusable(l, &answer, err);
	r = body_read_cancel(answer.body, answer.size, id, stop_id, err);
	if (r < 0)
		return r;
	is_ours = l->record.phase != RECORD_NONE && strcmp(stop_id, l->record.action) == 0;
	look_again_soon(l);
	if (is_ours && record_is_installing(&l->record, l->device)) {
		l->result->must_abort = true;
		source_say(l->result, "waiting", "action %s was canceled, the installation is being given up", stop_id);
		return 0;
	}
	is_late = is_ours && (l->record.phase == RECORD_INSTALLED || (l->record.phase == RECORD_ENDED && l->record.is_success));
	if (is_late)
		r = feedback(l, "cancelAction", id, "rejected", "none", -1, "installed already: the next boot is of the new release", &reply, err);
	else
		r = feedback(l, "cancelAction", id, "closed", "success", -1, "given up before anything was switched", &reply, err);
	if (r < 0)
		return r;
	if (reply.status == 401 || reply.status == 403 || is_passing(reply.status) || reply.status >= 500)
		return unusable(l, &reply, err);
	told(l, is_late ? "rejected" : "canceled");
	snprintf(l->result->action, sizeof(l->result->action), "%s", stop_id);
	if (is_ours && !is_late) {
		l->record.phase = RECORD_ENDED;
		l->record.is_success = false;
		l->record.is_told = true;
	}
	source_say(l->result, is_late ? "installed" : "idle", "action %s was canceled%s", stop_id, is_late ? ", too late: it is installed" : "");
	return save(l, err);
}

/* Whether and when something is installed is decided here, by the policy of the device; so this only says that it was seen. */
static int on_confirmation(struct look *l, const char *href, struct agent_error **err)
{
	_cleanup_answer_ struct wire_answer answer = { 0 }, reply = { 0 };
	_cleanup_(body_deployment_clear) struct body_deployment d = { 0 };
	_cleanup_free_ char *body = NULL;
	int r;

	r = get(l, href, &answer, err);
	if (r < 0)
		return r;
	look_again_soon(l);
	if (answer.status == 404)
		return 0;
	if (!is_good(answer.status))
		return unusable(l, &answer, err);
	r = body_read_deployment(answer.body, answer.size, "confirmation", &d, err);
	if (r < 0)
		return r;
	body = body_confirmation();
	r = post(l, "confirmationBase", d.id, body, &reply, err);
	if (r < 0)
		return r;
	if (!is_good(reply.status) && reply.status != 404 && reply.status != 410)
		return unusable(l, &reply, err);
	source_say(l->result, "waiting", "action %s was confirmed", d.id);
	return 0;
}

/* Progress, once for each step; 410 says that the action is gone. */
static int tell_progress(struct look *l, unsigned step, const char *detail, struct agent_error **err)
{
	_cleanup_answer_ struct wire_answer answer = { 0 };
	int r;

	if (step <= l->record.told)
		return 0;
	r = feedback(l, "deploymentBase", l->record.action, "proceeding", "none", step > 4 ? 4 : (int)step, detail, &answer, err);
	if (r < 0)
		return r;
	if (answer.status == 410) {
		told(l, "dropped");
		drop(l);
	} else if (answer.status == 401 || answer.status == 403 || answer.status >= 500) {
		return unusable(l, &answer, err);
	}
	l->record.told = step; /* 404, 429: not worth a second attempt */
	return save(l, err);
}

static int on_same_action(struct look *l, struct body_deployment *d, struct agent_error **err)
{
	const struct device *device = l->device;
	unsigned quarter = device->total_bytes == 0 ? 0 : (unsigned)(device->done_bytes * 4 / device->total_bytes);
	char detail[160];
	int r;

	if (l->record.phase == RECORD_INSTALLED) {
		bool runs = strcmp(device->booted_slot, l->record.slot) == 0;

		source_say(l->result, "installed", runs ? "version %s runs and awaits its confirmation" : "version %s awaits the next boot", l->record.version);
		return tell_progress(l, runs ? 6 : 5, runs ? "booted, awaiting the health checks" : "installed, awaiting the boot", err);
	}
	if (l->record.phase == RECORD_ENDED) {
		if (l->result->has_told)
			return 0; /* the list was made before */
		/* The server did not take the result, or was restored from a backup: tell it again. */
		l->record.is_told = false;
		l->record.n_told_tries = 0;
		return tell_result(l, err);
	}
	if (record_is_installing(&l->record, device)) {
		look_again_soon(l);
		source_say(l->result, "installing", "version %s, %" PRIu64 " of %" PRIu64 " bytes", l->record.version, device->done_bytes, device->total_bytes);
		snprintf(detail, sizeof(detail), "%s, %" PRIu64 " of %" PRIu64 " bytes", device->stage, device->done_bytes, device->total_bytes);
		return tell_progress(l, quarter > 4 ? 4 : quarter, detail, err);
	}
	if (device->is_busy) {
		source_say(l->result, "waiting", "another installation is under way");
		return 0;
	}
	if (l->just_broke) {
		source_say(l->result, "waiting", "try %u of %d broke, %s", l->record.n_tries, TRIES_MAX, device->outcome_text);
		l->result->next_ms = l->options->poll_min_s * 1000 +
				     delay_after_failures_ms(l->record.n_tries - 1, l->options->poll_min_s * 1000, l->options->poll_max_s * 1000, backoff_random());
		return 0;
	}
	if (d->is_skip) {
		source_say(l->result, "waiting", "version %s awaits the maintenance window of the server", l->record.version);
		return 0;
	}
	if (source_must_wait(device, &l->record, l->result))
		return 0;
	r = save(l, err);
	if (r >= 0)
		r = source_offer(l->options, &l->record, &d->bundle, l->result, err);
	l->stored = l->record;
	l->result->is_forced = d->is_forced;
	return r;
}

static bool is_free(const struct device *device)
{
	return !device->is_busy && (strcmp(device->stage, "idle") == 0 || strcmp(device->stage, "failed") == 0);
}

static int on_new_action(struct look *l, struct body_deployment *d, struct agent_error **err)
{
	_cleanup_answer_ struct wire_answer answer = { 0 };
	int r;

	if (record_is_installing(&l->record, l->device)) {
		l->result->must_abort = true;
		look_again_soon(l);
		source_say(l->result, "waiting", "action %s takes the place of %s, which is being given up", d->id, l->record.action);
		return 0;
	}
	if (l->record.phase == RECORD_INSTALLED || !is_free(l->device)) {
		source_say(l->result, "waiting", "action %s waits until the release before it was confirmed or fell back", d->id);
		return 0;
	}
	if (d->is_skip) {
		source_say(l->result, "waiting", "version %s awaits the maintenance window of the server", d->bundle.version);
		return 0;
	}
	record_accept(&l->record, "hawkbit", d->id, l->device);
	strcpy(l->record.version, d->bundle.version);
	if (d->why_not[0] != '\0') {
		record_fail(&l->record, "source.artifact: %s", d->why_not);
		r = save(l, err);
		return r < 0 ? r : tell_result(l, err);
	}
	r = save(l, err); /* before the first byte */
	if (r >= 0)
		r = feedback(l, "deploymentBase", d->id, "proceeding", "none", 0, "accepted", &answer, err);
	if (r < 0)
		return r;
	if (answer.status == 410 || answer.status == 404) {
		told(l, "dropped");
		drop(l);
		look_again_soon(l);
		source_say(l->result, "idle", "action %s is gone again", d->id);
		return save(l, err);
	}
	if (answer.status == 401 || answer.status == 403 || answer.status >= 500)
		return unusable(l, &answer, err);
	return on_same_action(l, d, err);
}

static int on_deployment(struct look *l, const char *href, struct agent_error **err)
{
	_cleanup_answer_ struct wire_answer answer = { 0 };
	_cleanup_(body_deployment_clear) struct body_deployment d = { 0 };
	int r;

	r = get(l, href, &answer, err);
	if (r < 0)
		return r;
	if (answer.status == 404 || answer.status == 410) { /* being canceled, or to be confirmed first */
		look_again_soon(l);
		return 0;
	}
	if (!is_good(answer.status))
		return unusable(l, &answer, err);
	r = body_read_deployment(answer.body, answer.size, "deployment", &d, err);
	if (r < 0)
		return r;
	if (l->record.phase != RECORD_NONE && strcmp(l->record.action, d.id) == 0)
		return on_same_action(l, &d, err);
	return on_new_action(l, &d, err);
}

/* No action: what was accepted and is not in the other slot yet is not wanted any more. */
static int on_nothing(struct look *l, struct agent_error **err)
{
	if (l->record.phase == RECORD_INSTALLED) {
		source_say(l->result, "installed", "version %s awaits its confirmation; the server has closed the action", l->record.version);
		return 0;
	}
	if (l->record.phase == RECORD_ACCEPTED) {
		told(l, "dropped");
		drop(l);
		look_again_soon(l);
	}
	return save(l, err);
}

static int poll_server(struct look *l, struct agent_error **err)
{
	_cleanup_answer_ struct wire_answer answer = { 0 };
	_cleanup_(body_poll_clear) struct body_poll poll = { 0 };
	int r;

	r = call(l, "GET", l->options->base, NULL, &answer, err);
	if (r < 0)
		return r;
	if (answer.status != 200)
		return unusable(l, &answer, err);
	r = body_read_poll(answer.body, answer.size, &poll, err);
	if (r >= 0)
		r = send_attributes(l, poll.config_data, err);
	if (r < 0)
		return r;
	l->sleep_s = poll.sleep_s != 0 ? poll.sleep_s : l->options->poll_s;
	l->result->next_ms = delay_of_poll_ms(l->sleep_s, l->options->poll_min_s, l->options->poll_max_s, backoff_random());
	if (poll.cancel != NULL)
		return on_cancel(l, poll.cancel, err);
	if (poll.confirmation != NULL)
		return on_confirmation(l, poll.confirmation, err);
	if (poll.deployment != NULL)
		return on_deployment(l, poll.deployment, err);
	return on_nothing(l, err);
}

static int look(struct look *l, struct agent_error **err)
{
	int r;

	r = url_parse(l->options->base, &l->base, err);
	if (r >= 0)
		r = record_load(l->options->dir, &l->record, err);
	if (r < 0)
		return r;
	l->stored = l->record;
	if (strcmp(l->record.source, "hawkbit") != 0)
		l->record = (struct record){ .source = "hawkbit" };
	record_settle(&l->record, l->device, &l->just_broke);
	r = save(l, err);
	if (r >= 0)
		r = tell_result(l, err);
	if (r >= 0)
		r = tell_installed_base(l, err);
	return r < 0 ? r : poll_server(l, err);
}

void hawkbit_look(const struct source_options *options, const struct device *device, const struct wire *wire, struct source_result *ret_result)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct look l = { .options = options, .device = device, .wire = wire, .result = ret_result };
	int r;

	*ret_result = (struct source_result){ 0 };
	source_say(ret_result, "idle", "%s", "");
	r = look(&l, &err);
	if (r < 0 && !ret_result->has_failed)
		source_fail(options, ret_result, 0, "%s (%s)", agent_error_message(err), agent_error_name(err));
	if (ret_result->action[0] == '\0' && (l.record.phase == RECORD_ACCEPTED || l.record.phase == RECORD_INSTALLED)) {
		snprintf(ret_result->action, sizeof(ret_result->action), "%s", l.record.action);
		snprintf(ret_result->version, sizeof(ret_result->version), "%s", l.record.version);
	}
	url_clear(&l.base);
}
