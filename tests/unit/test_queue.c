/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/file.h"
#include "net/queue.h"

#define FILE_SIZE (8192 + 16384)	/* of the smallest rings used here */

static struct temp_dir dir;
static char file[128], ram_file[128];

static int set_up(void **state)
{
	temp_dir_make(&dir);
	snprintf(file, sizeof(file), "%s/q", dir.path);
	snprintf(ram_file, sizeof(ram_file), "%s/ram", dir.path);
	return 0;
}

static int tear_down(void **state)
{
	temp_dir_remove(&dir);
	return 0;
}

static struct agent_queue_options small(void)
{
	return (struct agent_queue_options){ .file = file, .size_bytes = 16384, .max_in_flight = 8 };
}

static struct agent_queue *open_queue(const struct agent_queue_options *options)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_queue *queue = NULL;

	if (agent_queue_open(options, &queue, &err) < 0)
		fail_msg("%s", agent_error_message(err));
	return queue;
}

/* A payload that says what it is: its number, and bytes that follow from it. */
static size_t fill(uint8_t *data, uint64_t n)
{
	size_t size = 9 + n * 37 % 400;

	memcpy(data, &n, sizeof(n));
	for (size_t i = sizeof(n); i < size; i++)
		data[i] = (uint8_t)(n * 131 + i * 7);
	return size;
}

static int add(struct agent_queue *queue, uint64_t n)
{
	uint8_t data[512];
	size_t size = fill(data, n);
	uint64_t seq = 0;
	int r;

	r = agent_queue_add(queue, "some/topic", data, size, (unsigned)(n % 256), 0, &seq, NULL);
	return r;
}

/* The number in a message, which must be exactly what add() made. */
static uint64_t number_of(const struct agent_queue_message *m)
{
	uint8_t data[512];
	uint64_t n = 0;

	assert_string_equal(m->topic, "some/topic");
	assert_true(m->size >= sizeof(n));
	memcpy(&n, m->payload, sizeof(n));
	assert_int_equal(m->size, fill(data, n));
	assert_memory_equal(m->payload, data, m->size);
	assert_int_equal(m->flags, n % 256);
	return n;
}

static void expect_next(struct agent_queue *queue, uint64_t n)
{
	struct agent_queue_message m;

	assert_int_equal(agent_queue_next(queue, &m, NULL), 1);
	assert_int_equal(number_of(&m), n);
}

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
	expect_done(queue, 1);
	expect_done(queue, 2);
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
	expect_empty(queue);
	assert_int_equal(add(queue, 2), 0);
	expect_done(queue, 2);
	agent_queue_free(queue);
	snprintf(aside, sizeof(aside), "%s.damaged", file);
	assert_int_equal(access(aside, F_OK), 0);
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

static struct agent_queue_options with_ram(uint64_t loss)
{
	struct agent_queue_options options = small();

	options.ram_file = ram_file;
	options.ram_size_bytes = 8192;
	options.loss_messages = loss;
	return options;
}

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
	expect_done(queue, 8);
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

/* ---- power cuts: every write and sync is logged, every state a cut can leave is opened and read */

#define SECTOR 512
#define N_NUMBERS 20000

static struct {
	uint8_t stable[FILE_SIZE], crash[FILE_SIZE];
	struct { uint64_t offset; size_t size; uint8_t data[SECTOR]; } pending[2048];	/* parts of writes, none crosses a sector */
	size_t n_pending;
	char crash_file[128];
	uint64_t n_added;		/* numbers up to here may be there */
	uint64_t n_safe;		/* numbers up to here must be there, unless done */
	bool is_done[N_NUMBERS];
	uint64_t n_states, n_unsafe_lost;
	bool is_on;
} cut;

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)random_state * n) >> 32);
}

static int plain_read(int fd, void *data, size_t size, uint64_t offset)
{
	return pread_full(fd, data, size, offset) == (ssize_t)size ? 0 : -EIO;
}

static int no_sync(int fd)
{
	return 0;
}

static void write_crash_file(void)
{
	int fd = open(cut.crash_file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, cut.crash, sizeof(cut.crash)), 0);
	close(fd);
}

/* Open the state in cut.crash and hold it against what was promised. */
static void check_crash(void)
{
	static const struct ring_io io = { plain_read, pwrite_all, no_sync };
	struct agent_queue_options options = small();
	struct agent_queue *queue = NULL;
	struct agent_queue_message m;
	static bool is_there[N_NUMBERS];
	uint64_t last = 0;

	write_crash_file();
	memset(is_there, 0, sizeof(is_there));
	options.file = cut.crash_file;
	options.max_in_flight = AGENT_QUEUE_IN_FLIGHT_MAX;
	assert_int_equal(queue_open(&options, &io, &queue, NULL), 0);
	while (agent_queue_next(queue, &m, NULL) == 1) {
		uint64_t n = number_of(&m);

		assert_true(n > last && n <= cut.n_added);
		is_there[n] = true;
		last = n;
	}
	for (uint64_t n = 1; n <= cut.n_added; n++) {
		if (is_there[n] || cut.is_done[n])
			continue;
		if (n <= cut.n_safe)
			fail_msg("message %llu of %llu safe ones is lost", (unsigned long long)n, (unsigned long long)cut.n_safe);
		cut.n_unsafe_lost++;
	}
	/* And it works on from there. */
	assert_int_equal(add(queue, cut.n_added + 1) == 0 || last > 0, 1);
	agent_queue_free(queue);
	cut.n_states++;
}

/* The power goes now: of what was not synced, any sectors may have got there. @percent of them do. */
static void make_crash(uint32_t percent)
{
	memcpy(cut.crash, cut.stable, sizeof(cut.crash));
	for (size_t i = 0; i < cut.n_pending; i++)
		if (random_below(100) < percent)
			memcpy(cut.crash + cut.pending[i].offset, cut.pending[i].data, cut.pending[i].size);
}

static void cut_here(void)
{
	static const uint32_t percents[] = { 0, 100, 50, 50, 90, 10 };

	for (size_t i = 0; cut.is_on && i < (cut.n_pending > 0 ? ARRAY_SIZE(percents) : 1); i++) {
		make_crash(percents[i]);
		check_crash();
	}
}

static int logged_write(int fd, const void *data, size_t size, uint64_t offset)
{
	const uint8_t *p = data;
	int r = pwrite_all(fd, data, size, offset);

	assert_true(r >= 0 && offset + size <= FILE_SIZE);
	while (size > 0) {
		size_t n = SECTOR - (size_t)(offset % SECTOR);

		n = n < size ? n : size;
		assert_true(cut.n_pending < ARRAY_SIZE(cut.pending));
		cut.pending[cut.n_pending].offset = offset;
		cut.pending[cut.n_pending].size = n;
		memcpy(cut.pending[cut.n_pending++].data, p, n);
		p += n;
		offset += n;
		size -= n;
	}
	cut_here();
	return r;
}

static int logged_sync(int fd)
{
	make_crash(100);
	memcpy(cut.stable, cut.crash, sizeof(cut.stable));
	cut.n_pending = 0;
	cut_here();
	return 0;
}

/* One life of a device between two power cuts. */
static void live(unsigned n_steps)
{
	static const struct ring_io io = { plain_read, logged_write, logged_sync };
	struct agent_queue_options options = small();
	struct agent_queue *queue = NULL;
	struct agent_queue_message m;

	cut.is_on = true;
	assert_int_equal(queue_open(&options, &io, &queue, NULL), 0);
	for (unsigned step = 0; step < n_steps; step++) {
		uint32_t dice = random_below(100);

		if (dice < 50) {
			cut.n_added++;
			if (add(queue, cut.n_added) != 0)
				cut.n_added--;
		} else if (dice < 60) {
			uint64_t n = cut.n_added;

			assert_int_equal(agent_queue_sync(queue, NULL), 0);
			cut.n_safe = n;
		} else if (dice < 98) {
			if (agent_queue_next(queue, &m, NULL) != 1)
				continue;
			cut.is_done[number_of(&m)] = true;
			assert_int_equal(agent_queue_done(queue, m.seq, NULL), 0);
		} else if (dice < 99) {
			agent_queue_rewind(queue);
		} else {
			queue = agent_queue_free(queue);
			cut.n_safe = cut.n_added;
			assert_int_equal(queue_open(&options, &io, &queue, NULL), 0);
		}
	}
	cut.is_on = false;	/* what follows is not seen by the next life: its file is the crash */
	agent_queue_free(queue);
}

/* What the next life finds is what it starts from: whatever is gone now was allowed to be. */
static void power_comes_back(void)
{
	struct agent_queue_options options = small();
	struct agent_queue *queue;
	struct agent_queue_message m;
	static bool is_there[N_NUMBERS];

	memset(is_there, 0, sizeof(is_there));
	write_crash_file();
	options.file = cut.crash_file;
	options.max_in_flight = AGENT_QUEUE_IN_FLIGHT_MAX;
	queue = open_queue(&options);
	while (agent_queue_next(queue, &m, NULL) == 1)
		is_there[number_of(&m)] = true;
	agent_queue_free(queue);
	for (uint64_t n = 1; n <= cut.n_added; n++)
		cut.is_done[n] = !is_there[n];
	cut.n_safe = cut.n_added;
	memcpy(cut.stable, cut.crash, sizeof(cut.stable));
	cut.n_pending = 0;
	assert_int_equal(file_replace_at(AT_FDCWD, file, 0600, cut.stable, sizeof(cut.stable), NULL), 0);
}

static void no_safe_message_is_lost_at_any_power_cut(void **state)
{
	const char *wanted = getenv("QUEUE_STATES");
	uint64_t n_states = wanted == NULL ? 6000 : strtoull(wanted, NULL, 10);
	struct agent_queue_options options = small();
	char *image;
	size_t size;

	memset(&cut, 0, sizeof(cut));
	snprintf(cut.crash_file, sizeof(cut.crash_file), "%s/crash", dir.path);
	agent_queue_free(open_queue(&options));
	assert_int_equal(file_read_at(AT_FDCWD, file, FILE_SIZE, &image, &size, NULL), 0);
	assert_int_equal(size, FILE_SIZE);
	memcpy(cut.stable, image, size);
	free(image);
	while (cut.n_states < n_states && cut.n_added + 500 < N_NUMBERS) {
		live(20 + random_below(200));
		make_crash(random_below(101));
		power_comes_back();
	}
	print_message("%llu states after a power cut; in them %llu messages that were not promised yet were lost, none of the others\n",
		      (unsigned long long)cut.n_states, (unsigned long long)cut.n_unsafe_lost);
	assert_true(cut.n_states >= n_states);
	assert_true(cut.n_unsafe_lost > 0);	/* or the model cuts nothing */
}

/* ---- kill -9 */

struct life {
	_Atomic uint64_t n_added, n_done;
};

static void child_lives(struct life *life, const struct agent_queue_options *options)
{
	struct agent_queue *queue = NULL;
	struct agent_queue_message m;
	int r;

	if (agent_queue_open(options, &queue, NULL) < 0)
		_exit(1);
	for (;;) {
		if (random_below(3) > 0 && add(queue, life->n_added + 1) == 0)
			life->n_added++;
		if (random_below(50) == 0 && (r = agent_queue_sync(queue, NULL)) < 0 && r != -EDQUOT)
			_exit(1);
		if (random_below(2) == 0)
			continue;
		if (agent_queue_next(queue, &m, NULL) != 1) {
			agent_queue_rewind(queue);
			continue;
		}
		/* In order, so that one number says what is done. */
		if (number_of(&m) == life->n_done + 1)
			life->n_done++;
		if (number_of(&m) <= life->n_done)
			agent_queue_done(queue, m.seq, NULL);
	}
}

static void kill_often(struct agent_queue_options options)
{
	struct life *life = mmap(NULL, sizeof(*life), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct agent_queue_message m;
	uint64_t n_last = 0;

	assert_ptr_not_equal(life, MAP_FAILED);
	for (int round = 0; round < 60; round++) {
		struct agent_queue *queue;
		uint64_t expected, top;
		pid_t pid;
		int status;

		random_state = (uint32_t)round * 7919 + 1;
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			child_lives(life, &options);
		while (life->n_added < n_last + 20 + random_below(200) && waitpid(pid, &status, WNOHANG) == 0)
			;
		usleep(random_below(3000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		options.max_in_flight = AGENT_QUEUE_IN_FLIGHT_MAX;
		queue = open_queue(&options);
		top = life->n_added;
		expected = life->n_done + 1;
		while (agent_queue_next(queue, &m, NULL) == 1) {
			uint64_t n = number_of(&m);

			assert_true(n <= expected);	/* later ones in order, earlier ones may come again */
			if (n == expected)
				expected++;
		}
		assert_in_range(expected, top + 1, top + 2);	/* the one that was being added may be there */
		life->n_added = n_last = expected - 1;
		agent_queue_free(queue);
	}
	munmap(life, sizeof(*life));
}

static void kill_loses_nothing(void **state)
{
	struct agent_queue_options options = small();

	options.size_bytes = 65536;
	kill_often(options);
}

static void kill_loses_nothing_from_ram(void **state)
{
	struct agent_queue_options options = with_ram(20);

	options.size_bytes = 65536;
	kill_often(options);
}

/* ---- a disk that fails */

static int n_until_failure;

static int failing_write(int fd, const void *data, size_t size, uint64_t offset)
{
	return n_until_failure-- > 0 ? pwrite_all(fd, data, size, offset) : -EIO;
}

static int failing_sync(int fd)
{
	return n_until_failure-- > 0 ? 0 : -EIO;
}

static void a_failing_disk_is_told_and_costs_nothing_safe(void **state)
{
	static const struct ring_io io = { plain_read, failing_write, failing_sync };
	struct agent_queue_options options = small();
	struct agent_queue *queue = open_queue(&options);

	assert_int_equal(add(queue, 1), 0);
	agent_queue_free(queue);
	for (int n = 0; n < 8; n++) {
		_cleanup_error_ struct agent_error *err = NULL;
		int r;

		n_until_failure = n;
		assert_int_equal(queue_open(&options, &io, &queue, NULL), 0);
		do {
			r = agent_queue_add(queue, "t", "x", 1, 0, 0, NULL, &err);
			if (r >= 0)
				r = agent_queue_sync(queue, &err);
		} while (r >= 0);
		assert_int_equal(r, -EIO);
		assert_error(&err, -EIO, "queue.io");
		n_until_failure = 1000;	/* it stays closed, although the disk is well again */
		assert_int_equal(agent_queue_add(queue, "t", "x", 1, 0, 0, NULL, &err), -EIO);
		assert_error(&err, -EIO, "queue.io");
		agent_queue_free(queue);
		queue = open_queue(&options);
		expect_next(queue, 1);
		agent_queue_free(queue);
	}
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
		T(a_record_inside_a_payload_is_no_record),
		T(ram_is_enough_while_messages_leave),
		T(what_ram_took_has_its_place_on_disk),
		T(no_safe_message_is_lost_at_any_power_cut),
		T(kill_loses_nothing),
		T(kill_loses_nothing_from_ram),
		T(a_failing_disk_is_told_and_costs_nothing_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
