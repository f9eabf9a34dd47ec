/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"
#include "tests/unit/fake_tpm.h"

#include "base/buf.h"
#include "crypto/digest.h"
#include "password/record.h"

#define HASH "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$hashhash"

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
	f->record = (struct record){
		.kind = RECORD_OWNER,
		.generation = 7,
		.n = 2,
		.accounts = {
			{ .account = { .name = "admin", .role = AGENT_ROLE_ADMIN, .since = 2 } },
			{ .account = { .name = "karin", .role = AGENT_ROLE_VIEWER, .since = 7, .must_change = true } },
		},
	};
	assert_int_equal(verifier_make(f->mac, "admin", HASH, &f->record.accounts[0].verifier, NULL), 0);
	assert_int_equal(verifier_make(f->mac, "karin", HASH, &f->record.accounts[1].verifier, NULL), 0);
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
	assert_int_equal(r.n, 2);
	assert_string_equal(r.accounts[0].account.name, "admin");
	assert_int_equal(r.accounts[0].account.role, AGENT_ROLE_ADMIN);
	assert_false(r.accounts[0].account.must_change);
	assert_string_equal(r.accounts[1].account.name, "karin");
	assert_int_equal(r.accounts[1].account.role, AGENT_ROLE_VIEWER);
	assert_int_equal(r.accounts[1].account.since, 7);
	assert_true(r.accounts[1].account.must_change);
	for (size_t i = 0; i < 2; i++) {
		assert_string_equal(r.accounts[i].verifier.setting, "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$");
		assert_memory_equal(r.accounts[i].verifier.mac, f->record.accounts[i].verifier.mac, AGENT_MAC_SIZE);
	}
}

static void the_hash_itself_is_not_in_the_file(void **state)
{
	struct fixture *f = *state;

	assert_null(strstr(f->text, "hashhash"));
	assert_non_null(strstr(f->text, "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$ "));
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

/* What comes of a body that carries a MAC of this device, with V in it replaced by the digits of a verifier. */
static int parse_with_right_mac(struct fixture *f, const char *head)
{
	char body[RECORD_MAX_BYTES + 4096], text[RECORD_MAX_BYTES + 4096], digits[2 * AGENT_MAC_SIZE + 1];
	uint8_t prefixed[16 + 32] = "agentd-record-v2", mac[AGENT_MAC_SIZE];
	struct record r;
	size_t n = 0;
	int size;

	hex_encode(f->record.accounts[0].verifier.mac, AGENT_MAC_SIZE, digits);
	for (; *head != '\0'; head++)
		n += (size_t)snprintf(body + n, sizeof(body) - n, "%.*s", *head == 'V' ? 64 : 1, *head == 'V' ? digits : head);
	n += (size_t)snprintf(body + n, sizeof(body) - n, "mac ");
	assert_int_equal(digest_sha256(body, n, prefixed + 16), 0);
	assert_int_equal(agent_mac_compute(f->mac, prefixed, sizeof(prefixed), mac, NULL), 0);
	hex_encode(mac, sizeof(mac), digits);
	size = snprintf(text, sizeof(text), "%s%s\n", body, digits);
	return record_parse(text, (size_t)size, f->mac, &r, NULL);
}

static void other_spellings_with_a_right_mac_are_refused(void **state)
{
	static const char *const heads[] = {	/* V: the digits of a verifier */
		"agentd-accounts 2\nkind owner\ngeneration 7\naccount admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind admin\ngeneration 7\naccount admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind \ngeneration 7\naccount admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration 07\naccount admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration -7\naccount admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration \naccount admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration 99999999999999999999\naccount admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\ngeneration 7\nkind owner\naccount admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\nkind owner\ngeneration 7\naccount admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\r\nkind owner\ngeneration 7\naccount admin admin 7 - $y$x$ V\n",
		/* no administrator; a factory record with accounts */
		"agentd-accounts 1\nkind owner\ngeneration 7\n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount karin viewer 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind factory\ngeneration 7\naccount admin admin 7 - $y$x$ V\n",
		/* members of an account */
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount admin admin 7 - $y$x$ V\naccount admin viewer 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount Admin admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount  admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount abcdefghijklmnopqrstuvwxyz0123456 admin 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount admin root 7 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount admin admin 8 - $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount admin admin 7 old $y$x$ V\n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount admin admin 7 -  V\n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount admin admin 7 - $y$x$ V \n",
		"agentd-accounts 1\nkind owner\ngeneration 7\naccount admin admin 7 - $y$x$ V\n\n",
	};
	static const char good[] = "agentd-accounts 1\nkind owner\ngeneration 7\naccount admin admin 7 - $y$x$ V\n";
	struct fixture *f = *state;

	assert_int_equal(parse_with_right_mac(f, good), 0);	/* the method is sound */
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		if (parse_with_right_mac(f, heads[i]) != -EBADMSG)
			fail_msg("accepted: %s", heads[i]);
}

static void no_more_accounts_than_there_is_room_for(void **state)
{
	struct fixture *f = *state;
	struct record r = { .kind = RECORD_OWNER, .generation = UINT64_C(9999999999999999999), .n = AGENT_ACCOUNTS_MAX }, again;
	char longest[400], more[RECORD_MAX_BYTES] = "agentd-accounts 1\nkind owner\ngeneration 7\n";
	char *text;
	size_t size;

	memset(longest, 'x', sizeof(longest));
	longest[RECORD_SETTING_MAX - 1] = '$';
	longest[RECORD_SETTING_MAX + 1] = '\0';
	for (size_t i = 0; i < AGENT_ACCOUNTS_MAX; i++) {
		struct agent_account *a = &r.accounts[i].account;

		memset(a->name, 'a' + (int)i, AGENT_ACCOUNT_NAME_MAX);
		a->role = i == 0 ? AGENT_ROLE_ADMIN : AGENT_ROLE_OPERATOR;
		a->since = r.generation;
		a->must_change = true;
		assert_int_equal(verifier_make(f->mac, a->name, longest, &r.accounts[i].verifier, NULL), 0);
	}
	assert_int_equal(record_format(&r, f->mac, &text, &size, NULL), 0);
	assert_int_equal(record_parse(text, size, f->mac, &again, NULL), 0);
	assert_int_equal(again.n, AGENT_ACCOUNTS_MAX);
	free(text);
	for (size_t i = 0; i <= AGENT_ACCOUNTS_MAX; i++)
		snprintf(more + strlen(more), sizeof(more) - strlen(more), "account a%zu admin 7 - $y$x$ V\n", i);
	assert_int_equal(parse_with_right_mac(f, more), -EBADMSG);
}

static void a_label_is_a_label_and_no_record(void **state)
{
	struct fixture *f = *state;
	struct verifier label, again = { 0 };
	struct record r;
	char *text;
	size_t size;

	assert_int_equal(verifier_make(f->mac, RECORD_LABEL_NAME, HASH, &label, NULL), 0);
	assert_memory_not_equal(label.mac, f->record.accounts[0].verifier.mac, AGENT_MAC_SIZE);
	assert_int_equal(label_format(&label, f->mac, &text, &size, NULL), 0);
	assert_int_equal(label_parse(text, size, f->mac, &again, NULL), 0);
	assert_string_equal(again.setting, label.setting);
	assert_memory_equal(again.mac, label.mac, AGENT_MAC_SIZE);
	assert_int_equal(record_parse(text, size, f->mac, &r, NULL), -EBADMSG);
	assert_int_equal(label_parse(f->text, f->size, f->mac, &again, NULL), -EBADMSG);
	assert_int_equal(label_parse(text, size, f->other_mac, &again, NULL), -EBADMSG);
	for (size_t i = 0; i < size; i++) {
		text[i] = (char)(text[i] ^ 1);
		assert_int_equal(label_parse(text, size, f->mac, &again, NULL), -EBADMSG);
		text[i] = (char)(text[i] ^ 1);
		assert_int_equal(label_parse(text, i, f->mac, &again, NULL), -EBADMSG);
	}
	free(text);
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

static void verifier_depends_on_name_and_hash(void **state)
{
	struct fixture *f = *state;
	uint8_t a[AGENT_MAC_SIZE], b[AGENT_MAC_SIZE], c[AGENT_MAC_SIZE], d[AGENT_MAC_SIZE];
	struct verifier v;
	char longest[400];

	assert_int_equal(verifier_compute(f->mac, "a", "$y$a$b", a, NULL), 0);
	assert_int_equal(verifier_compute(f->mac, "b", "$y$a$b", b, NULL), 0);
	assert_int_equal(verifier_compute(f->mac, "a", "$y$a$c", c, NULL), 0);
	assert_int_equal(verifier_compute(f->mac, "a$", "y$a$b", d, NULL), 0);	/* the border between the two counts */
	assert_memory_not_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, c, sizeof(a));
	assert_memory_not_equal(a, d, sizeof(a));
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(verifier_compute(f->mac, "a", longest, a, NULL), -EMSGSIZE);
	assert_int_equal(verifier_make(f->mac, "a", longest, &v, NULL), -EMSGSIZE);
	longest[sizeof(longest) - 2] = '$';
	assert_int_equal(verifier_make(f->mac, "a", longest, &v, NULL), -EMSGSIZE);
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
		cmocka_unit_test_setup_teardown(no_more_accounts_than_there_is_room_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_label_is_a_label_and_no_record, setup, teardown),
		cmocka_unit_test_setup_teardown(verifier_depends_on_name_and_hash, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
