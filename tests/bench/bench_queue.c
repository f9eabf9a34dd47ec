/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_queue make|fill|drain FILE MESSAGES PAYLOAD SYNC_EVERY
 * fill prints the seconds it took and the bytes written per payload byte, and ends as by a crash; drain prints the
 * seconds to open and to drain, and the peak RSS in KiB.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <agent/queue.h>

static void die(const char *what, struct agent_error *err)
{
	fprintf(stderr, "%s: %s\n", what, err == NULL ? "failed" : agent_error_message(err));
	exit(1);
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct agent_queue *open_queue(const char *file, uint64_t size)
{
	struct agent_queue_options options = { .file = file, .size_bytes = size, .max_in_flight = 16 };
	struct agent_error *err = NULL;
	struct agent_queue *queue = NULL;

	if (agent_queue_open(&options, &queue, &err) < 0)
		die(file, err);
	return queue;
}

static void fill(const char *file, uint64_t n_messages, size_t size, uint64_t sync_every, uint64_t file_size)
{
	struct agent_queue *queue = open_queue(file, file_size);
	struct agent_queue_stats before, after;
	struct agent_error *err = NULL;
	char *payload = malloc(size);
	double start;

	if (payload == NULL)
		die("payload", NULL);
	memset(payload, 'x', size);
	agent_queue_get_stats(queue, &before);
	start = now_s();
	for (uint64_t i = 1; i <= n_messages; i++) {
		if (agent_queue_add(queue, "meter/17/power", payload, size, 0, 0, NULL, &err) < 0)
			die("add", err);
		if ((i % sync_every == 0 || i == n_messages) && agent_queue_sync(queue, &err) < 0)
			die("sync", err);
	}
	agent_queue_get_stats(queue, &after);
	printf("%.3f %.3f\n", now_s() - start, (double)(after.written_bytes - before.written_bytes) / (double)(n_messages * size));
	fflush(stdout);
	_exit(0);	/* without closing: the next opening is one after a crash */
}

static void drain(const char *file, uint64_t n_messages, uint64_t file_size)
{
	struct agent_queue_message m;
	struct agent_error *err = NULL;
	struct agent_queue *queue;
	double start = now_s(), opened;
	struct rusage usage;
	uint64_t n = 0;
	int r;

	queue = open_queue(file, file_size);
	opened = now_s();
	while ((r = agent_queue_next(queue, &m, &err)) > 0) {
		if (agent_queue_done(queue, m.seq, &err) < 0)
			die("done", err);
		n++;
	}
	if (r < 0 || n != n_messages)
		die("drain", err);
	getrusage(RUSAGE_SELF, &usage);
	printf("%.3f %.3f %ld\n", opened - start, now_s() - opened, usage.ru_maxrss);
	agent_queue_free(queue);
}

int main(int argc, char **argv)
{
	uint64_t n_messages, file_size;
	size_t size;

	if (argc != 6) {
		fprintf(stderr, "bench_queue make|fill|drain FILE MESSAGES PAYLOAD SYNC_EVERY\n");
		return 2;
	}
	n_messages = strtoull(argv[3], NULL, 10);
	size = (size_t)strtoull(argv[4], NULL, 10);
	file_size = n_messages * (size + 64) + 65536;
	if (strcmp(argv[1], "make") == 0)
		agent_queue_free(open_queue(argv[2], file_size));
	else if (strcmp(argv[1], "fill") == 0)
		fill(argv[2], n_messages, size, strtoull(argv[5], NULL, 10), file_size);
	else
		drain(argv[2], n_messages, file_size);
	return 0;
}
