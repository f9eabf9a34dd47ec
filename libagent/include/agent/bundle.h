/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_BUNDLE_H
#define AGENT_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/error.h>
#include <agent/signer.h>
#include <agent/update.h>

#ifdef __cplusplus
extern "C" {
#endif

/** AGENT_BUNDLE_SIGNERS_MAX - signatures of one bundle. Since: 0.1 */
#define AGENT_BUNDLE_SIGNERS_MAX 8

/**
 * struct agent_bundle_signer - who signs
 * @certificate: file with the signer's certificate, PEM
 * @key:         file with its private key, PEM and not encrypted, or a "pkcs11:" URI (RFC 7512) with pin-source, never pin-value;
 *               not used when there is a @signer
 * @signer:      the key, as agent_key_get_signer() gives it for one in a TPM, or NULL
 *
 * Keys: RSA of 2048 to 8192 bits (PKCS#1 v1.5), P-256, P-384, P-521. Since: 0.1
 */
struct agent_bundle_signer {
	const char *certificate;
	const char *key;
	struct agent_signer *signer;
};

/**
 * struct agent_bundle_options - what to make of what; NULL and 0 are "as the description says", or the default
 * @source:       folder with a description and the files that it names, or a .swu, whose signatures are not looked at
 * @description:  file to take in the place of SOURCE/sw-description, or of the one in the .swu
 * @out:          file to make; must not exist
 * @signers:      at least one
 * @release_id, @security_version, @products, @min_signers, @not_before_s, @not_after_s: of the agent group
 * @has_security_version: @security_version counts, also when it is 0
 * @slot_classes: for images that name no slot-class: "CLASS", or "FILENAME=CLASS"
 * @chunk_bytes:  power of two, 64 KiB to 1 MiB; 0 is 256 KiB
 * @compress:     "zlib" (gzip) or "zstd" for images of a folder that say nothing about it
 * @aes_key:      @aes_key_size bytes (16, 24, 32): key of images with "encrypted"; @aes_iv: 16 bytes for images of a .swu without ivt
 * @encrypt_to:   @n_encrypt_to files with certificates (PEM) of devices, "agentctl update recipient": the bundle brings the key of its images along,
 *                encrypted to each of them. Without @aes_key one is made for this bundle alone. Images of a folder that say nothing about it are
 *                encrypted then
 * @with_scripts: name the scripts of the description in agent.scripts, without which no device runs them. A description with scripts that does
 *                not do so itself is refused otherwise
 * @time_s:       seconds since 1970-01-01 UTC, for the signatures and the archive
 *
 * Since: 0.1
 */
struct agent_bundle_options {
	const char *source;
	const char *description;
	const char *out;
	const struct agent_bundle_signer *signers;
	size_t n_signers;
	const char *release_id;
	bool has_security_version;
	uint64_t security_version;
	const char *const *products;
	size_t n_products;
	unsigned min_signers;
	uint64_t not_before_s, not_after_s;
	const char *const *slot_classes;
	size_t n_slot_classes;
	uint32_t chunk_bytes;
	const char *compress;
	const uint8_t *aes_key;
	size_t aes_key_size;
	const uint8_t *aes_iv;
	const char *const *encrypt_to;
	size_t n_encrypt_to;
	bool with_scripts;
	uint64_t time_s;
};

/**
 * agent_bundle_create() - make a bundle of the strict profile
 * @ctx: its OpenSSL library context is used
 *
 * Hashes, sizes, chunk tables and the agent group go into the description, which keeps its syntax (libconfig or JSON) and its order.
 * What comes out was read by the same parser as on the device before it was signed. The same input makes the same bytes, but for the
 * signatures of ECDSA keys and what is made for @encrypt_to, which are random; the bytes of compressed images depend on the version of zlib or zstd. Images are
 * read twice; what is compressed or encrypted is kept in a file without a name beside @out meanwhile. Blocks.
 *
 * Returns 0, -EINVAL (bundle.options, update.key), -EEXIST (bundle.exists), -ENOENT and others (bundle.source), -EBADMSG and others
 * (manifest.*, container.*, update.compression, update.decryption, update.size), -ENOKEY (bundle.key), -EKEYREJECTED (bundle.signer: key and
 * certificate differ, or no device would accept it; bundle.recipient), -EOPNOTSUPP (bundle.key, manifest.unsupported), -EMSGSIZE (bundle.size),
 * -ESTALE (bundle.changed: a file changed while it was read), -errno (bundle.write), -ENOMEM, or what the signer said. On failure there is
 * no @out. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_bundle_create(struct agent_context *ctx, const struct agent_bundle_options *options,
						      struct agent_error **err);

/** enum agent_bundle_sign - what happens to the signatures that are there. Since: 0.1 */
enum agent_bundle_sign {
	AGENT_BUNDLE_SIGN_ADD = 0,
	AGENT_BUNDLE_SIGN_REPLACE = 1
};
/**
 * agent_bundle_sign() - sign a bundle that exists, strict or stock
 * @path:    the bundle; not changed
 * @out:     file to make; must not exist
 * @time_s:  seconds since 1970-01-01 UTC, for the signatures and the archive
 *
 * All members but the signature stay as they are, and so does their order. Nothing of the bundle is verified, but its archive must be whole.
 * AGENT_BUNDLE_SIGN_ADD keeps the signatures (-EEXIST bundle.signer: this key signed already) and needs CMS. Blocks.
 * Errors as agent_bundle_create(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_bundle_sign(struct agent_context *ctx, const char *path, const char *out,
						    const struct agent_bundle_signer *signers, size_t n_signers, enum agent_bundle_sign how,
						    uint64_t time_s, struct agent_error **err);

/**
 * agent_bundle_inspect() - what a bundle says of itself, as JSON
 * @fd:       regular file, read from its beginning to its end
 * @ret_json: an object; free() it. docs/man/agent_bundle.3 has its members
 *
 * Trusts nothing: no signature is checked, no image decoded. What cannot be read is told in "problem", as far as the rest can be shown. Blocks.
 * Returns 0, -EIO (container.read), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_bundle_inspect(struct agent_context *ctx, int fd, char **ret_json, struct agent_error **err);

/**
 * struct agent_bundle_policy - the device to verify for
 * @trust_dir:  folder with PEM signer or issuer certificates (*.pem), CRLs (*.crl), bare keys (*.pub), and "trust" of a device's state
 *              folder if its signers have changed
 * @n_min_signers, @product, @allow_compat, @raw_signatures, @require_crl: as in struct agent_update_options; @product NULL: any
 * @allow_scripts: does it run scripts of bundles (update.scripts)? None is run here
 * @selection:  of a stock bundle: "SET,MODE", or NULL
 * @floor:      lowest security version
 * @now_s:      seconds since 1970-01-01 UTC
 * @aes_key, @aes_key_size, @aes_iv: as in struct agent_bundle_options
 *
 * Since: 0.1
 */
struct agent_bundle_policy {
	const char *trust_dir;
	unsigned n_min_signers;
	const char *product;
	int allow_compat;
	int allow_scripts;
	enum agent_update_raw raw_signatures;
	int require_crl;
	const char *selection;
	uint64_t floor;
	uint64_t now_s;
	const uint8_t *aes_key;
	size_t aes_key_size;
	const uint8_t *aes_iv;
};

/** struct agent_bundle_facts - what was verified. Since: 0.1 */
struct agent_bundle_facts {
	char version[72];
	char release_id[72];
	uint64_t security_version;
	unsigned n_signers;
	unsigned n_images;
	unsigned n_scripts;
	bool is_strict;
};

/**
 * agent_bundle_verify() - would a device with this policy install the bundle
 * @fd: readable and blocking, may be a pipe; read once to its end
 *
 * The code of agent_update_install(), with the same errors, over a device without slots: not looked at are the size of slots, which
 * classes of slots there are, the entries of archives, and what was installed before. Needs and writes nothing on the disk. Blocks.
 * Returns 0, -EINVAL bundle.options, or as agent_update_install(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_bundle_verify(struct agent_context *ctx, int fd, const struct agent_bundle_policy *policy,
						      struct agent_bundle_facts *ret_facts, struct agent_error **err);

/**
 * struct agent_ticket_options - the service ticket to make
 * @bundle:       the strict bundle that it lets in; its signatures are not looked at
 * @device:       name of the device, as "agentctl update ticket" shows it there
 * @counter:      how many tickets that device has used, likewise
 * @not_before_s, @not_after_s: seconds since 1970-01-01 UTC; it must end
 * @out:          file to make; must not exist
 * @time_s:       seconds since 1970-01-01 UTC, for the signatures
 *
 * Since: 0.1
 */
struct agent_ticket_options {
	const char *bundle;
	const char *device;
	uint64_t counter;
	uint64_t not_before_s, not_after_s;
	const char *out;
	const struct agent_bundle_signer *signers;
	size_t n_signers;
	uint64_t time_s;
};
/**
 * agent_bundle_ticket() - make a ticket that lets one device install one release below its floor, once
 *
 * A text of lines with the signatures behind it: docs/design/update.md. Its signatures are none for a bundle, nor the other way round. Blocks.
 * Returns 0, -EINVAL (bundle.options), -EBADMSG (bundle.source: a stock bundle, or none), -EEXIST (bundle.exists), or as agent_bundle_sign().
 * On failure there is no file. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_bundle_ticket(struct agent_context *ctx, const struct agent_ticket_options *options, struct agent_error **err);
/**
 * agent_bundle_ticket_sign() - one signer more for a ticket that is there, where signers do not sit together
 * @path: the ticket; not changed
 * @out:  file to make; must not exist
 *
 * -EBADMSG update.ticket, -EEXIST (bundle.signer: this key signed already; bundle.exists), else as agent_bundle_sign(). Blocks. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_bundle_ticket_sign(struct agent_context *ctx, const char *path, const char *out,
							   const struct agent_bundle_signer *signers, size_t n_signers, uint64_t time_s,
							   struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
