/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_KEY_RIGHTS_H
#define CORE_KEY_RIGHTS_H
/*
 * What a key is for and who may use it: STATE_DIR/keys/NAME.meta beside NAME.pem, written whole, mode 0600. Lines of words,
 * in this order, nothing else; a reader that meets something it does not know refuses the key (docs/design/vendor.md):
 *
 *   version 1
 *   srk HEX                       Name of the SRK it was made under
 *   name HEX                      Name of the key; of a software key the SHA-256 of its public key
 *   created SECONDS               since 1970
 *   origin imported               or "software"; the line is left out for a key that was made in the TPM
 *   purposes tls-client csr       or "none"
 *   caller uid:1000 tls-client    any number up to KEY_RULES_MAX: program:, uid:, gid: or unit:, then its purposes
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <agent/error.h>

#include "agentd/common/caller.h"

enum key_purpose {
	PURPOSE_TLS_CLIENT = 1u << 0, /* sign digests: TLS client handshakes, and what OpenSSL signs with such a key */
	PURPOSE_CSR = 1u << 1,	      /* certificate requests that core composes */
	PURPOSE_SIGN_APP = 1u << 2,   /* application signatures; excludes tls-client, see key_meta_check() */
	PURPOSE_SEAL = 1u << 3
};

enum key_origin { KEY_MADE, KEY_IMPORTED, KEY_SOFTWARE };

enum rule_kind { RULE_PROGRAM, RULE_UID, RULE_GID, RULE_UNIT };

#define KEY_RULES_MAX 16
#define KEY_HEX_MAX 132	  /* hex of a Name: 66 bytes with SHA-512 */
#define KEY_META_MAX (8 * 1024)

struct key_rule {
	enum rule_kind kind;
	uint32_t id;			/* uid, gid */
	char text[UNIT_NAME_MAX + 1];	/* unit, program */
	unsigned purposes;
};

struct key_meta {
	char srk[KEY_HEX_MAX + 1];
	char name[KEY_HEX_MAX + 1];
	uint64_t created_s;
	enum key_origin origin;
	unsigned purposes;
	struct key_rule rules[KEY_RULES_MAX];
	size_t n_rules;
};

/* Words separated by single spaces, or "none". -EINVAL "key.purpose". */
int purposes_parse(const char *text, unsigned *ret_purposes, struct agent_error **err);
void purposes_format(unsigned purposes, char *ret_text, size_t size);
/* "tpm", "imported", "software": where the private key was made, and in the last case is. */
const char *key_origin_name(enum key_origin origin);
/* "uid:1000", "gid:44", "unit:meter.service", "program:link", then perhaps purposes; @purposes where none are named. */
int key_rule_parse(const char *text, unsigned purposes, struct key_rule *ret_rule, struct agent_error **err);
/* The words of a rule without its purposes: the label of an application signature. */
void key_rule_label(const struct key_rule *rule, char *ret_text, size_t size);

/* -EINVAL "key.purpose" if the key would be both tls-client and sign-app, or a rule allows more than the key is for. */
int key_meta_check(const struct key_meta *meta, struct agent_error **err);
/* -EBADMSG "key.meta". */
int key_meta_parse(const char *text, size_t size, struct key_meta *ret_meta, struct agent_error **err);
/* -ENOENT, -EBADMSG, -errno of the file. */
int key_meta_read(int dir_fd, const char *key, struct key_meta *ret_meta, struct agent_error **err);
int key_meta_write(int dir_fd, const char *key, const struct key_meta *meta, struct agent_error **err);

/* Is that the caller of the rule? */
bool key_rule_matches(const struct key_rule *rule, const struct key_caller *caller);
/* First rule that lets @caller use the key for @purpose, or NULL. */
const struct key_rule *key_meta_match(const struct key_meta *meta, const struct key_caller *caller, enum key_purpose purpose);

#endif
