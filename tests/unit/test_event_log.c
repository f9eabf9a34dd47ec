/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: what was written is read back; a torn end is cut off; a touched line shows; the size is bounded. */
#include "config.h"

#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "agentd/core/event_log.h"
#include "base/file.h"

static struct temp_dir dir;

static int setup(void **state)
{
	temp_dir_make(&dir);
	return 0;
}

static int teardown(void **state)
{
	temp_dir_remove(&dir);
	return 0;
}

static struct event_log *open_log(size_t max, bool torn, bool broken)
{
	struct event_log_found found;
	struct event_log *log = NULL;

	assert_int_equal(event_log_open(dir.fd, max, &log, &found, NULL), 0);
	assert_int_equal(found.was_torn, torn);
	assert_int_equal(found.was_broken, broken);
	return log;
}

static void add(struct event_log *log, const char *reason)
{
	const char *const fields[][2] = { { "user", "admin" }, { "reason", reason } };

	assert_int_equal(event_log_append(log, EVENT_SESSION_FAILED, 1700000000, fields, 2, NULL, NULL), 0);
}

struct seen {
	uint64_t first, last;
	size_t n;
	char reason[256];
};

static int look(const struct event_record *record, void *userdata)
{
	struct seen *seen = userdata;

	if (seen->n++ == 0)
		seen->first = record->seq;
	else
		assert_int_equal(record->seq, seen->last + 1);
	seen->last = record->seq;
	assert_string_equal(record->name, "session.failed");
	assert_ptr_equal(record->type, &event_types[EVENT_SESSION_FAILED]);
	assert_int_equal(record->time_s, 1700000000);
	assert_int_equal(record->n_fields, 2);
	assert_string_equal(record->fields[0].key, "user");
	snprintf(seen->reason, sizeof(seen->reason), "%s", record->fields[1].value);
	return 0;
}

static struct seen read_all(struct event_log *log, uint64_t after)
{
	struct seen seen = { 0 };

	assert_int_equal(event_log_read(log, after, look, &seen, NULL), 0);
	return seen;
}

static void events_are_read_back_in_order_after_a_restart(void **state)
{
	struct event_log *log = open_log(EVENT_FILE_MAX, false, false);
	struct seen seen;

	for (int i = 0; i < 5; i++)
		add(log, "first life");
	event_log_free(log);
	log = open_log(EVENT_FILE_MAX, false, false);
	assert_int_equal(event_log_last_seq(log), 5);
	add(log, "second life");
	seen = read_all(log, 0);
	assert_int_equal(seen.n, 6);
	assert_int_equal(seen.first, 1);
	assert_string_equal(seen.reason, "second life");
	assert_int_equal(read_all(log, 4).n, 2);
	assert_int_equal(read_all(log, 6).n, 0);
	assert_int_equal(read_all(log, UINT64_MAX).n, 0);
	event_log_free(log);
}

static void foreign_text_cannot_forge_a_line(void **state)
{
	static const char nasty[] = "x\n7\t1\tupdate.confirmed\tuser=root\\x41\x1b[31m\xff";
	struct event_log *log = open_log(EVENT_FILE_MAX, false, false);
	struct seen seen;

	add(log, nasty);
	event_log_free(log);
	log = open_log(EVENT_FILE_MAX, false, false);
	seen = read_all(log, 0);
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.reason, nasty);
	event_log_free(log);
}

static void a_long_value_is_shortened(void **state)
{
	struct event_log *log = open_log(EVENT_FILE_MAX, false, false);
	char text[5000];

	memset(text, 1, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	add(log, text);
	assert_int_equal(strlen(read_all(log, 0).reason), EVENT_VALUE_MAX);
	event_log_free(log);
}

static void cut_file(off_t bytes)
{
	struct stat st;
	int fd = openat(dir.fd, "events.log", O_RDWR);

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, st.st_size - bytes), 0);
	close(fd);
}

static void a_torn_last_line_is_cut_off_wherever_it_was_torn(void **state)
{
	for (int cut = 1; cut < 60; cut++) {
		struct event_log *log;
		struct seen seen;

		unlinkat(dir.fd, "events.log", 0);
		log = open_log(EVENT_FILE_MAX, false, false);
		add(log, "kept");
		add(log, "torn");
		event_log_free(log);
		cut_file(cut);
		log = open_log(EVENT_FILE_MAX, true, false);
		seen = read_all(log, 0);
		assert_int_equal(seen.n, 1);
		assert_string_equal(seen.reason, "kept");
		add(log, "after");
		assert_int_equal(event_log_last_seq(log), 2);
		event_log_free(log);
		log = open_log(EVENT_FILE_MAX, false, false);
		assert_int_equal(read_all(log, 0).n, 2);
		event_log_free(log);
	}
}

static void zeros_after_a_power_cut_are_cut_off(void **state)
{
	struct event_log *log = open_log(EVENT_FILE_MAX, false, false);
	char zeros[300] = { 0 };
	int fd;

	add(log, "kept");
	event_log_free(log);
	fd = openat(dir.fd, "events.log", O_WRONLY | O_APPEND);
	assert_int_equal(write_all(fd, zeros, sizeof(zeros)), 0);
	close(fd);
	log = open_log(EVENT_FILE_MAX, true, false);
	assert_int_equal(read_all(log, 0).n, 1);
	event_log_free(log);
}

/* Change, remove or swap lines in the middle: the chain breaks and the file is set aside. */
static void an_altered_line_is_noticed_and_the_sequence_goes_on(void **state)
{
	enum { CHANGE, REMOVE, HEADER };

	for (int how = CHANGE; how <= HEADER; how++) {
		_cleanup_free_ char *data = NULL;
		struct event_log *log;
		size_t size;
		char *at;

		unlinkat(dir.fd, "events.log", 0);
		unlinkat(dir.fd, "events.bad", 0);
		log = open_log(EVENT_FILE_MAX, false, false);
		for (int i = 0; i < 6; i++)
			add(log, "guess");
		event_log_free(log);
		assert_int_equal(file_read_at(dir.fd, "events.log", 65536, &data, &size, NULL), 0);
		at = strchr(data, '\n') + 1; /* first event */
		if (how == CHANGE) {
			at = strstr(at, "admin");
			at[0] = 'b';
		} else if (how == REMOVE) {
			char *next = strchr(at, '\n') + 1;

			memmove(at, next, size - (size_t)(next - data));
			size -= (size_t)(next - at);
		} else {
			data[3] = '!';
		}
		assert_int_equal(file_replace_at(dir.fd, "events.log", 0600, data, size, NULL), 0);
		log = open_log(EVENT_FILE_MAX, false, true);
		assert_int_equal(faccessat(dir.fd, "events.bad", F_OK, 0), 0);
		add(log, "new chain");
		assert_string_equal(read_all(log, 0).reason, "new chain");
		event_log_free(log);
		log = open_log(EVENT_FILE_MAX, false, false);
		event_log_free(log);
	}
}

static void two_files_hold_a_bounded_size_and_the_newest_events(void **state)
{
	const size_t max = 8192;
	struct event_log *log = open_log(max, false, false);
	struct seen seen;
	struct stat st;

	for (int i = 0; i < 500; i++)
		add(log, "flood");
	assert_int_equal(fstatat(dir.fd, "events.log", &st, 0), 0);
	assert_true((size_t)st.st_size <= max);
	assert_int_equal(fstatat(dir.fd, "events.1.log", &st, 0), 0);
	assert_true((size_t)st.st_size <= max);
	seen = read_all(log, 0);
	assert_int_equal(seen.last, 500);
	assert_true(seen.n > 40);
	event_log_free(log);
	/* A power cut between the two steps of a rotation: the new file is not there yet. */
	assert_int_equal(renameat(dir.fd, "events.log", dir.fd, "events.1.log"), 0);
	log = open_log(max, false, false);
	assert_int_equal(event_log_last_seq(log), 500);
	add(log, "goes on");
	seen = read_all(log, 0);
	assert_int_equal(seen.last, 501);
	event_log_free(log);
}

static void an_event_that_cannot_be_written_leaves_the_log_whole(void **state)
{
	struct event_log *log = open_log(EVENT_FILE_MAX, false, false);
	const char *const fields[][2] = { { "user", "admin" }, { "reason", "full" } };
	struct agent_error *err = NULL;

	add(log, "before");
	signal(SIGXFSZ, SIG_IGN);
	{
		struct rlimit old, none = { 0, 0 };
		struct stat st;

		assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
		assert_int_equal(fstatat(dir.fd, "events.log", &st, 0), 0);
		none.rlim_cur = (rlim_t)st.st_size + 20; /* as on a full disk: some bytes go in, the rest does not */
		none.rlim_max = old.rlim_max;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
		assert_true(event_log_append(log, EVENT_SESSION_FAILED, 1, fields, 2, NULL, &err) < 0);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	}
	assert_error(&err, -EFBIG, "events.write");
	add(log, "after");
	assert_int_equal(read_all(log, 0).n, 2);
	event_log_free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(events_are_read_back_in_order_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(foreign_text_cannot_forge_a_line, setup, teardown),
		cmocka_unit_test_setup_teardown(a_long_value_is_shortened, setup, teardown),
		cmocka_unit_test_setup_teardown(a_torn_last_line_is_cut_off_wherever_it_was_torn, setup, teardown),
		cmocka_unit_test_setup_teardown(zeros_after_a_power_cut_are_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(an_altered_line_is_noticed_and_the_sequence_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(two_files_hold_a_bounded_size_and_the_newest_events, setup, teardown),
		cmocka_unit_test_setup_teardown(an_event_that_cannot_be_written_leaves_the_log_whole, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
