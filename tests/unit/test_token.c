/* SPDX-License-Identifier: Apache-2.0 */
/* The token of a source of updates: out of a file that nobody else can read, and fit for a header. */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/fetch/token.h"

static void tokens_are_read_from_safe_files_only(void **state)
{
	const struct temp_dir *dir = *state;
	static const struct {
		const char *text;
		mode_t mode;
		int r;
	} cases[] = {
		{ "Abc123\n", 0600, 0 }, { "Abc123", 0400, 0 }, { "Abc123\n", 0640, -EPERM }, { "Abc123\n", 0604, -EPERM }, { "", 0600, -EINVAL },
		{ "\n", 0600, -EINVAL }, { "a b\n", 0600, -EINVAL }, { "a\r\n", 0600, -EINVAL }, { "a\nX-Evil: 1\n", 0600, -EINVAL },
	};
	char path[128], other[128], header[TOKEN_HEADER_SIZE], longest[TOKEN_MAX + 2];

	snprintf(path, sizeof(path), "%s/token", dir->path);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		FILE *f = fopen(path, "w");

		assert_non_null(f);
		fputs(cases[i].text, f);
		fclose(f);
		assert_int_equal(chmod(path, cases[i].mode), 0);
		assert_int_equal(token_read(path, header, &err), cases[i].r);
		if (cases[i].r == 0)
			assert_string_equal(header, "TargetToken Abc123");
	}
	assert_int_equal(chmod(path, 0600), 0);
	for (size_t n = TOKEN_MAX; n <= TOKEN_MAX + 1; n++) {
		FILE *f = fopen(path, "w");

		memset(longest, 'x', n);
		assert_int_equal(fwrite(longest, 1, n, f), n);
		fclose(f);
		assert_int_equal(token_read(path, header, NULL), n == TOKEN_MAX ? 0 : -EINVAL);
	}
	snprintf(other, sizeof(other), "%s/link", dir->path);
	assert_int_equal(symlink(path, other), 0);
	assert_int_equal(token_read(other, header, NULL), -ELOOP);
	assert_int_equal(token_read(dir->path, header, NULL), -EPERM);
	assert_int_equal(token_read("nothing", header, NULL), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tokens_are_read_from_safe_files_only, temp_dir_setup, temp_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
