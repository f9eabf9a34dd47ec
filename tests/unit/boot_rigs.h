/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BOOT_RIGS_H
#define TESTS_UNIT_BOOT_RIGS_H
/* The boot environments as factories leave them, with something in each that belongs to others. After update_fixture.h. */
#include <errno.h>

#include <zlib.h>

static inline void text_write(const char *path, const char *text)
{
	assert_int_equal(file_replace_at(AT_FDCWD, path, 0644, text, strlen(text), NULL), 0);
}

static inline void text_read(const char *path, char *ret_text, size_t size)
{
	_cleanup_free_ char *data = NULL;
	size_t n = 0;

	assert_int_equal(file_read_at(AT_FDCWD, path, size - 1, &data, &n, NULL), 0);
	memcpy(ret_text, data, n);
	ret_text[n] = '\0';
}

DEFINE_CLEANUP(struct agent_update *, agent_update_free)
#define _cleanup_engine_ _cleanup_(agent_update_freep)

/* ---- GRUB --------------------------------------------------------------------------------------------------------- */

#define GRUB_SIGNATURE "# GRUB Environment Block\n"
#define GRUB_BYTES 1024
#define GRUB_FACTORY "agent_seq=0\nagent_order=a b\nagent_good_a=1\nagent_left_a=0\nagent_good_b=0\nagent_left_b=0\n# WARNING: not ours\nsaved_entry=with\\\\slash\\\nand line\nagent_end=0\n"

static inline void grub_block(const char *config, int copy, const char *lines)
{
	char block[GRUB_BYTES], path[160];

	memset(block, '#', sizeof(block));
	memcpy(block, GRUB_SIGNATURE, strlen(GRUB_SIGNATURE));
	memcpy(block + strlen(GRUB_SIGNATURE), lines, strlen(lines));
	snprintf(path, sizeof(path), "%s.%d", config, copy);
	assert_int_equal(file_replace_at(AT_FDCWD, path, 0644, block, sizeof(block), NULL), 0);
}

static inline void rig_grub_make(struct device *d)
{
	grub_block(d->env, 0, GRUB_FACTORY);
	/* As grub-editenv makes it. */
	grub_block(d->env, 1, "");
}

static const struct boot_rig rig_grub = { .backend = &boot_grub, .make = rig_grub_make };

/* ---- systemd-boot ------------------------------------------------------------------------------------------------- */

#define ENTRY_A "title Gateway\nlinux /agent/a/linux\noptions root=/dev/vda2 agent.slot=a\n"
#define ENTRY_B "title Gateway\nlinux /agent/b/linux\noptions root=/dev/vda3 agent.slot=b"

static inline const char *entry_path(struct device *d, const char *name)
{
	static char path[192];

	snprintf(path, sizeof(path), "%s/loader/entries/%s", d->env, name);
	return path;
}

static inline void rig_systemd_make(struct device *d)
{
	char path[160];

	assert_int_equal(mkdir(d->env, 0755), 0);
	snprintf(path, sizeof(path), "%s/loader", d->env);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/loader/entries", d->env);
	assert_int_equal(mkdir(path, 0755), 0);
	text_write(entry_path(d, "agent-a.conf"), ENTRY_A);
	text_write(entry_path(d, "agent-b+0.conf"), ENTRY_B);
	text_write(entry_path(d, "rescue.conf"), "title Rescue\nlinux /rescue\n");
	snprintf(path, sizeof(path), "%s/loader/loader.conf", d->env);
	text_write(path, "timeout 0\n#default rescue.conf\n");
}

/* systemd-boot's part: +LEFT-DONE becomes +LEFT-1-DONE+1. */
static inline void rig_systemd_count_down(struct device *d, const struct boot_state *next)
{
	for (unsigned left = 1; left <= 9; left++)
		for (unsigned done = 0; done <= 9; done++) {
			char from[32], to[32], path[192];

			if (done == 0)
				snprintf(from, sizeof(from), "agent-%s+%u.conf", next->primary, left);
			else
				snprintf(from, sizeof(from), "agent-%s+%u-%u.conf", next->primary, left, done);
			strcpy(path, entry_path(d, from));
			snprintf(to, sizeof(to), "agent-%s+%u-%u.conf", next->primary, left - 1, done + 1);
			if (rename(path, entry_path(d, to)) == 0)
				return;
		}
	fail_msg("no entry of slot %s to count down", next->primary);
}

static const struct boot_rig rig_systemd = { .backend = &boot_systemd, .make = rig_systemd_make, .count_down = rig_systemd_count_down };

/* ---- U-Boot ------------------------------------------------------------------------------------------------------- */

#if defined(HAVE_UBOOTENV)
#define UBOOT_BYTES 4096u
#define UBOOT_FACTORY "BOOT_ORDER=a b\0BOOT_a_GOOD=1\0bootcmd=run agent_boot\0ethaddr=02:00:00:00:00:01\0"

static inline const char *uboot_path(struct device *d, int copy)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s.%d", d->env, copy);
	return path;
}

/* One copy as mkenvimage -r makes it: CRC-32 of the data, flags, data. */
static inline void uboot_copy(struct device *d, int copy, uint8_t flags, const char *variables, size_t n)
{
	uint8_t image[UBOOT_BYTES] = { 0 };
	uint32_t crc;

	memcpy(image + 5, variables, n);
	crc = (uint32_t)crc32(0, image + 5, UBOOT_BYTES - 5);
	memcpy(image, &crc, 4);
	image[4] = flags;
	assert_int_equal(file_replace_at(AT_FDCWD, uboot_path(d, copy), 0644, image, sizeof(image), NULL), 0);
}

static inline void rig_uboot_make(struct device *d)
{
	char config[512];

	uboot_copy(d, 0, 1, UBOOT_FACTORY, sizeof(UBOOT_FACTORY));
	uboot_copy(d, 1, 0, "bootcmd=old\0", 12);
	snprintf(config, sizeof(config), "# device offset size\n%s.0 0x0 0x%x\n%s.1 0x0 0x%x\n", d->env, UBOOT_BYTES, d->env, UBOOT_BYTES);
	text_write(d->env, config);
}

static const struct boot_rig rig_uboot = { .backend = &boot_uboot, .make = rig_uboot_make };
#endif

/* ---- steps -------------------------------------------------------------------------------------------------------- */

/* The life of a device, one change of the boot environment after the other. */
static const struct boot_state life[] = {
	{ "a", "", { { "a", true, 0, 0, "", "" }, { "b", false, 0, 0, "", "" } }, 2 },
	{ "b", "", { { "a", true, 0, 0, "", "" }, { "b", false, 3, 5, "r-1", "2.0" } }, 2 },
	{ "b", "", { { "a", true, 0, 0, "", "" }, { "b", true, 0, 5, "r-1", "2.0" } }, 2 },
	{ "b", "", { { "a", false, 0, 0, "", "" }, { "b", true, 0, 5, "r-1", "2.0" } }, 2 },
	{ "a", "", { { "a", false, 9, 5, "r-2", "2.0.1" }, { "b", true, 0, 5, "r-1", "2.0" } }, 2 },
	{ "a", "", { { "a", false, 8, 5, "r-2", "2.0.1" }, { "b", true, 0, 5, "r-1", "2.0" } }, 2 },
	{ "a", "", { { "a", true, 0, 5, "r-2", "2.0.1" }, { "b", true, 0, 5, "r-1", "2.0" } }, 2 },
	{ "b", "", { { "a", true, 0, 5, "r-2", "2.0.1" }, { "b", true, 0, 5, "r-1", "2.0" } }, 2 },
	{ "a", "", { { "a", true, 0, 5, "r-2", "2.0.1" }, { "b", true, 0, 5, "r-1", "2.0" } }, 2 },
	{ "b", "", { { "a", false, 0, 0, "", "" }, { "b", true, 0, 5, "r-1", "2.0" } }, 2 },
	{ "a", "", { { "a", false, 1, 9223372036854775807, "0123456789012345678901234567890123456789012345678901234567890123", "v" },
		     { "b", true, 0, 5, "r-1", "0123456789012345678901234567890123456789012345678901234567890123" } }, 2 },
};

static inline struct boot_state load(struct device *d)
{
	struct boot_state s = { 0 };
	_cleanup_error_ struct agent_error *err = NULL;

	if (d->rig->backend->load(d->env, &s, &err) < 0)
		fail_msg("%s: %s", d->rig->backend->name, agent_error_message(err));
	return s;
}

static inline int step_install(struct device *d, const void *argument)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	return install(d, u, &(struct bundle){ .release = argument }, 0, NULL);
}

static inline int step_confirm(struct device *d, const void *argument)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	uint64_t floor = 0;
	int r = agent_update_confirm(u, &floor, NULL);

	return r < 0 ? r : floor != 5 ? -EINVAL : agent_update_confirm_done(u, NULL);
}

static inline int step_rollback(struct device *d, const void *argument)
{
	_cleanup_engine_ struct agent_update *u = engine(d);

	return agent_update_rollback(u, 0, NULL);
}

static inline void check_stage(struct device *d, enum agent_update_stage stage, const char *failed)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	struct agent_update_status s;

	assert_int_equal(agent_update_settle(u, NULL), 0);
	assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
	assert_int_equal(s.stage, stage);
	assert_string_equal(s.failed_release_id == NULL ? "" : s.failed_release_id, failed);
}

#endif
