/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CLIENTS_H
#define CORE_CLIENTS_H
/*
 * Callers that agentd-mgmt knows by a client certificate. It checks the certificate, in the handshake; what role the
 * certificate has is decided here, by mgmt.client_roles. RAM only, few at a time, one for each certificate.
 */
#include "agentd/core/core.h"
#include "agentd/core/token.h"

#define CLIENTS_SPKI_TEXT 64 /* SHA-256 in hex */

struct clients;

void clients_free(struct core *core);
/* Is @token one of these? *ret_caller is filled but for uid and source. */
bool clients_find(struct core *core, const char *token, struct caller *ret_caller);
/* By mgmt.client_roles: @names are "dns:...", "uri:...", "email:...", ended by NULL. ACCOUNT_NONE: no row fits. */
enum account_role clients_role(const struct core *core, const char *spki, const char *cn, char *const names[]);
/* "cert:NAME" for logs; other bytes than letters, digits and a few signs become "?". */
void clients_label(const char *spki, const char *cn, char *ret_user, size_t size);
/* A token for it, which replaces the one that it had; the least recently used one goes when all places are taken. */
int clients_add(struct core *core, const char *spki, const char *cn, enum account_role role, char ret_token[TOKEN_TEXT_SIZE], struct agent_error **err);

#endif
