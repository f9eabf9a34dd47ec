/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_PASSWORD_H
#define AGENT_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/counter.h>
#include <agent/error.h>
#include <agent/mac.h>

#ifdef __cplusplus
extern "C" {
#endif

/** enum agent_setup_state - has the owner set a password yet. Since: 0.1 */
enum agent_setup_state {
	AGENT_SETUP_UNPROVISIONED = 0, /* the factory has not stored a secret */
	AGENT_SETUP_FACTORY = 1,       /* only the label secret is accepted, and only to set a password */
	AGENT_SETUP_ACTIVE = 2,	       /* the owner's password is set */
	AGENT_SETUP_RECOVERY = 3       /* record and counter disagree; never becomes FACTORY by itself */
};

/** agent_setup_state_name() - "unprovisioned", "factory", "active" or "recovery"; "unknown" for any other value. Since: 0.1 */
AGENT_EXPORT const char *agent_setup_state_name(enum agent_setup_state state);

/** AGENT_PASSWORD_MAX - longest accepted password in bytes of UTF-8 (128 code points). Since: 0.1 */
#define AGENT_PASSWORD_MAX 512
/** AGENT_ACCOUNT_NAME_MAX - longest name of an account in bytes: a-z, 0-9, '.', '_', '-', beginning with a letter. Since: 0.1 */
#define AGENT_ACCOUNT_NAME_MAX 32
/** AGENT_ACCOUNTS_MAX - so many people may have an account. Since: 0.1 */
#define AGENT_ACCOUNTS_MAX 16
/** AGENT_FIRST_ACCOUNT - the account that the factory secret opens and the first change makes. Since: 0.1 */
#define AGENT_FIRST_ACCOUNT "admin"

/** enum agent_account_role - what a person may do; each may do what those below may. Since: 0.1 */
enum agent_account_role {
	AGENT_ROLE_VIEWER = 1,	 /* look */
	AGENT_ROLE_OPERATOR = 2, /* install updates, renew certificates */
	AGENT_ROLE_ADMIN = 3	 /* everything, accounts included */
};

/** agent_account_role_name() - "viewer", "operator" or "admin"; "unknown" for any other value. Since: 0.1 */
AGENT_EXPORT const char *agent_account_role_name(enum agent_account_role role);

/**
 * struct agent_account - a person who may log in
 * @name:        as AGENT_ACCOUNT_NAME_MAX says
 * @role:        what the person may do
 * @must_change: somebody else chose the password, so it is good for nothing but to be changed
 * @since:       generation at which password or role changed last: whoever was let in under another one has to be asked again
 *
 * Since: 0.1
 */
struct agent_account {
	char name[AGENT_ACCOUNT_NAME_MAX + 1];
	enum agent_account_role role;
	bool must_change;
	uint64_t since;
};

/**
 * struct agent_password - the accounts of a device and their passwords
 *
 * Lives in the files "current", "new" and "label" of a folder, bound to a counter that cannot be lowered and to a MAC key that
 * cannot be taken away (docs/design/password.md). One thread at a time. Since: 0.1
 */
struct agent_password;

/**
 * struct agent_password_options - what agent_password_open() copies
 * @min_length:    code points, 12 to 64; 0 for 15
 * @context_words: NULL-terminated words a password must not contain (serial, model, host name, user name), at most 16, or
 *                 NULL; words under four letters are not looked for
 * @cost:          yescrypt cost 1 to 11 for the next password to be set; one step doubles time and memory. 0 for what
 *                 agent_password_provision() chose: the largest one from 3 to 7 whose hash takes at most 500 ms of processor time and an
 *                 eighth of the device's memory
 *
 * Since: 0.1
 */
struct agent_password_options {
	unsigned min_length;
	const char *const *context_words;
	unsigned cost;
};

/**
 * agent_password_open() - read the record and settle a commit that broke off
 * @ctx:          for debug output, or NULL; referenced
 * @dir_fd:       the accounts folder, mode 0700; duplicated
 * @generation:   a counter at zero when nothing was ever provisioned; referenced
 * @mac:          HMAC with a key that stays on this device; referenced
 * @options:      or NULL for the defaults; copied
 * @ret_password: to be freed with agent_password_free()
 *
 * A record that is missing, damaged, forged or of another generation is no failure but state AGENT_SETUP_RECOVERY. Blocks
 * on disk, counter and MAC; may rename "new" to "current" or remove "new".
 *
 * Returns 0, -EINVAL "password.argument" or "password.options", -ENOMEM, or what disk, counter or MAC returned: then it
 * is not known in which state the device is, and the call may be repeated. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_open(struct agent_context *ctx, int dir_fd, struct agent_counter *generation,
						      struct agent_mac *mac, const struct agent_password_options *options,
						      struct agent_password **ret_password, struct agent_error **err);

/** agent_password_free() - wipe and free; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_password *agent_password_free(struct agent_password *password);

/** agent_password_get_state() - as of the last call that looked at disk and counter. Since: 0.1 */
AGENT_EXPORT enum agent_setup_state agent_password_get_state(const struct agent_password *password);

/** agent_password_get_generation() - value of the counter that the record is bound to; 0 without a record. Since: 0.1 */
AGENT_EXPORT uint64_t agent_password_get_generation(const struct agent_password *password);

/**
 * agent_password_provision() - store the verifier of the factory secret, once in a device's life
 * @password:    in state AGENT_SETUP_UNPROVISIONED
 * @secret:      as agent_factory_secret_new() made it, or as typed
 * @secret_size: bytes of it
 *
 * Same commit as agent_password_change(), from generation 0 to 1. Blocks.
 *
 * Returns 0, -EEXIST "setup.provisioned" in any other state, -EINVAL "password.factory_secret", or as
 * agent_password_change(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_provision(struct agent_password *password, const char *secret, size_t secret_size,
							   struct agent_error **err);

/**
 * agent_password_get_accounts() - who may log in, as of the last call that looked at disk and counter
 * @ret_accounts: receives at most AGENT_ACCOUNTS_MAX
 *
 * Returns how many; none but in AGENT_SETUP_ACTIVE. Since: 0.1
 */
AGENT_EXPORT size_t agent_password_get_accounts(const struct agent_password *password, struct agent_account ret_accounts[AGENT_ACCOUNTS_MAX]);

/**
 * agent_password_find() - one account by its name
 *
 * Returns 0, or -ENOENT "account.unknown", also outside AGENT_SETUP_ACTIVE. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_find(const struct agent_password *password, const char *user,
						      struct agent_account *ret_account, struct agent_error **err);

/**
 * agent_password_verify() - is this the person's password, or in AGENT_SETUP_FACTORY the factory secret
 * @password: an opened record
 * @user:     name of the account, AGENT_FIRST_ACCOUNT for the factory secret; any other, and NULL, costs the same time and fails
 * @text:     as typed, need not end in NUL; lent for the call
 * @size:     bytes of it
 *
 * A password is compared in Unicode normalisation form C; a factory secret without regard to case, dashes and spaces, with
 * O read as 0 and I and L as 1. Counting attempts is the caller's task. Blocks for one hash and one MAC.
 *
 * Returns 0, -EACCES "password.wrong", -ENOKEY "setup.unprovisioned" or "setup.recovery"; -ENOMEM, -EIO and others when it
 * could not be found out, which must not be counted as a wrong password. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_verify(struct agent_password *password, const char *user, const char *text,
							size_t size, struct agent_error **err);

/**
 * agent_password_check() - would this text be accepted as a password
 * @password: an opened record, for its options and what is known of the factory secret
 * @user:     name of the account it is for, or NULL
 * @text:     as typed
 * @size:     bytes of it
 *
 * Takes neither hash nor counter nor MAC, at most a few milliseconds.
 *
 * Returns 0, -EINVAL "password.weak" with all reasons in words, joined by "; ", or -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_check(struct agent_password *password, const char *user, const char *text,
						       size_t size, struct agent_error **err);

/**
 * agent_password_change() - make this the person's password; in AGENT_SETUP_FACTORY also make the first account
 * @password: in state AGENT_SETUP_FACTORY or AGENT_SETUP_ACTIVE
 * @user:     name of the account, AGENT_FIRST_ACCOUNT in AGENT_SETUP_FACTORY
 * @since:    of the account when the person was let in; in AGENT_SETUP_FACTORY the generation
 * @text:     as typed
 * @size:     bytes of it
 *
 * Durable on return, as all calls below: a power cut at any moment leaves the old or the new record in force, never none and
 * never the factory secret in place of a password. That the person may do this is the caller's task to find out. Blocks for
 * three hashes, several MACs, one increment of the counter and four syncs.
 *
 * Returns 0; -ESTALE "password.stale" if it was changed in the meantime; -ENOENT "account.unknown"; -EINVAL "password.weak";
 * -ENOKEY as agent_password_verify(); -ENOMEM; what disk, counter or MAC returned. After one of the last two the next call
 * finds out which record is in force. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_change(struct agent_password *password, const char *user, uint64_t since,
							const char *text, size_t size, struct agent_error **err);

/**
 * agent_password_refresh() - after a login: hash the same password again if more work is asked for than when it was set
 * @password: in state AGENT_SETUP_ACTIVE
 * @user:     name of the account
 * @text:     its password
 * @size:     bytes of it
 *
 * Does nothing where the hash is of the cost in force or above. Otherwise a commit as that of agent_password_change(), with
 * the same rights, since and must_change: nobody is logged out. A failure leaves the old hash, which is as good as before.
 *
 * Returns 0; -EACCES "password.wrong" if it is not the password; -ENOENT "account.unknown"; else as agent_password_change(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_refresh(struct agent_password *password, const char *user, const char *text, size_t size,
							 struct agent_error **err);

/**
 * agent_password_add() - one more account, whose owner has to change the password at first login
 * @password: in state AGENT_SETUP_ACTIVE
 * @user:     name of the new account
 * @role:     what it may do
 * @text:     first password; the rules hold for it as well
 * @size:     bytes of it
 *
 * Returns 0; -EEXIST "account.exists"; -EDQUOT "account.many"; -EINVAL "account.name", "account.role" or "password.weak";
 * -EKEYEXPIRED "setup.password-change-required" in AGENT_SETUP_FACTORY; else as agent_password_change(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_add(struct agent_password *password, const char *user, enum agent_account_role role,
						     const char *text, size_t size, struct agent_error **err);

/**
 * agent_password_assign() - somebody else's new password, to be changed at the next login
 *
 * Returns as agent_password_add() and -ENOENT "account.unknown". Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_assign(struct agent_password *password, const char *user, const char *text, size_t size,
							struct agent_error **err);

/**
 * agent_password_set_role() - what an account may do from now on
 *
 * Returns 0; -EPERM "account.last-admin" if nobody would be left to manage the device; -ENOENT "account.unknown"; -EINVAL
 * "account.role"; else as agent_password_add(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_set_role(struct agent_password *password, const char *user,
							  enum agent_account_role role, struct agent_error **err);

/**
 * agent_password_remove() - an account less
 *
 * Returns as agent_password_set_role(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_remove(struct agent_password *password, const char *user, struct agent_error **err);

/**
 * agent_password_factory_reset() - forget all accounts: the secret on the label counts again
 * @password: in state AGENT_SETUP_FACTORY, AGENT_SETUP_ACTIVE or AGENT_SETUP_RECOVERY
 *
 * The counter goes on, so no older record comes back. That somebody stands before the device, or knows an administrator's
 * password, is the caller's task to find out. Blocks as agent_password_change(), without hashes.
 *
 * Returns 0; -ENOKEY "setup.unprovisioned"; -ENOKEY "setup.label" if the verifier of the label is lost or damaged, and then
 * nothing was changed; -ENOMEM; what disk, counter or MAC returned. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_factory_reset(struct agent_password *password, struct agent_error **err);

/**
 * agent_password_renew_secret() - another factory secret, for a device that cannot be reset any more
 * @password: in state AGENT_SETUP_RECOVERY
 *
 * Returns 0; -EPERM "setup.provisioned" in any other state; -EINVAL "password.factory_secret"; else as
 * agent_password_factory_reset(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_renew_secret(struct agent_password *password, const char *secret, size_t secret_size,
							      struct agent_error **err);

/**
 * agent_password_adopt() - the first password, as a hash that somebody else computed
 * @password:    in state AGENT_SETUP_FACTORY
 * @generation:  the one it was made for
 * @hash:        yescrypt string as of crypt(5), of the password in normalisation form C
 * @must_change: it has to be changed at the first login
 *
 * The rules for passwords cannot be held against a hash; who signs for it answers for that.
 *
 * Returns 0; -EEXIST "setup.activated" in any other state than AGENT_SETUP_FACTORY; -ESTALE "password.stale"; -EINVAL
 * "password.hash"; else as agent_password_factory_reset(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_adopt(struct agent_password *password, uint64_t generation, const char *hash,
						       bool must_change, struct agent_error **err);

/** AGENT_ORDER_MAX - largest provisioning file in bytes. Since: 0.1 */
#define AGENT_ORDER_MAX (1024 * 1024)
/** AGENT_ORDER_ID_MAX - longest id of a provisioning file in bytes. Since: 0.1 */
#define AGENT_ORDER_ID_MAX 64

/**
 * struct agent_password_order - a signed provisioning file and what it is judged by; all of it lent for the call
 * @trust_dir:      folder with the certificates (*.pem) of those who may provision, or of a CA that issues them
 * @serial:         serial number of this device
 * @text:           the file: JSON, see docs/design/password.md
 * @text_size:      bytes of it, at most AGENT_ORDER_MAX
 * @signature:      detached CMS SignedData over it, DER (RFC 5652)
 * @signature_size: bytes of it
 * @now_s:          seconds since 1970-01-01 UTC
 *
 * Since: 0.1
 */
struct agent_password_order {
	const char *trust_dir, *serial;
	const void *text;
	size_t text_size;
	const void *signature;
	size_t signature_size;
	uint64_t now_s;
};

/**
 * agent_password_adopt_signed() - the first password of this device, from a provisioning file for many
 * @password: in state AGENT_SETUP_FACTORY
 * @order:    the file
 * @ret_id:   receives the id that the signer gave it
 *
 * The signature is checked before a byte of the file is read. Blocks for files and as agent_password_adopt().
 *
 * Returns 0; -EEXIST "setup.activated" and -ENOKEY as agent_password_adopt(); -EINVAL "provision.clock" if @now_s is before the
 * first release; -ENOKEY and others "provision.trust"; -EKEYREJECTED "provision.signer"; -EKEYREJECTED, -EBADMSG or -EMSGSIZE
 * "provision.signature"; -EBADMSG or -EMSGSIZE "provision.format"; -ESTALE "provision.expired"; -EPERM "provision.serial" (it is for
 * other devices); -ESTALE "provision.replayed" (it is for another generation of the record); else as agent_password_adopt().
 * Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_adopt_signed(struct agent_password *password, const struct agent_password_order *order,
							      char ret_id[AGENT_ORDER_ID_MAX + 1], struct agent_error **err);

/**
 * agent_factory_secret_new() - a new factory secret for a label
 * @ret_text: receives 60 random bits as "XXXX-XXXX-XXXX" in Crockford's base32, and a NUL
 *
 * Returns 0, -EINVAL or -EIO (no random numbers). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_factory_secret_new(char ret_text[15]);

/**
 * agent_factory_secret_parse() - a factory secret as somebody wrote it, brought into the form of agent_factory_secret_new()
 * @text:     case, dashes and blanks do not matter, O reads as 0, I and L as 1
 * @size:     bytes of it
 * @ret_text: receives "XXXX-XXXX-XXXX" and a NUL; unchanged on failure
 *
 * Returns 0, or -EINVAL: not twelve symbols of Crockford's base32, or fewer than five different ones, which a random
 * secret has not once in a million. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_factory_secret_parse(const char *text, size_t size, char ret_text[15]);

#ifdef __cplusplus
}
#endif

#endif
