/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <zlib.h>

#include "base/file.h"
#include "base/macro.h"

#define SUPER_SIZE 512u
#define SUPER_STEP 4096u	/* the two do not share a sector or a page */
#define DATA_START 8192u
#define RECORD_MAGIC 0x51a7u
#define RECORD_ALIGN 4u
#define SEARCH_STEP 4096u	/* an unreadable place costs that much */
#define SEQ_SPAN (UINT64_C(1) << 40)	/* a sequence number further ahead is not one of ours */
#define BUFFER_KEPT 65536u
#define SAVE_EVERY 64u		/* records released between two writes of a superblock: so many at most come again after a crash */
#define SYNC_EVERY 16u		/* such writes between two syncs, when nothing else syncs: after a power cut it is so many times as many */

struct super {
	uint64_t salt;
	uint64_t data_size;
	uint64_t generation;
	uint64_t tail_pos;
	uint64_t tail_seq;	/* records at the tail have at least this number */
	uint64_t head_pos;	/* valid if is_clean */
	uint64_t last_seq;
	uint64_t n_records;
	uint64_t payload_bytes, written_bytes, n_syncs, n_damaged, damaged_bytes;
	uint32_t last_stamp;
	bool is_clean;
};

struct ring {
	int fd;
	struct ring_io io;
	struct super now;
	uint64_t slot_tail[2];		/* tail in the superblocks as written */
	uint64_t synced_tail[2];	/* as they are on the medium for certain */
	uint64_t n_super_writes;
	unsigned n_unsynced_supers;
	size_t slot;			/* the one written last */
	bool is_slot_synced;
	uint64_t n_unsaved;		/* records released since the last superblock */
	uint64_t damage_seen_to;
	bool is_failed, is_replaced;
	struct ring_buffer out;
};

static void put_le(uint8_t *p, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *p, size_t n)
{
	uint64_t value = 0;

	while (n > 0)
		value = value << 8 | p[--n];
	return value;
}

static uint32_t crc_of(const uint8_t *data, size_t size, uint64_t salt)
{
	uint8_t seed[8];

	put_le(seed, salt, 8);
	return (uint32_t)crc32_z(crc32_z(0, seed, sizeof(seed)), data, size);
}

/* ---- the file */

static int real_read(int fd, void *data, size_t size, uint64_t offset)
{
	ssize_t n = pread_full(fd, data, size, offset);

	return n < 0 ? (int)n : (size_t)n < size ? -EIO : 0;
}

static int real_sync(int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static const struct ring_io real_io = { real_read, pwrite_all, real_sync };

static int fail(struct ring *ring, int r)
{
	if (r < 0)
		ring->is_failed = true;
	return r < 0 ? -EIO : r;
}

static int file_write(struct ring *ring, const void *data, size_t size, uint64_t offset)
{
	ring->now.written_bytes += size;
	return ring->io.write(ring->fd, data, size, offset);
}

/* @size bytes at @pos of the endless stream that the data area is a window of. */
static int data_access(struct ring *ring, uint8_t *data, size_t size, uint64_t pos, bool is_write)
{
	uint64_t offset = pos % ring->now.data_size, left = ring->now.data_size - offset;
	size_t first = size < left ? size : (size_t)left;
	int r;

	r = is_write ? file_write(ring, data, first, DATA_START + offset) : ring->io.read(ring->fd, data, first, DATA_START + offset);
	if (r < 0 || first == size)
		return r;
	return is_write ? file_write(ring, data + first, size - first, DATA_START) :
			  ring->io.read(ring->fd, data + first, size - first, DATA_START);
}

/* ---- superblocks */

/* The fields in the order of the file. */
#define SUPER_FIELDS(s)                                                                                                       \
	{ &(s)->salt, &(s)->data_size, &(s)->generation, &(s)->tail_pos, &(s)->tail_seq, &(s)->head_pos, &(s)->last_seq,      \
	  &(s)->n_records, &(s)->payload_bytes, &(s)->written_bytes, &(s)->n_syncs, &(s)->n_damaged, &(s)->damaged_bytes }

static const char super_magic[8] = { 'A', 'G', 'Q', 'U', 'E', 'U', 'E', '1' };

static void super_encode(const struct super *super, uint8_t data[SUPER_SIZE])
{
	const uint64_t *fields[] = SUPER_FIELDS(super);
	uint8_t *p = data + sizeof(super_magic);

	memset(data, 0, SUPER_SIZE);
	memcpy(data, super_magic, sizeof(super_magic));
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++, p += 8)
		put_le(p, *fields[i], 8);
	put_le(p, super->last_stamp, 4);
	p[4] = super->is_clean;
	put_le(data + SUPER_SIZE - 4, crc_of(data, SUPER_SIZE - 4, 0), 4);
}

static bool super_decode(const uint8_t data[SUPER_SIZE], struct super *ret_super)
{
	struct super super = { 0 };
	uint64_t *fields[] = SUPER_FIELDS(&super);
	const uint8_t *p = data + sizeof(super_magic);

	if (memcmp(data, super_magic, sizeof(super_magic)) != 0 || get_le(data + SUPER_SIZE - 4, 4) != crc_of(data, SUPER_SIZE - 4, 0))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++, p += 8)
		*fields[i] = get_le(p, 8);
	super.last_stamp = (uint32_t)get_le(p, 4);
	super.is_clean = p[4] == 1;
	if (super.data_size < RING_SIZE_MIN || super.data_size % SUPER_STEP != 0 || super.tail_pos > UINT64_MAX / 4 ||
	    super.data_size > UINT64_MAX / 4 || super.tail_seq > UINT64_MAX / 4 || super.last_seq > UINT64_MAX / 4)
		return false;
	if (super.is_clean && (super.head_pos < super.tail_pos || super.head_pos - super.tail_pos > super.data_size))
		return false;
	*ret_super = super;
	return true;
}

/* Never both at risk: as long as one is not known to be on the medium, the other stays as it is. */
static int super_write(struct ring *ring)
{
	uint8_t data[SUPER_SIZE];

	if (ring->is_slot_synced)
		ring->slot = 1 - ring->slot;
	ring->is_slot_synced = false;
	ring->n_super_writes++;
	ring->n_unsynced_supers++;
	ring->now.generation++;
	super_encode(&ring->now, data);
	ring->slot_tail[ring->slot] = ring->now.tail_pos;
	ring->n_unsaved = 0;
	return file_write(ring, data, sizeof(data), ring->slot * SUPER_STEP);
}

static int super_save(struct ring *ring)
{
	int r = super_write(ring);

	return r < 0 ? r : ring_sync(ring);
}

/*
 * Both superblocks say that the file is in use: should the newer one be damaged, the older one must not claim to know
 * where the head is.
 */
static int begin_use(struct ring *ring)
{
	int r;

	ring->now.is_clean = false;
	r = super_save(ring);
	return r < 0 ? r : super_save(ring);
}

/* ---- records */

size_t ring_record_size(size_t topic_size, size_t payload_size)
{
	return (RING_RECORD_HEADER + topic_size + payload_size + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

static int buffer_need(struct ring_buffer *buffer, size_t size)
{
	uint8_t *data;

	if (size <= buffer->size && (buffer->size <= BUFFER_KEPT || size > BUFFER_KEPT))
		return 0;
	data = realloc(buffer->data, size);
	if (data == NULL)
		return size <= buffer->size ? 0 : -ENOMEM;
	*buffer = (struct ring_buffer){ data, size };
	return 0;
}

void ring_buffer_free(struct ring_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct ring_buffer){ 0 };
}

/* A header that may be a record of at least @min_seq that ends before @limit: its whole size, else 0. */
static size_t header_check(const struct ring *ring, const uint8_t header[RING_RECORD_HEADER], uint64_t min_seq, uint64_t room)
{
	uint64_t seq = get_le(header + 12, 8) ^ ring->now.salt;
	size_t size = ring_record_size((size_t)get_le(header + 6, 2), (size_t)get_le(header + 8, 3));

	return get_le(header + 4, 2) == RECORD_MAGIC && seq >= min_seq && seq - min_seq < SEQ_SPAN && size <= room ? size : 0;
}

/* 1 if a whole record lies at @pos, 0 if not; an unreadable place is a damaged one. */
static int record_parse(struct ring *ring, uint64_t pos, uint64_t limit, uint64_t min_seq, struct ring_buffer *buffer,
			struct ring_record *ret_record, size_t *ret_size)
{
	uint8_t *p;
	size_t size;
	int r;

	r = buffer_need(buffer, RING_RECORD_HEADER);
	if (r < 0)
		return r;
	if (limit - pos < RING_RECORD_HEADER || data_access(ring, buffer->data, RING_RECORD_HEADER, pos, false) < 0)
		return 0;
	size = header_check(ring, buffer->data, min_seq, limit - pos);
	if (size == 0)
		return 0;
	r = buffer_need(buffer, size + 1);
	if (r < 0)
		return r;
	p = buffer->data;
	if (data_access(ring, p, size, pos, false) < 0 || get_le(p, 4) != crc_of(p + 4, size - 4, ring->now.salt))
		return 0;
	*ret_record = (struct ring_record){
		.topic_size = (size_t)get_le(p + 6, 2), .payload_size = (size_t)get_le(p + 8, 3), .flags = p[11],
		.seq = get_le(p + 12, 8) ^ ring->now.salt, .stamp_s = (uint32_t)get_le(p + 20, 4), .ttl_s = (uint32_t)get_le(p + 24, 4),
	};
	/* The topic moves over the header, to make room for its NUL. */
	memmove(p, p + RING_RECORD_HEADER, ret_record->topic_size);
	p[ret_record->topic_size] = '\0';
	ret_record->topic = (const char *)p;
	ret_record->payload = p + RING_RECORD_HEADER + ret_record->topic_size;
	*ret_size = size;
	return 1;
}

/* The next whole record behind a damaged place; 0 if there is none before @limit. */
static int record_search(struct ring *ring, uint64_t pos, uint64_t limit, uint64_t min_seq, struct ring_buffer *buffer,
			 struct ring_record *ret_record, uint64_t *ret_pos, size_t *ret_size)
{
	_cleanup_free_ uint8_t *window = malloc(SEARCH_STEP + RING_RECORD_HEADER);

	if (window == NULL)
		return -ENOMEM;
	for (; pos < limit && limit - pos >= RING_RECORD_HEADER; pos += SEARCH_STEP) {
		uint64_t left = limit - pos;
		size_t n = left < SEARCH_STEP + RING_RECORD_HEADER ? (size_t)left : SEARCH_STEP + RING_RECORD_HEADER;

		if (data_access(ring, window, n, pos, false) < 0)
			continue;
		for (size_t i = 0; i + RING_RECORD_HEADER <= n && i < SEARCH_STEP; i += RECORD_ALIGN) {
			int r;

			if (header_check(ring, window + i, min_seq, left - i) == 0)
				continue;
			r = record_parse(ring, pos + i, limit, min_seq, buffer, ret_record, ret_size);
			if (r != 0) {
				*ret_pos = pos + i;
				return r;
			}
		}
	}
	return 0;
}

/* Each place once, however often it is read. */
static void count_damage(struct ring *ring, uint64_t from, uint64_t to)
{
	if (to <= ring->damage_seen_to)
		return;
	ring->now.n_damaged++;
	ring->now.damaged_bytes += to - from;
	ring->damage_seen_to = to;
}

/* The record at or after @*pos, which moves behind it. */
static int record_next(struct ring *ring, uint64_t *pos, uint64_t limit, uint64_t min_seq, struct ring_buffer *buffer,
		       struct ring_record *ret_record)
{
	uint64_t found = *pos;
	size_t size;
	int r;

	r = record_parse(ring, *pos, limit, min_seq, buffer, ret_record, &size);
	if (r == 0 && limit - *pos > RECORD_ALIGN)
		r = record_search(ring, *pos + RECORD_ALIGN, limit, min_seq, buffer, ret_record, &found, &size);
	if (r <= 0)
		return r;
	if (found != *pos)
		count_damage(ring, *pos, found);
	*pos = found + size;
	return 1;
}

/* ---- opening */

/* After a crash only the tail is known. The head is behind the last record that is whole and newer than the one before. */
static int find_head(struct ring *ring)
{
	struct ring_buffer buffer = { 0 };
	struct super *now = &ring->now;
	uint64_t pos = now->tail_pos, limit = now->tail_pos + now->data_size, min_seq = now->tail_seq;
	struct ring_record record;
	int r;

	now->n_records = 0;
	while ((r = record_next(ring, &pos, limit, min_seq, &buffer, &record)) > 0) {
		min_seq = record.seq + 1;
		now->last_seq = record.seq > now->last_seq ? record.seq : now->last_seq;
		now->last_stamp = record.stamp_s > now->last_stamp ? record.stamp_s : now->last_stamp;
		now->n_records++;
	}
	now->head_pos = pos;
	ring_buffer_free(&buffer);
	return r;
}

/* A file that ends early is mended up to @size_max; what is behind the end of a longer one is nobody's. */
static int read_supers(struct ring *ring, uint64_t file_size, uint64_t size_max)
{
	uint8_t data[SUPER_SIZE];
	struct super super;
	bool is_found = false;

	for (size_t i = 0; i < 2; i++) {
		if (ring->io.read(ring->fd, data, sizeof(data), i * SUPER_STEP) < 0 || !super_decode(data, &super) ||
		    (file_size < super.data_size + DATA_START && super.data_size > size_max))
			continue;
		ring->slot_tail[i] = ring->synced_tail[i] = super.tail_pos;
		if (is_found && super.generation < ring->now.generation)
			continue;
		ring->now = super;
		ring->slot = i;
		ring->is_slot_synced = is_found = true;
	}
	return is_found ? 0 : -EBADMSG;
}

static int fill_with_zeros(struct ring *ring, uint64_t from, uint64_t size)
{
	static const uint8_t zeros[16384];
	int r = 0;

	for (uint64_t done = from; r >= 0 && done < size; done += sizeof(zeros))
		r = file_write(ring, zeros, size - done < sizeof(zeros) ? (size_t)(size - done) : sizeof(zeros), done);
	return r;
}

/* All that must hold before the new file gets its name. */
static int make_contents(struct ring *ring)
{
	int r;

	/* A new salt, or records of an earlier file in reused blocks could be taken for ours. */
	if (getrandom(&ring->now.salt, sizeof(ring->now.salt), 0) != (ssize_t)sizeof(ring->now.salt))
		return -EIO;
	if (flock(ring->fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	r = fill_with_zeros(ring, 0, ring->now.data_size + DATA_START);
	if (r >= 0)
		r = super_save(ring);
	if (r >= 0)
		r = super_save(ring);
	return r >= 0 && fsync(ring->fd) < 0 ? -errno : r;
}

/*
 * Make a new file under a temporary name, so that a half-made one is never taken for a queue. Counters and numbers go on;
 * @ring is as before if it fails.
 */
static int make(struct ring *ring, const char *path, uint64_t data_size)
{
	struct ring fresh = { .io = ring->io, .now = ring->now, .is_replaced = ring->is_replaced };
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *folder = slash == NULL ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
	_cleanup_free_ char *temp = NULL;
	_cleanup_close_ int dir_fd = -1;
	int r;

	if (folder == NULL || asprintf(&temp, "%s.new", path) < 0)
		return -ENOMEM;
	dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 || (unlink(temp) < 0 && errno != ENOENT))
		return -errno;
	fresh.fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fresh.fd < 0)
		return -errno;
	fresh.now.data_size = data_size;
	fresh.now.tail_pos = fresh.now.head_pos = fresh.now.n_records = 0;
	fresh.now.tail_seq = fresh.now.last_seq + 1;
	fresh.now.is_clean = true;
	r = make_contents(&fresh);
	if (r >= 0 && rename(temp, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(temp);
		close(fresh.fd);
		return r;
	}
	if (ring->fd >= 0)
		close(ring->fd);
	*ring = fresh;
	return fsync(dir_fd) < 0 && errno != EINVAL ? -errno : 0;
}

static int set_aside(const char *path)
{
	_cleanup_free_ char *aside = NULL;

	if (asprintf(&aside, "%s.damaged", path) < 0)
		return -ENOMEM;
	return rename(path, aside) < 0 ? -errno : 0;
}

/*
 * A file system that was mended may have cut it: the end is made again, so that nothing later needs room, and records are searched for. No superblock
 * may say any more that it knows the head: of a file with its old size it would be believed.
 */
static int restore_end(struct ring *ring, uint64_t file_size)
{
	int r;

	if (file_size >= ring->now.data_size + DATA_START)
		return 0;
	r = begin_use(ring);
	if (r >= 0)
		r = fill_with_zeros(ring, file_size > DATA_START ? file_size : DATA_START, ring->now.data_size + DATA_START);
	return r >= 0 && fsync(ring->fd) < 0 ? -errno : r;
}

static int open_existing(struct ring *ring, const char *path, uint64_t size_max)
{
	struct stat st;
	int r;

	ring->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (ring->fd < 0)
		return -errno;
	if (flock(ring->fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (fstat(ring->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	r = read_supers(ring, (uint64_t)st.st_size, size_max);
	if (r == -EBADMSG) {
		ring->is_replaced = true;
		ring->now = (struct super){ .n_damaged = 1, .damaged_bytes = (uint64_t)st.st_size };
		r = set_aside(path);
		return r < 0 ? r : -ENOENT;
	}
	if (r >= 0)
		r = restore_end(ring, (uint64_t)st.st_size);
	if (r >= 0 && !ring->now.is_clean)
		r = find_head(ring);
	return r;
}

int ring_open(const char *path, uint64_t size_bytes, const struct ring_io *io, struct ring **ret_ring, struct agent_error **err)
{
	uint64_t data_size = size_bytes / SUPER_STEP * SUPER_STEP;
	struct ring *ring;
	int r;

	if (data_size < RING_SIZE_MIN || data_size > (uint64_t)INT64_MAX / 4)
		return agent_error_set(err, -EINVAL, "queue.size", "a queue of %llu bytes: at least %u are needed", (unsigned long long)size_bytes,
				       RING_SIZE_MIN);
	ring = calloc(1, sizeof(*ring));
	if (ring == NULL)
		return agent_error_set(err, -ENOMEM, "queue.memory", "no memory");
	ring->fd = -1;
	ring->io = real_io;
	if (io != NULL && io->read != NULL)
		ring->io.read = io->read;
	if (io != NULL && io->write != NULL)
		ring->io.write = io->write;
	if (io != NULL && io->sync != NULL)
		ring->io.sync = io->sync;
	r = open_existing(ring, path, data_size);
	if (r == -ENOENT)
		r = make(ring, path, data_size);
	else if (r >= 0 && ring->now.n_records == 0 && ring->now.data_size != data_size)
		(void)make(ring, path, data_size);	/* no room for another size: the old one goes on */
	if (r >= 0) {
		*ret_ring = ring;
		return 0;
	}
	ring->is_failed = true;
	ring_close(ring);
	if (r == -EBUSY)
		return agent_error_set(err, r, "queue.busy", "%s is in use by another process", path);
	return agent_error_set(err, r, "queue.file", "cannot open the queue %s: %s", path, strerror(-r));
}

struct ring *ring_close(struct ring *ring)
{
	if (ring == NULL)
		return NULL;
	/* First the records, then the superblock that says they are all there. Whatever fails: the next opening searches. */
	if (!ring->is_failed && !ring->now.is_clean && ring_sync(ring) >= 0) {
		ring->now.is_clean = true;
		(void)super_save(ring);
	}
	if (ring->fd >= 0)
		close(ring->fd);
	ring_buffer_free(&ring->out);
	free(ring);
	return NULL;
}

/* ---- writing */

/* Room that no superblock on the medium still calls records. */
static uint64_t room(const struct ring *ring)
{
	uint64_t tail = ring->synced_tail[0] < ring->synced_tail[1] ? ring->synced_tail[0] : ring->synced_tail[1];

	return ring->now.data_size - (ring->now.head_pos - tail);
}

static int make_room(struct ring *ring, size_t size)
{
	int r = 0;

	for (int i = 0; r >= 0 && room(ring) < size && i < 2; i++)
		r = super_save(ring);
	return r;
}

int ring_append(struct ring *ring, const struct ring_record *record)
{
	uint8_t *p;
	size_t size;
	int r;

	if (ring->is_failed)
		return -EIO;
	if (record->topic_size > RING_TOPIC_MAX || record->payload_size > RING_PAYLOAD_MAX)
		return -EMSGSIZE;
	size = ring_record_size(record->topic_size, record->payload_size);
	if (size > ring->now.data_size)
		return -EMSGSIZE;
	if (record->seq <= ring->now.last_seq)
		return -EINVAL;
	if (ring->now.data_size - (ring->now.head_pos - ring->now.tail_pos) < size)
		return -ENOSPC;
	r = buffer_need(&ring->out, size);
	if (r < 0)
		return r;
	r = ring->now.is_clean ? begin_use(ring) : 0;
	if (r >= 0)
		r = make_room(ring, size);
	if (r < 0)
		return fail(ring, r);
	p = ring->out.data;
	put_le(p + 4, RECORD_MAGIC, 2);
	put_le(p + 6, record->topic_size, 2);
	put_le(p + 8, record->payload_size, 3);
	p[11] = record->flags;
	put_le(p + 12, record->seq ^ ring->now.salt, 8);
	put_le(p + 20, record->stamp_s, 4);
	put_le(p + 24, record->ttl_s, 4);
	memcpy(p + RING_RECORD_HEADER, record->topic, record->topic_size);
	if (record->payload_size > 0)
		memcpy(p + RING_RECORD_HEADER + record->topic_size, record->payload, record->payload_size);
	memset(p + RING_RECORD_HEADER + record->topic_size + record->payload_size, 0,
	       size - RING_RECORD_HEADER - record->topic_size - record->payload_size);
	put_le(p, crc_of(p + 4, size - 4, ring->now.salt), 4);
	r = data_access(ring, p, size, ring->now.head_pos, true);
	if (r < 0)
		return fail(ring, r);
	ring->now.head_pos += size;
	ring->now.last_seq = record->seq;
	ring->now.last_stamp = record->stamp_s > ring->now.last_stamp ? record->stamp_s : ring->now.last_stamp;
	ring->now.payload_bytes += record->payload_size;
	ring->now.n_records++;
	return 0;
}

int ring_sync_begin(struct ring *ring, bool do_save, struct ring_mark *ret_mark)
{
	int r = 0;

	if (ring->is_failed)
		return -EIO;
	if (do_save && ring->n_unsaved > 0)
		r = super_write(ring);
	*ret_mark = (struct ring_mark){ { ring->slot_tail[0], ring->slot_tail[1] }, ring->n_super_writes };
	return fail(ring, r);
}

int ring_sync_wait(const struct ring *ring)
{
	return ring->io.sync(ring->fd);
}

int ring_sync_end(struct ring *ring, const struct ring_mark *mark, int result)
{
	if (result < 0)
		return fail(ring, result);
	ring->now.n_syncs++;
	/* A superblock written meanwhile may be on the medium or not. */
	if (ring->n_super_writes == mark->n_super_writes) {
		memcpy(ring->synced_tail, mark->slot_tail, sizeof(ring->synced_tail));
		ring->is_slot_synced = true;
		ring->n_unsynced_supers = 0;
	}
	return 0;
}

int ring_sync(struct ring *ring)
{
	struct ring_mark mark;
	int r;

	r = ring_sync_begin(ring, false, &mark);
	return r < 0 ? r : ring_sync_end(ring, &mark, ring_sync_wait(ring));
}

/* ---- reading */

struct ring_cursor ring_oldest(const struct ring *ring)
{
	return (struct ring_cursor){ ring->now.tail_pos, ring->now.tail_seq };
}

struct ring_cursor ring_newest(const struct ring *ring)
{
	return (struct ring_cursor){ ring->now.head_pos, ring->now.last_seq + 1 };
}

int ring_read(struct ring *ring, struct ring_cursor *cursor, struct ring_buffer *buffer, struct ring_record *ret_record)
{
	struct ring_cursor at = cursor->pos < ring->now.tail_pos ? ring_oldest(ring) : *cursor;
	int r;

	if (at.pos >= ring->now.head_pos)
		return 0;
	r = record_next(ring, &at.pos, ring->now.head_pos, at.next_seq, buffer, ret_record);
	if (r < 0)
		return r;
	if (r == 0) {	/* nothing whole is left: all of it is damage */
		count_damage(ring, at.pos, ring->now.head_pos);
		*cursor = ring_newest(ring);
		return 0;
	}
	*cursor = (struct ring_cursor){ at.pos, ret_record->seq + 1 };
	return 1;
}

int ring_release(struct ring *ring, struct ring_cursor cursor, uint64_t n_records)
{
	struct super *now = &ring->now;

	if (ring->is_failed)
		return -EIO;
	if (cursor.pos <= now->tail_pos)
		return 0;
	if (now->is_clean) {
		int r = begin_use(ring);

		if (r < 0)
			return fail(ring, r);
	}
	now->tail_pos = cursor.pos;
	now->tail_seq = cursor.next_seq;
	/* Damage makes the count uncertain, but empty is empty. */
	now->n_records = now->tail_pos == now->head_pos ? 0 : now->n_records > n_records ? now->n_records - n_records : 1;
	ring->n_unsaved += n_records > 0 ? n_records : 1;
	if (ring->n_unsaved < SAVE_EVERY)
		return 0;
	return fail(ring, ring->n_unsynced_supers + 1 < SYNC_EVERY ? super_write(ring) : super_save(ring));
}

uint64_t ring_last_seq(const struct ring *ring)
{
	return ring->now.last_seq;
}

uint32_t ring_last_stamp(const struct ring *ring)
{
	return ring->now.last_stamp;
}

void ring_get_stats(const struct ring *ring, struct ring_stats *ret_stats)
{
	const struct super *now = &ring->now;

	*ret_stats = (struct ring_stats){
		.n_records = now->n_records, .used_bytes = now->head_pos - now->tail_pos, .size_bytes = now->data_size,
		.n_damaged = now->n_damaged, .damaged_bytes = now->damaged_bytes, .payload_bytes = now->payload_bytes,
		.written_bytes = now->written_bytes, .n_syncs = now->n_syncs, .is_replaced = ring->is_replaced,
	};
}
