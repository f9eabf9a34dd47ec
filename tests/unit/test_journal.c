/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "base/file.h"
#include "update/boot.h"
#include "update/journal.h"

static void only_the_moves_of_the_table_are_allowed(void **state)
{
	static const char allowed[7][8] = {
		/* to:       IRWwTCF */
		/* idle */ "0100000", /* receiving */ "1010001", /* writing */ "0001001", /* written */ "0000101",
		/* trying */ "1000011", /* confirmed */ "1000000", /* failed */ "0100000",
	};

	for (unsigned from = 0; from < 7; from++)
		for (unsigned to = 0; to < 7; to++)
			assert_int_equal(journal_may_move(from, to), allowed[from][to] == '1');
	assert_false(journal_may_move(7, 0));
	assert_false(journal_may_move(0, 7));
	assert_string_equal(agent_update_stage_name(AGENT_UPDATE_TRYING), "trying");
	assert_string_equal(agent_update_stage_name(99), "unknown");
}

static void what_was_written_is_read_back(void **state)
{
	struct temp_dir *dir = *state;
	struct journal j = { .target = "b", .version = "1.0", .release_id = "r-1", .failed_release_id = "r-0", .security_version = INT64_MAX }, k;
	struct stat st;

	j.stage = AGENT_UPDATE_RECEIVING;
	assert_int_equal(journal_move(dir->fd, &j, AGENT_UPDATE_WRITING, NULL), 0);
	memset(&k, 0, sizeof(k));
	assert_int_equal(journal_load(dir->fd, &k, NULL), 0);
	assert_int_equal(k.stage, AGENT_UPDATE_WRITING);
	assert_string_equal(k.target, "b");
	assert_string_equal(k.version, "1.0");
	assert_string_equal(k.release_id, "r-1");
	assert_string_equal(k.failed_release_id, "r-0");
	assert_true(k.security_version == INT64_MAX);
	assert_int_equal(fstatat(dir->fd, JOURNAL_NAME, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void receiving_never_touches_the_file(void **state)
{
	struct temp_dir *dir = *state;
	struct journal j = { 0 };
	struct stat st;

	assert_int_equal(journal_move(dir->fd, &j, AGENT_UPDATE_RECEIVING, NULL), 0);
	assert_int_equal(fstatat(dir->fd, JOURNAL_NAME, &st, 0), -1);
	assert_int_equal(journal_move(dir->fd, &j, AGENT_UPDATE_IDLE, NULL), 0);
	assert_int_equal(fstatat(dir->fd, JOURNAL_NAME, &st, 0), -1);
}

static void a_forbidden_move_changes_nothing(void **state)
{
	struct temp_dir *dir = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct journal j = { .stage = AGENT_UPDATE_WRITING, .target = "b" };
	struct stat st;

	assert_int_equal(journal_move(dir->fd, &j, AGENT_UPDATE_TRYING, &err), -EPROTO);
	assert_error(&err, -EPROTO, "journal.move");
	assert_int_equal(j.stage, AGENT_UPDATE_WRITING);
	assert_int_equal(fstatat(dir->fd, JOURNAL_NAME, &st, 0), -1);
}

static void a_damaged_journal_is_told_from_a_missing_one(void **state)
{
	static const char *const bad[] = {
		"", "stage=idle\nx", "=1\n", "stage=unheard\n", "stage=receiving\n", "target=b\n", "stage=trying\n", "stage=idle\nsecurity_version=x\n",
		"stage=idle\nsecurity_version=9223372036854775808\n", "stage=idle\ntarget=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "stage=idle\nversion=a b\n",
		"stage=idle\nmore=1\n", "stage=idle\nsecurity_version=\n",
	};
	struct temp_dir *dir = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct journal j;

	assert_int_equal(journal_load(dir->fd, &j, &err), -ENOENT);
	assert_error(&err, -ENOENT, "journal.missing");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(file_replace_at(dir->fd, JOURNAL_NAME, 0600, bad[i], strlen(bad[i]), NULL), 0);
		if (journal_load(dir->fd, &j, &err) != -EBADMSG)
			fail_msg("taken: %s", bad[i]);
		assert_error(&err, -EBADMSG, "journal.format");
	}
	assert_int_equal(file_replace_at(dir->fd, JOURNAL_NAME, 0600, "stage=idle\0\n", 12, NULL), 0);
	assert_int_equal(journal_load(dir->fd, &j, NULL), -EBADMSG);
}

/* ---- the "file" boot environment ------------------------------------------------------------------------------------- */

static char *env_path(struct temp_dir *dir)
{
	static char path[96];

	snprintf(path, sizeof(path), "%s/env", dir->path);
	return path;
}

static void a_boot_environment_is_read_back(void **state)
{
	struct temp_dir *dir = *state;
	struct boot_state a = { .primary = "b", .booted = "a" }, b;

	*boot_state_slot(&a, "a") = (struct boot_slot){ .name = "a", .is_good = true, .security_version = 3, .release = "r", .version = "1" };
	*boot_state_slot(&a, "b") = (struct boot_slot){ .name = "b", .n_tries_left = 9, .security_version = 4 };
	assert_null(boot_state_slot(&a, "c"));
	assert_int_equal(boot_file.store(env_path(dir), &a, NULL), 0);
	assert_int_equal(boot_file.load(env_path(dir), &b, NULL), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_true(boot_slot_is_bootable(&b.slots[0]));
	assert_true(boot_slot_is_bootable(&b.slots[1]));
}

static void what_a_boot_loader_cannot_have_meant_is_refused(void **state)
{
	static const char *const bad[] = {
		"", "primary=a\nslot.a.good=2\n", "primary=a\nslot.a.tries_left=10\n", "primary=a\nslot.a.tries_left=-1\n", "primary=a\nslot.A.good=1\n",
		"primary=a\nslot.a.colour=1\n", "primary=a\nslot.a=1\n", "primary=a\nslot..good=1\n", "booted=a\n", "primary=a b\n", "primary=a\ntypo=1\n",
		"primary=a\nslot.a.good=1\nslot.b.good=0\nslot.c.good=0\n", "primary\n", "primary=aaaaaaaaaaaaaaaaaaaaaaaaa\n",
	};
	struct temp_dir *dir = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct boot_state s;

	assert_int_equal(boot_file.load(env_path(dir), &s, &err), -ENOENT);
	assert_error(&err, -ENOENT, "boot.missing");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(file_replace_at(dir->fd, "env", 0600, bad[i], strlen(bad[i]), NULL), 0);
		if (boot_file.load(env_path(dir), &s, &err) != -EBADMSG)
			fail_msg("taken: %s", bad[i]);
		assert_error(&err, -EBADMSG, "boot.format");
	}
}

static void a_boot_environment_that_cannot_be_written_stays(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct boot_state s = { .primary = "a" };

	assert_int_equal(boot_file.store("/nowhere/at/all", &s, &err), -ENOENT);
	assert_error(&err, -ENOENT, "boot.write");
	assert_null(boot_find("lilo"));
	assert_ptr_equal(boot_find("file"), &boot_file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_moves_of_the_table_are_allowed),
		cmocka_unit_test_setup_teardown(what_was_written_is_read_back, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(receiving_never_touches_the_file, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(a_forbidden_move_changes_nothing, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(a_damaged_journal_is_told_from_a_missing_one, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(a_boot_environment_is_read_back, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(what_a_boot_loader_cannot_have_meant_is_refused, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(a_boot_environment_that_cannot_be_written_stays, temp_dir_setup, temp_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
