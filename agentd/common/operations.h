/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_OPERATIONS_H
#define COMMON_OPERATIONS_H
/* The words of operations.def, shared by core (which enforces them) and the others (which only call). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/wire_error.h"

enum program { PROG_MGMT = 1u << 0, PROG_LINK = 1u << 1, PROG_FETCH = 1u << 2, PROG_INSTALL = 1u << 3, PROG_VENDOR = 1u << 4 /* any local application */, PROG_LOGIN = 1u << 5 /* login programs of root */ };
enum setup_gate {
	SETUP_ANY = 0,
	SETUP_MUST_CHANGE = 1,
	SETUP_DONE = 2,
	SETUP_DIAGNOSE = 3 /* SETUP_DONE, and also while nobody can log in because the TPM is away, changed or not provisioned */
};
enum account_role { ACCOUNT_NONE = 0, ACCOUNT_SELF = 1, ACCOUNT_VIEWER = 2, ACCOUNT_OPERATOR = 3, ACCOUNT_ADMIN = 4 };

#define BUS_PATH "/org/libagent"
#define BUS_CORE "org.libagent.Core1"	    /* offered by agentd on every connection, rows by program */
#define BUS_INSTALL "org.libagent.Install1" /* offered by agentd-install to core */
#define BUS_FETCH "org.libagent.Fetch1"	    /* offered by agentd-fetch to core */
#define BUS_LINK "org.libagent.Link1"	    /* offered by agentd-link to applications: agent_link(3) */
#define BUS_ERROR_PREFIX WIRE_ERROR_PREFIX
#define BUS_NO_UID UINT32_MAX		    /* uid in (sus) for a caller from the network */

/* "viewer", "operator", "admin", "self" or "none". */
const char *account_role_name(enum account_role role);

#endif
