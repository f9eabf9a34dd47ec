/* SPDX-License-Identifier: Apache-2.0 */
/* What an administrator changes: accounts of other people, the reset; and a first password that was hashed elsewhere. */
#include "tests/unit/password_world.h"

#include "crypto/pwhash.h"
#include "password/record.h"

#define KARIN "eleven copper marmots sing"
#define KARIN_2 "nine wooden herons wait"

static int add(struct password_world *w, const char *name, enum agent_account_role role, const char *text)
{
	return agent_password_add(w->pw, name, role, text, strlen(text), NULL);
}

static int verify_as(struct password_world *w, const char *name, const char *text)
{
	return agent_password_verify(w->pw, name, text, strlen(text), NULL);
}

static struct agent_account account_of(struct password_world *w, const char *name)
{
	struct agent_account account = { .name = "" };

	if (agent_password_find(w->pw, name, &account, NULL) < 0)
		account.name[0] = '\0';
	return account;
}

static void an_account_lives_from_add_to_remove(void **state)
{
	struct password_world *w = *state;
	struct agent_account list[AGENT_ACCOUNTS_MAX];

	assert_int_equal(add(w, "karin", AGENT_ROLE_VIEWER, KARIN), 0);
	reopen(w);
	assert_int_equal(agent_password_get_accounts(w->pw, list), 2);
	assert_string_equal(list[1].name, "karin");
	assert_int_equal(list[1].role, AGENT_ROLE_VIEWER);
	assert_true(list[1].must_change);
	assert_int_equal(list[1].since, 3);
	assert_int_equal(list[0].since, 2);	/* nothing changed for the administrator */
	assert_int_equal(verify_as(w, "karin", KARIN), 0);
	assert_int_equal(verify_as(w, "karin", OWNER_A), -EACCES);	/* another's password */
	assert_int_equal(verify_as(w, "admin", KARIN), -EACCES);
	assert_int_equal(verify_as(w, "admin", OWNER_A), 0);
	assert_int_equal(agent_password_change(w->pw, "karin", 2, KARIN_2, strlen(KARIN_2), NULL), -ESTALE);
	assert_int_equal(agent_password_change(w->pw, "karin", 3, KARIN, strlen(KARIN), NULL), -EINVAL);	/* the assigned one again */
	assert_int_equal(agent_password_change(w->pw, "karin", 3, KARIN_2, strlen(KARIN_2), NULL), 0);
	assert_false(account_of(w, "karin").must_change);
	assert_int_equal(verify_as(w, "karin", KARIN), -EACCES);
	assert_int_equal(agent_password_set_role(w->pw, "karin", AGENT_ROLE_OPERATOR, NULL), 0);
	assert_int_equal(account_of(w, "karin").since, 5);
	reopen(w);
	assert_int_equal(account_of(w, "karin").role, AGENT_ROLE_OPERATOR);
	assert_int_equal(verify_as(w, "karin", KARIN_2), 0);
	assert_int_equal(agent_password_set_role(w->pw, "karin", AGENT_ROLE_OPERATOR, NULL), 0);
	assert_int_equal(w->c.value, 5);	/* nothing to do, nothing written */
	assert_int_equal(agent_password_assign(w->pw, "karin", KARIN, strlen(KARIN), NULL), 0);
	assert_true(account_of(w, "karin").must_change);
	assert_int_equal(verify_as(w, "karin", KARIN), 0);
	assert_int_equal(agent_password_remove(w->pw, "karin", NULL), 0);
	reopen(w);
	assert_int_equal(verify_as(w, "karin", KARIN), -EACCES);
	assert_int_equal(agent_password_get_accounts(w->pw, list), 1);
	assert_int_equal(verify_as(w, "admin", OWNER_A), 0);
}

static void an_administrator_is_always_left(void **state)
{
	struct password_world *w = *state;
	struct agent_error *err = NULL;

	assert_int_equal(agent_password_remove(w->pw, "admin", &err), -EPERM);
	assert_error(&err, -EPERM, "account.last-admin");
	assert_int_equal(agent_password_set_role(w->pw, "admin", AGENT_ROLE_VIEWER, NULL), -EPERM);
	assert_int_equal(agent_password_assign(w->pw, "admin", KARIN, strlen(KARIN), NULL), -EPERM);
	/* One who never logged in does not count: perhaps nobody knows that password. */
	assert_int_equal(add(w, "karin", AGENT_ROLE_ADMIN, KARIN), 0);
	assert_int_equal(agent_password_remove(w->pw, "admin", NULL), -EPERM);
	assert_int_equal(agent_password_change(w->pw, "karin", 3, KARIN_2, strlen(KARIN_2), NULL), 0);
	assert_int_equal(agent_password_remove(w->pw, "admin", NULL), 0);
	assert_int_equal(agent_password_remove(w->pw, "karin", NULL), -EPERM);
	assert_int_equal(agent_password_set_role(w->pw, "karin", AGENT_ROLE_OPERATOR, NULL), -EPERM);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(verify_as(w, "karin", KARIN_2), 0);
	assert_int_equal(verify_as(w, "admin", OWNER_A), -EACCES);
}

static void what_is_no_account_is_refused(void **state)
{
	static const char *const names[] = { "", "Karin", "1karin", "ka rin", "ka/rin", "ka\nrin", "k\xc3\xa4the", "=label", "abcdefghijklmnopqrstuvwxyz0123456" };
	struct password_world *w = *state;
	char name[8];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(add(w, names[i], AGENT_ROLE_VIEWER, KARIN), -EINVAL);
	assert_int_equal(add(w, "karin", (enum agent_account_role)0, KARIN), -EINVAL);
	assert_int_equal(add(w, "karin", (enum agent_account_role)4, KARIN), -EINVAL);
	assert_int_equal(add(w, "karin", AGENT_ROLE_VIEWER, "short"), -EINVAL);
	assert_int_equal(add(w, "karin", AGENT_ROLE_VIEWER, "the friends of K4rin sing"), -EINVAL);	/* her name in it */
	assert_int_equal(add(w, "karin", AGENT_ROLE_VIEWER, "7-K2M-9QXT-04AB"), -EINVAL);		/* the label's code */
	assert_int_equal(add(w, "admin", AGENT_ROLE_VIEWER, KARIN), -EEXIST);
	assert_int_equal(agent_password_set_role(w->pw, "karin", AGENT_ROLE_VIEWER, NULL), -ENOENT);
	assert_int_equal(agent_password_assign(w->pw, "karin", KARIN, strlen(KARIN), NULL), -ENOENT);
	assert_int_equal(agent_password_remove(w->pw, "karin", NULL), -ENOENT);
	assert_int_equal(w->c.value, 2);
	for (int i = 1; i < AGENT_ACCOUNTS_MAX; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		assert_int_equal(add(w, name, AGENT_ROLE_VIEWER, KARIN), 0);
	}
	assert_int_equal(add(w, "karin", AGENT_ROLE_VIEWER, KARIN), -EDQUOT);
	reopen(w);
	assert_int_equal(verify_as(w, "user15", KARIN), 0);
}

static void old_files_bring_no_old_role_back(void **state)
{
	struct password_world *w = *state;
	char *yesterday = NULL;
	size_t size;

	assert_int_equal(add(w, "karin", AGENT_ROLE_ADMIN, KARIN), 0);
	assert_int_equal(file_read_at(w->dir.fd, "current", RECORD_MAX_BYTES, &yesterday, &size, NULL), 0);
	assert_int_equal(agent_password_set_role(w->pw, "karin", AGENT_ROLE_VIEWER, NULL), 0);
	put_file(w, "current", yesterday, size);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(verify_as(w, "karin", KARIN), -ENOKEY);
	put_file(w, "current", NULL, 0);
	put_file(w, "new", yesterday, size);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_RECOVERY);
	free(yesterday);
}

static void a_reset_brings_the_label_back_and_nothing_else(void **state)
{
	struct password_world *w = *state;
	struct agent_account list[AGENT_ACCOUNTS_MAX];

	assert_int_equal(add(w, "karin", AGENT_ROLE_ADMIN, KARIN), 0);
	assert_int_equal(agent_password_factory_reset(w->pw, NULL), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_FACTORY);
		assert_int_equal(agent_password_get_generation(w->pw), 4);
		assert_int_equal(agent_password_get_accounts(w->pw, list), 0);
		assert_int_equal(verify_as(w, "admin", OWNER_A), -EACCES);
		assert_int_equal(verify_as(w, "karin", KARIN), -EACCES);
		assert_int_equal(verify_as(w, "karin", SECRET), -EACCES);
		assert_int_equal(verify_as(w, "admin", SECRET), 0);
		reopen(w);
	}
	assert_int_equal(change(w, 1, OWNER_B), -ESTALE);	/* a session of the first life */
	assert_int_equal(change(w, 4, OWNER_B), 0);
	assert_int_equal(verify(w, OWNER_B), 0);
	assert_int_equal(verify(w, SECRET), -EACCES);
}

static void recovery_is_left_by_a_reset_only(void **state)
{
	struct password_world *w = *state;

	put_file(w, "current", NULL, 0);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(agent_password_provision(w->pw, "AAAA-BBBB-CCCC", 14, NULL), -EEXIST);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(agent_password_factory_reset(w->pw, NULL), 0);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(verify(w, SECRET), 0);
	assert_int_equal(verify(w, OWNER_A), -EACCES);
	assert_int_equal(w->c.value, 3);
}

static void without_the_label_a_reset_changes_nothing(void **state)
{
	struct password_world *w = *state;
	struct agent_error *err = NULL;
	char *label = NULL;
	size_t size;

	assert_int_equal(file_read_at(w->dir.fd, "label", RECORD_MAX_BYTES, &label, &size, NULL), 0);
	label[size / 2] ^= 1;
	put_file(w, "label", label, size);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(agent_password_factory_reset(w->pw, &err), -ENOKEY);
	assert_error(&err, -ENOKEY, "setup.label");
	assert_int_equal(verify(w, OWNER_A), 0);
	assert_int_equal(agent_password_renew_secret(w->pw, "AAAA-BBBB-CCCC", 14, &err), -EPERM);
	assert_error(&err, -EPERM, "setup.provisioned");
	/* In recovery as well another code is the way out, and it is another one then. */
	put_file(w, "current", NULL, 0);
	reopen(w);
	assert_int_equal(agent_password_factory_reset(w->pw, NULL), -ENOKEY);
	assert_int_equal(agent_password_renew_secret(w->pw, "AAAA-BBBB-CCC", 13, NULL), -EINVAL);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(agent_password_renew_secret(w->pw, "AAAA-BBBB-CCCC", 14, NULL), 0);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(verify(w, SECRET), -EACCES);
	assert_int_equal(verify(w, "AAAA-BBBB-CCCC"), 0);
	free(label);
}

static void a_hash_made_elsewhere_becomes_the_first_password(void **state)
{
	static const char *const bad[] = {
		"", "x", "$y$", "$6$salt$hash", "$y$j75$aaaaaaaaaaaaaaaaaaaaaa$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",	/* cost 1 */
		"$y$j9T$$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "$y$j9T$aaaaaaaaaaaaaaaaaaaaaa$bbbb",
		"$y$j9T$aaaaaaaaaaaaaaaaaaaaaa$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "$y$j9T$aaaa aaaaaaaaaaaaaaaaa$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
	};
	struct password_world *w = *state;
	char hash[PWHASH_MAX];

	if (pwhash_new_yescrypt(OWNER_B, strlen(OWNER_B), 4, hash, NULL) == -EOPNOTSUPP)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(agent_password_adopt(w->pw, 1, bad[i], false, NULL), -EINVAL);
	assert_int_equal(agent_password_adopt(w->pw, 2, hash, false, NULL), -ESTALE);
	assert_int_equal(w->c.value, 1);
	assert_int_equal(agent_password_adopt(w->pw, 1, hash, true, NULL), 0);
	reopen(w);
	assert_int_equal(verify(w, OWNER_B), 0);
	assert_true(account_of(w, "admin").must_change);
	assert_int_equal(verify(w, SECRET), -EACCES);
	assert_int_equal(agent_password_adopt(w->pw, 2, hash, false, NULL), -EEXIST);
	assert_int_equal(agent_password_adopt(w->pw, 1, hash, false, NULL), -EEXIST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_account_lives_from_add_to_remove, setup_active, teardown),
		cmocka_unit_test_setup_teardown(an_administrator_is_always_left, setup_active, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_account_is_refused, setup_active, teardown),
		cmocka_unit_test_setup_teardown(old_files_bring_no_old_role_back, setup_active, teardown),
		cmocka_unit_test_setup_teardown(a_reset_brings_the_label_back_and_nothing_else, setup_active, teardown),
		cmocka_unit_test_setup_teardown(recovery_is_left_by_a_reset_only, setup_active, teardown),
		cmocka_unit_test_setup_teardown(without_the_label_a_reset_changes_nothing, setup_active, teardown),
		cmocka_unit_test_setup_teardown(a_hash_made_elsewhere_becomes_the_first_password, setup_factory, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
