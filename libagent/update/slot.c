/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/macro.h"

int slot_name_check(const char *text)
{
	size_t n = strlen(text);

	return n > 0 && n <= SLOT_NAME_MAX && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_") == n ? 0 : -EINVAL;
}

int slot_table_add(struct slot_table *table, const char *slot_class, const char *name, const char *path, struct agent_error **err)
{
	const char *other = NULL;
	struct slot *slot;

	if (slot_name_check(slot_class) < 0 || slot_name_check(name) < 0)
		return agent_error_set(err, -EINVAL, "slot.name", "slot class and name are 1 to %d of a-z, 0-9, '-' and '_'", SLOT_NAME_MAX);
	if (path[0] != '/')
		return agent_error_set(err, -EINVAL, "slot.path", "slot %s of class %s needs an absolute path", name, slot_class);
	for (size_t i = 0; i < table->n; i++) {
		const struct slot *known = &table->items[i];

		if ((strcmp(known->slot_class, slot_class) == 0 && strcmp(known->name, name) == 0) || strcmp(known->path, path) == 0)
			return agent_error_set(err, -EEXIST, "slot.duplicate", "slot %s of class %s, or its path, is there already", name, slot_class);
		if (strcmp(known->name, name) == 0)
			continue;
		if (other != NULL && strcmp(other, known->name) != 0)
			return agent_error_set(err, -EINVAL, "slot.name", "%s would be a third slot name besides %s and %s", name, other, known->name);
		other = known->name;
	}
	if (table->n == SLOTS_MAX)
		return agent_error_set(err, -ENOSPC, "slot.table", "more than %d slots", SLOTS_MAX);
	slot = &table->items[table->n];
	slot->path = strdup(path);
	if (slot->path == NULL)
		return agent_error_set(err, -ENOMEM, "slot.table", "no memory for slot %s", name);
	strcpy(slot->slot_class, slot_class);
	strcpy(slot->name, name);
	table->n++;
	return 0;
}

void slot_table_clear(struct slot_table *table)
{
	for (size_t i = 0; i < table->n; i++)
		free(table->items[i].path);
	table->n = 0;
}

int slot_table_other(const struct slot_table *table, const char *booted, const char **ret_name, struct agent_error **err)
{
	const char *other = NULL;
	int has_booted = 0;

	for (size_t i = 0; i < table->n; i++) {
		if (strcmp(table->items[i].name, booted) == 0)
			has_booted = 1;
		else
			other = table->items[i].name;
	}
	if (!has_booted)
		return agent_error_set(err, -ENOENT, "slot.missing", "the running slot \"%s\" is not in the slot table", booted);
	if (other == NULL)
		return agent_error_set(err, -ENOENT, "slot.missing", "the slot table holds only the running slot %s", booted);
	*ret_name = other;
	return 0;
}

int slot_table_find(const struct slot_table *table, const char *slot_class, const char *name, const struct slot **ret_slot,
		    struct agent_error **err)
{
	const struct slot *found = NULL;

	for (size_t i = 0; i < table->n; i++) {
		const struct slot *slot = &table->items[i];

		if (strcmp(slot->name, name) != 0 || (slot_class[0] != '\0' && strcmp(slot->slot_class, slot_class) != 0))
			continue;
		if (found != NULL)
			return agent_error_set(err, -EINVAL, "slot.class", "the bundle names no slot class, and there are several");
		found = slot;
	}
	if (found == NULL)
		return agent_error_set(err, -ENOENT, "slot.class", "this device has no slot %s of class \"%s\"", name, slot_class);
	*ret_slot = found;
	return 0;
}

const struct slot *slot_table_by_device(const struct slot_table *table, const char *device)
{
	struct stat wanted, st;
	bool is_there = stat(device, &wanted) == 0;

	for (size_t i = 0; i < table->n; i++)
		if (strcmp(table->items[i].path, device) == 0)
			return &table->items[i];
	for (size_t i = 0; is_there && i < table->n; i++) {
		if (stat(table->items[i].path, &st) < 0)
			continue;
		if (S_ISBLK(wanted.st_mode) && S_ISBLK(st.st_mode) && wanted.st_rdev == st.st_rdev)
			return &table->items[i];
		if (S_ISCHR(wanted.st_mode) && S_ISCHR(st.st_mode) && wanted.st_rdev == st.st_rdev)
			return &table->items[i];
		if (S_ISBLK(wanted.st_mode) && S_ISDIR(st.st_mode) && wanted.st_rdev == st.st_dev)
			return &table->items[i];
		if (!S_ISBLK(wanted.st_mode) && wanted.st_dev == st.st_dev && wanted.st_ino == st.st_ino)
			return &table->items[i];
	}
	return NULL;
}

int slot_table_check_running(const struct slot_table *table, const char *booted, dev_t root_dev, struct agent_error **err)
{
	for (size_t i = 0; i < table->n; i++) {
		const struct slot *slot = &table->items[i];
		struct stat st;

		if (stat(slot->path, &st) < 0 || !S_ISBLK(st.st_mode) || st.st_rdev != root_dev || strcmp(slot->name, booted) == 0)
			continue;
		return agent_error_set(err, -EBADMSG, "boot.booted", "%s of slot %s is mounted as /, but slot %s is said to be running: check agent.slot= in its boot entry",
				       slot->path, slot->name, booted);
	}
	return 0;
}

static int is_read_only(const struct slot *slot, struct agent_error **err)
{
	return agent_error_set(err, -EROFS, "slot.read-only", "slot %s: %s is read-only: check its write protection, force_ro of an eMMC boot partition", slot->name,
			       slot->path);
}

static int open_as(const struct slot *slot, bool is_for_writing, int *ret_fd, uint64_t *ret_size_bytes, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	int is_protected = 0;
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	struct stat st;
	uint64_t size = 0;

	if (stat(slot->path, &st) < 0)
		return agent_error_set(err, -errno, "slot.open", "slot %s: cannot find %s: %s", slot->name, slot->path, strerror(errno));
	if (S_ISCHR(st.st_mode))
		return agent_error_set(err, -EINVAL, "slot.type", "slot %s: %s is a character device; a UBI volume takes images of type ubivol", slot->name, slot->path);
	if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
		return agent_error_set(err, -EINVAL, "slot.type", "slot %s: %s is neither a block device nor a regular file", slot->name, slot->path);
	/* O_EXCL on a block device: the kernel refuses while it is mounted or part of something else. */
	flags |= !is_for_writing ? O_RDONLY : S_ISBLK(st.st_mode) ? O_RDWR | O_EXCL : O_RDWR;
	fd = open(slot->path, flags | (S_ISBLK(st.st_mode) ? 0 : O_NOFOLLOW));
	if (fd < 0 && errno == EBUSY)
		return agent_error_set(err, -EBUSY, "slot.busy", "slot %s: %s is mounted or in use", slot->name, slot->path);
	if (fd < 0 && errno == EROFS)
		return is_read_only(slot, err);
	if (fd < 0 || fstat(fd, &st) < 0)
		return agent_error_set(err, -errno, "slot.open", "slot %s: cannot open %s: %s", slot->name, slot->path, strerror(errno));
	if (S_ISREG(st.st_mode))
		size = (uint64_t)st.st_size;
	else if (!S_ISBLK(st.st_mode))
		return agent_error_set(err, -EINVAL, "slot.type", "slot %s: %s is neither a block device nor a regular file", slot->name, slot->path);
	else if (ioctl(fd, BLKGETSIZE64, &size) < 0)
		return agent_error_set(err, -errno, "slot.open", "slot %s: cannot tell the size of %s: %s", slot->name, slot->path, strerror(errno));
	/* Many drivers open it all the same, and fail the first write: too late, as the slot is marked by then. */
	if (is_for_writing && S_ISBLK(st.st_mode) && (ioctl(fd, BLKROGET, &is_protected) < 0 || is_protected))
		return is_read_only(slot, err);
	*ret_size_bytes = size;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int slot_open(const struct slot *slot, int *ret_fd, uint64_t *ret_size_bytes, struct agent_error **err)
{
	return open_as(slot, true, ret_fd, ret_size_bytes, err);
}

int slot_open_read(const struct slot *slot, int *ret_fd, uint64_t *ret_size_bytes, struct agent_error **err)
{
	return open_as(slot, false, ret_fd, ret_size_bytes, err);
}
