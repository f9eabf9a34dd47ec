/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue file with bytes changed: input is a list of places (2 bytes, multiples of 4 in the records) and what to put
 * there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "net/queue.h"

#define SIZE (8192 + 8192)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t base[SIZE], image[SIZE];
static char path[64];

static int no_sync(int fd)
{
	return 0;
}

static const struct ring_io io = { .sync = no_sync };
static const struct agent_queue_options options = { .file = path, .size_bytes = 8192, .max_in_flight = 64 };

static void store(const uint8_t *bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write_all(fd, bytes, SIZE) < 0)
		abort();
	close(fd);
}

static void clean_up(void)
{
	char name[80];

	unlink(path);
	snprintf(name, sizeof(name), "%s.damaged", path);
	unlink(name);
}

/* A file in use with some messages, as a crash leaves it. */
static void make_base(void)
{
	struct agent_queue *queue;
	uint8_t payload[300] = { 0 };
	int fd;

	snprintf(path, sizeof(path), "/tmp/fuzz-queue-%d", (int)getpid());
	atexit(clean_up);
	if (queue_open(&options, &io, &queue, NULL) < 0)
		abort();
	for (size_t i = 0; i < 20; i++)
		if (agent_queue_add(queue, "t/x", payload, i * 13, 0, 0, NULL, NULL) < 0)
			abort();
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread_full(fd, base, SIZE, 0) != SIZE)
		abort();
	close(fd);
	agent_queue_free(queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent_queue *queue;
	struct agent_queue_message m;
	uint64_t last = 0;
	int n = 0;

	if (path[0] == '\0')
		make_base();
	memcpy(image, base, SIZE);
	for (size_t i = 0; i + 6 <= size; i += 6)
		memcpy(image + (data[i] * 256u + data[i + 1]) * 4 % SIZE, data + i + 2, 4);
	store(image);
	if (queue_open(&options, &io, &queue, NULL) < 0)
		abort();	/* damage is no reason not to open */
	while (n++ < 1000 && agent_queue_next(queue, &m, NULL) == 1) {
		if (m.seq <= last || strlen(m.topic) > 65535)
			abort();
		last = m.seq;
		if (agent_queue_done(queue, m.seq, NULL) < 0)
			abort();
	}
	if (n > 1000)
		abort();
	if (agent_queue_add(queue, "after", "x", 1, 0, 0, NULL, NULL) < 0 || agent_queue_next(queue, &m, NULL) != 1 || m.size != 1)
		abort();
	agent_queue_free(queue);
	return 0;
}
