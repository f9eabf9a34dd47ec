/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_SLOT_IO_H
#define UPDATE_SLOT_IO_H
/*
 * One pass over a slot, front to back, with the disk working in a thread of its own while the caller reads and hashes.
 * Blocks go round in a ring; O_DIRECT where the file system has it, so that nothing piles up in the page cache.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "crypto/tag.h"

#define SLOT_IO_ALIGN 4096		   /* fits every block device and file system we know */
#define SLOT_IO_MEMORY (1024 * 1024)	   /* all blocks of one ring together, but at least two */
#define SLOT_IO_BLOCKS_MAX 16

struct slot_io;

enum slot_io_mode { SLOT_IO_WRITE, SLOT_IO_READ };

/*
 * @fd is lent until slot_io_free(); the pass begins at byte @offset. @block_bytes is a multiple of SLOT_IO_ALIGN. For reading,
 * @total_bytes are to be read. For writing, @tag takes all that is written, by the thread that writes, which has it until slot_io_sync(); NULL if
 * nobody wants it. -errno.
 */
int slot_io_new(int fd, enum slot_io_mode mode, size_t block_bytes, uint64_t offset, uint64_t total_bytes, struct tag *tag, struct slot_io **ret_io);
/* Ends the thread. Blocks handed over are written before, but not synced. */
struct slot_io *slot_io_free(struct slot_io *io);
DEFINE_CLEANUP(struct slot_io *, slot_io_free)

size_t slot_io_block_bytes(const struct slot_io *io);
/* Writing: lend a free block (waits for one), then hand it over with @size bytes; only the last may be short. -errno of the disk. */
int slot_io_get_block(struct slot_io *io, uint8_t **ret_block);
int slot_io_put_block(struct slot_io *io, size_t size);
/* Writing: leave @size bytes, a multiple of SLOT_IO_ALIGN but at the end, as they are; the next block goes behind them. */
void slot_io_skip(struct slot_io *io, uint64_t size);
/* Writing: wait until all is written, then fdatasync. -errno. */
int slot_io_sync(struct slot_io *io);
/* Reading: lend the next block, valid until the next call; size 0 at the end. -errno. */
int slot_io_next_block(struct slot_io *io, const uint8_t **ret_block, size_t *ret_size);

#endif
