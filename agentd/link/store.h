/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_STORE_H
#define LINK_STORE_H
/*
 * Messages on their way to the broker: one agent_queue for each row of mqtt.queues, each with a thread of its own that puts
 * messages in and waits for the disk, so that a slow disk holds up neither the broker connection nor another queue.
 * docs/design/queue.md says what an accepted message may rely on.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/mqtt.h>

#include "agentd/common/settings.h"
#include "agentd/common/topics.h"

#define STORE_MESSAGE_MAX (64 * 1024)	/* payload */
#define STORE_IN_FLIGHT_BYTES (128 * 1024) /* given to the MQTT client and not acknowledged; one message may go over it */

struct store;

enum store_counter {
#define QC(name, meaning) STORE_##name,
#include "agentd/common/queue_counters.def"
#undef QC
	STORE_COUNTERS
};

/* What became of a message with a ticket. */
struct store_result {
	struct store_result *next;
	uint64_t ticket;
	int result;		/* 0: it is as safe as its queue promises */
	struct agent_error *why;
};

/* @settings, @prefix (of topics) and @notify_fd (eventfd, written when results came) are lent. Files are opened by the threads. */
int store_open(const struct settings *settings, const char *prefix, int notify_fd, struct store **ret_store, struct agent_error **err);
/*
 * Put the threads to their end, with all that was accepted on disk. Waits 5 s at most; a disk that takes longer is left to
 * the end of the process. Without @may_free the memory stays for somebody who still points at it. Takes NULL, returns NULL.
 */
struct store *store_close(struct store *store, bool may_free);
/* Remove the files of all queues, also of such as the settings no longer name: what waits belongs to a former owner. */
void store_erase(const struct settings *settings);

/*
 * Accept a message; copies. Never waits for the disk: the result comes later, for @ticket 0 only into the log if bad.
 * @flags: enum agent_mqtt_flags. -EINVAL (link.topic), -EMSGSIZE (link.message), -EBUSY (link.busy: too many wait for the disk), -ENOMEM.
 */
int store_put(struct store *store, const char *topic, const void *payload, size_t size, unsigned flags, uint32_t ttl_s, uint64_t ticket,
	      struct agent_error **err);
/* Next result, the caller's to free with store_result_free(); NULL: none. */
struct store_result *store_next_result(struct store *store);
void store_result_free(struct store_result *result);

/* ---- the broker's side, called by the thread that owns @mqtt */

/* From now on messages go to @mqtt; NULL: what it did not get acknowledged is to be sent again. */
void store_attach(struct store *store, struct agent_mqtt *mqtt);
void store_set_online(struct store *store, bool is_online);
/* agent_mqtt says that @id is out. */
void store_acked(struct store *store, uint64_t id);
/* agent_mqtt gave @id up, because the broker does not take it: it leaves its queue, is counted, and @why is kept and told. */
void store_refused(struct store *store, uint64_t id, const char *why);
/*
 * The same, because the access list of this broker does not allow it: the message stays, and its queue waits with it, until a single message of it is
 * taken. @is_last_word: after some more tries the message is given up; else another broker has to be asked.
 */
void store_denied(struct store *store, uint64_t id, bool is_last_word, const char *why);

/* Queues with a lower priority than this send nothing; 0: all may. */
void store_hold_below(struct store *store, unsigned priority);

/* ---- what there is to see */

size_t store_count(const struct store *store);
const char *store_name(const struct store *store, size_t i);
/* @ret_error: why the queue does not work now, "" if it does. */
void store_get_counters(struct store *store, size_t i, uint64_t ret_counters[STORE_COUNTERS], char *ret_error, size_t error_size);

#endif
