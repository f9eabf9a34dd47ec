/* SPDX-License-Identifier: Apache-2.0 */
/* A queue is a ring on disk and perhaps one in RAM before it. Messages only ever go from RAM to disk or out. */
#include <agent/queue.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/monotonic.h"
#include "net/queue.h"
#include "net/ring.h"

#define IN_FLIGHT_FIRST 16u	/* room for so many at the start: few callers use all that they may */

enum { DISK, RAM, N_STAGES };

struct in_flight {
	uint64_t seq;
	int stage;
	struct ring_cursor behind;
	bool is_done;
};

struct agent_queue {
	pthread_mutex_t lock;
	char *file;
	struct ring *rings[N_STAGES];		/* RAM may be NULL */
	struct ring_cursor cursors[N_STAGES];	/* what is handed out next */
	struct ring_buffer lent, work;
	struct in_flight *in_flight;		/* in order; released from the front */
	size_t n_in_flight, room_in_flight, max_in_flight;	/* there is room for as many in both arrays */
	uint64_t *done_early;			/* numbers of what was done while something before it was not, and is behind the cursor again */
	size_t n_done_early;
	enum agent_queue_full full;
	uint32_t ttl_s, stamp_base_s;
	uint64_t opened_s, loss_messages;
	uint64_t last_seq, sent_seq, safe_seq;
	uint64_t n_dropped, n_expired, n_refused;
};

/* The queue's own clock goes on where the newest record left it. */
static uint32_t stamp_now(const struct agent_queue *queue)
{
	return queue->stamp_base_s + (uint32_t)(running_s() - queue->opened_s);
}

static int io_error(const struct agent_queue *queue, int r, struct agent_error **err)
{
	if (r == -ENOMEM)
		return agent_error_set(err, r, "queue.memory", "no memory");
	return agent_error_set(err, -EIO, "queue.io", "the queue %s cannot be read or written (%s): look at the disk; it has to be opened again",
			       queue->file, strerror(-r));
}

static int full_error(const struct agent_queue *queue, struct agent_error **err)
{
	return agent_error_set(err, -EDQUOT, "queue.full", "the queue %s is full: messages come faster than they leave", queue->file);
}

/* ---- leaving */

static void forget_first(struct agent_queue *queue, size_t n)
{
	queue->n_in_flight -= n;
	memmove(queue->in_flight, queue->in_flight + n, queue->n_in_flight * sizeof(*queue->in_flight));
}

static int release_done(struct agent_queue *queue)
{
	size_t n = 0;
	int r = 0;

	for (; r >= 0 && n < queue->n_in_flight && queue->in_flight[n].is_done; n++)
		r = ring_release(queue->rings[queue->in_flight[n].stage], queue->in_flight[n].behind, 1);
	forget_first(queue, n);
	return r;
}

/* Forget the oldest on disk. 0: there was none. */
static int drop_oldest(struct agent_queue *queue)
{
	struct ring_cursor cursor = ring_oldest(queue->rings[DISK]);
	struct ring_record record;
	int r;

	r = ring_read(queue->rings[DISK], &cursor, &queue->work, &record);
	if (r < 0)
		return r;
	if (r > 0) {
		queue->n_dropped++;
		if (queue->n_in_flight > 0 && queue->in_flight[0].seq == record.seq)
			forget_first(queue, 1);
	}
	if (cursor.pos == ring_oldest(queue->rings[DISK]).pos)
		return 0;
	r = ring_release(queue->rings[DISK], cursor, 1);
	return r < 0 ? r : 1;
}

/* ---- coming */

static int append_to_disk(struct agent_queue *queue, const struct ring_record *record)
{
	int r, dropped = 1;

	while ((r = ring_append(queue->rings[DISK], record)) == -ENOSPC && queue->full == AGENT_QUEUE_DROP_OLDEST && dropped > 0) {
		dropped = drop_oldest(queue);
		if (dropped < 0)
			return dropped;
	}
	return r;
}

/* All that is in RAM goes to disk, in order, and with it what is known about it. */
static int spill(struct agent_queue *queue)
{
	struct ring *ram = queue->rings[RAM];
	struct ring_record record;
	struct ring_cursor cursor;
	struct ring_buffer buffer = { 0 };
	int r;

	if (ram == NULL)
		return 0;
	cursor = ring_oldest(ram);
	while ((r = ring_read(ram, &cursor, &buffer, &record)) > 0) {
		r = append_to_disk(queue, &record);
		if (r < 0)
			break;
		for (size_t i = 0; i < queue->n_in_flight; i++)
			if (queue->in_flight[i].seq == record.seq)
				queue->in_flight[i] = (struct in_flight){ record.seq, DISK, ring_newest(queue->rings[DISK]),
									  queue->in_flight[i].is_done };
		if (record.seq <= queue->sent_seq)
			queue->cursors[DISK] = ring_newest(queue->rings[DISK]);
		r = ring_release(ram, cursor, 1);
		if (r < 0)
			break;
	}
	if (r == 0)	/* what is damaged in RAM goes too */
		r = ring_release(ram, ring_newest(ram), 0);
	ring_buffer_free(&buffer);
	return r;
}

static uint64_t disk_room(struct agent_queue *queue)
{
	struct ring_stats stats;

	ring_get_stats(queue->rings[DISK], &stats);
	return stats.size_bytes - stats.used_bytes;
}

static int add(struct agent_queue *queue, const struct ring_record *record)
{
	size_t size = ring_record_size(record->topic_size, record->payload_size);
	struct ring_stats disk, ram = { 0 };
	int r;

	ring_get_stats(queue->rings[DISK], &disk);
	if (size > disk.size_bytes)
		return -EMSGSIZE;
	if (queue->rings[RAM] == NULL)
		return append_to_disk(queue, record);
	ring_get_stats(queue->rings[RAM], &ram);
	/* What is in RAM was promised a place on disk. */
	if (queue->full == AGENT_QUEUE_REFUSE_NEW && disk_room(queue) < ram.used_bytes + size)
		return -ENOSPC;
	if (ram.n_records + 1 < queue->loss_messages) {
		r = ring_append(queue->rings[RAM], record);
		if (r != -ENOSPC && r != -EMSGSIZE)
			return r;
	}
	r = spill(queue);
	if (r >= 0)
		r = append_to_disk(queue, record);
	return r < 0 ? r : ring_sync(queue->rings[DISK]);
}

int agent_queue_add(struct agent_queue *queue, const char *topic, const void *payload, size_t size, unsigned flags, uint32_t ttl_s,
		    uint64_t *ret_seq, struct agent_error **err)
{
	struct ring_record record = { .flags = (uint8_t)flags, .topic = topic, .payload = payload, .payload_size = size };
	int r;

	if (queue == NULL || topic == NULL || topic[0] == '\0' || (payload == NULL && size > 0) || flags > UINT8_MAX)
		return agent_error_set(err, -EINVAL, "queue.message", "a message needs a topic, and flags up to 255");
	record.topic_size = strlen(topic);
	if (record.topic_size > RING_TOPIC_MAX || size > AGENT_QUEUE_MESSAGE_MAX)
		return agent_error_set(err, -EMSGSIZE, "queue.message", "topic or payload is too long: %zu and %zu bytes, at most %u and %d",
				       record.topic_size, size, RING_TOPIC_MAX, AGENT_QUEUE_MESSAGE_MAX);
	pthread_mutex_lock(&queue->lock);
	record.seq = queue->last_seq + 1;
	record.stamp_s = stamp_now(queue);
	record.ttl_s = ttl_s != 0 ? ttl_s : queue->ttl_s;
	r = add(queue, &record);
	if (r >= 0) {
		queue->last_seq = record.seq;
		if (queue->rings[RAM] != NULL)
			queue->safe_seq = record.seq;
		if (ret_seq != NULL)
			*ret_seq = record.seq;
	} else if (r == -ENOSPC) {
		queue->n_refused++;
	}
	pthread_mutex_unlock(&queue->lock);
	if (r >= 0)
		return 0;
	if (r == -ENOSPC)
		return full_error(queue, err);
	if (r == -EMSGSIZE)
		return agent_error_set(err, r, "queue.message", "a message of %zu bytes does not fit the queue %s", size, queue->file);
	return io_error(queue, r, err);
}

int agent_queue_sync(struct agent_queue *queue, struct agent_error **err)
{
	struct ring_mark mark;
	uint64_t seq;
	int spilled, r;

	pthread_mutex_lock(&queue->lock);
	r = spilled = spill(queue);
	if (r >= 0 || r == -ENOSPC)
		r = ring_sync_begin(queue->rings[DISK], true, &mark);
	seq = queue->last_seq;
	pthread_mutex_unlock(&queue->lock);
	if (r >= 0) {
		int result = ring_sync_wait(queue->rings[DISK]);

		pthread_mutex_lock(&queue->lock);
		r = ring_sync_end(queue->rings[DISK], &mark, result);
		if (r >= 0 && queue->safe_seq < seq)
			queue->safe_seq = seq;
		pthread_mutex_unlock(&queue->lock);
	}
	if (r < 0)
		return io_error(queue, r, err);
	return spilled < 0 ? full_error(queue, err) : 0;
}

uint64_t agent_queue_get_safe(struct agent_queue *queue)
{
	uint64_t seq;

	pthread_mutex_lock(&queue->lock);
	seq = queue->safe_seq;
	pthread_mutex_unlock(&queue->lock);
	return seq;
}

/* ---- handing out */

static int next_record(struct agent_queue *queue, struct ring_record *ret_record, int *ret_stage)
{
	int r = 0;

	for (int stage = 0; r == 0 && stage < N_STAGES; stage++) {
		if (queue->rings[stage] == NULL)
			continue;
		r = ring_read(queue->rings[stage], &queue->cursors[stage], &queue->lent, ret_record);
		*ret_stage = stage;
	}
	/* A damaged end has nothing behind it that would be done one day. */
	for (int stage = 0; r == 0 && queue->n_in_flight == 0 && stage < N_STAGES; stage++)
		if (queue->rings[stage] != NULL)
			r = ring_release(queue->rings[stage], queue->cursors[stage], 0);
	return r;
}

/* Was it done before a rewind? What has a lower number is not there any more. */
static bool was_done(struct agent_queue *queue, uint64_t seq)
{
	bool is_there = false;
	size_t n = 0;

	for (size_t i = 0; i < queue->n_done_early; i++) {
		is_there |= queue->done_early[i] == seq;
		if (queue->done_early[i] > seq)
			queue->done_early[n++] = queue->done_early[i];
	}
	queue->n_done_early = n;
	return is_there;
}

static int grow(struct agent_queue *queue)
{
	size_t n = queue->room_in_flight * 2 < queue->max_in_flight ? queue->room_in_flight * 2 : queue->max_in_flight;
	struct in_flight *in_flight;
	uint64_t *done_early;

	if (queue->n_in_flight < queue->room_in_flight)
		return 0;
	done_early = realloc(queue->done_early, n * sizeof(*done_early));
	if (done_early == NULL)
		return -ENOMEM;
	queue->done_early = done_early;
	in_flight = realloc(queue->in_flight, n * sizeof(*in_flight));
	if (in_flight == NULL)
		return -ENOMEM;
	queue->in_flight = in_flight;
	queue->room_in_flight = n;
	return 0;
}

static int next(struct agent_queue *queue, struct agent_queue_message *ret_message)
{
	struct ring_record record;
	uint32_t age_s;
	bool is_expired, is_done;
	int stage = DISK, r;

	do {
		if (queue->n_in_flight == queue->max_in_flight)
			return -EAGAIN;
		r = grow(queue);
		if (r < 0)
			return r;
		r = next_record(queue, &record, &stage);
		if (r <= 0)
			return r;
		age_s = stamp_now(queue) - record.stamp_s;
		is_done = was_done(queue, record.seq);
		is_expired = !is_done && record.ttl_s != 0 && age_s >= record.ttl_s;
		queue->sent_seq = record.seq;
		queue->in_flight[queue->n_in_flight++] = (struct in_flight){ record.seq, stage, queue->cursors[stage], is_done || is_expired };
		queue->n_expired += is_expired;
		if (is_done || is_expired)
			r = release_done(queue);
	} while ((is_done || is_expired) && r >= 0);
	if (r < 0)
		return r;
	*ret_message = (struct agent_queue_message){
		.seq = record.seq, .topic = record.topic, .payload = record.payload, .size = record.payload_size, .flags = record.flags,
		.age_s = age_s, .ttl_s = record.ttl_s == 0 ? 0 : record.ttl_s - age_s,
	};
	return 1;
}

int agent_queue_next(struct agent_queue *queue, struct agent_queue_message *ret_message, struct agent_error **err)
{
	int r;

	pthread_mutex_lock(&queue->lock);
	r = next(queue, ret_message);
	pthread_mutex_unlock(&queue->lock);
	return r >= 0 || r == -EAGAIN ? r : io_error(queue, r, err);
}

int agent_queue_done(struct agent_queue *queue, uint64_t seq, struct agent_error **err)
{
	int r;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < queue->n_in_flight; i++)
		if (queue->in_flight[i].seq == seq)
			queue->in_flight[i].is_done = true;
	r = release_done(queue);
	pthread_mutex_unlock(&queue->lock);
	return r < 0 ? io_error(queue, r, err) : 0;
}

void agent_queue_rewind(struct agent_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	/* There is room for all: they were in flight together. */
	for (size_t i = 0; i < queue->n_in_flight; i++)
		if (queue->in_flight[i].is_done && queue->n_done_early < queue->room_in_flight)
			queue->done_early[queue->n_done_early++] = queue->in_flight[i].seq;
	queue->n_in_flight = 0;
	queue->sent_seq = 0;
	for (int stage = 0; stage < N_STAGES; stage++)
		if (queue->rings[stage] != NULL)
			queue->cursors[stage] = ring_oldest(queue->rings[stage]);
	pthread_mutex_unlock(&queue->lock);
}

/* ---- opening and closing */

/* A crash between the two halves of a spill leaves messages in both. */
static int forget_spilled(struct agent_queue *queue)
{
	struct ring_cursor behind = ring_oldest(queue->rings[RAM]), cursor = behind;
	struct ring_record record;
	int r;

	while ((r = ring_read(queue->rings[RAM], &cursor, &queue->work, &record)) > 0 && record.seq <= ring_last_seq(queue->rings[DISK])) {
		behind = cursor;
		r = ring_release(queue->rings[RAM], behind, 1);
		if (r < 0)
			break;
	}
	return r < 0 ? r : 0;
}

static int open_rings(struct agent_queue *queue, const struct agent_queue_options *options, const struct ring_io *io, struct agent_error **err)
{
	struct ring *ram;
	int r;

	r = ring_open(options->file, options->size_bytes, io, &queue->rings[DISK], err);
	if (r < 0)
		return r;
	queue->last_seq = ring_last_seq(queue->rings[DISK]);
	queue->stamp_base_s = ring_last_stamp(queue->rings[DISK]);
	if (options->ram_file == NULL)
		return 0;
	r = ring_open(options->ram_file, options->ram_size_bytes, NULL, &queue->rings[RAM], err);
	if (r < 0)
		return r;
	ram = queue->rings[RAM];
	queue->last_seq = ring_last_seq(ram) > queue->last_seq ? ring_last_seq(ram) : queue->last_seq;
	queue->stamp_base_s = ring_last_stamp(ram) > queue->stamp_base_s ? ring_last_stamp(ram) : queue->stamp_base_s;
	r = forget_spilled(queue);
	return r < 0 ? io_error(queue, r, err) : 0;
}

int queue_open(const struct agent_queue_options *options, const struct ring_io *io, struct agent_queue **ret_queue, struct agent_error **err)
{
	struct agent_queue *queue;
	int r;

	if (options == NULL || options->file == NULL || options->max_in_flight < 1 || options->max_in_flight > AGENT_QUEUE_IN_FLIGHT_MAX ||
	    (options->full != AGENT_QUEUE_REFUSE_NEW && options->full != AGENT_QUEUE_DROP_OLDEST) ||
	    (options->ram_file != NULL && options->loss_messages < 1))
		return agent_error_set(err, -EINVAL, "queue.options",
				       "a queue needs a file, 1 to %d messages in flight, and with a file in RAM a loss bound of 1 at least",
				       AGENT_QUEUE_IN_FLIGHT_MAX);
	queue = calloc(1, sizeof(*queue));
	if (queue == NULL)
		return agent_error_set(err, -ENOMEM, "queue.memory", "no memory");
	pthread_mutex_init(&queue->lock, NULL);
	queue->file = strdup(options->file);
	queue->max_in_flight = options->max_in_flight;
	queue->room_in_flight = queue->max_in_flight < IN_FLIGHT_FIRST ? queue->max_in_flight : IN_FLIGHT_FIRST;
	queue->in_flight = calloc(queue->room_in_flight, sizeof(*queue->in_flight));
	queue->done_early = calloc(queue->room_in_flight, sizeof(*queue->done_early));
	queue->full = options->full;
	queue->ttl_s = options->ttl_s;
	queue->loss_messages = options->loss_messages;
	queue->opened_s = running_s();
	if (queue->file == NULL || queue->in_flight == NULL || queue->done_early == NULL)
		r = agent_error_set(err, -ENOMEM, "queue.memory", "no memory");
	else
		r = open_rings(queue, options, io, err);
	if (r < 0) {
		agent_queue_free(queue);
		return r;
	}
	queue->safe_seq = queue->last_seq;
	agent_queue_rewind(queue);
	*ret_queue = queue;
	return 0;
}

int agent_queue_open(const struct agent_queue_options *options, struct agent_queue **ret_queue, struct agent_error **err)
{
	return queue_open(options, NULL, ret_queue, err);
}

/* What is done behind something that is not, and so has its place still. */
static uint64_t count_done(const struct agent_queue *queue)
{
	uint64_t n = queue->n_done_early;

	for (size_t i = 0; i < queue->n_in_flight; i++)
		n += queue->in_flight[i].is_done;
	return n;
}

void agent_queue_get_stats(struct agent_queue *queue, struct agent_queue_stats *ret_stats)
{
	struct ring_stats disk, ram = { 0 };
	uint64_t n_done, n_there;

	pthread_mutex_lock(&queue->lock);
	ring_get_stats(queue->rings[DISK], &disk);
	if (queue->rings[RAM] != NULL)
		ring_get_stats(queue->rings[RAM], &ram);
	n_there = disk.n_records + ram.n_records;
	n_done = count_done(queue);
	*ret_stats = (struct agent_queue_stats){
		.n_messages = n_there > n_done ? n_there - n_done : 0, .n_ram = ram.n_records, .ram_bytes = ram.used_bytes, .used_bytes = disk.used_bytes,
		.size_bytes = disk.size_bytes, .n_dropped = queue->n_dropped, .n_expired = queue->n_expired, .n_refused = queue->n_refused,
		.n_damaged = disk.n_damaged + ram.n_damaged, .damaged_bytes = disk.damaged_bytes + ram.damaged_bytes,
		.payload_bytes = disk.payload_bytes, .written_bytes = disk.written_bytes, .n_syncs = disk.n_syncs,
		.is_replaced = disk.is_replaced,
	};
	pthread_mutex_unlock(&queue->lock);
}

struct agent_queue *agent_queue_free(struct agent_queue *queue)
{
	if (queue == NULL)
		return NULL;
	if (queue->rings[DISK] != NULL)
		(void)spill(queue);
	/* Disk first: until it is closed, RAM is the only other copy. */
	for (int stage = 0; stage < N_STAGES; stage++)
		ring_close(queue->rings[stage]);
	ring_buffer_free(&queue->lent);
	ring_buffer_free(&queue->work);
	pthread_mutex_destroy(&queue->lock);
	free(queue->in_flight);
	free(queue->done_early);
	free(queue->file);
	free(queue);
	return NULL;
}
