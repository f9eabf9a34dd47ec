/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_COMMAND_H
#define COMMON_COMMAND_H
/*
 * Commands from the cloud: the message, the text in it, and what may be in that. agentd-link reads messages; core reads the text of signed
 * ones only, after their signature was good. Nothing here decides whether a command is carried out: agentd/core/op_command.c.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/command.h>
#include <agent/error.h>

#include "agentd/common/arg_rule.h"
#include "agentd/common/operations.h"

#define COMMAND_PROFILE "agent-command-1"
#define COMMAND_MESSAGE_MAX (24 * 1024)	   /* AGENT_COMMAND_MAX in base64, and a signature with a certificate */
#define COMMAND_SIGNATURE_MAX (8 * 1024)
#define COMMAND_ID_MAX 64
#define COMMAND_DEVICE_MAX 128
#define COMMAND_NAME_MAX 32
#define COMMAND_ARGS_MAX 2
#define COMMAND_WORD_MAX 1024		   /* bytes of an argument */

/* A row of commands.def. */
struct command_type {
	const char *name;
	const char *operation;
	enum account_role role;
	const struct arg_rule *args;
	const char *about;
};
extern const struct command_type command_types[];
extern const size_t n_command_types;

struct command {
	char id[COMMAND_ID_MAX + 1];
	char device[COMMAND_DEVICE_MAX + 1];
	uint64_t expires_s;	/* since 1970 */
	const struct command_type *type;
	char words[COMMAND_ARGS_MAX][COMMAND_WORD_MAX + 1]; /* in the order of type->args; a number as digits */
};

/*
 * The text of a command: a JSON object, checked. @ret_id gets the id as soon as it is known, "" before: it goes into the answer. Names:
 * args.syntax, args.depth, args.duplicate, args.unknown, args.missing, args.type, args.value, args.length; command.size, command.profile,
 * command.unknown (no such command).
 */
int command_parse(const char *text, size_t size, struct command *ret_command, char ret_id[COMMAND_ID_MAX + 1], struct agent_error **err);
/* The same from what came over the bus; @words are all arguments, NULL at the end. */
int command_from_words(const char *id, const char *device, uint64_t expires_s, const char *name, char *const *words, struct command *ret_command,
		       struct agent_error **err);
/* Argument @i as a number; the rule says it is one. */
uint64_t command_number(const struct command *command, size_t i);

/* A message as it comes from the broker. */
struct command_message {
	struct command command;	/* parsed from the text in either case */
	char id[COMMAND_ID_MAX + 1]; /* "" unknown */
	bool is_signed;
	char *text;		/* of a signed one, exactly as it was signed */
	size_t text_size;
	uint8_t *signature;
	size_t signature_size;
};

/*
 * { "profile": ... } is a bare command, { "signed": base64 of its text, "signature": base64 of the CMS } a signed one. Clear it in any
 * case. As command_parse(), and command.base64.
 */
int command_message_parse(const char *data, size_t size, struct command_message *ret_message, struct agent_error **err);
void command_message_clear(struct command_message *message);

#endif
