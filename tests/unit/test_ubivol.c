/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images for UBI volumes. The kernel is a double that does what Linux does with these calls (drivers/mtd/ubi/cdev.c, upd.c, vmt.c): no flash and
 * no UBI was here. Its state is shared memory, so that it outlives a program that is killed.
 */
#include "config.h"

#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "update/ubi.h"

#if !defined(HAVE_UBI)
int main(void)
{
	return 77;
}
#else

#define LEB 15872u	 /* 16 KiB less two pages of headers */
#define BLOCKS 20u	 /* 317440 bytes */
#define FD 1000		 /* and 1001: never given to anybody else */
#define NEVER (-1)

struct volume {
	char name[32], type[16], reserved[32], leb[32];
	bool is_volume;
	uint8_t data[LEB * BLOCKS];
	uint64_t used;	/* of a static volume */
	/* On flash: what is in it is not whole. */
	bool is_marked;
	/* In memory of the kernel. */
	bool is_open, is_updating;
	uint64_t expected, received;
};

static struct kernel {
	struct volume volumes[2];
	int n_starts, n_writes, n_reads;
	int64_t started_with;
	/* Faults. */
	int open_error, start_error, sync_error;
	int write_error, write_fails_at, read_error, kill_at;
	bool writes_little, is_interrupted, flips_a_bit, forgets_the_end;
} *kernel;

static struct device *device_now;

static struct volume *volume_at(const char *path)
{
	for (int i = 0; i < 2; i++)
		if (strcmp(path, device_now->slot[i]) == 0)
			return &kernel->volumes[i];
	return NULL;
}

static int fake_device(const char *path, dev_t *ret_device)
{
	struct volume *v = volume_at(path);

	if (v == NULL || v->type[0] == '\0')
		return -ENODEV;
	*ret_device = makedev(250, (unsigned)(v - kernel->volumes) + 1);
	return 0;
}

static int fake_attribute(dev_t device, const char *name, char ret_text[UBI_TEXT_MAX])
{
	const struct volume *v = &kernel->volumes[minor(device) - 1];
	const char *text = strcmp(name, "reserved_ebs") == 0 ? v->reserved : strcmp(name, "usable_eb_size") == 0 ? v->leb : strcmp(name, "type") == 0 ? v->type
			   : strcmp(name, "name") == 0 ? v->name : NULL;

	if (text == NULL || !v->is_volume)
		return -ENOENT;
	strcpy(ret_text, text);
	return 0;
}

static int fake_open(const char *path)
{
	struct volume *v = volume_at(path);

	assert_non_null(v);
	if (kernel->open_error != 0)
		return kernel->open_error;
	assert_false(v->is_open);
	v->is_open = true;
	return FD + (int)(v - kernel->volumes);
}

static struct volume *volume_of(int fd)
{
	struct volume *v = &kernel->volumes[fd - FD];

	assert_true(fd == FD || fd == FD + 1);
	assert_true(v->is_open);
	return v;
}

static int fake_start(int fd, int64_t bytes)
{
	struct volume *v = volume_of(fd);
	struct boot_state s = env_read(device_now);

	/* The slot is out of service, for the journal and the boot loader, before anything is lost. */
	assert_string_equal(s.primary, "a");
	assert_false(boot_state_slot(&s, "b")->is_good);
	assert_int_equal(boot_state_slot(&s, "b")->n_tries_left, 0);
	kernel->n_starts++;
	kernel->started_with = bytes;
	if (kernel->start_error != 0)
		return kernel->start_error;
	if (bytes < 0 || (uint64_t)bytes > sizeof(v->data))
		return -EINVAL;
	v->is_marked = v->is_updating = true;
	v->expected = (uint64_t)bytes;
	v->received = 0;
	memset(v->data, 0xff, sizeof(v->data));
	return 0;
}

static ssize_t fake_write(int fd, const void *data, size_t size)
{
	struct volume *v = volume_of(fd);
	int i = kernel->n_writes++;

	if (!v->is_updating)
		return -EPERM;
	if (kernel->is_interrupted && i % 2 == 0)
		return -EINTR;
	if (i == kernel->write_fails_at)
		return kernel->write_error;
	if (kernel->writes_little && size > 1000)
		size = 1000;
	if (size > v->expected - v->received)
		size = (size_t)(v->expected - v->received);
	if (i == kernel->kill_at) /* half of it is in flash */
		size /= 2;
	memcpy(v->data + v->received, data, size);
	if (kernel->flips_a_bit && v->received == 0)
		v->data[77] ^= 1;
	v->received += size;
	if (i == kernel->kill_at)
		kill(getpid(), SIGKILL);
	if (v->received == v->expected && !kernel->forgets_the_end) {
		v->is_updating = v->is_marked = false;
		v->used = v->expected;
	}
	return (ssize_t)size;
}

static ssize_t fake_read(int fd, void *data, size_t size, uint64_t offset)
{
	struct volume *v = volume_of(fd);
	uint64_t end = strcmp(v->type, "static") == 0 ? v->used : sizeof(v->data);

	kernel->n_reads++;
	if (v->is_updating)
		return -EBUSY;
	if (v->is_marked)
		return -EBADF;
	if (kernel->read_error != 0)
		return kernel->read_error;
	if (kernel->is_interrupted && kernel->n_reads % 2 == 1)
		return -EINTR;
	if (offset >= end)
		return 0;
	if (size > end - offset)
		size = (size_t)(end - offset);
	memcpy(data, v->data + offset, size);
	return (ssize_t)size;
}

static int fake_sync(int fd)
{
	volume_of(fd);
	return kernel->sync_error;
}

static void fake_close(int fd)
{
	struct volume *v = volume_of(fd);

	v->is_open = v->is_updating = false;
}

static const struct ubi_kernel fake_kernel = {
	.device = fake_device, .attribute = fake_attribute, .open = fake_open, .start = fake_start, .write = fake_write, .read = fake_read,
	.sync = fake_sync, .close = fake_close,
};

/* What a killed program leaves: the kernel closes for it. */
static void power_returns(void)
{
	for (int i = 0; i < 2; i++)
		kernel->volumes[i].is_open = kernel->volumes[i].is_updating = false;
}

static void no_faults(void)
{
	struct volume keep[2];

	memcpy(keep, kernel->volumes, sizeof(keep));
	memset(kernel, 0, sizeof(*kernel));
	memcpy(kernel->volumes, keep, sizeof(keep));
	kernel->write_fails_at = kernel->kill_at = NEVER;
}

static int setup(void **state)
{
	int r = device_setup(state);

	device_now = *state;
	kernel = mmap(NULL, sizeof(*kernel), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(kernel != MAP_FAILED);
	no_faults();
	for (int i = 0; i < 2; i++) {
		struct volume *v = &kernel->volumes[i];

		snprintf(v->name, sizeof(v->name), "rootfs_%c", 'a' + i);
		strcpy(v->type, i == 0 ? "dynamic" : "static");
		snprintf(v->reserved, sizeof(v->reserved), "%u", BLOCKS);
		snprintf(v->leb, sizeof(v->leb), "%u", LEB);
		v->is_volume = true;
		memset(v->data, 0xaa, sizeof(v->data));
		v->used = sizeof(v->data);
	}
	ubi_kernel = &fake_kernel;
	return r;
}

static int teardown(void **state)
{
	ubi_kernel = &ubi_linux;
	munmap(kernel, sizeof(*kernel));
	return device_teardown(state);
}

static const struct bundle strict = { .element = " type = \"ubivol\"; volume = \"whatever\";" };
static const struct agent_update_options compat = { .allow_compat = 1 };
#define STOCK_SIZE "size = 300000;"

static bool volume_holds_image(const struct device *d)
{
	const struct volume *v = &kernel->volumes[1];

	return !v->is_marked && !v->is_open && memcmp(v->data, d->image, IMAGE_BYTES) == 0;
}

static bool running_volume_is_untouched(void)
{
	const struct volume *v = &kernel->volumes[0];

	for (size_t i = 0; i < sizeof(v->data); i++)
		if (v->data[i] != 0xaa)
			return false;
	return !v->is_marked && !v->is_open;
}

/* Nothing was asked of the flash, and the slot is in service as before. */
static void assert_untouched(struct device *d, struct agent_update *u)
{
	assert_int_equal(kernel->n_starts + kernel->n_writes, 0);
	assert_false(kernel->volumes[1].is_marked);
	assert_int_equal(stage_of(u), AGENT_UPDATE_IDLE);
	assert_true(running_volume_is_untouched());
}

static void installs(struct device *d, const struct bundle *b, const struct agent_update_options *more)
{
	struct agent_update *u = engine_with(d, more);
	_cleanup_error_ struct agent_error *err = NULL;

	if (install(d, u, b, 0, &err) != 0)
		fail_msg("%s: %s", agent_error_name(err), agent_error_message(err));
	assert_int_equal(kernel->n_starts, 1);
	assert_int_equal(kernel->started_with, IMAGE_BYTES);
	assert_true(volume_holds_image(d));
	assert_true(running_volume_is_untouched());
	assert_int_equal(stage_of(u), AGENT_UPDATE_TRYING);
	assert_string_equal(reboot(d), "b");
	agent_update_free(u);
}

static void the_exact_number_of_bytes_goes_into_the_volume(void **state)
{
	installs(*state, &strict, NULL);
}

static void compressed_images_are_known_by_their_plain_size(void **state)
{
	struct bundle b = strict;

	b.compressed = "zstd";
	installs(*state, &b, NULL);
}

static void a_dynamic_volume_ends_where_the_image_does(void **state)
{
	strcpy(kernel->volumes[1].type, "dynamic");
	installs(*state, &strict, NULL);
	assert_int_equal(kernel->volumes[1].data[IMAGE_BYTES], 0xff);
}

static void short_and_interrupted_writes_go_on(void **state)
{
	kernel->writes_little = kernel->is_interrupted = true;
	installs(*state, &strict, NULL);
	assert_true(kernel->n_writes >= 600);
}

static void a_stock_bundle_names_the_volume(void **state)
{
	installs(*state, &(struct bundle){ .is_stock = true, .stock_element = "volume = \"rootfs_b\"; " STOCK_SIZE }, &compat);
}

static void volumes_of_one_name_on_two_flashes_are_told_apart_by_the_slot(void **state)
{
	strcpy(kernel->volumes[0].name, "rootfs_b");
	installs(*state, &(struct bundle){ .is_stock = true, .stock_element = "volume = \"rootfs_b\"; type = \"ubivol\"; " STOCK_SIZE }, &compat);
}

static void what_does_not_fit_this_device_is_refused_before_anything_is_touched(void **state)
{
	static const struct {
		struct bundle bundle;
		const char *reserved, *leb, *type;
		bool is_no_volume;
		int r;
		const char *error, *says;
	} cases[] = {
		{ .bundle = { .element = " type = \"ubivol\";" }, .reserved = "18", .r = -ENOSPC, .error = "slot.size", .says = "285696 bytes in blocks of 15872" },
		{ .bundle = { .element = " type = \"ubivol\";" }, .is_no_volume = true, .r = -EINVAL, .error = "slot.type", .says = "no UBI volume" },
		{ .bundle = { .element = " type = \"ubivol\";" }, .type = "", .r = -EINVAL, .error = "slot.type", .says = "no UBI volume" },
		{ .bundle = { .element = " type = \"ubivol\";" }, .type = "other", .r = -EINVAL, .error = "slot.type", .says = "sysfs" },
		{ .bundle = { .element = " type = \"ubivol\";" }, .leb = "0", .r = -EINVAL, .error = "slot.type", .says = "sysfs" },
		{ .bundle = { .element = " type = \"ubivol\";" }, .leb = "12k", .r = -EINVAL, .error = "slot.type", .says = "sysfs" },
		{ .bundle = { .element = " type = \"ubivol\";" }, .leb = "", .r = -EINVAL, .error = "slot.type", .says = "sysfs" },
		{ .bundle = { .element = " type = \"ubivol\";" }, .leb = "18446744073709551616", .r = -EINVAL, .error = "slot.type", .says = "sysfs" },
		{ .bundle = { .element = " type = \"ubivol\";" }, .leb = "9223372036854775807", .r = -EINVAL, .error = "slot.type", .says = "sysfs" },
		/* The running copy, and what is no slot here. */
		{ .bundle = { .is_stock = true, .stock_element = "volume = \"rootfs_a\"; " STOCK_SIZE }, .r = -EPERM, .error = "update.device", .says = "volume rootfs_a is slot a, which runs" },
		{ .bundle = { .is_stock = true, .stock_element = "volume = \"secrets\"; " STOCK_SIZE }, .r = -EPERM, .error = "update.device", .says = "UBI volume named secrets" },
		{ .bundle = { .is_stock = true, .stock_element = "volume = \"rootfs_b\"; " STOCK_SIZE }, .is_no_volume = true, .r = -EPERM, .error = "update.device", .says = "UBI volume named rootfs_b" },
		{ .bundle = { .is_stock = true, .stock_element = "volume = \"rootfs_b\"; properties = { slot-class = \"data\"; }; " STOCK_SIZE }, .r = -EPERM, .error = "update.device",
		  .says = "class rootfs" },
		{ .bundle = { .is_stock = true, .stock_element = "volume = \"rootfs_b\";" }, .r = -EBADMSG, .error = "manifest.missing", .says = "size is missing" },
	};
	struct device *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct agent_update *u = engine_with(d, &compat);
		_cleanup_error_ struct agent_error *err = NULL;
		struct volume before = kernel->volumes[1], *v = &kernel->volumes[1];
		int r;

		v->is_volume = !cases[i].is_no_volume;
		if (cases[i].reserved != NULL)
			strcpy(v->reserved, cases[i].reserved);
		if (cases[i].leb != NULL)
			strcpy(v->leb, cases[i].leb);
		if (cases[i].type != NULL)
			strcpy(v->type, cases[i].type);
		r = install(d, u, &cases[i].bundle, 0, &err);
		if (r != cases[i].r || strcmp(agent_error_name(err), cases[i].error) != 0 || strstr(agent_error_message(err), cases[i].says) == NULL)
			fail_msg("case %zu: %d %s \"%s\"", i, r, agent_error_name(err), agent_error_message(err));
		kernel->volumes[1] = before;
		assert_untouched(d, u);
		agent_update_free(u);
	}
}

/* The other way round: an image that is no volume for a slot that is one. */
static void a_raw_image_does_not_go_into_a_character_device(void **state)
{
	struct device *d = *state;
	struct agent_update *u;
	_cleanup_error_ struct agent_error *err = NULL;

	strcpy(d->slot[1], "/dev/null");
	u = engine(d);
	assert_int_equal(install(d, u, &(struct bundle){ .release = "r-1" }, 0, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "type ubivol"));
	assert_error(&err, -EINVAL, "slot.type");
	agent_update_free(u);
}

/* The installation fails with @error, the old system is in charge, and the same bundle goes in once the fault is gone. */
static void fails_and_recovers(struct device *d, int r, const char *error, bool is_marked)
{
	struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	int is = install(d, u, &strict, 0, &err);

	if (is != r || strcmp(agent_error_name(err), error) != 0)
		fail_msg("%d %s \"%s\", wanted %d %s", is, agent_error_name(err), agent_error_message(err), r, error);
	assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
	assert_false(kernel->volumes[1].is_open);
	assert_int_equal(kernel->volumes[1].is_marked, is_marked);
	assert_true(running_volume_is_untouched());
	assert_string_equal(reboot(d), "a");
	agent_update_free(u);
	no_faults();
	installs(d, &strict, NULL);
	/* Back to where it was, for the next fault. */
	strcpy(d->booted, "a");
	d->rig->make(d);
	assert_int_equal(unlinkat(AT_FDCWD, d->state, AT_REMOVEDIR) < 0 && errno == ENOTEMPTY, 1);
	{
		char journal[128];

		snprintf(journal, sizeof(journal), "%s/journal", d->state);
		assert_int_equal(unlink(journal), 0);
	}
	no_faults();
}

static void a_volume_that_cannot_be_opened_or_updated_says_why(void **state)
{
	static const struct {
		int r;
		const char *open_error, *start_error;
	} cases[] = {
		{ -EBUSY, "slot.busy", "slot.busy" }, { -EACCES, "slot.open", "slot.io" }, { -EPERM, "slot.open", "slot.open" },
		{ -ENODEV, "slot.open", "slot.io" },  { -EROFS, "slot.open", "slot.open" }, { -EIO, "slot.open", "slot.io" },
		{ -ENOMEM, "slot.open", "slot.io" },  { -EINVAL, "slot.open", "slot.io" },  { -ENOTTY, "slot.open", "slot.io" },
		{ -ENOSPC, "slot.open", "slot.io" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		kernel->open_error = cases[i].r;
		fails_and_recovers(*state, cases[i].r, cases[i].open_error, false);
		kernel->start_error = cases[i].r;
		fails_and_recovers(*state, cases[i].r, cases[i].start_error, false);
	}
}

static void the_capability_that_is_missing_is_named(void **state)
{
	struct agent_update *u = engine(*state);
	_cleanup_error_ struct agent_error *err = NULL;

	kernel->start_error = -EPERM;
	assert_int_equal(install(*state, u, &strict, 0, &err), -EPERM);
	assert_non_null(strstr(agent_error_message(err), "CAP_SYS_RESOURCE"));
	agent_update_free(u);
}

static void a_write_that_fails_leaves_a_volume_that_nobody_can_read(void **state)
{
	static const int errors[] = { -EIO, -ENOSPC, -EROFS, -ENOMEM };

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		for (int at = 0; at < 5; at++) { /* 300000 bytes in chunks of 65536 */
			kernel->write_fails_at = at;
			kernel->write_error = errors[i];
			fails_and_recovers(*state, errors[i], "slot.io", true);
		}
	kernel->write_fails_at = 1;
	kernel->write_error = 0; /* nothing written and no reason */
	fails_and_recovers(*state, -EIO, "slot.io", true);
}

static void what_is_read_back_is_compared(void **state)
{
	kernel->flips_a_bit = true;
	fails_and_recovers(*state, -EBADMSG, "slot.readback", false);
	kernel->forgets_the_end = true; /* the update goes on waiting */
	fails_and_recovers(*state, -EBUSY, "slot.io", true);
	kernel->read_error = -EIO;
	fails_and_recovers(*state, -EIO, "slot.io", false);
	kernel->read_error = -EBADF;
	fails_and_recovers(*state, -EBADMSG, "slot.readback", false);
	kernel->sync_error = -EIO;
	fails_and_recovers(*state, -EIO, "slot.io", false);
}

static void a_bundle_that_ends_too_early_leaves_the_volume_marked(void **state)
{
	struct device *d = *state;

	for (int chunk = 1; chunk <= 5; chunk++) {
		struct bundle b = strict;
		_cleanup_bytes_ struct bytes bytes = { 0 };
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_close_ int fd = -1;
		struct agent_update *u = engine(d);

		b.break_chunk = chunk == 5 ? 5 : 0;
		bundle_make(d, &b, &bytes);
		fd = bytes_fd(bytes.data, chunk == 5 ? bytes.size : bytes.size - (size_t)chunk * 60000);
		no_faults();
		assert_true(agent_update_install(u, fd, 0, NOW_S, NULL, NULL, &err) < 0);
		assert_int_equal(kernel->n_starts, 1);
		assert_true(kernel->volumes[1].is_marked);
		assert_true(kernel->volumes[1].received < IMAGE_BYTES);
		assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
		agent_update_free(u);
	}
	no_faults();
	installs(d, &strict, NULL);
}

static void killed_at_any_write_the_old_system_runs_and_the_next_try_begins_anew(void **state)
{
	struct device *d = *state;

	for (int at = 0; at < 5; at++) {
		struct agent_update *u;
		int status;
		pid_t pid;

		no_faults();
		kernel->kill_at = at;
		pid = fork();
		if (pid == 0) {
			install(d, engine(d), &strict, 0, NULL);
			_exit(1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		power_returns();
		assert_true(kernel->volumes[1].is_marked);
		assert_string_equal(reboot(d), "a");
		u = engine(d);
		assert_int_equal(agent_update_settle(u, NULL), 0);
		assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
		agent_update_free(u);
	}
	no_faults();
	installs(d, &strict, NULL);
}

/* What of Linux can be had without flash: none of these is a volume, and none is written to. */
static void linux_has_no_volume_where_there_is_none(void **state)
{
	struct device *d = *state;
	struct ubi_volume v;
	uint8_t byte = 0;
	int fd;

	ubi_kernel = &ubi_linux;
	assert_int_equal(ubi_volume_find("/dev/null", &v), -ENODEV);
	assert_int_equal(ubi_volume_find(d->slot[1], &v), -ENODEV);
	assert_int_equal(ubi_volume_find(d->dir.path, &v), -ENODEV);
	assert_int_equal(ubi_volume_find("/nonexistent/ubi0_1", &v), -ENOENT);
	assert_int_equal(ubi_linux.open("/nonexistent/ubi0_1"), -ENOENT);
	fd = ubi_linux.open(d->slot[1]);
	assert_true(fd >= 0);
	assert_int_equal(ubi_linux.start(fd, 1), -ENOTTY);
	assert_int_equal(ubi_linux.write(fd, "x", 1), 1);
	assert_int_equal(ubi_linux.read(fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 'x');
	assert_int_equal(ubi_linux.sync(fd), 0);
	ubi_linux.close(fd);
	assert_int_equal(ubi_linux.write(fd, "x", 1), -EBADF);
	assert_int_equal(ubi_linux.read(fd, &byte, 1, 0), -EBADF);
	assert_int_equal(ubi_linux.sync(fd), -EBADF);
}

#define DEVICE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DEVICE_TEST(the_exact_number_of_bytes_goes_into_the_volume),
		DEVICE_TEST(compressed_images_are_known_by_their_plain_size),
		DEVICE_TEST(a_dynamic_volume_ends_where_the_image_does),
		DEVICE_TEST(short_and_interrupted_writes_go_on),
		DEVICE_TEST(a_stock_bundle_names_the_volume),
		DEVICE_TEST(volumes_of_one_name_on_two_flashes_are_told_apart_by_the_slot),
		DEVICE_TEST(what_does_not_fit_this_device_is_refused_before_anything_is_touched),
		DEVICE_TEST(a_raw_image_does_not_go_into_a_character_device),
		DEVICE_TEST(a_volume_that_cannot_be_opened_or_updated_says_why),
		DEVICE_TEST(the_capability_that_is_missing_is_named),
		DEVICE_TEST(a_write_that_fails_leaves_a_volume_that_nobody_can_read),
		DEVICE_TEST(what_is_read_back_is_compared),
		DEVICE_TEST(a_bundle_that_ends_too_early_leaves_the_volume_marked),
		DEVICE_TEST(killed_at_any_write_the_old_system_runs_and_the_next_try_begins_anew),
		DEVICE_TEST(linux_has_no_volume_where_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
