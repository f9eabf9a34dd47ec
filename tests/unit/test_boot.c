/* SPDX-License-Identifier: Apache-2.0 */
/* Every boot backend keeps the same promises. */
#include "config.h"

#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"
#include "tests/unit/boot_rigs.h"

#include <errno.h>
#if defined(HAVE_UBOOTENV)
#include <libuboot.h>
#endif
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- what may go wrong with a write ------------------------------------------------------------------------------- */

enum fault { NO_FAULT, KILL_BEFORE, KILL_TORN, KILL_AFTER, DISK_FULL, DEVICE_FAULT, N_FAULTS };

static enum fault fault;
static int n_steps_until_fault;

static bool is_due(void)
{
	return fault != NO_FAULT && n_steps_until_fault-- == 0;
}

/* The firmware takes a variable whole or not at all. */
static bool is_efi_variable(int fd)
{
	char link[32], path[256];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	return strstr(path, "/vars/") != NULL;
}

/* The definitions after this one come before the C library's, for libubootenv as well. */
static ssize_t write_with_fault(int fd, const void *data, size_t n, off_t offset, bool has_offset)
{
	bool due = fd > 2 && is_due();
	ssize_t r;

	if (due && (fault == KILL_BEFORE || (fault == KILL_TORN && is_efi_variable(fd))))
		kill(getpid(), SIGKILL);
	if (due && (fault == DISK_FULL || fault == DEVICE_FAULT)) {
		errno = fault == DISK_FULL ? ENOSPC : EIO;
		return -1;
	}
	if (due && fault == KILL_TORN)
		n = n < 512 ? n / 2 : n / 2 / 512 * 512;
	r = has_offset ? syscall(SYS_pwrite64, fd, data, n, offset) : syscall(SYS_write, fd, data, n);
	if (r > 0 && is_efi_variable(fd))
		syscall(SYS_ftruncate, fd, n);
	if (due)
		kill(getpid(), SIGKILL);
	return r;
}

#pragma GCC visibility push(default) /* -fvisibility=hidden would keep them from libubootenv */

ssize_t write(int fd, const void *data, size_t n);
ssize_t write(int fd, const void *data, size_t n)
{
	return write_with_fault(fd, data, n, 0, false);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset);
ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
	return write_with_fault(fd, data, n, offset, true);
}

static int other_step(void)
{
	if (!is_due())
		return 0;
	if (fault == DISK_FULL || fault == DEVICE_FAULT) {
		errno = fault == DISK_FULL ? ENOSPC : EIO;
		return -1;
	}
	if (fault == KILL_AFTER)
		return 1;
	kill(getpid(), SIGKILL);
	return -1;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to);
int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int s = other_step(), r;

	if (s < 0)
		return -1;
	r = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
	if (s > 0)
		kill(getpid(), SIGKILL);
	return r;
}

int unlinkat(int fd, const char *path, int flags);
int unlinkat(int fd, const char *path, int flags)
{
	int s = other_step(), r;

	if (s < 0)
		return -1;
	r = (int)syscall(SYS_unlinkat, fd, path, flags);
	if (s > 0)
		kill(getpid(), SIGKILL);
	return r;
}

ssize_t send(int fd, const void *data, size_t n, int flags);
ssize_t send(int fd, const void *data, size_t n, int flags)
{
	int s = fault == KILL_TORN ? 0 : other_step();
	bool is_torn = fault == KILL_TORN && is_due();
	ssize_t r;

	if (s < 0)
		return -1;
	r = syscall(SYS_sendto, fd, data, is_torn ? n / 2 : n, flags, NULL, 0);
	if (s > 0 || is_torn)
		kill(getpid(), SIGKILL);
	return r;
}

int fsync(int fd);
int fsync(int fd)
{
	int s = other_step();

	if (s < 0)
		return -1;
	/* Who is killed loses nothing that he wrote: the disk need not be waited for. */
	if (s > 0)
		kill(getpid(), SIGKILL);
	return 0;
}

#pragma GCC visibility pop

/* Run @step in a child with the fault at its n-th write, rename or sync: 0 done, 1 killed, or the step's negative errno. */
static int with_fault(enum fault f, int n, int (*step)(struct device *d, const void *argument), struct device *d, const void *argument)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int r;

		fault = f;
		n_steps_until_fault = n;
		r = step(d, argument);
		_exit(r < 0 ? -r & 0x7f : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGKILL);
		return 1;
	}
	return -WEXITSTATUS(status);
}

/* ---- every backend ------------------------------------------------------------------------------------------------ */

static const struct boot_rig *const rigs[] = {
	&rig_efi, &rig_file, &rig_grub, &rig_script, &rig_systemd,
#if defined(HAVE_UBOOTENV)
	&rig_uboot,
#endif
};

static int step_store(struct device *d, const void *argument)
{
	return d->rig->backend->store(d->env, argument, NULL);
}

static void check_foreign(struct device *d)
{
	char text[8192];

	if (d->rig == &rig_systemd) {
		struct boot_state s = load(d);

		for (size_t i = 0; i < s.n_slots; i++) {
			static const char *const ends[] = { "", "+0", "+0-1", "+1", "+2", "+3", "+8", "+9" };
			bool found = false;

			for (size_t k = 0; k < ARRAY_SIZE(ends); k++) {
				char name[32];

				snprintf(name, sizeof(name), "agent-%s%s.conf", s.slots[i].name, ends[k]);
				if (access(entry_path(d, name), F_OK) < 0)
					continue;
				found = true;
				text_read(entry_path(d, name), text, sizeof(text));
				assert_non_null(strstr(text, strcmp(s.slots[i].name, "a") == 0 ? ENTRY_A : ENTRY_B));
			}
			assert_true(found);
		}
		text_read(entry_path(d, "rescue.conf"), text, sizeof(text));
		assert_string_equal(text, "title Rescue\nlinux /rescue\n");
	} else if (d->rig == &rig_efi) {
		/* In the order of the firmware, those of others stay where they were. */
		_cleanup_free_ char *order = NULL;
		size_t n = 0;

		assert_int_equal(file_read_at(AT_FDCWD, efi_path(d, "BootOrder"), sizeof(text), &order, &n, NULL), 0);
		assert_true(n >= 4 + 3 * 2 && n <= 4 + 4 * 2);
		assert_memory_equal(order, "\7\0\0\0\5\0", 6);
		assert_memory_equal(order + n - 2, "\3\0", 2);
	} else if (d->rig == &rig_grub) {
		char path[160];

		/* The block written last has it; both do from the second write on. */
		snprintf(path, sizeof(path), "%s.1", d->env);
		text_read(path, text, sizeof(text));
		assert_non_null(strstr(text, "\n# WARNING: not ours\nsaved_entry=with\\\\slash\\\nand line\n"));
	}
}

static void what_is_stored_is_loaded(void **state)
{
	struct device *d = *state;

	assert_true(boot_state_is_equal(&life[0], &(struct boot_state){ "a", "", { { "b", false, 0, 0, "", "" }, { "a", true, 0, 0, "", "" } }, 2 }));
	for (size_t i = 0; i < 2 * ARRAY_SIZE(life); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		const struct boot_state wanted = life_of(d, i % ARRAY_SIZE(life));
		struct boot_state now;

		if (d->rig->backend->store(d->env, &wanted, &err) < 0)
			fail_msg("%s, state %zu: %s", d->rig->backend->name, i, agent_error_message(err));
		now = load(d);
		assert_true(boot_state_is_equal(&now, &wanted));
		check_foreign(d);
	}
}

static void check_after_fault(struct device *d, const struct boot_state *old, const struct boot_state *next)
{
	struct boot_state now = load(d), again;
	bool is_bootable = false;

	if (d->rig == &rig_systemd || d->rig == &rig_efi) {
		/* Several renames, or variables: on the way from one to the other, and always something to boot. */
		for (size_t i = 0; i < now.n_slots; i++)
			is_bootable = is_bootable || boot_slot_is_bootable(&now.slots[i]);
		assert_true(is_bootable);
		assert_true(strcmp(now.primary, old->primary) == 0 || strcmp(now.primary, next->primary) == 0);
	} else {
		assert_true(boot_state_is_equal(&now, old) || boot_state_is_equal(&now, next));
	}
	assert_int_equal(d->rig->backend->store(d->env, next, NULL), 0);
	again = load(d);
	assert_true(boot_state_is_equal(&again, next));
	check_foreign(d);
}

static void a_write_may_be_cut_anywhere(void **state)
{
	struct device *d = *state;

	for (size_t i = 0; i + 1 < ARRAY_SIZE(life); i++)
		for (enum fault f = KILL_BEFORE; f <= KILL_AFTER; f++)
			for (int n = 0;; n++) {
				const struct boot_state old = life_of(d, i), next = life_of(d, i + 1);
				int r;

				assert_int_equal(d->rig->backend->store(d->env, &old, NULL), 0);
				r = with_fault(f, n, step_store, d, &next);
				check_after_fault(d, &old, &next);
				if (r != 1) {
					assert_int_equal(r, 0);
					assert_true(n > 0);
					break;
				}
			}
}

static void a_full_disk_or_a_faulty_one_is_reported(void **state)
{
	struct device *d = *state;

	for (size_t i = 0; i + 1 < ARRAY_SIZE(life); i++)
		for (enum fault f = DISK_FULL; f <= DEVICE_FAULT; f++)
			for (int n = 0;; n++) {
				const struct boot_state old = life_of(d, i), next = life_of(d, i + 1);
				_cleanup_error_ struct agent_error *err = NULL;
				int r;

				assert_int_equal(d->rig->backend->store(d->env, &old, NULL), 0);
				fault = f;
				n_steps_until_fault = n;
				r = d->rig->backend->store(d->env, &next, &err);
				fault = NO_FAULT;
				check_after_fault(d, &old, &next);
				if (n_steps_until_fault >= 0) {
					assert_int_equal(r, 0);
					break;
				}
				/* libubootenv does not look at its fsync(); ours follows. */
				if (r == 0 && strcmp(d->rig->backend->name, "uboot") == 0)
					continue;
				assert_true(r < 0);
				/* "script" loads once more after it stored. */
				if (d->rig != &rig_script || strcmp(agent_error_name(err), "boot.read") != 0)
					assert_string_equal(agent_error_name(err), "boot.write");
			}
}

static void what_cannot_be_read_is_reported(void **state)
{
	struct device *d = *state;
	struct boot_state s = life[0], before = life[0];
	_cleanup_error_ struct agent_error *err = NULL;

	assert_true(d->rig->backend->load("/nowhere/at/all", &s, &err) < 0);
	assert_true(strncmp(agent_error_name(err), "boot.", 5) == 0);
	assert_memory_equal(&s, &before, sizeof(s));
	err = agent_error_free(err);
	assert_true(d->rig->backend->store("/nowhere/at/all", &s, &err) < 0);
	assert_true(strncmp(agent_error_name(err), "boot.", 5) == 0);
}

static int path_note(void *userdata, const char *path, unsigned access, struct agent_error **err)
{
	char *list = userdata;

	snprintf(list + strlen(list), 1024 - strlen(list), "%s:%u\n", path, access);
	return 0;
}

static int path_stop(void *userdata, const char *path, unsigned access, struct agent_error **err)
{
	return -E2BIG;
}

static void a_sandbox_is_told_the_paths(void **state)
{
	struct device *d = *state;
	char list[1024] = "", wanted[1024];
	const char *name = d->rig->backend->name;

	assert_int_equal(agent_update_boot_paths(name, d->env, path_note, list, NULL), 0);
	if (strcmp(name, "file") == 0)
		snprintf(wanted, sizeof(wanted), "%s:3\n", d->dir.path);
	else if (strcmp(name, "efi") == 0)
		snprintf(wanted, sizeof(wanted), "%s/vars:3\n%s:3\n", d->dir.path, d->dir.path);
	else if (strcmp(name, "script") == 0)
		wanted[0] = '\0';
	else if (strcmp(name, "grub") == 0)
		snprintf(wanted, sizeof(wanted), "%s.0:3\n%s.1:3\n", d->env, d->env);
	else if (strcmp(name, "systemd-boot") == 0)
		snprintf(wanted, sizeof(wanted), "%s/loader/loader.conf:1\n%s/loader/entries:3\n", d->env, d->env);
	else
		snprintf(wanted, sizeof(wanted), "%s:1\n%s.0:7\n%s.1:7\n/var/lock/fw_printenv.lock:3\n", d->env, d->env, d->env);
	assert_string_equal(list, wanted);
	assert_int_equal(agent_update_boot_paths(name, d->env, path_stop, NULL, NULL), wanted[0] == '\0' ? 0 : -E2BIG);
	assert_int_equal(agent_update_boot_paths("lilo", d->env, path_note, list, NULL), -EINVAL);
	assert_int_equal(agent_update_boot_paths(NULL, d->env, path_note, list, NULL), -EINVAL);
	assert_int_equal(agent_update_boot_paths(name, NULL, path_note, list, NULL), -EINVAL);
	assert_int_equal(agent_update_boot_paths(name, d->env, NULL, list, NULL), -EINVAL);
}

/* ---- the engine over every backend -------------------------------------------------------------------------------- */

static void updates_there_and_back(void **state)
{
	struct device *d = *state;

	assert_int_equal(step_install(d, "r-1"), 0);
	check_stage(d, AGENT_UPDATE_TRYING, "");
	assert_string_equal(reboot(d), "b");
	assert_int_equal(step_confirm(d, NULL), 0);
	check_stage(d, AGENT_UPDATE_IDLE, "");
	assert_string_equal(reboot(d), "b");
	assert_int_equal(step_install(d, "r-2"), 0);
	assert_string_equal(reboot(d), "a");
	assert_int_equal(step_confirm(d, NULL), 0);
	assert_int_equal(step_rollback(d, NULL), 0);
	assert_string_equal(reboot(d), "b");
	/* Never confirmed: the boot loader gives up after two tries, if it can count so far. */
	assert_int_equal(step_install(d, "r-3"), 0);
	assert_string_equal(reboot(d), "a");
	if (d->rig->backend->max_tries != 1)
		assert_string_equal(reboot(d), "a");
	assert_string_equal(reboot(d), "b");
	check_stage(d, AGENT_UPDATE_FAILED, "r-3");
	assert_int_equal(step_install(d, "r-3"), -EALREADY);
	/* Not liked while it is tried. */
	assert_int_equal(step_install(d, "r-4"), 0);
	assert_string_equal(reboot(d), "a");
	assert_int_equal(step_rollback(d, NULL), 0);
	check_stage(d, AGENT_UPDATE_FAILED, "r-4");
	assert_string_equal(reboot(d), "b");
	assert_string_equal(reboot(d), "b");
	check_foreign(d);
}

static void power_may_fail_anywhere_in_an_update(void **state)
{
	const struct boot_rig *rig = ((struct device *)*state)->rig;

	for (int phase = 0; phase < 3; phase++)
		for (enum fault f = KILL_BEFORE; f <= KILL_AFTER; f++) {
			int r = 1;

			for (int n = 0; r == 1; n++) {
				void *fresh = NULL;
				struct device *d;

				device_setup_rig(&fresh, rig);
				d = fresh;
				if (phase == 0)
					r = with_fault(f, n, step_install, d, "r-1");
				else
					assert_int_equal(step_install(d, "r-1"), 0);
				if (strcmp(reboot(d), "b") == 0)
					assert_true(slot_holds_image(d, 1));
				/* Phase 0: what became of it may need another installation. */
				if (strcmp(d->booted, "a") == 0) {
					_cleanup_engine_ struct agent_update *u = engine(d);

					assert_int_equal(phase, 0);
					assert_int_equal(agent_update_settle(u, NULL), 0);
					assert_int_not_equal(stage_of(u), AGENT_UPDATE_WRITING);
					if (stage_of(u) != AGENT_UPDATE_TRYING)
						assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
					assert_string_equal(reboot(d), "b");
				}
				if (phase == 1)
					r = with_fault(f, n, step_confirm, d, NULL);
				if (phase == 2)
					r = with_fault(f, n, step_rollback, d, NULL);
				if (phase == 2) {
					if (strcmp(reboot(d), "b") == 0) {
						assert_int_equal(step_rollback(d, NULL), 0);
						assert_string_equal(reboot(d), "a");
					}
					check_stage(d, AGENT_UPDATE_FAILED, "r-1");
				} else if (rig->backend->max_tries == 1 && phase == 1 && r == 1 && strcmp(reboot(d), "a") == 0) {
					/* Its one try was the boot before: not confirmed is not kept. */
					check_stage(d, AGENT_UPDATE_FAILED, "r-1");
					assert_string_equal(reboot(d), "a");
				} else {
					struct boot_state s;

					if (rig->backend->max_tries != 1)
						assert_string_equal(reboot(d), "b");
					if (phase == 0 || r == 1)
						assert_true(step_confirm(d, NULL) == 0 || (phase == 1 && step_confirm(d, NULL) == -ENOENT));
					s = load(d);
					assert_true(boot_state_slot(&s, "b")->is_good);
					assert_false(boot_slot_is_bootable(boot_state_slot(&s, "a")));
				}
				assert_true(r >= 0);
				device_teardown(&fresh);
			}
		}
}

/* ---- variables of bundles ------------------------------------------------------------------------------------------- */

#define BOOTENV "bootenv = ( { name = \"vendor_new\"; value = \"a b=c\"; }, { name = \"vendor_gone\"; }, { name = \"vendor_kept\"; value = \"2\"; } );"

static int step_bootenv(struct device *d, const void *argument)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	int r = agent_update_allow_bootenv(u, "vendor_*", NULL);

	return r < 0 ? r : install(d, u, &(struct bundle){ .sections = BOOTENV }, 0, NULL);
}

/* As the boot loader's own tools see it; "" if there is none. */
static void variable_read(struct device *d, const char *name, char ret_value[64])
{
	ret_value[0] = '\0';
	if (d->rig == &rig_file) {
		char text[8192], wanted[80];
		const char *line;

		snprintf(wanted, sizeof(wanted), "\nenv.%s=", name);
		text_read(d->env, text, sizeof(text));
		line = strstr(text, wanted);
		if (line != NULL)
			snprintf(ret_value, 64, "%.*s", (int)strcspn(line + strlen(wanted), "\n"), line + strlen(wanted));
		return;
	}
#if defined(HAVE_UBOOTENV)
	{
		struct uboot_ctx *ctx = NULL;
		char *value;

		assert_true(d->rig == &rig_uboot);
		assert_int_equal(libuboot_initialize(&ctx, NULL), 0);
		assert_int_equal(libuboot_read_config(ctx, d->env), 0);
		assert_int_equal(libuboot_open(ctx), 0);
		value = libuboot_get_env(ctx, name);
		snprintf(ret_value, 64, "%s", value == NULL ? "" : value);
		free(value);
		libuboot_close(ctx);
		libuboot_exit(ctx);
	}
#endif
}

static void check_variables(struct device *d, bool is_new)
{
	static const struct {
		const char *name, *before, *after;
	} wanted[] = { { "vendor_new", "", "a b=c" }, { "vendor_gone", "here", "" }, { "vendor_kept", "1", "2" }, { "vendor_other", "x", "x" } };

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		char value[64];

		variable_read(d, wanted[i].name, value);
		assert_string_equal(value, is_new ? wanted[i].after : wanted[i].before);
	}
}

static void variables_of_a_bundle_change_with_the_switch_or_not_at_all(void **state)
{
	static const struct manifest_env before[] = { { "vendor_gone", "here" }, { "vendor_kept", "1" }, { "vendor_other", "x" } };
	const struct boot_rig *rig = ((struct device *)*state)->rig;

	if (rig->backend->env_value_max == 0) {
		assert_int_equal(step_bootenv(*state, NULL), -EOPNOTSUPP);
		assert_true(slot_is_untouched(*state, 1));
		return;
	}
	for (enum fault f = KILL_BEFORE; f <= KILL_AFTER; f++) {
		int r = 1;

		for (int n = 0; r == 1; n++) {
			void *fresh = NULL;
			struct device *d;
			struct boot_state s;

			device_setup_rig(&fresh, rig);
			d = fresh;
			s = load(d);
			s.env = before;
			s.n_env = ARRAY_SIZE(before);
			assert_int_equal(rig->backend->store(d->env, &s, NULL), 0);
			check_variables(d, false);
			r = with_fault(f, n, step_bootenv, d, NULL);
			s = load(d);
			check_variables(d, strcmp(s.primary, "b") == 0);
			/* What the next start makes of it: with the switch, if that was still to come. */
			{
				_cleanup_engine_ struct agent_update *u = engine(d);

				assert_int_equal(agent_update_settle(u, NULL), 0);
				s = load(d);
				check_variables(d, strcmp(s.primary, "b") == 0);
			}
			if (strcmp(s.primary, "b") != 0)
				assert_int_equal(step_bootenv(d, NULL), 0);
			check_variables(d, true);
			assert_string_equal(reboot(d), "b");
			assert_int_equal(step_confirm(d, NULL), 0);
			check_variables(d, true);
			device_teardown(&fresh);
		}
		assert_int_equal(r, 0);
	}
}

/* ------------------------------------------------------------------------------------------------------------------- */

static int setup_rig(void **state)
{
	return device_setup_rig(state, *state);
}

int main(void)
{
	static const struct {
		const char *claim;
		CMUnitTestFunction run;
	} promises[] = {
#define P(f) { #f, f }
		P(what_is_stored_is_loaded), P(a_write_may_be_cut_anywhere), P(a_full_disk_or_a_faulty_one_is_reported), P(what_cannot_be_read_is_reported),
		P(a_sandbox_is_told_the_paths), P(updates_there_and_back), P(power_may_fail_anywhere_in_an_update),
		P(variables_of_a_bundle_change_with_the_switch_or_not_at_all),
	};
	struct CMUnitTest shared[ARRAY_SIZE(promises) * ARRAY_SIZE(rigs)];
	char names[ARRAY_SIZE(shared)][96];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rigs); i++)
		for (size_t k = 0; k < ARRAY_SIZE(promises); k++, n++) {
			snprintf(names[n], sizeof(names[n]), "%s: %s", rigs[i]->backend->name, promises[k].claim);
			shared[n] = (struct CMUnitTest){ names[n], promises[k].run, setup_rig, device_teardown, (void *)(uintptr_t)rigs[i] };
		}
	return cmocka_run_group_tests(shared, NULL, NULL);
}
