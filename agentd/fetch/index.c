/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An index: one JSON file on any HTTPS server that lists bundles. It is not signed: whoever rules that server can hold a release
 * back, which he can do with a signed file too, but not forge one, since each bundle carries its signatures and the floor holds.
 */
#include "agentd/fetch/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/fetch/delay.h"
#include "agentd/fetch/url.h"
#include "base/backoff.h"
#include "base/macro.h"

static bool is_stage(const struct device *device, const char *stage)
{
	return strcmp(device->stage, stage) == 0;
}

/* Only forward: what the device handled last, good or bad, is the measure. The same once more only if it never was tried. */
static bool is_newer(const struct body_bundle *bundle, const struct device *device)
{
	int order = body_compare_versions(bundle->version, device->version);

	return device->version[0] == '\0' || order > 0 || (order == 0 && is_stage(device, "failed") && strcmp(bundle->release_id, device->failed_release_id) != 0);
}

static int offer(const struct source_options *options, const struct device *device, struct record *record, struct body_bundle *bundle, bool just_broke,
		 struct source_result *result, struct agent_error **err)
{
	char *url;
	int r;

	if (device->is_busy) {
		source_say(result, record_is_installing(record, device) ? "installing" : "waiting", "%" PRIu64 " of %" PRIu64 " bytes", device->done_bytes,
			   device->total_bytes);
		return 0;
	}
	if (just_broke) {
		source_say(result, "waiting", "try %u of %d broke, %s", record->n_tries, TRIES_MAX, device->outcome_text);
		result->next_ms = options->poll_min_s * 1000 +
				  delay_after_failures_ms(record->n_tries - 1, options->poll_min_s * 1000, options->poll_max_s * 1000, backoff_random());
		return 0;
	}
	if (source_must_wait(device, record, result))
		return 0;
	r = url_resolve(options->base, bundle->url, &url, err);
	if (r < 0)
		return r;
	free(bundle->url);
	bundle->url = url;
	return source_offer(options, record, bundle, result, err);
}

static int decide(const struct source_options *options, const struct device *device, struct record *record, struct body_bundle *bundle, bool just_broke,
		  struct source_result *result, struct agent_error **err)
{
	bool is_same = strcmp(record->action, bundle->release_id) == 0;

	if (record->phase == RECORD_INSTALLED) {
		source_say(result, "installed", "version %s awaits the next boot or its confirmation", record->version);
		return 0;
	}
	if (record->phase == RECORD_ACCEPTED && is_same)
		return offer(options, device, record, bundle, just_broke, result, err);
	if (is_same && !record->is_success) {
		source_say(result, "refused", "release %s: %s", record->action, record->reason);
		return 0;
	}
	if (strcmp(bundle->release_id, device->failed_release_id) == 0) {
		source_say(result, "refused", "release %s was tried before and did not last", bundle->release_id);
		return 0;
	}
	if (!is_newer(bundle, device)) {
		source_say(result, "idle", "nothing newer than %s", device->version);
		return 0;
	}
	if (device->is_busy || !(is_stage(device, "idle") || is_stage(device, "failed"))) {
		source_say(result, "waiting", "version %s waits until the release before it was confirmed or fell back", bundle->version);
		return 0;
	}
	record_accept(record, "index", bundle->release_id, device);
	strcpy(record->version, bundle->version);
	return offer(options, device, record, bundle, false, result, err);
}

static int look(const struct source_options *options, const struct device *device, const struct wire *wire, struct record *record,
		struct source_result *result, struct agent_error **err)
{
	_cleanup_(body_bundle_clear) struct body_bundle bundle = { 0 };
	struct wire_answer answer = { 0 };
	bool just_broke;
	int r;

	r = record_load(options->dir, record, err);
	if (r < 0)
		return r;
	if (strcmp(record->source, "index") != 0)
		*record = (struct record){ .source = "index" };
	record_settle(record, device, &just_broke);
	if (record->phase == RECORD_ENDED && !record->is_told) { /* there is nobody to tell but our own log */
		record->is_told = true;
		result->has_told = true;
		snprintf(result->told, sizeof(result->told), "%s", record->is_success ? "success" : "failure");
		snprintf(result->action, sizeof(result->action), "%s", record->action);
		snprintf(result->version, sizeof(result->version), "%s", record->version);
	}
	r = wire->call(wire->userdata, "GET", options->base, NULL, &answer, err);
	if (r >= 0 && answer.status != 200) {
		source_fail(options, result, answer.retry_after_s, "the index: the server answers %ld", answer.status);
		r = agent_error_set(err, -EREMOTEIO, "source.answer", "%s", result->detail);
	}
	if (r >= 0)
		r = body_read_index(answer.body, answer.size, device->product, device->floor, &bundle, err);
	free(answer.body);
	if (r < 0)
		return r;
	result->next_ms = delay_of_poll_ms(options->poll_s, options->poll_min_s, options->poll_max_s, backoff_random());
	if (bundle.url == NULL) {
		source_say(result, "idle", "the index has nothing for %s", device->product);
		return 0;
	}
	return decide(options, device, record, &bundle, just_broke, result, err);
}

void index_look(const struct source_options *options, const struct device *device, const struct wire *wire, struct source_result *ret_result)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct record record = { 0 }, stored = { 0 };
	int r;

	*ret_result = (struct source_result){ 0 };
	source_say(ret_result, "idle", "%s", "");
	r = look(options, device, wire, &record, ret_result, &err);
	if (r < 0 && !ret_result->has_failed)
		source_fail(options, ret_result, 0, "%s (%s)", agent_error_message(err), agent_error_name(err));
	/* Also after a failed look: what was settled must not be forgotten. */
	if (record.phase != RECORD_NONE && record_load(options->dir, &stored, NULL) >= 0 && !record_is_equal(&record, &stored)) {
		r = record_save(options->dir, &record, NULL);
		if (r < 0) {
			body_bundle_clear(&ret_result->bundle);
			ret_result->has_offer = ret_result->has_told = false;
			source_fail(options, ret_result, 0, "the record of the update source cannot be written: %s", strerror(-r));
		}
	}
	if (ret_result->action[0] == '\0' && (record.phase == RECORD_ACCEPTED || record.phase == RECORD_INSTALLED)) {
		snprintf(ret_result->action, sizeof(ret_result->action), "%s", record.action);
		snprintf(ret_result->version, sizeof(ret_result->version), "%s", record.version);
	}
}
