/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_SOURCE_H
#define UPDATE_SOURCE_H
/* Where a bundle comes from: a descriptor that is read front to back, or somebody who is asked for each part of it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <agent/error.h>
#include <agent/update.h>

struct source {
	int fd;
	bool is_file;			/* of a regular file parts can be left out without reading them */
	agent_update_read_fn read;	/* NULL: fd */
	void *userdata;
	uint64_t position;		/* in the bundle; where @fd was at the beginning is 0 */
	uint64_t ahead;			/* known to be wanted from there on, in one piece */
};

/* @fd is lent, and read from where it stands. */
struct source source_from_fd(int fd);
struct source source_from_read(agent_update_read_fn read, void *userdata);

/* Up to @size bytes; short only at the end. -errno; @err is set by a function that was asked, not for descriptors. */
ssize_t source_read(struct source *source, void *data, size_t size, struct agent_error **err);
/* Pass over the next @size bytes, without fetching them where that is possible. -errno. */
int source_skip(struct source *source, uint64_t size, struct agent_error **err);
/* The next @size bytes will all be read: worth one request. */
void source_expect(struct source *source, uint64_t size);

#endif
