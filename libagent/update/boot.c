/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"
#include "update/lines.h"

static const struct boot_backend *const boot_backends[] = {
	&boot_efi, &boot_file, &boot_grub, &boot_script, &boot_systemd,
#if defined(HAVE_UBOOTENV)
	&boot_uboot,
#endif
};

const struct boot_backend *boot_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(boot_backends); i++)
		if (strcmp(boot_backends[i]->name, name) == 0)
			return boot_backends[i];
	return NULL;
}

static const struct boot_slot *slot_find(const struct boot_state *state, const char *name)
{
	for (size_t i = 0; i < state->n_slots; i++)
		if (strcmp(state->slots[i].name, name) == 0)
			return &state->slots[i];
	return NULL;
}

struct boot_slot *boot_state_slot(struct boot_state *state, const char *name)
{
	struct boot_slot *slot = (struct boot_slot *)slot_find(state, name);

	if (slot != NULL)
		return slot;
	if (state->n_slots == BOOT_SLOTS_MAX)
		return NULL;
	slot = &state->slots[state->n_slots++];
	*slot = (struct boot_slot){ 0 };
	memcpy(slot->name, name, strlen(name) + 1);
	return slot;
}

bool boot_slot_is_bootable(const struct boot_slot *slot)
{
	return slot->is_good || slot->n_tries_left > 0;
}

bool boot_state_is_equal(const struct boot_state *a, const struct boot_state *b)
{
	if (a->n_slots != b->n_slots || strcmp(a->primary, b->primary) != 0)
		return false;
	for (size_t i = 0; i < a->n_slots; i++) {
		const struct boot_slot *x = &a->slots[i], *y = slot_find(b, x->name);

		if (y == NULL || x->is_good != y->is_good || x->n_tries_left != y->n_tries_left || x->security_version != y->security_version ||
		    strcmp(x->release, y->release) != 0 || strcmp(x->version, y->version) != 0)
			return false;
	}
	return true;
}

int boot_paths_folder(const char *config, agent_update_path_fn fn, void *userdata, struct agent_error **err)
{
	const char *slash = strrchr(config, '/');
	_cleanup_free_ char *folder = NULL;

	if (slash == NULL)
		return 0; /* relative: of use in tests only */
	folder = strndup(config, slash == config ? 1 : (size_t)(slash - config));
	if (folder == NULL)
		return agent_error_set(err, -ENOMEM, "boot.read", "no memory for the folder of %s", config);
	return fn(userdata, folder, AGENT_UPDATE_PATH_READ | AGENT_UPDATE_PATH_WRITE, err);
}

int agent_update_boot_paths(const char *boot_backend, const char *boot_config, agent_update_path_fn fn, void *userdata, struct agent_error **err)
{
	const struct boot_backend *backend = boot_backend == NULL ? NULL : boot_find(boot_backend);

	if (backend == NULL)
		return agent_error_set(err, -EINVAL, "boot.backend", "there is no boot backend \"%s\"", boot_backend == NULL ? "" : boot_backend);
	if (boot_config == NULL || fn == NULL)
		return agent_error_set(err, -EINVAL, "boot.config", "a boot backend needs a path");
	return backend->paths(boot_config, fn, userdata, err);
}

/* ---- variables ---------------------------------------------------------------------------------------------------- */

void boot_variable_name(const struct boot_variable *variable, const char *slot, char ret_name[BOOT_VARIABLE_MAX])
{
	snprintf(ret_name, BOOT_VARIABLE_MAX, "%s%s%s", variable->prefix, slot, variable->suffix);
}

int boot_value_parse(struct boot_slot *slot, const struct boot_variable *variable, const char *text)
{
	uint64_t number = 0;
	int r = 0;

	if (text == NULL)
		return 0;
	switch (variable->value) {
	case BOOT_GOOD:
		r = lines_get_u64(text, 1, &number);
		slot->is_good = number == 1;
		break;
	case BOOT_TRIES:
		r = lines_get_u64(text, BOOT_TRIES_MAX, &number);
		slot->n_tries_left = (unsigned)number;
		break;
	case BOOT_SECURITY_VERSION:
		return lines_get_u64(text, INT64_MAX, &slot->security_version);
	case BOOT_RELEASE:
		return lines_get_name(text, slot->release, sizeof(slot->release));
	case BOOT_VERSION:
		return lines_get_name(text, slot->version, sizeof(slot->version));
	}
	return r;
}

void boot_value_print(const struct boot_slot *slot, const struct boot_variable *variable, char ret_text[BOOT_VALUE_MAX])
{
	switch (variable->value) {
	case BOOT_GOOD:
		snprintf(ret_text, BOOT_VALUE_MAX, "%d", slot->is_good);
		break;
	case BOOT_TRIES:
		snprintf(ret_text, BOOT_VALUE_MAX, "%u", slot->n_tries_left);
		break;
	case BOOT_SECURITY_VERSION:
		snprintf(ret_text, BOOT_VALUE_MAX, "%" PRIu64, slot->security_version);
		break;
	case BOOT_RELEASE:
		snprintf(ret_text, BOOT_VALUE_MAX, "%s", slot->release);
		break;
	case BOOT_VERSION:
		snprintf(ret_text, BOOT_VALUE_MAX, "%s", slot->version);
		break;
	}
}

int boot_order_parse(const char *text, struct boot_state *ret_state)
{
	struct boot_state state = { 0 };
	char words[BOOT_VALUE_MAX], *cursor = words, *word;

	if (strlen(text) >= sizeof(words))
		return -EBADMSG;
	strcpy(words, text);
	while ((word = strsep(&cursor, " ")) != NULL) {
		if (word[0] == '\0')
			continue;
		if (slot_name_check(word) < 0 || strchr(word, '-') != NULL || slot_find(&state, word) != NULL || boot_state_slot(&state, word) == NULL)
			return -EBADMSG;
	}
	if (state.n_slots == 0)
		return -EBADMSG;
	strcpy(state.primary, state.slots[0].name);
	*ret_state = state;
	return 0;
}

void boot_order_print(const struct boot_state *state, char ret_text[BOOT_VALUE_MAX])
{
	int n = snprintf(ret_text, BOOT_VALUE_MAX, "%s", state->primary);

	for (size_t i = 0; i < state->n_slots; i++)
		if (strcmp(state->slots[i].name, state->primary) != 0)
			n += snprintf(ret_text + n, BOOT_VALUE_MAX - (size_t)n, " %s", state->slots[i].name);
}

int boot_names_check(const struct boot_state *state, struct agent_error **err)
{
	for (size_t i = 0; i < state->n_slots; i++)
		if (strchr(state->slots[i].name, '-') != NULL)
			return agent_error_set(err, -EINVAL, "boot.config", "slot name %s: this boot backend cannot have a '-' in it", state->slots[i].name);
	return 0;
}
