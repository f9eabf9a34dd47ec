/* SPDX-License-Identifier: Apache-2.0 */
/* ClientOpen, ClientRefused, PeersThrottled: what agentd-mgmt says about who knocked. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/core/accounts.h"
#include "agentd/core/clients.h"
#include "base/macro.h"
#include "base/secret.h"

static void strv_free(char **list)
{
	for (char **item = list; item != NULL && *item != NULL; item++)
		free(*item);
	free(list);
}

int op_client_open(struct core *core, struct op_call *call, struct agent_error **err)
{
	enum account_role role = ACCOUNT_NONE;
	char token[TOKEN_TEXT_SIZE], user[CALLER_USER_MAX + 1];
	char **names = NULL;
	const char *spki, *cn;
	int r;

	r = sd_bus_message_read(call->msg, "ss", &spki, &cn);
	if (r >= 0)
		r = sd_bus_message_read_strv(call->msg, &names);
	if (r < 0 || strlen(spki) != CLIENTS_SPKI_TEXT) {
		strv_free(names);
		return op_unreadable(call, err);
	}
	role = clients_role(core, spki, cn, names);
	strv_free(names);
	clients_label(spki, cn, user, sizeof(user));
	if (role == ACCOUNT_NONE) {
		event_add(core, EVENT_CLIENT_REFUSED, "source", call->caller.source, "user", user, "spki", spki, "reason",
			  "no row of mgmt.client_roles names it", NULL);
		return agent_error_set(err, -EPERM, "client.role", "this certificate has no role: a row of mgmt.client_roles must name it");
	}
	r = clients_add(core, spki, cn, role, token, err);
	if (r < 0)
		return r;
	known_add(&core->accounts->known, call->caller.source, accounts_now_us());
	event_add(core, EVENT_SESSION_CREATED, "user", user, "source", call->caller.source, "scope", "certificate", "role",
		  account_role_name(role), NULL);
	r = op_reply(call, "s", token);
	wipe(token, sizeof(token));
	return r;
}

int op_client_refused(struct core *core, struct op_call *call, struct agent_error **err)
{
	const char *subject, *reason;

	if (sd_bus_message_read(call->msg, "ss", &subject, &reason) < 0)
		return op_unreadable(call, err);
	event_add(core, EVENT_CLIENT_REFUSED, "source", call->caller.source, "subject", subject[0] != '\0' ? subject : NULL, "reason", reason, NULL);
	return op_reply(call, "");
}

int op_peers_throttled(struct core *core, struct op_call *call, struct agent_error **err)
{
	uint64_t n_refused, n_limited;
	char refused[24], limited[24];

	if (sd_bus_message_read(call->msg, "tt", &n_refused, &n_limited) < 0)
		return op_unreadable(call, err);
	snprintf(refused, sizeof(refused), "%llu", (unsigned long long)n_refused);
	snprintf(limited, sizeof(limited), "%llu", (unsigned long long)n_limited);
	event_add(core, EVENT_PEER_THROTTLED, "connections", refused, "requests", limited, NULL);
	return op_reply(call, "");
}
