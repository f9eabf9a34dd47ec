/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "agentd/core/known.h"

static bool has(const struct known *k, const char *source)
{
	for (size_t i = 0; i < KNOWN_MAX; i++)
		if (strcmp(k->rows[i].source, source) == 0)
			return true;
	return false;
}

static void the_latest_stay(void **state)
{
	struct known k = { 0 };
	char source[32];

	(void)state;
	for (unsigned i = 0; i < KNOWN_MAX + 1; i++) {
		snprintf(source, sizeof(source), "ip:192.0.2.%u", i);
		known_add(&k, source, 10 + i);
		known_add(&k, "ip:192.0.2.0", 11 + i); /* each time anew: it is not the oldest */
	}
	assert_true(has(&k, "ip:192.0.2.0"));
	assert_false(has(&k, "ip:192.0.2.1"));
	assert_true(has(&k, "ip:192.0.2.2"));
	assert_true(has(&k, source));
}

static void those_without_an_address_are_not_kept(void **state)
{
	struct known k = { 0 };
	char source[100] = "ip:";

	(void)state;
	known_add(&k, "unix:1000", 1);
	known_add(&k, "tty:ttyS0", 1);
	known_add(&k, "", 1);
	memset(source + 3, '1', sizeof(source) - 4);
	source[sizeof(source) - 1] = '\0';
	known_add(&k, source, 1);
	for (size_t i = 0; i < KNOWN_MAX; i++)
		assert_string_equal(k.rows[i].source, "");
}

static void a_reset_forgets_them(void **state)
{
	struct known k = { 0 };

	(void)state;
	known_add(&k, "ip:192.0.2.7", 1);
	known_forget(&k);
	assert_false(has(&k, "ip:192.0.2.7"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_latest_stay),
		cmocka_unit_test(those_without_an_address_are_not_kept),
		cmocka_unit_test(a_reset_forgets_them),
	};

	return cmocka_run_group_tests_name("known", tests, NULL, NULL);
}
