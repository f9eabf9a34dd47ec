/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_UBI_H
#define UPDATE_UBI_H
/* UBI volumes that are slots. Without --enable-ubi there are none. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "update/slot.h"

#define UBI_NAME_MAX 127	/* as the kernel bounds it */
#define UBI_TEXT_MAX 256

/* What the kernel does for us, each -errno on failure, so that a test can be the kernel. */
struct ubi_kernel {
	/* The number of the character device @path; -ENODEV if it is none. */
	int (*device)(const char *path, dev_t *ret_device);
	/* An attribute of it in sysfs, without the newline. */
	int (*attribute)(dev_t device, const char *name, char ret_text[UBI_TEXT_MAX]);
	int (*open)(const char *path);
	/* UBI_IOCVOLUP: mark the volume as being updated, empty it and wait for @bytes. */
	int (*start)(int fd, int64_t bytes);
	ssize_t (*write)(int fd, const void *data, size_t size);
	ssize_t (*read)(int fd, void *data, size_t size, uint64_t offset);
	int (*sync)(int fd);
	/* Before the last byte was written: the volume stays marked, and nobody can read it. */
	void (*close)(int fd);
};

struct ubi_volume {
	char name[UBI_NAME_MAX + 1];
	bool is_static;
	uint64_t leb_bytes, room_bytes;	/* a logical erase block; all that are reserved */
};

#if defined(HAVE_UBI)
extern const struct ubi_kernel ubi_linux;
/* The one in use: ubi_linux. */
extern const struct ubi_kernel *ubi_kernel;

/* What sysfs says of the volume behind the device @path. -ENODEV: it is no UBI volume. -EBADMSG: sysfs has no such words. */
int ubi_volume_find(const char *path, struct ubi_volume *ret_volume);
/* The slot whose volume has this name: of those the one of slot @preferred, if there is one. NULL if there is none. */
const struct slot *ubi_slot_by_name(const struct slot_table *table, const char *volume, const char *preferred);
#endif

#endif
