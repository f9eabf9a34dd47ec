/* SPDX-License-Identifier: Apache-2.0 */
/* The queues of agentd-link with real files and threads, and an MQTT client that only writes down what it is given. */
#include "tests/unit/test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>

#include "agentd/link/flash.h"
#include "agentd/link/store.h"

#define WAIT_MS 30000
#define SENT_MAX 1000

static struct {
	pthread_mutex_t lock;
	char topics[SENT_MAX][32];
	size_t n;
	int result;	/* of the next ones */
} sent = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct agent_mqtt *const fake = (struct agent_mqtt *)&sent;

/* Ids are 1, 2 and so on: the place in the list and one. */
int __wrap_agent_mqtt_publish_ttl(struct agent_mqtt *mqtt, const char *topic, const void *payload, size_t size, unsigned flags, uint32_t ttl_s,
				  uint64_t *ret_id, struct agent_error **err)
{
	int r;

	pthread_mutex_lock(&sent.lock);
	r = sent.result;
	if (r >= 0 && sent.n < SENT_MAX) {
		snprintf(sent.topics[sent.n], sizeof(sent.topics[0]), "%s", topic);
		*ret_id = ++sent.n;
	}
	pthread_mutex_unlock(&sent.lock);
	return r < 0 ? agent_error_set(err, r, "mqtt.test", "no") : 0;
}

static size_t n_sent(void)
{
	size_t n;

	pthread_mutex_lock(&sent.lock);
	n = sent.n;
	pthread_mutex_unlock(&sent.lock);
	return n;
}

struct world {
	struct temp_dir dir;
	struct settings settings;
	char file[80], serial[8], prefix[8], link_dir[80], run_dir[80];
	char *rows[8];
	int fd;
	struct store *store;
};

static void start(struct world *w)
{
	assert_int_equal(store_open(&w->settings, "d/1", w->fd, &w->store, NULL), 0);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	char path[96];

	assert_non_null(w);
	temp_dir_make(&w->dir);
	snprintf(w->link_dir, sizeof(w->link_dir), "%s/var", w->dir.path);
	snprintf(w->run_dir, sizeof(w->run_dir), "%s/run", w->dir.path);
	snprintf(path, sizeof(path), "%s/link", w->run_dir);
	assert_int_equal(mkdir(w->link_dir, 0700) | mkdir(w->run_dir, 0700) | mkdir(path, 0700), 0);
	strcpy(w->file, "agentd.conf");
	w->settings.file = w->file;
	w->settings.paths.link_dir = w->link_dir;
	w->settings.paths.run_dir = w->run_dir;
	w->settings.mqtt.queues = w->rows;
	w->settings.mqtt.flash_endurance_gib = 4000;
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sent.n = 0;
	sent.result = 0;
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	store_close(w->store, true);
	for (size_t i = 0; i < ARRAY_SIZE(w->rows); i++)
		free(w->rows[i]);
	close(w->fd);
	temp_dir_remove(&w->dir);
	free(w);
	return 0;
}

static void add_row(struct world *w, const char *row)
{
	size_t i = 0;

	while (w->rows[i] != NULL)
		i++;
	w->rows[i] = strdup(row);
	assert_non_null(w->rows[i]);
}

static void pause_ms(int ms)
{
	(void)poll(NULL, 0, ms);
}

/* The result of that ticket; others are not expected. */
static int result_of(struct world *w, uint64_t ticket, char *ret_name, size_t size)
{
	for (int i = 0; i < WAIT_MS / 10; i++) {
		struct store_result *result = store_next_result(w->store);
		int r;

		if (result == NULL) {
			pause_ms(10);
			continue;
		}
		assert_int_equal(result->ticket, ticket);
		r = result->result;
		if (ret_name != NULL)
			snprintf(ret_name, size, "%s", result->why == NULL ? "" : agent_error_name(result->why));
		store_result_free(result);
		return r;
	}
	fail_msg("no result for ticket %llu", (unsigned long long)ticket);
	return -1;
}

static int put(struct world *w, const char *topic, uint64_t ticket)
{
	return store_put(w->store, topic, "x", 1, AGENT_MQTT_QOS1, 0, ticket, NULL);
}

static void put_and_wait(struct world *w, const char *topic, uint64_t ticket)
{
	assert_int_equal(put(w, topic, ticket), 0);
	assert_int_equal(result_of(w, ticket, NULL, 0), 0);
}

static uint64_t counter(struct world *w, const char *queue, enum store_counter which)
{
	uint64_t counters[STORE_COUNTERS];
	char error[256];

	for (size_t i = 0; i < store_count(w->store); i++) {
		if (strcmp(store_name(w->store, i), queue) != 0)
			continue;
		store_get_counters(w->store, i, counters, error, sizeof(error));
		return counters[which];
	}
	fail();
	return 0;
}

static void wait_counter(struct world *w, const char *queue, enum store_counter which, uint64_t value)
{
	for (int i = 0; i < WAIT_MS / 10 && counter(w, queue, which) != value; i++)
		pause_ms(10);
	assert_int_equal(counter(w, queue, which), value);
}

static void wait_sent(size_t n)
{
	for (int i = 0; i < WAIT_MS / 10 && n_sent() < n; i++)
		pause_ms(10);
	assert_int_equal(n_sent(), n);
}

static void messages_leave_in_order_and_are_gone_when_acknowledged(void **state)
{
	struct world *w = *state;

	start(w);
	store_attach(w->store, fake);
	put_and_wait(w, "a/1", 1);
	put_and_wait(w, "a/2", 2);
	assert_int_equal(n_sent(), 0); /* nobody is online */
	store_set_online(w->store, true);
	wait_sent(2);
	assert_string_equal(sent.topics[0], "a/1");
	assert_string_equal(sent.topics[1], "a/2");
	wait_counter(w, "default", STORE_messages, 2);
	store_acked(w->store, 2);
	store_acked(w->store, 1);
	assert_int_equal(counter(w, "default", STORE_messages), 0);
	assert_int_equal(counter(w, "default", STORE_delivered), 2);
	/* RAM first: they came and went without a write. */
	assert_int_equal(counter(w, "default", STORE_payload_bytes), 0);
	store_acked(w->store, 77); /* a canary */
}

static void what_was_not_acknowledged_comes_again(void **state)
{
	struct world *w = *state;

	start(w);
	for (uint64_t i = 1; i <= 20; i++)
		put_and_wait(w, "a/b", i);
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	wait_sent(16); /* no more under way at a time */
	store_acked(w->store, 1);
	wait_sent(17);
	store_attach(w->store, NULL);
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	wait_sent(17 + 16);
	/* The next life of the program. */
	store_attach(w->store, NULL);
	w->store = store_close(w->store, true);
	start(w);
	wait_counter(w, "default", STORE_messages, 19);
	assert_int_equal(counter(w, "default", STORE_in_ram), 0); /* a good end puts all on disk */
}

static void the_more_important_queue_goes_first(void **state)
{
	struct world *w = *state;

	add_row(w, "alarms topic=~/alarm loss_messages=1 priority=9");
	start(w);
	put_and_wait(w, "d/1/log", 1);
	put_and_wait(w, "d/1/alarm", 2);
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	wait_sent(2);
	assert_string_equal(sent.topics[0], "d/1/alarm");
	wait_counter(w, "alarms", STORE_messages, 1);
	assert_int_equal(counter(w, "alarms", STORE_in_ram), 0);
	assert_true(counter(w, "alarms", STORE_syncs) > 0);
	wait_counter(w, "default", STORE_in_ram, 1);
}

static void the_bound_in_seconds_and_the_one_in_messages_hold(void **state)
{
	struct world *w = *state;

	add_row(w, "slow topic=slow loss_s=1");
	add_row(w, "few topic=few loss_messages=3 loss_s=86400");
	start(w);
	put_and_wait(w, "slow", 1);
	wait_counter(w, "slow", STORE_messages, 1);
	wait_counter(w, "slow", STORE_in_ram, 0);
	for (uint64_t i = 2; i < 20; i++) {
		put_and_wait(w, "few", i);
		assert_true(counter(w, "few", STORE_in_ram) < 3);
	}
	wait_counter(w, "few", STORE_messages, 18);
}

static void a_rate_is_kept_to(void **state)
{
	struct world *w = *state;
	struct timespec from, to;
	int64_t ms;

	add_row(w, "slow topic=slow rate_per_s=10");
	start(w);
	for (uint64_t i = 1; i <= 8; i++)
		put_and_wait(w, "slow", i);
	clock_gettime(CLOCK_MONOTONIC, &from);
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	wait_sent(8);
	clock_gettime(CLOCK_MONOTONIC, &to);
	ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
	assert_true(ms >= 500); /* a loaded machine makes it longer only */
}

static void a_full_queue_says_no_and_one_for_telemetry_forgets(void **state)
{
	static char payload[8000];
	struct world *w = *state;
	char name[64] = "";
	uint64_t i = 0;
	int r = 0;

	add_row(w, "small topic=small size_kib=64");
	add_row(w, "rolling topic=rolling size_kib=64 full=drop-oldest");
	start(w);
	while (r >= 0 && i < 100) {
		assert_int_equal(store_put(w->store, "small", payload, sizeof(payload), 1, 0, ++i, NULL), 0);
		r = result_of(w, i, name, sizeof(name));
	}
	assert_int_equal(r, -EDQUOT);
	assert_string_equal(name, "queue.full");
	assert_int_equal(counter(w, "small", STORE_accepted), i - 1);
	for (i = 1; i <= 40; i++) {
		assert_int_equal(store_put(w->store, "rolling", payload, sizeof(payload), 1, 0, i, NULL), 0);
		assert_int_equal(result_of(w, i, NULL, 0), 0);
	}
	wait_counter(w, "rolling", STORE_accepted, 40);
	assert_true(counter(w, "rolling", STORE_dropped) > 0);
}

static void bad_messages_are_refused_at_once(void **state)
{
	static char long_payload[STORE_MESSAGE_MAX + 1];
	struct world *w = *state;
	struct agent_error *err = NULL;

	start(w);
	assert_int_equal(store_put(w->store, "a/#", "x", 1, 1, 0, 1, &err), -EINVAL);
	assert_error(&err, -EINVAL, "link.topic");
	assert_int_equal(store_put(w->store, "a", long_payload, sizeof(long_payload), 1, 0, 1, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "link.message");
}

static void without_a_folder_there_is_a_reason_and_later_a_queue(void **state)
{
	struct world *w = *state;
	uint64_t counters[STORE_COUNTERS];
	char name[64], error[256], path[96];

	snprintf(path, sizeof(path), "%s/link", w->run_dir);
	assert_int_equal(rmdir(path), 0);
	start(w);
	assert_int_equal(put(w, "a", 1), 0);
	assert_true(result_of(w, 1, name, sizeof(name)) < 0);
	assert_string_equal(name, "queue.file");
	store_get_counters(w->store, 1, counters, error, sizeof(error));
	assert_non_null(strstr(error, "cannot open the queue"));
	assert_int_equal(mkdir(path, 0700), 0);
	for (int i = 0; i < WAIT_MS / 100 && error[0] != '\0'; i++) {
		pause_ms(100);
		store_get_counters(w->store, 1, counters, error, sizeof(error));
	}
	put_and_wait(w, "a", 2);
}

static void what_no_broker_takes_does_not_stop_the_rest(void **state)
{
	struct world *w = *state;

	start(w);
	put_and_wait(w, "a", 1);
	sent.result = -EINVAL;
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	wait_counter(w, "default", STORE_undeliverable, 1);
	pthread_mutex_lock(&sent.lock);
	sent.result = -EDQUOT; /* no room just now */
	pthread_mutex_unlock(&sent.lock);
	put_and_wait(w, "b", 2);
	pthread_mutex_lock(&sent.lock);
	sent.result = 0;
	pthread_mutex_unlock(&sent.lock);
	put_and_wait(w, "c", 3);
	wait_sent(2);
	assert_string_equal(sent.topics[0], "b");
}

static void what_the_broker_refuses_is_gone_and_counted(void **state)
{
	struct world *w = *state;
	uint64_t counters[STORE_COUNTERS];
	char error[256];

	start(w);
	put_and_wait(w, "a", 1);
	put_and_wait(w, "b", 2);
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	wait_sent(2);
	store_refused(w->store, 1, "the broker's access list does not allow it");
	store_acked(w->store, 2);
	store_refused(w->store, 99, "nobody's");
	wait_counter(w, "default", STORE_rejected, 1);
	wait_counter(w, "default", STORE_delivered, 1);
	store_get_counters(w->store, 1, counters, error, sizeof(error));
	assert_int_equal(counters[STORE_messages], 0);
	/* It does not come again with the next connection either. */
	store_attach(w->store, NULL);
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	put_and_wait(w, "c", 3);
	wait_sent(3);
	assert_string_equal(sent.topics[2], "c");
}

static void error_of(struct world *w, const char *queue, char *ret_error, size_t size)
{
	uint64_t counters[STORE_COUNTERS];

	for (size_t i = 0; i < store_count(w->store); i++)
		if (strcmp(store_name(w->store, i), queue) == 0)
			store_get_counters(w->store, i, counters, ret_error, size);
}

/* A list of a broker can be wrong: nothing is lost for it, and only that queue waits. */
static void what_an_access_list_refuses_waits(void **state)
{
	struct world *w = *state;
	char error[256] = "";

	add_row(w, "alarms topic=a/#");
	start(w);
	put_and_wait(w, "a/1", 1);
	put_and_wait(w, "a/2", 2);
	put_and_wait(w, "a/3", 3);
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	wait_sent(3);
	store_denied(w->store, 1, false, "not here");
	store_denied(w->store, 2, false, "not here");
	put_and_wait(w, "b", 4);
	wait_sent(4);
	assert_string_equal(sent.topics[3], "b");
	/* One of that queue is on its way still: before it has come to its end nothing of it is sent again. */
	store_acked(w->store, 3);
	wait_sent(5);
	assert_string_equal(sent.topics[4], "a/1");
	assert_int_equal(counter(w, "alarms", STORE_denied), 2);
	error_of(w, "alarms", error, sizeof(error));
	assert_string_equal(error, "waits: not here");
	/* Another try, alone; then another broker, which takes it. */
	store_denied(w->store, 5, false, "not here");
	store_denied(w->store, 99, false, "nobody's");
	wait_sent(6);
	assert_string_equal(sent.topics[5], "a/2");
	store_denied(w->store, 6, false, "not here");
	store_set_online(w->store, false);
	store_set_online(w->store, true);
	wait_sent(7);
	assert_string_equal(sent.topics[6], "a/1");
	store_acked(w->store, 7);
	wait_sent(8);
	assert_string_equal(sent.topics[7], "a/2");
	store_acked(w->store, 8);
	wait_counter(w, "alarms", STORE_delivered, 3);
	/* a/3 was delivered while others of it were not: it is not sent again. */
	put_and_wait(w, "a/4", 5);
	wait_sent(9);
	assert_string_equal(sent.topics[8], "a/4");
	store_acked(w->store, 9);
	wait_counter(w, "alarms", STORE_messages, 0);
	assert_int_equal(counter(w, "alarms", STORE_rejected), 0);
	error_of(w, "alarms", error, sizeof(error));
	assert_string_equal(error, "");
}

/* So many at least. */
static void wait_for_sent(size_t n)
{
	for (int i = 0; i < WAIT_MS / 10 && n_sent() < n; i++)
		pause_ms(10);
	assert_true(n_sent() >= n);
}

/* A broker that takes what begins with g, for what it got since @*id. */
static void answer_good(struct world *w, uint64_t *id, uint64_t *n_good)
{
	for (size_t n = n_sent(); *id < n;) {
		bool is_good = sent.topics[*id][0] == 'g';

		*n_good += is_good;
		++*id;
		if (is_good)
			store_acked(w->store, *id);
		else
			store_denied(w->store, *id, false, "not here");
	}
}

/* A broker after the first, for as long as the first is away: one topic that it does not know holds up no other of the same queue. */
static void a_refused_topic_is_passed_over(void **state)
{
	struct world *w = *state;
	uint64_t ticket = 0, id = 0, n_good = 0;

	start(w);
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	for (unsigned i = 0; i < 150; i++) {
		char topic[16];

		snprintf(topic, sizeof(topic), i % 3 == 0 ? "bad/%u" : "good", i % 2);
		put_and_wait(w, topic, ++ticket);
		answer_good(w, &id, &n_good);
	}
	for (int i = 0; i < WAIT_MS / 10 && n_good < 100; i++) {
		answer_good(w, &id, &n_good);
		pause_ms(10);
	}
	assert_int_equal(n_good, 100);
	assert_true(id - n_good < 50);
	wait_counter(w, "default", STORE_delivered, 100);
	wait_counter(w, "default", STORE_messages, 50);
	/* The first broker is back: what was passed over goes there in order, and nothing twice. */
	sent.n = id = 0;
	store_set_online(w->store, false);
	store_set_online(w->store, true);
	for (unsigned i = 0; i < 50; i++) {
		wait_for_sent(i + 1);
		assert_string_equal(sent.topics[i], i % 2 == 0 ? "bad/0" : "bad/1");
		store_acked(w->store, i + 1);
	}
	wait_counter(w, "default", STORE_messages, 0);
	assert_int_equal(n_sent(), 50);
	assert_int_equal(counter(w, "default", STORE_rejected), 0);
}

/* More topics than are remembered: nothing is lost for it. */
static void many_refused_topics_wait(void **state)
{
	struct world *w = *state;
	uint64_t id = 0;

	start(w);
	for (unsigned i = 0; i < 40; i++) {
		char topic[16];

		snprintf(topic, sizeof(topic), "bad/%u", i);
		put_and_wait(w, topic, i + 1);
	}
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	for (unsigned i = 0; i < 30; i++) {
		for (size_t n = n_sent(); id < n;)
			store_denied(w->store, ++id, false, "not here");
		pause_ms(50);
	}
	store_set_online(w->store, false);
	sent.n = id = 0;
	store_set_online(w->store, true);
	for (unsigned i = 0; i < 40; i++) {
		char topic[16];

		snprintf(topic, sizeof(topic), "bad/%u", i);
		wait_for_sent(i + 1);
		assert_string_equal(sent.topics[i], topic);
		store_acked(w->store, i + 1);
	}
	wait_counter(w, "default", STORE_messages, 0);
	assert_int_equal(counter(w, "default", STORE_rejected), 0);
	assert_int_equal(counter(w, "default", STORE_delivered), 40);
}

static void less_important_queues_can_be_held_back(void **state)
{
	struct world *w = *state;

	add_row(w, "alarms topic=a/# priority=9");
	start(w);
	store_attach(w->store, fake);
	store_hold_below(w->store, 9);
	store_set_online(w->store, true);
	put_and_wait(w, "b", 1);
	put_and_wait(w, "a/1", 2);
	wait_sent(1);
	assert_string_equal(sent.topics[0], "a/1");
	assert_int_equal(counter(w, "default", STORE_messages), 1);
	store_hold_below(w->store, 0);
	wait_sent(2);
	assert_string_equal(sent.topics[1], "b");
}

static void the_first_broker_has_the_last_word(void **state)
{
	struct world *w = *state;

	start(w);
	put_and_wait(w, "a/1", 1);
	put_and_wait(w, "a/2", 2);
	store_attach(w->store, fake);
	store_set_online(w->store, true);
	wait_sent(2);
	store_denied(w->store, 1, true, "never");
	store_acked(w->store, 2);
	for (uint64_t id = 3; id <= 6; id++) {
		wait_sent(id);
		assert_string_equal(sent.topics[id - 1], "a/1");
		assert_int_equal(counter(w, "default", STORE_rejected), 0);
		store_denied(w->store, id, true, "never");
	}
	wait_counter(w, "default", STORE_rejected, 1);
	assert_int_equal(counter(w, "default", STORE_denied), 5);
	put_and_wait(w, "a/3", 3);
	wait_sent(7);
	assert_string_equal(sent.topics[6], "a/3");
	store_acked(w->store, 7);
	wait_counter(w, "default", STORE_messages, 0);
}

static void nothing_of_a_former_owner_stays(void **state)
{
	struct world *w = *state;

	start(w);
	put_and_wait(w, "a", 1);
	w->store = store_close(w->store, true);
	store_erase(&w->settings);
	start(w);
	put_and_wait(w, "b", 2);
	wait_counter(w, "default", STORE_messages, 1);
}

static void flash_lives_as_long_as_its_writes_allow(void **state)
{
	assert_int_equal(flash_life_days(UINT64_C(1) << 40, 0, 0, 100), FLASH_LIFE_MAX_DAYS);
	assert_int_equal(flash_life_days(UINT64_C(864000) * 1000, 1000, 0, 1), 10);
	/* Syncs cost whole pages. */
	assert_int_equal(flash_life_days(UINT64_C(86400) * 8192 * 50, 0, 1, 1), 50);
	assert_int_equal(flash_life_days(UINT64_MAX, UINT64_MAX / 2, UINT64_MAX / 2, 86400), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(messages_leave_in_order_and_are_gone_when_acknowledged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_not_acknowledged_comes_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_more_important_queue_goes_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_bound_in_seconds_and_the_one_in_messages_hold, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_rate_is_kept_to, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_queue_says_no_and_one_for_telemetry_forgets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bad_messages_are_refused_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_a_folder_there_is_a_reason_and_later_a_queue, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_no_broker_takes_does_not_stop_the_rest, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_the_broker_refuses_is_gone_and_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_an_access_list_refuses_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_refused_topic_is_passed_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_refused_topics_wait, set_up, tear_down),
		cmocka_unit_test_setup_teardown(less_important_queues_can_be_held_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_first_broker_has_the_last_word, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_of_a_former_owner_stays, set_up, tear_down),
		cmocka_unit_test(flash_lives_as_long_as_its_writes_allow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
