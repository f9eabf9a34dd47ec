/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/link/budget.h"

#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "agentd/common/operations.h"
#include "agentd/common/service.h"
#include "agentd/link/usage.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define TICK_US (10 * UINT64_C(1000000))
#define SAVE_GAP_S 60		/* between two writes, and before the first */
#define STEP_BYTES (1 * MIB)	/* without a budget: so much is worth a write of its own */
#define STEP_MIN_BYTES (64 * KIB)

struct budget {
	const struct settings *settings;
	struct agent_time *time;
	struct store *store;
	struct worker *worker;
	sd_bus *core;
	sd_event_source *timer;
	sd_bus_slot *told[USAGE_KINDS];	/* a call that core has not answered */
	unsigned telling[USAGE_KINDS];

	struct usage usage;
	struct agent_mqtt_info seen;	/* of this worker */
	uint64_t ran_at_s;
	char *file, *ram_file;		/* the latter outlives a kill, and costs the medium nothing */
	char on_disk[USAGE_TEXT_MAX], in_ram[USAGE_TEXT_MAX];
	uint64_t saved_at_s, saved_bytes;
	uint32_t saved_month;
	bool has_saved, is_unsaved, is_held;	/* saved: since the start */
	char reported[USAGE_TEXT_MAX];
	bool has_reported;		/* to this core */
	bool reported_held;
};

static uint64_t budget_of(const struct budget *b, enum usage_kind kind)
{
	return kind == USAGE_BYTES ? (uint64_t)b->settings->link.budget_mib << 20 : (uint64_t)b->settings->link.budget_connects;
}

/* ---- kept ----------------------------------------------------------------------------------------------------------- */

static int load_file(struct budget *b, const char *path)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r = file_read_at(AT_FDCWD, path, USAGE_TEXT_MAX, &text, &size, NULL);

	if (r >= 0)
		r = usage_load(&b->usage, text, size);
	if (r < 0 && r != -ENOENT)
		service_log(LOG_WARNING, "what the broker connection used cannot be read from %s: %s", path, strerror(-r));
	return r;
}

static void save_to_disk(struct budget *b, const char *text)
{
	_cleanup_error_ struct agent_error *err = NULL;

	b->saved_at_s = running_s();
	if (strcmp(text, b->on_disk) == 0)
		return;
	if (file_replace_at(AT_FDCWD, b->file, 0600, text, strlen(text), &err) < 0) {
		if (!b->is_unsaved)	/* the old file is whole; tried again after the gap */
			service_log(LOG_ERR, "what the broker connection used cannot be kept: %s", agent_error_message(err));
		b->is_unsaved = true;
		return;
	}
	b->is_unsaved = false;
	b->has_saved = true;
	strcpy(b->on_disk, text);
	b->saved_bytes = usage_used(&b->usage, USAGE_BYTES);
	b->saved_month = b->usage.now.month;
}

static void save(struct budget *b, bool is_end)
{
	uint64_t step = budget_of(b, USAGE_BYTES) == 0 ? STEP_BYTES : budget_of(b, USAGE_BYTES) / 100, used = usage_used(&b->usage, USAGE_BYTES);
	uint64_t gone_s = running_s() - b->saved_at_s;
	char text[USAGE_TEXT_MAX];
	bool is_worth_it;

	usage_save(&b->usage, text);
	if (strcmp(text, b->in_ram) != 0 && file_replace_at(AT_FDCWD, b->ram_file, 0600, text, strlen(text), NULL) >= 0)
		strcpy(b->in_ram, text);
	if (step < STEP_MIN_BYTES)
		step = STEP_MIN_BYTES;
	is_worth_it = !b->has_saved || b->is_unsaved || b->usage.now.month != b->saved_month || used < b->saved_bytes || used - b->saved_bytes >= step ||
		      gone_s >= (uint64_t)b->settings->link.budget_save_s;
	if (is_end || (is_worth_it && gone_s >= SAVE_GAP_S))
		save_to_disk(b, text);
}

/* ---- core ----------------------------------------------------------------------------------------------------------- */

static void on_told(struct budget *b, enum usage_kind kind, sd_bus_message *m)
{
	b->told[kind] = sd_bus_slot_unref(b->told[kind]);
	/* Refused, because it hears too much: again with the next look. */
	if (sd_bus_message_is_method_error(m, NULL) || b->usage.told[kind] >= b->telling[kind])
		return;
	b->usage.told[kind] = b->telling[kind];
	save(b, false);
}

static int on_bytes_told(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)error;
	on_told(userdata, USAGE_BYTES, m);
	return 0;
}

static int on_connects_told(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)error;
	on_told(userdata, USAGE_CONNECTS, m);
	return 0;
}

/* Once in a period, and again until it was heard. */
static void tell(struct budget *b, enum usage_kind kind)
{
	static const char *const names[] = { [USAGE_BYTES] = "bytes", [USAGE_CONNECTS] = "connects" };
	unsigned level = usage_to_tell(&b->usage, kind, budget_of(b, kind));

	if (level == 0 || b->core == NULL || b->told[kind] != NULL)
		return;
	service_log(LOG_WARNING, "the broker connection used %u %% of the budget of %s", level, names[kind]);
	b->telling[kind] = level;
	(void)sd_bus_call_method_async(b->core, &b->told[kind], NULL, BUS_PATH, BUS_CORE, "LinkBudget", kind == USAGE_BYTES ? on_bytes_told : on_connects_told, b,
				       "sutt", names[kind], (uint32_t)level, usage_used(&b->usage, kind), budget_of(b, kind));
}

static void report(struct budget *b)
{
	const struct usage_period *n = &b->usage.now, *l = &b->usage.last;

	if (b->core == NULL || (b->has_reported && strcmp(b->reported, b->in_ram) == 0 && b->reported_held == b->is_held))
		return;
	if (sd_bus_call_method_async(b->core, NULL, NULL, BUS_PATH, BUS_CORE, "LinkUsage", NULL, NULL, "uttttuttttb", n->month, n->ran_s, n->sent, n->received,
				     n->connects, l->month, l->ran_s, l->sent, l->received, l->connects, (int)b->is_held) < 0)
		return;
	strcpy(b->reported, b->in_ram);
	b->reported_held = b->is_held;
	b->has_reported = true;
}

/* ---- counting ------------------------------------------------------------------------------------------------------- */

static void hold(struct budget *b)
{
	uint64_t budget = budget_of(b, USAGE_BYTES);
	bool is_held = b->settings->link.budget_hold > 0 && budget > 0 && usage_used(&b->usage, USAGE_BYTES) >= budget;

	if (is_held != b->is_held)
		service_log(LOG_NOTICE, is_held ? "the budget of the month is used up: less important queues wait" : "queues do not wait for a new month any more");
	b->is_held = is_held;
	if (b->store != NULL)
		store_hold_below(b->store, is_held ? (unsigned)b->settings->link.budget_hold : 0);
}

static void count(struct budget *b)
{
	struct agent_time_reading time;
	struct worker_status status;
	uint64_t now_s = running_s();

	agent_time_get(b->time, &time);
	usage_time(&b->usage, &time, now_s - b->ran_at_s);
	b->ran_at_s = now_s;
	if (b->worker == NULL)
		return;
	worker_get_status(b->worker, &status);
	usage_add(&b->usage, status.info.wire_sent - b->seen.wire_sent, status.info.wire_received - b->seen.wire_received,
		  status.info.n_connects - b->seen.n_connects);
	b->seen = status.info;
}

static void look(struct budget *b)
{
	count(b);
	hold(b);
	save(b, false);
	report(b);
	for (int kind = 0; kind < USAGE_KINDS; kind++)
		tell(b, (enum usage_kind)kind);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)usec;
	look(userdata);
	(void)sd_event_source_set_time_relative(source, TICK_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- from outside --------------------------------------------------------------------------------------------------- */

void budget_attach(struct budget *b, struct store *store, struct worker *worker)
{
	if (b == NULL)
		return;
	count(b);
	b->store = store;
	b->worker = worker;
	memset(&b->seen, 0, sizeof(b->seen));
	hold(b);
}

void budget_set_core(struct budget *b, sd_bus *core)
{
	if (b == NULL)
		return;
	for (int kind = 0; kind < USAGE_KINDS; kind++)
		b->told[kind] = sd_bus_slot_unref(b->told[kind]);
	b->core = core;
	b->has_reported = false;
	if (core != NULL)
		report(b);
}

void budget_erase(struct budget *b)
{
	if (b == NULL)
		return;
	memset(&b->usage, 0, sizeof(b->usage));
	b->on_disk[0] = b->in_ram[0] = '\0';
	(void)unlink(b->file);
	(void)unlink(b->ram_file);
	b->saved_bytes = 0;
	b->saved_month = 0;
}

int budget_open(const struct settings *settings, struct agent_time *time, sd_event *event, struct budget **ret_budget, struct agent_error **err)
{
	struct budget *b = calloc(1, sizeof(*b));
	int r;

	if (b == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	b->settings = settings;
	b->time = agent_time_ref(time);
	b->ran_at_s = b->saved_at_s = running_s();
	if (asprintf(&b->file, "%s/usage", settings->paths.link_dir) < 0)
		b->file = NULL;
	if (asprintf(&b->ram_file, "%s/link/usage", settings->paths.run_dir) < 0)
		b->ram_file = NULL;
	if (b->file == NULL || b->ram_file == NULL) {
		budget_close(b);
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	}
	/* After a kill, the one in RAM is as new as there is; after a boot there is none. */
	if (load_file(b, b->ram_file) < 0)
		(void)load_file(b, b->file);
	b->saved_bytes = usage_used(&b->usage, USAGE_BYTES);
	b->saved_month = b->usage.now.month;
	r = sd_event_add_time_relative(event, &b->timer, CLOCK_MONOTONIC, TICK_US, 0, on_tick, b);
	if (r < 0) {
		budget_close(b);
		return agent_error_set(err, r, "link.setup", "cannot set up the event loop: %s", strerror(-r));
	}
	*ret_budget = b;
	return 0;
}

struct budget *budget_close(struct budget *b)
{
	if (b == NULL)
		return NULL;
	if (b->timer != NULL) {
		count(b);
		save(b, true);
	}
	for (int kind = 0; kind < USAGE_KINDS; kind++)
		sd_bus_slot_unref(b->told[kind]);
	sd_event_source_disable_unref(b->timer);
	agent_time_unref(b->time);
	free(b->file);
	free(b->ram_file);
	free(b);
	return NULL;
}
