/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/slot_io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "base/file.h"
#include "base/thread.h"

struct slot_io {
	int fd;
	enum slot_io_mode mode;
	bool is_direct;
	size_t block_bytes, n_blocks;
	uint8_t *memory;
	size_t sizes[SLOT_IO_BLOCKS_MAX];
	uint64_t offsets[SLOT_IO_BLOCKS_MAX];
	uint64_t offset, total_bytes;	/* writing: where the next block goes */
	struct tag *tag;		/* the thread's, or NULL */

	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Below: under the lock. Blocks first..first+n_full-1 (round the ring) are full. */
	size_t first, n_full;
	bool is_lent;	/* the reader of the ring holds block "first" */
	bool stop, at_end;
	int error;
};

static uint8_t *block_at(struct slot_io *io, size_t i)
{
	return io->memory + (i % io->n_blocks) * io->block_bytes;
}

static void direct_off(struct slot_io *io)
{
	int flags = fcntl(io->fd, F_GETFL);

	if (flags >= 0)
		(void)fcntl(io->fd, F_SETFL, flags & ~O_DIRECT);
	io->is_direct = false;
}

static int block_write(struct slot_io *io, const uint8_t *block, size_t size, uint64_t offset)
{
	int r;

	/* The tail is no whole sector. */
	if (io->is_direct && size % SLOT_IO_ALIGN != 0)
		direct_off(io);
	r = pwrite_all(io->fd, block, size, offset);
	if (r == -EINVAL && io->is_direct) { /* the file system took the flag, but not the call */
		direct_off(io);
		r = pwrite_all(io->fd, block, size, offset);
	}
	return r;
}

static int block_read(struct slot_io *io, uint8_t *block, size_t size, uint64_t offset)
{
	/* With O_DIRECT whole sectors are asked for; a file may still end inside the last. */
	size_t want = io->is_direct ? (size + SLOT_IO_ALIGN - 1) / SLOT_IO_ALIGN * SLOT_IO_ALIGN : size;
	ssize_t n = pread(io->fd, block, want, (off_t)offset);

	if (n < 0 && errno == EINVAL && io->is_direct)
		direct_off(io);
	if (n < (ssize_t)size) {
		if (n >= 0 && n % SLOT_IO_ALIGN != 0)
			direct_off(io);
		n = pread_full(io->fd, block, size, offset);
	}
	if (n < 0)
		return (int)n;
	return (size_t)n < size ? -EIO : 0;
}

static void *write_thread(void *arg)
{
	struct slot_io *io = arg;

	pthread_mutex_lock(&io->lock);
	/* What was handed over is written even if the rest never comes: the next installation goes on behind it. */
	while (io->error == 0 && (!io->stop || io->n_full > 0)) {
		uint64_t offset;
		size_t size;
		int r;

		if (io->n_full == 0) {
			pthread_cond_wait(&io->changed, &io->lock);
			continue;
		}
		size = io->sizes[io->first];
		offset = io->offsets[io->first];
		pthread_mutex_unlock(&io->lock);
		r = io->tag == NULL ? 0 : tag_update(io->tag, block_at(io, io->first), size);
		if (r == 0)
			r = block_write(io, block_at(io, io->first), size, offset);
		pthread_mutex_lock(&io->lock);
		io->error = r;
		io->first = (io->first + 1) % io->n_blocks;
		io->n_full--;
		pthread_cond_broadcast(&io->changed);
	}
	pthread_mutex_unlock(&io->lock);
	return NULL;
}

static void *read_thread(void *arg)
{
	struct slot_io *io = arg;
	uint64_t offset = 0;

	pthread_mutex_lock(&io->lock);
	while (!io->stop && io->error == 0 && offset < io->total_bytes) {
		size_t size = io->block_bytes, i;
		int r;

		if (io->n_full == io->n_blocks) {
			pthread_cond_wait(&io->changed, &io->lock);
			continue;
		}
		if (size > io->total_bytes - offset)
			size = (size_t)(io->total_bytes - offset);
		i = (io->first + io->n_full) % io->n_blocks;
		pthread_mutex_unlock(&io->lock);
		r = block_read(io, block_at(io, i), size, io->offset + offset);
		pthread_mutex_lock(&io->lock);
		offset += size;
		io->sizes[i] = size;
		io->error = r;
		if (r == 0)
			io->n_full++;
		pthread_cond_broadcast(&io->changed);
	}
	io->at_end = true;
	pthread_cond_broadcast(&io->changed);
	pthread_mutex_unlock(&io->lock);
	return NULL;
}

int slot_io_new(int fd, enum slot_io_mode mode, size_t block_bytes, uint64_t offset, uint64_t total_bytes, struct tag *tag, struct slot_io **ret_io)
{
	_cleanup_(slot_io_freep) struct slot_io *io = calloc(1, sizeof(*io));
	int flags, r;

	if (io == NULL)
		return -ENOMEM;
	pthread_mutex_init(&io->lock, NULL);
	pthread_cond_init(&io->changed, NULL);
	io->fd = fd;
	io->mode = mode;
	io->block_bytes = block_bytes;
	io->offset = offset;
	io->total_bytes = total_bytes;
	io->tag = tag;
	/* What is tagged comes from unpack.c as a rule, which holds two blocks of its own. */
	io->n_blocks = SLOT_IO_MEMORY / block_bytes - (tag != NULL ? 1 : 0);
	if (io->n_blocks > SLOT_IO_BLOCKS_MAX)
		io->n_blocks = SLOT_IO_BLOCKS_MAX;
	if (io->n_blocks < 2)
		io->n_blocks = 2;
	io->memory = aligned_alloc(SLOT_IO_ALIGN, io->n_blocks * block_bytes);
	if (io->memory == NULL)
		return -ENOMEM;
	flags = fcntl(fd, F_GETFL);
	io->is_direct = offset % SLOT_IO_ALIGN == 0 && flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
	r = thread_start(&io->thread, NULL, mode == SLOT_IO_WRITE ? write_thread : read_thread, io);
	if (r < 0)
		return r;
	io->has_thread = true;
	*ret_io = TAKE_PTR(io);
	return 0;
}

struct slot_io *slot_io_free(struct slot_io *io)
{
	if (io == NULL)
		return NULL;
	if (io->has_thread) {
		pthread_mutex_lock(&io->lock);
		io->stop = true;
		pthread_cond_broadcast(&io->changed);
		pthread_mutex_unlock(&io->lock);
		pthread_join(io->thread, NULL);
	}
	if (io->is_direct)
		direct_off(io);
	pthread_cond_destroy(&io->changed);
	pthread_mutex_destroy(&io->lock);
	free(io->memory);
	free(io);
	return NULL;
}

size_t slot_io_block_bytes(const struct slot_io *io)
{
	return io->block_bytes;
}

int slot_io_get_block(struct slot_io *io, uint8_t **ret_block)
{
	int r;

	pthread_mutex_lock(&io->lock);
	while (io->error == 0 && io->n_full == io->n_blocks)
		pthread_cond_wait(&io->changed, &io->lock);
	*ret_block = block_at(io, io->first + io->n_full);
	r = io->error;
	pthread_mutex_unlock(&io->lock);
	return r;
}

void slot_io_skip(struct slot_io *io, uint64_t size)
{
	io->offset += size;
}

int slot_io_put_block(struct slot_io *io, size_t size)
{
	size_t i;
	int r;

	pthread_mutex_lock(&io->lock);
	i = (io->first + io->n_full) % io->n_blocks;
	io->sizes[i] = size;
	io->offsets[i] = io->offset;
	io->offset += size;
	io->n_full++;
	pthread_cond_broadcast(&io->changed);
	r = io->error;
	pthread_mutex_unlock(&io->lock);
	return r;
}

int slot_io_sync(struct slot_io *io)
{
	int r;

	pthread_mutex_lock(&io->lock);
	while (io->error == 0 && io->n_full > 0)
		pthread_cond_wait(&io->changed, &io->lock);
	r = io->error;
	pthread_mutex_unlock(&io->lock);
	if (r == 0 && fdatasync(io->fd) < 0)
		r = -errno;
	return r;
}

int slot_io_next_block(struct slot_io *io, const uint8_t **ret_block, size_t *ret_size)
{
	int r;

	pthread_mutex_lock(&io->lock);
	if (io->is_lent) {
		io->first = (io->first + 1) % io->n_blocks;
		io->n_full--;
		io->is_lent = false;
		pthread_cond_broadcast(&io->changed);
	}
	while (io->error == 0 && io->n_full == 0 && !io->at_end)
		pthread_cond_wait(&io->changed, &io->lock);
	r = io->error;
	*ret_size = 0;
	if (r == 0 && io->n_full > 0) {
		io->is_lent = true;
		*ret_block = block_at(io, io->first);
		*ret_size = io->sizes[io->first];
	}
	pthread_mutex_unlock(&io->lock);
	return r;
}
