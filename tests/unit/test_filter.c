/* SPDX-License-Identifier: Apache-2.0 */
/* The filter over common passwords: no entry is missed, other texts are found once in 65,536, and what the rules make of it. */
#include "tests/unit/test.h"

#include <errno.h>

#include "password/filter.h"
#include "password/fold.h"
#include "password/rules.h"

#define N_ENTRIES 30000
#define N_OTHERS 1000000

static struct filter filter;
static uint16_t *cells;
static char **texts;

/* What common passwords of several kinds look like; not ones that anybody is known to use. */
static int setup(void **state)
{
	static const char *const first[] = { "copperkettie", "marmotte", "zanzibar", "fjordiand" }; /* folded */

	texts = calloc(N_ENTRIES, sizeof(*texts));
	assert_non_null(texts);
	for (size_t i = 0; i < N_ENTRIES; i++)
		assert_true(i < ARRAY_SIZE(first) ? (texts[i] = strdup(first[i])) != NULL : asprintf(&texts[i], "entry%zx", i * 2654435761u) > 0);
	return filter_build((const char *const *)texts, N_ENTRIES, &filter, &cells) ? 0 : -1;
}

static int teardown(void **state)
{
	for (size_t i = 0; i < N_ENTRIES; i++)
		free(texts[i]);
	free(texts);
	free(cells);
	return 0;
}

static void no_entry_is_missed(void **state)
{
	const struct filter none = { 0 };

	for (size_t i = 0; i < N_ENTRIES; i++)
		assert_true(filter_has(&filter, texts[i], strlen(texts[i])));
	assert_false(filter_has(&none, texts[0], strlen(texts[0])));
	/* 2.5 bytes for each entry */
	assert_true(3 * filter.block * sizeof(uint16_t) <= N_ENTRIES * 5 / 2);
}

static unsigned count_false(const struct filter *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N_OTHERS; i++) {
		char text[32];

		snprintf(text, sizeof(text), "no entry %u", i); /* entries are folded: they have no blanks */
		n += filter_has(f, text, strlen(text));
	}
	return n;
}

/* Expected are 15.3 of a million. */
static void other_texts_are_found_seldom(void **state)
{
	unsigned n = count_false(&filter);

	print_message("of %d texts that are not in it: %u found (%d entries, %zu bytes)\n", N_OTHERS, n, N_ENTRIES, 3 * filter.block * sizeof(uint16_t));
	assert_true(n < 60);
}

static void the_list_of_this_build_is_as_good(void **state)
{
	static const char *const common[] = { "butterfly", "computer", "letmein", "trustno1", "qwertyuiop" };
	unsigned n;

	if (password_filter.n_entries == 0) {
		print_message("no list was there when this was built\n");
		assert_false(filter_has(&password_filter, "butterfly", 9));
		return;
	}
	n = count_false(&password_filter);
	print_message("list of this build: %u entries, %zu bytes; of %d texts that are not in it: %u found\n", (unsigned)password_filter.n_entries,
		      3 * password_filter.block * sizeof(uint16_t), N_OTHERS, n);
	assert_true(n < 60);
	for (size_t i = 0; i < ARRAY_SIZE(common); i++) {
		char folded[32];
		size_t size = 0;

		for (const char *p = common[i]; *p != '\0'; p++)
			folded[size++] = fold_ascii(*p);
		assert_true(filter_has(&password_filter, folded, size));
	}
}

static void one_entry_or_two_with_a_date_are_refused(void **state)
{
	static const struct { const char *text; bool is_refused; } cases[] = {
		{ "CopperKettle2024", true },
		{ "C0pp3r K3tt1e 24!", true },
		{ "2024-11-21 zanzibar", true },
		{ "marmotte.fjordland", true },
		{ "Fjordland+Zanzibar 99", true },
		{ "99 zanzibar marmotte 99", true },
		{ "zanzibar marmotte fjordland", false },	/* three: as many guesses as a password needs */
		{ "zanzibar quincunx 93", false },
		{ "zanzibar93fjordland", false },
		{ "zanzibar 12 34 56 78 90 11", false },	/* more digits than a date has */
		{ "z\xc3\xa4nzibar marmotte", false },		/* not what is in the list */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct rules with = { .filter = &filter }, without = { 0 };

		assert_int_equal(rules_check(&without, cases[i].text, strlen(cases[i].text), NULL), 0);
		assert_int_equal(rules_check(&with, cases[i].text, strlen(cases[i].text), NULL), cases[i].is_refused ? -EINVAL : 0);
	}
}

/* Three words of syllables and a number, the same ones in each run. */
static void passphrases_are_not_refused_because_of_the_list(void **state)
{
	static const char *const syllables[] = { "ka", "lo", "mi", "ter", "sun", "ve", "ro", "pan", "di", "qu", "stre", "bo", "nal", "gi", "wex", "ju" };
	const struct rules with = { .filter = &password_filter }, without = { 0 };
	uint64_t random = 7;
	unsigned n_good = 0, n_refused = 0;

	while (n_good < 1000) {
		char text[128];
		size_t n = 0;

		for (int i = 0; i < 9; i++) {
			random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 && i % 3 == 0 ? " " : "", syllables[random >> 60]);
		}
		snprintf(text + n, sizeof(text) - n, " %u", (unsigned)(random >> 40 & 63) + 10);
		if (rules_check(&without, text, strlen(text), NULL) < 0)
			continue;
		n_good++;
		n_refused += rules_check(&with, text, strlen(text), NULL) < 0;
	}
	print_message("of %u passphrases the list of this build refuses %u\n", n_good, n_refused);
	assert_true(n_refused < 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_entry_is_missed),
		cmocka_unit_test(other_texts_are_found_seldom),
		cmocka_unit_test(the_list_of_this_build_is_as_good),
		cmocka_unit_test(passphrases_are_not_refused_because_of_the_list),
		cmocka_unit_test(one_entry_or_two_with_a_date_are_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
