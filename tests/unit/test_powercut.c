/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cuts. Every write, name change and sync of a device's life is logged: slots, journal, boot environment, and the floor in NV
 * memory. Then each instant of it is replayed for every boot backend: with all that was not yet synced, with nothing of it, and with
 * random parts of it (POWERCUT_SUBSETS per instant, default 1), in which writes are lost, out of order or torn between sectors. In
 * each of these states the boot loader starts something whole that is not below the floor, over several boots, and what the power cut
 * broke off can be done again.
 *
 * What an fsync() covers: the bytes of its file, or the names in its folder. Names not synced yet are lost from the end, as from the
 * journal of ext4. EFI variables are written whole, at once and in order.
 */
#include "config.h"

#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"
#include "tests/unit/boot_rigs.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/syscall.h>

#define EVENTS_MAX 4096
#define FILES_MAX 512
#define NAMES_MAX 64
#define PATH_SIZE 96
#define SECTOR 512
#define REDO_EVERY 32

/* ---- the log ------------------------------------------------------------------------------------------------------ */

enum kind { WRITE, CREATE, RENAME, REMOVE, SYNC_FILE, SYNC_FOLDER, FLOOR };

struct event {
	enum kind kind;
	int file;			/* number of the file, whatever its name */
	char path[PATH_SIZE], to[PATH_SIZE];
	uint64_t offset, floor;
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

/* ---- a life ---------------------------------------------------------------------------------------------------------- */

#define RELEASES 8
static const uint64_t security_version_of[RELEASES + 1] = { 0, 5, 6, 6, 6, 7, 7, 8, 9 };
static uint64_t floor_now;

/* The images differ from their first byte on. */
static void image_make(struct device *d, int release)
{
	for (size_t i = 0; i < sizeof(d->image); i++)
		d->image[i] = (uint8_t)(i * 7 + i / 251 + (size_t)release * 31);
	d->image[0] = (uint8_t)release;
}

static int release_install(struct device *d, int release)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	char name[16];

	image_make(d, release);
	snprintf(name, sizeof(name), "r-%d", release);
	return install(d, u, &(struct bundle){ .release = name, .security_version = security_version_of[release] }, floor_now, NULL);
}

/* Core's order: confirmed, floor up in NV memory, done. */
static int release_confirm(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	uint64_t floor = 0;
	int r = agent_update_confirm(u, &floor, NULL);

	if (r < 0)
		return r;
	if (floor > floor_now)
		floor_now = floor;
	if (is_recording)
		event_new(FLOOR, "")->floor = floor_now;
	return agent_update_confirm_done(u, NULL);
}

static int release_rollback(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	return agent_update_rollback(u, floor_now, NULL);
}

static int settle(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	return agent_update_settle(u, NULL);
}

static void life_record(struct device *d)
{
	floor_now = 0;
	record_begin(d);
	/* Two good updates; one that is not liked; one taken back before its boot; one that never confirms; a good one again. */
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(release_install(d, i), 0);
		assert_string_equal(reboot(d), i == 1 ? "b" : "a");
		assert_int_equal(release_confirm(d), 0);
	}
	assert_int_equal(release_install(d, 3), 0);
	reboot(d);
	assert_int_equal(release_rollback(d), 0);
	assert_string_equal(reboot(d), "a");
	assert_int_equal(settle(d), 0);
	assert_int_equal(release_install(d, 4), 0);
	assert_int_equal(release_rollback(d), 0);
	assert_int_equal(release_install(d, 5), 0);
	for (int i = 0; i < 3; i++) {
		reboot(d);
		assert_int_equal(settle(d), 0);
	}
	assert_string_equal(d->booted, "a");
	assert_int_equal(release_install(d, 6), 0);
	assert_string_equal(reboot(d), "b");
	assert_int_equal(release_confirm(d), 0);
	is_recording = false;
}

/* ---- replay ---------------------------------------------------------------------------------------------------------- */

struct disk {
	struct names names;
	struct content files[FILES_MAX];
};

static struct disk stable, crash;
static size_t pending[EVENTS_MAX], n_pending;
static struct content on_disk[2];	/* the slots as they lie there, so that they need not be written for each state */
static uint64_t dice = 88172645463325252u;
static unsigned long n_states, n_redone;

static uint64_t roll(void)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice;
}

static void content_write(struct content *c, uint64_t offset, const uint8_t *data, size_t n)
{
	if (c->size < offset + n) {
		c->data = realloc(c->data, offset + n);
		memset(c->data + c->size, 0, offset + n - c->size);
		c->size = offset + n;
	}
	memcpy(c->data + offset, data, n);
}

static void content_copy(struct content *to, const struct content *from)
{
	if (to->size < from->size)
		to->data = realloc(to->data, from->size);
	to->size = from->size;
	if (from->size > 0)
		memcpy(to->data, from->data, from->size);
}

/* @torn: only some of its sectors arrived. */
static void event_apply(struct disk *disk, const struct event *e, bool torn)
{
	struct content *c = e->file >= 0 ? &disk->files[e->file] : NULL;

	if (e->kind == WRITE && is_variable(e->path))
		c->size = 0;
	if (e->kind == WRITE && !torn)
		content_write(c, e->offset, e->data, e->size);
	for (size_t at = 0; e->kind == WRITE && torn && at < e->size;) {
		size_t n = SECTOR - (e->offset + at) % SECTOR;

		n = n < e->size - at ? n : e->size - at;
		if (roll() & 1)
			content_write(c, e->offset + at, e->data + at, n);
		at += n;
	}
	if (e->kind == CREATE)
		names_set(&disk->names, e->path, e->file);
	if (e->kind == REMOVE)
		names_remove(&disk->names, e->path);
	if (e->kind == RENAME && names_find(&disk->names, e->path) >= 0) {
		int file = names_find(&disk->names, e->path);

		names_remove(&disk->names, e->path);
		names_set(&disk->names, e->to, file);
	}
}

static bool is_in_folder(const char *path, const char *folder)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash == NULL ? 0 : (size_t)(slash - path);

	return strlen(folder) == n && strncmp(path, folder, n) == 0;
}

/* Time goes on by one event. */
static void advance(const struct event *e)
{
	size_t kept = 0;

	if (e->kind == FLOOR) {
		floor_now = e->floor;
		return;
	}
	if (e->kind != SYNC_FILE && e->kind != SYNC_FOLDER) {
		if (is_variable(e->path))
			event_apply(&stable, e, false);
		else
			pending[n_pending++] = (size_t)(e - events);
		return;
	}
	for (size_t i = 0; i < n_pending; i++) {
		const struct event *p = &events[pending[i]];
		bool is_covered = e->kind == SYNC_FILE ? p->kind == WRITE && p->file == e->file : p->kind != WRITE && is_in_folder(p->path, e->path);

		if (is_covered)
			event_apply(&stable, p, false);
		else
			pending[kept++] = pending[i];
	}
	n_pending = kept;
}

enum share { ALL_OF_IT, NOTHING_OF_IT, SOME_OF_IT };

static void crash_make(enum share share)
{
	size_t n_name_changes = 0, n_left;

	crash.names = stable.names;
	for (int i = 0; i < n_files; i++)
		content_copy(&crash.files[i], &stable.files[i]);
	for (size_t i = 0; i < n_pending; i++)
		n_name_changes += events[pending[i]].kind != WRITE;
	n_left = share == SOME_OF_IT ? roll() % (n_name_changes + 1) : n_name_changes;
	for (size_t i = 0; share != NOTHING_OF_IT && i < n_pending; i++) {
		const struct event *e = &events[pending[i]];
		uint64_t luck = share == SOME_OF_IT ? roll() % 3 : 0;

		if (e->kind == WRITE && luck < 2)
			event_apply(&crash, e, luck == 1);
		else if (e->kind != WRITE && n_left > 0) {
			event_apply(&crash, e, false);
			n_left--;
		}
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	const char *below = path + strlen(top) + 1;

	if (type == FTW_F && S_ISREG(st->st_mode) && is_of_the_device(below) && names_find(&crash.names, below) < 0)
		unlink(path);
	return 0;
}

static void file_put(const char *path, const struct content *c)
{
	char full[256];
	int fd;

	snprintf(full, sizeof(full), "%s/%s", top, path);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, c->data, c->size), 0);
	close(fd);
}

static void device_make(void)
{
	assert_int_equal(nftw(top, remove_one, 16, FTW_PHYS), 0);
	for (size_t i = 0; i < crash.names.n; i++) {
		const char *path = crash.names.items[i].path;
		const struct content *c = &crash.files[crash.names.items[i].file];
		struct content *lies = strcmp(path, "a.img") == 0 ? &on_disk[0] : strcmp(path, "b.img") == 0 ? &on_disk[1] : NULL;

		if (lies != NULL && lies->size == c->size && memcmp(lies->data, c->data, c->size) == 0)
			continue;
		file_put(path, c);
		if (lies != NULL)
			content_copy(lies, c);
	}
}

/* ---- what must hold -------------------------------------------------------------------------------------------------- */

static void boots_something_whole(struct device *d, const char *when)
{
	const char *slot = reboot(d);
	const struct content *c = &crash.files[names_find(&crash.names, slot[0] == 'a' ? "a.img" : "b.img")];
	int release = c->data[0];
	static uint8_t factory[SLOT_BYTES] = { 0xaa };

	if (release == 0xaa) {
		if (memcmp(c->data, factory, SLOT_BYTES) != 0 || floor_now > 0)
			fail_msg("%s: slot %s boots with the factory's image, floor %" PRIu64, when, slot, floor_now);
		return;
	}
	if (release < 1 || release > RELEASES)
		fail_msg("%s: slot %s boots and holds nothing", when, slot);
	image_make(d, release);
	if (memcmp(c->data, d->image, IMAGE_BYTES) != 0)
		fail_msg("%s: slot %s boots and holds half of release %d", when, slot, release);
	if (security_version_of[release] < floor_now)
		fail_msg("%s: slot %s boots release %d below the floor %" PRIu64, when, slot, release, floor_now);
}

static int step_again(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	struct agent_update_status s = { 0 };
	enum agent_update_stage stage;
	bool must_boot;
	int r = agent_update_settle(u, NULL);

	if (r == 0)
		r = agent_update_get_status(u, &s, NULL);
	if (r < 0)
		return r;
	stage = s.stage;
	must_boot = stage == AGENT_UPDATE_TRYING && strcmp(s.booted_slot, s.target_slot) != 0;
	agent_update_free(TAKE_PTR(u));
	if (must_boot)
		reboot(d);
	r = stage == AGENT_UPDATE_TRYING || stage == AGENT_UPDATE_CONFIRMED ? release_confirm(d) : 0;
	/* Whatever became of it: the next one goes in and is confirmed. */
	for (int release = RELEASES - 1; r == 0 && release <= RELEASES; release++) {
		r = release_install(d, release);
		if (r == 0)
			reboot(d);
		if (r == 0)
			r = release_confirm(d);
	}
	return r;
}

static void state_check(struct device *d, enum share share, size_t at)
{
	const struct event *e = &events[at];
	const uint64_t floor = floor_now;
	char when[256];

	crash_make(share);
	device_make();
	/* The power cut leaves no program that remembers. */
	snprintf(when, sizeof(when), "%s, event %zu (kind %d, %s), %s", d->rig->backend->name, at, (int)e->kind, e->path,
		 share == ALL_OF_IT ? "all" : share == NOTHING_OF_IT ? "nothing" : "some");
	for (int boot = 0; boot < 4; boot++) {
		int r;

		boots_something_whole(d, when);
		r = settle(d);
		if (r < 0)
			fail_msg("%s: settle says %d", when, r);
	}
	n_states++;
	if (n_states % REDO_EVERY == 0) {
		int r;

		device_make();
		reboot(d);
		r = step_again(d);
		if (r < 0)
			fail_msg("%s: what broke off cannot be done again: %d", when, r);
		n_redone++;
		on_disk[0].size = on_disk[1].size = 0; /* the slots are other ones now */
	}
	floor_now = floor;
}

static unsigned n_subsets(void)
{
	const char *text = getenv("POWERCUT_SUBSETS");

	return text == NULL ? 1 : (unsigned)strtoul(text, NULL, 10);
}

static void every_instant_leaves_a_system_that_boots(void **state)
{
	struct device *d = *state;
	unsigned long before = n_states;

	life_record(d);
	is_replaying = true;
	floor_now = 0;
	n_pending = 0;
	stable.names = first_names;
	for (int i = 0; i < n_files; i++) {
		stable.files[i].size = 0;
		if (i < FILES_MAX && first_files[i].data != NULL)
			content_copy(&stable.files[i], &first_files[i]);
	}
	on_disk[0].size = on_disk[1].size = 0;
	for (size_t at = 0; at < n_events; at++) {
		advance(&events[at]);
		state_check(d, ALL_OF_IT, at);
		if (n_pending == 0)
			continue;
		state_check(d, NOTHING_OF_IT, at);
		for (unsigned i = 0; i < n_subsets(); i++)
			state_check(d, SOME_OF_IT, at);
	}
	is_replaying = false;
	print_message("# %s: %zu events, %lu states\n", d->rig->backend->name, n_events, n_states - before);
	for (size_t i = 0; i < n_events; i++)
		free(TAKE_PTR(events[i].data));
	for (int i = 0; i < n_files; i++)
		free(TAKE_PTR(first_files[i].data));
}

/* ---- rigs ------------------------------------------------------------------------------------------------------------ */

/* The vendor's program as a thread, so that its writes are logged as well. */
static int script_fd = -1;
static pthread_t script_thread;

static void *script_serve(void *arg)
{
	for (;;) {
		int peer = accept(script_fd, NULL, NULL);

		if (peer < 0)
			return NULL;
		script_answer(arg, peer);
		close(peer);
	}
}

static void rig_script_thread_make(struct device *d)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[128];

	snprintf(path, sizeof(path), "%s.state", d->env);
	text_write(path, FACTORY_ENV);
	script_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, d->env);
	assert_int_equal(bind(script_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(script_fd, 4), 0);
	assert_int_equal(pthread_create(&script_thread, NULL, script_serve, d), 0);
}

static void rig_script_thread_unmake(struct device *d)
{
	shutdown(script_fd, SHUT_RDWR);
	pthread_join(script_thread, NULL);
	close(script_fd);
}

static const struct boot_rig rig_script_in_thread = {
	.backend = &boot_script, .tells_booted = true, .make = rig_script_thread_make, .unmake = rig_script_thread_unmake,
};

/* These are the boot loader's own renames and removals, which the libc calls above do not see. */
static void systemd_count_down_noted(struct device *d, const struct boot_state *next)
{
	struct names before = { 0 };

	before = live;
	rig_systemd_count_down(d, next);
	if (!is_recording)
		return;
	for (size_t i = 0; i < before.n; i++) {
		char full[256];
		const char *was = before.items[i].path;

		snprintf(full, sizeof(full), "%s/%s", top, was);
		if (access(full, F_OK) == 0 || strstr(was, "/agent-") == NULL)
			continue;
		for (unsigned left = 0; left <= 9; left++)
			for (unsigned done = 1; done <= 9; done++) {
				char to[PATH_SIZE];
				struct event *e;

				snprintf(to, sizeof(to), "env/loader/entries/agent-%s+%u-%u.conf", next->primary, left, done);
				snprintf(full, sizeof(full), "%s/%s", top, to);
				if (access(full, F_OK) < 0 || names_find(&live, to) >= 0)
					continue;
				e = event_new(RENAME, was);
				strcpy(e->to, to);
				names_set(&live, to, names_find(&live, was));
				names_remove(&live, was);
				event_new(SYNC_FOLDER, "env/loader/entries");
			}
	}
}

static void efi_count_down_noted(struct device *d, const struct boot_state *next)
{
	rig_efi_count_down(d, next);
	if (is_recording && names_find(&live, "vars/BootNext-" EFI_GUID) >= 0) {
		event_new(REMOVE, "vars/BootNext-" EFI_GUID);
		names_remove(&live, "vars/BootNext-" EFI_GUID);
	}
}

static const struct boot_rig rig_systemd_noted = { .backend = &boot_systemd, .make = rig_systemd_make, .count_down = systemd_count_down_noted };
static const struct boot_rig rig_efi_noted = { .backend = &boot_efi, .make = rig_efi_make, .count_down = efi_count_down_noted };

static int setup_rig(void **state)
{
	return device_setup_rig(state, *state);
}

int main(void)
{
	static const struct boot_rig *const rigs[] = {
		&rig_efi_noted, &rig_file, &rig_grub, &rig_script_in_thread, &rig_systemd_noted,
#if defined(HAVE_UBOOTENV)
		&rig_uboot,
#endif
	};
	struct CMUnitTest tests[ARRAY_SIZE(rigs)];
	char names[ARRAY_SIZE(rigs)][96];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(rigs); i++) {
		snprintf(names[i], sizeof(names[i]), "%s: every_instant_leaves_a_system_that_boots", rigs[i]->backend->name);
		tests[i] = (struct CMUnitTest){ names[i], every_instant_leaves_a_system_that_boots, setup_rig, device_teardown, (void *)(uintptr_t)rigs[i] };
	}
	r = cmocka_run_group_tests(tests, NULL, NULL);
	print_message("# %lu states, after %lu of them an update went in again\n", n_states, n_redone);
	for (int i = 0; i < FILES_MAX; i++) {
		free(stable.files[i].data);
		free(crash.files[i].data);
	}
	free(on_disk[0].data);
	free(on_disk[1].data);
	return r;
}
