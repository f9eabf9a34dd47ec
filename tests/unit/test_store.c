/* SPDX-License-Identifier: Apache-2.0 */
/* The commit order and the start rule: every state that a crash or a meddler can leave on disk, and what counts then. */
#include "tests/unit/test.h"
#include "tests/unit/fake_tpm.h"

#include <agent/password.h>

#include "base/file.h"
#include "crypto/pwhash.h"
#include "password/record.h"

#define SECRET "7K2M-9QXT-04AB"
#define OWNER_A "correct purple kettle drum"
#define OWNER_B "seven llamas juggle teapots"
#define COST 1

/* Tests make a hash fail, as a device short of memory does. */
static int fail_hash;
int __real_pwhash_compute(const char *password, size_t size, const char *setting, char ret_string[PWHASH_MAX], struct agent_error **err);
int __real_pwhash_new(const char *password, size_t size, unsigned cost, char ret_string[PWHASH_MAX], struct agent_error **err);

int __wrap_pwhash_compute(const char *password, size_t size, const char *setting, char ret_string[PWHASH_MAX], struct agent_error **err)
{
	return fail_hash < 0 ? agent_error_set(err, fail_hash, "crypto.password_hash", "no memory") :
			       __real_pwhash_compute(password, size, setting, ret_string, err);
}

int __wrap_pwhash_new(const char *password, size_t size, unsigned cost, char ret_string[PWHASH_MAX], struct agent_error **err)
{
	return fail_hash < 0 ? agent_error_set(err, fail_hash, "crypto.password_hash", "no memory") :
			       __real_pwhash_new(password, size, cost, ret_string, err);
}

struct fixture {
	struct temp_dir dir;
	struct fake_counter c;
	struct fake_mac m;
	struct agent_counter *counter;
	struct agent_mac *mac;
	struct agent_password *pw;
	char *seen_new;	/* the file "new" at the moment of the increment */
	size_t seen_size;
};

static struct agent_password *reopen(struct fixture *f)
{
	static const char *const words[] = { "admin", "GW-004711", NULL };
	const struct agent_password_options options = { .min_length = 15, .context_words = words, .cost = COST };

	f->pw = agent_password_free(f->pw);
	assert_int_equal(agent_password_open(NULL, f->dir.fd, f->counter, f->mac, &options, &f->pw, NULL), 0);
	return f->pw;
}

static int verify(struct fixture *f, const char *text)
{
	return agent_password_verify(f->pw, "admin", text, strlen(text), NULL);
}

/* @since: of the account, or the generation in factory state; with one account they are the same. */
static int change(struct fixture *f, uint64_t since, const char *text)
{
	return agent_password_change(f->pw, "admin", since, text, strlen(text), NULL);
}

static void look_at_new(void *userdata)
{
	struct fixture *f = userdata;

	free(f->seen_new);
	f->seen_new = NULL;
	assert_int_equal(file_read_at(f->dir.fd, "new", RECORD_MAX_BYTES, &f->seen_new, &f->seen_size, NULL), 0);
}

static bool has_file(struct fixture *f, const char *name)
{
	return faccessat(f->dir.fd, name, F_OK, 0) == 0;
}

static void put_file(struct fixture *f, const char *name, const char *data, size_t size)
{
	if (data == NULL)
		assert_true(unlinkat(f->dir.fd, name, 0) == 0 || errno == ENOENT);
	else
		assert_int_equal(file_write_sync_at(f->dir.fd, name, 0600, data, size, NULL), 0);
}

static int setup_empty(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	fail_hash = 0;
	temp_dir_make(&f->dir);
	memset(f->m.key, 9, sizeof(f->m.key));
	f->c.on_increment = look_at_new;
	f->c.userdata = f;
	assert_int_equal(agent_counter_new(&fake_counter_ops, &f->c, &f->counter, NULL), 0);
	assert_int_equal(agent_mac_new(&fake_mac_ops, &f->m, &f->mac, NULL), 0);
	*state = f;
	reopen(f);
	return 0;
}

static int setup_factory(void **state)
{
	struct fixture *f;

	setup_empty(state);
	f = *state;
	assert_int_equal(agent_password_provision(f->pw, SECRET, strlen(SECRET), NULL), 0);
	return 0;
}

static int setup_active(void **state)
{
	setup_factory(state);
	assert_int_equal(change(*state, 1, OWNER_A), 0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	agent_password_free(f->pw);
	agent_counter_unref(f->counter);
	agent_mac_unref(f->mac);
	free(f->seen_new);
	temp_dir_remove(&f->dir);
	test_free(f);
	return 0;
}

static void from_factory_to_active(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_UNPROVISIONED);
	assert_int_equal(verify(f, SECRET), -ENOKEY);
	assert_int_equal(change(f, 0, OWNER_A), -ENOKEY);
	assert_int_equal(agent_password_provision(f->pw, "no secret", 9, NULL), -EINVAL);
	assert_int_equal(agent_password_provision(f->pw, SECRET, strlen(SECRET), NULL), 0);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(agent_password_get_generation(f->pw), 1);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(verify(f, SECRET), 0);
	assert_int_equal(verify(f, "7k2m9qxto4ab"), 0);
	assert_int_equal(verify(f, "7K2M-9QXT-04AC"), -EACCES);
	assert_int_equal(verify(f, ""), -EACCES);
	assert_int_equal(change(f, 1, OWNER_A), 0);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(agent_password_get_generation(f->pw), 2);
	assert_int_equal(f->c.value, 2);
	assert_int_equal(verify(f, SECRET), -EACCES);
	assert_int_equal(verify(f, OWNER_A), 0);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(verify(f, OWNER_A), 0);
	assert_int_equal(verify(f, "Correct purple kettle drum"), -EACCES);
	assert_int_equal(verify(f, SECRET), -EACCES);
	assert_false(has_file(f, "new"));
}

static void provisioning_twice_is_refused(void **state)
{
	struct fixture *f = *state;
	struct agent_error *err = NULL;

	assert_int_equal(agent_password_provision(f->pw, "AAAA-BBBB-CCCC", 14, &err), -EEXIST);
	assert_error(&err, -EEXIST, "setup.provisioned");
	assert_int_equal(verify(f, SECRET), 0);
	assert_int_equal(change(f, 1, OWNER_A), 0);
	assert_int_equal(agent_password_provision(f->pw, "AAAA-BBBB-CCCC", 14, NULL), -EEXIST);
	assert_int_equal(f->c.value, 2);
}

static void an_owner_password_is_taken_as_it_was_typed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(change(f, 2, "cafe\xcc\x81 olive rhino seven"), 0);
	assert_int_equal(verify(f, "caf\xc3\xa9 olive rhino seven"), 0);
	assert_int_equal(verify(f, "cafe\xcc\x81 olive rhino seven"), 0);
	assert_int_equal(verify(f, "cafe olive rhino seven"), -EACCES);
	assert_int_equal(verify(f, "caf\xc3\xa9-olive-rhino-seven"), -EACCES);
	assert_int_equal(verify(f, "CAF\xc3\x89 olive rhino seven"), -EACCES);
}

static void text_that_cannot_be_a_password_is_a_wrong_one(void **state)
{
	struct fixture *f = *state;
	char text[AGENT_PASSWORD_MAX + 1];

	memset(text, 'x', sizeof(text));
	assert_int_equal(agent_password_verify(f->pw, "admin", text, sizeof(text), NULL), -EACCES);
	assert_int_equal(agent_password_verify(f->pw, "admin", OWNER_A "\0tail", strlen(OWNER_A) + 5, NULL), -EACCES);
	assert_int_equal(agent_password_verify(f->pw, "admin", OWNER_A "\0", strlen(OWNER_A) + 1, NULL), -EACCES);
	assert_int_equal(verify(f, OWNER_A "\xff"), -EACCES);
	assert_int_equal(agent_password_verify(f->pw, "admin", NULL, 0, NULL), -EACCES);
	assert_int_equal(agent_password_verify(f->pw, "admin", NULL, 1, NULL), -EINVAL);
	assert_int_equal(agent_password_verify(NULL, "admin", text, 1, NULL), -EINVAL);
}

static void an_unknown_name_costs_a_hash_and_fails(void **state)
{
	struct fixture *f = *state;
	const char *const names[] = { NULL, "", "Admin", "karin", "=label" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		fail_hash = 0;
		assert_int_equal(agent_password_verify(f->pw, names[i], OWNER_A, strlen(OWNER_A), NULL), -EACCES);
		assert_int_equal(agent_password_verify(f->pw, names[i], SECRET, strlen(SECRET), NULL), -EACCES);
		fail_hash = -ENOMEM;
		assert_int_equal(agent_password_verify(f->pw, names[i], OWNER_A, strlen(OWNER_A), NULL), -ENOMEM);
	}
}

static void only_the_first_account_opens_with_the_label(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(agent_password_verify(f->pw, "karin", SECRET, strlen(SECRET), NULL), -EACCES);
	assert_int_equal(agent_password_verify(f->pw, NULL, SECRET, strlen(SECRET), NULL), -EACCES);
	assert_int_equal(agent_password_change(f->pw, "karin", 1, OWNER_A, strlen(OWNER_A), NULL), -ENOENT);
	assert_int_equal(agent_password_add(f->pw, "karin", AGENT_ROLE_ADMIN, OWNER_A, strlen(OWNER_A), NULL), -EKEYEXPIRED);
	assert_int_equal(f->c.value, 1);
}

static void a_hash_or_mac_that_fails_is_not_a_wrong_password(void **state)
{
	struct fixture *f = *state;

	fail_hash = -ENOMEM;
	assert_int_equal(verify(f, OWNER_A), -ENOMEM);
	assert_int_equal(verify(f, "something else, wrong"), -ENOMEM);
	assert_int_equal(change(f, 2, OWNER_B), -ENOMEM);
	fail_hash = 0;
	f->m.fail = -EIO;
	assert_int_equal(verify(f, OWNER_A), -EIO);
	assert_int_equal(change(f, 2, OWNER_B), -EIO);
	f->m.fail = 0;
	assert_int_equal(f->c.value, 2);
	assert_int_equal(verify(f, OWNER_A), 0);
}

static void of_two_changes_under_one_generation_the_second_is_stale(void **state)
{
	struct fixture *f = *state;
	struct agent_error *err = NULL;

	assert_int_equal(change(f, 1, OWNER_A), 0);
	assert_int_equal(agent_password_change(f->pw, "admin", 1, OWNER_B, strlen(OWNER_B), &err), -ESTALE);
	assert_error(&err, -ESTALE, "password.stale");
	assert_int_equal(verify(f, OWNER_A), 0);
	assert_int_equal(verify(f, OWNER_B), -EACCES);
	assert_int_equal(f->c.value, 2);
}

static void a_weak_password_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct agent_error *err = NULL;

	assert_int_equal(agent_password_change(f->pw, "admin", 2, "short", 5, &err), -EINVAL);
	assert_error(&err, -EINVAL, "password.weak");
	assert_int_equal(agent_password_change(f->pw, "admin", 2, OWNER_A, strlen(OWNER_A), &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "in use now"));
	assert_error(&err, -EINVAL, "password.weak");
	assert_int_equal(agent_password_check(f->pw, "admin", "ends with gw004711", 18, &err), -EINVAL);
	assert_error(&err, -EINVAL, "password.weak");
	assert_int_equal(agent_password_check(f->pw, "admin", OWNER_B, strlen(OWNER_B), NULL), 0);
	assert_int_equal(f->c.value, 2);
	assert_false(has_file(f, "new"));
}

static void the_label_secret_cannot_become_the_password(void **state)
{
	struct fixture *f = *state;
	struct agent_error *err = NULL;

	/* Not known in plain: found by hashing. */
	assert_int_equal(agent_password_change(f->pw, "admin", 1, "7-K2M-9QXT-04AB", 15, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "label"));
	assert_error(&err, -EINVAL, "password.weak");
	/* Known after a login with it: found inside a longer text. */
	assert_int_equal(verify(f, SECRET), 0);
	assert_int_equal(agent_password_change(f->pw, "admin", 1, "otter 7k2m9qxt04ab kiosk", 24, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "label"));
	assert_error(&err, -EINVAL, "password.weak");
	assert_int_equal(f->c.value, 1);
}

/* Files as a crash or a meddler may leave them. F, A, B: the records of generation 1, 2, 3; '-': none; 't': B cut short; 'x': A with a flipped bit */
static void the_start_rule_holds_in_every_state(void **state)
{
	static const struct {
		const char *claim;
		char new_file, current;
		uint64_t counter;
		enum agent_setup_state state;
		const char *password;
		bool keeps_new;
	} cases[] = {
		/* provisioning, killed after each step */
		{ "nothing happened yet", '-', '-', 0, AGENT_SETUP_UNPROVISIONED, NULL, false },
		{ "half of the first record", 't', '-', 0, AGENT_SETUP_UNPROVISIONED, NULL, false },
		{ "the first record, before the counter", 'F', '-', 0, AGENT_SETUP_UNPROVISIONED, NULL, false },
		{ "the first record, after the counter", 'F', '-', 1, AGENT_SETUP_FACTORY, SECRET, false },
		{ "provisioned", '-', 'F', 1, AGENT_SETUP_FACTORY, SECRET, false },
		/* the first change, killed after each step */
		{ "first change, before the counter", 'A', 'F', 1, AGENT_SETUP_FACTORY, SECRET, false },
		{ "first change, after the counter", 'A', 'F', 2, AGENT_SETUP_ACTIVE, OWNER_A, false },
		{ "first change, renamed", '-', 'A', 2, AGENT_SETUP_ACTIVE, OWNER_A, false },
		/* a later change, killed after each step */
		{ "half of the new record", 't', 'A', 2, AGENT_SETUP_ACTIVE, OWNER_A, false },
		{ "the new record, before the counter", 'B', 'A', 2, AGENT_SETUP_ACTIVE, OWNER_A, false },
		{ "the new record, after the counter", 'B', 'A', 3, AGENT_SETUP_ACTIVE, OWNER_B, false },
		{ "renamed", '-', 'B', 3, AGENT_SETUP_ACTIVE, OWNER_B, false },
		/* files deleted, damaged or put back */
		{ "deleted files are no new device", '-', '-', 1, AGENT_SETUP_RECOVERY, NULL, false },
		{ "deleted files are no new device later either", '-', '-', 3, AGENT_SETUP_RECOVERY, NULL, false },
		{ "yesterday's record", '-', 'A', 3, AGENT_SETUP_RECOVERY, NULL, false },
		{ "the factory record put back", '-', 'F', 3, AGENT_SETUP_RECOVERY, NULL, false },
		{ "the factory record put back as new", 'F', '-', 3, AGENT_SETUP_RECOVERY, NULL, true },
		{ "the factory record put back twice", 'F', 'F', 2, AGENT_SETUP_RECOVERY, NULL, true },
		{ "yesterday's record and the factory's", 'F', 'A', 3, AGENT_SETUP_RECOVERY, NULL, true },
		{ "the factory's as new beside the good one", 'F', 'B', 3, AGENT_SETUP_ACTIVE, OWNER_B, false },
		{ "yesterday's as new beside the good one", 'A', 'B', 3, AGENT_SETUP_ACTIVE, OWNER_B, false },
		{ "a record cut short, the old one beside it", 't', 'A', 3, AGENT_SETUP_RECOVERY, NULL, true },
		{ "a record cut short", '-', 't', 3, AGENT_SETUP_RECOVERY, NULL, false },
		{ "a flipped bit", '-', 'x', 2, AGENT_SETUP_RECOVERY, NULL, false },
		{ "a flipped bit in new", 'x', 'F', 2, AGENT_SETUP_RECOVERY, NULL, true },
		{ "a record from the future", '-', 'B', 2, AGENT_SETUP_RECOVERY, NULL, false },
		{ "a counter that ran ahead", 'B', 'A', 4, AGENT_SETUP_RECOVERY, NULL, true },
		{ "a record, but a counter that never counted", '-', 'A', 0, AGENT_SETUP_RECOVERY, NULL, false },
		{ "the factory's, but a counter that never counted", '-', 'F', 0, AGENT_SETUP_RECOVERY, NULL, false },
		{ "rubbish, and a counter that never counted", '-', 't', 0, AGENT_SETUP_RECOVERY, NULL, false },
	};
	struct fixture *f = *state;
	struct { char *data; size_t size; } text[128] = { 0 };

	/* Make the records as the commit itself writes them. */
	assert_int_equal(agent_password_provision(f->pw, SECRET, strlen(SECRET), NULL), 0);
	text['F'].data = f->seen_new, text['F'].size = f->seen_size, f->seen_new = NULL;
	assert_int_equal(change(f, 1, OWNER_A), 0);
	text['A'].data = f->seen_new, text['A'].size = f->seen_size, f->seen_new = NULL;
	assert_int_equal(change(f, 2, OWNER_B), 0);
	text['B'].data = f->seen_new, text['B'].size = f->seen_size, f->seen_new = NULL;
	text['t'].data = text['B'].data, text['t'].size = text['B'].size / 2;
	text['x'].data = strndup(text['A'].data, text['A'].size), text['x'].size = text['A'].size;
	text['x'].data[text['x'].size / 2] ^= 1;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_file(f, "new", text[(int)cases[i].new_file].data, text[(int)cases[i].new_file].size);
		put_file(f, "current", text[(int)cases[i].current].data, text[(int)cases[i].current].size);
		f->c.value = cases[i].counter;
		for (int round = 0; round < 2; round++) {	/* the second start finds what the first one left */
			reopen(f);
			if (agent_password_get_state(f->pw) != cases[i].state)
				fail_msg("%s: state is %s", cases[i].claim, agent_setup_state_name(agent_password_get_state(f->pw)));
			if (has_file(f, "new") != cases[i].keeps_new)
				fail_msg("%s: file new is %s", cases[i].claim, cases[i].keeps_new ? "gone" : "left");
		}
		assert_int_equal(f->c.value, cases[i].counter);
		if (cases[i].password != NULL) {
			assert_int_equal(verify(f, cases[i].password), 0);
			assert_int_equal(agent_password_get_generation(f->pw), cases[i].counter);
		} else {
			assert_int_equal(agent_password_get_generation(f->pw), 0);
			assert_int_equal(verify(f, SECRET), -ENOKEY);
			assert_int_equal(verify(f, OWNER_A), -ENOKEY);
			assert_int_equal(verify(f, OWNER_B), -ENOKEY);
			assert_int_equal(change(f, cases[i].counter, "another fine password"), -ENOKEY);
		}
		if (cases[i].state == AGENT_SETUP_RECOVERY)
			assert_int_equal(agent_password_provision(f->pw, SECRET, strlen(SECRET), NULL), -EEXIST);
	}
	free(text['F'].data);
	free(text['A'].data);
	free(text['B'].data);
	free(text['x'].data);
}

#define KARIN "eleven copper marmots sing"
#define KARIN_2 "nine wooden herons wait"

static int add(struct fixture *f, const char *name, enum agent_account_role role, const char *text)
{
	return agent_password_add(f->pw, name, role, text, strlen(text), NULL);
}

static int verify_as(struct fixture *f, const char *name, const char *text)
{
	return agent_password_verify(f->pw, name, text, strlen(text), NULL);
}

static struct agent_account account_of(struct fixture *f, const char *name)
{
	struct agent_account account = { .name = "" };

	if (agent_password_find(f->pw, name, &account, NULL) < 0)
		account.name[0] = '\0';
	return account;
}

static void an_account_lives_from_add_to_remove(void **state)
{
	struct fixture *f = *state;
	struct agent_account list[AGENT_ACCOUNTS_MAX];

	assert_int_equal(add(f, "karin", AGENT_ROLE_VIEWER, KARIN), 0);
	reopen(f);
	assert_int_equal(agent_password_get_accounts(f->pw, list), 2);
	assert_string_equal(list[1].name, "karin");
	assert_int_equal(list[1].role, AGENT_ROLE_VIEWER);
	assert_true(list[1].must_change);
	assert_int_equal(list[1].since, 3);
	assert_int_equal(list[0].since, 2);	/* nothing changed for the administrator */
	assert_int_equal(verify_as(f, "karin", KARIN), 0);
	assert_int_equal(verify_as(f, "karin", OWNER_A), -EACCES);	/* another's password */
	assert_int_equal(verify_as(f, "admin", KARIN), -EACCES);
	assert_int_equal(verify_as(f, "admin", OWNER_A), 0);
	assert_int_equal(agent_password_change(f->pw, "karin", 2, KARIN_2, strlen(KARIN_2), NULL), -ESTALE);
	assert_int_equal(agent_password_change(f->pw, "karin", 3, KARIN, strlen(KARIN), NULL), -EINVAL);	/* the assigned one again */
	assert_int_equal(agent_password_change(f->pw, "karin", 3, KARIN_2, strlen(KARIN_2), NULL), 0);
	assert_false(account_of(f, "karin").must_change);
	assert_int_equal(verify_as(f, "karin", KARIN), -EACCES);
	assert_int_equal(agent_password_set_role(f->pw, "karin", AGENT_ROLE_OPERATOR, NULL), 0);
	assert_int_equal(account_of(f, "karin").since, 5);
	reopen(f);
	assert_int_equal(account_of(f, "karin").role, AGENT_ROLE_OPERATOR);
	assert_int_equal(verify_as(f, "karin", KARIN_2), 0);
	assert_int_equal(agent_password_set_role(f->pw, "karin", AGENT_ROLE_OPERATOR, NULL), 0);
	assert_int_equal(f->c.value, 5);	/* nothing to do, nothing written */
	assert_int_equal(agent_password_assign(f->pw, "karin", KARIN, strlen(KARIN), NULL), 0);
	assert_true(account_of(f, "karin").must_change);
	assert_int_equal(verify_as(f, "karin", KARIN), 0);
	assert_int_equal(agent_password_remove(f->pw, "karin", NULL), 0);
	reopen(f);
	assert_int_equal(verify_as(f, "karin", KARIN), -EACCES);
	assert_int_equal(agent_password_get_accounts(f->pw, list), 1);
	assert_int_equal(verify_as(f, "admin", OWNER_A), 0);
}

static void an_administrator_is_always_left(void **state)
{
	struct fixture *f = *state;
	struct agent_error *err = NULL;

	assert_int_equal(agent_password_remove(f->pw, "admin", &err), -EPERM);
	assert_error(&err, -EPERM, "account.last-admin");
	assert_int_equal(agent_password_set_role(f->pw, "admin", AGENT_ROLE_VIEWER, NULL), -EPERM);
	assert_int_equal(agent_password_assign(f->pw, "admin", KARIN, strlen(KARIN), NULL), -EPERM);
	/* One who never logged in does not count: perhaps nobody knows that password. */
	assert_int_equal(add(f, "karin", AGENT_ROLE_ADMIN, KARIN), 0);
	assert_int_equal(agent_password_remove(f->pw, "admin", NULL), -EPERM);
	assert_int_equal(agent_password_change(f->pw, "karin", 3, KARIN_2, strlen(KARIN_2), NULL), 0);
	assert_int_equal(agent_password_remove(f->pw, "admin", NULL), 0);
	assert_int_equal(agent_password_remove(f->pw, "karin", NULL), -EPERM);
	assert_int_equal(agent_password_set_role(f->pw, "karin", AGENT_ROLE_OPERATOR, NULL), -EPERM);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(verify_as(f, "karin", KARIN_2), 0);
	assert_int_equal(verify_as(f, "admin", OWNER_A), -EACCES);
}

static void what_is_no_account_is_refused(void **state)
{
	static const char *const names[] = { "", "Karin", "1karin", "ka rin", "ka/rin", "ka\nrin", "k\xc3\xa4the", "=label", "abcdefghijklmnopqrstuvwxyz0123456" };
	struct fixture *f = *state;
	char name[8];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(add(f, names[i], AGENT_ROLE_VIEWER, KARIN), -EINVAL);
	assert_int_equal(add(f, "karin", (enum agent_account_role)0, KARIN), -EINVAL);
	assert_int_equal(add(f, "karin", (enum agent_account_role)4, KARIN), -EINVAL);
	assert_int_equal(add(f, "karin", AGENT_ROLE_VIEWER, "short"), -EINVAL);
	assert_int_equal(add(f, "karin", AGENT_ROLE_VIEWER, "the friends of K4rin sing"), -EINVAL);	/* her name in it */
	assert_int_equal(add(f, "karin", AGENT_ROLE_VIEWER, "7-K2M-9QXT-04AB"), -EINVAL);		/* the label's code */
	assert_int_equal(add(f, "admin", AGENT_ROLE_VIEWER, KARIN), -EEXIST);
	assert_int_equal(agent_password_set_role(f->pw, "karin", AGENT_ROLE_VIEWER, NULL), -ENOENT);
	assert_int_equal(agent_password_assign(f->pw, "karin", KARIN, strlen(KARIN), NULL), -ENOENT);
	assert_int_equal(agent_password_remove(f->pw, "karin", NULL), -ENOENT);
	assert_int_equal(f->c.value, 2);
	for (int i = 1; i < AGENT_ACCOUNTS_MAX; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		assert_int_equal(add(f, name, AGENT_ROLE_VIEWER, KARIN), 0);
	}
	assert_int_equal(add(f, "karin", AGENT_ROLE_VIEWER, KARIN), -EDQUOT);
	reopen(f);
	assert_int_equal(verify_as(f, "user15", KARIN), 0);
}

static void old_files_bring_no_old_role_back(void **state)
{
	struct fixture *f = *state;
	char *yesterday = NULL;
	size_t size;

	assert_int_equal(add(f, "karin", AGENT_ROLE_ADMIN, KARIN), 0);
	assert_int_equal(file_read_at(f->dir.fd, "current", RECORD_MAX_BYTES, &yesterday, &size, NULL), 0);
	assert_int_equal(agent_password_set_role(f->pw, "karin", AGENT_ROLE_VIEWER, NULL), 0);
	put_file(f, "current", yesterday, size);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(verify_as(f, "karin", KARIN), -ENOKEY);
	put_file(f, "current", NULL, 0);
	put_file(f, "new", yesterday, size);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_RECOVERY);
	free(yesterday);
}

static void a_reset_brings_the_label_back_and_nothing_else(void **state)
{
	struct fixture *f = *state;
	struct agent_account list[AGENT_ACCOUNTS_MAX];

	assert_int_equal(add(f, "karin", AGENT_ROLE_ADMIN, KARIN), 0);
	assert_int_equal(agent_password_factory_reset(f->pw, NULL), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_FACTORY);
		assert_int_equal(agent_password_get_generation(f->pw), 4);
		assert_int_equal(agent_password_get_accounts(f->pw, list), 0);
		assert_int_equal(verify_as(f, "admin", OWNER_A), -EACCES);
		assert_int_equal(verify_as(f, "karin", KARIN), -EACCES);
		assert_int_equal(verify_as(f, "karin", SECRET), -EACCES);
		assert_int_equal(verify_as(f, "admin", SECRET), 0);
		reopen(f);
	}
	assert_int_equal(change(f, 1, OWNER_B), -ESTALE);	/* a session of the first life */
	assert_int_equal(change(f, 4, OWNER_B), 0);
	assert_int_equal(verify(f, OWNER_B), 0);
	assert_int_equal(verify(f, SECRET), -EACCES);
}

static void recovery_is_left_by_a_reset_only(void **state)
{
	struct fixture *f = *state;

	put_file(f, "current", NULL, 0);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(agent_password_provision(f->pw, "AAAA-BBBB-CCCC", 14, NULL), -EEXIST);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(agent_password_factory_reset(f->pw, NULL), 0);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(verify(f, SECRET), 0);
	assert_int_equal(verify(f, OWNER_A), -EACCES);
	assert_int_equal(f->c.value, 3);
}

static void without_the_label_a_reset_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct agent_error *err = NULL;
	char *label = NULL;
	size_t size;

	assert_int_equal(file_read_at(f->dir.fd, "label", RECORD_MAX_BYTES, &label, &size, NULL), 0);
	label[size / 2] ^= 1;
	put_file(f, "label", label, size);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(agent_password_factory_reset(f->pw, &err), -ENOKEY);
	assert_error(&err, -ENOKEY, "setup.label");
	assert_int_equal(verify(f, OWNER_A), 0);
	assert_int_equal(agent_password_renew_secret(f->pw, "AAAA-BBBB-CCCC", 14, &err), -EPERM);
	assert_error(&err, -EPERM, "setup.provisioned");
	/* In recovery as well another code is the way out, and it is another one then. */
	put_file(f, "current", NULL, 0);
	reopen(f);
	assert_int_equal(agent_password_factory_reset(f->pw, NULL), -ENOKEY);
	assert_int_equal(agent_password_renew_secret(f->pw, "AAAA-BBBB-CCC", 13, NULL), -EINVAL);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(agent_password_renew_secret(f->pw, "AAAA-BBBB-CCCC", 14, NULL), 0);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(verify(f, SECRET), -EACCES);
	assert_int_equal(verify(f, "AAAA-BBBB-CCCC"), 0);
	free(label);
}

static void a_factory_record_without_its_label_is_no_factory_state(void **state)
{
	struct fixture *f = *state;

	put_file(f, "label", NULL, 0);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(verify(f, SECRET), -ENOKEY);
}

static void a_hash_made_elsewhere_becomes_the_first_password(void **state)
{
	static const char *const bad[] = {
		"", "x", "$y$", "$6$salt$hash", "$y$j75$aaaaaaaaaaaaaaaaaaaaaa$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",	/* cost 1 */
		"$y$j9T$$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "$y$j9T$aaaaaaaaaaaaaaaaaaaaaa$bbbb",
		"$y$j9T$aaaaaaaaaaaaaaaaaaaaaa$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "$y$j9T$aaaa aaaaaaaaaaaaaaaaa$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
	};
	struct fixture *f = *state;
	char hash[PWHASH_MAX];

	if (pwhash_new_yescrypt(OWNER_B, strlen(OWNER_B), 4, hash, NULL) == -EOPNOTSUPP)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(agent_password_adopt(f->pw, 1, bad[i], false, NULL), -EINVAL);
	assert_int_equal(agent_password_adopt(f->pw, 2, hash, false, NULL), -ESTALE);
	assert_int_equal(f->c.value, 1);
	assert_int_equal(agent_password_adopt(f->pw, 1, hash, true, NULL), 0);
	reopen(f);
	assert_int_equal(verify(f, OWNER_B), 0);
	assert_true(account_of(f, "admin").must_change);
	assert_int_equal(verify(f, SECRET), -EACCES);
	assert_int_equal(agent_password_adopt(f->pw, 2, hash, false, NULL), -EEXIST);
	assert_int_equal(agent_password_adopt(f->pw, 1, hash, false, NULL), -EEXIST);
}

static void a_counter_that_refuses_leaves_the_old_password(void **state)
{
	struct fixture *f = *state;
	struct agent_error *err = NULL;

	f->c.fail_before = -EIO;
	assert_int_equal(agent_password_change(f->pw, "admin", 2, OWNER_B, strlen(OWNER_B), &err), -EIO);
	assert_error(&err, -EIO, "tpm.io");
	assert_int_equal(verify(f, OWNER_A), 0);
	assert_int_equal(verify(f, OWNER_B), -EACCES);
	assert_false(has_file(f, "new"));
	f->c.fail_before = 0;
	assert_int_equal(change(f, 2, OWNER_B), 0);
	assert_int_equal(verify(f, OWNER_B), 0);
}

static void an_increment_whose_answer_got_lost_is_found_out(void **state)
{
	struct fixture *f = *state;

	f->c.fail_after = -ETIMEDOUT;
	assert_int_equal(change(f, 2, OWNER_B), 0);
	assert_int_equal(f->c.value, 3);
	assert_int_equal(verify(f, OWNER_B), 0);
	assert_int_equal(verify(f, OWNER_A), -EACCES);
}

static void lose_tpm(void *userdata)
{
	struct fixture *f = userdata;

	f->c.fail_get = -EIO;
}

static void a_tpm_lost_during_the_commit_decides_when_it_is_back(void **state)
{
	struct fixture *f = *state;

	f->c.on_increment = lose_tpm;
	f->c.fail_after = -EIO;
	assert_int_equal(change(f, 2, OWNER_B), -EIO);
	assert_int_equal(verify(f, OWNER_A), -EIO);	/* not "wrong", and above all not right */
	assert_int_equal(verify(f, OWNER_B), -EIO);
	assert_int_equal(change(f, 2, OWNER_A), -EIO);
	f->c.fail_get = 0;
	assert_int_equal(verify(f, OWNER_B), 0);
	assert_int_equal(verify(f, OWNER_A), -EACCES);
	assert_int_equal(agent_password_get_generation(f->pw), 3);
}

static void steal_rename_target(void *userdata)
{
	struct fixture *f = userdata;

	/* A folder in the way makes rename() fail, for root as well. */
	assert_int_equal(unlinkat(f->dir.fd, "current", 0), 0);
	assert_int_equal(mkdirat(f->dir.fd, "current", 0700), 0);
}

static void a_rename_that_fails_is_finished_later(void **state)
{
	struct fixture *f = *state;
	struct agent_error *err = NULL;

	f->c.on_increment = steal_rename_target;
	assert_int_equal(agent_password_change(f->pw, "admin", 2, OWNER_B, strlen(OWNER_B), &err), -EISDIR);
	assert_error(&err, -EISDIR, "file.rename");
	assert_int_equal(verify(f, OWNER_A), -EISDIR);	/* the old password is dead from the increment on */
	assert_int_equal(unlinkat(f->dir.fd, "current", AT_REMOVEDIR), 0);
	assert_int_equal(verify(f, OWNER_B), 0);
	assert_true(has_file(f, "current"));
	assert_false(has_file(f, "new"));
}

static void a_disk_that_cannot_be_written_leaves_the_old_password(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkdirat(f->dir.fd, "new", 0700), 0);
	assert_true(change(f, 2, OWNER_B) < 0);
	assert_int_equal(f->c.value, 2);
	assert_int_equal(unlinkat(f->dir.fd, "new", AT_REMOVEDIR), 0);
	assert_int_equal(verify(f, OWNER_A), 0);
	assert_int_equal(change(f, 2, OWNER_B), 0);
}

static void no_tpm_at_open_is_an_error_and_not_a_state(void **state)
{
	struct fixture *f = *state;
	struct agent_password *p = NULL;
	struct agent_error *err = NULL;

	f->c.fail_get = -EIO;
	assert_int_equal(agent_password_open(NULL, f->dir.fd, f->counter, f->mac, NULL, &p, &err), -EIO);
	assert_error(&err, -EIO, "tpm.io");
	f->c.fail_get = 0;
	f->m.fail = -EIO;
	assert_int_equal(agent_password_open(NULL, f->dir.fd, f->counter, f->mac, NULL, &p, &err), -EIO);
	assert_error(&err, -EIO, "tpm.io");
	assert_null(p);
}

static void a_link_or_special_file_is_no_record(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(unlinkat(f->dir.fd, "current", 0), 0);
	assert_int_equal(mkfifoat(f->dir.fd, "current", 0600), 0);
	reopen(f);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_RECOVERY);
}

static void options_out_of_range_are_refused(void **state)
{
	static const struct agent_password_options bad[] = {
		{ .min_length = 11 },
		{ .min_length = 65 },
		{ .cost = 12 },
	};
	struct fixture *f = *state;
	struct agent_password *p = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(agent_password_open(NULL, f->dir.fd, f->counter, f->mac, &bad[i], &p, NULL), -EINVAL);
	assert_int_equal(agent_password_open(NULL, -1, f->counter, f->mac, NULL, &p, NULL), -EINVAL);
	assert_int_equal(agent_password_open(NULL, f->dir.fd, NULL, f->mac, NULL, &p, NULL), -EINVAL);
	assert_int_equal(agent_password_open(NULL, f->dir.fd, f->counter, NULL, NULL, &p, NULL), -EINVAL);
	assert_null(agent_password_free(NULL));
}

static void states_have_names(void **state)
{
	(void)state;
	assert_string_equal(agent_setup_state_name(AGENT_SETUP_UNPROVISIONED), "unprovisioned");
	assert_string_equal(agent_setup_state_name(AGENT_SETUP_FACTORY), "factory");
	assert_string_equal(agent_setup_state_name(AGENT_SETUP_ACTIVE), "active");
	assert_string_equal(agent_setup_state_name(AGENT_SETUP_RECOVERY), "recovery");
	assert_string_equal(agent_setup_state_name((enum agent_setup_state)99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(from_factory_to_active, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(provisioning_twice_is_refused, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(an_owner_password_is_taken_as_it_was_typed, setup_active, teardown),
		cmocka_unit_test_setup_teardown(text_that_cannot_be_a_password_is_a_wrong_one, setup_active, teardown),
		cmocka_unit_test_setup_teardown(an_unknown_name_costs_a_hash_and_fails, setup_active, teardown),
		cmocka_unit_test_setup_teardown(only_the_first_account_opens_with_the_label, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(a_hash_or_mac_that_fails_is_not_a_wrong_password, setup_active, teardown),
		cmocka_unit_test_setup_teardown(of_two_changes_under_one_generation_the_second_is_stale, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(a_weak_password_changes_nothing, setup_active, teardown),
		cmocka_unit_test_setup_teardown(the_label_secret_cannot_become_the_password, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(the_start_rule_holds_in_every_state, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(an_account_lives_from_add_to_remove, setup_active, teardown),
		cmocka_unit_test_setup_teardown(an_administrator_is_always_left, setup_active, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_account_is_refused, setup_active, teardown),
		cmocka_unit_test_setup_teardown(old_files_bring_no_old_role_back, setup_active, teardown),
		cmocka_unit_test_setup_teardown(a_reset_brings_the_label_back_and_nothing_else, setup_active, teardown),
		cmocka_unit_test_setup_teardown(recovery_is_left_by_a_reset_only, setup_active, teardown),
		cmocka_unit_test_setup_teardown(without_the_label_a_reset_changes_nothing, setup_active, teardown),
		cmocka_unit_test_setup_teardown(a_factory_record_without_its_label_is_no_factory_state, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(a_hash_made_elsewhere_becomes_the_first_password, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(a_counter_that_refuses_leaves_the_old_password, setup_active, teardown),
		cmocka_unit_test_setup_teardown(an_increment_whose_answer_got_lost_is_found_out, setup_active, teardown),
		cmocka_unit_test_setup_teardown(a_tpm_lost_during_the_commit_decides_when_it_is_back, setup_active, teardown),
		cmocka_unit_test_setup_teardown(a_rename_that_fails_is_finished_later, setup_active, teardown),
		cmocka_unit_test_setup_teardown(a_disk_that_cannot_be_written_leaves_the_old_password, setup_active, teardown),
		cmocka_unit_test_setup_teardown(no_tpm_at_open_is_an_error_and_not_a_state, setup_active, teardown),
		cmocka_unit_test_setup_teardown(a_link_or_special_file_is_no_record, setup_active, teardown),
		cmocka_unit_test_setup_teardown(options_out_of_range_are_refused, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(states_have_names, setup_empty, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
