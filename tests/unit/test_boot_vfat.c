/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot entries on vfat, which has no journal: what a store changes in the folder reaches the disk in any order until the folder is synced. A rename is
 * two changes there, a new name and an old one that goes, so a power cut leaves one name, both or none. Each such folder is made here, from
 * every store of a device's life; in each the boot loader must find something that may boot, and the same store must succeed then. (With renames, as
 * it was before, an entry was lost in 6 of 96.) That firmware loses one, which renames as well, the agent survives.
 *
 * The model is that of Linux (fs/fat/namei_vfat.c) down to directory entries. What it does not have: two names of one chain of clusters, and chains
 * that are free and in use; those are for fsck.vfat before the mount. No vfat is in the kernel that runs the tests.
 */
#include "config.h"

#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"
#include "tests/unit/boot_rigs.h"

#include <dirent.h>
#include <errno.h>
#include <sys/syscall.h>

#define FILES_MAX 12
#define CHANGES_MAX 64

struct file {
	char name[64], text[1024];
	bool is_there;
};

struct folder {
	struct file files[FILES_MAX];
};

/* A name that is made or gets another content, one that goes, or the sync of the folder. */
struct change {
	enum { SET, GONE, SYNC } kind;
	struct file file;
};

static struct change changes[CHANGES_MAX];
static size_t n_changes;
static bool is_recording;

static struct change *change_new(int kind, const char *name)
{
	struct change *c = &changes[n_changes++];

	assert_true(n_changes < CHANGES_MAX);
	*c = (struct change){ .kind = kind };
	snprintf(c->file.name, sizeof(c->file.name), "%s", name);
	return c;
}

static void text_of(int dir_fd, const char *name, struct file *file)
{
	_cleanup_free_ char *data = NULL;
	size_t n = 0;

	assert_int_equal(file_read_at(dir_fd, name, sizeof(file->text) - 1, &data, &n, NULL), 0);
	memcpy(file->text, data, n);
	file->text[n] = '\0';
}

/* ---- these come before the C library's -------------------------------------------------------------------------------- */

int renameat(int from_fd, const char *from, int to_fd, const char *to);
int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	if (is_recording) {
		text_of(from_fd, from, &change_new(SET, to)->file);
		change_new(GONE, from);
	}
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int unlinkat(int fd, const char *path, int flags);
int unlinkat(int fd, const char *path, int flags)
{
	if (is_recording && faccessat(fd, path, F_OK, 0) == 0)
		change_new(GONE, path);
	return (int)syscall(SYS_unlinkat, fd, path, flags);
}

int fsync(int fd);
int fsync(int fd)
{
	struct stat st;

	if (is_recording && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		change_new(SYNC, "");
	return 0;
}

/* ---- folders ------------------------------------------------------------------------------------------------------------ */

static struct file *file_find(struct folder *f, const char *name)
{
	for (size_t i = 0; i < FILES_MAX; i++)
		if (f->files[i].is_there && strcmp(f->files[i].name, name) == 0)
			return &f->files[i];
	return NULL;
}

static void change_apply(struct folder *f, const struct change *c)
{
	struct file *file = file_find(f, c->file.name);

	if (c->kind == GONE && file != NULL)
		file->is_there = false;
	if (c->kind != SET)
		return;
	for (size_t i = 0; file == NULL && i < FILES_MAX; i++)
		if (!f->files[i].is_there)
			file = &f->files[i];
	assert_non_null(file);
	*file = c->file;
	file->is_there = true;
}

static void folder_read(struct device *d, struct folder *ret_folder)
{
	DIR *dir = opendir(entry_path(d, ""));
	struct dirent *item;
	size_t n = 0;

	assert_non_null(dir);
	*ret_folder = (struct folder){ 0 };
	while ((item = readdir(dir)) != NULL) {
		struct file *file = &ret_folder->files[n];

		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
			continue;
		assert_true(++n < FILES_MAX);
		snprintf(file->name, sizeof(file->name), "%.63s", item->d_name);
		text_of(dirfd(dir), item->d_name, file);
		file->is_there = true;
	}
	closedir(dir);
}

static void folder_make(struct device *d, const struct folder *f)
{
	DIR *dir = opendir(entry_path(d, ""));
	struct dirent *item;

	assert_non_null(dir);
	while ((item = readdir(dir)) != NULL)
		if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
			assert_int_equal(syscall(SYS_unlinkat, dirfd(dir), item->d_name, 0), 0);
	closedir(dir);
	for (size_t i = 0; i < FILES_MAX; i++)
		if (f->files[i].is_there)
			text_write(entry_path(d, f->files[i].name), f->files[i].text);
}

/* ---- what must hold ------------------------------------------------------------------------------------------------------ */

static unsigned n_states;

static bool may_boot(const struct boot_state *s, const char *slot)
{
	for (size_t i = 0; i < s->n_slots; i++)
		if (strcmp(s->slots[i].name, slot) == 0)
			return boot_slot_is_bootable(&s->slots[i]);
	return false;
}

static void check_cut(struct device *d, const struct folder *cut, const struct boot_state *old, const struct boot_state *next, const char *what)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct boot_state now = { 0 };

	folder_make(d, cut);
	if (boot_systemd.load(d->env, &now, &err) < 0)
		fail_msg("%s: %s", what, agent_error_message(err));
	/* The loader takes what is in service before what is not: its first choice boots. */
	if (!may_boot(&now, now.primary))
		fail_msg("%s: nothing boots", what);
	for (size_t i = 0; i < now.n_slots; i++)
		if (may_boot(&now, now.slots[i].name) && !may_boot(old, now.slots[i].name) && !may_boot(next, now.slots[i].name))
			fail_msg("%s: slot %s came into service by itself", what, now.slots[i].name);
	n_states++;
	/* No entry was lost, with what the vendor wrote into it. */
	if (boot_systemd.store(d->env, next, &err) < 0)
		fail_msg("%s: %s", what, agent_error_message(err));
	now = load(d);
	for (size_t i = 0; i < next->n_slots; i++)
		assert_int_equal(may_boot(&now, next->slots[i].name), boot_slot_is_bootable(&next->slots[i]));
	assert_string_equal(now.primary, next->primary);
}

static void every_order_of_every_store_leaves_something_to_boot(void **state)
{
	struct device *d = *state;

	assert_int_equal(boot_systemd.store(d->env, &life[0], NULL), 0);
	for (size_t i = 0; i + 1 < ARRAY_SIZE(life); i++) {
		struct folder durable, after, cut;
		size_t synced = 0;

		folder_read(d, &durable);
		n_changes = 0;
		is_recording = true;
		assert_int_equal(boot_systemd.store(d->env, &life[i + 1], NULL), 0);
		is_recording = false;
		folder_read(d, &after);
		assert_true(n_changes > 0);
		/* Nothing may wait for the next sync when it says that it is done. */
		assert_int_equal(changes[n_changes - 1].kind, SYNC);
		for (size_t at = 0; at < n_changes; at++) {
			size_t n = at + 1 - synced;

			if (changes[at].kind == SYNC) {
				for (; synced < at; synced++)
					change_apply(&durable, &changes[synced]);
				synced++;
				continue;
			}
			assert_true(n <= 8);
			for (unsigned which = 0; which < 1u << n; which++) {
				char what[64];

				cut = durable;
				for (size_t k = 0; k < n; k++)
					if ((which & 1u << k) != 0)
						change_apply(&cut, &changes[synced + k]);
				snprintf(what, sizeof(what), "store %zu, change %zu, kept %x", i, at, which);
				check_cut(d, &cut, &life[i], &life[i + 1], what);
			}
		}
		folder_make(d, &after);
	}
	print_message("# %u folders\n", n_states);
	assert_true(n_states > 50);
}

static void with_a_lost_entry_the_device_confirms_and_says_what_is_missing(void **state)
{
	struct device *d = *state;
	_cleanup_error_ struct agent_error *err = NULL;

	/* The entry of the old slot went when it was taken out of service. */
	assert_int_equal(step_install(d, "r-1"), 0);
	assert_string_equal(reboot(d), "b");
	assert_int_equal(unlink(entry_path(d, "agent-a.conf")), 0);
	assert_int_equal(step_confirm(d, NULL), 0);
	check_stage(d, AGENT_UPDATE_IDLE, "");
	assert_string_equal(reboot(d), "b");
	{
		_cleanup_engine_ struct agent_update *u = engine(d);

		assert_int_equal(install(d, u, &(struct bundle){ .release = "r-2" }, 0, &err), -EINVAL);
		assert_error(&err, -EINVAL, "boot.config");
	}
	assert_true(slot_is_untouched(d, 0));
	check_stage(d, AGENT_UPDATE_IDLE, "");
	text_write(entry_path(d, "agent-a+0.conf"), ENTRY_A);
	assert_int_equal(step_install(d, "r-2"), 0);
	/* The entry of the slot that is tried went: the old one runs, and that is what is remembered. */
	assert_string_equal(reboot(d), "a");
	assert_int_equal(unlink(entry_path(d, "agent-a+1-1.conf")), 0);
	strcpy(d->booted, "b");
	check_stage(d, AGENT_UPDATE_FAILED, "r-2");
}

static int setup_systemd(void **state)
{
	return device_setup_rig(state, &rig_systemd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_order_of_every_store_leaves_something_to_boot, setup_systemd, device_teardown),
		cmocka_unit_test_setup_teardown(with_a_lost_entry_the_device_confirms_and_says_what_is_missing, setup_systemd, device_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
