/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/dispatch.h"

#include <errno.h>
#include <string.h>

#include "base/macro.h"

#define OP(method, handler, programs, gate, role, in, out) { #method, handler, programs, gate, role, in, out },
const struct operation operations[] = {
#include "agentd/common/operations.def"
};
#undef OP
const size_t n_operations = ARRAY_SIZE(operations);

const struct operation *operation_find(const char *method, enum program program)
{
	for (size_t i = 0; i < n_operations; i++)
		if (strcmp(operations[i].method, method) == 0)
			return (operations[i].programs & program) != 0 ? &operations[i] : NULL;
	return NULL;
}

int setup_check(int setup, struct agent_error **err)
{
	switch (setup) {
	case AGENT_SETUP_FACTORY:
	case AGENT_SETUP_ACTIVE:
		return 0;
	case AGENT_SETUP_RECOVERY:
		return agent_error_set(err, -ENOKEY, "setup.recovery",
				       "the password record and the TPM disagree; the device needs a factory reset with presence");
	case AGENT_SETUP_UNPROVISIONED:
		return agent_error_set(err, -ENOKEY, "setup.unprovisioned", "this device has not been provisioned yet");
	default:
		return agent_error_set(err, -ENODEV, "tpm.absent", "the TPM does not answer yet");
	}
}

static int check_gate(const struct operation *op, int setup, const struct caller *caller, struct agent_error **err)
{
	if (op->gate == SETUP_ANY)
		return 0;
	/* Whoever has to repair it must be able to see what is wrong. Never before the owner's first password, though. */
	if (op->gate == SETUP_DIAGNOSE && setup != AGENT_SETUP_FACTORY && (caller == NULL || !caller->is_limited))
		return 0;
	switch (setup) {
	case AGENT_SETUP_ACTIVE:
		if (op->gate == SETUP_MUST_CHANGE || (op->gate == SETUP_DONE && (caller == NULL || !caller->is_limited)))
			return 0;
		break;
	case AGENT_SETUP_FACTORY:
		if (op->gate == SETUP_MUST_CHANGE)
			return 0;
		break;
	default:
		return setup_check(setup, err);
	}
	return agent_error_set(err, -EKEYEXPIRED, "setup.password-change-required",
			       "a password of your own must be set before anything else can be done");
}

int operation_check(const struct operation *op, int setup, const struct caller *caller, struct agent_error **err)
{
	int r = check_gate(op, setup, caller, err);

	if (r < 0 || op->role == ACCOUNT_NONE)
		return r;
	if (caller == NULL || caller->role < op->role)
		return agent_error_set(err, -EPERM, "session.role", "this needs the role '%s'", account_role_name(op->role));
	return 0;
}

bool source_is_valid(const char *source)
{
	size_t n = strlen(source);

	if (n < 1 || n > CALLER_SOURCE_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (source[i] <= 0x20 || source[i] > 0x7e)
			return false;
	return true;
}
