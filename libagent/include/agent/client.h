/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CLIENT_H
#define AGENT_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/error.h>
#include <agent/seal.h>
#include <agent/signer.h>
#include <agent/time.h>

#ifdef __cplusplus
extern "C" {
#endif

/** AGENT_CLIENT_SOCKET - where agentd answers applications. Since: 0.1 */
#define AGENT_CLIENT_SOCKET "/run/agentd/vendor.sock"

/** AGENT_APP_MESSAGE_MAX - longest message of agent_client_app_sign(), in bytes. Since: 0.1 */
#define AGENT_APP_MESSAGE_MAX 65536

/** AGENT_APP_CONTEXT_MAX - longest context of an application signature, in bytes. Since: 0.1 */
#define AGENT_APP_CONTEXT_MAX 64

/** AGENT_APP_LABEL_MAX - longest label of a signing application, in bytes. Since: 0.1 */
#define AGENT_APP_LABEL_MAX 128

/** AGENT_CLIENT_SECRET_MAX - longest secret of agent_client_seal(), in bytes. Since: 0.1 */
#define AGENT_CLIENT_SECRET_MAX 49152

/** AGENT_CLIENT_SEALED_MAX - most sealed bytes and policy signatures together of agent_client_unseal(). Since: 0.1 */
#define AGENT_CLIENT_SEALED_MAX 65536

/**
 * struct agent_client - a program that asks agentd to use the device's keys
 *
 * The program needs no access to the TPM and never sees a private key. agentd decides by the kernel's word on who asks
 * (uid, groups, systemd unit) which keys it may use and for what. Connects again by itself after agentd was restarted.
 * Belongs to one thread at a time, together with its signers; open it after fork(). Reference counted. Since: 0.1
 */
struct agent_client;

/**
 * agent_client_open() - connect to agentd
 * @ctx:         kept by the client
 * @socket_path: NULL for AGENT_CLIENT_SOCKET
 * @ret_client:  the caller unrefs it
 *
 * Blocks a few ms at most. Returns 0, -ENOENT or -ECONNREFUSED (bus.connect: agentd does not run, or offers no such door),
 * -EACCES, -ENAMETOOLONG, -EINVAL, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_open(struct agent_context *ctx, const char *socket_path,
						    struct agent_client **ret_client, struct agent_error **err);
/** agent_client_ref() - one more owner; returns @client. Since: 0.1 */
AGENT_EXPORT struct agent_client *agent_client_ref(struct agent_client *client);
/** agent_client_unref() - one owner less; the last one closes the connection. Takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_client *agent_client_unref(struct agent_client *client);
/** agent_client_set_timeout() - how long one call may take, in ms; 35000 if never set, as agentd gives the TPM 30 s. Since: 0.1 */
AGENT_EXPORT void agent_client_set_timeout(struct agent_client *client, unsigned timeout_ms);
/**
 * agent_client_get_setup() - is the device in use
 * @ret_state: "factory" (the owner has set no password yet), "active", "recovery", "unprovisioned" or "unavailable"; a
 *             constant
 *
 * Blocks. Returns 0, -ENOTCONN (bus.lost), -ETIMEDOUT (bus.timeout), -EPROTO. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_get_setup(struct agent_client *client, const char **ret_state,
							 struct agent_error **err);
/**
 * agent_client_get_time() - what time it is, and how far that can be relied on
 * @ret_reading: its n_changes tells whether the state changed or the clock was set since an earlier look
 *
 * In every setup state. Blocks as long as agentd needs, some ms. Hand the reading to agent_time_update() for certificates of the program's own.
 * Returns 0, -ENOTCONN (bus.lost), -ETIMEDOUT (bus.timeout), -EPROTO. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_get_time(struct agent_client *client, struct agent_time_reading *ret_reading, struct agent_error **err);
/**
 * agent_client_wait_time() - wait until the state of the time changes, or the clock is set
 * @n_changes:   of the reading that is known already; another number, also a lower one after a restart of agentd, ends the wait
 * @timeout_ms:  wait so long at most
 * @ret_reading: the time now, also when nothing changed
 *
 * For a thread of its own: blocks. Returns 1 (it changed), 0 (it did not), and as agent_client_get_time(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_wait_time(struct agent_client *client, uint64_t n_changes, unsigned timeout_ms,
							 struct agent_time_reading *ret_reading, struct agent_error **err);
/**
 * struct agent_client_reboot - will the device restart into an update
 * @waits_for:  "" while nothing waits for a restart; "person" (the device does not do it by itself), "window", "clock", "postponed", "held", "retry",
 *              "notice" (it is announced), "asked" (it is on its way)
 * @release_id: that is started then, or ""
 * @in_s:       seconds until then; of "notice" only
 * @hold_left_s: for how long it can still be held back, by all applications together
 *
 * Since: 0.1
 */
struct agent_client_reboot {
	char waits_for[16];
	char release_id[72];
	uint64_t in_s;
	uint64_t hold_left_s;
};
/**
 * agent_client_get_reboot() - will the device restart into an update
 *
 * For any program. Blocks as long as agentd needs, some ms. Returns 0, -EKEYEXPIRED (setup.password-change-required: before the owner set a
 * password nothing is installed), -EDQUOT (vendor.rate), -ENOTCONN (bus.lost), -ETIMEDOUT (bus.timeout), -EPROTO. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_get_reboot(struct agent_client *client, struct agent_client_reboot *ret_reboot, struct agent_error **err);
/**
 * agent_client_hold_reboot() - hold the restart into an update that was installed without a person back
 * @hold_s:     from now on, in seconds; 0: no longer. A later word takes the place of this one
 * @ret_reboot: as agent_client_get_reboot(), after it; or NULL
 *
 * For programs that update.reboot_holders of agentd.conf names. May be said before anything is installed, and again and again: what counts against
 * update.reboot_hold_s is the time by which a restart is later for it; when that is used up, the device restarts. agentd forgets it when it is restarted,
 * and announces a restart update.reboot_notice_s ahead: say it more often than that. A restart that a person asks for is not held back. Blocks some ms.
 * Returns as agent_client_get_reboot() does, -EPERM (update.hold: not named), -EDQUOT (update.hold: used up for this release), -EBUSY (update.hold: too many
 * programs do). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_hold_reboot(struct agent_client *client, uint64_t hold_s, struct agent_client_reboot *ret_reboot,
							   struct agent_error **err);
/**
 * agent_client_signer() - signer of backend "agentd" for a key with purpose tls-client
 * @client:     kept by the signer
 * @key_name:   such as "device"
 * @ret_signer: the caller unrefs it
 *
 * For agent_openssl_pkey(), agent_tls_new(), agent_csr_new() and CMS. Fetches the public key; blocks. Each signature is one
 * call, and blocks as long as the TPM. After a restart of agentd the public key is compared, because a certificate would
 * not fit another one.
 * Returns 0, -EPERM (key.refused: this program may not use that key), -EINVAL, -ENOMEM, -ENOTCONN (bus.lost), -ETIMEDOUT
 * (bus.timeout), -EPROTO, or what agentd said. Signing besides: -EDQUOT (vendor.rate: too many per second), -EBUSY,
 * -EKEYREJECTED (client.key-changed), and the errors of the TPM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_signer(struct agent_client *client, const char *key_name,
						      struct agent_signer **ret_signer, struct agent_error **err);
/**
 * agent_client_app_sign() - sign a message of the application with a key of purpose sign-app
 * @context:   what the signature is for, 1 to AGENT_APP_CONTEXT_MAX printable ASCII characters, such as "meter-reading-v1"
 * @data:      the message, at most AGENT_APP_MESSAGE_MAX bytes; not a digest
 * @ret_sig:   AGENT_SIGNATURE_MAX bytes
 * @ret_label: AGENT_APP_LABEL_MAX + 1 bytes: the words under which agentd knows this program, such as "uid:1000" or
 *             "unit:meter.service"; part of what is signed
 *
 * What is signed begins with words that no TLS handshake, certificate request or other program's message can begin with,
 * see agent_app_signature_digest(). Refused until the owner has set a password. Blocks.
 * Returns 0 or as a signer of agent_client_signer() does, -EKEYEXPIRED (setup.password-change-required), -EMSGSIZE. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_app_sign(struct agent_client *client, const char *key_name, const char *context,
							const void *data, size_t size, uint8_t ret_sig[AGENT_SIGNATURE_MAX],
							size_t *ret_size, char ret_label[AGENT_APP_LABEL_MAX + 1],
							struct agent_error **err);

/**
 * agent_client_seal() - have agentd seal a secret that only this device, and only callers of that key, get back
 * @key_name:    a key of purpose seal: a drawer, so to speak. What was sealed under it opens under it and no other
 * @secret:      1 to AGENT_CLIENT_SECRET_MAX bytes; only read. Of more, seal a key and encrypt with that
 * @options:     as for agent_seal(), all policies; NULL is AGENT_SEAL_ALWAYS. The password is the application's own and may be left out
 * @ret_sealed:  sealed form, not secret; store it anywhere; the caller frees it with free()
 *
 * Who removes the key makes what was sealed under it useless. Messages with secrets are wiped here and in agentd. Refused
 * until the owner has set a password. Blocks.
 * Returns 0 or as a signer of agent_client_signer() does, -EMSGSIZE (seal.size), -EKEYEXPIRED (setup.password-change-required),
 * and the errors of agent_seal(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_seal(struct agent_client *client, const char *key_name, const uint8_t *secret,
						    size_t secret_size, const struct agent_seal_options *options, uint8_t **ret_sealed,
						    size_t *ret_sealed_size, struct agent_error **err);
/**
 * agent_client_unseal() - get a secret back
 * @key_name:    the key it was sealed under
 * @sealed:      from agent_client_seal()
 * @options:     policy signatures and the application's password, as for agent_unseal(); NULL if neither is needed
 * @secret:      buffer of the caller; one of @sealed_size bytes is always enough. Written on success only
 *
 * Refused until the owner has set a password; works while the device is in recovery. Each use is an audit event (secret.unsealed) with key, user and unit; many are summed up. Blocks.
 * Returns 0 or as a signer of agent_client_signer() does, -EKEYEXPIRED, -EKEYREJECTED (seal.auth: sealed under another key, or another
 * password), and the other errors of agent_unseal(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_client_unseal(struct agent_client *client, const char *key_name, const uint8_t *sealed,
						      size_t sealed_size, const struct agent_unseal_options *options, uint8_t *secret,
						      size_t secret_size, size_t *ret_size, struct agent_error **err);

/**
 * agent_app_signature_digest() - what an application signature signs
 * @type: of the key; decides the hash: SHA-384 for AGENT_KEY_EC_P384, SHA-256 for the others
 *
 * The digest of "libagent-app-v1", NUL, @label, NUL, @context, NUL, @data. EC keys sign it with ECDSA, RSA keys with PSS.
 * Does not block. Returns 0, -EINVAL (app.label, app.context), -EMSGSIZE (app.message), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_app_signature_digest(enum agent_key_type type, const char *label, const char *context,
							     const void *data, size_t size, enum agent_hash *ret_hash,
							     uint8_t ret_digest[AGENT_DIGEST_MAX], size_t *ret_size,
							     struct agent_error **err);
/**
 * agent_app_signature_verify() - did that key sign this message for this purpose
 * @spki:  public key, DER SubjectPublicKeyInfo, of the device; trust in it is the caller's matter
 * @label: the application the signature must come from
 *
 * Needs neither TPM nor agentd. Does not block. Returns 0, -EKEYREJECTED (app.signature), -EINVAL, -EMSGSIZE, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_app_signature_verify(struct agent_context *ctx, const uint8_t *spki, size_t spki_size,
							     const char *label, const char *context, const void *data, size_t size,
							     const uint8_t *sig, size_t sig_size, struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
