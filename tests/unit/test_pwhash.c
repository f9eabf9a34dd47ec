/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "crypto/digest.h"
#include "crypto/pwhash.h"

#define COST 1	/* the tests need no strength */

typedef int (*new_fn)(const char *, size_t, unsigned, char *, struct agent_error **);
static const new_fn new_fns[] = { pwhash_new_yescrypt, pwhash_new_scrypt };

static int verify(const char *password, size_t size, const char *text, bool *ret_matches, struct agent_error **err)
{
	char computed[PWHASH_MAX];
	int r = pwhash_compute(password, size, text, computed, err);

	*ret_matches = r == 0 && strcmp(computed, text) == 0;
	return r;
}

static void the_right_password_matches_and_no_other(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(new_fns); i++) {
		char text[PWHASH_MAX];
		bool matches = false;
		int r = new_fns[i]("correct horse", 13, COST, text, NULL);

		if (r == -EOPNOTSUPP)
			continue;
		assert_int_equal(r, 0);
		assert_int_equal(verify("correct horse", 13, text, &matches, NULL), 0);
		assert_true(matches);
		assert_int_equal(verify("correct hors", 12, text, &matches, NULL), 0);
		assert_false(matches);
		assert_int_equal(verify("correct horseX", 14, text, &matches, NULL), 0);
		assert_false(matches);
		assert_int_equal(verify("", 0, text, &matches, NULL), 0);
		assert_false(matches);
		text[strlen(text) - 1] ^= 1;	/* another hash */
		assert_int_equal(verify("correct horse", 13, text, &matches, NULL), 0);
		assert_false(matches);
		text[strlen(text) - 1] = '\0';	/* a shorter one */
		assert_int_equal(verify("correct horse", 13, text, &matches, NULL), 0);
		assert_false(matches);
	}
}

static void the_setting_alone_gives_the_same_text(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(new_fns); i++) {
		char text[PWHASH_MAX], setting[PWHASH_MAX], again[PWHASH_MAX];

		if (new_fns[i]("a password", 10, COST, text, NULL) == -EOPNOTSUPP)
			continue;
		snprintf(setting, sizeof(setting), "%.*s", (int)(strrchr(text, '$') + 1 - text), text);
		assert_int_equal(pwhash_compute("a password", 10, setting, again, NULL), 0);
		assert_string_equal(text, again);
	}
}

static void salts_differ(void **state)
{
	char a[PWHASH_MAX], b[PWHASH_MAX];

	assert_int_equal(pwhash_new("x", 1, COST, a, NULL), 0);
	assert_int_equal(pwhash_new("x", 1, COST, b, NULL), 0);
	assert_string_not_equal(a, b);
}

static void known_answers(void **state)
{
	static const struct {
		const char *password, *text;
	} rows[] = {
		/* python3: crypt.crypt("x", "$y$j9T$abcdefgh$"), libxcrypt 4.4.33 */
		{ "x", "$y$j9T$abcdefgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04" },
		/* python3: hashlib.scrypt(b"x", salt=bytes(range(16)), n=1024, r=8, p=5, dklen=32) */
		{ "x", "$agent-scrypt$ln=10,r=8,p=5$000102030405060708090a0b0c0d0e0f$85debaa0a7d5474c8f5af307c4a8e1c05ba031cdd97d44cf1d8941cdb502a8a0" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[PWHASH_MAX];
		int r = pwhash_compute(rows[i].password, strlen(rows[i].password), rows[i].text, text, NULL);

		if (r == -EBADMSG && rows[i].text[1] == 'y')
			continue;	/* built without libxcrypt */
		assert_int_equal(r, 0);
		assert_string_equal(text, rows[i].text);
	}
}

static void nul_bytes_and_long_passwords_are_refused_not_cut(void **state)
{
	static const char with_nul[] = "abc\0def";
	char text[PWHASH_MAX], longest[PWHASH_PASSWORD_MAX + 1];
	_cleanup_error_ struct agent_error *err = NULL;
	bool matches = true;

	memset(longest, 'a', sizeof(longest));
	assert_int_equal(pwhash_new(with_nul, 7, COST, text, &err), -EINVAL);
	assert_error(&err, -EINVAL, "pwhash.password");
	assert_int_equal(pwhash_new(longest, sizeof(longest), COST, text, &err), -EINVAL);
	assert_error(&err, -EINVAL, "pwhash.password");
	assert_int_equal(pwhash_new(longest, PWHASH_PASSWORD_MAX, COST, text, NULL), 0);
	assert_int_equal(verify(with_nul, 7, text, &matches, &err), -EINVAL);
	assert_int_equal(verify(longest, PWHASH_PASSWORD_MAX - 1, text, &matches, NULL), 0);
	assert_false(matches);
}

static void costs_out_of_range_are_refused(void **state)
{
	char text[PWHASH_MAX];
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(pwhash_new("x", 1, 0, text, &err), -EINVAL);
	assert_error(&err, -EINVAL, "pwhash.cost");
	assert_int_equal(pwhash_new_scrypt("x", 1, 12, text, &err), -EINVAL);
	assert_error(&err, -EINVAL, "pwhash.cost");
}

static void foreign_settings_are_refused(void **state)
{
	static const char *const settings[] = {
		"", "$", "x", "$1$abc$", "$6$abc$def", "$y$", "$y$j", "$y$jzT$abcdefgh$", "$y$j9T$$", "$y$j9T$ab:d$", "$y$j9T", "$7$CU..../....abc$", "*0",
		"$agent-scrypt$", "$agent-scrypt$ln=9,r=8,p=5$000102030405060708090a0b0c0d0e0f$",
		"$agent-scrypt$ln=21,r=8,p=5$000102030405060708090a0b0c0d0e0f$",
		"$agent-scrypt$ln=10,r=9,p=5$000102030405060708090a0b0c0d0e0f$",
		"$agent-scrypt$ln=10,r=8,p=1$000102030405060708090a0b0c0d0e0f$",
		"$agent-scrypt$ln=10,r=8,p=5$000102030405060708090a0b0c0d0e$",
		"$agent-scrypt$ln=10,r=8,p=5$000102030405060708090a0b0c0d0e0f",
		"$agent-scrypt$ln=10,r=8,p=5$00010203040506070809 a0b0c0d0e0f$",
		"$agent-scrypt$ln=010,r=8,p=5$000102030405060708090a0b0c0d0e0f$",
	};

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		char text[PWHASH_MAX];

		assert_int_equal(pwhash_compute("x", 1, settings[i], text, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "pwhash.setting");
	}
}

/* In a child, because an address limit cannot be taken back. */
static int hash_in_little_memory(new_fn fn)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct rlimit limit = { .rlim_cur = 64 * MIB, .rlim_max = 64 * MIB };
		char text[PWHASH_MAX];

		setrlimit(RLIMIT_AS, &limit);
		_exit(-fn("x", 1, 9, text, NULL));	/* wants 256 MiB */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void short_memory_is_an_error_and_not_a_wrong_password(void **state)
{
#if defined(__SANITIZE_ADDRESS__)
	skip();		/* ASan reserves more than any limit */
#endif
	for (size_t i = 0; i < ARRAY_SIZE(new_fns); i++) {
		int r = hash_in_little_memory(new_fns[i]);

		assert_true(r == -ENOMEM || r == -EOPNOTSUPP);
	}
}

static void sha256_in_pieces_equals_the_whole(void **state)
{
	/* FIPS 180-4 examples: "abc" */
	static const char expected[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	_cleanup_(digest_freep) struct digest *d = NULL;
	uint8_t hash[DIGEST_SIZE];
	char text[65];

	assert_int_equal(digest_sha256("abc", 3, hash), 0);
	hex_encode(hash, sizeof(hash), text);
	assert_string_equal(text, expected);
	assert_int_equal(digest_new(&d), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(digest_update(d, "a", 1), 0);
		assert_int_equal(digest_update(d, "", 0), 0);
		assert_int_equal(digest_update(d, "bc", 2), 0);
		assert_int_equal(digest_final(d, hash), 0);
		hex_encode(hash, sizeof(hash), text);
		assert_string_equal(text, expected);
		assert_int_equal(digest_reset(d), 0);
	}
}

/* A device on which cost 1 takes that long, and memory ends somewhere. */
struct device {
	unsigned us_at_one, fails_from;
	unsigned tried;
};

static int measure(unsigned cost, void *data, unsigned *ret_ms, struct agent_error **err)
{
	struct device *d = data;

	d->tried = cost;
	if (d->fails_from != 0 && cost >= d->fails_from)
		return agent_error_set(err, -ENOMEM, "memory", "no memory");
	*ret_ms = (d->us_at_one << (cost - 1)) / 1000;
	return 0;
}

static void the_cost_is_the_largest_that_the_device_bears(void **state)
{
	static const struct { unsigned us_at_one, fails_from; uint64_t memory; unsigned cost; } cases[] = {
		{ 1000, 0, 1024 * MIB, 7 },	/* fast and large: the end of the range */
		{ 10000, 0, 1024 * MIB, 6 },	/* 320 ms at 6, 640 at 7 */
		{ 15625, 0, 1024 * MIB, 6 },	/* 500 at 6, just so */
		{ 16000, 0, 1024 * MIB, 5 },
		{ 200000, 0, 1024 * MIB, 3 },	/* 800 ms at the least one: taken all the same */
		{ 1000, 0, 16 * MIB, 5 },	/* an eighth of 128 MiB */
		{ 1000, 0, 16 * MIB - 1, 4 },
		{ 1000, 0, 0, 3 },
		{ 1000, 6, 1024 * MIB, 5 },	/* memory is short although there should be enough */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct device d = { .us_at_one = cases[i].us_at_one, .fails_from = cases[i].fails_from };
		unsigned cost = 0;

		assert_int_equal(pwhash_choose(measure, &d, cases[i].memory, &cost, NULL), 0);
		assert_int_equal(cost, cases[i].cost);
		assert_true(d.tried <= cost + 1);
	}
	assert_int_equal(pwhash_choose(measure, &(struct device){ .us_at_one = 1, .fails_from = 1 }, MIB, &(unsigned){ 0 }, NULL), -ENOMEM);
}

static void the_cost_stands_in_the_hash(void **state)
{
	static const char *const others[] = { "", "$y$", "$y$j9", "$y$jzT$abc$", "$6$x$y", "$agent-scrypt$", "$agent-scrypt$ln=9,", "$agent-scrypt$ln=21," };
	char text[PWHASH_MAX];

	for (unsigned cost = 1; cost <= 3; cost++)
		for (size_t i = 0; i < ARRAY_SIZE(new_fns); i++)
			if (new_fns[i]("x", 1, cost, text, NULL) == 0)
				assert_int_equal(pwhash_cost_of(text), cost);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_int_equal(pwhash_cost_of(others[i]), 0);
}

static void this_machine_gets_a_cost(void **state)
{
	unsigned cost = 0;

	assert_int_equal(pwhash_calibrate(&cost, NULL), 0);
	print_message("chosen on this machine: %u\n", cost);
	assert_in_range(cost, PWHASH_CHOSEN_MIN, PWHASH_CHOSEN_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_right_password_matches_and_no_other),
		cmocka_unit_test(the_setting_alone_gives_the_same_text),
		cmocka_unit_test(salts_differ),
		cmocka_unit_test(known_answers),
		cmocka_unit_test(nul_bytes_and_long_passwords_are_refused_not_cut),
		cmocka_unit_test(costs_out_of_range_are_refused),
		cmocka_unit_test(foreign_settings_are_refused),
		cmocka_unit_test(short_memory_is_an_error_and_not_a_wrong_password),
		cmocka_unit_test(the_cost_is_the_largest_that_the_device_bears),
		cmocka_unit_test(the_cost_stands_in_the_hash),
		cmocka_unit_test(this_machine_gets_a_cost),
		cmocka_unit_test(sha256_in_pieces_equals_the_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
