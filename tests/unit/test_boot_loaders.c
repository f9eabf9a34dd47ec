/* SPDX-License-Identifier: Apache-2.0 */
/* What is particular to each boot backend; test_boot.c has what they share. */
#include "config.h"

#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"
#include "tests/unit/boot_rigs.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

/* ---- GRUB --------------------------------------------------------------------------------------------------------- */

static void a_torn_grub_block_is_not_believed(void **state)
{
	struct device *d = *state;
	char before[GRUB_BYTES + 1], after[GRUB_BYTES + 1], path[160];

	snprintf(path, sizeof(path), "%s.1", d->env);
	for (size_t i = 0; i + 2 < ARRAY_SIZE(life); i++) {
		int newest;

		/* The same copy is written every second time. */
		assert_int_equal(boot_grub.store(d->env, &life[i], NULL), 0);
		text_read(path, before, sizeof(before));
		assert_int_equal(boot_grub.store(d->env, &life[i + 1], NULL), 0);
		text_read(path, after, sizeof(after));
		newest = memcmp(before, after, GRUB_BYTES) != 0;
		if (!newest)
			continue;
		for (size_t cut = 0; cut <= GRUB_BYTES; cut++)
			for (int order = 0; order < 2; order++) {
				char torn[GRUB_BYTES];
				struct boot_state now;

				memcpy(torn, order == 0 ? after : before, cut);
				memcpy(torn + cut, (order == 0 ? before : after) + cut, GRUB_BYTES - cut);
				assert_int_equal(file_replace_at(AT_FDCWD, path, 0644, torn, sizeof(torn), NULL), 0);
				now = load(d);
				assert_true(boot_state_is_equal(&now, &life[i]) || boot_state_is_equal(&now, &life[i + 1]));
			}
		assert_int_equal(file_replace_at(AT_FDCWD, path, 0644, after, GRUB_BYTES, NULL), 0);
	}
}

static void damaged_grub_blocks_are_refused(void **state)
{
	static const char *const cases[] = {
		"", "agent_seq=0\nagent_end=0\n", "agent_seq=0\nagent_order=a b\nagent_end=1\n", "agent_seq=3\nagent_order=a b\nagent_end=3\n",
		"agent_seq=00\nagent_order=a b\nagent_end=00\n", "agent_seq=0\nagent_order=a b\n", "agent_order=a b\nagent_end=0\n",
		"agent_seq=0\nagent_order=a b c\nagent_end=0\n", "agent_seq=0\nagent_order=a a\nagent_end=0\n", "agent_seq=0\nagent_order=\nagent_end=0\n",
		"agent_seq=0\nagent_order=a-1 b\nagent_end=0\n", "agent_seq=0\nagent_order=A\nagent_end=0\n",
		"agent_seq=0\nagent_order=a b\nagent_good_a=2\nagent_end=0\n", "agent_seq=0\nagent_order=a b\nagent_left_b=10\nagent_end=0\n",
		"agent_seq=0\nagent_order=a b\nagent_left_b=\nagent_end=0\n", "agent_seq=0\nagent_order=a b\nagent_security_version_b=-1\nagent_end=0\n",
		"agent_seq=0\nagent_order=a b\nagent_release_b=a b\nagent_end=0\n", "agent_seq=0\nagent_order=a b\nno equal sign\nagent_end=0\n",
		"agent_seq=0\nagent_order=a b\n=x\nagent_end=0\n", "agent_seq=0\nagent_order=a b\nagent_end=0\nx=\\",
	};
	struct device *d = *state;
	struct boot_state s;
	char path[160];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		grub_block(d->env, 0, cases[i]);
		if (boot_grub.load(d->env, &s, &err) != -EBADMSG)
			fail_msg("loaded: %s", cases[i]);
		assert_error(&err, -EBADMSG, "boot.format");
	}
	grub_block(d->env, 0, "agent_seq=0\nagent_order=a b\nagent_good_a=1\nagent_end=0\n");
	assert_int_equal(boot_grub.load(d->env, &s, NULL), 0);
	/* Cut short, too long, without signature, with a NUL: as if it were not there. */
	snprintf(path, sizeof(path), "%s.0", d->env);
	assert_int_equal(truncate(path, 1023), 0);
	assert_int_equal(boot_grub.load(d->env, &s, NULL), -EBADMSG);
	grub_block(d->env, 0, GRUB_FACTORY);
	assert_int_equal(truncate(path, 2048), 0);
	assert_int_equal(boot_grub.load(d->env, &s, NULL), -EBADMSG);
	assert_int_equal(truncate(path, 1024), 0);
	assert_int_equal(boot_grub.load(d->env, &s, NULL), 0);
	grub_block(d->env, 1, "agent_seq=1\nagent_order=b a\nagent_good_b=1\nagent_end=1\n");
	assert_int_equal(boot_grub.load(d->env, &s, NULL), 0);
	assert_string_equal(s.primary, "b");
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(boot_grub.load(d->env, &s, NULL), 0);
	assert_int_equal(boot_grub.store(d->env, &life[0], NULL), 0);
	s = load(d);
	assert_true(boot_state_is_equal(&s, &life[0]));
}

static void new_grub_blocks_are_made_and_full_ones_refused(void **state)
{
	struct device *d = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	char path[160], lines[940] = "agent_seq=0\nagent_order=a b\nagent_end=0\nbig=", dashed[] = "a-1";
	struct boot_state s = life[0];
	size_t n = strlen(lines);

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s.%d", d->env, i);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(boot_grub.load(d->env, &s, &err), -ENOENT);
	assert_error(&err, -ENOENT, "boot.missing");
	assert_int_equal(boot_grub.store(d->env, &life[1], NULL), 0);
	for (int i = 0; i < 2; i++) {
		struct stat st;

		snprintf(path, sizeof(path), "%s.%d", d->env, i);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, GRUB_BYTES);
	}
	s = load(d);
	assert_true(boot_state_is_equal(&s, &life[1]));
	memset(lines + n, 'x', sizeof(lines) - n - 2);
	lines[sizeof(lines) - 2] = '\n';
	lines[sizeof(lines) - 1] = '\0';
	for (int i = 0; i < 2; i++)
		grub_block(d->env, i, lines);
	assert_int_equal(boot_grub.store(d->env, &life[10], &err), -ENOSPC);
	assert_error(&err, -ENOSPC, "boot.write");
	strcpy(s.slots[0].name, dashed);
	assert_int_equal(boot_grub.store(d->env, &s, &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
}

/* ---- systemd-boot ------------------------------------------------------------------------------------------------- */

static bool entry_is(struct device *d, const char *name)
{
	return access(entry_path(d, name), F_OK) == 0;
}

static void entry_move(struct device *d, const char *from, const char *to)
{
	char path[192];

	strcpy(path, entry_path(d, from));
	assert_int_equal(rename(path, entry_path(d, to)), 0);
}

static void entries_carry_the_counters_of_systemd_boot(void **state)
{
	struct device *d = *state;
	char text[1024];

	assert_int_equal(boot_systemd.store(d->env, &life[0], NULL), 0);
	text_read(entry_path(d, "agent-a.conf"), text, sizeof(text));
	assert_string_equal(text, ENTRY_A); /* not touched without need */
	assert_int_equal(boot_systemd.store(d->env, &life[1], NULL), 0);
	assert_true(entry_is(d, "agent-a.conf") && entry_is(d, "agent-b+3.conf") && !entry_is(d, "agent-b+0.conf"));
	text_read(entry_path(d, "agent-b+3.conf"), text, sizeof(text));
	assert_string_equal(text, ENTRY_B "\nsort-key agent\nversion 0\n# agent-state trial\n# agent-release r-1\n# agent-version 2.0\n# agent-security-version 5\n");
	rig_systemd_count_down(d, &life[1]);
	assert_true(entry_is(d, "agent-b+2-1.conf"));
	assert_int_equal(load(d).slots[0].n_tries_left + load(d).slots[1].n_tries_left, 2);
	assert_int_equal(boot_systemd.store(d->env, &life[3], NULL), 0);
	assert_true(entry_is(d, "agent-b.conf") && entry_is(d, "agent-a+0.conf"));
}

static void a_slot_blessed_by_others_is_not_good(void **state)
{
	struct device *d = *state;
	struct boot_state s;

	/* The loader refused slot b, and systemd-bless-boot in slot a took the counter of b off. */
	assert_int_equal(step_install(d, "r-1"), 0);
	assert_string_equal(reboot(d), "b");
	strcpy(d->booted, "a");
	entry_move(d, "agent-b+1-1.conf", "agent-b.conf");
	s = load(d);
	assert_false(boot_slot_is_bootable(boot_state_slot(&s, "b")));
	check_stage(d, AGENT_UPDATE_FAILED, "r-1");
	assert_true(entry_is(d, "agent-b+0.conf") && !entry_is(d, "agent-b.conf"));
	assert_string_equal(reboot(d), "a");
	/* It ran and was blessed before we confirmed it: that is ours to do still. */
	assert_int_equal(step_install(d, "r-2"), 0);
	assert_string_equal(reboot(d), "b");
	entry_move(d, "agent-b+1-1.conf", "agent-b.conf");
	check_stage(d, AGENT_UPDATE_TRYING, "r-1");
	assert_int_equal(step_confirm(d, NULL), 0);
	s = load(d);
	assert_true(boot_state_slot(&s, "b")->is_good);
}

static void bad_boot_entries_are_refused(void **state)
{
	static const struct {
		const char *name, *text, *error;
	} cases[] = {
		{ "agent-b+x.conf", "", "boot.format" }, { "agent-b+10.conf", "", "boot.format" }, { "agent-b+1-.conf", "", "boot.format" },
		{ "agent-b+1-1x.conf", "", "boot.format" }, { "agent-.conf", "", "boot.format" }, { "agent-B.conf", "", "boot.format" },
		{ "agent-c.conf", "", "boot.format" }, { "agent-0123456789abcdefg.conf", "", "boot.format" }, { "agent-b+.conf", "", "boot.format" },
		{ "agent-b.conf", "# agent-state maybe\n", "boot.format" }, { "agent-b.conf", "# agent-release a b\n", "boot.format" },
		{ "agent-b.conf", "# agent-security-version x\n", "boot.format" }, { "agent-b.conf", "# agent-version \"\n", "boot.format" },
		{ "agent-b.conf", "sort-key debian\nversion 1\n", "boot.format" }, { "agent-b.conf", "sort-key agent\n", "boot.format" },
		{ "agent-b.conf", "sort-key agent\nversion 6.1-2\n", "boot.format" },
		{ "../loader.conf", "default agent-a.conf\n", "boot.config" }, { "../loader.conf", "timeout 1\ndefault\t@saved\n", "boot.config" },
	};
	struct boot_state s;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		void *fresh = NULL;
		struct device *d;

		device_setup_rig(&fresh, &rig_systemd);
		d = fresh;
		text_write(entry_path(d, cases[i].name), cases[i].text);
		if (boot_systemd.load(d->env, &s, &err) >= 0)
			fail_msg("%s with \"%s\" was taken", cases[i].name, cases[i].text);
		assert_string_equal(agent_error_name(err), cases[i].error);
		device_teardown(&fresh);
	}
}

static void names_of_others_and_doubles_do_no_harm(void **state)
{
	struct device *d = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct boot_state s;

	text_write(entry_path(d, "agents.conf"), "title x\n");
	text_write(entry_path(d, "agent-b.conf.bak"), "title x\n");
	text_write(entry_path(d, "../loader.conf"), "default agent-*\n");
	/* Left by a file system without a journal: the name the loader takes is the one that counts. */
	text_write(entry_path(d, "agent-b+2.conf"), ENTRY_B);
	s = load(d);
	assert_int_equal(boot_state_slot(&s, "b")->n_tries_left, 2);
	assert_int_equal(boot_systemd.store(d->env, &life[0], NULL), 0);
	s = load(d);
	assert_false(boot_slot_is_bootable(boot_state_slot(&s, "b")));
	assert_true(entry_is(d, "agent-b+0.conf") && !entry_is(d, "agent-b+2.conf"));
	assert_true(entry_is(d, "agents.conf") && entry_is(d, "agent-b.conf.bak"));
	assert_int_equal(unlink(entry_path(d, "agent-b+0.conf")), 0);
	assert_int_equal(boot_systemd.store(d->env, &life[1], &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
	assert_int_equal(unlink(entry_path(d, "agent-a.conf")), 0);
	assert_int_equal(boot_systemd.load(d->env, &s, &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
}

/* ---- U-Boot ------------------------------------------------------------------------------------------------------- */

#if defined(HAVE_UBOOTENV)
static void damage(struct device *d, int copy)
{
	char byte = 0;
	int fd = open(uboot_path(d, copy), O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pread_full(fd, &byte, 1, 700), 1);
	byte ^= 1;
	assert_int_equal(pwrite_all(fd, &byte, 1, 700), 0);
	close(fd);
}

static void one_u_boot_copy_is_enough(void **state)
{
	struct device *d = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct boot_state s;

	assert_int_equal(boot_uboot.store(d->env, &life[0], NULL), 0);
	assert_int_equal(boot_uboot.store(d->env, &life[1], NULL), 0);
	/* The newer one is copy 0 again. */
	damage(d, 0);
	s = load(d);
	assert_true(boot_state_is_equal(&s, &life[0]));
	assert_int_equal(boot_uboot.store(d->env, &life[1], NULL), 0);
	damage(d, 1);
	s = load(d);
	assert_true(boot_state_is_equal(&s, &life[1]));
	/* Cut short counts as damaged. */
	for (off_t size = UBOOT_BYTES - 1; size >= 0; size = size * 2 / 3 - 1) {
		assert_int_equal(truncate(uboot_path(d, 1), size), 0);
		s = load(d);
		assert_true(boot_state_is_equal(&s, &life[1]));
	}
	damage(d, 0);
	assert_int_equal(boot_uboot.load(d->env, &s, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "boot.format");
	assert_int_equal(boot_uboot.store(d->env, &life[1], &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "boot.format");
}

static void bad_u_boot_variables_are_refused(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		int r;
		const char *error;
	} cases[] = {
#define CASE(text, r, error) { text, sizeof(text), r, error }
		CASE("bootcmd=x\0", -ENOENT, "boot.missing"), CASE("BOOT_ORDER=a b c\0", -EBADMSG, "boot.format"), CASE("BOOT_ORDER=\0", -EBADMSG, "boot.format"),
		CASE("BOOT_ORDER=A B\0", -EBADMSG, "boot.format"), CASE("BOOT_ORDER=a b\0BOOT_a_GOOD=yes\0", -EBADMSG, "boot.format"),
		CASE("BOOT_ORDER=a b\0BOOT_b_LEFT=-1\0", -EBADMSG, "boot.format"), CASE("BOOT_ORDER=a b\0BOOT_b_LEFT=10\0", -EBADMSG, "boot.format"),
		CASE("BOOT_ORDER=a b\0agent_security_version_a=99999999999999999999\0", -EBADMSG, "boot.format"),
		CASE("BOOT_ORDER=a b\0agent_release_a=x y\0", -EBADMSG, "boot.format"), CASE("BOOT_ORDER=a b\0BOOT_a_GOOD=1\0BOOT_c_LEFT=what\0", 0, NULL),
	};
	struct device *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct boot_state s;

		uboot_copy(d, 0, 1, cases[i].text, cases[i].n);
		assert_int_equal(boot_uboot.load(d->env, &s, &err), cases[i].r);
		if (cases[i].error != NULL)
			assert_error(&err, cases[i].r, cases[i].error);
	}
}

static void u_boot_configurations_that_cannot_work_are_refused(void **state)
{
	struct device *d = *state;
	char env[96], text[512];
	static const char *const formats[] = {
		"", "%s.0 0x0 0x1000\n", "# %s.0 0x0 0x1000\n%s.1 0x0 0x1000\n", "%s.0 0x0 0x1000\n%s.1 0x0 0x2000\n", "%s.0 0x0 0x1000\n%s.2 0x0 0x1000\n", "%s.0\n%s.1\n",
	};

	strcpy(env, d->env);
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct boot_state s;
		int r;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(text, sizeof(text), formats[i], env, env);
#pragma GCC diagnostic pop
		text_write(d->env, text);
		r = boot_uboot.load(d->env, &s, &err);
		assert_true(r < 0);
		assert_true(strcmp(agent_error_name(err), "boot.config") == 0 || (i == 4 && r == -ENOENT && strcmp(agent_error_name(err), "boot.read") == 0));
	}
}

static void a_full_u_boot_environment_keeps_what_it_had(void **state)
{
	struct device *d = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	char big[UBOOT_BYTES - 250], before[UBOOT_BYTES + 1] = "", after[UBOOT_BYTES + 1] = "";
	struct boot_state dashed = life[0];

	memset(big, 'x', sizeof(big));
	memcpy(big, "BOOT_ORDER=a b\0BOOT_a_GOOD=1\0big=", 33);
	big[sizeof(big) - 1] = big[sizeof(big) - 2] = '\0';
	uboot_copy(d, 0, 7, big, sizeof(big));
	text_read(uboot_path(d, 0), before, sizeof(before));
	assert_int_equal(boot_uboot.store(d->env, &life[10], &err), -ENOSPC);
	assert_error(&err, -ENOSPC, "boot.write");
	text_read(uboot_path(d, 0), after, sizeof(after));
	assert_memory_equal(before, after, UBOOT_BYTES);
	strcpy(dashed.slots[0].name, "a-1");
	assert_int_equal(boot_uboot.store(d->env, &dashed, &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
}

/* libubootenv 0.3 writes ".flags" without looking where its buffer ends: up to the last byte, nothing may break. */
static void attributes_in_a_nearly_full_u_boot_environment_do_no_harm(void **state)
{
	static const char head[] = "BOOT_ORDER=a b\0BOOT_a_GOOD=1\0ethaddr=02:00:00:00:00:01\0.flags=ethaddr:mo,serial:so,BOOT_ORDER:sa,bootcmd:sa\0bootcmd=x\0serial=1\0big=";
	struct device *d = *state;
	unsigned n_stored = 0, n_full = 0;

	for (size_t size = UBOOT_BYTES - 1000; size < UBOOT_BYTES - 5; size += 3) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_free_ char *variables = malloc(size);
		struct boot_state s;
		int r;

		memset(variables, 'x', size);
		memcpy(variables, head, sizeof(head) - 1);
		variables[size - 1] = variables[size - 2] = '\0';
		uboot_copy(d, 0, 7, variables, size);
		uboot_copy(d, 1, 0, "bootcmd=old\0", 12);
		r = boot_uboot.store(d->env, &life[10], &err);
		if (r < 0)
			assert_error(&err, -ENOSPC, "boot.write");
		n_stored += r == 0;
		n_full += r < 0;
		if (r < 0)
			continue;
		s = load(d);
		assert_true(boot_state_is_equal(&s, &life[10]));
	}
	assert_true(n_stored > 10 && n_full > 10);
}
#endif

/* ---- EFI variables ------------------------------------------------------------------------------------------------ */

static void variable_is(struct device *d, const char *name, const char *bytes, size_t size)
{
	_cleanup_free_ char *data = NULL;
	size_t n = 0;

	assert_int_equal(file_read_at(AT_FDCWD, efi_path(d, name), 512, &data, &n, NULL), 0);
	assert_int_equal(n, size);
	assert_memory_equal(data, bytes, size);
}

static void efi_variables_have_the_bytes_the_firmware_wants(void **state)
{
	struct device *d = *state;
	const struct boot_state tried = life_of(d, 1);

	assert_int_equal(boot_efi.store(d->env, &tried, NULL), 0);
	variable_is(d, "BootNext", "\7\0\0\0\xc1\0", 6);
	variable_is(d, "BootOrder", "\7\0\0\0\5\0\0\0\3\0", 10);
	rig_efi_count_down(d, &tried);
	assert_int_equal(boot_efi.store(d->env, &life[2], NULL), 0);
	variable_is(d, "BootOrder", "\7\0\0\0\5\0\xc1\0\0\0\3\0", 12);
	assert_int_equal(boot_efi.store(d->env, &life[3], NULL), 0);
	variable_is(d, "BootOrder", "\7\0\0\0\5\0\xc1\0\3\0", 10);
	assert_int_equal(access(efi_path(d, "BootNext"), F_OK), -1);
	/* Somebody wants to boot from a stick once: that is not ours to take back. */
	efi_variable(d, "BootNext", "\3\0", 2);
	assert_int_equal(boot_efi.store(d->env, &life[2], NULL), 0);
	variable_is(d, "BootNext", "\7\0\0\0\3\0", 6);
	assert_string_equal(load(d).primary, "b");
}

static void a_slot_that_others_put_into_boot_order_is_not_good(void **state)
{
	struct device *d = *state;
	struct boot_state s;

	assert_int_equal(step_install(d, "r-1"), 0);
	assert_string_equal(reboot(d), "b");
	/* The firmware could not start it, and lists all entries that it finds. */
	strcpy(d->booted, "a");
	efi_variable(d, "BootOrder", "\5\0\0\0\3\0\xc1\0", 8);
	s = load(d);
	assert_false(boot_slot_is_bootable(boot_state_slot(&s, "b")));
	check_stage(d, AGENT_UPDATE_FAILED, "r-1");
	variable_is(d, "BootOrder", "\7\0\0\0\5\0\0\0\3\0", 10);
}

static void bad_efi_variables_are_refused(void **state)
{
	static const struct {
		const char *name, *data;
		size_t size;
		int r;
		const char *error;
	} cases[] = {
		{ "BootOrder", "\0\0\3", 3, -EBADMSG, "boot.format" }, { "BootOrder", "\3\0", 2, -EINVAL, "boot.config" },
		{ "BootOrder", "", 0, -EINVAL, "boot.config" }, { "BootNext", "\0", 1, -EBADMSG, "boot.format" },
		{ "BootNext", "\0\0\0\0", 4, -EBADMSG, "boot.format" }, { "Boot00C1", "\1\0\0\0\0\0a\0g\0", 10, 0, NULL },
		{ "Boot00C1", "", 0, 0, NULL }, { "Boot0007", "\1\0\0\0\0\0a\0g\0e\0n\0t\0-\0a\0\0\0", 22, -EBADMSG, "boot.format" },
		{ "Boot0007", "\1\0\0\0\0\0a\0g\0e\0n\0t\0-\0c\0\0\0", 22, -EBADMSG, "boot.format" },
		{ "Boot0000", "\0\0\0\0\0\0a\0g\0e\0n\0t\0-\0a\0\0\0", 22, -EINVAL, "boot.config" },
		{ "Boot00c2", "\1\0\0\0\0\0a\0g\0e\0n\0t\0-\0a\0\0\0", 22, 0, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct boot_state s;
		void *fresh = NULL;
		struct device *d;

		device_setup_rig(&fresh, &rig_efi);
		d = fresh;
		efi_variable(d, cases[i].name, cases[i].data, cases[i].size);
		if (boot_efi.load(d->env, &s, &err) != cases[i].r)
			fail_msg("case %zu: %s", i, err == NULL ? "taken" : agent_error_message(err));
		if (cases[i].error != NULL)
			assert_error(&err, cases[i].r, cases[i].error);
		device_teardown(&fresh);
	}
}

static void efi_configurations_that_cannot_work_are_refused(void **state)
{
	struct device *d = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct boot_state s, none = life[0];

	assert_int_equal(boot_efi.load("/sys/firmware/efi/efivars", &s, &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
	assert_int_equal(boot_efi.load("/nowhere:/x", &s, &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
	assert_int_equal(boot_efi.load(":/x", &s, &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
	/* Never without a slot to fall back to. */
	none.slots[0].is_good = false;
	assert_int_equal(boot_efi.store(d->env, &none, &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
	assert_int_equal(unlink(efi_path(d, "Boot00C1")), 0);
	assert_int_equal(boot_efi.store(d->env, &life[0], &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
	assert_int_equal(unlink(efi_path(d, "Boot0000")), 0);
	assert_int_equal(boot_efi.load(d->env, &s, &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
}

static void an_immutable_efi_variable_is_written_and_stays_so(void **state)
{
	struct device *d = *state;
	struct boot_state s;
	int fd = open(efi_path(d, "BootOrder"), O_RDONLY | O_CLOEXEC), flags = 0, set;

	assert_true(fd >= 0);
	set = ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 ? (flags | FS_IMMUTABLE_FL) : 0;
	if (set == 0 || ioctl(fd, FS_IOC_SETFLAGS, &set) < 0) {
		close(fd);
		print_message("# no immutable files here (%s): not tested\n", strerror(errno));
		skip();
	}
	assert_int_equal(boot_efi.store(d->env, &life[2], NULL), 0);
	s = load(d);
	assert_true(boot_state_is_equal(&s, &life[2]));
	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	assert_true((flags & FS_IMMUTABLE_FL) != 0);
	flags &= ~FS_IMMUTABLE_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
}

/* ---- the vendor's program ----------------------------------------------------------------------------------------- */

static void a_boot_program_that_does_wrong_is_found_out(void **state)
{
	static const struct {
		const char *mode, *error;
		bool loads;
	} cases[] = {
		{ "silent", "boot.read", false }, { "short", "boot.read", false }, { "long", "boot.read", false }, { "full", "boot.write", true }, { "lies", "boot.write", true },
	};
	struct device *d = *state;
	char path[128], text[64];
	struct boot_state s;
	_cleanup_error_ struct agent_error *err = NULL;

	snprintf(path, sizeof(path), "%s.mode", d->env);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		text_write(path, cases[i].mode);
		assert_int_equal(boot_script.load(d->env, &s, &err), cases[i].loads ? 0 : -EIO);
		if (!cases[i].loads)
			assert_error(&err, -EIO, cases[i].error);
		assert_int_equal(boot_script.store(d->env, &life[1 + i], &err), -EIO);
		assert_error(&err, -EIO, "boot.write");
	}
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s.state", d->env);
	text_write(path, "primary=a\nslot.a.godo=1\n");
	assert_int_equal(boot_script.load(d->env, &s, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "boot.format");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(boot_script.load(d->env, &s, &err), -ENOENT);
	assert_error(&err, -ENOENT, "boot.missing");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	snprintf(path, sizeof(path), "/%s/%.*s", text, 60, text);
	assert_int_equal(boot_script.load(path, &s, &err), -EINVAL);
	assert_error(&err, -EINVAL, "boot.config");
}

static void a_boot_program_of_another_user_is_not_asked(void **state)
{
	struct device *d = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct boot_state s;
	pid_t pid;
	int status, fd, ready[2];

	if (geteuid() != 0) {
		print_message("# needs root to be another user: not tested\n");
		skip();
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/other", d->dir.path);
	assert_int_equal(chmod(d->dir.path, 0777), 0);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (setuid(12345) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
			_exit(1);
		(void)!write(ready[1], "", 1);
		pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &status, 1), 1);
	close(ready[0]);
	assert_int_equal(boot_script.load(address.sun_path, &s, &err), -EPERM);
	assert_error(&err, -EPERM, "boot.config");
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* ---- which slot runs ---------------------------------------------------------------------------------------------- */

static void the_boot_loaders_word_is_compared_with_what_is_mounted(void **state)
{
	static const char *const devices[] = { "/dev/loop0", "/dev/vda", "/dev/sda", "/dev/mmcblk0", "/dev/ram0", "/dev/nvme0n1" };
	_cleanup_error_ struct agent_error *err = NULL;
	struct slot_table table = { 0 };
	struct stat st = { 0 };
	size_t i = 0;

	while (i < ARRAY_SIZE(devices) && (stat(devices[i], &st) < 0 || !S_ISBLK(st.st_mode)))
		i++;
	if (i == ARRAY_SIZE(devices)) {
		print_message("# no block device here: not tested\n");
		skip();
	}
	assert_int_equal(slot_table_add(&table, "rootfs", "a", devices[i], NULL), 0);
	assert_int_equal(slot_table_add(&table, "rootfs", "b", "/dev/null", NULL), 0);
	/* The loader's variable names the slot that it could not start. */
	assert_int_equal(slot_table_check_running(&table, "b", st.st_rdev, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "boot.booted");
	assert_int_equal(slot_table_check_running(&table, "a", st.st_rdev, &err), 0);
	assert_int_equal(slot_table_check_running(&table, "b", st.st_rdev + 1, &err), 0);
	slot_table_clear(&table);
}

static int setup_grub(void **state)
{
	return device_setup_rig(state, &rig_grub);
}

static int setup_efi(void **state)
{
	return device_setup_rig(state, &rig_efi);
}

static int setup_script(void **state)
{
	return device_setup_rig(state, &rig_script);
}

static int setup_systemd(void **state)
{
	return device_setup_rig(state, &rig_systemd);
}

#if defined(HAVE_UBOOTENV)
static int setup_uboot(void **state)
{
	return device_setup_rig(state, &rig_uboot);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f, rig) cmocka_unit_test_setup_teardown(f, setup_##rig, device_teardown)
		T(a_torn_grub_block_is_not_believed, grub),
		T(damaged_grub_blocks_are_refused, grub),
		T(new_grub_blocks_are_made_and_full_ones_refused, grub),
		cmocka_unit_test(the_boot_loaders_word_is_compared_with_what_is_mounted),
		T(entries_carry_the_counters_of_systemd_boot, systemd),
		T(a_slot_blessed_by_others_is_not_good, systemd),
		T(bad_boot_entries_are_refused, systemd),
		T(names_of_others_and_doubles_do_no_harm, systemd),
		T(efi_variables_have_the_bytes_the_firmware_wants, efi),
		T(a_slot_that_others_put_into_boot_order_is_not_good, efi),
		T(bad_efi_variables_are_refused, efi),
		T(efi_configurations_that_cannot_work_are_refused, efi),
		T(an_immutable_efi_variable_is_written_and_stays_so, efi),
		T(a_boot_program_that_does_wrong_is_found_out, script),
		T(a_boot_program_of_another_user_is_not_asked, script),
#if defined(HAVE_UBOOTENV)
		T(one_u_boot_copy_is_enough, uboot),
		T(bad_u_boot_variables_are_refused, uboot),
		T(u_boot_configurations_that_cannot_work_are_refused, uboot),
		T(a_full_u_boot_environment_keeps_what_it_had, uboot),
		T(attributes_in_a_nearly_full_u_boot_environment_do_no_harm, uboot),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
