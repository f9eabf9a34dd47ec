/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_QUEUE_H
#define AGENT_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Messages that wait for a connection, in order, in a file of fixed size; and, if so wished, first in RAM, so that flash
 * is written only while messages cannot leave. docs/design/queue.md has the file's layout and what each promise costs.
 *
 * What a message may rely on once agent_queue_add() has returned 0:
 *  - without ram_file: it survives the end of the process, however that comes. It survives a power cut as soon as
 *    agent_queue_get_safe() has reached its number, that is after the next agent_queue_sync().
 *  - with ram_file on a file system in RAM: it survives the end of the process. A power cut loses at most the
 *    loss_messages youngest, and none added before the last agent_queue_sync().
 * It leaves the queue by agent_queue_done(), by its time to live, or, with AGENT_QUEUE_DROP_OLDEST only, when it is the
 * oldest and a new one needs room. After a crash some messages that were done may come again: at least once.
 *
 * Any thread may call any function, but one thread at a time agent_queue_next(), and none during agent_queue_free().
 */

/** AGENT_QUEUE_MESSAGE_MAX - longest payload in bytes. Since: 0.1 */
#define AGENT_QUEUE_MESSAGE_MAX (16 * 1024 * 1024 - 1)

/** AGENT_QUEUE_IN_FLIGHT_MAX - most messages handed out and not done. Since: 0.1 */
#define AGENT_QUEUE_IN_FLIGHT_MAX 1024

/** enum agent_queue_full - what a full queue does: say no (-EDQUOT), or forget its oldest messages. Since: 0.1 */
enum agent_queue_full { AGENT_QUEUE_REFUSE_NEW = 0, AGENT_QUEUE_DROP_OLDEST = 1 };

/**
 * struct agent_queue_options - one queue; strings are copied
 * @file:          where messages are kept; made with mode 0600 if it is not there. Its folder must exist.
 * @size_bytes:    of its records, 8 KiB at least, rounded down to 4 KiB; all of it is written when the file is made. Another
 *                 size than that of an existing file takes effect when it is opened empty.
 * @ram_file:      a second, smaller file on a file system in RAM (under /run), or NULL
 * @ram_size_bytes: of its records
 * @loss_messages: with @ram_file: as soon as so many lie in RAM, all go to @file; 1 at least
 * @full:          what happens to a message for which there is no room
 * @ttl_s:         for messages that bring none; 0: they stay until they are done. Counts while the device runs, not while it
 *                 is off, because a clock without a battery cannot tell.
 * @max_in_flight: 1 to AGENT_QUEUE_IN_FLIGHT_MAX
 *
 * Since: 0.1
 */
struct agent_queue_options {
	const char *file;
	uint64_t size_bytes;
	const char *ram_file;
	uint64_t ram_size_bytes;
	uint64_t loss_messages;
	enum agent_queue_full full;
	uint32_t ttl_s;
	unsigned max_in_flight;
};

/**
 * struct agent_queue_message - one message that was handed out; topic and payload are lent until the next agent_queue_next()
 * @seq:     its number; rises from message to message
 * @topic:   NUL-terminated
 * @flags:   as given to agent_queue_add()
 * @age_s:   how long ago it was added, in the running time of the device
 * @ttl_s:   what is left of its time to live, 0 if it has none: the MQTT 5 message expiry interval
 *
 * Since: 0.1
 */
struct agent_queue_message {
	uint64_t seq;
	const char *topic;
	const void *payload;
	size_t size;
	unsigned flags;
	uint32_t age_s;
	uint32_t ttl_s;
};

/**
 * struct agent_queue_stats - how a queue does
 * @n_messages:    waiting or in flight; after damage an estimate
 * @n_ram:         of these, in RAM only, with @ram_bytes of the file there
 * @used_bytes:    of the file, of @size_bytes
 * @n_dropped:     forgotten for newer ones, since opening
 * @n_expired:     past their time to live, since opening
 * @n_refused:     for which there was no room, since opening
 * @n_damaged:     places of the file that did not pass their check and were skipped, with @damaged_bytes, since it was made
 * @payload_bytes: that were written to the file, since it was made
 * @written_bytes: bytes written for them, with all overhead and the making of the file: divided by @payload_bytes the write
 *                 amplification before the file system and the flash add theirs
 * @n_syncs:       times the medium was waited for
 * @is_replaced:   not 0 if this opening found a file beyond repair; it is now FILE.damaged (one of @n_damaged), and a new one was made
 *
 * Since: 0.1
 */
struct agent_queue_stats {
	uint64_t n_messages, n_ram, ram_bytes;
	uint64_t used_bytes, size_bytes;
	uint64_t n_dropped, n_expired, n_refused;
	uint64_t n_damaged, damaged_bytes;
	uint64_t payload_bytes, written_bytes, n_syncs;
	int is_replaced;
};

/** struct agent_queue - an open queue; one owner. Since: 0.1 */
struct agent_queue;

/**
 * agent_queue_open() - open or make a queue
 *
 * Blocks on the disk: after a crash, or when the file is made, as long as it takes to read or write all of it.
 * Returns 0, -EINVAL (queue.options, queue.size), -EBUSY (queue.busy: another process has it), -ENOMEM, -ENOSPC, -EACCES and
 * others of open(2) (queue.file). A damaged file is no error. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_queue_open(const struct agent_queue_options *options, struct agent_queue **ret_queue,
						   struct agent_error **err);
/**
 * agent_queue_add() - put a message at the end
 * @topic:   1 to 65535 bytes of any text; copied
 * @payload: copied; may be NULL when @size is 0
 * @flags:   0 to 255, for the caller
 * @ttl_s:   time to live in seconds; 0: that of the options
 * @ret_seq: its number; or NULL
 *
 * May block on the disk: a write to the page cache, and a sync when room must be made or RAM is full.
 * Returns 0, -EINVAL (queue.message), -EMSGSIZE (queue.message: would not fit an empty queue), -EDQUOT (queue.full; nothing was
 * added), -ENOMEM, -EIO (queue.io: the file cannot be written; nothing works until it is opened again). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_queue_add(struct agent_queue *queue, const char *topic, const void *payload, size_t size,
						  unsigned flags, uint32_t ttl_s, uint64_t *ret_seq, struct agent_error **err);
/**
 * agent_queue_sync() - make everything added so far safe against a power cut
 *
 * Blocks until the disk says so, without keeping other threads from the queue. One call serves all messages added before it.
 * Returns 0, -EDQUOT (queue.full: after a crash messages that were done came again, and what is in RAM has no room beside
 * them on disk; it stays in RAM until some of them are done), -EIO (queue.io), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_queue_sync(struct agent_queue *queue, struct agent_error **err);
/** agent_queue_get_safe() - highest number for which the promise above holds in full. Since: 0.1 */
AGENT_EXPORT uint64_t agent_queue_get_safe(struct agent_queue *queue);
/**
 * agent_queue_next() - hand out the oldest message that was not handed out yet
 *
 * May block on the disk for a read. Returns 1 and the message, 0 when there is none, -EAGAIN when max_in_flight are out,
 * -ENOMEM, -EIO (queue.io). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_queue_next(struct agent_queue *queue, struct agent_queue_message *ret_message,
						   struct agent_error **err);
/**
 * agent_queue_done() - the message arrived, forget it
 *
 * In any order. A number that is not in flight (any more) is fine. Returns 0, -EIO (queue.io). Since: 0.1
 */
AGENT_EXPORT int agent_queue_done(struct agent_queue *queue, uint64_t seq, struct agent_error **err);
/** agent_queue_rewind() - the connection broke: hand out again all that is not done; what is done is not, whatever was before it. Since: 0.1 */
AGENT_EXPORT void agent_queue_rewind(struct agent_queue *queue);
/** agent_queue_get_stats() - counters. Since: 0.1 */
AGENT_EXPORT void agent_queue_get_stats(struct agent_queue *queue, struct agent_queue_stats *ret_stats);
/** agent_queue_free() - make all safe as agent_queue_sync() does, close and free; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_queue *agent_queue_free(struct agent_queue *queue);

#ifdef __cplusplus
}
#endif

#endif
