/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_SIGNING_H
#define TPM_SIGNING_H
/*
 * TPM2_Sign, the one command that somebody waits for at each connection: in an HMAC session of its own, like the others,
 * but with the HMACs computed here. ESYS makes a library context of OpenSSL for every hash, which costs several times
 * what the signature does (docs/design/tpm.md, "What a signature costs").
 */
#include "tpm/connection.h"
#include "tpm/object.h"

/* Within an attempt: @object is loaded. Two commands: StartAuthSession, Sign; a third, FlushContext, if Sign is refused. */
TSS2_RC signing_run(struct agent_tpm *tpm, const struct tpm_object *object, const TPM2B_DIGEST *digest, const TPMT_SIG_SCHEME *scheme,
		    TPMT_SIGNATURE *ret_signature);

#endif
