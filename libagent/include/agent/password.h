/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_PASSWORD_H
#define AGENT_PASSWORD_H

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

/**
 * struct agent_password - the one password record of a device
 *
 * Lives in two files of a folder, "current" and "new", bound to a counter that cannot be lowered and to a MAC key that
 * cannot be taken away (docs/design/password.md). One thread at a time. Since: 0.1
 */
struct agent_password;

/**
 * struct agent_password_options - what agent_password_open() copies
 * @min_length:    code points, 12 to 64; 0 for 15
 * @context_words: NULL-terminated words a password must not contain (serial, model, host name, user name), at most 16, or
 *                 NULL; words under four letters are not looked for
 * @cost:          yescrypt cost 1 to 11 for the next password to be set, 0 for 5; one step doubles time and memory
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
 * agent_password_verify() - is this the password, or in AGENT_SETUP_FACTORY the factory secret
 * @password: an opened record
 * @text:     as typed, need not end in NUL; lent for the call
 * @size:     bytes of it
 *
 * A password is compared in Unicode normalisation form C; a factory secret without regard to case, dashes and spaces, with
 * O read as 0 and I and L as 1. Counting attempts is the caller's task. Blocks for one hash and one MAC.
 *
 * Returns 0, -EACCES "password.wrong", -ENOKEY "setup.unprovisioned" or "setup.recovery"; -ENOMEM, -EIO and others when it
 * could not be found out, which must not be counted as a wrong password. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_verify(struct agent_password *password, const char *text, size_t size,
							struct agent_error **err);

/**
 * agent_password_verify_dummy() - cost and time of a verification that fails: for unknown user names
 *
 * Arguments and errors as agent_password_verify(); never returns 0. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_verify_dummy(struct agent_password *password, const char *text, size_t size,
							      struct agent_error **err);

/**
 * agent_password_check() - would agent_password_change() accept this text
 * @password: an opened record, for its options and what is known of the factory secret
 * @text:     as typed
 * @size:     bytes of it
 *
 * Takes neither hash nor counter nor MAC, at most a few milliseconds.
 *
 * Returns 0, -EINVAL "password.weak" with all reasons in words, joined by "; ", or -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_check(struct agent_password *password, const char *text, size_t size,
						       struct agent_error **err);

/**
 * agent_password_change() - make this the password
 * @password:   in state AGENT_SETUP_FACTORY or AGENT_SETUP_ACTIVE
 * @generation: the generation the caller was authenticated under
 * @text:       as typed
 * @size:       bytes of it
 *
 * Durable on return: a power cut at any moment leaves the old or the new password in force, never none and never the
 * factory secret in place of a password. That the caller may do this is the caller's task to find out. Blocks for two
 * hashes, several MACs, one increment of the counter and four syncs.
 *
 * Returns 0; -ESTALE "password.stale" if the generation is another by now; -EINVAL "password.weak"; -ENOKEY as
 * agent_password_verify(); -ENOMEM; what disk, counter or MAC returned. After one of the last two the next call finds out
 * which password is in force. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_password_change(struct agent_password *password, uint64_t generation, const char *text,
							size_t size, struct agent_error **err);

/**
 * agent_factory_secret_new() - a new factory secret for a label
 * @ret_text: receives 60 random bits as "XXXX-XXXX-XXXX" in Crockford's base32, and a NUL
 *
 * Returns 0, -EINVAL or -EIO (no random numbers). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_factory_secret_new(char ret_text[15]);

#ifdef __cplusplus
}
#endif

#endif
