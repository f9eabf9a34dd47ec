/* SPDX-License-Identifier: Apache-2.0 */
/* Table of client certificates in use, and which role each has. */
#include "config.h"

#include "agentd/core/clients.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agentd/core/accounts.h"
#include "agentd/core/token.h"
#include "base/macro.h"

#define CLIENTS_MAX 8
#define CLIENT_IDLE_US (UINT64_C(900) * 1000000)

struct client {
	uint8_t hash[TOKEN_HASH_SIZE];
	char spki[CLIENTS_SPKI_TEXT + 1];
	char user[CALLER_USER_MAX + 1];
	enum account_role role;
	uint64_t used_us; /* 0: free */
};

struct clients {
	struct client items[CLIENTS_MAX];
};

void clients_free(struct core *core)
{
	if (core->clients == NULL)
		return;
	wipe(core->clients, sizeof(*core->clients));
	free(core->clients);
	core->clients = NULL;
}

bool clients_find(struct core *core, const char *token, struct caller *ret_caller)
{
	uint64_t now_us = accounts_now_us();
	uint8_t hash[TOKEN_HASH_SIZE];
	struct client *found = NULL;

	if (core->clients == NULL || token_hash(token, hash) < 0)
		return false;
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = &core->clients->items[i];

		if (c->used_us != 0 && secret_equal(&(struct secret){ .data = c->hash, .size = sizeof(c->hash) }, hash, sizeof(hash)))
			found = c;
	}
	if (found == NULL || now_us - found->used_us >= CLIENT_IDLE_US)
		return false;
	found->used_us = now_us;
	memcpy(ret_caller->user, found->user, sizeof(found->user));
	ret_caller->role = found->role;
	return true;
}

static enum account_role role_of(const char *text, size_t n)
{
	static const enum account_role roles[] = { ACCOUNT_VIEWER, ACCOUNT_OPERATOR, ACCOUNT_ADMIN };

	for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
		if (strlen(account_role_name(roles[i])) == n && strncmp(text, account_role_name(roles[i]), n) == 0)
			return roles[i];
	return ACCOUNT_NONE;
}

/* "admin spki:HEX", "viewer cn:NAME", "operator dns:NAME": the first row that fits counts. */
enum account_role clients_role(const struct core *core, const char *spki, const char *cn, char *const names[])
{
	for (char **row = core->settings->mgmt.client_roles; row != NULL && *row != NULL; row++) {
		size_t n = strcspn(*row, " ");
		const char *selector = *row + n + strspn(*row + n, " ");
		bool is_hit = strncmp(selector, "spki:", 5) == 0 ? strcasecmp(selector + 5, spki) == 0 :
			      strncmp(selector, "cn:", 3) == 0	 ? cn[0] != '\0' && strcmp(selector + 3, cn) == 0 :
								   false;
		bool is_name = strncmp(selector, "spki:", 5) != 0 && strncmp(selector, "cn:", 3) != 0;

		for (char *const *name = names; is_name && !is_hit && name != NULL && *name != NULL; name++)
			is_hit = strcmp(selector, *name) == 0;
		if (is_hit)
			return role_of(*row, n);
	}
	return ACCOUNT_NONE;
}

void clients_label(const char *spki, const char *cn, char *ret_user, size_t size)
{
	size_t n = (size_t)snprintf(ret_user, size, "cert:");

	for (const char *p = cn[0] != '\0' ? cn : spki; *p != '\0' && n + 1 < size; p++)
		ret_user[n++] = isalnum((unsigned char)*p) || strchr("-._@ ", *p) != NULL ? *p : '?';
	ret_user[n] = '\0';
}

static struct client *take_slot(struct core *core, const char *spki)
{
	struct client *slot = &core->clients->items[0];

	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = &core->clients->items[i];

		if (c->used_us != 0 && strcmp(c->spki, spki) == 0)
			return c;
		if (c->used_us < slot->used_us)
			slot = c;
	}
	return slot;
}

int clients_add(struct core *core, const char *spki, const char *cn, enum account_role role, char ret_token[TOKEN_TEXT_SIZE], struct agent_error **err)
{
	struct client client = { .role = role, .used_us = accounts_now_us() };
	int r;

	if (core->clients == NULL)
		core->clients = calloc(1, sizeof(*core->clients));
	if (core->clients == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a client");
	snprintf(client.spki, sizeof(client.spki), "%s", spki);
	clients_label(spki, cn, client.user, sizeof(client.user));
	r = token_new(ret_token, client.hash);
	if (r < 0)
		return agent_error_set(err, r, "core.random", "no random numbers for a client");
	*take_slot(core, spki) = client;
	return 0;
}
