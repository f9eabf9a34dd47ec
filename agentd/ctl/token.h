/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_TOKEN_H
#define CTL_TOKEN_H
/* The session token of "agentctl login", 0600 in $XDG_RUNTIME_DIR or ~/.cache, bound to the socket it was given for. */

/* NULL when there is none for @socket. The caller wipes and frees it. */
char *token_load(const char *socket);
/* Returns 0 or a negative errno after saying why on stderr. */
int token_store(const char *socket, const char *token);
void token_forget(void);
void token_free(char *token);

#endif
