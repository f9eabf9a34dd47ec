/* SPDX-License-Identifier: Apache-2.0 */
/* The scratch folder of scripts, against scripts that hide things in it or leave it so that it cannot be emptied. */
#include "tests/unit/test.h"

#include <dirent.h>

#include "agentd/script/folder.h"

#define DEEP 300

/* Root may look everywhere; agentd-script is not root. */
static int setup(void **state)
{
	struct temp_dir *dir = calloc(1, sizeof(*dir));

	assert_non_null(dir);
	temp_dir_make(dir);
	if (geteuid() == 0) {
		assert_int_equal(chown(dir->path, 65534, 65534), 0);
		assert_int_equal(seteuid(65534), 0);
	}
	*state = dir;
	return 0;
}

static int teardown(void **state)
{
	struct temp_dir *dir = *state;

	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	temp_dir_remove(dir);
	free(dir);
	return 0;
}

static void put_file(const struct temp_dir *dir, const char *name, size_t size)
{
	int fd = openat(dir->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(posix_fallocate(fd, 0, (off_t)size), 0);
	close(fd);
}

static void make_folder(const struct temp_dir *dir, const char *name)
{
	assert_int_equal(mkdirat(dir->fd, name, 0700), 0);
}

static bool is_empty(const struct temp_dir *dir)
{
	DIR *d = opendir(dir->path);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n == 2;
}

static void test_limits(void **state)
{
	const struct temp_dir *dir = *state;

	assert_false(folder_is_full(dir->path));
	assert_false(folder_is_full("/nowhere/at/all"));
	make_folder(dir, "a");
	put_file(dir, "a/x", 4096);
	assert_false(folder_is_full(dir->path));
	put_file(dir, "a/y", FOLDER_BYTES_MAX);
	assert_true(folder_is_full(dir->path));
	folder_clear(dir->path);
	assert_true(is_empty(dir));
	assert_false(folder_is_full(dir->path));
}

/* Write and search, but not read: files go in, and nobody sees them. */
static void test_shut_folder(void **state)
{
	const struct temp_dir *dir = *state;

	make_folder(dir, "a");
	assert_int_equal(fchmodat(dir->fd, "a", 0300, 0), 0);
	put_file(dir, "a/x", FOLDER_BYTES_MAX);
	assert_true(folder_is_full(dir->path));
	folder_clear(dir->path);
	assert_true(is_empty(dir));
}

static void test_shut_top(void **state)
{
	const struct temp_dir *dir = *state;
	struct stat st;

	put_file(dir, "x", 4096);
	assert_int_equal(chmod(dir->path, 0), 0);
	assert_true(folder_is_full(dir->path));
	folder_clear(dir->path);
	assert_true(is_empty(dir));
	assert_int_equal(stat(dir->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void test_deep(void **state)
{
	const struct temp_dir *dir = *state;
	int fd = dup(dir->fd);

	/* Names that are in the way. */
	put_file(dir, ".agentd-lifted-1", 1);
	make_folder(dir, ".agentd-lifted-0");
	put_file(dir, ".agentd-lifted-0/x", 1);
	for (unsigned i = 0; i < DEEP; i++) {
		int next;

		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		assert_int_equal(fchmod(fd, i > 0 && i % 7 == 0 ? 0 : 0700), 0);
		close(fd);
		fd = next;
	}
	close(fd);
	assert_true(folder_is_full(dir->path));
	folder_clear(dir->path);
	assert_true(is_empty(dir));
}

static void test_link(void **state)
{
	const struct temp_dir *dir = *state;
	struct temp_dir other;

	temp_dir_make(&other);
	put_file(&other, "x", 4096);
	assert_int_equal(symlinkat(other.path, dir->fd, "link"), 0);
	folder_clear(dir->path);
	assert_true(is_empty(dir));
	assert_int_equal(faccessat(other.fd, "x", F_OK, 0), 0);
	temp_dir_remove(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shut_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shut_top, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
