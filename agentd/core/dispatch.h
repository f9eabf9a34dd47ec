/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DISPATCH_H
#define CORE_DISPATCH_H
/* Who may call what: the rows of operations.def and the checks before a handler runs, without any bus. */
#include "agentd/core/core.h"

extern const struct operation operations[];
extern const size_t n_operations;

/* NULL when there is no such row or @program is not in it: such a call is no user error but a peer that misbehaves. */
const struct operation *operation_find(const char *method, enum program program);

/* Can anybody log in: in factory state or set up. -ENOKEY "setup.recovery" and "setup.unprovisioned", -ENODEV "tpm.absent". */
int setup_check(int setup, struct agent_error **err);
/*
 * Setup gate, then role. Default deny: an unknown setup state or gate opens nothing. @caller is NULL for rows without an
 * account. -EKEYEXPIRED "setup.password-change-required", -ENOKEY "setup.recovery" and "setup.unprovisioned", -ENODEV
 * "tpm.absent", -EPERM "session.role".
 */
int operation_check(const struct operation *op, int setup, const struct caller *caller, struct agent_error **err);

/* A source is 1 to CALLER_SOURCE_MAX printable ASCII characters without space. */
bool source_is_valid(const char *source);

#endif
