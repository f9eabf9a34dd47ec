/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SOURCE_WORLD_H
#define TESTS_UNIT_SOURCE_WORLD_H
/* The device that looks at a source of updates, the folder of its record, what the last look brought, and answers of a server. */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/fetch/source.h"

static struct temp_dir dir;
static struct device device;
static struct source_result result;

static inline void source_world_make(void)
{
	temp_dir_make(&dir);
	device = (struct device){ .stage = "idle", .booted_slot = "a", .release_id = "r1", .version = "1.0", .serial = "gw1", .product = "gw:1" };
}

static inline int source_world_teardown(void **state)
{
	source_result_clear(&result);
	temp_dir_remove(&dir);
	return 0;
}

AGENT_PRINTF(3, 4) static inline int answer(struct wire_answer *out, long status, const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	out->status = status;
	out->body = strdup(text);
	out->size = strlen(text);
	return 0;
}

static inline void outcome(const char *name)
{
	device.is_busy = false;
	device.has_outcome = true;
	snprintf(device.outcome, sizeof(device.outcome), "%s", name);
	snprintf(device.outcome_text, sizeof(device.outcome_text), "the reason");
}

static inline void is_now(const char *stage, const char *booted, const char *target, const char *release)
{
	snprintf(device.stage, sizeof(device.stage), "%s", stage);
	snprintf(device.booted_slot, sizeof(device.booted_slot), "%s", booted);
	snprintf(device.target_slot, sizeof(device.target_slot), "%s", target);
	snprintf(device.release_id, sizeof(device.release_id), "%s", release);
}

#endif
