/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_POWERCUT_REPLAY_H
#define TESTS_UNIT_POWERCUT_REPLAY_H
/* What of a log may lie on the disk when the power goes, put back as a device: for test_powercut.c. After powercut_log.h. */

#define SECTOR 512

/* ---- replay ---------------------------------------------------------------------------------------------------------- */

struct disk {
	struct names names;
	struct content files[FILES_MAX];
};

static struct disk stable, crash;
static size_t pending[EVENTS_MAX], n_pending;
static struct content on_disk[2];	/* the slots as they lie there, so that they need not be written for each state */
static uint64_t dice = 88172645463325252u;
static uint64_t floor_now;		/* as NV memory has it */
static uint64_t tickets_now;		/* likewise: how many service tickets were used */
#define RELEASES_MAX 16
static bool has_run[RELEASES_MAX][2];	/* the scripts of a release, before and after the images: to their end, and well */

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
	if (e->kind == SCRIPT_ENDED)
		has_run[e->floor][e->is_after] = true;
	if (e->kind == SCRIPT_RUNS || e->kind == SCRIPT_ENDED)
		return;
	if (e->kind == TICKET) {
		tickets_now = e->floor;
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

#endif
