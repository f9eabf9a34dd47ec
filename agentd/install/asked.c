/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/install/asked.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "agentd/common/asks.h"
#include "base/file.h"
#include "base/macro.h"

#define ASK_MIN (16 * KIB)	/* headers, manifest and signature come a few bytes at a time */

bool asked_is_source(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int lost(struct agent_error **err)
{
	return agent_error_set(err, -EPIPE, "update.lost", "the download ended before the bundle was complete");
}

/* Sets what is under way to the answer. */
static int ask(struct asked *a, uint64_t offset, uint64_t length, struct agent_error **err)
{
	const struct ask ask = { .offset = offset, .length = length };
	struct ask_answer answer;

	if (write_all(a->fd, &ask, sizeof(ask)) < 0 || read_full(a->fd, &answer, sizeof(answer)) != (ssize_t)sizeof(answer))
		return lost(err);
	if (answer.offset != offset || (answer.length > length && (offset != 0 || answer.length != ASK_STREAM)))
		return agent_error_set(err, -EPROTO, "update.lost", "asked for %" PRIu64 " bytes from %" PRIu64 " on, agentd-fetch sends %" PRIu64 " from %" PRIu64,
				       length, offset, answer.length, answer.offset);
	a->position = offset;
	a->left = answer.length;
	return 0;
}

int asked_open(int fd, struct asked *ret_asked, bool *ret_is_stream, struct agent_error **err)
{
	int r;

	*ret_asked = (struct asked){ .fd = fd };
	r = ask(ret_asked, 0, ASK_MIN, err);
	*ret_is_stream = r == 0 && ret_asked->left == ASK_STREAM;
	return r;
}

/* Bytes of the answer that nobody wants after all. */
static int drain(struct asked *a, uint64_t size, struct agent_error **err)
{
	uint8_t junk[4096];

	while (size > 0) {
		size_t part = size < sizeof(junk) ? (size_t)size : sizeof(junk);

		if (read_full(a->fd, junk, part) != (ssize_t)part)
			return lost(err);
		size -= part;
		a->position += part;
		a->left -= part;
	}
	return 0;
}

/* Make @offset the next byte of an answer; left stays 0 at the end of the bundle. */
static int seek(struct asked *a, uint64_t offset, uint64_t n_ahead, struct agent_error **err)
{
	uint64_t unwanted = a->left;
	int r;

	if (offset >= a->position && offset - a->position < a->left)
		unwanted = offset - a->position;
	r = drain(a, unwanted, err);
	if (r < 0 || a->left > 0)
		return r;
	return ask(a, offset, n_ahead > ASK_MIN ? n_ahead : ASK_MIN, err);
}

int asked_read(void *asked, uint64_t offset, uint64_t n_ahead, void *data, size_t size, size_t *ret_size, struct agent_error **err)
{
	struct asked *a = asked;
	size_t done = 0;

	while (done < size) {
		size_t part;
		int r = seek(a, offset + done, n_ahead - done, err);

		if (r < 0)
			return r;
		if (a->left == 0)
			break;
		part = a->left < size - done ? (size_t)a->left : size - done;
		if (read_full(a->fd, (uint8_t *)data + done, part) != (ssize_t)part)
			return lost(err);
		done += part;
		a->position += part;
		a->left -= part;
	}
	*ret_size = done;
	return 0;
}
