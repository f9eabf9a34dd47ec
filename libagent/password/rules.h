/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PASSWORD_RULES_H
#define PASSWORD_RULES_H
/* Which passwords may be set, and the one form in which they are hashed. */
#include <stdbool.h>
#include <stddef.h>

#include <agent/error.h>

#include "base/secret.h"
#include "password/filter.h"

#define RULES_MIN_LENGTH 12	/* code points; no setting goes below */
#define RULES_MAX_LENGTH 128
#define RULES_MIN_DISTINCT 6

struct rules {
	unsigned min_length;
	const char *const *context_words; /* NULL-terminated or NULL */
	const struct filter *filter;	  /* common passwords, or NULL */
	const char *label_secret;	  /* the factory secret if known, or NULL; never repeated in a message */
};

/*
 * UTF-8 in Unicode normalisation form C (UAX #15), NUL after it: what is hashed. -EINVAL "password.text" for bytes that are
 * not UTF-8, for NUL and for more than AGENT_PASSWORD_MAX bytes; -ENOMEM.
 */
int rules_normalise(const char *text, size_t size, struct secret *ret_text, struct agent_error **err);

/* -EINVAL "password.weak" with every reason, joined by "; ". -ENOMEM. @text as it was typed. */
int rules_check(const struct rules *rules, const char *text, size_t size, struct agent_error **err);

#endif
