/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "test.h"

#include <errno.h>

#include "agentd/core/update_reboot.h"
#include "base/file.h"

static struct temp_dir dir;

static int setup(void **state)
{
	temp_dir_make(&dir);
	return 0;
}

static int teardown(void **state)
{
	temp_dir_remove(&dir);
	return 0;
}

struct world {
	struct policy policy;
	struct reboot reboot;
	struct policy_now now;
};

/* Monday, 12:00, the clock set; release r-2 was installed without a person. */
static struct world world_new(enum reboot_mode mode)
{
	struct world w = {
		.policy = { .dir_fd = dir.fd, .n_postpone_max = 2, .postpone_total_s = 30 * 3600 },
		.reboot = { .mode = mode, .notice_s = 60, .hold_max_s = 600 },
		.now = { .running_s = 1000, .wall_s = 1800000000, .clock_is_set = true, .local = { .tm_wday = 1, .tm_hour = 12 } },
	};

	reboot_begin(&w.reboot, &w.policy, "r-2", true);
	return w;
}

static void open_window(struct world *w, const char *text)
{
	assert_int_equal(policy_window_parse(text, &w->policy.windows[0], NULL), 0);
	w->policy.n_windows = 1;
}

static enum reboot_wait decide(const struct world *w)
{
	return reboot_decide(&w->reboot, &w->policy, &w->now, "r-2");
}

static void the_policy_says_when(void **state)
{
	struct world w = world_new(REBOOT_NEVER);

	assert_int_equal(decide(&w), REBOOT_PERSON);
	w.reboot.mode = REBOOT_AT_ONCE;
	assert_int_equal(decide(&w), REBOOT_NOTICE);
	assert_int_equal(reboot_decide(&w.reboot, &w.policy, &w.now, NULL), REBOOT_NOT_DUE);
	w.reboot.mode = REBOOT_WINDOW;
	/* Nobody named a time at which this machine may stop. */
	assert_int_equal(decide(&w), REBOOT_PERSON);
	open_window(&w, "mon 12:00-13:00");
	assert_int_equal(decide(&w), REBOOT_NOTICE);
	w.now.local.tm_hour = 13;
	assert_int_equal(decide(&w), REBOOT_OF_WINDOW);
	w.now.local.tm_hour = 12;
	w.now.clock_is_set = false;
	assert_int_equal(decide(&w), REBOOT_OF_CLOCK);
	w.now.clock_is_set = true;
	w.policy.seen_s = w.now.wall_s + 1;
	assert_int_equal(decide(&w), REBOOT_OF_CLOCK);
}

static void what_a_person_installed_waits_for_a_person(void **state)
{
	struct world w = world_new(REBOOT_AT_ONCE);

	assert_int_equal(reboot_decide(&w.reboot, &w.policy, &w.now, "r-3"), REBOOT_PERSON);
	reboot_begin(&w.reboot, &w.policy, "r-2", false);
	assert_int_equal(decide(&w), REBOOT_PERSON);
	assert_string_equal(w.policy.reboot_release, "");
}

static void it_is_announced_first_and_asked_for_once(void **state)
{
	struct world w = world_new(REBOOT_AT_ONCE);

	w.reboot.notice_until_s = 1060;
	w.now.running_s = 1059;
	assert_int_equal(decide(&w), REBOOT_NOTICE);
	w.now.running_s = 1060;
	assert_int_equal(decide(&w), REBOOT_NOW);
	w.reboot.retry_at_s = 1700;
	assert_int_equal(decide(&w), REBOOT_RETRY);
	w.reboot.retry_at_s = 0;
	w.policy.reboot_asked = 1;
	assert_int_equal(decide(&w), REBOOT_ASKED);
	/* A person may ask again. */
	w.reboot.person_at_s = 1062;
	assert_int_equal(decide(&w), REBOOT_NOTICE);
	w.now.running_s = 1062;
	assert_int_equal(decide(&w), REBOOT_NOW);
	/* The next release begins anew. */
	reboot_begin(&w.reboot, &w.policy, "r-2", true);
	assert_int_equal(decide(&w), REBOOT_NOTICE);
}

static void applications_hold_it_back_for_a_bounded_time(void **state)
{
	struct world w = world_new(REBOOT_AT_ONCE);
	struct agent_error *err = NULL;

	assert_int_equal(reboot_hold(&w.reboot, &w.policy, "uid:1", 100, 1000, NULL), 0);
	assert_int_equal(reboot_hold(&w.reboot, &w.policy, "unit:a.service", 50, 1000, NULL), 0);
	assert_int_equal(decide(&w), REBOOT_HELD);
	assert_string_equal(reboot_holder(&w.reboot, 1000), "uid:1");
	assert_int_equal(reboot_hold(&w.reboot, &w.policy, "uid:1", 0, 1000, NULL), 0);
	assert_string_equal(reboot_holder(&w.reboot, 1049), "unit:a.service");
	assert_null(reboot_holder(&w.reboot, 1050));
	/* Only the time by which the restart is later counts: not that before it is due. */
	reboot_count(&w.policy, REBOOT_OF_WINDOW, 5000);
	assert_int_equal(reboot_hold_left(&w.reboot, &w.policy), 600);
	assert_int_equal(reboot_hold(&w.reboot, &w.policy, "uid:1", UINT64_MAX, 1000, NULL), 0);
	assert_null(reboot_holder(&w.reboot, 1600));
	reboot_count(&w.policy, REBOOT_HELD, 599);
	assert_int_equal(decide(&w), REBOOT_HELD);
	reboot_count(&w.policy, REBOOT_HELD, 5);
	assert_int_equal(reboot_hold_left(&w.reboot, &w.policy), 0);
	assert_int_equal(decide(&w), REBOOT_NOTICE);
	assert_int_equal(reboot_hold(&w.reboot, &w.policy, "uid:1", 10, 1000, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "update.hold");
	/* A person is not held back. */
	w = world_new(REBOOT_AT_ONCE);
	assert_int_equal(reboot_hold(&w.reboot, &w.policy, "uid:1", 100, 1000, NULL), 0);
	w.reboot.person_at_s = 1000;
	assert_int_equal(decide(&w), REBOOT_NOW);
}

static void there_is_room_for_so_many_that_hold_it_back(void **state)
{
	struct world w = world_new(REBOOT_AT_ONCE);
	struct agent_error *err = NULL;
	char who[16];

	for (int i = 0; i < REBOOT_HOLDS_MAX; i++) {
		snprintf(who, sizeof(who), "uid:%d", i);
		assert_int_equal(reboot_hold(&w.reboot, &w.policy, who, 10, 1000, NULL), 0);
	}
	assert_int_equal(reboot_hold(&w.reboot, &w.policy, "uid:99", 10, 1000, &err), -EBUSY);
	assert_error(&err, -EBUSY, "update.hold");
	assert_int_equal(reboot_hold(&w.reboot, &w.policy, "uid:3", 20, 1000, NULL), 0);
	assert_int_equal(reboot_hold(&w.reboot, &w.policy, "uid:99", 10, 1010, NULL), 0);
}

static void a_person_puts_it_off_within_the_bounds_of_the_release(void **state)
{
	struct world w = world_new(REBOOT_AT_ONCE);
	struct agent_error *err = NULL;

	assert_int_equal(reboot_postpone(&w.policy, 10, NULL), 0);
	assert_int_equal(decide(&w), REBOOT_POSTPONED);
	reboot_count(&w.policy, REBOOT_POSTPONED, 10 * 3600 - 1);
	assert_int_equal(decide(&w), REBOOT_POSTPONED);
	reboot_count(&w.policy, REBOOT_POSTPONED, 2);
	assert_int_equal(decide(&w), REBOOT_NOTICE);
	assert_int_equal(reboot_postpone(&w.policy, 21, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "update.postpone");
	assert_int_equal(reboot_postpone(&w.policy, 20, NULL), 0);
	assert_int_equal(reboot_postpone(&w.policy, 1, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "update.postpone");
	/* What the offer was put off before it was installed counts as well. */
	w = world_new(REBOOT_AT_ONCE);
	strcpy(w.policy.release_id, "r-2");
	w.policy.n_postponed = 2;
	reboot_begin(&w.reboot, &w.policy, "r-2", true);
	assert_int_equal(reboot_postpone(&w.policy, 1, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "update.postpone");
}

static void what_was_asked_and_held_outlives_core(void **state)
{
	struct world w = world_new(REBOOT_AT_ONCE);
	struct policy read = { .dir_fd = dir.fd };

	w.policy.reboot_asked = 1;
	w.policy.reboot_held_s = 77;
	w.policy.n_reboot_postponed = 2;
	w.policy.reboot_postponed_total_s = 3600;
	w.policy.reboot_postponed_s = 5;
	assert_int_equal(policy_save(&w.policy, NULL), 0);
	assert_int_equal(policy_load(&read, NULL), 0);
	assert_string_equal(read.reboot_release, "r-2");
	assert_int_equal(read.reboot_asked, 1);
	assert_int_equal(read.reboot_held_s, 77);
	assert_int_equal(read.n_reboot_postponed, 2);
	assert_int_equal(read.reboot_postponed_total_s, 3600);
	assert_int_equal(read.reboot_postponed_s, 5);
	w.policy = read;
	w.policy.reboot_postponed_s = 0;
	assert_int_equal(decide(&w), REBOOT_ASKED);
}

static void names_are_those_of_the_configuration(void **state)
{
	enum reboot_mode mode = REBOOT_NEVER;

	assert_true(reboot_mode_find("at-once", &mode));
	assert_int_equal(mode, REBOOT_AT_ONCE);
	assert_string_equal(reboot_mode_name(mode), "at-once");
	assert_false(reboot_mode_find("always", &mode));
	assert_false(reboot_mode_find("", &mode));
	assert_string_equal(reboot_wait_name(REBOOT_NOT_DUE), "");
	assert_string_equal(reboot_wait_name(REBOOT_ASKED), "asked");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_policy_says_when),
		cmocka_unit_test(what_a_person_installed_waits_for_a_person),
		cmocka_unit_test(it_is_announced_first_and_asked_for_once),
		cmocka_unit_test(applications_hold_it_back_for_a_bounded_time),
		cmocka_unit_test(there_is_room_for_so_many_that_hold_it_back),
		cmocka_unit_test(a_person_puts_it_off_within_the_bounds_of_the_release),
		cmocka_unit_test_setup_teardown(what_was_asked_and_held_outlives_core, setup, teardown),
		cmocka_unit_test(names_are_those_of_the_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
