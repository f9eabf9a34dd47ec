/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RING_H
#define NET_RING_H
/*
 * A file of fixed size that holds records in order: appended at the head, released at the tail. docs/design/queue.md has
 * the layout and says why every state a power cut can leave is read correctly. Not locked; one process per file.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#define RING_RECORD_HEADER 28u
#define RING_TOPIC_MAX 65535u
#define RING_PAYLOAD_MAX (16u * 1024 * 1024 - 1)
#define RING_SIZE_MIN (8u * 1024)

struct ring;

/* Bytes a record takes in the file. */
size_t ring_record_size(size_t topic_size, size_t payload_size);

/* What a ring does to its file; NULL members are the real calls. 0 or -errno, whole ranges only. Tests log and break these. */
struct ring_io {
	int (*read)(int fd, void *data, size_t size, uint64_t offset);
	int (*write)(int fd, const void *data, size_t size, uint64_t offset);
	int (*sync)(int fd);
};

struct ring_record {
	uint64_t seq;		/* rises from record to record, may skip */
	uint32_t stamp_s;	/* the queue's own clock when it was added */
	uint32_t ttl_s;		/* 0: none */
	uint8_t flags;
	const char *topic;	/* NUL-terminated when it comes from ring_read() */
	size_t topic_size;
	const void *payload;
	size_t payload_size;
};

struct ring_cursor {
	uint64_t pos, next_seq;
};

struct ring_stats {
	uint64_t n_records, used_bytes, size_bytes;
	uint64_t n_damaged, damaged_bytes;	/* regions skipped since the ring was made */
	uint64_t payload_bytes, written_bytes;	/* since the ring was made: what came in, what went to the file */
	uint64_t n_syncs;
	bool is_replaced;			/* both superblocks were bad: set aside as FILE.damaged */
};

/*
 * Open @path, or make it: all @size_bytes are written, so that later writes need no space and no metadata. An existing ring
 * keeps its size while it holds records. Locked against a second opener. @io: lent, or NULL.
 * -EBUSY (queue.busy), -EINVAL, -ENOSPC, -EIO and others (queue.file).
 */
int ring_open(const char *path, uint64_t size_bytes, const struct ring_io *io, struct ring **ret_ring, struct agent_error **err);
/* Save and close. Takes NULL, returns NULL. */
struct ring *ring_close(struct ring *ring);

/*
 * -ENOSPC: no room before something is released. -EMSGSIZE: never fits. -EIO: a write or sync failed; the ring then refuses
 * everything until it is opened again, because nobody knows what the medium holds.
 */
int ring_append(struct ring *ring, const struct ring_record *record);
/* Everything appended so far is on the medium. -EIO: as above. */
int ring_sync(struct ring *ring);
/*
 * The same in three steps, for a caller that drops its lock for the second. The first gives what the third needs; with
 * @do_save it writes the superblock if something was released since.
 */
struct ring_mark {
	uint64_t slot_tail[2], n_super_writes;
};
int ring_sync_begin(struct ring *ring, bool do_save, struct ring_mark *ret_mark);
int ring_sync_wait(const struct ring *ring);
int ring_sync_end(struct ring *ring, const struct ring_mark *mark, int result);

struct ring_buffer {
	uint8_t *data;
	size_t size;
};
void ring_buffer_free(struct ring_buffer *buffer);

/* Where the oldest record is, and where the next one will be. */
struct ring_cursor ring_oldest(const struct ring *ring);
struct ring_cursor ring_newest(const struct ring *ring);
/* 1 and the record at @cursor, which moves behind it; 0 at the head. Its bytes are in @buffer. Damage is skipped and counted. */
int ring_read(struct ring *ring, struct ring_cursor *cursor, struct ring_buffer *buffer, struct ring_record *ret_record);
/* What lies before @cursor is done; @n_records of them. Reaches the file later: after a crash some come again. */
int ring_release(struct ring *ring, struct ring_cursor cursor, uint64_t n_records);

/* Highest sequence number ever appended, and latest stamp. */
uint64_t ring_last_seq(const struct ring *ring);
uint32_t ring_last_stamp(const struct ring *ring);
void ring_get_stats(const struct ring *ring, struct ring_stats *ret_stats);

#endif
