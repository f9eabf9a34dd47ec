/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/source.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agentd/fetch/delay.h"
#include "base/backoff.h"
#include "base/macro.h"

void source_result_clear(struct source_result *result)
{
	body_bundle_clear(&result->bundle);
	*result = (struct source_result){ 0 };
}

AGENT_PRINTF(2, 0) static void put_detail(struct source_result *result, const char *fmt, va_list ap)
{
	vsnprintf(result->detail, sizeof(result->detail), fmt, ap);
	/* A server's words may be in it, cut anywhere. */
	for (char *p = result->detail; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
}

void source_say(struct source_result *result, const char *state, const char *fmt, ...)
{
	va_list ap;

	snprintf(result->state, sizeof(result->state), "%s", state);
	va_start(ap, fmt);
	put_detail(result, fmt, ap);
	va_end(ap);
}

void source_fail(const struct source_options *options, struct source_result *result, uint64_t retry_after_s, const char *fmt, ...)
{
	uint64_t random = backoff_random();
	va_list ap;

	snprintf(result->state, sizeof(result->state), "failed");
	va_start(ap, fmt);
	put_detail(result, fmt, ap);
	va_end(ap);
	result->has_failed = true;
	result->next_ms = options->poll_min_s * 1000 +
			  delay_after_failures_ms(options->n_failures, options->poll_min_s * 1000, options->poll_max_s * 1000, random);
	if (retry_after_s > options->poll_max_s)
		retry_after_s = options->poll_max_s;
	if (result->next_ms < retry_after_s * 1000)
		result->next_ms = retry_after_s * 1000 + random % (options->poll_min_s * 1000 + 1);
}

bool source_must_wait(const struct device *device, const struct record *record, struct source_result *result)
{
	bool is_approved = strcmp(device->approved, record->action) == 0 && strcmp(device->approved_version, record->version) == 0;

	if (device->waits_for[0] == '\0' || (record->action[0] != '\0' && is_approved))
		return false;
	source_say(result, "waiting", "version %s: update.policy waits for %s", record->version, device->waits_for);
	snprintf(result->waits_for, sizeof(result->waits_for), "%s", device->waits_for);
	return true;
}

int source_offer(const struct source_options *options, struct record *record, struct body_bundle *bundle, struct source_result *result, struct agent_error **err)
{
	int r;

	record->n_tries++;
	r = record_save(options->dir, record, err);
	if (r < 0)
		return r;
	source_say(result, "offered", "version %s", bundle->version);
	result->has_offer = true;
	result->bundle = *bundle;
	*bundle = (struct body_bundle){ 0 };
	result->next_ms = options->poll_min_s * 1000;
	return 0;
}
