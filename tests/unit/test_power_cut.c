/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of the power cut. Every system call by which the record changes is written down; then each point in that list is
 * made a power cut, with every subset of what was not yet synced lost or kept, and data of a file that was not synced also torn
 * in the middle. What is found at the next start must be the old state or the new one, the new one once it was
 * acknowledged, and the factory's only where that was old or new.
 */
#include "tests/unit/password_world.h"

#include "password/record.h"

#define KARIN "eleven copper marmots sing"

#define MAX_STEPS 32
#define MAX_FILES 8
#define MAX_UNSYNCED 8

/* ---- what was done, seen through the calls themselves ------------------------------------------------------------- */

enum kind { CREATE, WRITE, SYNC_FILE, SYNC_FOLDER, RENAME, UNLINK, COUNT };

struct step {
	enum kind kind;
	char name[32], to[32];	/* of a file in the folder; UNLINK of one that is not there is no step */
	char *data;		/* of WRITE */
	size_t size;
};

static struct {
	bool is_on;
	int dir_fd;
	struct step steps[MAX_STEPS];
	size_t n;
	int fds[MAX_STEPS];	/* open for writing */
	char fd_names[MAX_STEPS][32];
	size_t n_fds;
} tape;

static struct step *note(enum kind kind, const char *name)
{
	struct step *s = &tape.steps[tape.n++];

	assert_true(tape.n <= MAX_STEPS);
	*s = (struct step){ .kind = kind };
	if (name != NULL)
		snprintf(s->name, sizeof(s->name), "%s", name);
	return s;
}

static const char *name_of_fd(int fd)
{
	for (size_t i = 0; i < tape.n_fds; i++)
		if (tape.fds[i] == fd)
			return tape.fd_names[i];
	return NULL;
}

int __real_openat(int dir_fd, const char *path, int flags, ...);
int __wrap_openat(int dir_fd, const char *path, int flags, ...);
int __wrap_openat(int dir_fd, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;
	int fd;

	va_start(ap, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	fd = __real_openat(dir_fd, path, flags, mode);
	if (tape.is_on && fd >= 0 && (flags & O_CREAT) != 0) {
		note(CREATE, path);
		tape.fds[tape.n_fds] = fd;
		snprintf(tape.fd_names[tape.n_fds++], sizeof(tape.fd_names[0]), "%s", path);
	}
	return fd;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	for (size_t i = 0; i < tape.n_fds; i++)
		if (tape.fds[i] == fd)
			tape.fds[i] = -1;
	return __real_close(fd);
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	const char *name = name_of_fd(fd);

	if (tape.is_on && name != NULL) {
		struct step *s = note(WRITE, name);

		s->data = malloc(size);
		memcpy(s->data, data, size);
		s->size = size;
	}
	return __real_write(fd, data, size);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	if (tape.is_on)
		note(name_of_fd(fd) != NULL ? SYNC_FILE : SYNC_FOLDER, name_of_fd(fd));
	return __real_fsync(fd);
}

int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int r = __real_renameat(from_fd, from, to_fd, to);

	if (tape.is_on && r == 0)
		snprintf(note(RENAME, from)->to, sizeof(tape.steps[0].to), "%s", to);
	return r;
}

int __real_unlinkat(int dir_fd, const char *path, int flags);
int __wrap_unlinkat(int dir_fd, const char *path, int flags);
int __wrap_unlinkat(int dir_fd, const char *path, int flags)
{
	int r = __real_unlinkat(dir_fd, path, flags);

	if (tape.is_on && r == 0)
		note(UNLINK, path);
	return r;
}

static void on_count(void *userdata)
{
	(void)userdata;
	if (tape.is_on)
		note(COUNT, NULL);
}

static bool is_careless;	/* the control: syncs count for nothing, so that bad states must be found */

/* ---- a folder as it may be found after the power came back --------------------------------------------------------- */

struct inode {
	char *data;	/* lent */
	size_t size, kept;	/* written; what of it is on the medium */
	bool is_synced;
};

struct entry {
	char name[32];
	int inode;
};

struct disk {
	struct inode inodes[MAX_FILES + MAX_STEPS];
	int n_inodes;
	struct entry entries[MAX_FILES];
	size_t n;
};

static int find(const struct disk *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->entries[i].name, name) == 0)
			return (int)i;
	return -1;
}

static void unlink_entry(struct disk *d, const char *name)
{
	int at = find(d, name);

	if (at >= 0)
		d->entries[at] = d->entries[--d->n];
}

static void link_entry(struct disk *d, const char *name, int inode)
{
	unlink_entry(d, name);
	assert_true(d->n < MAX_FILES);
	d->entries[d->n].inode = inode;
	snprintf(d->entries[d->n++].name, sizeof(d->entries[0].name), "%s", name);
}

static void load_disk(int dir_fd, struct disk *d)
{
	static const char *const names[] = { "label", "current", "new" };

	*d = (struct disk){ .n = 0 };
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct inode *inode = &d->inodes[d->n_inodes];

		if (file_read_at(dir_fd, names[i], RECORD_MAX_BYTES, &inode->data, &inode->size, NULL) < 0)
			continue;
		inode->kept = inode->size;
		inode->is_synced = true;
		link_entry(d, names[i], d->n_inodes++);
	}
}

/*
 * Play the first @n steps. Of the changes of the folder that no sync of it covers, those in @entries_kept reach the medium, in their
 * order; of each file whose data no sync covers, what @data_kept says: 0 nothing, 1 half, 2 all. Returns how many there
 * were of each kind, so that the caller tries all values.
 */
static void play(const struct disk *before, size_t n, unsigned entries_kept, const unsigned *data_kept, struct disk *d, size_t *ret_n_entries,
		 size_t *ret_n_data, uint64_t *ret_count)
{
	size_t last_sync = 0, i_entry = 0, i_data = 0;
	struct disk live = *before;	/* as the running program sees it */

	*ret_count = 0;
	*d = *before;
	for (size_t i = 0; i < n; i++)
		if (tape.steps[i].kind == SYNC_FOLDER && !is_careless)
			last_sync = i;
	for (size_t i = 0; i < n; i++) {
		const struct step *s = &tape.steps[i];
		bool is_entry = s->kind == CREATE || s->kind == RENAME || s->kind == UNLINK;
		bool is_kept = is_entry && (i < last_sync || (entries_kept >> i_entry & 1) != 0);
		int inode = -1;

		if (is_entry && i >= last_sync)
			i_entry++;
		switch (s->kind) {
		case CREATE:
			inode = live.n_inodes++;
			d->n_inodes = live.n_inodes;
			live.inodes[inode] = d->inodes[inode] = (struct inode){ .data = NULL };
			link_entry(&live, s->name, inode);
			if (is_kept)
				link_entry(d, s->name, inode);
			break;
		case WRITE:
			inode = live.entries[find(&live, s->name)].inode;
			d->inodes[inode].data = s->data;
			d->inodes[inode].size = s->size;
			break;
		case SYNC_FILE:
			d->inodes[live.entries[find(&live, s->name)].inode].is_synced = !is_careless;
			break;
		case RENAME:
			inode = live.entries[find(&live, s->name)].inode;
			unlink_entry(&live, s->name);
			link_entry(&live, s->to, inode);
			if (is_kept) {
				unlink_entry(d, s->name);
				link_entry(d, s->to, inode);
			}
			break;
		case UNLINK:
			unlink_entry(&live, s->name);
			if (is_kept)
				unlink_entry(d, s->name);
			break;
		case COUNT:
			(*ret_count)++;
			break;
		case SYNC_FOLDER:
			break;
		}
	}
	for (int i = 0; i < d->n_inodes; i++) {
		struct inode *inode = &d->inodes[i];

		inode->kept = inode->size;
		if (!inode->is_synced && inode->size > 0) {
			inode->kept = inode->size * data_kept[i_data] / 2;
			i_data++;
		}
	}
	assert_true(i_entry <= MAX_UNSYNCED && i_data <= 2);
	*ret_n_entries = i_entry;
	*ret_n_data = i_data;
}

static void store_disk(int dir_fd, const struct disk *d)
{
	static const char *const names[] = { "label", "current", "new", ".label.tmp" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_true(__real_unlinkat(dir_fd, names[i], 0) == 0 || errno == ENOENT);
	for (size_t i = 0; i < d->n; i++) {
		const struct inode *inode = &d->inodes[d->entries[i].inode];
		int fd = __real_openat(dir_fd, d->entries[i].name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		assert_true(fd >= 0);
		if (inode->kept > 0)
			assert_int_equal(__real_write(fd, inode->data, inode->kept), (ssize_t)inode->kept);
		assert_int_equal(__real_close(fd), 0);
	}
}

/* ---- the changes ---------------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
	tape.is_on = false;
	setup_empty(state);
	((struct password_world *)*state)->c.on_increment = on_count;
	return 0;
}

static int untaped(void **state)
{
	tape.is_on = false;
	return teardown(state);
}

static int provision(struct password_world *w) { return agent_password_provision(w->pw, SECRET, strlen(SECRET), NULL); }
static int first_change(struct password_world *w) { return change(w, 1, OWNER_A); }
static int second_change(struct password_world *w) { return change(w, 2, OWNER_B); }
static int add(struct password_world *w) { return agent_password_add(w->pw, "karin", AGENT_ROLE_OPERATOR, KARIN, strlen(KARIN), NULL); }
static int role(struct password_world *w) { return agent_password_set_role(w->pw, "karin", AGENT_ROLE_VIEWER, NULL); }
static int reset(struct password_world *w) { return agent_password_factory_reset(w->pw, NULL); }

/* What somebody can find out about a device: its state, and who gets in as what. */
struct view {
	enum agent_setup_state state;
	bool label, first, second, karin;
	enum agent_account_role role;
};

static bool opens(struct password_world *w, const char *user, const char *text)
{
	return agent_password_verify(w->pw, user, text, strlen(text), NULL) == 0;
}

static struct view look(struct password_world *w)
{
	struct agent_account karin;
	struct view v = { .state = agent_password_get_state(w->pw) };

	v.label = opens(w, "admin", SECRET);
	v.first = opens(w, "admin", OWNER_A);
	v.second = opens(w, "admin", OWNER_B);
	v.karin = opens(w, "karin", KARIN);
	v.role = agent_password_find(w->pw, "karin", &karin, NULL) == 0 ? karin.role : 0;
	return v;
}

static bool same(const struct view *a, const struct view *b)
{
	return a->state == b->state && a->label == b->label && a->first == b->first && a->second == b->second && a->karin == b->karin && a->role == b->role;
}

static size_t n_cuts, n_bad;

/* Change, written down; then all power cuts in it. Leaves the device as the change left it. */
static void cut_everywhere(struct password_world *w, const char *what, int (*transition)(struct password_world *w))
{
	struct disk before, after, d;
	struct view old_view = look(w), new_view;
	uint64_t count_before = w->c.value, count;
	size_t n_entries, n_data, n_new = 0, n_old = 0;

	load_disk(w->dir.fd, &before);
	for (size_t i = 0; i < tape.n; i++)
		free(tape.steps[i].data);
	tape.n = tape.n_fds = 0;
	tape.is_on = true;
	assert_int_equal(transition(w), 0);
	tape.is_on = false;
	new_view = look(w);
	assert_false(same(&old_view, &new_view));
	load_disk(w->dir.fd, &after);
	for (size_t n = 0; n <= tape.n; n++) {
		unsigned entries = 0, data[2] = { 0, 0 };

		do {
			struct view v;

			play(&before, n, entries, data, &d, &n_entries, &n_data, &count);
			store_disk(w->dir.fd, &d);
			w->c.value = count_before + count;
			reopen(w);
			v = look(w);
			n_bad += !same(&v, &old_view) && !same(&v, &new_view);
			n_bad += n == tape.n && !same(&v, &new_view);
			if (!is_careless && !same(&v, &old_view) && !same(&v, &new_view))
				fail_msg("%s, cut after step %zu, entries %x, data %u %u: state %s", what, n, entries, data[0], data[1],
					 agent_setup_state_name(v.state));
			if (!is_careless && n == tape.n && !same(&v, &new_view))
				fail_msg("%s: acknowledged, and lost with entries %x", what, entries);
			n_new += same(&v, &new_view);
			n_old += same(&v, &old_view);
			/* The second start finds what the first one left. */
			reopen(w);
			assert_int_equal(agent_password_get_state(w->pw), v.state);
			n_cuts++;
			for (size_t i = 0; i < 2; i++) {
				if (i >= n_data)
					data[i] = 2;
				if (++data[i] <= 2)
					break;
				data[i] = 0;
				if (i == 1)
					entries++;
			}
		} while (entries < 1u << n_entries);
	}
	assert_true(n_new > 0 && n_old > 0);
	store_disk(w->dir.fd, &after);
	for (int i = 0; i < before.n_inodes; i++)
		free(before.inodes[i].data);
	for (int i = 0; i < after.n_inodes; i++)
		free(after.inodes[i].data);
	w->c.value = count_before + 1;
	reopen(w);
	print_message("%s: %zu steps, %zu cuts so far\n", what, tape.n, n_cuts);
}

static void a_power_cut_leaves_the_old_state_or_the_new_one(void **state)
{
	struct password_world *w = *state;

	cut_everywhere(w, "provisioning", provision);
	cut_everywhere(w, "first change", first_change);
	cut_everywhere(w, "change", second_change);
	cut_everywhere(w, "new account", add);
	cut_everywhere(w, "role", role);
	cut_everywhere(w, "factory reset", reset);
	for (size_t i = 0; i < tape.n; i++)
		free(tape.steps[i].data);
	tape.n = 0;
	assert_true(n_cuts >= 111);
	assert_int_equal(n_bad, 0);
}

static void without_syncs_the_model_finds_what_breaks(void **state)
{
	struct password_world *w = *state;

	is_careless = true;
	cut_everywhere(w, "provisioning", provision);
	n_bad = 0;
	cut_everywhere(w, "first change", first_change);
	assert_true(n_bad > 0);
	for (size_t i = 0; i < tape.n; i++)
		free(tape.steps[i].data);
	tape.n = 0;
	is_careless = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_power_cut_leaves_the_old_state_or_the_new_one, setup, untaped),
		cmocka_unit_test_setup_teardown(without_syncs_the_model_finds_what_breaks, setup, untaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
