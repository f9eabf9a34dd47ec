/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PASSWORD_RECORD_H
#define PASSWORD_RECORD_H
/*
 * What lies on disk, as text whose last line is a MAC over all before it. The record of the accounts:
 *
 *	agentd-accounts 1
 *	kind owner
 *	generation 7
 *	account admin admin 2 - $y$j9T$F5Jx5fExrKuPp53xLKQ..1$ 64 hexadecimal digits
 *	account karin viewer 7 new $y$j9T$s8mQ2ul6tR3fYg1kB0w2n/$ 64 hexadecimal digits
 *	mac 64 hexadecimal digits
 *
 * and the label, which is the same for a device's life:
 *
 *	agentd-label 1
 *	setting $y$j9T$Gh2nYy0RmD1sUe8oX4vWq.$
 *	verifier 64 hexadecimal digits
 *	mac 64 hexadecimal digits
 *
 * The setting is the hash string without the hash: parameters and salt. The hash itself is never stored, only its HMAC
 * under a key that stays in the TPM, so that a file alone is no oracle for guessing.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/mac.h>
#include <agent/password.h>

#define RECORD_SETTING_MAX 191
#define RECORD_MAX_BYTES (128 + AGENT_ACCOUNTS_MAX * (AGENT_ACCOUNT_NAME_MAX + RECORD_SETTING_MAX + 2 * AGENT_MAC_SIZE + 56))
#define RECORD_LABEL_NAME "=label" /* the name its verifier is made for; no account can have it */

enum record_kind { RECORD_FACTORY = 1, RECORD_OWNER = 2 };

/* A password as it is kept. */
struct verifier {
	char setting[RECORD_SETTING_MAX + 1];
	uint8_t mac[AGENT_MAC_SIZE];
};

struct record {
	enum record_kind kind;	/* RECORD_FACTORY: no accounts; RECORD_OWNER: at least one, with an administrator among them */
	uint64_t generation;
	size_t n;
	struct record_account {
		struct agent_account account;
		struct verifier verifier;
	} accounts[AGENT_ACCOUNTS_MAX];
};

/* Lower-case letters, digits, '.', '_' and '-', beginning with a letter; at most AGENT_ACCOUNT_NAME_MAX. */
bool record_name_is_valid(const char *name);

/* HMAC over the name of the account and the whole hash string. May block. */
int verifier_compute(struct agent_mac *mac, const char *name, const char *hash, uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err);
/* Setting and HMAC of a hash string. -EMSGSIZE "password.setting" if its setting does not fit or there is none. May block. */
int verifier_make(struct agent_mac *mac, const char *name, const char *hash, struct verifier *ret_verifier, struct agent_error **err);

/* The text with its MAC, to be freed by the caller. May block. */
int record_format(const struct record *record, struct agent_mac *mac, char **ret_text, size_t *ret_size, struct agent_error **err);
int label_format(const struct verifier *label, struct agent_mac *mac, char **ret_text, size_t *ret_size, struct agent_error **err);
/*
 * Read what was written by the two above and nothing else: no other order, spacing or trailing byte. -EBADMSG
 * "password.record" if it is not that, also for a wrong MAC; other errors mean that it could not be found out. May block.
 */
int record_parse(const char *text, size_t size, struct agent_mac *mac, struct record *ret_record, struct agent_error **err);
int label_parse(const char *text, size_t size, struct agent_mac *mac, struct verifier *ret_label, struct agent_error **err);

#endif
