/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/link/store_inside.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <agent/queue.h>

#include "agentd/common/join.h"
#include "agentd/common/service.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "base/thread.h"

#define PENDING_MESSAGES 256	/* of one queue, accepted and not yet put into its file */
#define PENDING_BYTES (512 * KIB)
#define BURST_US 100000		/* a queue with a rate may catch up so much */
#define STOP_WAIT_S 5
#define STACK_SIZE (128 * KIB)	/* the deepest call is a search of a ring; 8 MiB of address space for each would be silly */

void put_free(struct put *put)
{
	if (put == NULL)
		return;
	free(put->topic);
	free(put->payload);
	free(put);
}

void store_result_free(struct store_result *result)
{
	if (result == NULL)
		return;
	agent_error_free(result->why);
	free(result);
}

/* ---- results */

/* Without memory the asker is left to its time-out. */
void class_answer(struct class *c, uint64_t ticket, int r, struct agent_error *why)
{
	struct store *store = c->store;
	struct store_result *result = ticket == 0 ? NULL : calloc(1, sizeof(*result));
	uint64_t one = 1;

	if (ticket == 0 && r < 0)
		service_log(LOG_WARNING, "queue %s: a message of our own was not taken: %s", c->rules->name, agent_error_message(why));
	if (result == NULL) {
		agent_error_free(why);
		return;
	}
	*result = (struct store_result){ .ticket = ticket, .result = r, .why = why };
	pthread_mutex_lock(&store->results_lock);
	*store->results_end = result;
	store->results_end = &result->next;
	pthread_mutex_unlock(&store->results_lock);
	if (write(store->notify_fd, &one, sizeof(one)) < 0)
		return;	/* the counter is full: it rings already */
}

struct store_result *store_next_result(struct store *store)
{
	struct store_result *result;

	pthread_mutex_lock(&store->results_lock);
	result = store->results;
	if (result != NULL) {
		store->results = result->next;
		if (store->results == NULL)
			store->results_end = &store->results;
		result->next = NULL;
	}
	pthread_mutex_unlock(&store->results_lock);
	return result;
}

/* ---- to the broker */

static void wake_class(struct class *c)
{
	pthread_mutex_lock(&c->lock);
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

void class_break(struct class *c)
{
	if (!atomic_exchange(&c->is_broken, true))
		wake_class(c);
}

void class_pump_at(struct class *c, uint64_t at_us)
{
	if (atomic_load(&c->pump_at_us) <= at_us)
		return;
	atomic_store(&c->pump_at_us, at_us);
	wake_class(c);
}

static bool may_send(struct class *c, uint64_t now)
{
	if (c->rules->rate_per_s == 0 || now >= c->next_send_us)
		return true;
	class_pump_at(c, c->next_send_us);
	return false;
}

static void count_rate(struct class *c, uint64_t now)
{
	uint64_t from = now > BURST_US ? now - BURST_US : 0;

	if (c->rules->rate_per_s > 0)
		c->next_send_us = (c->next_send_us > from ? c->next_send_us : from) + 1000000 / c->rules->rate_per_s;
}

/* 1: one message of this queue went out. 0: it has none, or none that may go now. */
static int send_one(struct store *store, struct class *c, uint64_t now)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_queue_message m;
	struct slot *slot = store->slots;
	uint64_t id, mark = 0;
	int r;

	if (c->queue == NULL || c->rules->priority < store->hold_below || atomic_load(&c->is_broken) || !may_send(c, now) || !denial_lets_go(c, now))
		return 0;
	while ((r = agent_queue_next(c->queue, &m, NULL)) > 0 && denial_passes(c, mark = denial_mark(m.topic)))
		;
	if (r == 0)
		denial_drained(c);
	if (r < 0 && r != -EAGAIN)
		class_break(c);
	if (r <= 0)
		return 0;
	r = agent_mqtt_publish_ttl(store->mqtt, m.topic, m.payload, m.size, m.flags, m.ttl_s, &id, &err);
	if (r == -EINVAL || r == -EMSGSIZE) { /* bytes of another version, or somebody's who can write the file */
		class_count(c, STORE_undeliverable);
		if (agent_queue_done(c->queue, m.seq, NULL) < 0)
			class_break(c);
		return 1;
	}
	if (r < 0) { /* no room or memory now: it comes again, perhaps with some that are under way */
		agent_queue_rewind(c->queue);
		return 0;
	}
	while (slot->class != NULL)
		slot++;
	*slot = (struct slot){ .id = id, .seq = m.seq, .mark = mark, .class = c, .size = m.size };
	store->n_slots++;
	store->slot_bytes += m.size;
	denial_sent(c);
	count_rate(c, now);
	return 1;
}

static void pump_locked(struct store *store)
{
	uint64_t now = monotonic_us();
	bool is_moving = true;

	while (is_moving && store->mqtt != NULL && store->is_online) {
		is_moving = false;
		/* After each message again from the top: strict priority. */
		for (size_t i = 0; i < store->rules.n && !is_moving; i++)
			is_moving = store->n_slots < WINDOW && store->slot_bytes < STORE_IN_FLIGHT_BYTES &&
				    send_one(store, &store->classes[store->order[i]], now) > 0;
	}
}

void store_pump(struct store *store)
{
	pthread_mutex_lock(&store->pump_lock);
	pump_locked(store);
	pthread_mutex_unlock(&store->pump_lock);
}

void store_free_slot(struct store *store, struct slot *slot)
{
	store->n_slots--;
	store->slot_bytes -= slot->size;
	slot->class = NULL;
}

struct slot *store_take_slot(struct store *store, uint64_t id, struct class **ret_class)
{
	for (size_t i = 0; i < WINDOW; i++) {
		struct slot *slot = &store->slots[i];

		*ret_class = slot->class;
		if (slot->class == NULL || slot->id != id)
			continue;
		store_free_slot(store, slot);
		return slot;
	}
	return NULL;
}

/* The message of @id is at its end. */
static void settle(struct store *store, uint64_t id, enum store_counter counter, const char *why)
{
	struct slot *slot;
	struct class *c;

	pthread_mutex_lock(&store->pump_lock);
	slot = store_take_slot(store, id, &c);
	if (slot != NULL) {
		if (c->queue != NULL && !atomic_load(&c->is_broken) && agent_queue_done(c->queue, slot->seq, NULL) < 0)
			class_break(c);
		denial_settled(c);
		class_count(c, counter);
		if (why != NULL)
			class_tell_given_up(c, why);
		class_refresh(c);
	}
	pump_locked(store);
	pthread_mutex_unlock(&store->pump_lock);
}

void store_acked(struct store *store, uint64_t id)
{
	settle(store, id, STORE_delivered, NULL);
}

void store_refused(struct store *store, uint64_t id, const char *why)
{
	settle(store, id, STORE_rejected, why);
}

void store_set_online(struct store *store, bool is_online)
{
	pthread_mutex_lock(&store->pump_lock);
	store->is_online = is_online;
	for (size_t i = 0; is_online && i < store->rules.n; i++)
		denial_ask_anew(&store->classes[i]);
	pump_locked(store);
	pthread_mutex_unlock(&store->pump_lock);
}

void store_hold_below(struct store *store, unsigned priority)
{
	pthread_mutex_lock(&store->pump_lock);
	if (store->hold_below != priority) {
		store->hold_below = priority;
		pump_locked(store);
	}
	pthread_mutex_unlock(&store->pump_lock);
}

void store_attach(struct store *store, struct agent_mqtt *mqtt)
{
	pthread_mutex_lock(&store->pump_lock);
	store->mqtt = mqtt;
	store->is_online = false;
	for (size_t i = 0; i < WINDOW; i++)
		if (store->slots[i].class != NULL)
			store_free_slot(store, &store->slots[i]);
	for (size_t i = 0; i < store->rules.n; i++) {
		denial_forget(&store->classes[i]);
		if (store->classes[i].queue != NULL)
			agent_queue_rewind(store->classes[i].queue);
	}
	pthread_mutex_unlock(&store->pump_lock);
}

/* ---- from outside */

static struct class *class_of(struct store *store, const char *topic)
{
	for (size_t i = 0; i < store->rules.n; i++)
		for (size_t k = 0; k < store->rules.items[i].n_topics; k++)
			if (topic_matches(store->classes[i].topics[k], topic))
				return &store->classes[i];
	/* What no filter names, such as "$...", goes to "default", which there always is. */
	for (size_t i = 0; i < store->rules.n; i++)
		if (strcmp(store->rules.items[i].name, "default") == 0)
			return &store->classes[i];
	return &store->classes[store->rules.n - 1];
}

int store_put(struct store *store, const char *topic, const void *payload, size_t size, unsigned flags, uint32_t ttl_s, uint64_t ticket,
	      struct agent_error **err)
{
	struct put *put;
	struct class *c;
	int r = 0;

	if (!topic_is_valid(topic))
		return agent_error_set(err, -EINVAL, "link.topic", "that is not a topic to publish to: 1 to %d bytes of text without + and #", TOPIC_MAX);
	if (size > STORE_MESSAGE_MAX)
		return agent_error_set(err, -EMSGSIZE, "link.message", "the message has %zu bytes, limit %d", size, STORE_MESSAGE_MAX);
	put = calloc(1, sizeof(*put));
	if (put == NULL || (put->topic = strdup(topic)) == NULL || (size > 0 && (put->payload = malloc(size)) == NULL)) {
		put_free(put);
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	}
	if (size > 0)
		memcpy(put->payload, payload, size);
	put->size = size;
	put->flags = flags;
	put->ttl_s = ttl_s;
	put->ticket = ticket;
	c = class_of(store, topic);
	pthread_mutex_lock(&c->lock);
	if (c->n_pending >= PENDING_MESSAGES || c->pending_bytes + size > PENDING_BYTES) {
		r = agent_error_set(err, -EBUSY, "link.busy", "queue %s: the disk does not keep up; try again later", c->rules->name);
	} else {
		*c->end = put;
		c->end = &put->next;
		c->n_pending++;
		c->pending_bytes += size;
		pthread_cond_signal(&c->wake);
	}
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		put_free(put);
	return r;
}

size_t store_count(const struct store *store)
{
	return store->rules.n;
}

const char *store_name(const struct store *store, size_t i)
{
	return store->rules.items[i].name;
}

void store_get_counters(struct store *store, size_t i, uint64_t ret_counters[STORE_COUNTERS], char *ret_error, size_t error_size)
{
	struct class *c = &store->classes[i];

	pthread_mutex_lock(&c->lock);
	memcpy(ret_counters, c->counters, sizeof(c->counters));
	snprintf(ret_error, error_size, "%s", c->error[0] != '\0' ? c->error : c->denial);
	pthread_mutex_unlock(&c->lock);
}

/* ---- life */

static void class_free(struct class *c)
{
	for (size_t i = 0; i < QUEUE_TOPICS_MAX; i++)
		free(c->topics[i]);
	free(c->file);
	free(c->ram_file);
	if (c->store == NULL)
		return;
	while (c->first != NULL) {
		struct put *put = c->first;

		c->first = put->next;
		put_free(put);
	}
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->wake);
}

static void store_free(struct store *store)
{
	struct store_result *result;

	if (store == NULL)
		return;
	while ((result = store_next_result(store)) != NULL)
		store_result_free(result);
	for (size_t i = 0; i < QUEUE_CLASSES_MAX; i++)
		class_free(&store->classes[i]);
	queue_classes_clear(&store->rules);
	pthread_mutex_destroy(&store->pump_lock);
	pthread_mutex_destroy(&store->results_lock);
	free(store->prefix);
	free(store);
}
DEFINE_CLEANUP(struct store *, store_free)

static int class_init(struct store *store, size_t i, const struct settings *settings, struct agent_error **err)
{
	const struct queue_class *rules = &store->rules.items[i];
	struct class *c = &store->classes[i];
	pthread_condattr_t attr;
	int r = 0;

	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
	pthread_condattr_destroy(&attr);
	c->store = store;
	c->rules = rules;
	c->end = &c->first;
	atomic_store(&c->pump_at_us, NEVER);
	if (asprintf(&c->file, "%s/queue/%s.q", settings->paths.link_dir, rules->name) < 0)
		c->file = NULL;
	if (asprintf(&c->ram_file, "%s/link/%s.ram", settings->paths.run_dir, rules->name) < 0)
		c->ram_file = NULL;
	if (c->file == NULL || c->ram_file == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	for (size_t k = 0; r >= 0 && k < rules->n_topics; k++) {
		char topic[TOPIC_MAX + 1];

		if (topic_expand(store->prefix, rules->topics[k], topic) < 0)
			return agent_error_set(err, -EINVAL, "config.range", "queue %s: topic %s is too long", rules->name, rules->topics[k]);
		c->topics[k] = strdup(topic);
		if (c->topics[k] == NULL)
			r = agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	}
	return r;
}

static void sort_by_priority(struct store *store)
{
	size_t n = 0;

	for (unsigned priority = 10; priority-- > 0;)
		for (size_t i = 0; i < store->rules.n; i++)
			if (store->rules.items[i].priority == priority)
				store->order[n++] = i;
}

static int start_thread(struct class *c)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
#if !defined(AGENT_SANITIZERS)
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
#endif
	r = thread_start(&c->thread, &attr, class_run, c);
	pthread_attr_destroy(&attr);
	c->has_thread = r >= 0;
	return r;
}

int store_open(const struct settings *settings, const char *prefix, int notify_fd, struct store **ret_store, struct agent_error **err)
{
	_cleanup_(store_freep) struct store *store = calloc(1, sizeof(*store));
	_cleanup_free_ char *folder = NULL;
	int r = 0;

	if (store == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	pthread_mutex_init(&store->pump_lock, NULL);
	pthread_mutex_init(&store->results_lock, NULL);
	store->results_end = &store->results;
	store->notify_fd = notify_fd;
	store->endurance_bytes = (uint64_t)settings->mqtt.flash_endurance_gib << 30;
	store->prefix = strdup(prefix);
	if (store->prefix == NULL || asprintf(&folder, "%s/queue", settings->paths.link_dir) < 0) {
		folder = NULL;
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	}
	r = queue_classes_read(settings, &store->rules, err);
	for (size_t i = 0; r >= 0 && i < store->rules.n; i++)
		r = class_init(store, i, settings, err);
	if (r < 0)
		return r;
	/* A folder that cannot be made is the queue's own message when it is opened. */
	(void)mkdir(folder, 0700);
	sort_by_priority(store);
	for (size_t i = 0; r >= 0 && i < store->rules.n; i++)
		r = start_thread(&store->classes[i]);
	if (r < 0) {
		agent_error_set(err, r, "link.thread", "cannot start the thread of a queue: %s", strerror(-r));
		store_close(TAKE_PTR(store), true);
		return r;
	}
	*ret_store = TAKE_PTR(store);
	return 0;
}

struct store *store_close(struct store *store, bool may_free)
{
	uint64_t until;
	bool is_over = true;

	if (store == NULL)
		return NULL;
	store_attach(store, NULL);
	for (size_t i = 0; i < store->rules.n; i++) {
		struct class *c = &store->classes[i];

		pthread_mutex_lock(&c->lock);
		c->is_stopping = true;
		pthread_cond_signal(&c->wake);
		pthread_mutex_unlock(&c->lock);
	}
	until = join_limit_ms(STOP_WAIT_S);
	for (size_t i = 0; i < store->rules.n; i++)
		if (store->classes[i].has_thread && !join_until(store->classes[i].thread, until))
			is_over = false;
	if (is_over && may_free)
		store_free(store);
	else if (!is_over)
		service_log(LOG_WARNING, "a queue still waits for the disk");
	return NULL;
}

static void remove_files(const char *dir, const char *name)
{
	_cleanup_free_ char *path = NULL;
	struct dirent *entry;
	DIR *d;

	if (asprintf(&path, "%s/%s", dir, name) < 0) {
		path = NULL;
		return;
	}
	d = opendir(path);
	if (d == NULL)
		return;
	while ((entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.' && unlinkat(dirfd(d), entry->d_name, 0) == 0)
			service_log(LOG_NOTICE, "removed %s/%s: the device has no owner any more", path, entry->d_name);
	(void)fsync(dirfd(d));
	closedir(d);
}

void store_erase(const struct settings *settings)
{
	remove_files(settings->paths.link_dir, "queue");
	remove_files(settings->paths.run_dir, "link");
}
