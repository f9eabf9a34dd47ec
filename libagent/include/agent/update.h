/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_UPDATE_H
#define AGENT_UPDATE_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/error.h>
#include <agent/recipient.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct agent_update - the update engine over a set of slots and one boot backend
 *
 * One thread at a time. Every change on the device is made so that power may fail, or the process be killed, at any
 * point: call agent_update_settle() at the next start. docs/design/update.md has the states. Since: 0.1
 */
struct agent_update;

/**
 * enum agent_update_raw - are bare RSA signatures over SHA-256 good enough for a stock bundle, as "openssl dgst -sign" makes them
 *
 * By a key in a file *.pub (PEM) of the trust folder: it has no purpose, no end and cannot be revoked. Besides CMS, never for a bundle
 * of the strict profile, and never when more than one signer is needed. Since: 0.1
 */
enum agent_update_raw {
	AGENT_UPDATE_RAW_NONE = 0,
	AGENT_UPDATE_RAW_RSA = 1,    /* PKCS#1 v1.5 */
	AGENT_UPDATE_RAW_RSA_PSS = 2 /* RSA-PSS with MGF1 over SHA-256, any length of salt */
};

/**
 * struct agent_update_options - device policy; strings are copied. Since: 0.1
 * @trust_dir:   folder with PEM signer or issuer certificates (*.pem) and CRLs (*.crl)
 * @n_min_signers: valid signatures by distinct keys that are needed, at least 1
 * @product:     "board:revision" of this device
 * @state_dir:   folder for the journal
 * @boot_backend, @boot_config: row of the boot table and its argument ("file", "/path/of/env"); agentd.conf(5) has them all
 * @booted_slot: name of the slot that runs now, or NULL to ask the boot backend
 * @allow_compat: also stock .swu without the agent group (image goes to a slot that stays invalid until its hash matched)
 * @raw_signatures: of stock .swu; AGENT_UPDATE_RAW_NONE unless bundles are really made like that
 * @require_crl: a signer issued by a pinned CA needs a CRL of that CA that is valid now; without, a CRL counts where there is one
 * @n_tries:     how often the boot loader may try a new slot, 1 to 9
 */
struct agent_update_options {
	const char *trust_dir;
	unsigned n_min_signers;
	const char *product;
	const char *state_dir;
	const char *boot_backend;
	const char *boot_config;
	const char *booted_slot;
	int allow_compat;
	enum agent_update_raw raw_signatures;
	int require_crl;
	unsigned n_tries;
};

/**
 * agent_update_new() - make an engine and take the lock of its state folder
 * @ctx:        a reference is kept
 * @options:    copied
 * @ret_update: the engine; release with agent_update_free()
 *
 * Opens and locks STATE_DIR/lock, reads nothing else yet. Errors: -EINVAL update.options or boot.backend, -EBUSY update.locked
 * (another engine, also of another process, has the folder), -errno update.lock or file.dir, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_new(struct agent_context *ctx, const struct agent_update_options *options,
						   struct agent_update **ret_update, struct agent_error **err);
/** agent_update_free() - release the engine and its lock; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_update *agent_update_free(struct agent_update *update);
/**
 * agent_update_add_slot() - device, file or folder @path is slot @name ("a") of class @slot_class ("rootfs")
 *
 * A folder, the top of a mounted file system, takes files and archives; it is emptied before.
 *
 * All strings are copied; class and name are 1 to 16 of a-z, 0-9, '-' and '_', the path is absolute. There are two slot
 * names in all, each with one slot per class. Errors: -EINVAL slot.name or slot.path, -EEXIST slot.duplicate, -ENOSPC
 * slot.table (more than 16), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_add_slot(struct agent_update *update, const char *slot_class, const char *name,
							const char *path, struct agent_error **err);

/**
 * agent_update_set_selection() - what a stock bundle installs into slot @name: "SET,MODE", as in "swupdate -e SET,MODE"
 *
 * Copied. Without one the only selection is taken whose devices are all those of the slot being written. Errors: -EINVAL
 * manifest.selection, -ENOENT slot.missing (add slots first), -EEXIST slot.duplicate, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_set_selection(struct agent_update *update, const char *name, const char *selection,
							     struct agent_error **err);

/**
 * agent_update_allow_bootenv() - a boot loader variable that bundles may set with "bootenv": a name, or the beginning of names and '*'
 *
 * Copied; none is allowed without. The variables change in the one write that makes the new slot the next to boot; they stay as they are
 * when the release falls back. Never allowed are names that decide what boots (docs/design/update.md). Errors: -EINVAL update.bootenv,
 * -EPERM update.bootenv (such a name), -ENOSPC update.bootenv (more than 32), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_allow_bootenv(struct agent_update *update, const char *pattern, struct agent_error **err);
/**
 * agent_update_add_version() - component @name of the system that runs has @version, as a line of SWUpdate's /etc/sw-versions says
 *
 * For "install-if-different" and "install-if-higher" of stock bundles. Copied; the same name again replaces the version. Errors: -EINVAL
 * update.versions (1 to 64 letters, digits and ._+:- each), -ENOSPC update.versions (more than 64). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_add_version(struct agent_update *update, const char *name, const char *version,
							   struct agent_error **err);

/** AGENT_UPDATE_IV_SIZE - bytes of an initialisation vector, one block of AES. Since: 0.1 */
#define AGENT_UPDATE_IV_SIZE 16

/**
 * agent_update_set_key() - the AES key of encrypted images
 * @key:      16, 24 or 32 bytes; copied, kept out of core dumps and wiped by agent_update_free()
 * @iv:       AGENT_UPDATE_IV_SIZE bytes for images that bring none, or NULL for zeros
 *
 * Takes the place of one set before; a @key_size of 0 forgets it. A caller keeps it sealed, agent_seal(), and gives it for one
 * installation. Errors: -EINVAL update.key, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_set_key(struct agent_update *update, const uint8_t *key, size_t key_size, const uint8_t *iv,
						       struct agent_error **err);

/**
 * agent_update_unwrap_fn - open one of @recipients, as agent_recipient_key_unwrap() does: the bundle brings its key along, encrypted to devices
 * @ret_key: at most AGENT_RECIPIENT_KEY_MAX bytes, how many in @ret_size; wiped by the engine
 *
 * Called from within agent_update_install(), once, after everything was found good that agent_update_policy_fn is told of, the envelope had the hash
 * that was signed, and before a slot or what boots was changed; a change of signers may have been kept already.
 * A negative errno, with @err set, ends the installation with that error. Since: 0.1
 */
typedef int (*agent_update_unwrap_fn)(void *userdata, const struct agent_recipient *recipients, size_t n, uint8_t ret_key[AGENT_RECIPIENT_KEY_MAX],
				      size_t *ret_size, struct agent_error **err);
/**
 * agent_update_set_unwrap() - who opens the envelope of a bundle that brings its key along (agent.content-key); NULL for nobody
 *
 * With one, such a bundle's own key counts for it and that of agent_update_set_key() does not. Without, that of agent_update_set_key() counts and the
 * envelope is only looked at. -EINVAL update.argument without an engine. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_set_unwrap(struct agent_update *update, agent_update_unwrap_fn fn, void *userdata, struct agent_error **err);

/**
 * struct agent_update_script - a script of a bundle that is to run now
 * @name:     the member of the bundle
 * @argument: "preinst" or "postinst" for one of type shellscript; NULL for preinstall and postinstall, which take none
 * @is_after: all images are verified; else nothing was changed yet
 * @text, @size: its bytes, whose SHA-256 is the signed one. Lent for the call. Since: 0.1
 */
struct agent_update_script {
	const char *name;
	const char *argument;
	int is_after;
	const uint8_t *text;
	size_t size;
};

/**
 * agent_update_script_fn - run a script of a bundle to its end
 *
 * May block. A negative errno, with *err, ends the installation: before the images nothing was changed then; after them the slot stays
 * one that does not boot, and the boot environment as it was while writing. Since: 0.1
 */
typedef int (*agent_update_script_fn)(void *userdata, const struct agent_update_script *script, struct agent_error **err);

/**
 * agent_update_set_script() - who runs the scripts of bundles; NULL for nobody: bundles with scripts are refused
 *
 * The caller decides where and with which rights they run; the engine starts no program. A bundle of the strict profile has to name
 * its scripts in agent.scripts as well. Lua is refused always. Errors: -EINVAL update.argument. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_set_script(struct agent_update *update, agent_update_script_fn fn, void *userdata,
							  struct agent_error **err);

/**
 * agent_update_set_trust_floor() - the lowest version of the policy of signers that may be in force; 0, as at the beginning, for any
 *
 * For a caller who keeps that version where the disk cannot bring it down, a counter in the TPM: whoever removes or restores the stored
 * chain of policies then brings no old signer back, as agent_update_install() says -ESTALE update.trust-restored. Order: after an
 * installation read agent_update_get_trust_version() and raise the counter to it; killed between the two, do it at the next start.
 * -EINVAL update.argument without an engine. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_set_trust_floor(struct agent_update *update, uint64_t version, struct agent_error **err);
/**
 * agent_update_get_trust_version() - version of the policy of signers that is in force; 0 when only the trust folder counts
 *
 * Every stored step is verified for it: some milliseconds each. Errors: -EBADMSG update.trust-policy, -ENOKEY update.trust, others of the
 * trust folder, -EINVAL update.argument. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_get_trust_version(struct agent_update *update, uint64_t *ret_version, struct agent_error **err);

/**
 * agent_update_get_trusted_keys() - whose signatures count: SHA-256 of the SubjectPublicKeyInfo of each certificate that is pinned now
 * @ret_keys:    64 hexadecimal digits each, blanks between them; the caller frees it
 * @ret_version: as agent_update_get_trust_version() tells it, or NULL
 *
 * Signers, and authorities that issue signers; those of the trust folder, or of the policy of signers in force. Bare keys (*.pub) only where
 * raw_signatures lets them sign. Errors as agent_update_get_trust_version(), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_get_trusted_keys(struct agent_update *update, char **ret_keys, uint64_t *ret_version,
								struct agent_error **err);

/** struct agent_update_release - what a signed manifest says of its release; strings are lent for the call. Since: 0.1 */
struct agent_update_release {
	const char *version;
	const char *release_id;
	uint64_t security_version;
	const char *kind;	 /* "security", "feature", or "" if it does not say */
	const char *advisory;	 /* a sentence for the owner, UTF-8 without control characters, or "" */
	uint64_t stored_bytes;	 /* of all images, as far as the manifest says */
	int needs_key;		 /* an image is encrypted */
	uint64_t signed_s;	 /* the earliest signing time that a good signature gives, by the signer's clock; 0: one gives none */
	const char *manifest_sha256; /* of the bytes that were signed, 64 hexadecimal digits: names this bundle, where a release id only names a release */
};
/**
 * agent_update_policy_fn - may this release be installed now? 0, or a negative errno, which ends the installation with @err
 *
 * Called from within agent_update_install(), once, after signature, manifest, floor and sizes were found good and before anything on
 * the device was changed; the bundle waits meanwhile. It must not call the engine, but for
 * agent_update_set_key(): so a key need not be there before it is known that a trusted bundle wants it. If it sets no error, the name is update.policy.
 * Since: 0.1
 */
typedef int (*agent_update_policy_fn)(void *userdata, const struct agent_update_release *release, struct agent_error **err);
/**
 * agent_update_set_policy() - whom to ask before a release is installed; NULL for nobody
 *
 * Also the way to look into a bundle: a policy that copies what it is told and refuses leaves the device as it was. -EINVAL
 * update.argument without an engine. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_set_policy(struct agent_update *update, agent_update_policy_fn fn, void *userdata,
							  struct agent_error **err);

/** AGENT_UPDATE_TICKET_MAX - bytes of a service ticket at most. Since: 0.1 */
#define AGENT_UPDATE_TICKET_MAX 65536
/** AGENT_UPDATE_DEVICE_MAX - digits of the name of a device in a service ticket at most. Since: 0.1 */
#define AGENT_UPDATE_DEVICE_MAX 128
/**
 * agent_update_ticket_fn - use a service ticket up: raise the counter whose value it carries, durably. 0, or a negative errno, which ends
 * the installation with @err
 *
 * Called from within agent_update_install(), at most once, after all bytes are in the slot and compared, and before anything that makes it
 * boot: a power cut right after it costs the ticket, none lets it be used twice. Must not call the engine. Since: 0.1
 */
typedef int (*agent_update_ticket_fn)(void *userdata, struct agent_error **err);
/**
 * struct agent_update_ticket - a service ticket, and what it is held against
 * @text:    the ticket as agent_bundle_ticket() made it; copied
 * @device:  this device: lower-case hexadecimal digits that somebody vouches for who is not the disk, as the Name of the storage root key of
 *           the TPM; copied
 * @counter: how many tickets were used, from where the disk cannot bring it back, as an NV counter
 * @use:     raises that counter
 *
 * Since: 0.1
 */
struct agent_update_ticket {
	const char *text;
	const char *device;
	uint64_t counter;
	agent_update_ticket_fn use;
	void *userdata;
};
/**
 * agent_update_set_ticket() - let the release that a ticket names be installed below the floor; NULL forgets it
 *
 * It is looked at when a bundle is below the floor that agent_update_install() was given, and only then: signed by those who may sign bundles,
 * and by as many; for this device and this very manifest; now, by the clock, and for this value of the counter. A caller whose clock
 * nobody vouches for should not set one. The floor stays: the next release is held against it again, and the other slot stays as it is. What
 * agent_update_install() adds: -EBADMSG update.ticket, -EPERM (update.ticket-device, .ticket-release), -ESTALE (update.ticket-used,
 * .ticket-too-early, .ticket-expired), -EKEYREJECTED as for a bundle, or what @use said. Errors: -EINVAL update.argument, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_set_ticket(struct agent_update *update, const struct agent_update_ticket *ticket,
							  struct agent_error **err);
/** struct agent_update_ticket_facts - what a ticket that is good lets in, and until when. Since: 0.1 */
struct agent_update_ticket_facts {
	char release_id[72];
	uint64_t security_version;
	uint64_t not_after_s;
};
/**
 * agent_update_check_ticket() - would this ticket be good now, for a bundle that fits; changes nothing
 *
 * Reads the trust folder and the stored chain. Errors as agent_update_set_ticket() says, but for update.ticket-release; those of the trust folder;
 * -ESTALE update.trust-restored; -EINVAL update.argument. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_check_ticket(struct agent_update *update, const char *text, const char *device, uint64_t counter,
							    uint64_t now_s, struct agent_update_ticket_facts *ret_facts, struct agent_error **err);

/** enum agent_update_path - what a path must be open for. Since: 0.1 */
enum agent_update_path {
	AGENT_UPDATE_PATH_READ = 1u << 0,
	AGENT_UPDATE_PATH_WRITE = 1u << 1, /* of a folder: also make and remove files in it */
	AGENT_UPDATE_PATH_DEVICE = 1u << 2 /* device controls */
};
/** agent_update_path_fn - one path, lent for the call; @access are bits of enum agent_update_path. Negative stops. Since: 0.1 */
typedef int (*agent_update_path_fn)(void *userdata, const char *path, unsigned access, struct agent_error **err);
/**
 * agent_update_boot_paths() - tell a sandbox what a boot backend opens
 * @boot_backend, @boot_config: as in struct agent_update_options
 * @fn:       called for each file, device or folder, which need not exist
 *
 * Reads small configuration files at most. Returns 0, what @fn returned if that is negative, -EINVAL boot.backend or
 * boot.config, -errno boot.read. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_boot_paths(const char *boot_backend, const char *boot_config, agent_update_path_fn fn,
							  void *userdata, struct agent_error **err);

/** enum agent_update_stage - journal stages, docs/design/update.md. Since: 0.1 */
enum agent_update_stage {
	AGENT_UPDATE_IDLE = 0,
	AGENT_UPDATE_RECEIVING = 1,  /* nothing touched yet */
	AGENT_UPDATE_WRITING = 2,    /* slot marked not bootable, bytes going in */
	AGENT_UPDATE_WRITTEN = 3,    /* synced, read back, equal */
	AGENT_UPDATE_TRYING = 4,     /* boot choice switched; reboot pending or being tried */
	AGENT_UPDATE_CONFIRMED = 5,  /* new slot good; floor must rise */
	AGENT_UPDATE_FAILED = 6	     /* fell back or was refused after writing began */
};
/** agent_update_stage_name() - "idle", "receiving", "writing", "written", "trying", "confirmed", "failed"; else "unknown". Since: 0.1 */
AGENT_EXPORT const char *agent_update_stage_name(enum agent_update_stage stage);

/**
 * agent_update_progress_fn - called from within agent_update_install(), after each chunk and with each new stage: @done of
 * @total bytes of the stored payload (total 0 while unknown). Must be quick and must not call the engine (-EBUSY update.locked). Since: 0.1
 */
typedef void (*agent_update_progress_fn)(void *userdata, enum agent_update_stage stage, uint64_t done_bytes, uint64_t total_bytes);

/** struct agent_update_status - what is where; strings are lent until the next call on the object. Since: 0.1 */
struct agent_update_status {
	enum agent_update_stage stage;
	const char *booted_slot;
	const char *target_slot;     /* of that bundle; when idle NULL if it runs, else somebody went back to the slot of before: it is not what is installed */
	const char *version;	     /* of the bundle in hand or last installed, or NULL */
	const char *release_id;
	uint64_t security_version;   /* of that bundle */
	const char *failed_release_id; /* remembered, not retried, or NULL */
	unsigned n_tries_left;
	const char *manifest_sha256; /* of what was signed in that bundle, 64 hexadecimal digits, or NULL; another bundle may have the same release_id */
	const char *signers;	     /* SHA-256 of the SubjectPublicKeyInfo of each key whose signature of that bundle was good, 64 digits, blanks between; NULL: not known */
};

/* The floor is counted up by one in NV memory: a release may be at most so many security versions above it. Since: 0.1 */
#define AGENT_UPDATE_FLOOR_STEPS_MAX 1000
/* So is the version of the signers, and one that is no count would wear that memory out: no policy or trust folder may have a higher one. Since: 0.1 */
#define AGENT_UPDATE_TRUST_VERSION_MAX 10000

/**
 * agent_update_install() - read a bundle from @fd and put it into the inactive slot
 * @fd:       readable and blocking, may be a pipe; read once, front to back, to its end; stays the caller's
 * @floor:    lowest security version that may be installed
 * @now_s:    seconds since 1970-01-01 UTC, for certificate validity and freshness; 0 (not known) is refused
 * @progress: or NULL
 *
 * Order: header caps, signature over the raw manifest bytes, parse that buffer, checks, slot not bootable, stream with
 * chunk hashes, fdatasync, read back, journal, boot switch. Blocks as long as the bundle takes; needs less than 8 MiB and
 * one thread more, whatever the size of the image. Before the stage WRITING nothing was changed; a failure after it leaves
 * the inactive slot not bootable and the stage FAILED. The same bundle once more continues: chunks of a plain raw image that reached
 * the slot and still have their hash are not written again, and not read where @fd is a regular file.
 *
 * Returns 0: the new slot is tried at the next boot. -EBADMSG (container.*, manifest.*, update.chunk, .chunk-table, .hash,
 * .member, .order, .size, .classes, .compression, .decryption, .path, .archive, .overlap, .trust-policy, slot.readback), -EKEYREJECTED (update.signature, .signer, .threshold), -ENOKEY
 * (update.trust, update.key), -ESTALE (update.stale, .too-early, .expired, .trust-version, .trust-restored, .lower), -ERANGE (update.trust-version; update.jump: more than
 * AGENT_UPDATE_FLOOR_STEPS_MAX above @floor), -EPERM (update.product, update.device, update.bootenv), -EALREADY (update.failed-before, update.nothing-new),
 * or what the policy said (update.policy), -EOPNOTSUPP (manifest.unsupported, .profile, update.bootenv), -EMSGSIZE (over a cap), -ENOSPC (slot.size), -EBUSY (update.pending: confirm or
 * roll back first; slot.busy: mounted), -EROFS (slot.read-only), -ENOENT (slot.*, boot.*), -EIO (slot.io, container.read), or what the journal or
 * boot environment said (journal.*, boot.*). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_install(struct agent_update *update, int fd, uint64_t floor, uint64_t now_s,
						       agent_update_progress_fn progress, void *userdata, struct agent_error **err);
/**
 * agent_update_read_fn - up to @size bytes of the bundle from byte @offset on into @data, how many in @ret_size; fewer only at its end
 *
 * Called from within agent_update_install_from(), @offset never goes back. @n_ahead bytes, at least @size, will be wanted from @offset on
 * in one piece: who pays for each question asks for so many at once. May block. A negative errno, with @err set, ends the
 * installation with that error. Since: 0.1
 */
typedef int (*agent_update_read_fn)(void *userdata, uint64_t offset, uint64_t n_ahead, void *data, size_t size, size_t *ret_size,
				    struct agent_error **err);
/**
 * agent_update_install_from() - as agent_update_install(), from a source that is asked for the parts that are needed
 * @read, @read_userdata: where the bundle is
 *
 * Chunks of a plain raw image that are on the device already are left in place or copied from the slot that runs, and their bytes are
 * not asked for. Each was hashed and found in the signed chunk table before. Looking for them takes as long as reading both slots.
 *
 * Errors: as agent_update_install(), or what @read said. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_install_from(struct agent_update *update, agent_update_read_fn read, void *read_userdata, uint64_t floor,
							    uint64_t now_s, agent_update_progress_fn progress, void *userdata,
							    struct agent_error **err);
/**
 * agent_update_settle() - at start: compare journal and boot environment, finish or undo what a power cut left
 *
 * Also finds out that the boot loader fell back: then the release is remembered and not installed again. Repeatable.
 * -ENOENT boot.missing or boot.booted, -EBADMSG boot.format, -EINVAL boot.config, -errno boot.*, journal.*. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_settle(struct agent_update *update, struct agent_error **err);
/** agent_update_get_status() - read the boot environment and tell; errors as agent_update_settle(). Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_get_status(struct agent_update *update, struct agent_update_status *ret_status,
							  struct agent_error **err);
/**
 * agent_update_confirm() - the running slot is healthy: mark it good, and a fallback slot whose security version is below
 * the new one not bootable; *ret_floor is what the caller's floor must rise to, then agent_update_confirm_done().
 * -EPERM update.not-booted if the booted slot is not the one being tried, -ENOENT update.nothing if nothing is to be
 * confirmed, else as agent_update_settle(). Repeatable after a crash. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_confirm(struct agent_update *update, uint64_t *ret_floor, struct agent_error **err);
/** agent_update_confirm_done() - the floor has risen: back to IDLE. Repeatable; -EPROTO journal.move when nothing was confirmed. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_confirm_done(struct agent_update *update, struct agent_error **err);
/**
 * agent_update_rollback() - choose the other slot for the next boot
 *
 * It must be known to boot (-EPERM boot.not-bootable) and not be below @floor (-ESTALE update.stale). While a new release is
 * being tried, that release is given up and remembered; one that waits for its first boot is taken back. Repeatable.
 * -EBUSY update.pending between confirm and confirm_done. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_update_rollback(struct agent_update *update, uint64_t floor, struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
