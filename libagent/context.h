/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIBAGENT_CONTEXT_H
#define LIBAGENT_CONTEXT_H
/* Inside of struct agent_context, for the parts of libagent. */
#include <openssl/types.h>

#include <agent/context.h>

/* Debug line through the program's hook; formatted only when one is set. */
void context_log(struct agent_context *ctx, const char *fmt, ...) AGENT_PRINTF(2, 3);

/*
 * The private OpenSSL library context, made on first use: default provider plus whatever @setup adds (the signer
 * provider of crypto/), once, by the first caller that has a @setup; the context unloads it in the end. A TPM provider
 * must never be in the global library context, because tpm2-tss hashes there.
 */
int context_get_libctx(struct agent_context *ctx,
		       int (*setup)(OSSL_LIB_CTX *libctx, OSSL_PROVIDER **ret_provider, struct agent_error **err),
		       OSSL_LIB_CTX **ret_libctx, struct agent_error **err);

#endif
