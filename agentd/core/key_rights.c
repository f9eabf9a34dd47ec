/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/key_rights.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/macro.h"

#define NAME_FILE_MAX 48

static const struct {
	const char *word;
	enum key_purpose purpose;
} purpose_words[] = {
	{ "tls-client", PURPOSE_TLS_CLIENT }, { "csr", PURPOSE_CSR }, { "sign-app", PURPOSE_SIGN_APP }, { "seal", PURPOSE_SEAL },
};

static const char *const rule_words[] = { [RULE_PROGRAM] = "program:", [RULE_UID] = "uid:", [RULE_GID] = "gid:", [RULE_UNIT] = "unit:" };

/* ---- words ------------------------------------------------------------------------------------------------------ */

/* The next word up to one space or the end; -EINVAL for an empty one. Moves *text behind it. */
static int next_word(const char **text, size_t max, char *ret_word)
{
	size_t n = strcspn(*text, " ");

	if (n < 1 || n > max || ((*text)[n] == ' ' && (*text)[n + 1] == '\0'))
		return -EINVAL;
	memcpy(ret_word, *text, n);
	ret_word[n] = '\0';
	*text += n + ((*text)[n] == ' ');
	return 0;
}

/* Decimal without sign, leading zero or end. */
static int number_parse(const char *text, uint64_t max, uint64_t *ret_value)
{
	uint64_t v = 0;

	if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
		return -EINVAL;
	for (; *text != '\0'; text++) {
		uint64_t digit = (uint64_t)(unsigned char)*text - '0';

		if (digit > 9 || v > (max - digit) / 10)
			return -EINVAL;
		v = v * 10 + digit;
	}
	*ret_value = v;
	return 0;
}

int purposes_parse(const char *text, unsigned *ret_purposes, struct agent_error **err)
{
	unsigned found = 0;
	char word[16];

	if (strcmp(text, "none") == 0) {
		*ret_purposes = 0;
		return 0;
	}
	do {
		unsigned purpose = 0;

		if (next_word(&text, sizeof(word) - 1, word) >= 0)
			for (size_t i = 0; i < ARRAY_SIZE(purpose_words); i++)
				if (strcmp(purpose_words[i].word, word) == 0)
					purpose = purpose_words[i].purpose;
		if (purpose == 0 || (found & purpose) != 0)
			return agent_error_set(err, -EINVAL, "key.purpose", "purposes are tls-client, csr, sign-app and seal, each once");
		found |= purpose;
	} while (*text != '\0');
	*ret_purposes = found;
	return 0;
}

void purposes_format(unsigned purposes, char *ret_text, size_t size)
{
	size_t n = 0;

	snprintf(ret_text, size, "none");
	for (size_t i = 0; i < ARRAY_SIZE(purpose_words); i++)
		if ((purposes & purpose_words[i].purpose) != 0 && n < size)
			n += (size_t)snprintf(ret_text + n, size - n, "%s%s", n == 0 ? "" : " ", purpose_words[i].word);
}

/* systemd.unit(5): what a unit may be called. */
static bool unit_is_valid(const char *text)
{
	size_t n = strlen(text);

	return n > 8 && n <= UNIT_NAME_MAX &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@") == n &&
	       (strcmp(text + n - 8, ".service") == 0 || (strcmp(text + n - 6, ".scope") == 0));
}

static int subject_parse(const char *word, struct key_rule *rule)
{
	size_t kind = 0;
	uint64_t id;

	while (kind < ARRAY_SIZE(rule_words) && strncmp(word, rule_words[kind], strlen(rule_words[kind])) != 0)
		kind++;
	if (kind == ARRAY_SIZE(rule_words))
		return -EINVAL;
	word += strlen(rule_words[kind]);
	rule->kind = (enum rule_kind)kind;
	switch (rule->kind) {
	case RULE_UID:
	case RULE_GID:
		if (number_parse(word, UINT32_MAX - 1, &id) < 0)
			return -EINVAL;
		rule->id = (uint32_t)id;
		return 0;
	case RULE_PROGRAM:
		if (strcmp(word, "link") != 0 && strcmp(word, "fetch") != 0)
			return -EINVAL;
		break;
	case RULE_UNIT:
		if (!unit_is_valid(word))
			return -EINVAL;
		break;
	}
	snprintf(rule->text, sizeof(rule->text), "%s", word);
	return 0;
}

int key_rule_parse(const char *text, unsigned purposes, struct key_rule *ret_rule, struct agent_error **err)
{
	struct key_rule rule = { .purposes = purposes };
	char word[UNIT_NAME_MAX + 16];
	int r;

	if (next_word(&text, sizeof(word) - 1, word) < 0 || subject_parse(word, &rule) < 0)
		return agent_error_set(err, -EINVAL, "key.caller", "a caller is uid:NUMBER, gid:NUMBER, unit:NAME.service or program:link|fetch");
	if (*text != '\0') {
		r = purposes_parse(text, &rule.purposes, err);
		if (r < 0)
			return r;
	}
	*ret_rule = rule;
	return 0;
}

void key_rule_label(const struct key_rule *rule, char *ret_text, size_t size)
{
	if (rule->kind == RULE_UID || rule->kind == RULE_GID)
		snprintf(ret_text, size, "%s%" PRIu32, rule_words[rule->kind], rule->id);
	else
		snprintf(ret_text, size, "%s%s", rule_words[rule->kind], rule->text);
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

/*
 * A tls-client signature is over a digest that the caller computed, so with it any other kind of signature could be made.
 * Hence a key is for one or the other, whoever the callers are.
 */
int key_meta_check(const struct key_meta *meta, struct agent_error **err)
{
	if ((meta->purposes & PURPOSE_TLS_CLIENT) != 0 && (meta->purposes & PURPOSE_SIGN_APP) != 0)
		return agent_error_set(err, -EINVAL, "key.purpose", "a key is for tls-client or for sign-app, not for both");
	if (meta->n_rules > KEY_RULES_MAX)
		return agent_error_set(err, -EINVAL, "key.caller", "more than %d callers", KEY_RULES_MAX);
	for (size_t i = 0; i < meta->n_rules; i++)
		if ((meta->rules[i].purposes & ~meta->purposes) != 0)
			return agent_error_set(err, -EINVAL, "key.purpose", "a caller is allowed more than the key is for");
	return 0;
}

static const char *const origin_names[] = { [KEY_MADE] = "tpm", [KEY_IMPORTED] = "imported", [KEY_SOFTWARE] = "software" };

const char *key_origin_name(enum key_origin origin)
{
	return origin_names[origin];
}

static bool is_hex(const char *text)
{
	size_t n = strlen(text);

	return n >= 4 && n <= KEY_HEX_MAX && n % 2 == 0 && strspn(text, "0123456789abcdef") == n;
}

/* The rest of a line that begins with @word and a space; NULL if it does not. */
static const char *after_word(const char *line, const char *word)
{
	size_t n = strlen(word);

	return strncmp(line, word, n) == 0 && line[n] == ' ' ? line + n + 1 : NULL;
}

static int origin_parse(const char *value, enum key_origin *ret_origin)
{
	for (enum key_origin o = KEY_IMPORTED; o <= KEY_SOFTWARE; o++) {
		if (strcmp(value, origin_names[o]) == 0) {
			*ret_origin = o;
			return 0;
		}
	}
	return -EBADMSG;
}

/* *@at is the line that is expected next; the one with the origin may be left out. */
static int line_parse(const char *line, unsigned *at, struct key_meta *meta)
{
	static const char *const words[] = { "version", "srk", "name", "created", "origin", "purposes" };
	const char *value;

	if (*at == 4 && after_word(line, "origin") == NULL)
		++*at;
	value = after_word(line, *at < ARRAY_SIZE(words) ? words[*at] : "caller");
	if (value == NULL)
		return -EBADMSG;
	switch ((*at)++) {
	case 0:
		return strcmp(value, "1") == 0 ? 0 : -EBADMSG;
	case 1:
		return is_hex(value) ? (strcpy(meta->srk, value), 0) : -EBADMSG;
	case 2:
		return is_hex(value) ? (strcpy(meta->name, value), 0) : -EBADMSG;
	case 3:
		return number_parse(value, INT64_MAX, &meta->created_s);
	case 4:
		return origin_parse(value, &meta->origin);
	case 5:
		return purposes_parse(value, &meta->purposes, NULL);
	default:
		if (meta->n_rules == KEY_RULES_MAX || key_rule_parse(value, 0, &meta->rules[meta->n_rules], NULL) < 0)
			return -EBADMSG;
		/* In the file every rule says what it is for. */
		return meta->rules[meta->n_rules++].purposes == 0 ? -EBADMSG : 0;
	}
}

int key_meta_parse(const char *text, size_t size, struct key_meta *ret_meta, struct agent_error **err)
{
	struct key_meta meta = { .n_rules = 0 };
	char line[UNIT_NAME_MAX + 2 * KEY_HEX_MAX];
	unsigned number = 0, at = 0;
	size_t pos = 0;

	if (size > KEY_META_MAX)
		return agent_error_set(err, -EBADMSG, "key.meta", "%zu bytes, limit %d", size, KEY_META_MAX);
	while (pos < size) {
		const char *end = memchr(text + pos, '\n', size - pos);
		size_t n = end == NULL ? size : (size_t)(end - text) - pos;

		/* The last line has its newline too: a torn file shows. */
		if (end == NULL || n >= sizeof(line) || memchr(text + pos, '\0', n) != NULL)
			return agent_error_set(err, -EBADMSG, "key.meta", "line %u is torn or too long", number + 1);
		memcpy(line, text + pos, n);
		line[n] = '\0';
		if (line_parse(line, &at, &meta) < 0)
			return agent_error_set(err, -EBADMSG, "key.meta", "line %u cannot be understood", number + 1);
		number++;
		pos += n + 1;
	}
	if (at < 6)
		return agent_error_set(err, -EBADMSG, "key.meta", "ends after %u lines", number);
	if (key_meta_check(&meta, NULL) < 0)
		return agent_error_set(err, -EBADMSG, "key.meta", "purposes that exclude each other, or a caller with more than the key is for");
	*ret_meta = meta;
	return 0;
}

static int key_meta_format(const struct key_meta *meta, char **ret_text, struct agent_error **err)
{
	char purposes[64], label[UNIT_NAME_MAX + 16], *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int failed;

	if (out == NULL)
		return agent_error_set(err, -ENOMEM, "key.memory", "no memory for a key's description");
	purposes_format(meta->purposes, purposes, sizeof(purposes));
	fprintf(out, "version 1\nsrk %s\nname %s\ncreated %" PRIu64 "\n", meta->srk, meta->name, meta->created_s);
	if (meta->origin != KEY_MADE)
		fprintf(out, "origin %s\n", origin_names[meta->origin]);
	fprintf(out, "purposes %s\n", purposes);
	for (size_t i = 0; i < meta->n_rules; i++) {
		key_rule_label(&meta->rules[i], label, sizeof(label));
		purposes_format(meta->rules[i].purposes, purposes, sizeof(purposes));
		fprintf(out, "caller %s %s\n", label, purposes);
	}
	failed = ferror(out);
	if (fclose(out) != 0 || failed) {
		free(text);
		return agent_error_set(err, -ENOMEM, "key.memory", "no memory for a key's description");
	}
	*ret_text = text;
	return 0;
}

static void file_name(const char *key, char ret_name[NAME_FILE_MAX])
{
	snprintf(ret_name, NAME_FILE_MAX, "%.40s.meta", key);
}

int key_meta_read(int dir_fd, const char *key, struct key_meta *ret_meta, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	char name[NAME_FILE_MAX];
	size_t size;
	int r;

	file_name(key, name);
	r = file_read_at(dir_fd, name, KEY_META_MAX, &text, &size, err);
	if (r >= 0)
		r = key_meta_parse(text, size, ret_meta, err);
	return r < 0 ? agent_error_prefix(err, r, "%s", name) : 0;
}

int key_meta_write(int dir_fd, const char *key, const struct key_meta *meta, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	char name[NAME_FILE_MAX];
	int r;

	file_name(key, name);
	r = key_meta_check(meta, err);
	if (r >= 0)
		r = key_meta_format(meta, &text, err);
	return r < 0 ? r : file_replace_at(dir_fd, name, 0600, text, strlen(text), err);
}

/* ---- who may ---------------------------------------------------------------------------------------------------- */

static bool is_in_group(const struct key_caller *caller, uint32_t gid)
{
	for (size_t i = 0; i < caller->n_groups; i++)
		if (caller->groups[i] == gid)
			return true;
	return caller->gid == gid;
}

bool key_rule_matches(const struct key_rule *rule, const struct key_caller *caller)
{
	/* Our own programs come through their own doors and have no other rights. */
	if ((rule->kind == RULE_PROGRAM) != (caller->program != NULL))
		return false;
	switch (rule->kind) {
	case RULE_PROGRAM:
		return strcmp(rule->text, caller->program) == 0;
	case RULE_UID:
		return rule->id == caller->uid;
	case RULE_GID:
		return is_in_group(caller, rule->id);
	case RULE_UNIT:
		return caller->unit[0] != '\0' && strcmp(rule->text, caller->unit) == 0;
	}
	return false;
}

const struct key_rule *key_meta_match(const struct key_meta *meta, const struct key_caller *caller, enum key_purpose purpose)
{
	if ((meta->purposes & purpose) == 0)
		return NULL;
	for (size_t i = 0; i < meta->n_rules; i++)
		if ((meta->rules[i].purposes & purpose) != 0 && key_rule_matches(&meta->rules[i], caller))
			return &meta->rules[i];
	return NULL;
}
