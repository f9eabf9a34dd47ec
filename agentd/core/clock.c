/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <syslog.h>
#include <time.h>

#include "agentd/common/peer.h"
#include "agentd/common/told_time.h"
#include "agentd/core/bus.h"
#include "agentd/core/store.h"
#include "agentd/core/timekeeper.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/time.h"

#define FILE_SAVED "saved"
#define SECOND_US UINT64_C(1000000)
#define LOOK_US (10 * SECOND_US)	/* at the files of the configuration, and whether the clock was set where nobody tells */
#define SAVE_GAP_S 60			/* between two writes, whatever happens */
#define RISE_S 86400			/* a floor that rose by so much is worth a write of its own */
#define STEP_EVENT_S 60			/* one event for steps in so long; a clock that is set each second fills no log */
#define DRIFT_TOLD_S 2			/* others are told again when their time is off by so much */

struct clock {
	struct core *core;
	struct timekeeper tk;
	struct timekeeper_news news;	/* as last looked at */
	int dir_fd, step_fd;
	sd_event_source *timer, *step_io;
	bool is_asking;			/* the TPM */
	bool wants_save, is_unsaved, said_behind, said_file;
	uint64_t asked_at_s, saved_at_s, saved_floor_s, step_event_s, asleep_s;
	int64_t step_sum_s;
	struct agent_time_reading told;
	uint64_t told_at_s;
};

static uint64_t clock_of(clockid_t id)
{
	struct timespec now;

	return clock_gettime(id, &now) < 0 || now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec;
}

/* ---- saved time --------------------------------------------------------------------------------------------------- */

static void load(struct clock *c)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r = c->dir_fd < 0 ? -ENOENT : file_read_at(c->dir_fd, FILE_SAVED, TIMEKEEPER_TEXT_MAX, &text, &size, NULL);

	if (r == -ENOENT)
		return;
	if (r >= 0)
		r = timekeeper_load(&c->tk, text, size);
	if (r >= 0)
		return;
	service_log(LOG_ERR, "the saved time cannot be used (%s): the time floor begins at the build again", strerror(-r));
	event_add(c->core, EVENT_TIME_SAVED_BAD, "reason", r == -EBADMSG ? "damaged" : strerror(-r), NULL);
}

static void write_saved(struct clock *c)
{
	_cleanup_error_ struct agent_error *err = NULL;
	char text[TIMEKEEPER_TEXT_MAX];
	uint64_t boot_s = clock_of(CLOCK_MONOTONIC);

	timekeeper_save(&c->tk, boot_s, text);
	c->saved_at_s = boot_s;
	c->wants_save = false;
	if ((c->dir_fd < 0 && store_open_folder(c->core->settings, "time", &c->dir_fd, &err) < 0) ||
	    file_replace_at(c->dir_fd, FILE_SAVED, 0600, text, strlen(text), &err) < 0) {
		/* The old file is whole; tried again with the gap between two writes. */
		if (!c->is_unsaved)
			service_log(LOG_ERR, "the time cannot be saved: %s", agent_error_message(err));
		c->is_unsaved = true;
		return;
	}
	c->is_unsaved = false;
	c->saved_floor_s = timekeeper_floor(&c->tk, boot_s);
}

/* ---- the clock of the TPM ----------------------------------------------------------------------------------------- */

static void look(struct clock *c);

struct tpm_job {
	struct agent_tpm_clock clock;
	uint64_t boot_s;
};

static int tpm_run_job(struct store *store, void *data, struct agent_error **err)
{
	struct tpm_job *job = data;

	/* One that is not the TPM of this device may have run for longer. */
	if (!store->is_open)
		return agent_error_set(err, -ENODEV, "tpm.absent", "the TPM of this device is not there");
	job->boot_s = clock_of(CLOCK_MONOTONIC);
	return agent_tpm_read_clock(store->tpm, &job->clock, err);
}

static void tpm_job_done(struct core *core, void *data, int r, struct agent_error **err)
{
	const struct tpm_job *job = data;
	struct clock *c = core->clock;

	c->is_asking = false;
	if (r >= 0 && !timekeeper_tpm(&c->tk, &job->clock, job->boot_s)) {
		service_log(LOG_WARNING, "the clock of the TPM is not the one of the saved time: it was cleared, replaced, or the file is an old one");
		event_add(core, EVENT_TIME_SAVED_BAD, "reason", "the clock of the TPM does not go with it", NULL);
	}
	if (r < 0)
		service_log(LOG_DEBUG, "the TPM does not tell its clock: %s", agent_error_message(*err));
	/* Without the TPM the time is saved all the same, and the next start counts no running time. */
	if (c->wants_save)
		write_saved(c);
	look(c);
}

static const struct job_ops job_tpm = { .name = "reading the TPM's clock", .run = tpm_run_job, .done = tpm_job_done, .free = free };

static void ask_tpm(struct clock *c)
{
	struct tpm_job *job;

	if (c->is_asking || c->core->worker == NULL)
		return;
	job = calloc(1, sizeof(*job));
	c->is_asking = job != NULL && worker_submit(c->core->worker, WORKER_WORK, &job_tpm, job, 0, NULL) >= 0;
	if (c->is_asking)
		return;
	free(job);
	if (c->wants_save)
		write_saved(c);
}

static void save_if_due(struct clock *c)
{
	uint64_t boot_s = clock_of(CLOCK_MONOTONIC), gone_s = boot_s - c->saved_at_s;

	if (c->wants_save && boot_s - c->asked_at_s >= SAVE_GAP_S)
		write_saved(c); /* the TPM hangs */
	if (gone_s < SAVE_GAP_S || c->wants_save)
		return;
	if (gone_s < (uint64_t)c->core->settings->time.save_s && !c->is_unsaved && timekeeper_floor(&c->tk, boot_s) < c->saved_floor_s + gone_s + RISE_S)
		return;
	c->wants_save = true;
	c->asked_at_s = boot_s;
	ask_tpm(c);
}

/* ---- what it is now ----------------------------------------------------------------------------------------------- */

/* Anybody may make a file in some folder: it counts only if nobody but root (or we) can have made it. */
static bool file_says_so(struct clock *c, const char *path, bool must_be_ours)
{
	struct stat st;

	if (path[0] == '\0' || lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	if (!must_be_ours || ((st.st_uid == 0 || st.st_uid == geteuid()) && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0))
		return true;
	if (!c->said_file)
		service_log(LOG_WARNING, "%s (time.authenticated_file) does not count: others than root can write it", path);
	c->said_file = true;
	return false;
}

static uint64_t difference(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static void tell(struct clock *c)
{
	uint64_t boot_s = clock_of(CLOCK_MONOTONIC), gone_s = boot_s - c->told_at_s;
	const struct agent_time_reading *r = &c->news.reading;

	(void)!agent_time_update(c->core->time, r, NULL);
	if (c->told.n_changes == r->n_changes && difference(r->now_s, c->told.now_s + gone_s) < DRIFT_TOLD_S &&
	    difference(r->floor_s, c->told.floor_s + gone_s) <= DRIFT_TOLD_S)
		return;
	c->told = *r;
	c->told_at_s = boot_s;
	bus_each(c->core, PROG_MGMT | PROG_LINK | PROG_FETCH | PROG_VENDOR, clock_greet);
}

static void write_down(struct clock *c, enum agent_time_state before)
{
	const struct timekeeper_news *n = &c->news;
	uint64_t boot_s = clock_of(CLOCK_MONOTONIC);
	char text[24];

	if (n->is_new_state) {
		service_log(LOG_NOTICE, "time: %s, by %s", agent_time_state_name(n->reading.state), n->source);
		event_add(c->core, EVENT_TIME_STATE, "from", agent_time_state_name(before), "to", agent_time_state_name(n->reading.state), "source", n->source,
			  NULL);
	}
	c->step_sum_s += n->step_s;
	if (c->step_sum_s != 0 && (c->step_event_s == 0 || boot_s - c->step_event_s >= STEP_EVENT_S)) {
		snprintf(text, sizeof(text), "%" PRId64, c->step_sum_s);
		event_add(c->core, EVENT_TIME_STEPPED, "by_s", text, NULL);
		c->step_event_s = boot_s;
		c->step_sum_s = 0;
	}
	if (n->corrected_s != 0) {
		snprintf(text, sizeof(text), "%" PRIu64, n->corrected_s);
		event_add(c->core, EVENT_TIME_CORRECTED, "by_s", text, NULL);
	}
	if (n->is_behind && !c->said_behind)
		service_log(LOG_WARNING, "the system clock is behind what is known of the time; certificates are checked against the later one");
	c->said_behind = n->is_behind;
}

static void look(struct clock *c)
{
	const struct settings *s = c->core->settings;
	struct timekeeper_look now = {
		.system_s = clock_of(CLOCK_REALTIME), .boot_s = clock_of(CLOCK_MONOTONIC), .is_network = file_says_so(c, s->time.network_file, false),
		.is_authenticated = file_says_so(c, s->time.authenticated_file, true),
	};
	enum agent_time_state before = c->tk.state;
	uint64_t asleep_s = clock_of(CLOCK_BOOTTIME) - now.boot_s;

	/* Sleep is not counted here: a floor stays one, a date has to be told again. */
	if (asleep_s > c->asleep_s + 1)
		timekeeper_slept(&c->tk);
	c->asleep_s = asleep_s;
	timekeeper_look(&c->tk, &now, &c->news);
	write_down(c, before);
	tell(c);
	if (c->news.is_new_state && c->news.reading.state == AGENT_TIME_AUTHENTICATED)
		c->saved_floor_s = 0; /* worth a write soon */
	save_if_due(c);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	look(userdata);
	(void)sd_event_source_set_time_relative(source, LOOK_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- steps -------------------------------------------------------------------------------------------------------- */

/* A timer of the system clock that never ends, but is cancelled when somebody sets that clock. */
static int arm(struct clock *c)
{
	struct itimerspec never = { .it_value.tv_sec = 0x7fffffff };

	return timerfd_settime(c->step_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 ? -errno : 0;
}

static int on_step(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct clock *c = userdata;
	uint64_t n;

	if (read(fd, &n, sizeof(n)) >= 0 || (errno != ECANCELED && errno != EAGAIN) || arm(c) < 0)
		return sd_event_source_set_enabled(source, SD_EVENT_OFF); /* seen within 10 s then */
	look(c);
	return 0;
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

/* A device whose disk is full when it gets this version starts all the same; writing tries again. */
static int open_folder(struct clock *c, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	int r = store_open_folder(c->core->settings, "time", &c->dir_fd, &why);

	if (r != -ENOSPC && r != -EDQUOT && r != -EROFS)
		return r < 0 ? agent_error_move(err, &why) : 0;
	service_log(LOG_ERR, "the time cannot be saved: %s", agent_error_message(why));
	c->is_unsaved = true;
	return 0;
}

int clock_start(struct core *core, struct agent_error **err)
{
	struct clock *c = calloc(1, sizeof(*c));
	struct agent_time_reading r;
	int e;

	core->clock = c;
	if (c == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the time");
	c->core = core;
	c->dir_fd = c->step_fd = -1;
	e = agent_time_new(&core->time, err);
	if (e >= 0)
		e = open_folder(c, err);
	if (e < 0)
		return e;
	agent_time_get(core->time, &r);
	c->saved_at_s = clock_of(CLOCK_MONOTONIC);
	timekeeper_start(&c->tk, r.floor_s, c->saved_at_s);
	load(c);
	c->saved_floor_s = timekeeper_floor(&c->tk, c->saved_at_s);
	c->step_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	e = c->step_fd < 0 || arm(c) < 0 ? -errno : sd_event_add_io(core->event, &c->step_io, c->step_fd, EPOLLIN, on_step, c);
	if (e >= 0)
		e = sd_event_add_time_relative(core->event, &c->timer, CLOCK_MONOTONIC, LOOK_US, SECOND_US, on_look, c);
	if (e < 0)
		return agent_error_set(err, e, "core.timer", "no timer for the time: %s", strerror(-e));
	look(c);
	return 0;
}

void clock_tpm_is_open(struct core *core)
{
	ask_tpm(core->clock);
}

void clock_stop(struct core *core)
{
	struct clock *c = core->clock;

	if (c == NULL)
		return;
	if (c->tk.hard_s != 0) /* 0: nothing was loaded, and nothing may be overwritten */
		write_saved(c);
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	sd_event_source_disable_unref(c->timer);
	sd_event_source_disable_unref(c->step_io);
	if (c->step_fd >= 0)
		close(c->step_fd);
	core->time = agent_time_unref(core->time);
	free(c);
	core->clock = NULL;
}

int64_t clock_now(const struct core *core)
{
	struct agent_time_reading r;

	agent_time_get(core->time, &r);
	return (int64_t)r.now_s;
}

/* ---- others ------------------------------------------------------------------------------------------------------- */

void clock_greet(struct core *core, sd_bus *bus)
{
	struct agent_time_reading r;

	agent_time_get(core->time, &r);
	sd_bus_emit_signal(bus, BUS_PATH, BUS_CORE, "TimeChanged", TOLD_TIME_TYPES, TOLD_TIME_ARGS(&r));
}

int op_time_get(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct agent_time_reading r;

	agent_time_get(core->time, &r);
	return op_reply(call, TOLD_TIME_TYPES, TOLD_TIME_ARGS(&r));
}

void clock_signed(struct core *core, enum clock_signed what, uint64_t signed_s)
{
	struct clock *c = core->clock;

	/* A new certificate may have been issued by whom agentd-fetch named. */
	if (signed_s != 0 && timekeeper_signed(&c->tk, what == CLOCK_SIGNED_BUNDLE ? TIMEKEEPER_SIGNER : TIMEKEEPER_AUTHORITY_FETCH, signed_s,
					       clock_of(CLOCK_MONOTONIC)) >= 0)
		look(c);
}

void clock_was_reset(struct core *core)
{
	struct clock *c = core->clock;

	timekeeper_forget(&c->tk, time_build_s(), clock_of(CLOCK_MONOTONIC));
	look(c);
	write_saved(c);
}

int op_time_evidence(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct clock *c = core->clock;
	uint64_t at_s, more_s, boot_s = clock_of(CLOCK_MONOTONIC);
	const char *kind;
	bool is_fetch = strcmp(op_call_program(call), "fetch") == 0;
	int r;

	if (sd_bus_message_read(call->msg, "stt", &kind, &at_s, &more_s) < 0)
		return op_unreadable(call, err);
	if (strcmp(kind, "handshake") == 0)
		r = timekeeper_handshake(&c->tk, is_fetch ? TIMEKEEPER_AUTHORITY_FETCH : TIMEKEEPER_AUTHORITY, at_s, more_s, clock_of(CLOCK_REALTIME), boot_s);
	else if (strcmp(kind, "date") == 0 && core->settings->time.https_date && is_fetch)
		r = timekeeper_date(&c->tk, at_s, more_s, boot_s);
	else
		return agent_error_set(err, -EINVAL, "time.evidence", "that says nothing about the time here");
	if (r < 0)
		return agent_error_set(err, r, "time.evidence", "it is later than that already, or never so late");
	look(c);
	return op_reply(call, NULL);
}

int clock_append_short(struct core *core, sd_bus_message *m)
{
	struct agent_time_reading now;
	int r;

	agent_time_get(core->time, &now);
	r = peer_append_string(m, "time_state", agent_time_state_name(now.state));
	if (r >= 0)
		r = peer_append_string(m, "time_source", core->clock->news.source);
	if (r >= 0)
		r = peer_append_u64(m, "time_s", now.now_s);
	return r < 0 ? r : peer_append_u64(m, "time_floor_s", now.floor_s);
}

static int append_all(struct core *core, sd_bus_message *m)
{
	const struct clock *c = core->clock;
	struct agent_time_reading now;
	int r;

	agent_time_get(core->time, &now);
	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = clock_append_short(core, m);
	if (r >= 0 && now.uncertainty_s != AGENT_TIME_UNCERTAIN)
		r = peer_append_u64(m, "uncertainty_s", now.uncertainty_s);
	if (r >= 0)
		r = peer_append_u64(m, "system_clock_s", clock_of(CLOCK_REALTIME));
	if (r >= 0 && c->tk.saved.hard_s != 0)
		r = peer_append_u64(m, "saved_s", c->tk.saved.hard_s > c->tk.saved.soft_s ? c->tk.saved.hard_s : c->tk.saved.soft_s);
	if (r >= 0 && c->tk.has_clock)
		r = peer_append_u64(m, "tpm_clock_s", c->tk.clock.clock_ms / 1000);
	if (r >= 0)
		r = peer_append_u64(m, "changes", now.n_changes);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int op_time_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply_made(core, call, append_all, "the time", err);
}
