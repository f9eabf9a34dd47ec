/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "base/file.h"

static void replace_then_read_gives_the_same_bytes(void **state)
{
	struct temp_dir *dir = *state;
	_cleanup_free_ char *data = NULL;
	struct stat st;
	size_t size;

	assert_int_equal(file_replace_at(dir->fd, "a", 0600, "one", 3, NULL), 0);
	assert_int_equal(file_replace_at(dir->fd, "a", 0640, "two!", 4, NULL), 0);
	assert_int_equal(file_read_at(dir->fd, "a", 10, &data, &size, NULL), 0);
	assert_int_equal(size, 4);
	assert_string_equal(data, "two!");
	assert_int_equal(fstatat(dir->fd, "a", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(fstatat(dir->fd, ".a.tmp", &st, 0), -1);
}

static void replace_works_in_a_sub_folder(void **state)
{
	struct temp_dir *dir = *state;
	_cleanup_free_ char *data = NULL;

	assert_int_equal(mkdirat(dir->fd, "sub", 0700), 0);
	assert_int_equal(file_replace_at(dir->fd, "sub/a", 0600, "x", 1, NULL), 0);
	assert_int_equal(file_read_at(dir->fd, "sub/a", 1, &data, NULL, NULL), 0);
	assert_string_equal(data, "x");
}

static void a_left_over_temp_file_or_link_does_not_matter(void **state)
{
	struct temp_dir *dir = *state;
	_cleanup_free_ char *data = NULL;

	assert_int_equal(file_replace_at(dir->fd, "victim", 0600, "keep", 4, NULL), 0);
	assert_int_equal(symlinkat("victim", dir->fd, ".a.tmp"), 0);
	assert_int_equal(file_replace_at(dir->fd, "a", 0600, "new", 3, NULL), 0);
	assert_int_equal(file_read_at(dir->fd, "victim", 10, &data, NULL, NULL), 0);
	assert_string_equal(data, "keep");
}

static void too_large_absent_and_special_files_are_refused(void **state)
{
	struct temp_dir *dir = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	char *data = NULL;

	assert_int_equal(file_replace_at(dir->fd, "a", 0600, "12345", 5, NULL), 0);
	assert_int_equal(file_read_at(dir->fd, "a", 4, &data, NULL, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "file.size");
	assert_int_equal(file_read_at(dir->fd, "b", 4, &data, NULL, &err), -ENOENT);
	assert_error(&err, -ENOENT, "file.open");
	assert_int_equal(mkfifoat(dir->fd, "fifo", 0600), 0);
	assert_int_equal(file_read_at(dir->fd, "fifo", 4, &data, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "file.read");
	assert_int_equal(file_read_at(dir->fd, ".", 4, &data, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "file.read");
	assert_null(data);
}

static void a_full_disk_leaves_the_old_file(void **state)
{
	struct temp_dir *dir = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct stat st;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_int_equal(write_all(full, "x", 1), -ENOSPC);
	close(full);
	assert_int_equal(file_replace_at(dir->fd, "no/such", 0600, "x", 1, &err), -ENOENT);
	assert_error(&err, -ENOENT, "file.dir");
	assert_int_equal(fstatat(dir->fd, "no", &st, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(replace_then_read_gives_the_same_bytes, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(replace_works_in_a_sub_folder, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(a_left_over_temp_file_or_link_does_not_matter, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(too_large_absent_and_special_files_are_refused, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_leaves_the_old_file, temp_dir_setup, temp_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
