/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PASSWORD_RECORD_H
#define PASSWORD_RECORD_H
/*
 * The password record as it lies on disk: six lines of text, the last a MAC over the five before it.
 *
 *	agentd-password 1
 *	kind owner
 *	generation 2
 *	setting $y$j9T$F5Jx5fExrKuPp53xLKQ..1$
 *	verifier 64 hexadecimal digits
 *	mac 64 hexadecimal digits
 *
 * The setting is the hash string without the hash: parameters and salt. The hash itself is never stored, only its HMAC
 * under a key that stays in the TPM, so that the file alone is no oracle for guessing.
 */
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/mac.h>

#define RECORD_MAX_BYTES 900	/* text and prefix fit agent_mac_compute()'s 1024 */
#define RECORD_SETTING_MAX 191

enum record_kind { RECORD_FACTORY = 1, RECORD_OWNER = 2 };

struct record {
	enum record_kind kind;
	uint64_t generation;
	char setting[RECORD_SETTING_MAX + 1];
	uint8_t verifier[AGENT_MAC_SIZE];
};

/* HMAC over the generation and the whole hash string. May block. */
int record_compute_verifier(struct agent_mac *mac, uint64_t generation, const char *hash, uint8_t ret_verifier[AGENT_MAC_SIZE],
			    struct agent_error **err);
/* The text with its MAC, to be freed by the caller. May block. */
int record_format(const struct record *record, struct agent_mac *mac, char **ret_text, size_t *ret_size, struct agent_error **err);
/*
 * Read what record_format() wrote and nothing else: no other order, spacing or trailing byte. -EBADMSG "password.record"
 * if it is not that, also for a wrong MAC; other errors mean that it could not be found out. May block.
 */
int record_parse(const char *text, size_t size, struct agent_mac *mac, struct record *ret_record, struct agent_error **err);

/* Copy the part of @hash up to its last '$', that one included. -EMSGSIZE "password.setting" if it does not fit or has none. */
int record_set_setting(struct record *record, const char *hash, struct agent_error **err);

#endif
