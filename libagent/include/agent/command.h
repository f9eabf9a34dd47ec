/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_COMMAND_H
#define AGENT_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** AGENT_COMMAND_MAX - longest text of a command, in bytes. Since: 0.1 */
#define AGENT_COMMAND_MAX 8192

/**
 * AGENT_COMMAND_EKU - extended key usage that the certificate of a signer of commands has
 *
 * An identifier of our own (ITU-T X.667, below 2.25), so that who may sign updates (codeSigning) cannot send commands with the same
 * certificate. OpenSSL: extendedKeyUsage=2.25.142388606680879834795550567071369127937. Since: 0.1
 */
#define AGENT_COMMAND_EKU "2.25.142388606680879834795550567071369127937"

/** AGENT_COMMAND_SIGNER_MAX - longest name of a signer, in bytes. Since: 0.1 */
#define AGENT_COMMAND_SIGNER_MAX 79

/**
 * agent_command_verify() - who signed a command
 * @ctx:            context whose OpenSSL library is used
 * @trust_dir:      folder of pinned certificates, as TRUST_DIR/command/operator: signers or CAs (*.pem), revocation lists (*.crl)
 * @text:           the command, @size bytes, as it was signed
 * @signature:      detached CMS SignedData in DER, as "openssl cms -sign -binary -outform DER" makes it
 * @now_s:          seconds since 1970-01-01 UTC at which the certificate has to be valid; 0 (not known) is refused
 * @ret_signer:     common name of the signer's certificate, made printable
 *
 * Looks at the signature and whose it is, not at the text: agentd(8) says what it accepts. Reads the folder each time; does not wait for a TPM.
 * Source: RFC 5652; docs/design/crypto.md. Since: 0.1
 *
 * Returns 0, -EBADMSG or -EMSGSIZE (command.signature: no detached DER SignedData, or too large), -EKEYREJECTED (command.signature: a trusted
 * key did not sign this text; command.signer: the signer is not trusted, and why), -ENOENT, -ENOKEY (command.trust: there is no folder, or
 * nobody in it), -EBADMSG and others of a folder that cannot be read or holds something else than PEM (command.trust-broken: nobody of it is trusted
 * then), -EINVAL (command.argument), -ENOMEM.
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_command_verify(struct agent_context *ctx, const char *trust_dir, const void *text, size_t size,
						       const void *signature, size_t signature_size, uint64_t now_s,
						       char ret_signer[AGENT_COMMAND_SIGNER_MAX + 1], struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
