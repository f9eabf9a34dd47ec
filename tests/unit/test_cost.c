/* SPDX-License-Identifier: Apache-2.0 */
/* The cost of a hash: chosen at provisioning, kept by the label, taken over at a login when it grew. */
#include "tests/unit/test.h"
#include "tests/unit/fake_tpm.h"

#include <agent/password.h>

#include "base/file.h"
#include "crypto/pwhash.h"
#include "password/record.h"

#define SECRET "7K2M-9QXT-04AB"
#define OWNER_A "correct purple kettle drum"
#define OWNER_B "seven llamas juggle teapots"

/* Tests make a hash fail, as a device short of memory does. */
static int fail_hash;
int __real_pwhash_new(const char *password, size_t size, unsigned cost, char ret_string[PWHASH_MAX], struct agent_error **err);
int __wrap_pwhash_new(const char *password, size_t size, unsigned cost, char ret_string[PWHASH_MAX], struct agent_error **err);

int __wrap_pwhash_new(const char *password, size_t size, unsigned cost, char ret_string[PWHASH_MAX], struct agent_error **err)
{
	return fail_hash < 0 ? agent_error_set(err, fail_hash, "memory", "no memory") : __real_pwhash_new(password, size, cost, ret_string, err);
}

struct fixture {
	struct temp_dir dir;
	struct fake_counter c;
	struct fake_mac m;
	struct agent_counter *counter;
	struct agent_mac *mac;
	struct agent_password *pw;
};

static void reopen(struct fixture *f, unsigned cost)
{
	const struct agent_password_options options = { .cost = cost };

	f->pw = agent_password_free(f->pw);
	assert_int_equal(agent_password_open(NULL, f->dir.fd, f->counter, f->mac, &options, &f->pw, NULL), 0);
}

static int verify(struct fixture *f, const char *text)
{
	return agent_password_verify(f->pw, "admin", text, strlen(text), NULL);
}

static struct agent_account account_of(struct fixture *f)
{
	struct agent_account account;

	assert_int_equal(agent_password_find(f->pw, "admin", &account, NULL), 0);
	return account;
}

static int setup_empty(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	fail_hash = 0;
	temp_dir_make(&f->dir);
	memset(f->m.key, 9, sizeof(f->m.key));
	assert_int_equal(agent_counter_new(&fake_counter_ops, &f->c, &f->counter, NULL), 0);
	assert_int_equal(agent_mac_new(&fake_mac_ops, &f->m, &f->mac, NULL), 0);
	*state = f;
	reopen(f, 1);
	return 0;
}

static int setup_active(void **state)
{
	struct fixture *f;

	setup_empty(state);
	f = *state;
	assert_int_equal(agent_password_provision(f->pw, SECRET, strlen(SECRET), NULL), 0);
	return agent_password_change(f->pw, "admin", 1, OWNER_A, strlen(OWNER_A), NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	agent_password_free(f->pw);
	agent_counter_unref(f->counter);
	agent_mac_unref(f->mac);
	temp_dir_remove(&f->dir);
	test_free(f);
	return 0;
}

static void a_cost_that_grew_is_taken_at_the_next_login(void **state)
{
	struct fixture *f = *state;
	struct agent_account before, after;

	assert_int_equal(agent_password_refresh(f->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(f->c.value, 2); /* of the cost in force: nothing is written */
	before = account_of(f);
	reopen(f, 2);

	assert_int_equal(agent_password_refresh(f->pw, "admin", OWNER_B, strlen(OWNER_B), NULL), -EACCES);
	assert_int_equal(agent_password_refresh(f->pw, "nobody", OWNER_A, strlen(OWNER_A), NULL), -ENOENT);
	fail_hash = -ENOMEM;
	assert_int_equal(agent_password_refresh(f->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), -ENOMEM);
	fail_hash = 0;
	assert_int_equal(f->c.value, 2);
	assert_int_equal(verify(f, OWNER_A), 0);

	assert_int_equal(agent_password_refresh(f->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(f->c.value, 3);
	assert_int_equal(agent_password_refresh(f->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(f->c.value, 3);
	after = account_of(f);
	assert_int_equal(after.since, before.since); /* nobody is logged out */
	assert_false(after.must_change);
	reopen(f, 1); /* at cost 1: what is dearer stays */
	assert_int_equal(verify(f, OWNER_A), 0);
	assert_int_equal(agent_password_refresh(f->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(f->c.value, 3);
}

static void provisioning_chooses_a_cost_and_the_label_keeps_it(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *label = NULL, *current = NULL;
	const char *setting, *account;
	size_t size;

	reopen(f, 0);
	assert_int_equal(agent_password_provision(f->pw, SECRET, strlen(SECRET), NULL), 0);
	reopen(f, 0);
	assert_int_equal(agent_password_change(f->pw, "admin", 1, OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(file_read_at(f->dir.fd, "label", RECORD_MAX_BYTES, &label, &size, NULL), 0);
	assert_int_equal(file_read_at(f->dir.fd, "current", RECORD_MAX_BYTES, &current, &size, NULL), 0);
	setting = strchr(label, '$');
	account = strchr(current, '$');
	assert_non_null(setting);
	assert_non_null(account);
	assert_in_range(pwhash_cost_of(setting), PWHASH_CHOSEN_MIN, PWHASH_CHOSEN_MAX);
	assert_int_equal(pwhash_cost_of(account), pwhash_cost_of(setting));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_cost_that_grew_is_taken_at_the_next_login, setup_active, teardown),
		cmocka_unit_test_setup_teardown(provisioning_chooses_a_cost_and_the_label_keeps_it, setup_empty, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
