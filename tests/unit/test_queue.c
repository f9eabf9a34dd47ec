/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/queue_fixture.h"

static void expect_done(struct agent_queue *queue, uint64_t n)
{
	struct agent_queue_message m;

	assert_int_equal(agent_queue_next(queue, &m, NULL), 1);
	assert_int_equal(number_of(&m), n);
	assert_int_equal(agent_queue_done(queue, m.seq, NULL), 0);
}

static void expect_empty(struct agent_queue *queue)
{
	struct agent_queue_message m;

	assert_int_equal(agent_queue_next(queue, &m, NULL), 0);
}

static void messages_come_in_order_and_again_until_done(void **state)
{
	struct agent_queue_options options = small();
	struct agent_queue *queue = open_queue(&options);
	struct agent_queue_message m;

	for (uint64_t n = 1; n <= 5; n++)
		assert_int_equal(add(queue, n), 0);
	expect_next(queue, 1);
	assert_int_equal(agent_queue_next(queue, &m, NULL), 1);	/* 2 */
	assert_int_equal(agent_queue_done(queue, m.seq, NULL), 0);	/* before 1 */
	agent_queue_rewind(queue);
	agent_queue_rewind(queue);	/* also a second time */
	expect_done(queue, 1);
	expect_next(queue, 3);
	queue = agent_queue_free(queue);
	queue = open_queue(&options);
	for (uint64_t n = 3; n <= 5; n++)
		expect_done(queue, n);
	expect_empty(queue);
	assert_int_equal(agent_queue_done(queue, 99, NULL), 0);
	agent_queue_free(queue);
}

static void in_flight_is_bounded(void **state)
{
	struct agent_queue_options options = small();
	struct agent_queue *queue;
	struct agent_queue_message m;

	options.max_in_flight = 2;
	queue = open_queue(&options);
	for (uint64_t n = 1; n <= 3; n++)
		assert_int_equal(add(queue, n), 0);
	expect_next(queue, 1);
	expect_next(queue, 2);
	assert_int_equal(agent_queue_next(queue, &m, NULL), -EAGAIN);
	assert_int_equal(agent_queue_done(queue, 1, NULL), 0);
	expect_next(queue, 3);
	agent_queue_free(queue);
}

static void a_full_queue_refuses_or_forgets(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_queue_options options = small();
	struct agent_queue *queue = open_queue(&options);
	struct agent_queue_stats stats;
	static uint8_t big[20000];
	uint64_t n = 1;

	while (add(queue, n) == 0)
		n++;
	assert_true(n > 20);
	assert_int_equal(agent_queue_add(queue, "t", big, 1000, 0, 0, NULL, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "queue.full");
	assert_int_equal(agent_queue_add(queue, "t", big, sizeof(big), 0, 0, NULL, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "queue.message");
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.n_messages, n - 1);
	assert_int_equal(stats.n_refused, 2);
	for (uint64_t i = 1; i < n; i++)	/* none of them was touched */
		expect_done(queue, i);
	agent_queue_free(queue);

	options.full = AGENT_QUEUE_DROP_OLDEST;
	queue = open_queue(&options);
	expect_empty(queue);
	for (uint64_t i = 1; i <= 500; i++) {
		assert_int_equal(add(queue, i), 0);
		if (i == 3)
			expect_next(queue, 1);	/* in flight when it is forgotten */
	}
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.n_dropped, 500 - stats.n_messages);
	agent_queue_rewind(queue);
	for (uint64_t i = 501 - stats.n_messages; i <= 500; i++)
		expect_done(queue, i);
	expect_empty(queue);
	agent_queue_free(queue);
}

static void time_to_live_counts(void **state)
{
	struct agent_queue_options options = small();
	struct agent_queue *queue = open_queue(&options);
	struct agent_queue_message m;
	struct agent_queue_stats stats;

	assert_int_equal(agent_queue_add(queue, "short", "x", 1, 0, 1, NULL, NULL), 0);
	assert_int_equal(agent_queue_add(queue, "long", "y", 1, 0, 1000, NULL, NULL), 0);
	sleep(2);
	assert_int_equal(agent_queue_next(queue, &m, NULL), 1);
	assert_string_equal(m.topic, "long");
	assert_in_range(m.age_s, 1, 100);
	assert_in_range(m.ttl_s, 900, 999);
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.n_expired, 1);
	assert_int_equal(stats.n_messages, 1);
	agent_queue_free(queue);
}

static void bad_arguments_are_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_queue_options options = small();
	struct agent_queue *queue = NULL, *second = NULL;

	options.max_in_flight = 0;
	assert_int_equal(agent_queue_open(&options, &queue, &err), -EINVAL);
	assert_error(&err, -EINVAL, "queue.options");
	options = small();
	options.ram_file = ram_file;
	options.ram_size_bytes = 8192;
	assert_int_equal(agent_queue_open(&options, &queue, &err), -EINVAL);	/* no loss bound */
	assert_error(&err, -EINVAL, "queue.options");
	options = small();
	options.size_bytes = 8191;
	assert_int_equal(agent_queue_open(&options, &queue, &err), -EINVAL);
	assert_error(&err, -EINVAL, "queue.size");
	options = small();
	options.file = "/nowhere/at/all";
	assert_int_equal(agent_queue_open(&options, &queue, &err), -ENOENT);
	assert_error(&err, -ENOENT, "queue.file");
	options = small();
	queue = open_queue(&options);
	assert_int_equal(agent_queue_open(&options, &second, &err), -EBUSY);
	assert_error(&err, -EBUSY, "queue.busy");
	assert_int_equal(agent_queue_add(queue, "", "x", 1, 0, 0, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "queue.message");
	assert_int_equal(agent_queue_add(queue, "t", NULL, 1, 0, 0, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "queue.message");
	assert_int_equal(agent_queue_add(queue, "t", "x", 1, 256, 0, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "queue.message");
	agent_queue_free(queue);
	assert_int_equal(symlink("/etc/passwd", ram_file), 0);
	options.file = ram_file;
	assert_true(agent_queue_open(&options, &queue, &err) < 0);
	assert_error(&err, -ELOOP, "queue.file");
}

static void another_size_takes_effect_when_empty(void **state)
{
	struct agent_queue_options options = small();
	struct agent_queue *queue = open_queue(&options);
	struct agent_queue_stats stats;

	assert_int_equal(add(queue, 1), 0);
	agent_queue_free(queue);
	options.size_bytes = 65536 + 17;
	queue = open_queue(&options);
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.size_bytes, 16384);
	expect_done(queue, 1);
	agent_queue_free(queue);
	queue = open_queue(&options);
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.size_bytes, 65536);
	expect_empty(queue);
	assert_int_equal(add(queue, 2), 0);
	expect_done(queue, 2);
	agent_queue_free(queue);
}

static void change_byte(uint64_t offset)
{
	_cleanup_close_ int fd = open(file, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x55;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
}

/* Whatever byte is damaged: at most the message it is in is lost, the others come whole, and it is counted. */
static void damage_costs_one_message(void **state)
{
	struct agent_queue_options options = small();
	struct agent_queue_message m;
	struct agent_queue_stats stats;

	for (uint64_t offset = 0; offset < 12000; offset += 97) {
		struct agent_queue *queue;
		uint64_t n_seen = 0, last = 0;

		unlink(file);
		queue = open_queue(&options);
		for (uint64_t n = 1; n <= 10; n++)
			assert_int_equal(add(queue, n), 0);
		agent_queue_free(queue);
		change_byte(offset);
		queue = open_queue(&options);
		while (agent_queue_next(queue, &m, NULL) == 1) {
			uint64_t n = number_of(&m);

			assert_true(n > last);
			last = n;
			n_seen++;
			assert_int_equal(agent_queue_done(queue, m.seq, NULL), 0);
		}
		agent_queue_get_stats(queue, &stats);
		assert_in_range(n_seen, 9, 10);
		assert_int_equal(stats.n_damaged, 10 - n_seen);
		assert_int_equal(stats.n_messages, 0);
		assert_int_equal(add(queue, 11), 0);
		expect_done(queue, 11);
		agent_queue_free(queue);
	}
}

static void a_file_beyond_repair_is_set_aside(void **state)
{
	struct agent_queue_options options = small();
	struct agent_queue *queue = open_queue(&options);
	struct agent_queue_stats stats;
	char aside[160];

	assert_int_equal(add(queue, 1), 0);
	agent_queue_free(queue);
	change_byte(20);
	change_byte(4096 + 20);
	queue = open_queue(&options);
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.is_replaced, 1);
	assert_int_equal(stats.n_damaged, 1);
	expect_empty(queue);
	assert_int_equal(add(queue, 2), 0);
	expect_done(queue, 2);
	agent_queue_free(queue);
	snprintf(aside, sizeof(aside), "%s.damaged", file);
	assert_int_equal(access(aside, F_OK), 0);
}

/* As a check of the file system after a crash may leave it. */
static void a_file_that_was_cut_or_became_longer_keeps_what_is_in_it(void **state)
{
	struct agent_queue_options options = small();
	static const struct {
		off_t size;	/* of 24576 */
		bool is_cut;	/* through the records */
	} cases[] = { { 30000, false }, { 24575, false }, { 12000, false }, { 8300, true }, { 600, true } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct agent_queue *queue = open_queue(&options);
		struct agent_queue_message m;
		struct agent_queue_stats stats;
		struct stat st;

		assert_int_equal(add(queue, 1), 0);
		assert_int_equal(add(queue, 2), 0);
		assert_int_equal(add(queue, 3), 0);
		agent_queue_free(queue);
		assert_int_equal(truncate(file, cases[i].size), 0);
		queue = open_queue(&options);
		agent_queue_get_stats(queue, &stats);
		assert_int_equal(stats.is_replaced, 0);
		if (!cases[i].is_cut) {
			expect_done(queue, 1);
			expect_done(queue, 2);
			expect_done(queue, 3);
		}
		while (cases[i].is_cut && agent_queue_next(queue, &m, NULL) > 0)
			assert_int_equal(agent_queue_done(queue, m.seq, NULL), 0);
		assert_int_equal(add(queue, 4), 0);
		expect_done(queue, 4);
		expect_empty(queue);
		agent_queue_free(queue);
		assert_int_equal(stat(file, &st), 0);
		assert_true(st.st_size >= 24576);
		assert_int_equal(unlink(file), 0);
	}
}

/* Closed in order, cut by a check of the file system, in use again, and then the power goes. */
static void what_a_cut_file_took_since_outlives_a_power_cut(void **state)
{
	static const off_t sizes[] = { 12000, 8250, 600 };	/* the record is whole in the first */
	struct agent_queue_options options = small();

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct agent_queue *queue = open_queue(&options);
		struct agent_queue_message m = { 0 };
		char *data;
		size_t size;

		assert_int_equal(add(queue, 1), 0);
		agent_queue_free(queue);
		assert_int_equal(truncate(file, sizes[i]), 0);
		queue = open_queue(&options);
		for (uint64_t n = 2; n <= 5; n++)
			assert_int_equal(add(queue, n), 0);
		assert_int_equal(file_read_at(AT_FDCWD, file, 65536, &data, &size, NULL), 0);
		agent_queue_free(queue);
		assert_int_equal(file_replace_at(AT_FDCWD, file, 0600, data, size, NULL), 0);
		free(data);
		queue = open_queue(&options);
		if (sizes[i] == sizes[0])
			expect_done(queue, 1);
		for (uint64_t n = 2; n <= 5; n++)
			expect_done(queue, n);
		assert_int_equal(agent_queue_next(queue, &m, NULL), 0);
		agent_queue_free(queue);
		assert_int_equal(unlink(file), 0);
	}
}

/* A payload that holds a copy of a record is not taken for one when the search for the next record passes it. */
static void a_record_inside_a_payload_is_no_record(void **state)
{
	_cleanup_free_ char *data = NULL;
	struct agent_queue_options options = small();
	struct agent_queue *queue = open_queue(&options);
	struct agent_queue_message m;
	size_t size;

	assert_int_equal(agent_queue_add(queue, "evil", "first", 5, 0, 0, NULL, NULL), 0);
	agent_queue_free(queue);
	assert_int_equal(file_read_at(AT_FDCWD, file, 65536, &data, &size, NULL), 0);
	unlink(file);	/* another file has another salt */
	queue = open_queue(&options);
	assert_int_equal(agent_queue_add(queue, "t", data + 8192, 64, 0, 0, NULL, NULL), 0);
	assert_int_equal(agent_queue_add(queue, "last", NULL, 0, 0, 0, NULL, NULL), 0);
	agent_queue_free(queue);
	change_byte(8192);
	queue = open_queue(&options);
	assert_int_equal(agent_queue_next(queue, &m, NULL), 1);
	assert_string_equal(m.topic, "last");
	expect_empty(queue);
	agent_queue_free(queue);
}

/* ---- RAM first */

static void ram_is_enough_while_messages_leave(void **state)
{
	struct agent_queue_options options = with_ram(5);
	struct agent_queue *queue = open_queue(&options);
	struct agent_queue_stats stats;
	uint64_t before;

	agent_queue_get_stats(queue, &stats);
	before = stats.written_bytes;
	for (uint64_t n = 1; n <= 1000; n++) {
		assert_int_equal(add(queue, n), 0);
		assert_int_equal(agent_queue_get_safe(queue), n);
		expect_done(queue, n);
	}
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.written_bytes, before);
	/* Nobody takes them: the fifth takes all to disk. */
	for (uint64_t n = 1; n <= 4; n++)
		assert_int_equal(add(queue, n), 0);
	expect_next(queue, 1);
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.n_ram, 4);
	assert_int_equal(add(queue, 5), 0);
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.n_ram, 0);
	assert_int_equal(stats.n_messages, 5);
	assert_int_equal(agent_queue_done(queue, 1001, NULL), 0);
	assert_int_equal(add(queue, 6), 0);
	for (uint64_t n = 2; n <= 6; n++)
		expect_done(queue, n);
	expect_empty(queue);
	/* And by request, with some of them in flight. */
	for (uint64_t n = 7; n <= 9; n++)
		assert_int_equal(add(queue, n), 0);
	expect_next(queue, 7);
	assert_int_equal(agent_queue_sync(queue, NULL), 0);
	agent_queue_get_stats(queue, &stats);
	assert_int_equal(stats.n_ram, 0);
	expect_done(queue, 8);
	agent_queue_rewind(queue);
	expect_done(queue, 7);
	expect_done(queue, 9);
	expect_empty(queue);
	agent_queue_free(queue);
}

static void what_ram_took_has_its_place_on_disk(void **state)
{
	struct agent_queue_options options = with_ram(1000);
	struct agent_queue *queue = open_queue(&options);
	uint64_t n = 1;

	while (add(queue, n) == 0)
		n++;
	assert_int_equal(agent_queue_sync(queue, NULL), 0);
	agent_queue_free(queue);
	unlink(ram_file);	/* a power cut */
	queue = open_queue(&options);
	for (uint64_t i = 1; i < n; i++)
		expect_done(queue, i);
	expect_empty(queue);
	agent_queue_free(queue);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(messages_come_in_order_and_again_until_done),
		T(in_flight_is_bounded),
		T(a_full_queue_refuses_or_forgets),
		T(time_to_live_counts),
		T(bad_arguments_are_refused),
		T(another_size_takes_effect_when_empty),
		T(damage_costs_one_message),
		T(a_file_beyond_repair_is_set_aside),
		T(a_file_that_was_cut_or_became_longer_keeps_what_is_in_it),
		T(what_a_cut_file_took_since_outlives_a_power_cut),
		T(a_record_inside_a_payload_is_no_record),
		T(ram_is_enough_while_messages_leave),
		T(what_ram_took_has_its_place_on_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
