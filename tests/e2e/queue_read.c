/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For queue_cut.py: opens queues with the code and the options of agentd-link, says what is in them and puts one more message in.
 *
 *   stdin, one queue a line:  FILE RAM-FILE|- SIZE LOSS-MESSAGES
 *   stdout: "m TOPIC PAYLOAD" for each message, then "end DAMAGED REPLACED", or "bad REASON"
 *
 * The files are copies, so nothing here waits for a disk.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "net/queue.h"

static int no_sync(int fd)
{
	return 0;
}

static int take_all(struct agent_queue *queue, struct agent_error **err)
{
	struct agent_queue_message m;
	int r;

	while ((r = agent_queue_next(queue, &m, err)) == 1) {
		printf("m %s %.*s\n", m.topic, (int)m.size, (const char *)m.payload);
		r = agent_queue_done(queue, m.seq, err);
		if (r < 0)
			return r;
	}
	return r;
}

/* And it works on from there: what comes next is kept, and nothing else comes with it. */
static int works_on(struct agent_queue *queue, struct agent_error **err)
{
	struct agent_queue_message m;
	int r = agent_queue_add(queue, "next", "one", 3, 0, 0, NULL, err);

	if (r >= 0)
		r = agent_queue_sync(queue, err);
	if (r >= 0)
		r = agent_queue_next(queue, &m, err);
	if (r >= 0 && (r != 1 || strcmp(m.topic, "next") != 0 || m.size != 3 || memcmp(m.payload, "one", 3) != 0))
		r = agent_error_set(err, -EBADMSG, "queue.next", "a message that was put in did not come out");
	return r;
}

static int read_queue(const char *file, const char *ram_file, uint64_t size, uint64_t loss_messages, struct agent_error **err)
{
	static const struct ring_io io = { .sync = no_sync };
	struct agent_queue_options options = {
		.file = file, .size_bytes = size, .ram_file = strcmp(ram_file, "-") == 0 ? NULL : ram_file, .ram_size_bytes = 256 * 1024,
		.loss_messages = loss_messages, .max_in_flight = 1,
	};
	struct agent_queue_stats stats;
	struct agent_queue *queue;
	int r = queue_open(&options, &io, &queue, err);

	if (r < 0)
		return r;
	r = take_all(queue, err);
	agent_queue_get_stats(queue, &stats);
	if (r >= 0)
		r = works_on(queue, err);
	agent_queue_free(queue);
	if (r >= 0)
		printf("end %" PRIu64 " %d\n", stats.n_damaged, stats.is_replaced);
	return r;
}

int main(void)
{
	char line[1024], file[400], ram_file[400];
	uint64_t size, loss_messages;

	while (fgets(line, sizeof(line), stdin) != NULL) {
		struct agent_error *err = NULL;

		if (sscanf(line, "%399s %399s %" SCNu64 " %" SCNu64, file, ram_file, &size, &loss_messages) != 4)
			return 2;
		if (read_queue(file, ram_file, size, loss_messages, &err) < 0)
			printf("bad %s\n", agent_error_message(err));
		agent_error_free(err);
		fflush(stdout);
	}
	return 0;
}
