/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/command_window.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/file.h"
#include "base/macro.h"

#define RECORD_SIZE 64
#define FILE_SIZE (COMMAND_WINDOW_SLOTS * RECORD_SIZE)
#define MAGIC "cmd1"
#define HASH_SIZE 24
#define CHECK_SIZE 16

struct slot {
	uint64_t expires_s;	/* 0: free */
	uint8_t hash[HASH_SIZE];
};

struct command_window {
	int fd;
	uint64_t forgotten_s;	/* what ended then or before may have been forgotten */
	bool is_damaged;	/* at the start; forgotten_s follows as soon as it is known what time it is */
	struct slot slots[COMMAND_WINDOW_SLOTS];
};

/*
 * Record, little-endian: magic, 4 bytes of zero, end of the command, forgotten_s, hash of the id, then the beginning of SHA-256 over
 * all before it. A free one is all zero.
 */
static void put_u64(uint8_t *to, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_u64(const uint8_t *from)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | from[i];
	return v;
}

static int hash(const void *data, size_t size, uint8_t *ret_hash, size_t n)
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	if (EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	memcpy(ret_hash, digest, n);
	return 0;
}

static int record_make(const struct slot *slot, uint64_t forgotten_s, uint8_t record[RECORD_SIZE])
{
	memset(record, 0, RECORD_SIZE);
	memcpy(record, MAGIC, 4);
	put_u64(record + 8, slot->expires_s);
	put_u64(record + 16, forgotten_s);
	memcpy(record + 24, slot->hash, HASH_SIZE);
	return hash(record, RECORD_SIZE - CHECK_SIZE, record + RECORD_SIZE - CHECK_SIZE, CHECK_SIZE);
}

/* False: neither free nor whole. */
static bool record_read(const uint8_t record[RECORD_SIZE], struct slot *ret_slot, uint64_t *ret_forgotten_s)
{
	static const uint8_t zero[RECORD_SIZE];
	uint8_t check[CHECK_SIZE];

	*ret_slot = (struct slot){ 0 };
	*ret_forgotten_s = 0;
	if (memcmp(record, zero, RECORD_SIZE) == 0)
		return true;
	if (memcmp(record, MAGIC, 4) != 0 || hash(record, RECORD_SIZE - CHECK_SIZE, check, CHECK_SIZE) < 0 ||
	    memcmp(check, record + RECORD_SIZE - CHECK_SIZE, CHECK_SIZE) != 0)
		return false;
	ret_slot->expires_s = get_u64(record + 8);
	memcpy(ret_slot->hash, record + 24, HASH_SIZE);
	*ret_forgotten_s = get_u64(record + 16);
	return true;
}

static int broken(struct agent_error **err, int r, const char *what)
{
	return agent_error_set(err, r, "command.window", "cannot %s STATE_DIR/commands/" COMMAND_WINDOW_FILE ": %s", what, strerror(-r));
}

/*
 * All of its room is taken now, so that a full disk is no reason to refuse a command later. In the place of a file that was not whole the first
 * record is a damaged one: whoever starts next must be as silent, until the first command that is taken overwrites it.
 */
static int make_file(int fd, int dir_fd, bool is_damaged, struct agent_error **err)
{
	static const uint8_t zero[FILE_SIZE];
	uint8_t first[RECORD_SIZE];
	int r;

	memset(first, is_damaged ? 0xff : 0, sizeof(first));
	r = pwrite_all(fd, first, sizeof(first), 0);
	if (r >= 0)
		r = pwrite_all(fd, zero, sizeof(zero) - sizeof(first), sizeof(first));
	/* Last, and never to nothing: an empty file is a new one. */
	if (r >= 0 && ftruncate(fd, FILE_SIZE) < 0)
		r = -errno;

	if (r >= 0 && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? broken(err, r, "make") : dir_sync(dir_fd, err);
}

static int read_file(struct command_window *w, struct agent_error **err)
{
	uint8_t record[RECORD_SIZE];

	for (size_t i = 0; i < COMMAND_WINDOW_SLOTS; i++) {
		ssize_t n = pread_full(w->fd, record, sizeof(record), i * RECORD_SIZE);
		uint64_t forgotten_s;

		if (n < 0)
			return broken(err, (int)n, "read");
		if (n < RECORD_SIZE || !record_read(record, &w->slots[i], &forgotten_s))
			w->is_damaged = true;
		else if (forgotten_s > w->forgotten_s)
			w->forgotten_s = forgotten_s;
	}
	return 0;
}

struct command_window *command_window_close(struct command_window *window)
{
	if (window == NULL)
		return NULL;
	if (window->fd >= 0)
		close(window->fd);
	free(window);
	return NULL;
}
DEFINE_CLEANUP(struct command_window *, command_window_close)

int command_window_open(int dir_fd, struct command_window **ret_window, struct agent_error **err)
{
	_cleanup_(command_window_closep) struct command_window *w = calloc(1, sizeof(*w));
	struct stat st;
	int r = 0;

	if (w == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for commands");
	w->fd = openat(dir_fd, COMMAND_WINDOW_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (w->fd < 0 || fstat(w->fd, &st) < 0)
		return broken(err, -errno, "open");
	if (!S_ISREG(st.st_mode))
		return broken(err, -EINVAL, "open");
	if (st.st_size == FILE_SIZE) {
		r = read_file(w, err);
	} else {
		/* Empty: new, or the power went while it was made. Anything else was not made here. */
		w->is_damaged = st.st_size != 0;
		r = make_file(w->fd, dir_fd, w->is_damaged, err);
	}
	if (r < 0)
		return r;
	*ret_window = TAKE_PTR(w);
	return 0;
}

/* A free slot, or the one that ended first if it has ended. */
static struct slot *find_room(struct command_window *w, uint64_t now_s)
{
	struct slot *first = &w->slots[0];

	for (size_t i = 0; i < COMMAND_WINDOW_SLOTS && first->expires_s != 0; i++)
		if (w->slots[i].expires_s < first->expires_s)
			first = &w->slots[i];
	return first->expires_s <= now_s ? first : NULL;
}

static size_t count_live(const struct command_window *w, uint64_t now_s)
{
	size_t n = 0;

	for (size_t i = 0; i < COMMAND_WINDOW_SLOTS; i++)
		n += w->slots[i].expires_s > now_s;
	return n;
}

static int write_slot(struct command_window *w, const struct slot *slot, struct agent_error **err)
{
	uint8_t record[RECORD_SIZE];
	int r = record_make(slot, w->forgotten_s, record);

	if (r >= 0)
		r = pwrite_all(w->fd, record, sizeof(record), (uint64_t)(slot - w->slots) * RECORD_SIZE);
	if (r >= 0 && fdatasync(w->fd) < 0)
		r = -errno;
	return r < 0 ? broken(err, r, "write") : 0;
}

int command_window_take(struct command_window *w, const char *id, uint64_t expires_s, uint64_t now_s, uint64_t ahead_s,
			size_t keep, struct agent_error **err)
{
	struct slot fresh = { .expires_s = expires_s }, *slot;

	if (hash(id, strlen(id), fresh.hash, HASH_SIZE) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a digest");
	if (w->is_damaged) {
		w->is_damaged = false;
		if (now_s + ahead_s > w->forgotten_s)
			w->forgotten_s = now_s + ahead_s;
	}
	for (size_t i = 0; i < COMMAND_WINDOW_SLOTS; i++)
		if (w->slots[i].expires_s != 0 && memcmp(w->slots[i].hash, fresh.hash, HASH_SIZE) == 0)
			return agent_error_set(err, -EEXIST, "command.replayed", "a command with this id was taken before; a new command needs a new id");
	if (expires_s <= w->forgotten_s)
		return agent_error_set(err, -ESTALE, "command.forgotten",
				       "it is not known any more which commands that end by %" PRIu64 " were taken; send it again with a later end", w->forgotten_s);
	slot = count_live(w, now_s) + keep < COMMAND_WINDOW_SLOTS ? find_room(w, now_s) : NULL;
	if (slot == NULL)
		return agent_error_set(err, -EBUSY, "command.window", "%zu commands have not ended yet, and no more can be remembered", COMMAND_WINDOW_SLOTS - keep);
	if (slot->expires_s > w->forgotten_s)
		w->forgotten_s = slot->expires_s;
	*slot = fresh; /* also when it cannot be written: nobody knows then what is on the disk */
	return write_slot(w, slot, err);
}
