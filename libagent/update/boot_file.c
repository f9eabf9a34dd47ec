/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "file": the environment is a text file that the (pretend) boot loader reads and writes as well, for containers, tests
 * and boot loaders driven by a script. The format is in docs/design/update.md.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/macro.h"
#include "update/boot.h"
#include "update/lines.h"

#define ENV_PREFIX "env."

static int slot_key_parse(struct boot_state *state, const char *key, const char *value)
{
	const char *dot = strchr(key, '.');
	char name[SLOT_NAME_MAX + 1];
	struct boot_slot *slot;
	uint64_t number = 0;
	int r;

	if (dot == NULL || (size_t)(dot - key) > SLOT_NAME_MAX)
		return -EBADMSG;
	memcpy(name, key, (size_t)(dot - key));
	name[dot - key] = '\0';
	if (slot_name_check(name) < 0)
		return -EBADMSG;
	slot = boot_state_slot(state, name);
	if (slot == NULL)
		return -EBADMSG;
	if (strcmp(dot, ".release") == 0)
		return lines_get_name(value, slot->release, sizeof(slot->release));
	if (strcmp(dot, ".version") == 0)
		return lines_get_name(value, slot->version, sizeof(slot->version));
	if (strcmp(dot, ".security_version") == 0)
		return lines_get_u64(value, INT64_MAX, &slot->security_version);
	if (strcmp(dot, ".good") == 0) {
		r = lines_get_u64(value, 1, &number);
		slot->is_good = number == 1;
		return r;
	}
	if (strcmp(dot, ".tries_left") == 0) {
		r = lines_get_u64(value, BOOT_TRIES_MAX, &number);
		slot->n_tries_left = (unsigned)number;
		return r;
	}
	return -EBADMSG;
}

int boot_text_parse(char *text, const char *what, struct boot_state *ret_state, struct agent_error **err)
{
	struct boot_state state = { 0 };
	char *cursor = text, *key, *value;
	int r;

	while ((r = lines_next(&cursor, &key, &value)) > 0) {
		if (strcmp(key, "primary") == 0)
			r = lines_get_name(value, state.primary, sizeof(state.primary));
		else if (strcmp(key, "booted") == 0)
			r = lines_get_name(value, state.booted, sizeof(state.booted));
		else if (strncmp(key, "slot.", 5) == 0)
			r = slot_key_parse(&state, key + 5, value);
		else if (strncmp(key, ENV_PREFIX, strlen(ENV_PREFIX)) == 0)
			r = 0; /* of a bundle: for the boot loader, not for us */
		else
			r = -EBADMSG; /* a misspelt key must not pass for an absent one */
		if (r < 0)
			return agent_error_set(err, r, "boot.format", "%s: key %s or its value is not known", what, key);
	}
	if (r < 0)
		return agent_error_set(err, r, "boot.format", "%s: a line is not key=value", what);
	if (state.primary[0] == '\0')
		return agent_error_set(err, -EBADMSG, "boot.format", "%s has no primary", what);
	if (slot_name_check(state.primary) < 0 || (state.booted[0] != '\0' && slot_name_check(state.booted) < 0))
		return agent_error_set(err, -EBADMSG, "boot.format", "%s: primary or booted is no name of a slot", what);
	*ret_state = state;
	return 0;
}

int boot_text_print(const struct boot_state *state, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	FILE *out = open_memstream(ret_text, ret_size);

	if (out == NULL)
		return agent_error_set(err, -ENOMEM, "boot.write", "no memory for the boot environment");
	fprintf(out, "primary=%s\nbooted=%s\n", state->primary, state->booted);
	for (size_t i = 0; i < state->n_slots; i++) {
		const struct boot_slot *s = &state->slots[i];

		fprintf(out, "slot.%s.good=%d\nslot.%s.tries_left=%u\nslot.%s.security_version=%" PRIu64 "\nslot.%s.release=%s\nslot.%s.version=%s\n",
			s->name, s->is_good, s->name, s->n_tries_left, s->name, s->security_version, s->name, s->release, s->name, s->version);
	}
	return fclose(out) != 0 ? agent_error_set(err, -ENOMEM, "boot.write", "no memory for the boot environment") : 0;
}

static int file_load(const char *config, struct boot_state *ret_state, struct agent_error **err)
{
	_cleanup_free_ char *data = NULL;
	char what[300];
	size_t size = 0;
	int r;

	r = file_read_at(AT_FDCWD, config, LINES_FILE_MAX, &data, &size, NULL);
	if (r == -ENOENT)
		return agent_error_set(err, r, "boot.missing", "there is no boot environment %s", config);
	if (r < 0)
		return agent_error_set(err, r, "boot.read", "cannot read the boot environment %s: %s", config, strerror(-r));
	if (strlen(data) != size)
		return agent_error_set(err, -EBADMSG, "boot.format", "boot environment %s holds a NUL byte", config);
	snprintf(what, sizeof(what), "boot environment %s", config);
	return boot_text_parse(data, what, ret_state, err);
}

static bool is_set_by(const struct boot_state *state, const char *name, size_t n)
{
	for (size_t i = 0; i < state->n_env; i++)
		if (strlen(state->env[i].name) == n && memcmp(state->env[i].name, name, n) == 0)
			return true;
	return false;
}

/* The variables of bundles: those that are there, with those of @state in their place. Lines as they go into the file. */
static int env_print(const char *config, const struct boot_state *state, FILE *out)
{
	_cleanup_free_ char *old = NULL;
	char *cursor, *line;
	int r = file_read_at(AT_FDCWD, config, LINES_FILE_MAX, &old, NULL, NULL);

	if (r < 0 && r != -ENOENT)
		return r;
	cursor = old;
	while ((line = strsep(&cursor, "\n")) != NULL)
		if (strncmp(line, ENV_PREFIX, strlen(ENV_PREFIX)) == 0 &&
		    !is_set_by(state, line + strlen(ENV_PREFIX), strcspn(line + strlen(ENV_PREFIX), "=")))
			fprintf(out, "%s\n", line);
	for (size_t i = 0; i < state->n_env; i++)
		if (state->env[i].value[0] != '\0')
			fprintf(out, ENV_PREFIX "%s=%s\n", state->env[i].name, state->env[i].value);
	return 0;
}

static int file_store(const char *config, const struct boot_state *state, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *slots = NULL, *text = NULL;
	size_t size = 0, n_slots = 0;
	FILE *out;
	int r = boot_text_print(state, &slots, &n_slots, err);

	if (r < 0)
		return r;
	out = open_memstream(&text, &size);
	if (out == NULL)
		return agent_error_set(err, -ENOMEM, "boot.write", "no memory for the boot environment");
	fwrite(slots, 1, n_slots, out);
	r = env_print(config, state, out);
	if (fclose(out) != 0)
		return agent_error_set(err, -ENOMEM, "boot.write", "no memory for the boot environment");
	if (r < 0)
		return agent_error_set(err, r, "boot.write", "cannot read the boot environment %s: %s", config, strerror(-r));
	if (size > LINES_FILE_MAX)
		return agent_error_set(err, -ENOSPC, "boot.write", "boot environment %s would have %zu bytes, %d is the limit", config, size, LINES_FILE_MAX);
	r = file_replace_at(AT_FDCWD, config, 0644, text, size, &why);
	return r < 0 ? agent_error_set(err, r, "boot.write", "boot environment %s: %s", config, agent_error_message(why)) : 0;
}

const struct boot_backend boot_file = { .name = "file", .env_value_max = 255, .load = file_load, .store = file_store, .paths = boot_paths_folder };
