/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PASSWORD_STORE_H
#define PASSWORD_STORE_H
/* The object behind agent_password_*(): store.c reads, settles, commits and compares; change.c makes the next record. */
#include <stdbool.h>

#include <agent/context.h>
#include <agent/counter.h>
#include <agent/password.h>

#include "base/secret.h"
#include "password/record.h"

#define STORE_CONTEXT_WORDS 16

struct agent_password {
	struct agent_context *ctx;
	struct agent_counter *generation;
	struct agent_mac *mac;
	int dir_fd;
	unsigned min_length, cost; /* 0: chosen at provisioning */
	char *context_words[STORE_CONTEXT_WORDS + 1];
	bool is_settled;	/* false: a commit broke off, so disk and counter must be looked at again */
	enum agent_setup_state state;
	struct record record;	/* valid in FACTORY and ACTIVE */
	bool has_label;
	struct verifier label;
	struct secret label_secret; /* the factory secret once somebody proved to know it, so that it is not set as the password */
};

int store_settle(struct agent_password *p, struct agent_error **err);
/* Settled and with a record, or the reason why not. */
int store_get_ready(struct agent_password *p, struct agent_error **err);
/* Make @record the one in force; its generation is the counter's next value. */
int store_commit(struct agent_password *p, const struct record *record, struct agent_error **err);
/* Of the next hash: what the options say, else what was chosen at provisioning, which the label keeps. */
unsigned store_get_cost(const struct agent_password *p);
int store_write_label(struct agent_password *p, const struct verifier *label, struct agent_error **err);
struct record_account *store_find(struct record *record, const char *user);
/* Is @text what @verifier was made of; @ret_prepared is the form that was hashed. */
int store_compare(struct agent_password *p, const char *name, const struct verifier *verifier, const char *text, size_t size,
		  struct secret *ret_prepared, bool *ret_is_equal, struct agent_error **err);

#endif
