/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_ASK_H
#define CTL_ASK_H
/* Secrets from the person at the keyboard. */
#include <stdbool.h>

#include <jansson.h>

#include "base/secret.h"

/* From the terminal without echo, or one line of stdin. A negative errno after saying what is wrong. */
int ask_secret(bool is_stdin, const char *question, struct secret *ret_line);
/* Before @what is read from standard input: if that is the terminal, say so, or somebody waits for us while we wait for him. */
void say_where_from(const char *what);
/* A secret in a request; NULL if it is no UTF-8. */
json_t *secret_json(const struct secret *secret);

#endif
