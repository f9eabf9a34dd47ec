/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_SLOT_H
#define UPDATE_SLOT_H
/* The device's own table of slots: a class ("rootfs") in two copies ("a", "b"). A bundle names classes only. Error names: slot.*. */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <agent/error.h>

#define SLOT_NAME_MAX 16
#define SLOTS_MAX 16

struct slot {
	char slot_class[SLOT_NAME_MAX + 1];
	char name[SLOT_NAME_MAX + 1];
	char *path;
};

struct slot_table {
	struct slot items[SLOTS_MAX];
	size_t n;
};

/* Lower-case letters, digits, '-' and '_', 1 to SLOT_NAME_MAX: fits every boot environment. */
int slot_name_check(const char *text);
/* -EINVAL slot.name, slot.path; -EEXIST slot.duplicate; -ENOSPC slot.table. At most two names in all: this is A/B. */
int slot_table_add(struct slot_table *table, const char *slot_class, const char *name, const char *path, struct agent_error **err);
void slot_table_clear(struct slot_table *table);
/* The name that is not @booted; -ENOENT slot.missing. */
int slot_table_other(const struct slot_table *table, const char *booted, const char **ret_name, struct agent_error **err);
/* The slot of @slot_class and @name; an empty class means the only one there is. -ENOENT slot.class, -EINVAL slot.class. */
int slot_table_find(const struct slot_table *table, const char *slot_class, const char *name, const struct slot **ret_slot,
		    struct agent_error **err);

/* The slot whose path this is, or leads to the same device, or whose folder lies on this device. NULL if there is none. */
const struct slot *slot_table_by_device(const struct slot_table *table, const char *device);

/*
 * Is @booted, a boot loader's word, true? @root_dev is st_dev of the root folder: where a slot's device is mounted there, that
 * is the slot that runs. -EBADMSG boot.booted. A root behind dm-verity, an overlay or in a container tells nothing: 0.
 */
int slot_table_check_running(const struct slot_table *table, const char *booted, dev_t root_dev, struct agent_error **err);

/*
 * Open for writing and reading: a block device (exclusively, so that a mounted one is refused) or a regular file, nothing
 * else. -EBUSY slot.busy, -EROFS slot.read-only, -EINVAL slot.type, -errno slot.open.
 */
int slot_open(const struct slot *slot, int *ret_fd, uint64_t *ret_size_bytes, struct agent_error **err);
/* The same for reading only, so of a slot that is mounted as well. */
int slot_open_read(const struct slot *slot, int *ret_fd, uint64_t *ret_size_bytes, struct agent_error **err);

#endif
