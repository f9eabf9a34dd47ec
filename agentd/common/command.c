/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "agentd/common/args.h"
#include "base/macro.h"

#define ID_BYTES "A-Za-z0-9._:-"
#define NUMBER_MAX (UINT64_C(1) << 53)	/* what every JSON library can say */

static const struct arg_rule no_args[] = { { NULL } };
static const struct arg_rule args_events[] = {
	{ "after", ARG_NUMBER, REQUIRED, NUMBER_MAX, 0, .about = "number of the last event that is known; 0 for all" },
	{ "limit", ARG_NUMBER, REQUIRED, 50, 1, .about = "how many at most" },
	{ NULL },
};
static const struct arg_rule args_offer[] = {
	{ "url", ARG_TEXT, REQUIRED, COMMAND_WORD_MAX, 1, .bytes = "!-~", .about = "https address of the bundle" },
	{ NULL },
};
static const struct arg_rule args_approve[] = {
	{ "release_id", ARG_TEXT, REQUIRED, 128, 1, .bytes = "!-~", .about = "offer_release_id of update.status" },
	{ "manifest_sha256", ARG_TEXT, REQUIRED, 64, 64, .bytes = "0-9a-f", .about = "offer_manifest_sha256 of update.status" },
	{ NULL },
};
static const struct arg_rule args_postpone[] = {
	{ "hours", ARG_NUMBER, REQUIRED, 8760, 1, .about = "for how long" },
	{ NULL },
};
static const struct arg_rule args_policy[] = {
	{ "policy", ARG_TEXT, REQUIRED, 16, 1, .values = "automatic window approval", .about = "automatic, window or approval" },
	{ NULL },
};
static const struct arg_rule args_quote[] = {
	{ "nonce", ARG_TEXT, REQUIRED, 64, 16, .bytes = "0-9a-f", .about = "hex, new for each quote" },
	{ "pcrs", ARG_TEXT, REQUIRED, 64, 1, .bytes = "0-9,", .about = "such as 0,7" },
	{ NULL },
};

#define COMMAND(name, operation, role, args, about) { name, operation, role, args, about },
const struct command_type command_types[] = {
#include "agentd/common/commands.def"
};
#undef COMMAND
const size_t n_command_types = ARRAY_SIZE(command_types);

/* What every command has. */
static const struct arg_rule frame[] = {
	{ "profile", ARG_TEXT, REQUIRED, 32, 1 },
	{ "id", ARG_TEXT, REQUIRED, COMMAND_ID_MAX, 8, .bytes = ID_BYTES },
	{ "device", ARG_TEXT, REQUIRED, COMMAND_DEVICE_MAX, 1, .bytes = " -~" },
	{ "expires", ARG_NUMBER, REQUIRED, NUMBER_MAX, 1 },
	{ "command", ARG_TEXT, REQUIRED, COMMAND_NAME_MAX, 1, .bytes = "a-z." },
	{ "arguments", ARG_OBJECT, OPTIONAL },
	{ NULL },
};

static const struct arg_rule envelope[] = {
	{ "signed", ARG_TEXT, REQUIRED, COMMAND_MESSAGE_MAX, 4 },
	{ "signature", ARG_TEXT, REQUIRED, COMMAND_MESSAGE_MAX, 4 },
	{ NULL },
};

static int find_type(const char *name, const struct command_type **ret_type, struct agent_error **err)
{
	for (size_t i = 0; i < n_command_types; i++) {
		if (strcmp(command_types[i].name, name) == 0) {
			*ret_type = &command_types[i];
			return 0;
		}
	}
	return agent_error_set(err, -EINVAL, "command.unknown", "there is no command \"%.32s\"; docs/design/commands.md lists them", name);
}

static int check_number(const struct arg_rule *rule, const char *word, struct agent_error **err)
{
	size_t n = strspn(word, "0123456789");
	uint64_t value = n >= 1 && n <= 16 && word[n] == '\0' ? strtoull(word, NULL, 10) : UINT64_MAX;

	if (value < rule->min || value > rule->max)
		return agent_error_set(err, -EINVAL, "args.value", "%s is a number from %" PRIu64 " to %" PRIu64, rule->name, rule->min, rule->max);
	return 0;
}

/* Argument number @i, whichever way it came. */
static int set_word(struct command *command, size_t i, const char *word, struct agent_error **err)
{
	const struct arg_rule *rule = &command->type->args[i];
	int r = rule->type == ARG_NUMBER ? check_number(rule, word, err) : args_check_text(rule, word, err);

	if (r < 0)
		return r;
	if (strlen(word) > COMMAND_WORD_MAX)
		return agent_error_set(err, -EMSGSIZE, "args.length", "%s has more than %d bytes", rule->name, COMMAND_WORD_MAX);
	strcpy(command->words[i], word);
	return 0;
}

static int check_frame(const struct command *command, struct agent_error **err)
{
	int r = args_check_text(&frame[1], command->id, err);

	return r < 0 ? r : args_check_text(&frame[2], command->device, err);
}

static int too_long(struct agent_error **err)
{
	return agent_error_set(err, -EMSGSIZE, "args.length", "id, device or command is too long");
}

int command_from_words(const char *id, const char *device, uint64_t expires_s, const char *name, char *const *words, struct command *ret_command,
		       struct agent_error **err)
{
	struct command *c = ret_command;
	size_t n = 0;
	int r;

	*c = (struct command){ .expires_s = expires_s };
	if (strlen(id) > COMMAND_ID_MAX || strlen(device) > COMMAND_DEVICE_MAX || strlen(name) > COMMAND_NAME_MAX)
		return too_long(err);
	strcpy(c->id, id);
	strcpy(c->device, device);
	r = check_frame(c, err);
	if (r >= 0)
		r = find_type(name, &c->type, err);
	for (; r >= 0 && c->type->args[n].name != NULL; n++)
		r = words[n] == NULL ? agent_error_set(err, -EBADMSG, "args.missing", "member '%s' is missing", c->type->args[n].name) :
				       set_word(c, n, words[n], err);
	if (r >= 0 && words[n] != NULL)
		r = agent_error_set(err, -EBADMSG, "args.unknown", "%s has %zu arguments", name, n);
	return r;
}

uint64_t command_number(const struct command *command, size_t i)
{
	return strtoull(command->words[i], NULL, 10);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------- */

static int take_arguments(struct command *c, json_t *arguments, struct agent_error **err)
{
	int r = args_check(arguments, c->type->args, err);

	for (size_t i = 0; r >= 0 && c->type->args[i].name != NULL; i++) {
		const json_t *value = json_object_get(arguments, c->type->args[i].name);
		char digits[24];

		if (json_is_integer(value))
			snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		r = set_word(c, i, json_is_integer(value) ? digits : json_string_value(value), err);
	}
	return r;
}

static int read_frame(json_t *root, struct command *c, struct agent_error **err)
{
	json_t *arguments = json_object_get(root, "arguments"), *empty = NULL;
	int r;

	strcpy(c->id, args_text(root, "id"));
	strcpy(c->device, args_text(root, "device"));
	c->expires_s = (uint64_t)json_integer_value(json_object_get(root, "expires"));
	if (strcmp(args_text(root, "profile"), COMMAND_PROFILE) != 0)
		return agent_error_set(err, -EBADMSG, "command.profile", "profile must be \"" COMMAND_PROFILE "\"");
	r = find_type(args_text(root, "command"), &c->type, err);
	if (r < 0)
		return r;
	if (arguments == NULL)
		arguments = empty = json_object();
	r = arguments == NULL ? agent_error_set(err, -ENOMEM, "memory", "no memory for a command") : take_arguments(c, arguments, err);
	json_decref(empty);
	return r;
}

/* Members of both shapes of a message, so that one that is missing or too much is called by its name below. */
static const struct arg_rule either[] = {
	{ "profile", ARG_TEXT, OPTIONAL, COMMAND_MESSAGE_MAX, 0 }, { "id", ARG_TEXT, OPTIONAL, COMMAND_MESSAGE_MAX, 0 },
	{ "device", ARG_TEXT, OPTIONAL, COMMAND_MESSAGE_MAX, 0 },  { "expires", ARG_NUMBER, OPTIONAL, INT64_MAX, 0 },
	{ "command", ARG_TEXT, OPTIONAL, COMMAND_MESSAGE_MAX, 0 }, { "arguments", ARG_OBJECT, OPTIONAL },
	{ "signed", ARG_TEXT, OPTIONAL, COMMAND_MESSAGE_MAX, 0 },  { "signature", ARG_TEXT, OPTIONAL, COMMAND_MESSAGE_MAX, 0 },
	{ NULL },
};

static int read_root(json_t *root, size_t size, struct command *c, char ret_id[COMMAND_ID_MAX + 1], struct agent_error **err)
{
	const char *id = args_text(root, "id");
	int r;

	/* So that the sender can tell which of his was refused. */
	if (id != NULL && args_check_text(&frame[1], id, NULL) >= 0)
		strcpy(ret_id, id);
	if (size > AGENT_COMMAND_MAX)
		return agent_error_set(err, -EMSGSIZE, "command.size", "a command has %zu bytes, at most %d are accepted", size, AGENT_COMMAND_MAX);
	r = args_check(root, frame, err);
	return r < 0 ? r : read_frame(root, c, err);
}

int command_parse(const char *text, size_t size, struct command *ret_command, char ret_id[COMMAND_ID_MAX + 1], struct agent_error **err)
{
	json_t *root;
	int r;

	*ret_command = (struct command){ 0 };
	ret_id[0] = '\0';
	r = args_parse(text, size, either, &root, err);
	if (r < 0)
		return r;
	r = read_root(root, size, ret_command, ret_id, err);
	json_decref(root);
	return r;
}

/* Strict: groups of four, no white space, padding at the end only. */
static int decode(const char *text, size_t max, uint8_t **ret_data, size_t *ret_size, struct agent_error **err)
{
	size_t n = strlen(text), pad = n >= 2 && text[n - 1] == '=' ? 1 + (text[n - 2] == '=') : 0;
	size_t n_chars = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
	uint8_t *data;

	if (n == 0 || n % 4 != 0 || n_chars + pad != n)
		return agent_error_set(err, -EBADMSG, "command.base64", "signed and signature are base64 (RFC 4648 section 4) in one line");
	if (n / 4 * 3 - pad > max)
		return agent_error_set(err, -EMSGSIZE, "command.size", "a signed command has at most %d bytes, its signature %d", AGENT_COMMAND_MAX,
				       COMMAND_SIGNATURE_MAX);
	data = malloc(n / 4 * 3 + 1);
	if (data == NULL || EVP_DecodeBlock(data, (const unsigned char *)text, (int)n) < 0) {
		free(data);
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a command");
	}
	data[n / 4 * 3 - pad] = '\0';
	*ret_data = data;
	*ret_size = n / 4 * 3 - pad;
	return 0;
}

static int open_envelope(json_t *root, struct command_message *m, struct agent_error **err)
{
	uint8_t *text = NULL;
	int r = args_check(root, envelope, err);

	if (r >= 0)
		r = decode(args_text(root, "signed"), AGENT_COMMAND_MAX, &text, &m->text_size, err);
	m->text = (char *)text;
	if (r >= 0)
		r = decode(args_text(root, "signature"), COMMAND_SIGNATURE_MAX, &m->signature, &m->signature_size, err);
	return r < 0 ? r : command_parse(m->text, m->text_size, &m->command, m->id, err);
}

int command_message_parse(const char *data, size_t size, struct command_message *ret_message, struct agent_error **err)
{
	struct command_message *m = ret_message;
	json_t *root;
	int r;

	*m = (struct command_message){ 0 };
	if (size > COMMAND_MESSAGE_MAX)
		return agent_error_set(err, -EMSGSIZE, "command.size", "the message has %zu bytes, at most %d are accepted", size, COMMAND_MESSAGE_MAX);
	r = args_parse(data, size, either, &root, err);
	if (r < 0)
		return r;
	m->is_signed = json_object_get(root, "signed") != NULL || json_object_get(root, "signature") != NULL;
	r = m->is_signed ? open_envelope(root, m, err) : read_root(root, size, &m->command, m->id, err);
	json_decref(root);
	return r;
}

void command_message_clear(struct command_message *message)
{
	free(message->text);
	free(message->signature);
	*message = (struct command_message){ 0 };
}
