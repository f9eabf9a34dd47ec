/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "uboot": U-Boot's environment through libubootenv. It must be redundant: libubootenv then writes the older copy, with a
 * higher number and a checksum, so that a torn write leaves the other copy, which U-Boot and we go on with. The argument is
 * an fw_env.config. Variables and boot script: docs/design/update.md, examples/boot/uboot.cmd.
 *
 * "booted" stays empty: a variable about it would be stale after a slot failed to start. agent.slot= on the kernel command
 * line tells, which U-Boot sets for the kernel it starts.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libuboot.h>
#include <mtd/ubi-user.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/macro.h"
#include "update/boot.h"
#include "update/lines.h"

#define COPIES 2
/* libubootenv computes with the size without looking at it, and keeps both copies in memory. */
#define SIZE_LEAST 64
#define SIZE_MOST (1024 * 1024)
#define LOCK_PATH "/var/lock/fw_printenv.lock" /* of libubootenv, U-Boot's tools use the same */

static const struct boot_variable variables[] = {
	{ "BOOT_", "_GOOD", BOOT_GOOD },
	{ "BOOT_", "_LEFT", BOOT_TRIES },
	{ "agent_security_version_", "", BOOT_SECURITY_VERSION },
	{ "agent_release_", "", BOOT_RELEASE },
	{ "agent_version_", "", BOOT_VERSION },
};

struct copy {
	char path[256];	/* as libubootenv bounds it */
	long long offset;
	size_t size;
};

/* fw_env.config(5): device, offset, size, and more that is not needed here. libubootenv skips what it cannot read; so do we. */
static int config_read(const char *config, struct copy ret_copies[COPIES], struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	char *cursor, *line;
	size_t n = 0;
	int r = file_read_at(AT_FDCWD, config, LINES_FILE_MAX, &text, NULL, NULL);

	if (r < 0)
		return agent_error_set(err, r == -ENOENT ? -EINVAL : r, "boot.config", "cannot read the U-Boot configuration %s: %s", config, strerror(-r));
	cursor = text;
	while (n < COPIES && (line = strsep(&cursor, "\n")) != NULL) {
		struct copy *copy = &ret_copies[n];

		if (line[0] != '#' && sscanf(line, "%255s %lli %zx", copy->path, &copy->offset, &copy->size) == 3)
			n++;
	}
	if (n < COPIES)
		return agent_error_set(err, -EINVAL, "boot.config", "%s names %zu environment, but a power cut needs a redundant one: two lines", config, n);
	if (ret_copies[0].size != ret_copies[1].size)
		return agent_error_set(err, -EINVAL, "boot.config", "%s: the two copies of the environment differ in size", config);
	if (ret_copies[0].size < SIZE_LEAST || ret_copies[0].size > SIZE_MOST)
		return agent_error_set(err, -EINVAL, "boot.config", "%s: a copy has %zu bytes; %d to %d are possible", config, ret_copies[0].size, SIZE_LEAST,
				       SIZE_MOST);
	return 0;
}

/* By its name, as libubootenv tells it. */
static bool is_named(const char *path, const char *beginning)
{
	_cleanup_free_ char *real = realpath(path, NULL);

	return real != NULL && strncmp(real, beginning, strlen(beginning)) == 0;
}

static bool is_ubi(const char *path)
{
	return is_named(path, "/dev/ubi");
}

/* Opening or reading anything else may never return, and of two copies that share a byte a torn write leaves none. */
static int copies_check(const struct copy copies[COPIES], struct agent_error **err)
{
	struct stat st[COPIES];
	uint64_t distance;

	for (size_t i = 0; i < COPIES; i++) {
		if (stat(copies[i].path, &st[i]) < 0)
			return agent_error_set(err, -errno, "boot.read", "cannot find the U-Boot environment %s: %s", copies[i].path, strerror(errno));
		if (!S_ISREG(st[i].st_mode) && !S_ISBLK(st[i].st_mode) &&
		    !(S_ISCHR(st[i].st_mode) && (is_ubi(copies[i].path) || is_named(copies[i].path, "/dev/mtd"))))
			return agent_error_set(err, -EINVAL, "boot.config", "%s is no file, block device, MTD or UBI volume: there is no U-Boot environment in it",
					       copies[i].path);
	}
	if (S_ISREG(st[0].st_mode) ? st[0].st_dev != st[1].st_dev || st[0].st_ino != st[1].st_ino
				   : (st[0].st_mode & S_IFMT) != (st[1].st_mode & S_IFMT) || st[0].st_rdev != st[1].st_rdev)
		return 0;
	distance = copies[0].offset > copies[1].offset ? (uint64_t)copies[0].offset - (uint64_t)copies[1].offset
						       : (uint64_t)copies[1].offset - (uint64_t)copies[0].offset;
	if (is_ubi(copies[0].path))
		distance = 0; /* a volume is read from its beginning, whatever the offset */
	if (distance < copies[0].size)
		return agent_error_set(err, -EINVAL, "boot.config", "the two copies of the U-Boot environment lie over each other in %s, %" PRIu64 " bytes apart",
				       copies[0].path, distance);
	return 0;
}

/* A power cut in the middle of an update leaves a volume that cannot be read until it is updated once more: with nothing, so it is empty. */
static int volume_mend(const struct copy *copy, struct agent_error **err)
{
	_cleanup_close_ int fd = open(copy->path, O_RDWR | O_CLOEXEC);
	int64_t nothing = 0;
	char byte;

	if (fd < 0)
		return agent_error_set(err, -errno, "boot.read", "cannot open the U-Boot environment %s: %s", copy->path, strerror(errno));
	if (read(fd, &byte, 1) >= 0 || errno != EBADF || ioctl(fd, UBI_IOCVOLUP, &nothing) == 0)
		return 0;
	return agent_error_set(err, -errno, "boot.read", "U-Boot environment %s was cut short and cannot be emptied: %s", copy->path, strerror(errno));
}

/* libubootenv gives up on both copies when one is cut short. Filled up it is a copy with a wrong checksum, as U-Boot takes it. */
static int fill_up(const struct copy *copy, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	off_t end = (off_t)copy->offset + (off_t)copy->size;

	if (is_ubi(copy->path))
		return volume_mend(copy, err);
	if (stat(copy->path, &st) < 0)
		return agent_error_set(err, -errno, "boot.read", "cannot find the U-Boot environment %s: %s", copy->path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size >= end)
		return 0;
	fd = open(copy->path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || ftruncate(fd, end) < 0)
		return agent_error_set(err, -errno, "boot.read", "U-Boot environment %s is cut short and cannot be filled up: %s", copy->path, strerror(errno));
	return 0;
}

static void env_close(struct uboot_ctx **ctx)
{
	if (*ctx == NULL)
		return;
	libuboot_close(*ctx);
	libuboot_exit(*ctx);
	*ctx = NULL;
}
#define _cleanup_env_ _cleanup_(env_close)

/* With the lock of U-Boot's tools held until env_close(), if it can be had: see docs/design/update.md. */
static int env_open(const char *config, const struct copy copies[COPIES], struct uboot_ctx **ret_ctx, struct agent_error **err)
{
	_cleanup_env_ struct uboot_ctx *ctx = NULL;
	int r = copies_check(copies, err);

	for (size_t i = 0; i < COPIES && r == 0; i++)
		r = fill_up(&copies[i], err);
	if (r < 0)
		return r;
	r = libuboot_initialize(&ctx, NULL);
	if (r < 0)
		return agent_error_set(err, r, "boot.read", "cannot start libubootenv: %s", strerror(-r));
	r = libuboot_read_config(ctx, config);
	if (r < 0)
		return agent_error_set(err, r, "boot.config", "libubootenv cannot use %s: its devices are missing, not readable or not alike", config);
	r = libuboot_open(ctx);
	/* U-Boot would start with its built-in variables, of which we know nothing: writing only ours would lose them. */
	if (r == -ENODATA)
		return agent_error_set(err, -EBADMSG, "boot.format", "neither copy of the U-Boot environment has a right checksum; run saveenv in U-Boot once");
	if (r < 0)
		return agent_error_set(err, r, "boot.read", "cannot read the U-Boot environment: %s", strerror(-r));
	*ret_ctx = TAKE_PTR(ctx);
	return 0;
}

static int state_get(struct uboot_ctx *ctx, struct boot_state *ret_state, struct agent_error **err)
{
	_cleanup_free_ char *order = libuboot_get_env(ctx, "BOOT_ORDER");
	struct boot_state state;

	if (order == NULL)
		return agent_error_set(err, -ENOENT, "boot.missing", "the U-Boot environment has no BOOT_ORDER");
	if (boot_order_parse(order, &state) < 0)
		return agent_error_set(err, -EBADMSG, "boot.format", "U-Boot environment: BOOT_ORDER is not one or two slot names");
	for (size_t i = 0; i < state.n_slots; i++)
		for (size_t k = 0; k < ARRAY_SIZE(variables); k++) {
			_cleanup_free_ char *value = NULL;
			char name[BOOT_VARIABLE_MAX];

			boot_variable_name(&variables[k], state.slots[i].name, name);
			value = libuboot_get_env(ctx, name);
			if (boot_value_parse(&state.slots[i], &variables[k], value) < 0)
				return agent_error_set(err, -EBADMSG, "boot.format", "U-Boot environment: the value of %s is not valid", name);
		}
	*ret_state = state;
	return 0;
}

static int uboot_load(const char *config, struct boot_state *ret_state, struct agent_error **err)
{
	_cleanup_env_ struct uboot_ctx *ctx = NULL;
	struct copy copies[COPIES];
	int r;

	r = config_read(config, copies, err);
	if (r == 0)
		r = env_open(config, copies, &ctx, err);
	return r < 0 ? r : state_get(ctx, ret_state, err);
}

static int variable_set(struct uboot_ctx *ctx, const char *name, const char *value, struct agent_error **err)
{
	int r = libuboot_set_env(ctx, name, value[0] == '\0' ? NULL : value);

	if (r == -EPERM)
		return agent_error_set(err, r, "boot.write", "U-Boot environment: %s is protected by .flags", name);
	return r < 0 ? agent_error_set(err, r, "boot.write", "U-Boot environment: cannot set %s: %s", name, strerror(-r)) : 0;
}

static int state_set(struct uboot_ctx *ctx, const struct boot_state *state, struct agent_error **err)
{
	char name[BOOT_VARIABLE_MAX], value[BOOT_VALUE_MAX];
	int r;

	boot_order_print(state, value);
	r = variable_set(ctx, "BOOT_ORDER", value, err);
	for (size_t i = 0; i < state->n_slots; i++)
		for (size_t k = 0; k < ARRAY_SIZE(variables) && r == 0; k++) {
			boot_variable_name(&variables[k], state->slots[i].name, name);
			boot_value_print(&state->slots[i], &variables[k], value);
			r = variable_set(ctx, name, value, err);
		}
	for (size_t i = 0; i < state->n_env && r == 0; i++)
		r = variable_set(ctx, state->env[i].name, state->env[i].value, err);
	return r;
}

/* Is every variable of the bundle there with its value, or gone if it has none? */
static bool env_is_stored(struct uboot_ctx *ctx, const struct boot_state *state)
{
	for (size_t i = 0; i < state->n_env; i++) {
		_cleanup_free_ char *value = libuboot_get_env(ctx, state->env[i].name);

		if (strcmp(value == NULL ? "" : value, state->env[i].value) != 0)
			return false;
	}
	return true;
}

/*
 * CRC, flags, "name=value" with a NUL each, one more NUL. libubootenv notices when that is too much, and leaks its buffer; but
 * then it appends ".flags=name:xy,name:xy..." for the variables that have attributes without looking where the buffer ends
 * (version 0.3: it adds up what snprintf() would have written). It does not tell which have some, so there must be room for all.
 */
static bool does_fit(struct uboot_ctx *ctx, size_t size)
{
	size_t n = 4 + 1 + 1 + strlen(".flags=") + 1;

	for (void *entry = libuboot_iterator(ctx, NULL); entry != NULL; entry = libuboot_iterator(ctx, entry))
		n += strlen(libuboot_getname(entry)) + strlen(libuboot_getvalue(entry)) + 2 + strlen(libuboot_getname(entry)) + strlen(":xy,");
	return n <= size;
}

/*
 * For copies_sync(). -1 for a UBI volume, which is durable with its last byte, and which nobody may have open beside who updates it
 * (Linux, drivers/mtd/ubi/cdev.c).
 */
static int copy_open(const struct copy *copy, int *ret_fd, struct agent_error **err)
{
	if (is_ubi(copy->path))
		return 0;
	*ret_fd = open(copy->path, O_RDONLY | O_CLOEXEC);
	if (*ret_fd < 0)
		return agent_error_set(err, -errno, "boot.write", "cannot open the U-Boot environment %s: %s", copy->path, strerror(errno));
	return 0;
}

/* libubootenv ignores what fsync() says. A descriptor opened before the write is told as well. */
static int copies_sync(const int fds[COPIES], struct agent_error **err)
{
	for (size_t i = 0; i < COPIES; i++)
		if (fds[i] >= 0 && fsync(fds[i]) < 0 && errno != EINVAL && errno != EROFS) /* EINVAL: flash without a cache */
			return agent_error_set(err, -errno, "boot.write", "cannot sync the U-Boot environment: %s", strerror(errno));
	return 0;
}

static int uboot_store(const char *config, const struct boot_state *state, struct agent_error **err)
{
	_cleanup_env_ struct uboot_ctx *ctx = NULL;
	_cleanup_close_ int fd0 = -1, fd1 = -1;
	struct boot_state now = { 0 };
	struct copy copies[COPIES];
	int r;

	r = boot_names_check(state, err);
	if (r == 0)
		r = config_read(config, copies, err);
	if (r == 0)
		r = env_open(config, copies, &ctx, err);
	if (r == 0)
		r = state_set(ctx, state, err);
	if (r < 0)
		return r;
	if (!does_fit(ctx, copies[0].size))
		return agent_error_set(err, -ENOSPC, "boot.write", "the U-Boot environment of %zu bytes is full", copies[0].size);
	r = copy_open(&copies[0], &fd0, err);
	if (r == 0)
		r = copy_open(&copies[1], &fd1, err);
	if (r < 0)
		return r;
	r = libuboot_env_store(ctx);
	if (r != 0) /* a foreign errno, -1 or a short count */
		return agent_error_set(err, -EIO, "boot.write", "cannot write the U-Boot environment in %s or %s", copies[0].path, copies[1].path);
	r = copies_sync((const int[COPIES]){ fd0, fd1 }, err);
	if (r < 0)
		return r;
	env_close(&ctx);
	r = env_open(config, copies, &ctx, err);
	if (r == 0)
		r = state_get(ctx, &now, err);
	if (r == 0 && (!boot_state_is_equal(&now, state) || !env_is_stored(ctx, state)))
		r = agent_error_set(err, -EIO, "boot.write", "the U-Boot environment does not hold what was written");
	return r;
}

static int uboot_paths(const char *config, agent_update_path_fn fn, void *userdata, struct agent_error **err)
{
	const unsigned rw = AGENT_UPDATE_PATH_READ | AGENT_UPDATE_PATH_WRITE;
	struct copy copies[COPIES];
	int r;

	r = fn(userdata, config, AGENT_UPDATE_PATH_READ, err);
	if (r >= 0)
		r = config_read(config, copies, err);
	for (size_t i = 0; i < COPIES && r >= 0; i++)
		r = fn(userdata, copies[i].path, rw | AGENT_UPDATE_PATH_DEVICE, err);
	/* The file alone: who may make others in that folder can stand in the way of other programs. */
	return r < 0 ? r : fn(userdata, LOCK_PATH, rw, err);
}

const struct boot_backend boot_uboot = { .name = "uboot", .env_value_max = 255, .load = uboot_load, .store = uboot_store, .paths = uboot_paths };
