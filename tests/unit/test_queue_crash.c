/* SPDX-License-Identifier: Apache-2.0 */
/* What power cuts, kill -9 and a failing disk leave of a queue. */
#include "tests/unit/queue_fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define FILE_SIZE (8192 + 16384)	/* of the rings of small() */

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
	static const struct ring_io io = { .sync = no_sync };
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
	static const struct ring_io io = { .write = logged_write, .sync = logged_sync };
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

/* ---- a long backlog leaves, and nothing is put in that would be synced */

static char stable_file[128];

static int copying_sync(int fd)
{
	char *image;
	size_t size;

	assert_int_equal(file_read_at(AT_FDCWD, file, 1 << 22, &image, &size, NULL), 0);
	assert_int_equal(file_replace_at(AT_FDCWD, stable_file, 0600, image, size, NULL), 0);
	free(image);
	return 0;
}

static uint64_t count_of(const char *path)
{
	struct agent_queue_options options = small();
	struct agent_queue_message m;
	struct agent_queue *queue;
	uint64_t n = 0;

	options.file = path;
	options.max_in_flight = 1;
	queue = open_queue(&options);
	while (agent_queue_next(queue, &m, NULL) == 1) {
		assert_int_equal(agent_queue_done(queue, m.seq, NULL), 0);
		n++;
	}
	agent_queue_free(queue);
	return n;
}

static void what_was_done_comes_again_up_to_a_bound(void **state)
{
	enum { N = 5000, AGAIN_MAX = 16 * 64 + 64 };
	static const struct ring_io io = { .sync = copying_sync };
	struct agent_queue_options options = small();
	struct agent_queue_message m;
	struct agent_queue *queue;

	snprintf(stable_file, sizeof(stable_file), "%s/stable", dir.path);
	options.size_bytes = 1 << 21;
	options.max_in_flight = 1;
	queue = open_queue(&options);
	for (uint64_t n = 1; n <= N; n++)
		assert_int_equal(add(queue, n), 0);
	agent_queue_free(queue);
	assert_int_equal(queue_open(&options, &io, &queue, NULL), 0);
	for (uint64_t n = 1; n <= N; n++) {
		assert_int_equal(agent_queue_next(queue, &m, NULL), 1);
		assert_int_equal(agent_queue_done(queue, m.seq, NULL), 0);
	}
	assert_in_range(count_of(stable_file), 1, AGAIN_MAX);
	agent_queue_free(queue);
	assert_int_equal(count_of(file), 0);
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
	static const struct ring_io io = { .write = failing_write, .sync = failing_sync };
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
		T(no_safe_message_is_lost_at_any_power_cut),
		T(what_was_done_comes_again_up_to_a_bound),
		T(kill_loses_nothing),
		T(kill_loses_nothing_from_ram),
		T(a_failing_disk_is_told_and_costs_nothing_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
