/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BOOT_RIGS_H
#define TESTS_UNIT_BOOT_RIGS_H
/* The boot environments as factories leave them, with something in each that belongs to others. After update_fixture.h. */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

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
			char from[40], to[40], path[192];

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

/* ---- EFI variables ------------------------------------------------------------------------------------------------ */

#define EFI_GUID "8be4df61-93ca-11d2-aa0d-00e098032b8c"

static inline const char *efi_path(struct device *d, const char *name)
{
	static char path[192];

	snprintf(path, sizeof(path), "%s/vars/%s-" EFI_GUID, d->dir.path, name);
	return path;
}

static inline void efi_variable(struct device *d, const char *name, const void *data, size_t size)
{
	uint8_t file[512] = { 7 };

	memcpy(file + 4, data, size);
	assert_int_equal(file_replace_at(AT_FDCWD, efi_path(d, name), 0644, file, 4 + size, NULL), 0);
}

/* Boot#### as "efibootmgr -C -p 1 -L LABEL -l '\EFI\agent\a.efi'" (version 17) made it, but for the label and the attributes. */
static inline void efi_entry(struct device *d, const char *name, const char *label, uint8_t attributes)
{
	static const uint8_t path_list[] = {
		0x04, 0x01, 0x2a, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x6e, 0xef, 0x19, 0x84, 0xa8, 0xcb, 0x47, 0xc1, 0xaf, 0x75, 0x91, 0x07, 0xd2, 0x23, 0x33, 0xf6, 0x02, 0x02,
		0x04, 0x04, 0x26, 0x00, 0x5c, 0x00, 0x45, 0x00, 0x46, 0x00, 0x49, 0x00, 0x5c, 0x00, 0x61, 0x00, 0x67, 0x00, 0x65, 0x00, 0x6e,
		0x00, 0x74, 0x00, 0x5c, 0x00, 0x61, 0x00, 0x2e, 0x00, 0x65, 0x00, 0x66, 0x00, 0x69, 0x00, 0x00, 0x00, 0x7f, 0xff, 0x04, 0x00,
	};
	uint8_t data[256] = { attributes, 0, 0, 0, sizeof(path_list), 0 };
	size_t n = 6;

	for (size_t i = 0; i <= strlen(label); i++, n += 2)
		data[n] = (uint8_t)label[i];
	memcpy(data + n, path_list, sizeof(path_list));
	efi_variable(d, name, data, n + sizeof(path_list));
}

static inline void rig_efi_make(struct device *d)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/vars", d->dir.path);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(d->env, sizeof(d->env), "%.40s/vars:%.40s/record", d->dir.path, d->dir.path);
	efi_entry(d, "Boot0000", "agent-a", 1);
	efi_entry(d, "Boot00C1", "agent-b", 1);
	efi_entry(d, "Boot0003", "Rescue", 1);
	efi_entry(d, "Boot0005", "agent", 1);
	efi_variable(d, "BootCurrent", "\0\0", 2);
	efi_variable(d, "BootOrder", "\5\0\0\0\3\0", 6);
}

/* The firmware's part. */
static inline void rig_efi_count_down(struct device *d, const struct boot_state *next)
{
	if (unlink(efi_path(d, "BootNext")) < 0)
		assert_int_equal(errno, ENOENT);
}

static const struct boot_rig rig_efi = { .backend = &boot_efi, .make = rig_efi_make, .count_down = rig_efi_count_down };

/* ---- the vendor's program ----------------------------------------------------------------------------------------- */

/* What d->env + ".mode" names is done wrong. */
static inline void script_answer(struct device *d, int fd)
{
	char text[8192] = "", path[128], answer[8300] = "error there is no such request\nend\n", mode[32] = "";
	_cleanup_free_ char *kept = NULL;
	size_t n = 0;
	ssize_t r;

	while ((n < 4 || strcmp(text + n - 4, "end\n") != 0) && (r = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		text[n += (size_t)r] = '\0';
	snprintf(path, sizeof(path), "%s.mode", d->env);
	if (file_read_at(AT_FDCWD, path, sizeof(mode) - 1, &kept, NULL, NULL) == 0)
		snprintf(mode, sizeof(mode), "%s", kept);
	free(TAKE_PTR(kept));
	if (strcmp(mode, "silent") == 0 || n < 4 || strcmp(text + n - 4, "end\n") != 0)
		return;
	text[n - 4] = '\0';
	snprintf(path, sizeof(path), "%s.state", d->env);
	if (strcmp(text, "load\n") == 0 && file_read_at(AT_FDCWD, path, 8192, &kept, NULL, NULL) == 0)
		snprintf(answer, sizeof(answer), "%send\n", kept);
	else if (strcmp(text, "load\n") == 0)
		strcpy(answer, "missing\nend\n");
	else if (strncmp(text, "store\n", 6) == 0 && strcmp(mode, "lies") == 0)
		strcpy(answer, "ok\nend\n");
	else if (strncmp(text, "store\n", 6) == 0 && strcmp(mode, "full") != 0 && file_replace_at(AT_FDCWD, path, 0644, text + 6, strlen(text + 6), NULL) == 0)
		strcpy(answer, "ok\nend\n");
	else if (strncmp(text, "store\n", 6) == 0)
		strcpy(answer, "error no space in flash\nend\n");
	if (strcmp(mode, "short") == 0)
		answer[strlen(answer) - 1] = '\0';
	if (strcmp(mode, "long") == 0) {
		memset(answer, 'x', sizeof(answer) - 1);
		answer[sizeof(answer) - 1] = '\0';
	}
	(void)!send(fd, answer, strlen(answer), MSG_NOSIGNAL);
}

static inline void rig_script_make(struct device *d)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char path[128];

	snprintf(path, sizeof(path), "%s.state", d->env);
	text_write(path, FACTORY_ENV);
	strcpy(address.sun_path, d->env);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	d->server = fork();
	assert_true(d->server >= 0);
	while (d->server == 0) {
		int peer;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		peer = accept(fd, NULL, NULL);
		if (peer < 0)
			_exit(1);
		script_answer(d, peer);
		close(peer);
	}
	close(fd);
}

static inline void rig_script_unmake(struct device *d)
{
	kill(d->server, SIGKILL);
	waitpid(d->server, NULL, 0);
}

static const struct boot_rig rig_script = { .backend = &boot_script, .tells_booted = true, .make = rig_script_make, .unmake = rig_script_unmake };

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

/* As far as the boot loader of this rig can count. */
static inline struct boot_state life_of(struct device *d, size_t i)
{
	struct boot_state s = life[i];

	for (size_t k = 0; k < s.n_slots; k++)
		if (d->rig->backend->max_tries != 0 && s.slots[k].n_tries_left > d->rig->backend->max_tries)
			s.slots[k].n_tries_left = d->rig->backend->max_tries;
	return s;
}

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
