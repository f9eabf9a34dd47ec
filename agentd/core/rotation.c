/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/rotation.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include <agent/key.h>

#include "agentd/core/key_rights.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"

#define JOURNAL_MAX 1024
#define ROTATION_PATH_MAX 64

static const char *const state_names[] = {
	[ROTATION_NONE] = "none",     [ROTATION_MAKING] = "making-key", [ROTATION_WAITING] = "waiting-for-certificate",
	[ROTATION_PROVING] = "proving", [ROTATION_COMMIT] = "committing", [ROTATION_ABORT] = "aborting",
	[ROTATION_DONE] = "done",     [ROTATION_FAILED] = "failed",
};

/* Rows: from; bits: to. */
static const unsigned moves[] = {
	[ROTATION_NONE] = 1u << ROTATION_MAKING,
	[ROTATION_MAKING] = 1u << ROTATION_WAITING | 1u << ROTATION_PROVING | 1u << ROTATION_ABORT,
	[ROTATION_WAITING] = 1u << ROTATION_PROVING | 1u << ROTATION_ABORT,
	[ROTATION_PROVING] = 1u << ROTATION_COMMIT | 1u << ROTATION_ABORT,
	[ROTATION_COMMIT] = 1u << ROTATION_DONE,
	[ROTATION_ABORT] = 1u << ROTATION_FAILED,
	[ROTATION_DONE] = 1u << ROTATION_MAKING,
	[ROTATION_FAILED] = 1u << ROTATION_MAKING,
};

const char *rotation_state_name(enum rotation_state state)
{
	return state_names[state];
}

bool rotation_is_active(const struct rotation *rotation)
{
	return rotation->state >= ROTATION_MAKING && rotation->state <= ROTATION_ABORT;
}

bool rotation_may_move(enum rotation_state from, enum rotation_state to)
{
	return (moves[from] & 1u << to) != 0;
}

/* ---- journal ---------------------------------------------------------------------------------------------------- */

/* The rest of the line if it begins with @word and a space, cut out of *text; NULL else. */
static char *take_line(char **text, const char *word)
{
	char *line = *text, *end = strchr(line, '\n');
	size_t n = strlen(word);

	if (end == NULL || strncmp(line, word, n) != 0 || line[n] != ' ')
		return NULL;
	*end = '\0';
	*text = end + 1;
	return line + n + 1;
}

static bool parse_state(const char *text, enum rotation_state *ret_state)
{
	for (size_t i = ROTATION_MAKING; i < ARRAY_SIZE(state_names); i++) {
		if (strcmp(text, state_names[i]) == 0) {
			*ret_state = (enum rotation_state)i;
			return true;
		}
	}
	return false;
}

static bool parse(char *text, struct rotation *r)
{
	const char *version = take_line(&text, "version"), *key = take_line(&text, "key"), *type = take_line(&text, "type"),
		   *state = take_line(&text, "state"), *renewal = take_line(&text, "renewal"), *since = take_line(&text, "since"),
		   *reason = take_line(&text, "reason");
	char *end;

	if (version == NULL || key == NULL || type == NULL || state == NULL || renewal == NULL || since == NULL || reason == NULL ||
	    *text != '\0' || strcmp(version, "1") != 0 || strlen(key) > ROTATION_KEY_MAX || key[0] == '\0' || strchr(key, '/') != NULL ||
	    agent_key_type_parse(type, &r->type) < 0 || !parse_state(state, &r->state) || strlen(reason) > ROTATION_REASON_MAX)
		return false;
	r->is_renewal = strcmp(renewal, "yes") == 0;
	if (!r->is_renewal && strcmp(renewal, "no") != 0)
		return false;
	errno = 0;
	r->since_s = strtoull(since, &end, 10);
	if (*end != '\0' || since[0] < '0' || since[0] > '9' || errno != 0)
		return false;
	strcpy(r->key, key);
	strcpy(r->reason, reason);
	return true;
}

int rotation_load(int keys_fd, struct rotation *ret_rotation, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	_cleanup_free_ char *text = NULL;
	struct rotation rotation = { .state = ROTATION_NONE };
	size_t size;
	int r = file_read_at(keys_fd, ROTATION_FILE, JOURNAL_MAX, &text, &size, &e);

	if (r == -ENOENT) {
		*ret_rotation = rotation;
		return 0;
	}
	if (r < 0 && r != -EMSGSIZE)
		return agent_error_move(err, &e);
	if (r < 0 || strlen(text) != size || !parse(text, &rotation))
		return agent_error_set(err, -EBADMSG, "rotation.journal",
				       "keys/" ROTATION_FILE " is damaged; the keys in use are not affected, remove it to begin anew");
	*ret_rotation = rotation;
	return 0;
}

static int save(int keys_fd, const struct rotation *r, struct agent_error **err)
{
	char text[JOURNAL_MAX];
	int n = snprintf(text, sizeof(text), "version 1\nkey %s\ntype %s\nstate %s\nrenewal %s\nsince %" PRIu64 "\nreason %s\n", r->key,
			 agent_key_type_name(r->type), state_names[r->state], r->is_renewal ? "yes" : "no", r->since_s, r->reason);

	return file_replace_at(keys_fd, ROTATION_FILE, 0600, text, (size_t)n, err);
}

/* One line of printable ASCII, whatever it was: it comes from peers' errors. */
static void set_reason(struct rotation *rotation, const char *reason)
{
	snprintf(rotation->reason, sizeof(rotation->reason), "%s", reason);
	for (char *p = rotation->reason; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

int rotation_move(int keys_fd, struct rotation *rotation, enum rotation_state state, const char *reason, struct agent_error **err)
{
	struct rotation next = *rotation;
	time_t now = time(NULL);
	int r;

	if (!rotation_may_move(rotation->state, state))
		return agent_error_set(err, -EPROTO, "rotation.state", "a rotation that is '%s' cannot become '%s'", state_names[rotation->state],
				       state_names[state]);
	next.state = state;
	next.since_s = now > 0 ? (uint64_t)now : 0;
	set_reason(&next, reason);
	r = save(keys_fd, &next, err);
	if (r >= 0)
		*rotation = next;
	return r;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static const char *const parts[] = { ".pem", ".auth", ".meta", ".csr", ".crt" };

static void file_name(const char *key, const char *suffix, char ret_name[ROTATION_PATH_MAX])
{
	snprintf(ret_name, ROTATION_PATH_MAX, "%.40s%.16s", key, suffix);
}

int rotation_read(int keys_fd, const char *name, const char *suffix, char **ret_text, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	char path[ROTATION_PATH_MAX];
	size_t size;
	int r;

	file_name(name, suffix, path);
	*ret_text = NULL;
	r = file_read_at(keys_fd, path, ROTATION_CERT_MAX, ret_text, &size, &e);
	return r < 0 && r != -ENOENT ? agent_error_move(err, &e) : 0;
}

int rotation_write(int keys_fd, const char *name, const char *suffix, const char *text, struct agent_error **err)
{
	char path[ROTATION_PATH_MAX];

	file_name(name, suffix, path);
	return file_replace_at(keys_fd, path, 0600, text, strlen(text), err);
}

int rotation_id(const char *pem, char ret_id[65])
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	ret_id[0] = '\0';
	if (pem == NULL)
		return 0;
	if (EVP_Digest(pem, strlen(pem), digest, &n, EVP_sha256(), NULL) != 1 || n != 32)
		return -ENOMEM;
	hex_encode(digest, n, ret_id);
	return 0;
}

/* The new pair goes; the old one is not touched. */
static int remove_next(int keys_fd, const char *key, struct agent_error **err)
{
	char next[ROTATION_PATH_MAX], path[ROTATION_PATH_MAX], temp[ROTATION_PATH_MAX + 8];

	snprintf(next, sizeof(next), "%.32s" ROTATION_NEXT, key);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		file_name(next, parts[i], path);
		snprintf(temp, sizeof(temp), ".%s.tmp", path); /* of a file_replace_at() that was cut off */
		if ((unlinkat(keys_fd, path, 0) < 0 && errno != ENOENT) || (unlinkat(keys_fd, temp, 0) < 0 && errno != ENOENT))
			return agent_error_set(err, -errno, "rotation.file", "cannot remove %s: %s", path, strerror(errno));
	}
	return dir_sync(keys_fd, err);
}

int rotation_begin(int keys_fd, const char *key, enum agent_key_type type, bool is_renewal, struct rotation *ret_rotation, struct agent_error **err)
{
	struct rotation rotation;
	int r = rotation_load(keys_fd, &rotation, err);

	if (r < 0)
		return r;
	if (rotation_is_active(&rotation))
		return agent_error_set(err, -EBUSY, "rotation.active", "key %s is being rotated (%s): wait, or abort it", rotation.key,
				       state_names[rotation.state]);
	r = remove_next(keys_fd, key, err);
	if (r < 0)
		return r;
	rotation = (struct rotation){ .state = rotation.state, .type = type, .is_renewal = is_renewal };
	snprintf(rotation.key, sizeof(rotation.key), "%s", key);
	r = rotation_move(keys_fd, &rotation, ROTATION_MAKING, "", err);
	if (r >= 0)
		*ret_rotation = rotation;
	return r;
}

/* Rights that were given or taken since the new key was made count for it, too. */
static int carry_rights(int keys_fd, const char *key, const char *next, struct agent_error **err)
{
	struct key_meta now, new;
	_cleanup_error_ struct agent_error *e = NULL;
	int r = key_meta_read(keys_fd, next, &new, &e);

	if (r == -ENOENT) /* renamed already, before the power was cut */
		return 0;
	if (r < 0)
		return agent_error_move(err, &e);
	r = key_meta_read(keys_fd, key, &now, err);
	if (r < 0)
		return r;
	new.purposes = now.purposes;
	memcpy(new.rules, now.rules, sizeof(new.rules));
	new.n_rules = now.n_rules;
	return key_meta_write(keys_fd, next, &new, err);
}

/* Each of them can be done again: what is not there any more has its new name. */
static int put_in_place(int keys_fd, const char *key, struct agent_error **err)
{
	char next[ROTATION_PATH_MAX], from[ROTATION_PATH_MAX], to[ROTATION_PATH_MAX];
	int r;

	snprintf(next, sizeof(next), "%.32s" ROTATION_NEXT, key);
	r = carry_rights(keys_fd, key, next, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		file_name(next, parts[i], from);
		file_name(key, parts[i], to);
		if (strcmp(parts[i], ".csr") != 0 && renameat(keys_fd, from, keys_fd, to) < 0 && errno != ENOENT)
			return agent_error_set(err, -errno, "rotation.file", "cannot rename %s: %s", from, strerror(errno));
	}
	return remove_next(keys_fd, key, err); /* the request is left */
}

static int finish(int keys_fd, struct rotation *rotation, struct agent_error **err)
{
	bool is_commit = rotation->state == ROTATION_COMMIT;
	const struct rotation before = *rotation;
	int r = is_commit ? put_in_place(keys_fd, rotation->key, err) : remove_next(keys_fd, rotation->key, err);

	if (r < 0)
		return r;
	return rotation_move(keys_fd, rotation, is_commit ? ROTATION_DONE : ROTATION_FAILED, before.reason, err);
}

int rotation_commit(int keys_fd, struct rotation *rotation, struct agent_error **err)
{
	int r = rotation_move(keys_fd, rotation, ROTATION_COMMIT, "", err);

	return r < 0 ? r : finish(keys_fd, rotation, err);
}

int rotation_abort(int keys_fd, struct rotation *rotation, const char *reason, struct agent_error **err)
{
	int r = rotation_move(keys_fd, rotation, ROTATION_ABORT, reason, err);

	return r < 0 ? r : finish(keys_fd, rotation, err);
}

int rotation_recover(int keys_fd, struct rotation *ret_rotation, bool *ret_changed, struct agent_error **err)
{
	struct rotation rotation;
	bool is_changed = false;
	int r = rotation_load(keys_fd, &rotation, err);

	if (r >= 0 && rotation.state == ROTATION_MAKING) {
		is_changed = true;
		r = rotation_abort(keys_fd, &rotation, "interrupted while the new key was made; begin again", err);
	} else if (r >= 0 && (rotation.state == ROTATION_COMMIT || rotation.state == ROTATION_ABORT)) {
		is_changed = true;
		r = finish(keys_fd, &rotation, err);
	}
	if (r < 0)
		return r;
	*ret_rotation = rotation;
	*ret_changed = is_changed;
	return 0;
}
