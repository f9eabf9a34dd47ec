/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CERT_H
#define AGENT_CERT_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/error.h>
#include <agent/signer.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * agent_csr_new() - certificate signing request (RFC 2986) as PEM
 * @subject: "CN=gw-0001,O=Example"; attribute types C ST L O OU CN serialNumber; a comma in a value is written "\,"
 *
 * Blocks for one signature. The caller frees *@ret_pem. Returns 0, -EINVAL ("cert.subject", before anything is signed),
 * -ENOMEM, or the signer's error under its own name. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_csr_new(struct agent_context *ctx, struct agent_signer *signer, const char *subject,
						char **ret_pem, struct agent_error **err);
/**
 * struct agent_csr_options - what a signing request asks for
 * @subject:    "CN=gw-0001,O=Example" as for agent_csr_new(), or NULL: that of @like_pem
 * @like_pem:   certificate (PEM, the first one) whose alternative names the request repeats, or NULL; RFC 7030 section 4.2.2 wants
 *              subject and names of a renewal to be those of the certificate in use
 * @names:      NULL-terminated, at most 16 alternative names instead of those of @like_pem: "dns:NAME", "uri:URI", "email:ADDRESS",
 *              "ip:ADDRESS"; or NULL
 * @for_client: ask for the key usage digitalSignature and the extended key usage clientAuth
 *
 * One of @subject and @like_pem is needed. Since: 0.1
 */
struct agent_csr_options {
	const char *subject;
	const char *like_pem;
	const char *const *names;
	int for_client;
};
/**
 * agent_csr_make() - certificate signing request (RFC 2986) with extensions (RFC 2985 section 5.4.2) as PEM
 *
 * Blocks for one signature. The caller frees *@ret_pem. Returns 0, -EINVAL ("cert.argument", "cert.subject", "cert.names", before
 * anything is signed), -EBADMSG, -EMSGSIZE ("cert.pem": @like_pem), -ENOMEM, or the signer's error under its own name. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_csr_make(struct agent_context *ctx, struct agent_signer *signer, const struct agent_csr_options *options,
						 char **ret_pem, struct agent_error **err);
/**
 * agent_device_ca_new() - self-signed CA certificate of this device, PEM; path length 0, 30 years from @not_before_s
 * @common_name:  1 to 64 characters of UTF-8
 * @not_before_s: seconds since 1970-01-01 UTC
 *
 * Blocks for one signature. The caller frees *@ret_pem. Returns 0, -EINVAL (name, time), -ENOMEM, or the signer's error.
 * Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_device_ca_new(struct agent_context *ctx, struct agent_signer *signer, const char *common_name,
						      uint64_t not_before_s, char **ret_pem, struct agent_error **err);
/**
 * struct agent_leaf_options - a certificate issued by the device CA: of a server, or of the key that bundles are encrypted to
 * @common_name:  1 to 64 characters of UTF-8
 * @names:        NULL-terminated, 1 to 64; each an IP literal or a DNS name without wildcard
 * @not_before_s: seconds since 1970-01-01 UTC
 * @lifetime_s:   cut so that the leaf does not outlive its CA
 * @for_encryption: key usage keyAgreement and nothing else: no extended key usage, and @names is NULL
 *
 * Since: 0.1
 */
struct agent_leaf_options {
	const char *common_name;
	const char *const *names;
	uint64_t not_before_s;
	uint64_t lifetime_s;
	int for_encryption;
};
/**
 * agent_device_ca_issue() - certificate for the public key @spki (DER), signed by @signer under @ca_pem
 *
 * Blocks for one signature. The caller frees *@ret_pem, PEM. Returns 0, -EINVAL ("cert.issuer": @ca_pem does not belong to
 * @signer; "cert.key": weaker than 112 bits; "cert.names", "cert.subject", "cert.time"), -EBADMSG ("cert.pem"), -EMSGSIZE,
 * -ENOMEM, or the signer's error. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_device_ca_issue(struct agent_context *ctx, struct agent_signer *signer, const char *ca_pem,
							const uint8_t *spki, size_t spki_size,
							const struct agent_leaf_options *options, char **ret_pem,
							struct agent_error **err);
/** agent_cert_fingerprint() - lower-case hex SHA-256 over the first certificate's SPKI. Returns 0, -EBADMSG, -EMSGSIZE, -ENOMEM. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_cert_fingerprint(struct agent_context *ctx, const char *pem, char ret_hex[65], struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
