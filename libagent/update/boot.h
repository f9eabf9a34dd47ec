/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_BOOT_H
#define UPDATE_BOOT_H
/*
 * What the boot loader and we tell each other, and how. A backend is one file boot_<name>.c with one row, and one pointer
 * in boot_backends[] (boot.c). Its store is one write: after a power cut either all of it is there or nothing.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/update.h>

#include "update/manifest.h"
#include "update/slot.h"

#define BOOT_SLOTS_MAX 2
#define BOOT_TRIES_MAX 9

struct boot_slot {
	char name[SLOT_NAME_MAX + 1];
	bool is_good;		/* booted and confirmed; else it boots only while tries are left */
	unsigned n_tries_left;
	uint64_t security_version;
	char release[MANIFEST_TEXT_MAX + 1]; /* empty while unknown or being written */
	char version[MANIFEST_TEXT_MAX + 1];
	bool is_stray;		/* in service by others' doing, never confirmed: the next store takes it out */
};

struct boot_state {
	char primary[SLOT_NAME_MAX + 1]; /* tried first */
	char booted[SLOT_NAME_MAX + 1];	 /* written by the boot loader; empty if it cannot tell */
	struct boot_slot slots[BOOT_SLOTS_MAX];
	size_t n_slots;
	/* For store() only, lent: variables of a bundle that change in the same write. load() leaves them empty, others stay as they are. */
	const struct manifest_env *env;
	size_t n_env;
};

/* @config is update.boot_config of agentd.conf: each backend says what kind of path it wants. */
struct boot_backend {
	const char *name;	/* update.boot_backend of agentd.conf */
	unsigned max_tries;	/* what its boot loader can count; 0: BOOT_TRIES_MAX */
	bool needs_entry;	/* a slot that load() does not find cannot be put into service: the vendor makes what boots it */
	size_t env_value_max;	/* bytes that the value of a bundle's variable may have; 0: it keeps none */
	/* -ENOENT boot.missing when there is nothing yet, -EBADMSG boot.format, -EINVAL boot.config, -errno boot.read. */
	int (*load)(const char *config, struct boot_state *ret_state, struct agent_error **err);
	/* Durable when it returns; what is not ours in the environment is kept. -errno boot.write, -EINVAL boot.config. */
	int (*store)(const char *config, const struct boot_state *state, struct agent_error **err);
	/* What load and store open, for agent_update_boot_paths(). */
	int (*paths)(const char *config, agent_update_path_fn fn, void *userdata, struct agent_error **err);
};

extern const struct boot_backend boot_efi;
extern const struct boot_backend boot_file;
extern const struct boot_backend boot_grub;
extern const struct boot_backend boot_script;
extern const struct boot_backend boot_systemd;
#if defined(HAVE_UBOOTENV)
extern const struct boot_backend boot_uboot;
#endif

/* NULL if there is none. */
const struct boot_backend *boot_find(const char *name);
/* The row of slot @name, made (not bootable) where it is missing and there is room; NULL otherwise. */
struct boot_slot *boot_state_slot(struct boot_state *state, const char *name);
bool boot_slot_is_bootable(const struct boot_slot *slot);
/* The same choice for the boot loader, whatever the order of the slots; @booted is its own word and not compared. */
bool boot_state_is_equal(const struct boot_state *a, const struct boot_state *b);
/*
 * The state as text, one key=value a line: the file of "file", the record of "efi", the words of "script". Parse cuts @text
 * up; @what begins the sentence of -EBADMSG boot.format. The caller frees what print made.
 */
int boot_text_parse(char *text, const char *what, struct boot_state *ret_state, struct agent_error **err);
int boot_text_print(const struct boot_state *state, char **ret_text, size_t *ret_size, struct agent_error **err);
/* The folder of @config, which is a file replaced by rename: the common @paths. */
int boot_paths_folder(const char *config, agent_update_path_fn fn, void *userdata, struct agent_error **err);

/*
 * For backends whose boot loader keeps variables. One row per value of a slot; the variable is prefix, slot name, suffix.
 * A slot name with '-' is no part of a variable in U-Boot's and GRUB's shells: boot_names_check() refuses it.
 */
struct boot_variable {
	const char *prefix, *suffix;
	enum { BOOT_GOOD, BOOT_TRIES, BOOT_SECURITY_VERSION, BOOT_RELEASE, BOOT_VERSION } value;
};
#define BOOT_VARIABLE_MAX 64 /* bytes of a name */
#define BOOT_VALUE_MAX (MANIFEST_TEXT_MAX + 1)
void boot_variable_name(const struct boot_variable *variable, const char *slot, char ret_name[BOOT_VARIABLE_MAX]);
/* @text into the slot; NULL (no such variable) leaves it. -EBADMSG. */
int boot_value_parse(struct boot_slot *slot, const struct boot_variable *variable, const char *text);
void boot_value_print(const struct boot_slot *slot, const struct boot_variable *variable, char ret_text[BOOT_VALUE_MAX]);
/* "b a": tried in this order; -EBADMSG unless one or two different slot names. */
int boot_order_parse(const char *text, struct boot_state *ret_state);
void boot_order_print(const struct boot_state *state, char ret_text[BOOT_VALUE_MAX]);
/* -EINVAL boot.config. */
int boot_names_check(const struct boot_state *state, struct agent_error **err);

#endif
