/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_ENGINE_H
#define UPDATE_ENGINE_H
/* Inside of struct agent_update, shared by update.c (the object), install.c and its parts, and confirm.c (what comes before and after). */
#include <stdbool.h>

#include <agent/bundle.h>
#include <agent/update.h>

#include "base/secret.h"
#include "update/boot.h"
#include "update/bootenv.h"
#include "update/journal.h"
#include "update/slot.h"
#include "update/versions.h"

struct agent_update {
	struct agent_context *ctx;
	char *trust_dir, *product, *boot_config;
	char booted_option[SLOT_NAME_MAX + 1];	/* empty: the boot backend knows */
	unsigned n_min_signers, n_tries;
	bool allow_compat, require_crl;
	enum agent_update_raw raw_signatures;
	struct secret key;	/* struct stream_key, or empty */
	agent_update_unwrap_fn unwrap;	/* opens the envelope of a bundle that brings its key along */
	void *unwrap_data;
	bool allow_scripts;
	agent_update_script_fn script;	/* runs scripts of bundles; NULL: they are refused, unless allowed for a trial */
	void *script_data;
	uint64_t trust_floor;
	struct {
		char *text;	/* NULL: none */
		char device[AGENT_UPDATE_DEVICE_MAX + 1];
		uint64_t counter;
		agent_update_ticket_fn use;
		void *userdata;
	} ticket;
	agent_update_policy_fn policy;
	void *policy_data;
	char *selections[BOOT_SLOTS_MAX];	/* "SLOT=SET,MODE" */
	size_t n_selections;
	char *bootenv[BOOTENV_ALLOWED_MAX];	/* patterns of variables that bundles may set */
	size_t n_bootenv;
	struct versions versions;
	int state_fd, lock_fd;
	const struct boot_backend *boot;
	struct slot_table slots;
	struct journal journal;
	bool has_journal;
	bool is_installing;	/* a callback of the installation must not begin something else */
	char signers[JOURNAL_SIGNERS_SIZE]; /* lent by agent_update_get_status() */
	/* As of the last engine_load(). */
	struct boot_state boot_state;
	char booted[SLOT_NAME_MAX + 1];
};

/*
 * Boot environment and, once, the journal. A journal that is missing or damaged is derived from the boot environment,
 * which knows as much as matters: which slot is good, which is being tried, and what is in it.
 */
int engine_load(struct agent_update *update, struct agent_error **err);
/* Make @next the boot environment; writes only what differs. */
int engine_store_boot(struct agent_update *update, const struct boot_state *next, struct agent_error **err);
/* Take @slot out of the boot loader's choice. */
void engine_disable_slot(struct boot_slot *slot);
/* The one write that makes the target the next slot to boot, and then stage TRYING. */
int engine_switch(struct agent_update *update, struct agent_error **err);
/* The digests as text with @between between them, 65 bytes for each into @ret_text. */
void signers_print(const uint8_t keys[][DIGEST_SIZE], size_t n, char between, char *ret_text);
/* What @update holds of this kind: -EBUSY update.pending while a slot is being tried or awaits its floor. */
int engine_check_idle(const struct agent_update *update, struct agent_error **err);
/* "SET,MODE" for the slot of this name, or NULL if nobody said. */
const char *engine_selection(const struct agent_update *update, const char *name);
/*
 * agent_update_install() without slots, journal and boot environment, for agent_bundle_verify(). @update needs its policy only; its product may
 * be NULL for any.
 */
int engine_verify(struct agent_update *update, int fd, const char *selection, uint64_t floor, uint64_t now_s, struct agent_bundle_facts *ret_facts,
		  struct agent_error **err);

#endif
