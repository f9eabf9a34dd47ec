/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_PROPERTIES_H
#define TPM_PROPERTIES_H
/* What the TPM says of itself, into info of the connection. One command each, inside an attempt; no authorisation. */
#include "tpm/connection.h"

/* Maker and firmware: asked once, they do not change while it runs. */
TSS2_RC properties_read_fixed(struct agent_tpm *tpm);
/* Lockout, free slots and NV memory. */
TSS2_RC properties_read_variable(struct agent_tpm *tpm);

#endif
