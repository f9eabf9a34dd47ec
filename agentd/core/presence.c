/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody stands before the device: a file that reads "1" while a button is held (a GPIO of sysfs, or what a maker's button
 * program writes). Held for reset.hold_s it is a factory reset, also in recovery. A button that is stuck does nothing: it must
 * have been seen released before.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "agentd/core/accounts.h"
#include "agentd/core/store.h"
#include "base/file.h"
#include "base/macro.h"

#define LOOK_US UINT64_C(500000)
#define RESET_TIMEOUT_S 60

struct presence {
	struct core *core;
	sd_event_source *timer;
	bool was_released;
	bool is_running;    /* a reset waits for its end */
	uint64_t since_us;  /* held since then; 0: not held */
};

static bool is_held(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
	char text[4] = "";

	return fd >= 0 && read_full(fd, text, sizeof(text) - 1) > 0 && text[0] == '1' && (text[1] == '\n' || text[1] == '\0');
}

static int run(struct store *store, void *data, struct agent_error **err)
{
	return store_factory_reset(store, err);
}

static void done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct presence *p = core->presence;

	if (p != NULL)
		p->is_running = false;
	if (r == 0)
		account_end_all_sessions(core);
	else
		event_add(core, EVENT_FACTORY_RESET_FAILED, "source", "button", "reason", agent_error_message(*err), NULL);
}

static const struct job_ops reset_job = { .name = "factory reset", .run = run, .done = done };

static void begin_reset(struct presence *p)
{
	_cleanup_error_ struct agent_error *err = NULL;

	event_add(p->core, EVENT_FACTORY_RESET_REQUESTED, "source", "button", "reason", "presence", NULL);
	if (worker_submit(p->core->worker, WORKER_WORK, &reset_job, p, RESET_TIMEOUT_S, &err) < 0)
		event_add(p->core, EVENT_FACTORY_RESET_FAILED, "source", "button", "reason", agent_error_message(err), NULL);
	else
		p->is_running = true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct presence *p = userdata;
	uint64_t now_us = accounts_now_us();

	if (!is_held(p->core->settings->reset.button)) {
		p->was_released = true;
		p->since_us = 0;
	} else if (p->was_released && p->since_us == 0) {
		p->since_us = now_us;
	} else if (p->was_released && !p->is_running && now_us - p->since_us >= (uint64_t)p->core->settings->reset.hold_s * 1000000) {
		p->was_released = false; /* once per press */
		p->since_us = 0;
		begin_reset(p);
	}
	sd_event_source_set_time_relative(source, LOOK_US);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

int presence_start(struct core *core, struct agent_error **err)
{
	struct presence *p;
	int r;

	if (core->settings->reset.button[0] == '\0')
		return 0;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the button");
	p->core = core;
	core->presence = p;
	r = sd_event_add_time_relative(core->event, &p->timer, CLOCK_BOOTTIME, LOOK_US, 0, on_timer, p);
	return r < 0 ? agent_error_set(err, r, "core.timer", "cannot make a timer for the button: %s", strerror(-r)) : 0;
}

void presence_stop(struct core *core)
{
	if (core->presence == NULL)
		return;
	sd_event_source_disable_unref(core->presence->timer);
	free(TAKE_PTR(core->presence));
}
