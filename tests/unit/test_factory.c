/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include <agent/password.h>

#include "password/factory.h"

static void what_a_person_types_becomes_the_symbols(void **state)
{
	static const struct {
		const char *typed, *symbols;
	} cases[] = {
		{ "7K2M-9QXT-04AB", "7K2M9QXT04AB" },	   { "7k2m9qxt04ab", "7K2M9QXT04AB" },
		{ " 7k2m 9qxt 04ab ", "7K2M9QXT04AB" },	   { "7K2M-9QXT-O4AB", "7K2M9QXT04AB" },
		{ "iLl1-oO00-ZZZZ", "11110000ZZZZ" },	   { "7-K-2-M-9-Q-X-T-0-4-A-B", "7K2M9QXT04AB" },
		{ "7K2M-9QXT-04A", NULL },		   { "7K2M-9QXT-04ABC", NULL },
		{ "7K2M-9QXT-04AU", NULL },		   { "", NULL },
		{ "------------", NULL },		   { "7K2M_9QXT_04AB", NULL },
		{ "7K2M-9QXT-04A\xc3\x84", NULL },
	};
	char symbols[FACTORY_SECRET_SYMBOLS + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool is_good = factory_secret_normalise(cases[i].typed, strlen(cases[i].typed), symbols);

		assert_int_equal(is_good, cases[i].symbols != NULL);
		if (is_good)
			assert_string_equal(symbols, cases[i].symbols);
	}
}

static void a_nul_is_no_symbol(void **state)
{
	char symbols[FACTORY_SECRET_SYMBOLS + 1];

	(void)state;
	assert_false(factory_secret_normalise("7K2M-9QXT-04A\0", 14, symbols));
}

static void new_secrets_have_the_form_of_a_label_and_differ(void **state)
{
	char first[15], text[15], symbols[FACTORY_SECRET_SYMBOLS + 1];
	unsigned seen[256] = { 0 }, n_seen = 0;

	(void)state;
	assert_int_equal(agent_factory_secret_new(NULL), -EINVAL);
	assert_int_equal(agent_factory_secret_new(first), 0);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(agent_factory_secret_new(text), 0);
		assert_int_equal(strlen(text), 14);
		assert_int_equal(text[4], '-');
		assert_int_equal(text[9], '-');
		assert_string_not_equal(text, first);
		assert_true(factory_secret_normalise(text, strlen(text), symbols));
		for (const char *p = symbols; *p != '\0'; p++)
			seen[(unsigned char)*p]++;
	}
	for (int i = 0; i < 256; i++)
		n_seen += seen[i] > 0;
	assert_int_equal(n_seen, 32);	/* 2400 draws: missing one of 32 has a chance below 1e-31 */
}

static void a_secret_made_elsewhere_gets_the_form_of_a_label(void **state)
{
	static const struct { const char *typed, *text; } cases[] = {
		{ "7K2M-9QXT-04AB", "7K2M-9QXT-04AB" },
		{ "7k2m9qxto4ab", "7K2M-9QXT-04AB" },
		{ "7K2M 9QXT I4AB", "7K2M-9QXT-14AB" },
		{ "AAAABBBBCCDE", "AAAA-BBBB-CCDE" },
		{ "AAAABBBBCCDD", NULL },	/* four different symbols: nobody drew that */
		{ "0000-0000-0000", NULL },
		{ "7K2M-9QXT-04A", NULL },
		{ "7K2M-9QXT-04ABC", NULL },
		{ "7K2M-9QXT-04AU", NULL },	/* no U in the alphabet */
		{ "7K2M-9QXT-04AB\n", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[15] = "unchanged";
		int r = agent_factory_secret_parse(cases[i].typed, strlen(cases[i].typed), text);

		assert_int_equal(r, cases[i].text == NULL ? -EINVAL : 0);
		assert_string_equal(text, cases[i].text == NULL ? "unchanged" : cases[i].text);
	}
	assert_int_equal(agent_factory_secret_parse(NULL, 0, (char[15]){ 0 }), -EINVAL);
	assert_int_equal(agent_factory_secret_parse("7K2M9QXT04AB", 12, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_person_types_becomes_the_symbols),
		cmocka_unit_test(a_nul_is_no_symbol),
		cmocka_unit_test(a_secret_made_elsewhere_gets_the_form_of_a_label),
		cmocka_unit_test(new_secrets_have_the_form_of_a_label_and_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
