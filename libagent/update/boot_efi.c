/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "efi": the firmware's own choice, BootOrder and BootNext. The argument is FOLDER:RECORD: where efivarfs is mounted, and a file
 * of ours with what the firmware has no words for (release, security version, whether we confirmed it), as "file" has it.
 * The vendor makes one Boot#### per slot, described "agent-SLOT", whose kernel command line has agent.slot=SLOT.
 *
 * A slot in BootOrder boots at any time, one in BootNext once: the firmware takes BootNext away before it starts it. A slot
 * is good when it is in BootOrder and the record says that we confirmed it; others may put an entry into BootOrder.
 * Each variable is written with one write(), which is one SetVariable(), which the firmware makes whole or not at all.
 * Source: UEFI 2.10, sections 3.1 and 8.2; Linux Documentation/filesystems/efivarfs.rst.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/file.h"
#include "base/macro.h"
#include "update/boot.h"
#include "update/lines.h"

#define GLOBAL_GUID "8be4df61-93ca-11d2-aa0d-00e098032b8c" /* EFI_GLOBAL_VARIABLE */
#define ATTRIBUTES 0x7u /* NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS: UEFI 2.10, table 3.1, for both variables */
#define LOAD_OPTION_ACTIVE 0x1u
#define VARIABLE_MAX 4096
#define ORDER_MAX 128
#define NONE -1
#define NAME_SIZE 64

struct efi {
	int dir_fd;
	char record[256];
	struct {
		char slot[SLOT_NAME_MAX + 1];
		int number;
		bool is_active;
	} entries[BOOT_SLOTS_MAX];
	size_t n_entries;
	int order[ORDER_MAX];
	size_t n_order;
	int next;
};

static void efi_close(struct efi *efi)
{
	close_fdp(&efi->dir_fd);
}
#define _cleanup_efi_ _cleanup_(efi_close)

static uint16_t get_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get_le32(const uint8_t *p)
{
	return (uint32_t)get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static int config_split(const char *config, char ret_folder[256], char ret_record[256], struct agent_error **err)
{
	const char *colon = strchr(config, ':');

	if (colon == NULL || colon == config || colon - config >= 256 || colon[1] == '\0' || strlen(colon + 1) >= 256)
		return agent_error_set(err, -EINVAL, "boot.config", "the boot backend \"efi\" wants FOLDER:RECORD, as in /sys/firmware/efi/efivars:/var/lib/agentd-install/efi");
	memcpy(ret_folder, config, (size_t)(colon - config));
	ret_folder[colon - config] = '\0';
	strcpy(ret_record, colon + 1);
	return 0;
}

/* Its data, without the attributes before it. -ENOENT: there is none, or one without data: made and not written, or deleted that way. */
static int variable_read(const struct efi *efi, const char *name, uint8_t ret_data[VARIABLE_MAX], size_t *ret_size, struct agent_error **err)
{
	_cleanup_free_ char *data = NULL;
	char path[NAME_SIZE + 40];
	size_t size = 0;
	int r;

	snprintf(path, sizeof(path), "%s-" GLOBAL_GUID, name);
	r = file_read_at(efi->dir_fd, path, VARIABLE_MAX, &data, &size, NULL);
	if (r == -ENOENT || (r == 0 && (size == 0 || size == 4)))
		return -ENOENT;
	if (r < 0)
		return agent_error_set(err, r, "boot.read", "cannot read the EFI variable %s: %s", name, strerror(-r));
	if (size < 4)
		return agent_error_set(err, -EBADMSG, "boot.format", "EFI variable %s has no attributes", name);
	memcpy(ret_data, data + 4, size - 4);
	*ret_size = size - 4;
	return 0;
}

/* "BootXXXX-GUID": the number, or NONE. */
static int number_of(const char *name)
{
	unsigned number = 0;
	int n = 0;

	if (strlen(name) != 8 + 1 + strlen(GLOBAL_GUID) || strncmp(name, "Boot", 4) != 0 || strspn(name + 4, "0123456789ABCDEF") < 4 ||
	    strcasecmp(name + 9, GLOBAL_GUID) != 0 || name[8] != '-' || sscanf(name + 4, "%4X%n", &number, &n) != 1 || n != 4)
		return NONE;
	return (int)number;
}

/* EFI_LOAD_OPTION: attributes, length of the path list, description in UCS-2. 1 if it is for one of our slots, else 0. */
static int option_parse(const uint8_t *data, size_t size, char ret_slot[SLOT_NAME_MAX + 1], bool *ret_is_active)
{
	char text[6 + SLOT_NAME_MAX + 1];
	size_t n = 0;

	for (size_t at = 6; at + 2 <= size && n < sizeof(text); at += 2) {
		uint16_t c = get_le16(data + at);

		if (c > 0x7e)
			return 0;
		text[n++] = (char)c;
		if (c == 0)
			break;
	}
	if (n == 0 || text[n - 1] != '\0' || strncmp(text, "agent-", 6) != 0 || slot_name_check(text + 6) < 0)
		return 0;
	strcpy(ret_slot, text + 6);
	*ret_is_active = (get_le32(data) & LOAD_OPTION_ACTIVE) != 0;
	return 1;
}

static int entry_read(struct efi *efi, int number, struct agent_error **err)
{
	uint8_t data[VARIABLE_MAX];
	char name[16], slot[SLOT_NAME_MAX + 1];
	bool is_active = false;
	size_t size = 0;
	int r;

	snprintf(name, sizeof(name), "Boot%04X", (unsigned)number);
	r = variable_read(efi, name, data, &size, err);
	if (r == -ENOENT)
		return 0;
	/* Those of others may be anything. */
	if (r < 0 || size < 8 || option_parse(data, size, slot, &is_active) == 0)
		return r;
	for (size_t i = 0; i < efi->n_entries; i++)
		if (strcmp(efi->entries[i].slot, slot) == 0)
			return agent_error_set(err, -EBADMSG, "boot.format", "Boot%04X and Boot%04X are both described \"agent-%s\"; delete one (efibootmgr -B)",
					       (unsigned)efi->entries[i].number, (unsigned)number, slot);
	if (efi->n_entries == BOOT_SLOTS_MAX)
		return agent_error_set(err, -EBADMSG, "boot.format", "%s is for a third slot, %s", name, slot);
	strcpy(efi->entries[efi->n_entries].slot, slot);
	efi->entries[efi->n_entries].number = number;
	efi->entries[efi->n_entries++].is_active = is_active;
	return 0;
}

static int entries_read(struct efi *efi, const char *folder, struct agent_error **err)
{
	const struct dirent *item;
	DIR *dir = opendir(folder);
	int r = 0;

	if (dir == NULL)
		return agent_error_set(err, errno == ENOENT ? -EINVAL : -errno, "boot.config", "cannot open %s, where efivarfs should be: %s", folder, strerror(errno));
	while (r == 0 && (item = readdir(dir)) != NULL) {
		int number = number_of(item->d_name);

		if (number != NONE)
			r = entry_read(efi, number, err);
	}
	closedir(dir);
	return r == 0 && efi->n_entries == 0 ? agent_error_set(err, -EINVAL, "boot.config", "no Boot#### in %s is described \"agent-SLOT\" (efibootmgr --create --label agent-a)", folder) : r;
}

static int choice_read(struct efi *efi, struct agent_error **err)
{
	uint8_t data[VARIABLE_MAX];
	size_t size = 0;
	int r = variable_read(efi, "BootOrder", data, &size, err);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && (size % 2 != 0 || size / 2 > ORDER_MAX))
		return agent_error_set(err, -EBADMSG, "boot.format", "EFI variable BootOrder has %zu bytes", size);
	for (size_t i = 0; r == 0 && i < size / 2; i++)
		efi->order[efi->n_order++] = get_le16(data + 2 * i);
	efi->next = NONE;
	r = variable_read(efi, "BootNext", data, &size, err);
	if (r == -ENOENT)
		return 0;
	if (r == 0 && size != 2)
		return agent_error_set(err, -EBADMSG, "boot.format", "EFI variable BootNext has %zu bytes", size);
	if (r == 0)
		efi->next = get_le16(data);
	return r;
}

static int efi_open(const char *config, struct efi *ret_efi, struct agent_error **err)
{
	char folder[256];
	int r = config_split(config, folder, ret_efi->record, err);

	if (r < 0)
		return r;
	ret_efi->dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret_efi->dir_fd < 0)
		return agent_error_set(err, errno == ENOENT ? -EINVAL : -errno, "boot.config", "cannot open %s, where efivarfs should be: %s", folder, strerror(errno));
	r = entries_read(ret_efi, folder, err);
	return r < 0 ? r : choice_read(ret_efi, err);
}

static const char *slot_of(const struct efi *efi, int number)
{
	for (size_t i = 0; i < efi->n_entries; i++)
		if (efi->entries[i].number == number)
			return efi->entries[i].slot;
	return NULL;
}

static int number_for(const struct efi *efi, const char *slot)
{
	for (size_t i = 0; i < efi->n_entries; i++)
		if (strcmp(efi->entries[i].slot, slot) == 0)
			return efi->entries[i].number;
	return NONE;
}

/* The slot that BootOrder starts first, or NULL. */
static const char *first_of(const struct efi *efi)
{
	for (size_t i = 0; i < efi->n_order; i++)
		if (slot_of(efi, efi->order[i]) != NULL)
			return slot_of(efi, efi->order[i]);
	return NULL;
}

static bool is_in_order(const struct efi *efi, int number)
{
	for (size_t i = 0; i < efi->n_order; i++)
		if (efi->order[i] == number)
			return true;
	return false;
}

static int state_get(const struct efi *efi, struct boot_state *ret_state, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	struct boot_state record = { 0 }, state = { 0 };
	const char *first = first_of(efi), *primary = efi->next == NONE ? NULL : slot_of(efi, efi->next);
	int has_record = boot_file.load(efi->record, &record, &why);

	if (has_record < 0 && has_record != -ENOENT)
		return agent_error_move(err, &why);
	for (size_t i = 0; i < efi->n_entries; i++) {
		const char *name = efi->entries[i].slot;
		struct boot_slot *slot = boot_state_slot(&state, name), *kept = boot_state_slot(&record, name);
		bool is_listed = is_in_order(efi, efi->entries[i].number);

		if (kept == NULL)
			return agent_error_set(err, -EBADMSG, "boot.format", "%s is about other slots than \"agent-%s\"", efi->record, name);
		*slot = *kept;
		slot->is_good = is_listed && (has_record == -ENOENT || kept->is_good);
		/* Between the two writes of a confirmation it is listed, first, and not yet good: it boots. */
		slot->is_stray = is_listed && !slot->is_good;
		slot->n_tries_left = !slot->is_good && (efi->next == efi->entries[i].number || (is_listed && strcmp(first, name) == 0)) ? 1 : 0;
		if (is_listed && !efi->entries[i].is_active)
			return agent_error_set(err, -EINVAL, "boot.config", "Boot%04X for slot %s is not active, so that the firmware leaves it out (efibootmgr -a)",
					       (unsigned)efi->entries[i].number, name);
	}
	if (primary == NULL)
		primary = first;
	if (primary == NULL)
		return agent_error_set(err, -EINVAL, "boot.config", "BootOrder has no entry for a slot of ours");
	strcpy(state.primary, primary);
	*ret_state = state;
	return 0;
}

static int efi_load(const char *config, struct boot_state *ret_state, struct agent_error **err)
{
	_cleanup_efi_ struct efi efi = { .dir_fd = -1 };
	int r = efi_open(config, &efi, err);

	return r < 0 ? r : state_get(&efi, ret_state, err);
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

/* Linux marks variables it does not know as immutable, since deleting some bricks boards. Returns the flags it had, or -errno. */
static int immutable_off(int dir_fd, const char *path)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int flags = 0, without;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return errno == ENOTTY || errno == EOPNOTSUPP ? 0 : -errno;
	without = flags & ~FS_IMMUTABLE_FL;
	return without != flags && ioctl(fd, FS_IOC_SETFLAGS, &without) < 0 ? -errno : flags;
}

static void flags_put_back(int fd, int flags)
{
	if (flags & FS_IMMUTABLE_FL)
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags); /* a guard against others; what was to be written is written */
}

static int write_failed(const char *name, int r, struct agent_error **err)
{
	if (r == -EPERM || r == -EACCES)
		return agent_error_set(err, r, "boot.write", "may not write the EFI variable %s: it is immutable (chattr -i) or belongs to another user", name);
	return agent_error_set(err, r, "boot.write", "cannot write the EFI variable %s: %s", name, strerror(-r));
}

/* fsync() is not known to efivarfs, which has written by then. */
static int sync_if_it_can(int fd)
{
	return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

static int variable_write(const struct efi *efi, const char *name, const int *numbers, size_t n, struct agent_error **err)
{
	uint8_t data[4 + 2 * ORDER_MAX] = { ATTRIBUTES };
	const size_t size = 4 + 2 * n;
	_cleanup_close_ int fd = -1;
	char path[NAME_SIZE + 40];
	int flags = 0, r = 0;
	ssize_t done;

	for (size_t i = 0; i < n; i++) {
		data[4 + 2 * i] = (uint8_t)(numbers[i] & 0xff);
		data[5 + 2 * i] = (uint8_t)(numbers[i] >> 8);
	}
	snprintf(path, sizeof(path), "%s-" GLOBAL_GUID, name);
	fd = openat(efi->dir_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 && errno == EPERM && (flags = immutable_off(efi->dir_fd, path)) >= 0)
		fd = openat(efi->dir_fd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return write_failed(name, flags < 0 ? flags : -errno, err);
	/* Never in pieces: each write() is a variable of its own. */
	do
		done = write(fd, data, size);
	while (done < 0 && errno == EINTR);
	if (done != (ssize_t)size)
		r = done < 0 ? -errno : -EIO;
	/* What efivarfs does by itself: the file is as long as what was written. */
	if (r == 0 && lseek(fd, 0, SEEK_END) > (off_t)size && ftruncate(fd, (off_t)size) < 0)
		r = -errno;
	if (r == 0)
		r = sync_if_it_can(fd);
	if (r == 0)
		r = sync_if_it_can(efi->dir_fd);
	flags_put_back(fd, flags);
	return r < 0 ? write_failed(name, r, err) : 0;
}

static int variable_delete(const struct efi *efi, const char *name, struct agent_error **err)
{
	char path[NAME_SIZE + 40];
	int r = 0;

	snprintf(path, sizeof(path), "%s-" GLOBAL_GUID, name);
	if (unlinkat(efi->dir_fd, path, 0) < 0)
		r = errno == ENOENT ? 0 : errno == EPERM && immutable_off(efi->dir_fd, path) >= 0 && unlinkat(efi->dir_fd, path, 0) == 0 ? 0 : -EPERM;
	if (r == 0)
		r = sync_if_it_can(efi->dir_fd);
	return r < 0 ? write_failed(name, r, err) : 0;
}

/* BootNext of somebody else stays: it is for one boot, and they asked for it. */
static int next_store(const struct efi *efi, int wanted, struct agent_error **err)
{
	if (wanted != NONE)
		return efi->next == wanted ? 0 : variable_write(efi, "BootNext", &wanted, 1, err);
	return efi->next == NONE || slot_of(efi, efi->next) == NULL ? 0 : variable_delete(efi, "BootNext", err);
}

/* Ours in the place where the first of ours was, or before all others; those of others where they are. */
static int order_store(const struct efi *efi, const int *ours, size_t n_ours, struct agent_error **err)
{
	int order[ORDER_MAX + BOOT_SLOTS_MAX];
	size_t n = 0, at = 0;

	while (at < efi->n_order && slot_of(efi, efi->order[at]) == NULL)
		at++;
	if (at == efi->n_order)
		at = 0;
	for (size_t i = 0; i <= efi->n_order; i++) {
		for (size_t k = 0; i == at && k < n_ours; k++)
			order[n++] = ours[k];
		if (i < efi->n_order && slot_of(efi, efi->order[i]) == NULL)
			order[n++] = efi->order[i];
	}
	if (n > ORDER_MAX)
		return agent_error_set(err, -ENOSPC, "boot.write", "BootOrder is full");
	if (n == efi->n_order && memcmp(order, efi->order, n * sizeof(order[0])) == 0)
		return 0;
	return variable_write(efi, "BootOrder", order, n, err);
}

static int efi_store(const char *config, const struct boot_state *state, struct agent_error **err)
{
	_cleanup_efi_ struct efi efi = { .dir_fd = -1 }, after = { .dir_fd = -1 };
	int ours[BOOT_SLOTS_MAX], next = NONE, r = efi_open(config, &efi, err);
	struct boot_state now = { 0 };
	bool is_promoted;
	size_t n = 0;

	for (size_t i = 0; i < state->n_slots && r == 0; i++) {
		const struct boot_slot *slot = &state->slots[i];
		bool is_primary = strcmp(slot->name, state->primary) == 0;
		int number = number_for(&efi, slot->name);

		if (number == NONE)
			r = agent_error_set(err, -EINVAL, "boot.config", "no Boot#### is described \"agent-%s\" (efibootmgr --create-only --label agent-%s)", slot->name, slot->name);
		if (slot->is_good && is_primary && n == 1)
			ours[1] = ours[0];
		if (slot->is_good)
			ours[is_primary ? 0 : n] = number;
		n += slot->is_good;
		if (is_primary && !slot->is_good && slot->n_tries_left > 0)
			next = number;
	}
	if (r == 0 && n == 0)
		r = agent_error_set(err, -EINVAL, "boot.config", "no slot would be left in BootOrder");
	/*
	 * In this order: what the record says of a slot is old only while the slot, already whole, boots all the same. One that
	 * goes from BootNext into BootOrder is in both for a moment rather than in none.
	 */
	is_promoted = n > 0 && efi.next != NONE && (efi.next == ours[0] || (n > 1 && efi.next == ours[1]));
	if (r == 0 && !is_promoted)
		r = next_store(&efi, next, err);
	if (r == 0)
		r = order_store(&efi, ours, n, err);
	if (r == 0 && is_promoted)
		r = next_store(&efi, next, err);
	if (r == 0)
		r = boot_file.store(efi.record, state, err);
	if (r == 0)
		r = efi_open(config, &after, err);
	if (r == 0)
		r = state_get(&after, &now, err);
	if (r == 0 && !boot_state_is_equal(&now, state))
		r = agent_error_set(err, -EIO, "boot.write", "the firmware did not keep BootOrder and BootNext as they were written");
	return r;
}

static int efi_paths(const char *config, agent_update_path_fn fn, void *userdata, struct agent_error **err)
{
	char folder[256], record[256];
	int r = config_split(config, folder, record, err);

	if (r == 0)
		r = fn(userdata, folder, AGENT_UPDATE_PATH_READ | AGENT_UPDATE_PATH_WRITE, err);
	return r < 0 ? r : boot_paths_folder(record, fn, userdata, err);
}

const struct boot_backend boot_efi = { .name = "efi", .max_tries = 1, .load = efi_load, .store = efi_store, .paths = efi_paths };
