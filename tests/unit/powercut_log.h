/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_POWERCUT_LOG_H
#define TESTS_UNIT_POWERCUT_LOG_H
/* Every write, name change and sync below one folder, in order, also those of libraries: for test_powercut.c. After update_fixture.h. */
#include <ftw.h>
#include <pthread.h>
#include <sys/syscall.h>

#define EVENTS_MAX 4096
#define FILES_MAX 512
#define NAMES_MAX 64
#define PATH_SIZE 96

/* ---- the log ------------------------------------------------------------------------------------------------------ */

enum kind { WRITE, CREATE, RENAME, REMOVE, SYNC_FILE, SYNC_FOLDER, FLOOR, TICKET, SCRIPT_RUNS, SCRIPT_ENDED };

struct event {
	enum kind kind;
	int file;			/* number of the file, whatever its name */
	char path[PATH_SIZE], to[PATH_SIZE];
	uint64_t offset, floor;		/* floor: the counter, of FLOOR and TICKET; the release, of the scripts */
	bool is_after;			/* of the scripts */
	size_t size;
	uint8_t *data;
};

struct names {
	struct {
		char path[PATH_SIZE];
		int file;
	} items[NAMES_MAX];
	size_t n;
};

struct content {
	uint8_t *data;
	size_t size;
};

static bool is_recording, is_replaying;
static char top[64];
static struct event events[EVENTS_MAX];
static size_t n_events;
static struct names live, first_names;
static struct content first_files[FILES_MAX];
static int n_files;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int names_find(const struct names *names, const char *path)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->items[i].path, path) == 0)
			return names->items[i].file;
	return -1;
}

static void names_remove(struct names *names, const char *path)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->items[i].path, path) == 0) {
			names->items[i] = names->items[--names->n];
			return;
		}
}

static void names_set(struct names *names, const char *path, int file)
{
	names_remove(names, path);
	assert_true(names->n < NAMES_MAX);
	snprintf(names->items[names->n].path, PATH_SIZE, "%s", path);
	names->items[names->n++].file = file;
}

static bool is_variable(const char *path)
{
	return strncmp(path, "vars/", 5) == 0;
}

static struct event *event_new(enum kind kind, const char *path)
{
	struct event *e = &events[n_events++];

	assert_true(n_events < EVENTS_MAX);
	*e = (struct event){ .kind = kind, .file = names_find(&live, path) };
	snprintf(e->path, sizeof(e->path), "%s", path);
	return e;
}

/* Path below the device's folder of what @fd has open (and @name in it). NULL: none of ours. */
static const char *path_of(int fd, const char *name, char ret_path[256])
{
	char link[32], text[256];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	if (name != NULL && name[0] == '/')
		text[0] = '\0';
	if (snprintf(ret_path, 256, "%s%s%s", text, name == NULL || text[0] == '\0' ? "" : "/", name == NULL ? "" : name) >= 256)
		return NULL;
	if (strncmp(ret_path, top, strlen(top)) != 0)
		return NULL;
	return ret_path[strlen(top)] == '/' ? ret_path + strlen(top) + 1 : "";
}

static void note_write(int fd, const void *data, size_t n, uint64_t offset)
{
	char text[256];
	const char *path = is_recording ? path_of(fd, NULL, text) : NULL;
	struct event *e;

	if (path == NULL)
		return;
	pthread_mutex_lock(&lock);
	if (names_find(&live, path) < 0) {
		names_set(&live, path, n_files++);
		assert_true(n_files < FILES_MAX);
		event_new(CREATE, path);
	}
	e = event_new(WRITE, path);
	e->offset = offset;
	e->size = n;
	e->data = malloc(n);
	memcpy(e->data, data, n);
	pthread_mutex_unlock(&lock);
}

/* ---- these come before the C library's ------------------------------------------------------------------------------ */

#pragma GCC visibility push(default) /* -fvisibility=hidden would keep them from libubootenv */
ssize_t write(int fd, const void *data, size_t n);
ssize_t write(int fd, const void *data, size_t n)
{
	if (is_recording) {
		off_t at = lseek(fd, 0, SEEK_CUR);

		note_write(fd, data, n, at < 0 ? 0 : (uint64_t)at);
	}
	return syscall(SYS_write, fd, data, n);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset);
ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
	note_write(fd, data, n, (uint64_t)offset);
	return syscall(SYS_pwrite64, fd, data, n, offset);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to);
int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	char from_text[256], to_text[256];
	const char *from_path = is_recording ? path_of(from_fd, from, from_text) : NULL, *to_path = from_path == NULL ? NULL : path_of(to_fd, to, to_text);

	if (to_path != NULL) {
		struct event *e;

		pthread_mutex_lock(&lock);
		e = event_new(RENAME, from_path);
		snprintf(e->to, sizeof(e->to), "%s", to_path);
		names_set(&live, to_path, names_find(&live, from_path));
		names_remove(&live, from_path);
		pthread_mutex_unlock(&lock);
	}
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int unlinkat(int fd, const char *name, int flags);
int unlinkat(int fd, const char *name, int flags)
{
	char text[256];
	const char *path = is_recording ? path_of(fd, name, text) : NULL;

	if (path != NULL && names_find(&live, path) >= 0) {
		pthread_mutex_lock(&lock);
		event_new(REMOVE, path);
		names_remove(&live, path);
		pthread_mutex_unlock(&lock);
	}
	return (int)syscall(SYS_unlinkat, fd, name, flags);
}

static int sync_noted(int fd, long call)
{
	char text[256];
	const char *path = is_recording ? path_of(fd, NULL, text) : NULL;

	if (path != NULL) {
		pthread_mutex_lock(&lock);
		event_new(names_find(&live, path) >= 0 ? SYNC_FILE : SYNC_FOLDER, path);
		pthread_mutex_unlock(&lock);
	}
	return is_replaying || is_recording ? 0 : (int)syscall(call, fd);
}

int fsync(int fd);
int fsync(int fd)
{
	return sync_noted(fd, SYS_fsync);
}

int fdatasync(int fd);
int fdatasync(int fd)
{
	return sync_noted(fd, SYS_fdatasync);
}

#pragma GCC visibility pop

/* ---- what was there before ------------------------------------------------------------------------------------------ */

static bool is_of_the_device(const char *path)
{
	return strncmp(path, "update/", 7) != 0 && strcmp(path, "state/lock") != 0;
}

static int snapshot_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	const char *below = path + strlen(top) + 1;
	struct content *c = &first_files[n_files];

	if (type != FTW_F || !S_ISREG(st->st_mode) || !is_of_the_device(below))
		return 0;
	assert_int_equal(file_read_at(AT_FDCWD, path, SLOT_BYTES, (char **)&c->data, &c->size, NULL), 0);
	names_set(&live, below, n_files++);
	return 0;
}

static void record_begin(struct device *d)
{
	strcpy(top, d->dir.path);
	n_events = 0;
	n_files = 0;
	live.n = 0;
	memset(first_files, 0, sizeof(first_files));
	assert_int_equal(nftw(top, snapshot_one, 16, FTW_PHYS), 0);
	first_names = live;
	is_recording = true;
}

#endif
