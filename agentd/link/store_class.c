/* SPDX-License-Identifier: Apache-2.0 */
/* The thread of one queue: takes messages in, waits for the disk, opens the file again after an error. */
#include "config.h"

#include "agentd/link/store_inside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "agentd/common/service.h"
#include "agentd/link/flash.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "base/text.h"

#define RAM_BYTES (256 * KIB)
#define RECORD_OVERHEAD 64	/* at least what a record takes beside topic and payload */
#define REOPEN_US (5 * UINT64_C(1000000))

void class_refresh(struct class *c)
{
	struct agent_queue_stats stats;
	uint64_t seconds = monotonic_us() / 1000000 - c->opened_s;

	if (c->queue == NULL)
		return;
	agent_queue_get_stats(c->queue, &stats);
	pthread_mutex_lock(&c->lock);
	c->counters[STORE_messages] = stats.n_messages;
	c->counters[STORE_in_ram] = stats.n_ram;
	c->counters[STORE_used_bytes] = stats.used_bytes;
	c->counters[STORE_size_bytes] = stats.size_bytes;
	c->counters[STORE_dropped] = stats.n_dropped;
	c->counters[STORE_expired] = stats.n_expired;
	c->counters[STORE_refused] = stats.n_refused;
	c->counters[STORE_damaged] = stats.n_damaged;
	c->counters[STORE_payload_bytes] = stats.payload_bytes;
	c->counters[STORE_written_bytes] = stats.written_bytes;
	c->counters[STORE_syncs] = stats.n_syncs;
	c->counters[STORE_flash_life_days] =
		flash_life_days(c->store->endurance_bytes, stats.written_bytes - c->base_written, stats.n_syncs - c->base_syncs, seconds);
	pthread_mutex_unlock(&c->lock);
}

void class_count(struct class *c, enum store_counter counter)
{
	pthread_mutex_lock(&c->lock);
	c->counters[counter]++;
	pthread_mutex_unlock(&c->lock);
}

static void set_error(struct class *c, const struct agent_error *why)
{
	pthread_mutex_lock(&c->lock);
	snprintf(c->error, sizeof(c->error), "%s", why == NULL ? "" : agent_error_message(why));
	text_drop_cut(c->error);
	pthread_mutex_unlock(&c->lock);
}

/* ---- the file */

/* @queue takes the place of the one there was, which is returned. Its messages under way are nobody's any more. */
static struct agent_queue *exchange(struct class *c, struct agent_queue *queue)
{
	struct store *store = c->store;
	struct agent_queue *old;

	pthread_mutex_lock(&store->pump_lock);
	old = c->queue;
	c->queue = queue;
	atomic_store(&c->is_broken, false);
	for (size_t i = 0; i < WINDOW; i++)
		if (store->slots[i].class == c)
			store_free_slot(store, &store->slots[i]);
	denial_forget(c);
	pthread_mutex_unlock(&store->pump_lock);
	return old;
}

static int open_queue(struct class *c, struct agent_error **err)
{
	bool is_direct = c->rules->loss_messages == 1;
	struct agent_queue_options options = {
		.file = c->file, .size_bytes = c->rules->size_kib * KIB, .ram_file = is_direct ? NULL : c->ram_file,
		.ram_size_bytes = is_direct ? 0 : RAM_BYTES, .loss_messages = c->rules->loss_messages, .full = c->rules->full,
		.ttl_s = (uint32_t)c->rules->ttl_s, .max_in_flight = AGENT_QUEUE_IN_FLIGHT_MAX, /* under way are WINDOW at most, the rest was passed over: store_denial.c */
	};
	struct agent_queue_stats stats;
	struct agent_queue *queue;
	int r = agent_queue_open(&options, &queue, err);

	c->reopen_us = monotonic_us() + REOPEN_US;
	if (r < 0)
		return agent_error_prefix(err, r, "queue %s", c->rules->name);
	agent_queue_get_stats(queue, &stats);
	if (stats.is_replaced)
		service_log(LOG_ERR, "queue %s: the file was beyond repair; it is %s.damaged now, and a new one was made", c->rules->name, c->file);
	c->opened_s = monotonic_us() / 1000000;
	c->base_written = stats.written_bytes;
	c->base_syncs = stats.n_syncs;
	c->last_seq = agent_queue_get_safe(queue); /* of an open queue that is the newest */
	/* How long what is in RAM lay there nobody knows: keep_time_bound() puts it on disk now. */
	c->checkpoint_seq = c->last_seq;
	c->checkpoint_us = is_direct ? 0 : 1;
	exchange(c, queue);
	class_refresh(c);
	store_pump(c->store);
	return 0;
}

/* After an error nothing works until the file was read again. */
static void close_queue(struct class *c)
{
	agent_queue_free(exchange(c, NULL));
	/* Nothing is due of a closed queue but opening it again. */
	c->checkpoint_us = 0;
	atomic_store(&c->pump_at_us, NEVER);
}

static int sync_queue(struct class *c, struct agent_error **err)
{
	int r = agent_queue_sync(c->queue, err);

	c->checkpoint_us = 0;
	/* What came again after a crash takes room that RAM was promised; it goes to disk as soon as some of it is delivered. */
	if (r == -EDQUOT) {
		if (err != NULL)
			*err = agent_error_free(*err);
		return 0;
	}
	if (r < 0)
		atomic_store(&c->is_broken, true);
	return r;
}

/* With messages in RAM: do it ourselves where agent_queue_add() would wait for the disk with the queue locked. */
static int make_room(struct class *c, const struct put *put, struct agent_error **err)
{
	struct agent_queue_stats stats;

	agent_queue_get_stats(c->queue, &stats);
	if (stats.n_ram == 0 ||
	    (stats.n_ram + 1 < c->rules->loss_messages && stats.ram_bytes + put->size + strlen(put->topic) + RECORD_OVERHEAD <= RAM_BYTES))
		return 0;
	return sync_queue(c, err);
}

static int add(struct class *c, const struct put *put, struct agent_error **err)
{
	int r = make_room(c, put, err);

	if (r >= 0)
		r = agent_queue_add(c->queue, put->topic, put->payload, put->size, put->flags, put->ttl_s, &c->last_seq, err);
	if (r == -EIO)
		atomic_store(&c->is_broken, true);
	return r < 0 ? agent_error_prefix(err, r, "queue %s", c->rules->name) : 0;
}

static struct agent_error *same_error(const struct agent_error *err)
{
	struct agent_error *copy = NULL;

	if (err != NULL)
		agent_error_set(&copy, agent_error_errno(err), agent_error_name(err), "%s", agent_error_message(err));
	return copy;
}

/* Put in and answer. Where each message has to be on disk, one wait serves all of them. */
static void take_in(struct class *c, struct put *list)
{
	_cleanup_error_ struct agent_error *sync_err = NULL;
	bool is_direct = c->rules->loss_messages == 1;
	struct put *added = NULL, **end = &added;
	int sync_r = 0;

	while (list != NULL) {
		struct put *put = list;
		struct agent_error *err = NULL;
		int r = atomic_load(&c->is_broken) ? agent_error_set(&err, -EIO, "queue.io", "queue %s: the disk failed", c->rules->name) :
						     add(c, put, &err);

		list = put->next;
		put->next = NULL;
		if (r >= 0) {
			class_count(c, STORE_accepted);
			*end = put;
			end = &put->next;
			continue;
		}
		class_answer(c, put->ticket, r, err);
		put_free(put);
	}
	if (is_direct && added != NULL)
		sync_r = sync_queue(c, &sync_err);
	while (added != NULL) {
		struct put *put = added;

		added = put->next;
		class_answer(c, put->ticket, sync_r, same_error(sync_err));
		put_free(put);
	}
}

static void refuse_all(struct class *c, struct put *list, const struct agent_error *why)
{
	while (list != NULL) {
		struct put *put = list;

		list = put->next;
		class_answer(c, put->ticket, agent_error_errno(why), same_error(why));
		put_free(put);
	}
}

/*
 * What lies in RAM for loss_s goes to disk: every half of that time the oldest in RAM is compared with what was newest the time
 * before, so it is never longer than loss_s, and messages that come and go cost nothing.
 */
static void keep_time_bound(struct class *c)
{
	uint64_t now = monotonic_us(), oldest;
	struct agent_queue_stats stats;

	if (c->rules->loss_messages == 1 || c->checkpoint_us > now)
		return;
	agent_queue_get_stats(c->queue, &stats);
	oldest = c->last_seq + 1 - stats.n_ram;
	if (c->checkpoint_us != 0 && stats.n_ram > 0 && oldest <= c->checkpoint_seq) {
		_cleanup_error_ struct agent_error *err = NULL;

		if (sync_queue(c, &err) < 0)
			service_log(LOG_ERR, "queue %s: %s", c->rules->name, agent_error_message(err));
		agent_queue_get_stats(c->queue, &stats);
	}
	c->checkpoint_seq = c->last_seq;
	c->checkpoint_us = stats.n_ram == 0 ? 0 : now + c->rules->loss_s * 500000;
}

/* Wait until there is something to do; the list of what came, NULL with *ret_is_stopping when that is the end. */
static struct put *wait_for_work(struct class *c, bool *ret_is_stopping)
{
	struct put *list;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		uint64_t until = atomic_load(&c->pump_at_us), now = monotonic_us();
		struct timespec ts;

		if (c->checkpoint_us != 0 && c->checkpoint_us < until)
			until = c->checkpoint_us;
		if (c->queue == NULL && c->reopen_us < until)
			until = c->reopen_us;
		if (c->first != NULL || c->is_stopping || atomic_load(&c->is_broken) || until <= now)
			break;
		if (until == NEVER) {
			pthread_cond_wait(&c->wake, &c->lock);
			continue;
		}
		ts = (struct timespec){ .tv_sec = (time_t)(until / 1000000), .tv_nsec = (long)(until % 1000000) * 1000 };
		(void)pthread_cond_timedwait(&c->wake, &c->lock, &ts);
	}
	list = c->first;
	c->first = NULL;
	c->end = &c->first;
	c->n_pending = c->pending_bytes = 0;
	*ret_is_stopping = c->is_stopping;
	pthread_mutex_unlock(&c->lock);
	return list;
}

/* Making a file of a full disk again and again would only wear it out. */
static bool may_open(struct class *c, struct agent_error **err)
{
	if (monotonic_us() < c->reopen_us) {
		pthread_mutex_lock(&c->lock);
		agent_error_set(err, -EIO, "queue.file", "%s", c->error);
		pthread_mutex_unlock(&c->lock);
		return false;
	}
	if (open_queue(c, err) >= 0) {
		set_error(c, NULL);
		return true;
	}
	if (c->error[0] == '\0') /* written by this thread only */
		service_log(LOG_ERR, "%s", agent_error_message(*err));
	set_error(c, *err);
	return false;
}

static void work_once(struct class *c, struct put *list)
{
	_cleanup_error_ struct agent_error *err = NULL;

	if (atomic_load(&c->is_broken)) {
		service_log(LOG_ERR, "queue %s: the file failed; opening it again", c->rules->name);
		close_queue(c);
	}
	if (c->queue == NULL && !may_open(c, &err)) {
		refuse_all(c, list, err);
		return;
	}
	take_in(c, list);
	if (!atomic_load(&c->is_broken))
		keep_time_bound(c);
	atomic_store(&c->pump_at_us, NEVER);
	store_pump(c->store);
	pthread_mutex_lock(&c->store->pump_lock);
	class_refresh(c);
	pthread_mutex_unlock(&c->store->pump_lock);
}

void *class_run(void *userdata)
{
	struct class *c = userdata;
	bool is_stopping = false;

	work_once(c, NULL);
	while (!is_stopping) {
		struct put *list = wait_for_work(c, &is_stopping);

		work_once(c, list);
	}
	close_queue(c);
	return NULL;
}
