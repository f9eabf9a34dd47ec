/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/operations.h"

const char *account_role_name(enum account_role role)
{
	switch (role) {
	case ACCOUNT_SELF:
		return "self";
	case ACCOUNT_VIEWER:
		return "viewer";
	case ACCOUNT_OPERATOR:
		return "operator";
	case ACCOUNT_ADMIN:
		return "admin";
	case ACCOUNT_NONE:
		break;
	}
	return "none";
}
