/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_SOFTWARE_H
#define AGENT_SOFTWARE_H

#include <stddef.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/error.h>
#include <agent/signer.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * agent_software_signer_new() - a signer over a private key in memory, backend "software"
 * @ctx:        its private OpenSSL library context is used; referenced
 * @pem:        PKCS#8, "EC PRIVATE KEY" or "RSA PRIVATE KEY", not encrypted; certificates beside it are skipped
 * @size:       of @pem in bytes, at most 16 KiB
 * @ret_signer: the caller unrefs it
 * @err:        receives the explanation, or NULL
 *
 * For machines without a TPM and for tests, where somebody decided so: the library never falls back to it. Whoever reads the
 * memory or the file has the key. The caller wipes @pem; the copy in memory is wiped with the signer. Does not block.
 *
 * Returns 0, -EMSGSIZE (import.size), -EBADMSG (import.format), -EINVAL (import.encrypted, import.public, import.tpm-key),
 * -EOPNOTSUPP (import.type: not P-256, P-384, RSA-2048, RSA-3072), -EKEYREJECTED (import.weak), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_software_signer_new(struct agent_context *ctx, const char *pem, size_t size,
							    struct agent_signer **ret_signer, struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
