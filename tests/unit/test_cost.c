/* SPDX-License-Identifier: Apache-2.0 */
/* The cost of a hash: chosen at provisioning, kept by the label, taken over at a login when it grew. */
#include "tests/unit/password_world.h"

#include "crypto/pwhash.h"
#include "password/record.h"

/* Tests make a hash fail, as a device short of memory does. */
static int fail_hash;
int __real_pwhash_new(const char *password, size_t size, unsigned cost, char ret_string[PWHASH_MAX], struct agent_error **err);
int __wrap_pwhash_new(const char *password, size_t size, unsigned cost, char ret_string[PWHASH_MAX], struct agent_error **err);

int __wrap_pwhash_new(const char *password, size_t size, unsigned cost, char ret_string[PWHASH_MAX], struct agent_error **err)
{
	return fail_hash < 0 ? agent_error_set(err, fail_hash, "memory", "no memory") : __real_pwhash_new(password, size, cost, ret_string, err);
}

static void reopen_at(struct password_world *w, unsigned cost)
{
	password_world_open(w, &(struct agent_password_options){ .cost = cost });
}

static struct agent_account account_of(struct password_world *w)
{
	struct agent_account account;

	assert_int_equal(agent_password_find(w->pw, "admin", &account, NULL), 0);
	return account;
}

static void a_cost_that_grew_is_taken_at_the_next_login(void **state)
{
	struct password_world *w = *state;
	struct agent_account before, after;

	assert_int_equal(agent_password_refresh(w->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(w->c.value, 2); /* of the cost in force: nothing is written */
	before = account_of(w);
	reopen_at(w, 2);

	assert_int_equal(agent_password_refresh(w->pw, "admin", OWNER_B, strlen(OWNER_B), NULL), -EACCES);
	assert_int_equal(agent_password_refresh(w->pw, "nobody", OWNER_A, strlen(OWNER_A), NULL), -ENOENT);
	fail_hash = -ENOMEM;
	assert_int_equal(agent_password_refresh(w->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), -ENOMEM);
	fail_hash = 0;
	assert_int_equal(w->c.value, 2);
	assert_int_equal(verify(w, OWNER_A), 0);

	assert_int_equal(agent_password_refresh(w->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(w->c.value, 3);
	assert_int_equal(agent_password_refresh(w->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(w->c.value, 3);
	after = account_of(w);
	assert_int_equal(after.since, before.since); /* nobody is logged out */
	assert_false(after.must_change);
	reopen_at(w, 1); /* at cost 1: what is dearer stays */
	assert_int_equal(verify(w, OWNER_A), 0);
	assert_int_equal(agent_password_refresh(w->pw, "admin", OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(w->c.value, 3);
}

static void provisioning_chooses_a_cost_and_the_label_keeps_it(void **state)
{
	struct password_world *w = *state;
	_cleanup_free_ char *label = NULL, *current = NULL;
	const char *setting, *account;
	size_t size;

	reopen_at(w, 0);
	assert_int_equal(agent_password_provision(w->pw, SECRET, strlen(SECRET), NULL), 0);
	reopen_at(w, 0);
	assert_int_equal(agent_password_change(w->pw, "admin", 1, OWNER_A, strlen(OWNER_A), NULL), 0);
	assert_int_equal(file_read_at(w->dir.fd, "label", RECORD_MAX_BYTES, &label, &size, NULL), 0);
	assert_int_equal(file_read_at(w->dir.fd, "current", RECORD_MAX_BYTES, &current, &size, NULL), 0);
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
