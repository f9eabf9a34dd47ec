/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/secret.h"

static void copies_compare_equal_and_others_do_not(void **state)
{
	_cleanup_secret_ struct secret s = { 0 };

	assert_int_equal(secret_copy(&s, "hunter2", 7), 0);
	assert_true(secret_equal(&s, "hunter2", 7));
	assert_false(secret_equal(&s, "hunter3", 7));
	assert_false(secret_equal(&s, "hunter22", 8));
	assert_false(secret_equal(&s, "hunter", 6));
}

static void freeing_twice_and_empty_is_harmless(void **state)
{
	struct secret s = { 0 };

	secret_free(&s);
	assert_int_equal(secret_alloc(&s, 5000), 0);
	assert_int_equal(s.capacity, 5000);
	assert_int_equal(s.size, 0);
	secret_free(&s);
	secret_free(&s);
	assert_null(s.data);
}

static void wipe_clears(void **state)
{
	char data[] = "secret";

	wipe(data, sizeof(data));
	assert_memory_equal(data, "\0\0\0\0\0\0\0", 7);
	wipe(NULL, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_compare_equal_and_others_do_not),
		cmocka_unit_test(freeing_twice_and_empty_is_harmless),
		cmocka_unit_test(wipe_clears),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
