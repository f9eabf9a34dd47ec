/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include <agent/password.h>

#include "password/rules.h"

static const char *const words[] = { "GW-004711", "demo-gateway", "admin", "ab", NULL };
static const struct rules rules = { .min_length = 15, .context_words = words, .label_secret = "7K2M9QXT04AB" };

static void good_passwords_pass(void **state)
{
	static const char *const good[] = {
		"correct purple kettle drum",
		"xY7#kq!vB2m$Zr9w",
		"seven llamas juggle teapots",
		"Bahnhof Zeppelin Kartoffel",
		"\xd0\xb7\xd0\xb5\xd0\xbb\xd1\x91\xd0\xbd\xd1\x8b\xd0\xb9 \xd0\xba\xd1\x80\xd0\xbe\xd0\xba\xd0\xbe\xd0\xb4\xd0\xb8\xd0\xbb",	/* Cyrillic */
		"\xe5\x85\xab\xe4\xb9\x9d\xe5\x8d\x81\xe6\x9c\x88\xe7\x81\xab\xe6\xb0\xb4\xe6\x9c\xa8\xe9\x87\x91\xe5\x9c\x9f\xe6\x97\xa5\xe4\xb8\x80\xe4\xba\x8c\xe4\xb8\x89\xe5\x9b\x9b\xe4\xba\x94", /* Han */
		"tin whistle 12345 parade",		/* a run may be part of it */
		"918273640551728",			/* digits alone, but no pattern */
		"my password has otters in it",
		"a b c d e f g h i k",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		if (rules_check(&rules, good[i], strlen(good[i]), &err) != 0)
			fail_msg("\"%s\" was refused: %s", good[i], agent_error_message(err));
	}
}

static void weak_passwords_are_refused_with_the_reason(void **state)
{
	static const struct {
		const char *text, *reason;
	} weak[] = {
		{ "", "needs at least 15" },
		{ "short one", "needs at least 15 characters and has 9" },
		{ "xY7#kq!vB2m$Zr", "needs at least 15 characters and has 14" },
		/* fifteen bytes, but fewer characters */
		{ "\xc3\xa4\xc3\xb6\xc3\xbcxyq\xc3\x9fzwr\xc3\xa9", "and has 11" },
		{ "aaaaaaaaaaaaaaaaaaaa", "different characters" },
		{ "ababababababcdcdcdcd", "different characters" },
		{ "purplekettle purplekettle ", "repeats itself" },
		{ "Summer2026Summer2026", "repeats itself" },
		{ "abcdefghijklmnopq", "mostly runs" },
		{ "qwertyuiop1234567890", "mostly runs" },
		{ "poiuytrewq0987654321", "mostly runs" },
		{ "aaaaaaabbbbbbbccccccdef", "mostly runs" },
		{ "QWERTZUIOPasdfghjkl", "mostly runs" },
		{ "123456789012345", "mostly runs" },
		{ "passwordpassword", "repeats itself" },
		{ "Password Letmein 99", "well-known" },
		{ "P4$$w0rd!W3lc0me2024", "well-known" },
		{ "1qaz2wsx3edc4rfv", "well-known" },
		{ "correcthorsebatterystaple", "well-known" },
		{ "CorrectHorseBatteryStaple!1", "well-known" },
		{ "iloveyouforever2", "well-known" },
		{ "changeme-default-secret", "well-known" },
		{ "Summer2026!Winter2027", "well-known" },
		{ "purple gw-004711 kettle", "contains \"GW-004711\"" },
		{ "purple GW004711 kettle", "contains \"GW-004711\"" },
		{ "purple gwoo47ii kettle", "contains \"GW-004711\"" },
		{ "my D3m0 G4t3w4y kettle!", "contains \"demo-gateway\"" },
		{ "the 4dm1n eats purple", "contains \"admin\"" },
		{ "7K2M-9QXT-04AB-x", "the code on the label" },
		{ "x7k2m9qxto4abyz9", "the code on the label" },
		{ "purple\tkettle drum", "control character" },
		{ "purple\nkettle drum", "control character" },
		{ "purple\x7fkettle drum", "control character" },
		{ "purple\xc2\x85kettle drum", "control character" },
		{ "purple\xe2\x80\xa8kettle drum", "control character" },
		{ "purple\xf3\xb0\x80\xc0kettle drum", "not valid UTF-8" },
		{ "purple\xffkettle drum", "not valid UTF-8" },
		{ "purple kettle drum\xc3", "not valid UTF-8" },
		{ "purple\xc0\xafkettle drum", "not valid UTF-8" },
		{ "purple\xed\xa0\x80kettle drum", "not valid UTF-8" },
		{ "purple\xcd\xb8kettle drum", "does not know" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(weak); i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		if (rules_check(&rules, weak[i].text, strlen(weak[i].text), &err) != -EINVAL)
			fail_msg("\"%s\" was accepted", weak[i].text);
		assert_string_equal(agent_error_name(err), "password.weak");
		if (strstr(agent_error_message(err), weak[i].reason) == NULL)
			fail_msg("\"%s\": \"%s\" does not say \"%s\"", weak[i].text, agent_error_message(err), weak[i].reason);
	}
}

static void all_reasons_come_at_once_and_the_label_code_is_not_repeated(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;

	(void)state;
	assert_int_equal(rules_check(&rules, "adminadmin", 10, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "needs at least 15"));
	assert_non_null(strstr(agent_error_message(err), "; has fewer than 6"));
	assert_non_null(strstr(agent_error_message(err), "; repeats itself; "));
	assert_non_null(strstr(agent_error_message(err), "; contains \"admin\""));
	err = agent_error_free(err);
	assert_int_equal(rules_check(&rules, "7K2M-9QXT-04AB", 14, &err), -EINVAL);
	assert_null(strstr(agent_error_message(err), "7K2M"));
}

static void a_nul_byte_is_refused_and_does_not_hide_the_rest(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;

	(void)state;
	assert_int_equal(rules_check(&rules, "purple kettle\0drum bell", 23, &err), -EINVAL);
	assert_error(&err, -EINVAL, "password.weak");
}

static void length_is_counted_in_characters_up_to_128(void **state)
{
	char text[AGENT_PASSWORD_MAX + 4];
	size_t n = 0;

	(void)state;
	/* 128 different characters of two bytes, then one more; 4-byte ones reach the limit in bytes. */
	for (unsigned i = 0; i < 129; i++) {
		text[n++] = (char)(0xd0 + (i * 7 % 128) / 64);
		text[n++] = (char)(0x80 + (i * 7 % 128) % 64);
	}
	assert_int_equal(rules_check(&rules, text, 256, NULL), 0);
	assert_int_equal(rules_check(&rules, text, 258, NULL), -EINVAL);
	for (n = 0; n < AGENT_PASSWORD_MAX; n += 4)
		memcpy(text + n, (const char[]){ (char)0xf0, (char)0x9f, (char)(0x8c + n / 256), (char)(0x80 + n / 4 % 64) }, 4);
	assert_int_equal(rules_check(&rules, text, AGENT_PASSWORD_MAX, NULL), 0);
	memcpy(text + n, "x", 1);
	assert_int_equal(rules_check(&rules, text, AGENT_PASSWORD_MAX + 1, NULL), -EINVAL);
}

static void a_product_may_ask_for_less_but_never_below_12(void **state)
{
	struct rules low = { .min_length = 12 }, lower = { .min_length = 3 };

	(void)state;
	assert_int_equal(rules_check(&low, "xY7#kq!vB2m$", 12, NULL), 0);
	assert_int_equal(rules_check(&low, "xY7#kq!vB2m", 11, NULL), -EINVAL);
	assert_int_equal(rules_check(&lower, "xY7#kq!vB2m", 11, NULL), -EINVAL);
}

static void composed_and_decomposed_text_become_the_same_bytes(void **state)
{
	static const struct {
		const char *a, *b;
	} pairs[] = {
		{ "caf\xc3\xa9", "cafe\xcc\x81" },
		{ "\xc3\x85", "\xe2\x84\xab" },					/* A with ring, Angstrom sign */
		{ "\xea\xb0\x81", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8" },	/* Hangul */
		{ "q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87" },			/* order of marks */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		_cleanup_secret_ struct secret a = { 0 }, b = { 0 };

		assert_int_equal(rules_normalise(pairs[i].a, strlen(pairs[i].a), &a, NULL), 0);
		assert_int_equal(rules_normalise(pairs[i].b, strlen(pairs[i].b), &b, NULL), 0);
		assert_true(secret_equal(&a, b.data, b.size));
		assert_int_equal(a.data[a.size], 0);
	}
}

static void normalising_keeps_what_only_looks_alike_apart(void **state)
{
	_cleanup_secret_ struct secret a = { 0 }, b = { 0 };

	(void)state;
	assert_int_equal(rules_normalise("\xef\xac\x81", 3, &a, NULL), 0);	/* ligature fi: NFKC would join them */
	assert_int_equal(rules_normalise("fi", 2, &b, NULL), 0);
	assert_false(secret_equal(&a, b.data, b.size));
}

static void text_that_grows_when_normalised_stays_within_the_buffer(void **state)
{
	char text[AGENT_PASSWORD_MAX];
	_cleanup_secret_ struct secret out = { 0 };
	_cleanup_error_ struct agent_error *err = NULL;

	(void)state;
	/* U+1D160 becomes three code points of four bytes each (excluded from composition). */
	for (size_t n = 0; n < sizeof(text); n += 4)
		memcpy(text + n, "\xf0\x9d\x85\xa0", 4);
	assert_int_equal(rules_normalise(text, sizeof(text), &out, &err), -EINVAL);
	assert_error(&err, -EINVAL, "password.text");
	assert_int_equal(rules_check(&rules, text, sizeof(text), &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_passwords_pass),
		cmocka_unit_test(weak_passwords_are_refused_with_the_reason),
		cmocka_unit_test(all_reasons_come_at_once_and_the_label_code_is_not_repeated),
		cmocka_unit_test(a_nul_byte_is_refused_and_does_not_hide_the_rest),
		cmocka_unit_test(length_is_counted_in_characters_up_to_128),
		cmocka_unit_test(a_product_may_ask_for_less_but_never_below_12),
		cmocka_unit_test(composed_and_decomposed_text_become_the_same_bytes),
		cmocka_unit_test(normalising_keeps_what_only_looks_alike_apart),
		cmocka_unit_test(text_that_grows_when_normalised_stays_within_the_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
