/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults inside libubootenv. Its calls come to this file first: each open, lseek, read, write, fsync, ioctl and flock fails once, is cut short, or
 * is where the power goes, over two files, both copies in one file, NOR flash, NAND flash with a bad block, and UBI volumes. The
 * environment is then the old one or the new one, and what was said to have failed has a sentence.
 *
 * Flash is a double: files behind the names /dev/mtd0, /dev/mtd1, /dev/ubi0_0 and /dev/ubi0_1, which do what Linux does with these calls
 * (drivers/mtd/mtdchar.c, drivers/mtd/ubi/cdev.c). No real flash was here.
 */
#include "config.h"

#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"
#include "tests/unit/boot_rigs.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#if !defined(HAVE_UBOOTENV)
int main(void)
{
	return 77;
}
#else
#include <mtd/mtd-user.h>
#include <mtd/ubi-user.h>

enum medium { TWO_FILES, ONE_FILE, NOR, NAND, UBI, N_MEDIA };
static const char *const medium_names[N_MEDIA] = { "two files", "one file", "NOR", "NAND", "UBI" };

#define SECTOR 1024u			   /* an erase block: a copy is four of them */
#define FLASH_BYTES (UBOOT_BYTES + SECTOR) /* one to spare, for the bad block */
#define ONE_OFFSET 8192u

/* ---- the double of flash -------------------------------------------------------------------------------------------- */

static enum medium medium;
static char folder[64];
static const char *const device_names[] = { "/dev/mtd0", "/dev/mtd1", "/dev/ubi0_0", "/dev/ubi0_1" };
static struct {
	int copy;
	bool is_open, is_updating;
	size_t left;	/* of the update */
} opened[256];

static const char *backing(int copy)
{
	static char path[2][96];

	snprintf(path[copy], sizeof(path[copy]), "%s/env.%d", folder, copy);
	return path[copy];
}

static bool is_ours(const char *path)
{
	return folder[0] != '\0' && strncmp(path, folder, strlen(folder)) == 0 && strstr(path, "/env.") != NULL;
}

/* The copy a device name stands for, or -1. */
static int device_copy(const char *path)
{
	for (int i = 0; i < 4; i++)
		if (strcmp(path, device_names[i]) == 0)
			return i % 2;
	return -1;
}

/* An update that was begun and not ended stays in the volume. */
static const char *marker(int copy)
{
	static char path[112];

	snprintf(path, sizeof(path), "%s.updating", backing(copy));
	return path;
}

static bool is_bad_block(int copy, long long at)
{
	return medium == NAND && copy == 1 && at / (long long)SECTOR == 1;
}

/* ---- faults ----------------------------------------------------------------------------------------------------------- */

enum fault { NO_FAULT, FAILS, FULL, SHORT, KILL_BEFORE, KILL_TORN, KILL_AFTER, N_FAULTS };

static enum fault fault;
static long n_calls, fault_at;

static bool is_due(void)
{
	return n_calls++ == fault_at && fault != NO_FAULT;
}

/* -1: the call fails; 1: go on, and let the power go after it; 0: go on. */
static int step(void)
{
	if (!is_due())
		return 0;
	if (fault == FAILS || fault == FULL) {
		errno = fault == FULL ? ENOSPC : EIO;
		return -1;
	}
	if (fault == KILL_BEFORE || fault == KILL_TORN)
		kill(getpid(), SIGKILL);
	return fault == KILL_AFTER ? 1 : 0;
}

static void step_end(int s)
{
	if (s > 0)
		kill(getpid(), SIGKILL);
}

/* ---- these come before the C library's -------------------------------------------------------------------------------- */

#pragma GCC visibility push(default) /* -fvisibility=hidden would keep them from libubootenv */

int open(const char *path, int flags, ...);
int open(const char *path, int flags, ...)
{
	int copy = device_copy(path), s = 0, fd;
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if ((flags & O_CREAT) != 0)
		mode = va_arg(args, mode_t);
	va_end(args);
	if (copy >= 0 || is_ours(path))
		s = step();
	if (s < 0)
		return -1;
	fd = (int)syscall(SYS_openat, AT_FDCWD, copy >= 0 ? backing(copy) : path, flags, mode);
	if (fd >= 0 && copy >= 0) {
		assert_true(fd < (int)ARRAY_SIZE(opened));
		opened[fd].copy = copy;
		opened[fd].is_open = true;
		opened[fd].is_updating = false;
	}
	step_end(s);
	return fd;
}

int close(int fd);
int close(int fd)
{
	if (fd >= 0 && fd < (int)ARRAY_SIZE(opened))
		opened[fd].is_open = false;
	return (int)syscall(SYS_close, fd);
}

char *realpath(const char *path, char *resolved);
char *realpath(const char *path, char *resolved)
{
	assert_null(resolved);
	return strdup(path);
}

int stat(const char *path, struct stat *st);
int stat(const char *path, struct stat *st)
{
	int copy = device_copy(path), r = fstatat(AT_FDCWD, copy >= 0 ? backing(copy) : path, st, 0);

	if (r == 0 && copy >= 0) {
		st->st_mode = S_IFCHR | 0600;
		st->st_rdev = (dev_t)(0x5a00 + copy);
	}
	return r;
}

static bool is_device(int fd)
{
	return fd >= 0 && fd < (int)ARRAY_SIZE(opened) && opened[fd].is_open;
}

static bool is_counted(int fd)
{
	char link[32], path[256];
	ssize_t n;

	if (is_device(fd))
		return true;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	return is_ours(path);
}

off_t lseek(int fd, off_t offset, int whence);
off_t lseek(int fd, off_t offset, int whence)
{
	int s = is_counted(fd) ? step() : 0;
	off_t r;

	if (s < 0)
		return -1;
	r = (off_t)syscall(SYS_lseek, fd, offset, whence);
	step_end(s);
	return r;
}

ssize_t read(int fd, void *data, size_t n);
ssize_t read(int fd, void *data, size_t n)
{
	bool counted = is_counted(fd), is_short;
	int s = counted ? step() : 0;
	ssize_t r;

	if (s < 0)
		return -1;
	if (medium == UBI && is_device(fd) && access(marker(opened[fd].copy), F_OK) == 0) {
		errno = EBADF;
		return -1;
	}
	is_short = counted && fault == SHORT && n_calls - 1 == fault_at && n > 1;
	r = syscall(SYS_read, fd, data, is_short ? n / 2 : n);
	step_end(s);
	return r;
}

/* A chip clears bits; only erasing sets them. */
static void flash_program(int fd, const void *data, size_t n)
{
	off_t at = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
	const uint8_t *bytes = data;
	uint8_t now[UBOOT_BYTES];

	assert_true(n <= sizeof(now));
	assert_int_equal(syscall(SYS_pread64, fd, now, n, at), n);
	for (size_t i = 0; i < n; i++)
		now[i] &= bytes[i];
	assert_int_equal(syscall(SYS_pwrite64, fd, now, n, at), n);
	syscall(SYS_lseek, fd, at + (off_t)n, SEEK_SET);
}

static ssize_t device_write(int fd, const void *data, size_t n)
{
	if (medium == NOR || medium == NAND) {
		flash_program(fd, data, n);
		return (ssize_t)n;
	}
	if (!opened[fd].is_updating) {
		errno = EPERM; /* a dynamic volume takes bytes by an update only */
		return -1;
	}
	if (n > opened[fd].left)
		n = opened[fd].left;
	n = (size_t)syscall(SYS_write, fd, data, n);
	opened[fd].left -= n;
	if (opened[fd].left == 0) {
		opened[fd].is_updating = false;
		unlink(marker(opened[fd].copy));
	}
	return (ssize_t)n;
}

ssize_t write(int fd, const void *data, size_t n);
ssize_t write(int fd, const void *data, size_t n)
{
	bool counted = fd > 2 && is_counted(fd), is_last = counted && fault == KILL_TORN && n_calls == fault_at;
	int s = counted && !is_last ? step() : 0;
	ssize_t r;

	if (s < 0)
		return -1;
	if (is_last || (counted && fault == SHORT && n_calls - 1 == fault_at && n > 1 && medium != NOR && medium != NAND))
		n = n < 1024 ? n / 2 : n / 2 / 512 * 512;
	r = is_device(fd) ? device_write(fd, data, n) : syscall(SYS_write, fd, data, n);
	step_end(is_last ? 1 : s);
	return r;
}

int fsync(int fd);
int fsync(int fd)
{
	int s = is_counted(fd) ? step() : 0, r = 0;

	if (s < 0)
		return -1;
	if (is_device(fd)) {
		errno = EINVAL;
		r = -1;
	}
	step_end(s);
	return r;
}

int flock(int fd, int operation);
int flock(int fd, int operation)
{
	return step() < 0 ? -1 : 0;
}

static void flash_erase(int fd, const struct erase_info_user *erase)
{
	uint8_t ones[SECTOR];

	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(erase->start % SECTOR, 0);
	for (uint32_t done = 0; done < erase->length; done += SECTOR)
		assert_int_equal(syscall(SYS_pwrite64, fd, ones, SECTOR, (off_t)(erase->start + done)), SECTOR);
}

static int volume_update(int fd, int64_t n)
{
	uint8_t ones[UBOOT_BYTES];
	int n_open = 0, marker_fd;

	for (size_t i = 0; i < ARRAY_SIZE(opened); i++)
		n_open += opened[i].is_open && opened[i].copy == opened[fd].copy;
	if (n_open > 1) {
		errno = EBUSY;
		return -1;
	}
	marker_fd = (int)syscall(SYS_openat, AT_FDCWD, marker(opened[fd].copy), O_WRONLY | O_CREAT, 0600);
	assert_true(marker_fd >= 0);
	syscall(SYS_close, marker_fd);
	/* What is not there reads as ones. */
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(syscall(SYS_pwrite64, fd, ones, sizeof(ones), 0), sizeof(ones));
	syscall(SYS_lseek, fd, 0, SEEK_SET);
	opened[fd].is_updating = n > 0;
	opened[fd].left = (size_t)n;
	if (n == 0)
		unlink(marker(opened[fd].copy));
	return 0;
}

#if defined(__GLIBC__)
int ioctl(int fd, unsigned long request, ...);
int ioctl(int fd, unsigned long request, ...)
#else
int ioctl(int fd, int request, ...);
int ioctl(int fd, int request, ...)
#endif
{
	va_list args;
	void *arg;
	int s, r = 0;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (!is_device(fd))
		return (int)syscall(SYS_ioctl, fd, request, arg);
	s = step();
	if (s < 0)
		return -1;
	switch ((unsigned)request) {
	case (unsigned)MEMGETINFO:
		*(struct mtd_info_user *)arg = (struct mtd_info_user){ .type = medium == NAND ? MTD_NANDFLASH : MTD_NORFLASH, .size = FLASH_BYTES, .erasesize = SECTOR };
		break;
	case (unsigned)MEMERASE:
		flash_erase(fd, arg);
		break;
	case (unsigned)MEMGETBADBLOCK:
		r = is_bad_block(opened[fd].copy, *(long long *)arg);
		break;
	case (unsigned)UBI_IOCVOLUP:
		r = volume_update(fd, *(int64_t *)arg);
		break;
	case (unsigned)MEMUNLOCK:
	case (unsigned)MEMLOCK:
		break;
	default:
		errno = ENOTTY;
		r = -1;
	}
	step_end(s);
	return r;
}

#pragma GCC visibility pop

/* ---- an environment on each medium ------------------------------------------------------------------------------------ */

static void copy_make(int copy, uint8_t flags, const char *variables, size_t n)
{
	uint8_t image[ONE_OFFSET + UBOOT_BYTES], block[UBOOT_BYTES] = { 0 };
	size_t size = medium == NOR || medium == NAND ? FLASH_BYTES : UBOOT_BYTES;
	uint32_t crc;

	memset(image, 0xff, sizeof(image));
	memcpy(block + 5, variables, n);
	crc = (uint32_t)crc32(0, block + 5, UBOOT_BYTES - 5);
	memcpy(block, &crc, 4);
	block[4] = flags;
	if (medium == ONE_FILE && copy == 1)
		size = ONE_OFFSET + UBOOT_BYTES;
	for (size_t at = 0, k = 0; k < UBOOT_BYTES / SECTOR; at += SECTOR)
		if (!is_bad_block(copy, (long long)at))
			memcpy(image + (medium == ONE_FILE && copy == 1 ? ONE_OFFSET : 0) + at, block + SECTOR * k++, SECTOR);
	if (medium == ONE_FILE && copy == 1) {
		_cleanup_free_ char *first = NULL;
		size_t n_first = 0;

		assert_int_equal(file_read_at(AT_FDCWD, backing(0), UBOOT_BYTES, &first, &n_first, NULL), 0);
		memcpy(image, first, n_first);
	}
	assert_int_equal(file_replace_at(AT_FDCWD, backing(medium == ONE_FILE ? 0 : copy), 0600, image, size, NULL), 0);
}

static void environment_make(struct device *d, enum medium m)
{
	char text[512];

	medium = m;
	strcpy(folder, d->dir.path);
	/* NOR has a flag that says which one counts, all others count up. */
	copy_make(0, 1, UBOOT_FACTORY, sizeof(UBOOT_FACTORY));
	copy_make(1, 0, "bootcmd=old\0", 12);
	if (m == NOR || m == NAND)
		snprintf(text, sizeof(text), "/dev/mtd0 0 0x%x 0x%x 5\n/dev/mtd1 0 0x%x 0x%x 5\n", UBOOT_BYTES, SECTOR, UBOOT_BYTES, SECTOR);
	else if (m == UBI)
		snprintf(text, sizeof(text), "/dev/ubi0_0 0 0x%x\n/dev/ubi0_1 0 0x%x\n", UBOOT_BYTES, UBOOT_BYTES);
	else if (m == ONE_FILE)
		snprintf(text, sizeof(text), "%s 0 0x%x\n%s 0x%x 0x%x\n", backing(0), UBOOT_BYTES, backing(0), ONE_OFFSET, UBOOT_BYTES);
	else
		snprintf(text, sizeof(text), "%s 0 0x%x\n%s 0 0x%x\n", backing(0), UBOOT_BYTES, backing(1), UBOOT_BYTES);
	text_write(d->env, text);
}

static bool can_see_its_calls(struct device *d)
{
	environment_make(d, TWO_FILES);
	n_calls = 0;
	load(d);
	if (n_calls > 0)
		return true;
	print_message("# the calls of libubootenv do not come here: not tested\n");
	return false;
}

static void check_old_or_new(struct device *d, const struct boot_state *old, const struct boot_state *next, const char *what)
{
	struct boot_state now = { 0 };
	_cleanup_error_ struct agent_error *err = NULL;

	fault = NO_FAULT;
	if (boot_uboot.load(d->env, &now, &err) < 0)
		fail_msg("%s: neither the old nor the new environment: %s", what, agent_error_message(err));
	if (!boot_state_is_equal(&now, old) && !boot_state_is_equal(&now, next))
		fail_msg("%s: the environment is a third one", what);
	/* And it can be written as if nothing had been. */
	if (boot_uboot.store(d->env, next, &err) < 0)
		fail_msg("%s: cannot be written any more: %s", what, agent_error_message(err));
	now = load(d);
	assert_true(boot_state_is_equal(&now, next));
}

static void check_error(struct agent_error *err, const char *what)
{
	const char *name = err == NULL ? "none" : agent_error_name(err);

	if (strcmp(name, "boot.write") != 0 && strcmp(name, "boot.read") != 0 && strcmp(name, "boot.config") != 0)
		fail_msg("%s: the error is \"%s\"", what, name);
}

/* ---- each call of a store ---------------------------------------------------------------------------------------------- */

static unsigned n_points;

static void store_with(struct device *d, enum fault f, size_t i)
{
	for (fault_at = 0;; fault_at++) {
		const struct boot_state *old = &life[i], *next = &life[i + 1];
		_cleanup_error_ struct agent_error *err = NULL;
		char what[96];
		long calls;
		int r;

		fault = NO_FAULT;
		assert_int_equal(boot_uboot.store(d->env, old, NULL), 0);
		n_calls = 0;
		fault = f;
		r = boot_uboot.store(d->env, next, &err);
		fault = NO_FAULT;
		calls = n_calls;
		snprintf(what, sizeof(what), "%s, fault %d at call %ld, state %zu", medium_names[medium], (int)f, fault_at, i);
		if (r < 0) {
			check_error(err, what);
		} else {
			const struct boot_state now = load(d);

			/* Said to be done is done. */
			if (!boot_state_is_equal(&now, next))
				fail_msg("%s: done, it said, and it is not", what);
		}
		check_old_or_new(d, old, next, what);
		n_points++;
		if (calls <= fault_at) {
			assert_int_equal(r, 0);
			return;
		}
	}
}

static void any_call_may_fail_while_the_environment_is_written(void **state)
{
	struct device *d = *state;

	if (!can_see_its_calls(d))
		skip();
	for (enum medium m = 0; m < N_MEDIA; m++) {
		environment_make(d, m);
		n_points = 0;
		for (enum fault f = FAILS; f <= SHORT; f++)
			for (size_t i = 0; i < 3; i++)
				store_with(d, f, i);
		print_message("# %s: %u faults\n", medium_names[m], n_points);
		assert_true(n_points > 100);
	}
}

static void the_power_may_go_at_any_call_while_the_environment_is_written(void **state)
{
	struct device *d = *state;

	if (!can_see_its_calls(d))
		skip();
	for (enum medium m = 0; m < N_MEDIA; m++) {
		environment_make(d, m);
		n_points = 0;
		for (enum fault f = KILL_BEFORE; f <= KILL_AFTER; f++) {
			int status = 1;

			for (fault_at = 0; status != 0; fault_at++) {
				const struct boot_state *old = &life[fault_at % 3], *next = &life[fault_at % 3 + 1];
				char what[96];
				pid_t pid;

				assert_int_equal(boot_uboot.store(d->env, old, NULL), 0);
				pid = fork();
				assert_true(pid >= 0);
				if (pid == 0) {
					n_calls = 0;
					fault = f;
					_exit(boot_uboot.store(d->env, next, NULL) < 0 ? 1 : 0);
				}
				assert_int_equal(waitpid(pid, &status, 0), pid);
				assert_true(status == 0 || WIFSIGNALED(status));
				snprintf(what, sizeof(what), "%s, power cut %d at call %ld", medium_names[m], (int)f, fault_at);
				check_old_or_new(d, old, next, what);
				n_points++;
			}
		}
		print_message("# %s: %u power cuts\n", medium_names[m], n_points);
		assert_true(n_points > 50);
	}
}

/* ---- each call of a load ------------------------------------------------------------------------------------------------ */

static void any_call_may_fail_while_the_environment_is_read(void **state)
{
	struct device *d = *state;

	if (!can_see_its_calls(d))
		skip();
	for (enum medium m = 0; m < N_MEDIA; m++) {
		environment_make(d, m);
		assert_int_equal(boot_uboot.store(d->env, &life[1], NULL), 0);
		for (enum fault f = FAILS; f <= SHORT; f++)
			for (fault_at = 0;; fault_at++) {
				struct boot_state now = { 0 }, before = { 0 };
				_cleanup_error_ struct agent_error *err = NULL;
				int r;

				n_calls = 0;
				fault = f;
				r = boot_uboot.load(d->env, &now, &err);
				fault = NO_FAULT;
				if (r < 0) {
					check_error(err, medium_names[m]);
					assert_memory_equal(&now, &before, sizeof(now));
				} else {
					assert_true(boot_state_is_equal(&now, &life[1]));
				}
				now = load(d);
				assert_true(boot_state_is_equal(&now, &life[1]));
				if (n_calls <= fault_at)
					break;
			}
	}
}

/* ---- what lies there ------------------------------------------------------------------------------------------------------ */

static void byte_flip(int copy, off_t at)
{
	uint8_t byte = 0;
	int fd = open(backing(medium == ONE_FILE ? 0 : copy), O_RDWR | O_CLOEXEC);

	if (medium == ONE_FILE && copy == 1)
		at += ONE_OFFSET;
	assert_true(fd >= 0);
	assert_int_equal(pread_full(fd, &byte, 1, (uint64_t)at), 1);
	byte ^= 1;
	assert_int_equal(pwrite_all(fd, &byte, 1, (uint64_t)at), 0);
	close(fd);
}

/* Any bit of the newer copy, its CRC and its flags: the older one counts. Of both: an error, and nothing is written. */
static void a_corrupted_copy_does_not_count(void **state)
{
	struct device *d = *state;

	for (enum medium m = 0; m < N_MEDIA; m++) {
		/* Its flags are not under the checksum, so they are left alone. */
		static const off_t places[] = { 0, 3, 5, 60, SECTOR - 1 };

		for (size_t k = 0; k < ARRAY_SIZE(places); k++) {
			struct boot_state now = { 0 };
			_cleanup_error_ struct agent_error *err = NULL;

			environment_make(d, m);
			assert_int_equal(boot_uboot.store(d->env, &life[0], NULL), 0);
			assert_int_equal(boot_uboot.store(d->env, &life[1], NULL), 0);
			/* Factory 0, first store 1, second store 0. */
			byte_flip(0, places[k]);
			now = load(d);
			assert_true(boot_state_is_equal(&now, &life[0]));
			byte_flip(1, places[k]);
			assert_int_equal(boot_uboot.load(d->env, &now, &err), -EBADMSG);
			assert_error(&err, -EBADMSG, "boot.format");
			assert_int_equal(boot_uboot.store(d->env, &life[1], &err), -EBADMSG);
			assert_error(&err, -EBADMSG, "boot.format");
			byte_flip(0, places[k]);
			now = load(d);
			assert_true(boot_state_is_equal(&now, &life[1]));
		}
	}
}

/* ---- the configuration ---------------------------------------------------------------------------------------------------- */

static void configurations_that_point_elsewhere_are_refused(void **state)
{
	static const struct {
		const char *first, *second, *error;
	} cases[] = {
		{ "@0 0 0x1000", "@0 0 0x1000", "boot.config" },	 /* the same copy twice */
		{ "@0 0 0x1000", "@0 0xfff 0x1000", "boot.config" },	 /* one byte of both */
		{ "@0 0x800 0x1000", "@0 0 0x1000", "boot.config" },
		{ "@0 0 0x1000", "@link 0 0x1000", "boot.config" },	 /* the same, by another name */
		{ "@0 0 3", "@1 0 3", "boot.config" },			 /* smaller than its own head */
		{ "@0 0 5", "@1 0 5", "boot.config" },
		{ "@0 0 0", "@1 0 0", "boot.config" },
		{ "@0 0 0x40000000", "@1 0 0x40000000", "boot.config" }, /* not into memory */
		{ "@0 0 0xffffffffffffffff", "@1 0 0xffffffffffffffff", "boot.config" },
		{ "@0 0 0x1000", "@fifo 0 0x1000", "boot.config" },	 /* whoever opens it never returns */
		{ "@0 0 0x1000", "/dev/zero 0 0x1000", "boot.config" },
		{ "@0 0 0x1000", "/tmp 0 0x1000", "boot.config" },
		{ "@0 0 0x1000", "@none 0 0x1000", "boot.read" },
		{ "@0 0 0x1000", "@0", "boot.config" },
		{ "@0 0 0x1000", "", "boot.config" },
		{ "@0 -0x1000 0x1000", "@1 -0x1000 0x1000", "boot.config" }, /* from the end, of a file */
	};
	struct device *d = *state;
	char path[160], before[UBOOT_BYTES + 1], after[UBOOT_BYTES + 1];

	environment_make(d, TWO_FILES);
	text_read(backing(0), before, sizeof(before));
	snprintf(path, sizeof(path), "%s/env.fifo", d->dir.path);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/env.link", d->dir.path);
	assert_int_equal(link(backing(0), path), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *const sides[] = { cases[i].first, cases[i].second };
		_cleanup_error_ struct agent_error *err = NULL;
		struct boot_state now = { 0 };
		char text[512] = "";

		for (size_t k = 0; k < 2; k++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s%s\n", sides[k][0] == '@' ? d->dir.path : "", sides[k][0] == '@' ? "/env." : "",
				 sides[k] + (sides[k][0] == '@'));
		text_write(d->env, text);
		if (boot_uboot.load(d->env, &now, &err) >= 0)
			fail_msg("taken: %s", text);
		if (strcmp(agent_error_name(err), cases[i].error) != 0)
			fail_msg("%s: %s and not %s", text, agent_error_name(err), cases[i].error);
		err = agent_error_free(err);
		if (boot_uboot.store(d->env, &life[1], &err) >= 0)
			fail_msg("written: %s", text);
		assert_string_equal(agent_error_name(err), cases[i].error);
		text_read(backing(0), after, sizeof(after));
		assert_memory_equal(before, after, UBOOT_BYTES);
	}
	/* Gone, and a folder in its place. */
	assert_int_equal(unlink(d->env), 0);
	for (int i = 0; i < 2; i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct boot_state now = { 0 };

		assert_true(boot_uboot.load(d->env, &now, &err) < 0);
		assert_string_equal(agent_error_name(err), "boot.config");
		if (i == 0)
			assert_int_equal(mkdir(d->env, 0700), 0);
	}
}

static int setup_uboot(void **state)
{
	fault = NO_FAULT;
	folder[0] = '\0';
	return device_setup_rig(state, &rig_uboot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup_uboot, device_teardown)
		T(any_call_may_fail_while_the_environment_is_written),
		T(the_power_may_go_at_any_call_while_the_environment_is_written),
		T(any_call_may_fail_while_the_environment_is_read),
		T(a_corrupted_copy_does_not_count),
		T(configurations_that_point_elsewhere_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
