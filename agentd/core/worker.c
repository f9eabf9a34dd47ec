/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "agentd/common/join.h"
#include "agentd/core/core.h"
#include "agentd/core/worker_loop.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "base/thread.h"

/* Between attempts while the TPM is away or in trouble: one command each, so that it is soon used again and costs nothing. */
#define BACKOFF_MIN_MS 250
#define BACKOFF_MAX_MS 10000
#define STOP_WAIT_S 5 /* for a command that is under way when we stop */

static const unsigned queue_max[WORKER_PRIORITIES_] = { [WORKER_SIGN] = 16, [WORKER_WORK] = 16, [WORKER_HASH] = 4, [WORKER_VENDOR] = 32 };

struct job {
	struct job *next;
	const struct job_ops *ops;
	void *data;
	uint64_t deadline_us; /* CLOCK_MONOTONIC */
	bool is_given_up;     /* done() was called with -ETIMEDOUT; run() goes on */
	int result;
	struct agent_error *err;
};

struct queue {
	struct job *first, **last;
	unsigned n;
};

struct worker {
	struct core *core;
	struct store *store;   /* the thread's */
	const struct worker_hooks *hooks;
	pthread_t thread;
	bool is_started;
	sd_event_source *io, *timer;
	int event_fd;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t wake;
	struct queue waiting[WORKER_PRIORITIES_];
	struct job *running;
	struct queue finished;
	struct worker_info info;
	struct worker_news news;
	bool has_news;
	bool has_tried;
	bool is_stopping;
	uint64_t own_deadline_us; /* of an opening or a probe under way, else UINT64_MAX */
	bool is_hung;		  /* what is under way is over its time */
};

static void queue_init(struct queue *q)
{
	*q = (struct queue){ .last = &q->first };
}

static void queue_push(struct queue *q, struct job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
	q->n++;
}

static struct job *queue_pop(struct queue *q)
{
	struct job *job = q->first;

	if (job == NULL)
		return NULL;
	q->first = job->next;
	if (q->first == NULL)
		q->last = &q->first;
	q->n--;
	return job;
}

static void poke_loop(struct worker *w)
{
	uint64_t one = 1;
	ssize_t n = write(w->event_fd, &one, sizeof(one));

	(void)n; /* cannot fail but for a full counter, and then the loop is awake anyway */
}

static void news_free(struct worker_news *news)
{
	free(news->srk_name);
	free(news->device_ca_pem);
	free(news->device_ca_fingerprint);
	agent_error_free(news->err);
	memset(news, 0, sizeof(*news));
}

/* ---- the thread ------------------------------------------------------------------------------------------------- */

/* What the store looks like now, for the loop. Strings only after the store was opened. */
static void look(struct worker *w, bool was_opened, int r, struct agent_error **err)
{
	struct worker_news news = { .was_opened = was_opened, .result = r };

	w->hooks->look(w->store, &news, was_opened);
	if (err != NULL)
		news.err = TAKE_PTR(*err);
	pthread_mutex_lock(&w->lock);
	news.reset_is_done |= w->has_news && w->news.reset_is_done;
	if (w->has_news && w->news.was_opened && !was_opened) {
		/* The loop has not yet seen how the opening went: keep that part. */
		news.was_opened = true;
		news.result = w->news.result;
		news.err = TAKE_PTR(w->news.err);
		news.srk_name = TAKE_PTR(w->news.srk_name);
		news.device_ca_pem = TAKE_PTR(w->news.device_ca_pem);
		news.device_ca_fingerprint = TAKE_PTR(w->news.device_ca_fingerprint);
	}
	news_free(&w->news);
	w->news = news;
	w->has_news = true;
	w->info.tpm_state = news.tpm_state;
	memcpy(w->info.tpm_detail, news.tpm_detail, sizeof(w->info.tpm_detail));
	w->is_hung = false;
	w->own_deadline_us = UINT64_MAX;
	w->info.n_commands = news.n_commands;
	w->info.is_open = news.is_open;
	if (was_opened)
		w->has_tried = true;
	pthread_mutex_unlock(&w->lock);
	poke_loop(w);
}

/* Back-off state of the thread. */
struct opener {
	uint64_t next_us;
	unsigned delay_ms;
	int result;
	struct agent_error *err;
	bool is_open;
};

static void back_off(struct opener *o)
{
	o->delay_ms = o->delay_ms == 0 ? BACKOFF_MIN_MS : o->delay_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : o->delay_ms * 2;
	o->next_us = monotonic_us() + o->delay_ms * UINT64_C(1000);
}

/* When to look at the TPM next, if no job comes. */
static void plan_probe(struct worker *w, struct opener *o, bool has_probed)
{
	enum agent_tpm_state state;
	unsigned probe_s = w->hooks->probe == NULL ? 0 : w->hooks->probe_s(w->core);

	pthread_mutex_lock(&w->lock);
	state = w->info.tpm_state;
	pthread_mutex_unlock(&w->lock);
	if (w->hooks->probe == NULL || (state == AGENT_TPM_READY && probe_s == 0)) {
		o->delay_ms = 0;
		o->next_us = UINT64_MAX;
	} else if (state == AGENT_TPM_READY) {
		o->delay_ms = 0;
		o->next_us = monotonic_us() + probe_s * UINT64_C(1000000);
	} else if (has_probed || o->delay_ms == 0) {
		back_off(o);
	}
}

/* What the thread does of its own accord has a deadline too: it is noticed when it hangs. */
static void begin_own_work(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->own_deadline_us = monotonic_us() + w->hooks->timeout_s(w->core) * UINT64_C(1000000);
	pthread_mutex_unlock(&w->lock);
	poke_loop(w);
}

static void try_open(struct worker *w, struct opener *o)
{
	struct agent_error *copy = NULL;
	int r;

	begin_own_work(w);
	o->err = agent_error_free(o->err);
	r = w->hooks->open(w->store, &o->err);
	o->is_open = r >= 0;
	o->result = r;
	if (r < 0) {
		back_off(o);
		agent_error_set(&copy, r, agent_error_name(o->err), "%s", agent_error_message(o->err));
	}
	look(w, true, r, &copy);
	agent_error_free(copy);
	if (o->is_open) {
		o->delay_ms = 0;
		plan_probe(w, o, false);
	}
}

/* After a job or a probe: the TPM may have gone. Opening again checks pinned SRK, counters and record before they are used. */
static void check_tpm(struct worker *w, struct opener *o, bool has_probed)
{
	look(w, false, 0, NULL);
	if (!o->is_open)
		return;
	if (w->hooks->is_usable(w->store)) {
		plan_probe(w, o, has_probed);
		return;
	}
	o->is_open = false;
	o->delay_ms = 0;
	o->next_us = monotonic_us();
}

static void probe(struct worker *w, struct opener *o)
{
	struct agent_error *err = NULL;

	begin_own_work(w);
	(void)w->hooks->probe(w->store, &err); /* state and detail say it */
	agent_error_free(err);
	check_tpm(w, o, true);
}

static int run_job(struct worker *w, struct job *job, struct opener *o)
{
	if (!o->is_open && monotonic_us() >= o->next_us)
		try_open(w, o);
	if (!o->is_open && !job->ops->runs_closed)
		return agent_error_set(&job->err, o->result, agent_error_name(o->err), "%s", agent_error_message(o->err));
	return job->ops->run(w->store, job->data, &job->err);
}

/* Wait for a job or until it is time to open or look again. NULL in the latter case. With w->lock held. */
static struct job *wait_for_job(struct worker *w, const struct opener *o)
{
	for (;;) {
		struct timespec until = { .tv_sec = (time_t)(o->next_us / 1000000), .tv_nsec = (long)(o->next_us % 1000000) * 1000 };

		for (size_t i = 0; i < WORKER_PRIORITIES_; i++) {
			struct job *job = queue_pop(&w->waiting[i]);

			if (job != NULL)
				return job;
		}
		if (w->is_stopping)
			return NULL;
		if (o->next_us == UINT64_MAX)
			pthread_cond_wait(&w->wake, &w->lock);
		else if (pthread_cond_timedwait(&w->wake, &w->lock, &until) == ETIMEDOUT)
			return NULL;
	}
}

static void *thread_main(void *userdata)
{
	struct worker *w = userdata;
	struct opener o = { 0 };

	try_open(w, &o);
	pthread_mutex_lock(&w->lock);
	while (!w->is_stopping) {
		struct job *job = wait_for_job(w, &o);

		if (w->is_stopping && job != NULL) {
			job->result = agent_error_set(&job->err, -ECANCELED, "core.stopping", "agentd is stopping");
			queue_push(&w->finished, job);
			continue;
		}
		w->running = job;
		pthread_mutex_unlock(&w->lock);
		if (job == NULL) {
			if (monotonic_us() >= o.next_us && o.is_open)
				probe(w, &o);
			else if (monotonic_us() >= o.next_us)
				try_open(w, &o);
		} else {
			job->result = run_job(w, job, &o);
			check_tpm(w, &o, false);
		}
		pthread_mutex_lock(&w->lock);
		w->running = NULL;
		if (job != NULL) {
			queue_push(&w->finished, job);
			poke_loop(w);
		}
	}
	pthread_mutex_unlock(&w->lock);
	agent_error_free(o.err);
	return NULL;
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void job_free(struct job *job)
{
	agent_error_free(job->err);
	if (job->ops->free != NULL)
		job->ops->free(job->data);
	free(job);
}

static void give_up(struct worker *w, struct job *job)
{
	struct agent_error *err = NULL;
	int r;

	r = agent_error_set(&err, -ETIMEDOUT, "tpm.timeout", "the TPM did not finish '%s' in time",
			    job->ops->name != NULL ? job->ops->name : job->ops->name_of(job->data));
	job->ops->done(w->core, job->data, r, &err);
	agent_error_free(err);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void arm_timer(struct worker *w)
{
	uint64_t first_us = UINT64_MAX;

	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < WORKER_PRIORITIES_; i++)
		for (const struct job *job = w->waiting[i].first; job != NULL; job = job->next)
			if (job->deadline_us < first_us)
				first_us = job->deadline_us;
	if (w->running != NULL && !w->running->is_given_up && w->running->deadline_us < first_us)
		first_us = w->running->deadline_us;
	if (!w->is_hung && w->own_deadline_us < first_us)
		first_us = w->own_deadline_us;
	pthread_mutex_unlock(&w->lock);
	if (first_us == UINT64_MAX) {
		sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(w->timer, first_us);
	sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct worker_news news = { .tpm_state = AGENT_TPM_BUSY, .setup = SETUP_STATE_UNKNOWN };
	struct worker *w = userdata;
	struct job *late = NULL, *running = NULL;
	uint64_t now = monotonic_us();
	bool was_hung = w->is_hung; /* only this thread sets it */

	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < WORKER_PRIORITIES_; i++) {
		struct queue keep;
		struct job *job;

		queue_init(&keep);
		while ((job = queue_pop(&w->waiting[i])) != NULL) {
			if (job->deadline_us <= now) {
				job->next = late;
				late = job;
			} else {
				queue_push(&keep, job);
			}
		}
		queue_init(&w->waiting[i]);
		while ((job = queue_pop(&keep)) != NULL)
			queue_push(&w->waiting[i], job);
	}
	if (w->running != NULL && !w->running->is_given_up && w->running->deadline_us <= now) {
		running = w->running;
		running->is_given_up = true; /* it cannot be freed before the loop sees it in w->finished */
		w->is_hung = true;
	}
	if (w->own_deadline_us <= now)
		w->is_hung = true;
	if (w->is_hung && !was_hung) {
		w->info.tpm_state = news.tpm_state;
		snprintf(news.tpm_detail, sizeof(news.tpm_detail),
			 "the TPM does not finish a command in time: it hangs, or another program holds it; callers hear tpm.timeout, and it "
			 "goes on by itself when the TPM answers; if it stays so, look at its driver and bus, and switch power off and on");
		memcpy(w->info.tpm_detail, news.tpm_detail, sizeof(w->info.tpm_detail));
	}
	was_hung = !w->is_hung || was_hung;
	pthread_mutex_unlock(&w->lock);
	if (!was_hung)
		w->hooks->news(w->core, &news);
	if (running != NULL)
		give_up(w, running);
	while (late != NULL) {
		struct job *next = late->next;

		give_up(w, late);
		job_free(late);
		late = next;
	}
	arm_timer(w);
	return 0;
}

static int on_event_fd(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct worker *w = userdata;
	struct worker_news news;
	struct queue finished;
	struct job *job;
	bool has_news;
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));

	(void)n;
	queue_init(&finished);
	pthread_mutex_lock(&w->lock);
	while ((job = queue_pop(&w->finished)) != NULL)
		queue_push(&finished, job);
	news = w->news;
	has_news = w->has_news;
	memset(&w->news, 0, sizeof(w->news));
	w->has_news = false;
	pthread_mutex_unlock(&w->lock);

	if (has_news)
		w->hooks->news(w->core, &news);
	news_free(&news);
	while ((job = queue_pop(&finished)) != NULL) {
		if (!job->is_given_up)
			job->ops->done(w->core, job->data, job->result, &job->err);
		else if (job->ops->late != NULL)
			job->ops->late(w->core, job->data, job->result);
		job_free(job);
	}
	arm_timer(w);
	return 0;
}

int worker_submit(struct worker *w, enum worker_priority priority, const struct job_ops *ops, void *data, unsigned timeout_s,
		  struct agent_error **err)
{
	struct queue *q = &w->waiting[priority];
	struct job *job;

	if (timeout_s == 0)
		timeout_s = w->hooks->timeout_s(w->core);
	job = calloc(1, sizeof(*job));
	if (job == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a TPM job");
	job->ops = ops;
	job->data = data;
	job->deadline_us = monotonic_us() + timeout_s * UINT64_C(1000000);
	pthread_mutex_lock(&w->lock);
	if (q->n >= queue_max[priority] || w->is_stopping) {
		pthread_mutex_unlock(&w->lock);
		free(job);
		return agent_error_set(err, -EBUSY, "core.busy", "%u requests for the TPM are waiting already; try again in a moment",
				       queue_max[priority]);
	}
	queue_push(q, job);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	arm_timer(w);
	return 0;
}

void worker_get_info(struct worker *w, struct worker_info *ret_info)
{
	pthread_mutex_lock(&w->lock);
	*ret_info = w->info;
	ret_info->n_waiting = w->running != NULL;
	for (size_t i = 0; i < WORKER_PRIORITIES_; i++)
		ret_info->n_waiting += w->waiting[i].n;
	pthread_mutex_unlock(&w->lock);
}

bool worker_has_tried(struct worker *w)
{
	bool has_tried;

	pthread_mutex_lock(&w->lock);
	has_tried = w->has_tried;
	pthread_mutex_unlock(&w->lock);
	return has_tried;
}

/* ---- start and stop --------------------------------------------------------------------------------------------- */

int worker_start(struct core *core, sd_event *event, struct store *store, const struct worker_hooks *hooks,
		 struct worker **ret_worker, struct agent_error **err)
{
	pthread_condattr_t attr;
	struct worker *w = calloc(1, sizeof(*w));
	int r;

	if (w == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the TPM thread");
	w->core = core;
	w->store = store;
	w->hooks = hooks;
	w->info.tpm_state = AGENT_TPM_OPENING;
	w->own_deadline_us = UINT64_MAX;
	for (size_t i = 0; i < WORKER_PRIORITIES_; i++)
		queue_init(&w->waiting[i]);
	queue_init(&w->finished);
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_condattr_destroy(&attr);
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = w->event_fd < 0 ? -errno : 0;
	if (r >= 0)
		r = sd_event_add_io(event, &w->io, w->event_fd, EPOLLIN, on_event_fd, w);
	if (r >= 0)
		r = sd_event_add_time(event, &w->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, w);
	if (r >= 0)
		r = sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
	if (r >= 0) {
		r = thread_start(&w->thread, NULL, thread_main, w);
		w->is_started = r == 0;
	}
	if (r < 0) {
		agent_error_set(err, r, "core.worker", "cannot start the TPM thread: %s", strerror(-r));
		worker_stop(w);
		return r;
	}
	*ret_worker = w;
	return 0;
}

int worker_stop(struct worker *w)
{
	struct job *job;

	if (w == NULL)
		return 0;
	sd_event_source_unref(w->io);
	sd_event_source_unref(w->timer);
	if (w->is_started) {
		pthread_mutex_lock(&w->lock);
		w->is_stopping = true;
		pthread_cond_signal(&w->wake);
		pthread_mutex_unlock(&w->lock);
		if (!join_until(w->thread, join_limit_ms(STOP_WAIT_S)))
			return -EBUSY; /* a TPM that hangs: the process is about to end, and the thread with it */
	}
	for (size_t i = 0; i < WORKER_PRIORITIES_; i++)
		while ((job = queue_pop(&w->waiting[i])) != NULL)
			job_free(job);
	while ((job = queue_pop(&w->finished)) != NULL)
		job_free(job);
	news_free(&w->news);
	if (w->event_fd >= 0)
		close(w->event_fd);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return 0;
}
