/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/source.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

struct source source_from_fd(int fd)
{
	struct stat st;

	return (struct source){ .fd = fd, .is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_CUR) >= 0 };
}

struct source source_from_read(agent_update_read_fn read, void *userdata)
{
	return (struct source){ .fd = -1, .read = read, .userdata = userdata };
}

static void advance(struct source *s, uint64_t size)
{
	s->position += size;
	s->ahead -= size < s->ahead ? size : s->ahead;
}

ssize_t source_read(struct source *s, void *data, size_t size, struct agent_error **err)
{
	ssize_t n = 0;

	if (s->read == NULL) {
		n = read_full(s->fd, data, size);
	} else if (size > 0) {
		size_t got = 0;
		int r = s->read(s->userdata, s->position, s->ahead > size ? s->ahead : size, data, size, &got, err);

		n = r < 0 ? r : got > size ? -EPROTO : (ssize_t)got;
	}
	if (n > 0)
		advance(s, (uint64_t)n);
	return n;
}

static int read_away(struct source *s, uint64_t size)
{
	char junk[16 * 1024];

	while (size > 0) {
		size_t part = size < sizeof(junk) ? (size_t)size : sizeof(junk);
		ssize_t n = read_full(s->fd, junk, part);

		if (n < 0)
			return (int)n;
		if ((size_t)n < part)
			return 0;	/* whoever reads on finds the end */
		size -= part;
	}
	return 0;
}

int source_skip(struct source *s, uint64_t size, struct agent_error **err)
{
	int r = 0;

	if (s->is_file)
		r = lseek(s->fd, (off_t)size, SEEK_CUR) < 0 ? -errno : 0;
	else if (s->read == NULL)
		r = read_away(s, size);
	if (r == 0)
		advance(s, size);
	return r;
}

void source_expect(struct source *s, uint64_t size)
{
	s->ahead = size;
}
