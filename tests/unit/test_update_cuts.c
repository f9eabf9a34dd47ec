/* SPDX-License-Identifier: Apache-2.0 */
/* Installation, confirmation and rollback in a process that is killed, and a journal that is lost. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

/* Every durable step of the journal and the boot environment is a rename: power fails before or after the n-th of them. */
static int n_renames_until_death = -1;
static bool dies_after_rename;

int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int r;

	if (n_renames_until_death == 0 && !dies_after_rename)
		kill(getpid(), SIGKILL);
	r = __real_renameat(from_fd, from, to_fd, to);
	if (n_renames_until_death == 0)
		kill(getpid(), SIGKILL);
	if (n_renames_until_death > 0)
		n_renames_until_death--;
	return r;
}

/* Run @step in a child that dies around its n-th rename. False when the step came to its end. */
static bool killed_at(int n, bool after, int (*step)(struct device *d), struct device *d)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		n_renames_until_death = n;
		dies_after_rename = after;
		_exit(step(d) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		assert_int_equal(WEXITSTATUS(status), 0);
	return WIFSIGNALED(status);
}

static int step_install(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	return install(d, u, &(struct bundle){ 0 }, 0, NULL);
}

static int step_confirm(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	uint64_t floor = 0;
	int r = agent_update_confirm(u, &floor, NULL);

	return r < 0 ? r : floor != 5 ? -EINVAL : agent_update_confirm_done(u, NULL);
}

static int step_rollback(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	return agent_update_rollback(u, 0, NULL);
}

static void power_may_fail_at_any_step_of_an_installation(void **state)
{
	bool goes_on = true;

	for (int n = 0; goes_on; n++) {
		for (int after = 0; after < 2; after++) {
			struct agent_update *u;
			void *fresh = NULL;
			struct device *d;

			device_setup(&fresh);
			d = fresh;
			goes_on = killed_at(n, after == 1, step_install, d);
			/* Whatever boots now is whole: the old system, or the new one if it was read back before. */
			if (strcmp(reboot(d), "b") == 0)
				assert_true(slot_holds_image(d, 1));
			u = engine(d);
			assert_int_equal(agent_update_settle(u, NULL), 0);
			if (stage_of(u) == AGENT_UPDATE_TRYING) {
				assert_true(slot_holds_image(d, 1));
			} else {
				assert_true(stage_of(u) == AGENT_UPDATE_IDLE || stage_of(u) == AGENT_UPDATE_FAILED);
				assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
			}
			assert_string_equal(reboot(d), "b");
			agent_update_free(u);
			assert_int_equal(step_confirm(d), 0);
			device_teardown(&fresh);
		}
	}
}

static void power_may_fail_at_any_step_of_a_confirmation(void **state)
{
	bool goes_on = true;

	for (int n = 0; goes_on; n++) {
		for (int after = 0; after < 2; after++) {
			struct boot_state env;
			void *fresh = NULL;
			struct device *d;

			device_setup(&fresh);
			d = fresh;
			assert_int_equal(step_install(d), 0);
			assert_string_equal(reboot(d), "b");
			goes_on = killed_at(n, after == 1, step_confirm, d);
			assert_string_equal(reboot(d), "b");
			/* A finished one has nothing left to confirm. */
			if (goes_on)
				assert_true(step_confirm(d) == 0 || step_confirm(d) == -ENOENT);
			env = env_read(d);
			assert_true(boot_state_slot(&env, "b")->is_good);
			assert_false(boot_slot_is_bootable(boot_state_slot(&env, "a")));
			device_teardown(&fresh);
		}
	}
}

static void power_may_fail_at_any_step_of_a_rollback(void **state)
{
	bool goes_on = true;

	for (int n = 0; goes_on; n++) {
		for (int after = 0; after < 2; after++) {
			struct agent_update_status s;
			struct agent_update *u;
			void *fresh = NULL;
			struct device *d;

			device_setup(&fresh);
			d = fresh;
			assert_int_equal(step_install(d), 0);
			assert_string_equal(reboot(d), "b");
			goes_on = killed_at(n, after == 1, step_rollback, d);
			/* Before the write nothing happened, and it can be asked for again; after it the old slot runs. */
			if (strcmp(reboot(d), "b") == 0) {
				assert_int_equal(step_rollback(d), 0);
				assert_string_equal(reboot(d), "a");
			}
			u = engine(d);
			assert_int_equal(agent_update_settle(u, NULL), 0);
			assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
			assert_int_equal(s.stage, AGENT_UPDATE_FAILED);
			assert_string_equal(s.failed_release_id, "r-1");
			agent_update_free(u);
			device_teardown(&fresh);
		}
	}
}

static int die_in_the_middle(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = NULL;
	_cleanup_bytes_ struct bytes bytes = { 0 };
	int fds[2];

	bundle_make(d, &(struct bundle){ 0 }, &bytes);
	assert_int_equal(pipe(fds), 0);
	/* Before the engine is made: a child would share its lock. */
	if (fork() == 0) {
		write_all(fds[1], bytes.data, bytes.size / 2);
		kill(getppid(), SIGKILL);
		_exit(0);
	}
	u = engine(d);
	/* Our own write end stays open: without the kill this would wait for ever. */
	return agent_update_install(u, fds[0], 0, NOW_S, NULL, NULL, NULL);
}

static void a_kill_between_two_chunks_is_undone(void **state)
{
	struct device *d = *state;
	struct agent_update *u;

	assert_true(killed_at(1000, false, die_in_the_middle, d));
	u = engine(d);
	assert_int_equal(agent_update_settle(u, NULL), 0);
	assert_true(stage_of(u) == AGENT_UPDATE_FAILED || stage_of(u) == AGENT_UPDATE_IDLE);
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_string_equal(reboot(d), "b");
	agent_update_free(u);
}

static void a_lost_journal_is_derived_from_the_boot_environment(void **state)
{
	static const char *const losses[] = { NULL, "", "garbage\n", "stage=idle" };
	static const int trying = AGENT_UPDATE_TRYING;

	for (size_t i = 0; i < ARRAY_SIZE(losses); i++) {
		struct agent_update *u;
		void *fresh = NULL;
		struct device *d;
		char path[128];

		device_setup(&fresh);
		d = fresh;
		assert_int_equal(step_install(d), 0);
		snprintf(path, sizeof(path), "%s/journal", d->state);
		assert_int_equal(unlink(path), 0);
		/* The last one is whole, but older than the boot environment: a folder restored from a backup. */
		if (losses[i] != NULL)
			assert_int_equal(file_replace_at(AT_FDCWD, path, 0600, losses[i], strlen(losses[i]), NULL), 0);
		assert_string_equal(reboot(d), "b");
		u = engine(d);
		assert_int_equal(agent_update_settle(u, NULL), 0);
		if (i < 3) {
			assert_int_equal(stage_of(u), trying);
			agent_update_free(u);
			assert_int_equal(step_confirm(d), 0);
		} else {
			agent_update_free(u);
		}
		device_teardown(&fresh);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, device_setup, device_teardown)
		T(power_may_fail_at_any_step_of_an_installation),
		T(power_may_fail_at_any_step_of_a_confirmation),
		T(power_may_fail_at_any_step_of_a_rollback),
		T(a_kill_between_two_chunks_is_undone),
		T(a_lost_journal_is_derived_from_the_boot_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
