/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_QUEUE_FIXTURE_H
#define TESTS_UNIT_QUEUE_FIXTURE_H
/* A folder with queue files, and messages that say what they are. */
#include "tests/unit/test.h"

#include <errno.h>

#include "base/file.h"
#include "net/queue.h"

static struct temp_dir dir;
static char file[128], ram_file[128];

static inline int set_up(void **state)
{
	temp_dir_make(&dir);
	snprintf(file, sizeof(file), "%s/q", dir.path);
	snprintf(ram_file, sizeof(ram_file), "%s/ram", dir.path);
	return 0;
}

static inline int tear_down(void **state)
{
	temp_dir_remove(&dir);
	return 0;
}

static inline struct agent_queue_options small(void)
{
	return (struct agent_queue_options){ .file = file, .size_bytes = 16384, .max_in_flight = 8 };
}

static inline struct agent_queue *open_queue(const struct agent_queue_options *options)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_queue *queue = NULL;

	if (agent_queue_open(options, &queue, &err) < 0)
		fail_msg("%s", agent_error_message(err));
	return queue;
}

/* A payload that says what it is: its number, and bytes that follow from it. */
static inline size_t fill(uint8_t *data, uint64_t n)
{
	size_t size = 9 + n * 37 % 400;

	memcpy(data, &n, sizeof(n));
	for (size_t i = sizeof(n); i < size; i++)
		data[i] = (uint8_t)(n * 131 + i * 7);
	return size;
}

static inline int add(struct agent_queue *queue, uint64_t n)
{
	uint8_t data[512];
	size_t size = fill(data, n);
	uint64_t seq = 0;
	int r;

	r = agent_queue_add(queue, "some/topic", data, size, (unsigned)(n % 256), 0, &seq, NULL);
	return r;
}

/* The number in a message, which must be exactly what add() made. */
static inline uint64_t number_of(const struct agent_queue_message *m)
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

static inline struct agent_queue_options with_ram(uint64_t loss)
{
	struct agent_queue_options options = small();

	options.ram_file = ram_file;
	options.ram_size_bytes = 8192;
	options.loss_messages = loss;
	return options;
}

static inline void expect_next(struct agent_queue *queue, uint64_t n)
{
	struct agent_queue_message m;

	assert_int_equal(agent_queue_next(queue, &m, NULL), 1);
	assert_int_equal(number_of(&m), n);
}

#endif
