/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H
/* What every unit test includes: cmocka in the order it wants, and a temp folder per test. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <agent/error.h>

#include "base/macro.h"

/* The stable name and errno of an error, then free it. */
static inline void assert_error(struct agent_error **err, int errnum, const char *name)
{
	assert_non_null(*err);
	assert_string_equal(agent_error_name(*err), name);
	assert_int_equal(agent_error_errno(*err), errnum);
	assert_true(agent_error_message(*err)[0] != '\0');
	*err = agent_error_free(*err);
}

/* A fresh folder, open; temp_dir_remove() takes it away with the plain files in it. */
struct temp_dir {
	char path[64];
	int fd;
};

static inline void temp_dir_make(struct temp_dir *dir)
{
	snprintf(dir->path, sizeof(dir->path), "/tmp/agent-test-XXXXXX");
	assert_non_null(mkdtemp(dir->path));
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir->fd >= 0);
}

static inline void temp_dir_remove(struct temp_dir *dir)
{
	char command[128];

	close(dir->fd);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir->path);
	assert_int_equal(system(command), 0);
}

/* The same for cmocka: *state is the folder. */
static inline int temp_dir_setup(void **state)
{
	struct temp_dir *dir = test_calloc(1, sizeof(*dir));

	temp_dir_make(dir);
	*state = dir;
	return 0;
}

static inline int temp_dir_teardown(void **state)
{
	temp_dir_remove(*state);
	test_free(*state);
	return 0;
}

#endif
