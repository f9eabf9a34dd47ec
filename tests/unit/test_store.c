/* SPDX-License-Identifier: Apache-2.0 */
/* The commit order and the start rule: every state that a crash or a meddler can leave on disk, and what counts then. */
#include "tests/unit/password_world.h"

#include "crypto/pwhash.h"
#include "password/record.h"

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

/* The file "new" at the moment of the increment. */
static char *seen_new;
static size_t seen_size;

static void look_at_new(void *userdata)
{
	struct password_world *w = userdata;

	free(seen_new);
	seen_new = NULL;
	assert_int_equal(file_read_at(w->dir.fd, "new", RECORD_MAX_BYTES, &seen_new, &seen_size, NULL), 0);
}

static bool has_file(struct password_world *w, const char *name)
{
	return faccessat(w->dir.fd, name, F_OK, 0) == 0;
}

static void from_factory_to_active(void **state)
{
	struct password_world *w = *state;

	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_UNPROVISIONED);
	assert_int_equal(verify(w, SECRET), -ENOKEY);
	assert_int_equal(change(w, 0, OWNER_A), -ENOKEY);
	assert_int_equal(agent_password_provision(w->pw, "no secret", 9, NULL), -EINVAL);
	assert_int_equal(agent_password_provision(w->pw, SECRET, strlen(SECRET), NULL), 0);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(agent_password_get_generation(w->pw), 1);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(verify(w, SECRET), 0);
	assert_int_equal(verify(w, "7k2m9qxto4ab"), 0);
	assert_int_equal(verify(w, "7K2M-9QXT-04AC"), -EACCES);
	assert_int_equal(verify(w, ""), -EACCES);
	assert_int_equal(change(w, 1, OWNER_A), 0);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(agent_password_get_generation(w->pw), 2);
	assert_int_equal(w->c.value, 2);
	assert_int_equal(verify(w, SECRET), -EACCES);
	assert_int_equal(verify(w, OWNER_A), 0);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(verify(w, OWNER_A), 0);
	assert_int_equal(verify(w, "Correct purple kettle drum"), -EACCES);
	assert_int_equal(verify(w, SECRET), -EACCES);
	assert_false(has_file(w, "new"));
}

static void provisioning_twice_is_refused(void **state)
{
	struct password_world *w = *state;
	struct agent_error *err = NULL;

	assert_int_equal(agent_password_provision(w->pw, "AAAA-BBBB-CCCC", 14, &err), -EEXIST);
	assert_error(&err, -EEXIST, "setup.provisioned");
	assert_int_equal(verify(w, SECRET), 0);
	assert_int_equal(change(w, 1, OWNER_A), 0);
	assert_int_equal(agent_password_provision(w->pw, "AAAA-BBBB-CCCC", 14, NULL), -EEXIST);
	assert_int_equal(w->c.value, 2);
}

static void an_owner_password_is_taken_as_it_was_typed(void **state)
{
	struct password_world *w = *state;

	assert_int_equal(change(w, 2, "cafe\xcc\x81 olive rhino seven"), 0);
	assert_int_equal(verify(w, "caf\xc3\xa9 olive rhino seven"), 0);
	assert_int_equal(verify(w, "cafe\xcc\x81 olive rhino seven"), 0);
	assert_int_equal(verify(w, "cafe olive rhino seven"), -EACCES);
	assert_int_equal(verify(w, "caf\xc3\xa9-olive-rhino-seven"), -EACCES);
	assert_int_equal(verify(w, "CAF\xc3\x89 olive rhino seven"), -EACCES);
}

static void text_that_cannot_be_a_password_is_a_wrong_one(void **state)
{
	struct password_world *w = *state;
	char text[AGENT_PASSWORD_MAX + 1];

	memset(text, 'x', sizeof(text));
	assert_int_equal(agent_password_verify(w->pw, "admin", text, sizeof(text), NULL), -EACCES);
	assert_int_equal(agent_password_verify(w->pw, "admin", OWNER_A "\0tail", strlen(OWNER_A) + 5, NULL), -EACCES);
	assert_int_equal(agent_password_verify(w->pw, "admin", OWNER_A "\0", strlen(OWNER_A) + 1, NULL), -EACCES);
	assert_int_equal(verify(w, OWNER_A "\xff"), -EACCES);
	assert_int_equal(agent_password_verify(w->pw, "admin", NULL, 0, NULL), -EACCES);
	assert_int_equal(agent_password_verify(w->pw, "admin", NULL, 1, NULL), -EINVAL);
	assert_int_equal(agent_password_verify(NULL, "admin", text, 1, NULL), -EINVAL);
}

static void an_unknown_name_costs_a_hash_and_fails(void **state)
{
	struct password_world *w = *state;
	const char *const names[] = { NULL, "", "Admin", "karin", "=label" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		fail_hash = 0;
		assert_int_equal(agent_password_verify(w->pw, names[i], OWNER_A, strlen(OWNER_A), NULL), -EACCES);
		assert_int_equal(agent_password_verify(w->pw, names[i], SECRET, strlen(SECRET), NULL), -EACCES);
		fail_hash = -ENOMEM;
		assert_int_equal(agent_password_verify(w->pw, names[i], OWNER_A, strlen(OWNER_A), NULL), -ENOMEM);
	}
	fail_hash = 0;
}

static void only_the_first_account_opens_with_the_label(void **state)
{
	struct password_world *w = *state;

	assert_int_equal(agent_password_verify(w->pw, "karin", SECRET, strlen(SECRET), NULL), -EACCES);
	assert_int_equal(agent_password_verify(w->pw, NULL, SECRET, strlen(SECRET), NULL), -EACCES);
	assert_int_equal(agent_password_change(w->pw, "karin", 1, OWNER_A, strlen(OWNER_A), NULL), -ENOENT);
	assert_int_equal(agent_password_add(w->pw, "karin", AGENT_ROLE_ADMIN, OWNER_A, strlen(OWNER_A), NULL), -EKEYEXPIRED);
	assert_int_equal(w->c.value, 1);
}

static void a_hash_or_mac_that_fails_is_not_a_wrong_password(void **state)
{
	struct password_world *w = *state;

	fail_hash = -ENOMEM;
	assert_int_equal(verify(w, OWNER_A), -ENOMEM);
	assert_int_equal(verify(w, "something else, wrong"), -ENOMEM);
	assert_int_equal(change(w, 2, OWNER_B), -ENOMEM);
	fail_hash = 0;
	w->m.fail = -EIO;
	assert_int_equal(verify(w, OWNER_A), -EIO);
	assert_int_equal(change(w, 2, OWNER_B), -EIO);
	w->m.fail = 0;
	assert_int_equal(w->c.value, 2);
	assert_int_equal(verify(w, OWNER_A), 0);
}

static void of_two_changes_under_one_generation_the_second_is_stale(void **state)
{
	struct password_world *w = *state;
	struct agent_error *err = NULL;

	assert_int_equal(change(w, 1, OWNER_A), 0);
	assert_int_equal(agent_password_change(w->pw, "admin", 1, OWNER_B, strlen(OWNER_B), &err), -ESTALE);
	assert_error(&err, -ESTALE, "password.stale");
	assert_int_equal(verify(w, OWNER_A), 0);
	assert_int_equal(verify(w, OWNER_B), -EACCES);
	assert_int_equal(w->c.value, 2);
}

static void a_weak_password_changes_nothing(void **state)
{
	struct password_world *w = *state;
	struct agent_error *err = NULL;

	assert_int_equal(agent_password_change(w->pw, "admin", 2, "short", 5, &err), -EINVAL);
	assert_error(&err, -EINVAL, "password.weak");
	assert_int_equal(agent_password_change(w->pw, "admin", 2, OWNER_A, strlen(OWNER_A), &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "in use now"));
	assert_error(&err, -EINVAL, "password.weak");
	assert_int_equal(agent_password_check(w->pw, "admin", "ends with gw004711", 18, &err), -EINVAL);
	assert_error(&err, -EINVAL, "password.weak");
	assert_int_equal(agent_password_check(w->pw, "admin", OWNER_B, strlen(OWNER_B), NULL), 0);
	assert_int_equal(w->c.value, 2);
	assert_false(has_file(w, "new"));
}

static void the_label_secret_cannot_become_the_password(void **state)
{
	struct password_world *w = *state;
	struct agent_error *err = NULL;

	/* Not known in plain: found by hashing. */
	assert_int_equal(agent_password_change(w->pw, "admin", 1, "7-K2M-9QXT-04AB", 15, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "label"));
	assert_error(&err, -EINVAL, "password.weak");
	/* Known after a login with it: found inside a longer text. */
	assert_int_equal(verify(w, SECRET), 0);
	assert_int_equal(agent_password_change(w->pw, "admin", 1, "otter 7k2m9qxt04ab kiosk", 24, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "label"));
	assert_error(&err, -EINVAL, "password.weak");
	assert_int_equal(w->c.value, 1);
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
	struct password_world *w = *state;
	struct { char *data; size_t size; } text[128] = { 0 };

	/* Make the records as the commit itself writes them. */
	w->c.on_increment = look_at_new;
	assert_int_equal(agent_password_provision(w->pw, SECRET, strlen(SECRET), NULL), 0);
	text['F'].data = seen_new, text['F'].size = seen_size, seen_new = NULL;
	assert_int_equal(change(w, 1, OWNER_A), 0);
	text['A'].data = seen_new, text['A'].size = seen_size, seen_new = NULL;
	assert_int_equal(change(w, 2, OWNER_B), 0);
	text['B'].data = seen_new, text['B'].size = seen_size, seen_new = NULL;
	text['t'].data = text['B'].data, text['t'].size = text['B'].size / 2;
	text['x'].data = strndup(text['A'].data, text['A'].size), text['x'].size = text['A'].size;
	text['x'].data[text['x'].size / 2] ^= 1;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_file(w, "new", text[(int)cases[i].new_file].data, text[(int)cases[i].new_file].size);
		put_file(w, "current", text[(int)cases[i].current].data, text[(int)cases[i].current].size);
		w->c.value = cases[i].counter;
		for (int round = 0; round < 2; round++) {	/* the second start finds what the first one left */
			reopen(w);
			if (agent_password_get_state(w->pw) != cases[i].state)
				fail_msg("%s: state is %s", cases[i].claim, agent_setup_state_name(agent_password_get_state(w->pw)));
			if (has_file(w, "new") != cases[i].keeps_new)
				fail_msg("%s: file new is %s", cases[i].claim, cases[i].keeps_new ? "gone" : "left");
		}
		assert_int_equal(w->c.value, cases[i].counter);
		if (cases[i].password != NULL) {
			assert_int_equal(verify(w, cases[i].password), 0);
			assert_int_equal(agent_password_get_generation(w->pw), cases[i].counter);
		} else {
			assert_int_equal(agent_password_get_generation(w->pw), 0);
			assert_int_equal(verify(w, SECRET), -ENOKEY);
			assert_int_equal(verify(w, OWNER_A), -ENOKEY);
			assert_int_equal(verify(w, OWNER_B), -ENOKEY);
			assert_int_equal(change(w, cases[i].counter, "another fine password"), -ENOKEY);
		}
		if (cases[i].state == AGENT_SETUP_RECOVERY)
			assert_int_equal(agent_password_provision(w->pw, SECRET, strlen(SECRET), NULL), -EEXIST);
	}
	free(text['F'].data);
	free(text['A'].data);
	free(text['B'].data);
	free(text['x'].data);
}

static void a_factory_record_without_its_label_is_no_factory_state(void **state)
{
	struct password_world *w = *state;

	put_file(w, "label", NULL, 0);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_RECOVERY);
	assert_int_equal(verify(w, SECRET), -ENOKEY);
}

static void a_counter_that_refuses_leaves_the_old_password(void **state)
{
	struct password_world *w = *state;
	struct agent_error *err = NULL;

	w->c.fail_before = -EIO;
	assert_int_equal(agent_password_change(w->pw, "admin", 2, OWNER_B, strlen(OWNER_B), &err), -EIO);
	assert_error(&err, -EIO, "tpm.io");
	assert_int_equal(verify(w, OWNER_A), 0);
	assert_int_equal(verify(w, OWNER_B), -EACCES);
	assert_false(has_file(w, "new"));
	w->c.fail_before = 0;
	assert_int_equal(change(w, 2, OWNER_B), 0);
	assert_int_equal(verify(w, OWNER_B), 0);
}

static void an_increment_whose_answer_got_lost_is_found_out(void **state)
{
	struct password_world *w = *state;

	w->c.fail_after = -ETIMEDOUT;
	assert_int_equal(change(w, 2, OWNER_B), 0);
	assert_int_equal(w->c.value, 3);
	assert_int_equal(verify(w, OWNER_B), 0);
	assert_int_equal(verify(w, OWNER_A), -EACCES);
}

static void lose_tpm(void *userdata)
{
	struct password_world *w = userdata;

	w->c.fail_get = -EIO;
}

static void a_tpm_lost_during_the_commit_decides_when_it_is_back(void **state)
{
	struct password_world *w = *state;

	w->c.on_increment = lose_tpm;
	w->c.fail_after = -EIO;
	assert_int_equal(change(w, 2, OWNER_B), -EIO);
	assert_int_equal(verify(w, OWNER_A), -EIO);	/* not "wrong", and above all not right */
	assert_int_equal(verify(w, OWNER_B), -EIO);
	assert_int_equal(change(w, 2, OWNER_A), -EIO);
	w->c.fail_get = 0;
	assert_int_equal(verify(w, OWNER_B), 0);
	assert_int_equal(verify(w, OWNER_A), -EACCES);
	assert_int_equal(agent_password_get_generation(w->pw), 3);
}

static void steal_rename_target(void *userdata)
{
	struct password_world *w = userdata;

	/* A folder in the way makes rename() fail, for root as well. */
	assert_int_equal(unlinkat(w->dir.fd, "current", 0), 0);
	assert_int_equal(mkdirat(w->dir.fd, "current", 0700), 0);
}

static void a_rename_that_fails_is_finished_later(void **state)
{
	struct password_world *w = *state;
	struct agent_error *err = NULL;

	w->c.on_increment = steal_rename_target;
	assert_int_equal(agent_password_change(w->pw, "admin", 2, OWNER_B, strlen(OWNER_B), &err), -EISDIR);
	assert_error(&err, -EISDIR, "file.rename");
	assert_int_equal(verify(w, OWNER_A), -EISDIR);	/* the old password is dead from the increment on */
	assert_int_equal(unlinkat(w->dir.fd, "current", AT_REMOVEDIR), 0);
	assert_int_equal(verify(w, OWNER_B), 0);
	assert_true(has_file(w, "current"));
	assert_false(has_file(w, "new"));
}

static void a_disk_that_cannot_be_written_leaves_the_old_password(void **state)
{
	struct password_world *w = *state;

	assert_int_equal(mkdirat(w->dir.fd, "new", 0700), 0);
	assert_true(change(w, 2, OWNER_B) < 0);
	assert_int_equal(w->c.value, 2);
	assert_int_equal(unlinkat(w->dir.fd, "new", AT_REMOVEDIR), 0);
	assert_int_equal(verify(w, OWNER_A), 0);
	assert_int_equal(change(w, 2, OWNER_B), 0);
}

static void no_tpm_at_open_is_an_error_and_not_a_state(void **state)
{
	struct password_world *w = *state;
	struct agent_password *p = NULL;
	struct agent_error *err = NULL;

	w->c.fail_get = -EIO;
	assert_int_equal(agent_password_open(NULL, w->dir.fd, w->counter, w->mac, NULL, &p, &err), -EIO);
	assert_error(&err, -EIO, "tpm.io");
	w->c.fail_get = 0;
	w->m.fail = -EIO;
	assert_int_equal(agent_password_open(NULL, w->dir.fd, w->counter, w->mac, NULL, &p, &err), -EIO);
	assert_error(&err, -EIO, "tpm.io");
	assert_null(p);
}

static void a_link_or_special_file_is_no_record(void **state)
{
	struct password_world *w = *state;

	assert_int_equal(unlinkat(w->dir.fd, "current", 0), 0);
	assert_int_equal(mkfifoat(w->dir.fd, "current", 0600), 0);
	reopen(w);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_RECOVERY);
}

static void options_out_of_range_are_refused(void **state)
{
	static const struct agent_password_options bad[] = {
		{ .min_length = 11 },
		{ .min_length = 65 },
		{ .cost = 12 },
	};
	struct password_world *w = *state;
	struct agent_password *p = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(agent_password_open(NULL, w->dir.fd, w->counter, w->mac, &bad[i], &p, NULL), -EINVAL);
	assert_int_equal(agent_password_open(NULL, -1, w->counter, w->mac, NULL, &p, NULL), -EINVAL);
	assert_int_equal(agent_password_open(NULL, w->dir.fd, NULL, w->mac, NULL, &p, NULL), -EINVAL);
	assert_int_equal(agent_password_open(NULL, w->dir.fd, w->counter, NULL, NULL, &p, NULL), -EINVAL);
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
		cmocka_unit_test_setup_teardown(a_factory_record_without_its_label_is_no_factory_state, setup_factory, teardown),
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
