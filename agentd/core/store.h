/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_STORE_H
#define CORE_STORE_H
/*
 * The TPM-backed objects of core and their files under STATE_DIR/keys and STATE_DIR/accounts. One thread at a time: the
 * worker, or agentd --provision. Blocks on the TPM.
 */
#include "agentd/common/events.h"
#include "agentd/core/key_rights.h"
#include "agentd/core/rotation.h"
#include "agentd/core/worker.h"

#define STORE_KEY_DEVICE "device"
#define STORE_KEY_DEVICE_CA "device-ca"
#define STORE_KEY_ATTEST "ak"
#define STORE_KEY_RECIPIENT "update-recipient"
#define STORE_MAC "password-mac"
#define STORE_COUNTER_GENERATION "generation"
#define STORE_COUNTER_FLOOR "floor"
#define STORE_COUNTER_TRUST "trust"
#define STORE_COUNTER_TICKETS "tickets"
#define STORE_FILE_SRK "srk.name"
#define STORE_FILE_DEVICE_CA "device-ca.crt"
#define STORE_FILE_HTTPS "https.owner" /* sealed key and chain of the owner's own HTTPS certificate: op_https.c */
#define STORE_FILE_FAILURES "failures" /* in accounts: failed logins in a row */
#define STORE_NAME_MAX 64 /* hex of an SRK Name: 34 bytes */

/* Make STATE_DIR/@name, 0700, and open it. Error name state.dir. */
int store_open_folder(const struct settings *settings, const char *name, int *ret_fd, struct agent_error **err);

/* Make and open the folders; they stay open until store_free(). No TPM yet. */
int store_new(const struct settings *settings, struct store **ret_store, struct agent_error **err);
struct store *store_free(struct store *store);

/*
 * Open what provisioning made. store->setup says what came of it, also on failure:
 * 0: open. -ENOKEY "setup.unprovisioned", -EKEYREJECTED (another TPM or SRK: setup is RECOVERY): trying again does not
 * help. -ENODEV "tpm.absent" and others: try again. A password record that does not fit the TPM is no failure: keys work,
 * setup is RECOVERY.
 */
int store_open(struct store *store, struct agent_error **err);
/* Forget all objects; the folders and the description of the TPM stay. */
void store_close(struct store *store);
/* Record and make (agentd --provision); repeatable. */
int store_provision(struct store *store, struct agent_error **err);

/*
 * Accounts and the owner's keys go, the code on the label counts again; in any state but unprovisioned. -ENOKEY "setup.label",
 * "setup.replaced": it would help nobody, and nothing was changed. reset.c
 */
int store_factory_reset(struct store *store, struct agent_error **err);
/* The owner's own certificate of HTTPS, its key and a request that waits; op_https.c */
int store_remove_https(struct store *store, struct agent_error **err);
/* What a reset that was cut off left to do; in store_open(). */
int store_finish_reset(struct store *store, struct agent_error **err);

/* ---- keys (store_keys.c) ---------------------------------------------------------------------------------------- */

/* NAME.pem, NAME.auth, NAME.meta. */
#define STORE_FILE_NAME_MAX 64

/* a-z 0-9 and dash, 1 to STORE_KEY_NAME_MAX, begins with a letter. */
bool store_key_name_is_valid(const char *name);
/* "NAME.next", the key that is to replace NAME: true, and NAME. */
bool store_split_next(const char *name, char ret_base[STORE_KEY_NAME_MAX + 1]);
/*
 * A stored key (NAME or NAME.next), opened on first use; lent until the next call. -ENOENT "key.unknown", -EPERM "key.software" (a software key, and
 * keys.allow_software is false).
 */
int store_get_key(struct store *store, const char *name, struct store_key **ret_key, struct agent_error **err);
void store_close_keys(struct store *store);
/* The attestation key, lent; made when it is not there, which *ret_is_new tells. */
int store_get_ak(struct store *store, struct agent_key **ret_ak, bool *ret_is_new, struct agent_error **err);
/* The key that bundles are encrypted to, lent; with @may_make made when it is not there, which *ret_is_new tells, else -ENOKEY "update.recipient-key". */
int store_get_recipient(struct store *store, bool may_make, struct agent_key **ret_key, bool *ret_is_new, struct agent_error **err);
/* SHA-256 of the SubjectPublicKeyInfo, hex. */
int store_key_fingerprint(const struct store_key *key, char ret_text[65], struct agent_error **err);
/* Fill srk, name and origin of @meta with what the key is. */
int store_key_identity(struct store *store, const struct store_key *key, struct key_meta *meta, struct agent_error **err);

struct store_new_key {
	enum agent_key_type type; /* of a key to make */
	bool is_software;	  /* never a fallback: asked for, and allowed by keys.allow_software */
	const char *pem;	  /* private key to import instead; lent */
	size_t pem_size;
};
/*
 * Make or import a key for the purposes and callers of @rights (its Names, origin and time are filled in here) and write NAME.meta
 * last. A key without it is one whose making was interrupted, usable for nothing; making it again completes or replaces it.
 * -EEXIST "key.exists", -EDQUOT "key.many".
 */
int store_create_key(struct store *store, const char *name, const struct store_new_key *new, const struct key_meta *rights,
		     struct store_key **ret_key, struct agent_error **err);
/* NAME.next for a rotation, in place of any that is there. */
int store_make_next(struct store *store, const char *name, enum agent_key_type type, bool is_software, const struct key_meta *rights,
		    struct store_key **ret_key, struct agent_error **err);
/* Open it, or make it (EC P-256 in the TPM) if there is none: provisioning. */
int store_need_key(struct store *store, const char *name, const struct key_meta *rights, struct store_key **ret_key,
		   struct agent_error **err);
/* Close it; the files stay. */
void store_forget_key(struct store *store, const char *name);
int store_remove_key(struct store *store, const char *name, struct agent_error **err);
/* Rights that a key gets when nobody says otherwise: client certificates of agentd-link and agentd-fetch. */
void store_default_rights(struct key_meta *ret_rights);
/* Names of the stored keys: at most STORE_MAX_KEYS, sorted; the caller frees each. */
int store_list_keys(struct store *store, char *ret_names[STORE_MAX_KEYS], size_t *ret_n, struct agent_error **err);
/* How many keys are files without a TPM; looks at the folder only. */
uint64_t store_count_software(int keys_fd);

/* ---- rotation (op_rotation.c) ------------------------------------------------------------------------------------ */

struct agent_csr_options;
/* A new key beside @name, of @type (0: as the old one), and a request for it, which is kept with it until its certificate comes. */
int store_begin_rotation(struct store *store, const char *name, enum agent_key_type type, const struct agent_csr_options *csr,
			 struct rotation *ret_rotation, char **ret_csr, struct agent_error **err);
/*
 * A certificate chain for the new key if one waits for it, else for the key in use: a renewal, which begins with it (*ret_is_begun).
 * Afterwards it is on trial. Errors rotation.*.
 */
int store_take_certificate(struct store *store, const char *name, const char *pem, int64_t now_s, struct rotation *ret_rotation, bool *ret_is_begun,
			   struct agent_error **err);
/*
 * The pair on trial, if it still is the one whose certificate has @id (rotation_id()): in use from now on, or given up for @reason.
 * -ESTALE "rotation.state".
 */
int store_end_trial(struct store *store, const char *name, const char *id, bool is_proved, const char *reason, struct rotation *ret_rotation,
		    struct agent_error **err);
/* Main thread: the event; and agentd-link hears of it. */
void core_rotation_changed(struct core *core, enum event_id id, const struct rotation *rotation);
void core_rotation_tell(struct core *core, const char *key);

#endif
