/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_STORE_INSIDE_H
#define LINK_STORE_INSIDE_H
/* Inside of struct store: store.c decides what goes where, store_class.c is the thread of one queue. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <agent/queue.h>

#include "agentd/link/store.h"

#define WINDOW 16		/* messages that the MQTT client has at a time */
#define NEVER UINT64_MAX
#define BARRED_MAX 16

struct put {
	struct put *next;
	char *topic;
	void *payload;
	size_t size;
	unsigned flags;
	uint32_t ttl_s;
	uint64_t ticket;
};

struct class {
	struct store *store;
	const struct queue_class *rules;
	char *topics[QUEUE_TOPICS_MAX];	/* in full */
	char *file, *ram_file;
	pthread_t thread;
	bool has_thread;

	struct agent_queue *queue;	/* changed by the class's thread with pump_lock held */
	uint64_t next_send_us;		/* pump_lock: before this the rate allows none */
	struct {
		uint64_t told_us;	/* when the log had the last one */
		unsigned n_untold;
	} given_up, denials;		/* pump_lock */
	bool is_denied, has_probe;	/* pump_lock: a broker's access list refused a message; one is on its way to see whether it still does */
	uint64_t denied_seq, retry_us;	/* pump_lock */
	unsigned n_denials;		/* pump_lock: of that message, in a row */
	uint64_t barred[BARRED_MAX];	/* pump_lock: topics that the broker of this connection does not take, see denial_mark() */
	size_t n_barred;
	unsigned n_bars;		/* pump_lock: times that they were asked for again */
	_Atomic uint64_t pump_at_us;	/* the class's thread is to pump then */
	atomic_bool is_broken;		/* the queue said that it has to be opened again */

	/* class's thread only */
	uint64_t reopen_us, checkpoint_us, checkpoint_seq, last_seq;
	uint64_t opened_s, base_written, base_syncs;

	pthread_mutex_t lock;	/* guards the rest */
	pthread_cond_t wake;
	struct put *first, **end;
	size_t n_pending, pending_bytes;
	bool is_stopping;
	uint64_t counters[STORE_COUNTERS];
	char error[256];
	char denial[256];
};

struct slot {
	uint64_t id, seq, mark;	/* mark: of the topic */
	struct class *class;	/* NULL: free */
	size_t size;
};

struct store {
	struct queue_classes rules;
	struct class classes[QUEUE_CLASSES_MAX];
	size_t order[QUEUE_CLASSES_MAX];	/* by priority */
	char *prefix;
	uint64_t endurance_bytes;
	int notify_fd;	/* lent */

	pthread_mutex_t pump_lock;	/* guards what messages go where; taken before a class's lock */
	struct agent_mqtt *mqtt;	/* lent */
	bool is_online;
	unsigned hold_below;	/* priority */
	struct slot slots[WINDOW];
	size_t n_slots, slot_bytes;

	pthread_mutex_t results_lock;
	struct store_result *results, **results_end;
};

/* store.c */
void put_free(struct put *put);
/* Takes @why. */
void class_answer(struct class *c, uint64_t ticket, int r, struct agent_error *why);
/* Send what may go now. */
void store_pump(struct store *store);
/* pump_lock is held. */
void store_free_slot(struct store *store, struct slot *slot);
/* The slot of message @id and its class, free already; its other members are there until the lock is given up. NULL: there is none. */
struct slot *store_take_slot(struct store *store, uint64_t id, struct class **ret_class);

/* store_denial.c; pump_lock is held */

/* May a message of this queue go, as far as refused ones let it? */
bool denial_lets_go(struct class *c, uint64_t now);
/* Is this a message to pass over on this connection? It stays handed out, and the queue goes on behind it. @mark: denial_mark() of its topic. */
bool denial_passes(const struct class *c, uint64_t mark);
uint64_t denial_mark(const char *topic);
/* A message went out. */
void denial_sent(struct class *c);
/* The queue has nothing for this broker. */
void denial_drained(struct class *c);
/* One came to its end. */
void denial_settled(struct class *c);
/* Another connection, perhaps to another broker: asked anew, one message first. */
void denial_ask_anew(struct class *c);
/* The queue and what was sent of it are nobody's any more. */
void denial_forget(struct class *c);
/* A line in the log, for the first and then one a minute. */
void class_tell_given_up(struct class *c, const char *why);
/* Pump then. */
void class_pump_at(struct class *c, uint64_t at_us);
/* The queue needs to be opened again, by its thread. */
void class_break(struct class *c);

/* store_class.c */
void *class_run(void *userdata);
/* Look at the queue for the counters: pump_lock held, or in the class's thread. */
void class_refresh(struct class *c);
void class_count(struct class *c, enum store_counter counter);

#endif
