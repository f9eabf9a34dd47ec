/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/ubi.h"

#include <errno.h>
#include <fcntl.h>
#include <mtd/ubi-user.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "base/macro.h"

/* ---- Linux -------------------------------------------------------------------------------------------------------------- */

static int linux_device(const char *path, dev_t *ret_device)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENODEV;
	*ret_device = st.st_rdev;
	return 0;
}

/* By number, so that the name of the node does not matter; the numbers are given out by the kernel as devices come. */
static int linux_attribute(dev_t device, const char *name, char ret_text[UBI_TEXT_MAX])
{
	_cleanup_close_ int fd = -1;
	char path[96];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/%s", major(device), minor(device), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, ret_text, UBI_TEXT_MAX - 1);
	if (n < 0)
		return -errno;
	ret_text[n] = '\0';
	ret_text[strcspn(ret_text, "\n")] = '\0';
	return 0;
}

static int linux_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

static int linux_start(int fd, int64_t bytes)
{
	return ioctl(fd, UBI_IOCVOLUP, &bytes) < 0 ? -errno : 0;
}

static ssize_t linux_write(int fd, const void *data, size_t size)
{
	ssize_t n = write(fd, data, size);

	return n < 0 ? -errno : n;
}

static ssize_t linux_read(int fd, void *data, size_t size, uint64_t offset)
{
	ssize_t n = pread(fd, data, size, (off_t)offset);

	return n < 0 ? -errno : n;
}

static int linux_sync(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

static void linux_close(int fd)
{
	close(fd);
}

const struct ubi_kernel ubi_linux = {
	.device = linux_device,
	.attribute = linux_attribute,
	.open = linux_open,
	.start = linux_start,
	.write = linux_write,
	.read = linux_read,
	.sync = linux_sync,
	.close = linux_close,
};

const struct ubi_kernel *ubi_kernel = &ubi_linux;

/* ---- volumes -------------------------------------------------------------------------------------------------------------- */

static int number_get(dev_t device, const char *name, uint64_t *ret_value)
{
	char text[UBI_TEXT_MAX];
	int r = ubi_kernel->attribute(device, name, text);
	uint64_t value = 0;

	if (r < 0)
		return r;
	if (text[0] == '\0')
		return -EBADMSG;
	for (const char *p = text; *p != '\0'; p++)
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(value, UINT64_C(10), &value) || __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return -EBADMSG;
	*ret_value = value;
	return value == 0 ? -EBADMSG : 0;
}

int ubi_volume_find(const char *path, struct ubi_volume *ret_volume)
{
	struct ubi_volume volume = { .leb_bytes = 0 };
	uint64_t n_blocks = 0;
	char text[UBI_TEXT_MAX];
	dev_t device;
	int r = ubi_kernel->device(path, &device);

	if (r < 0)
		return r;
	/* The attribute that volumes have, and UBI devices and all others do not. */
	r = number_get(device, "reserved_ebs", &n_blocks);
	if (r == -ENOENT)
		return -ENODEV;
	if (r == 0)
		r = number_get(device, "usable_eb_size", &volume.leb_bytes);
	if (r == 0)
		r = ubi_kernel->attribute(device, "type", text);
	if (r < 0)
		return r;
	volume.is_static = strcmp(text, "static") == 0;
	if (!volume.is_static && strcmp(text, "dynamic") != 0)
		return -EBADMSG;
	r = ubi_kernel->attribute(device, "name", text);
	if (r < 0)
		return r;
	if (text[0] == '\0' || strlen(text) > UBI_NAME_MAX || __builtin_mul_overflow(n_blocks, volume.leb_bytes, &volume.room_bytes) ||
	    volume.room_bytes > INT64_MAX)
		return -EBADMSG;
	strcpy(volume.name, text);
	*ret_volume = volume;
	return 0;
}

const struct slot *ubi_slot_by_name(const struct slot_table *table, const char *volume, const char *preferred)
{
	const struct slot *found = NULL;

	for (size_t i = 0; i < table->n; i++) {
		struct ubi_volume known;

		if (ubi_volume_find(table->items[i].path, &known) < 0 || strcmp(known.name, volume) != 0)
			continue;
		if (strcmp(table->items[i].name, preferred) == 0)
			return &table->items[i];
		found = &table->items[i];
	}
	return found;
}
