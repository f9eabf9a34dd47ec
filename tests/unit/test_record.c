/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"
#include "tests/unit/fake_tpm.h"

#include "base/buf.h"
#include "password/record.h"

struct fixture {
	struct fake_mac key, other_key;
	struct agent_mac *mac, *other_mac;
	struct record record;
	char *text;
	size_t size;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	memset(f->key.key, 1, sizeof(f->key.key));
	memset(f->other_key.key, 2, sizeof(f->other_key.key));
	assert_int_equal(agent_mac_new(&fake_mac_ops, &f->key, &f->mac, NULL), 0);
	assert_int_equal(agent_mac_new(&fake_mac_ops, &f->other_key, &f->other_mac, NULL), 0);
	f->record = (struct record){ .kind = RECORD_OWNER, .generation = 7 };
	assert_int_equal(record_set_setting(&f->record, "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$hashhash", NULL), 0);
	assert_int_equal(record_compute_verifier(f->mac, 7, "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$hashhash", f->record.verifier, NULL), 0);
	assert_int_equal(record_format(&f->record, f->mac, &f->text, &f->size, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	free(f->text);
	agent_mac_unref(f->mac);
	agent_mac_unref(f->other_mac);
	test_free(f);
	return 0;
}

static void what_was_written_is_read_again(void **state)
{
	struct fixture *f = *state;
	struct record r;

	assert_int_equal(record_parse(f->text, f->size, f->mac, &r, NULL), 0);
	assert_int_equal(r.kind, RECORD_OWNER);
	assert_int_equal(r.generation, 7);
	assert_string_equal(r.setting, "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$");
	assert_memory_equal(r.verifier, f->record.verifier, sizeof(r.verifier));
}

static void the_hash_itself_is_not_in_the_file(void **state)
{
	struct fixture *f = *state;

	assert_null(strstr(f->text, "hashhash"));
	assert_non_null(strstr(f->text, "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$\n"));
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct record r = { 0 };

	for (size_t i = 0; i < f->size; i++)
		for (int bit = 0; bit < 8; bit++) {
			_cleanup_error_ struct agent_error *err = NULL;

			f->text[i] = (char)(f->text[i] ^ (1 << bit));
			assert_int_equal(record_parse(f->text, f->size, f->mac, &r, &err), -EBADMSG);
			assert_error(&err, -EBADMSG, "password.record");
			f->text[i] = (char)(f->text[i] ^ (1 << bit));
		}
	assert_int_equal(r.kind, 0);
}

static void every_cut_and_any_trailing_byte_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct record r;
	char longer[RECORD_MAX_BYTES + 2];

	for (size_t n = 0; n < f->size; n++) {
		/* In memory of exactly that size, so that reading on would show. */
		_cleanup_free_ char *cut = malloc(n == 0 ? 1 : n);

		memcpy(cut, f->text, n);
		assert_int_equal(record_parse(cut, n, f->mac, &r, NULL), -EBADMSG);
	}
	memset(longer, '\n', sizeof(longer));
	memcpy(longer, f->text, f->size);
	assert_int_equal(record_parse(longer, f->size + 1, f->mac, &r, NULL), -EBADMSG);
	assert_int_equal(record_parse(longer, sizeof(longer), f->mac, &r, NULL), -EBADMSG);
}

static void the_record_of_another_device_is_refused(void **state)
{
	struct fixture *f = *state;
	struct record r;

	assert_int_equal(record_parse(f->text, f->size, f->other_mac, &r, NULL), -EBADMSG);
}

static void other_spellings_with_a_right_mac_are_refused(void **state)
{
	static const char *const heads[] = {
		"agentd-password 2\nkind owner\ngeneration 7\nsetting $y$x$\n",
		"agentd-password 1\nkind admin\ngeneration 7\nsetting $y$x$\n",
		"agentd-password 1\nkind \ngeneration 7\nsetting $y$x$\n",
		"agentd-password 1\nkind owner\ngeneration 07\nsetting $y$x$\n",
		"agentd-password 1\nkind owner\ngeneration -7\nsetting $y$x$\n",
		"agentd-password 1\nkind owner\ngeneration \nsetting $y$x$\n",
		"agentd-password 1\nkind owner\ngeneration 99999999999999999999\nsetting $y$x$\n",
		"agentd-password 1\nkind owner\ngeneration 7\nsetting \n",
		"agentd-password 1\ngeneration 7\nkind owner\nsetting $y$x$\n",
		"agentd-password 1\nkind owner\nkind owner\ngeneration 7\nsetting $y$x$\n",
		"agentd-password 1\r\nkind owner\ngeneration 7\nsetting $y$x$\n",
	};
	struct fixture *f = *state;
	char verifier[2 * AGENT_MAC_SIZE + 1], digits[2 * AGENT_MAC_SIZE + 1];

	hex_encode(f->record.verifier, AGENT_MAC_SIZE, verifier);
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		char body[RECORD_MAX_BYTES], prefixed[RECORD_MAX_BYTES + 32], text[RECORD_MAX_BYTES];
		uint8_t mac[AGENT_MAC_SIZE];
		struct record r;
		int n;

		snprintf(body, sizeof(body), "%sverifier %s\nmac ", heads[i], verifier);
		n = snprintf(prefixed, sizeof(prefixed), "agentd-record-v1%s", body);
		assert_int_equal(agent_mac_compute(f->mac, (const uint8_t *)prefixed, (size_t)n, mac, NULL), 0);
		hex_encode(mac, sizeof(mac), digits);
		n = snprintf(text, sizeof(text), "%s%s\n", body, digits);
		assert_int_equal(record_parse(text, (size_t)n, f->mac, &r, NULL), -EBADMSG);
	}
}

static void a_mac_that_fails_is_not_a_damaged_record(void **state)
{
	struct fixture *f = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct record r;

	f->key.fail = -EIO;
	assert_int_equal(record_parse(f->text, f->size, f->mac, &r, &err), -EIO);
	assert_error(&err, -EIO, "tpm.io");
}

static void verifier_depends_on_generation_and_hash(void **state)
{
	struct fixture *f = *state;
	uint8_t a[AGENT_MAC_SIZE], b[AGENT_MAC_SIZE], c[AGENT_MAC_SIZE];
	char longest[400];

	assert_int_equal(record_compute_verifier(f->mac, 1, "$y$a$b", a, NULL), 0);
	assert_int_equal(record_compute_verifier(f->mac, 2, "$y$a$b", b, NULL), 0);
	assert_int_equal(record_compute_verifier(f->mac, 1, "$y$a$c", c, NULL), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, c, sizeof(a));
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(record_compute_verifier(f->mac, 1, longest, a, NULL), -EMSGSIZE);
	assert_int_equal(record_set_setting(&f->record, longest, NULL), -EMSGSIZE);
	longest[sizeof(longest) - 2] = '$';
	assert_int_equal(record_set_setting(&f->record, longest, NULL), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_written_is_read_again, setup, teardown),
		cmocka_unit_test_setup_teardown(the_hash_itself_is_not_in_the_file, setup, teardown),
		cmocka_unit_test_setup_teardown(every_flipped_bit_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(every_cut_and_any_trailing_byte_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(the_record_of_another_device_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(other_spellings_with_a_right_mac_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_mac_that_fails_is_not_a_damaged_record, setup, teardown),
		cmocka_unit_test_setup_teardown(verifier_depends_on_generation_and_hash, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
