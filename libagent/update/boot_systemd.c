/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "systemd-boot": boot counting by file names. The argument is the mounted ESP (or XBOOTLDR) folder; each slot has one entry
 * loader/entries/agent-SLOT[+LEFT[-DONE]].conf, which the vendor makes and whose kernel command line has agent.slot=SLOT.
 *
 *   agent-b.conf        no counter: boots          agent-b+2-1.conf    two boots left, one made
 *   agent-b+0-3.conf    tried, gave up             agent-b+0.conf      taken out of service by us
 *
 * Every change takes effect with one name. What an entry says besides (release, order) is replaced before, while it is
 * out of service, and is not believed as long as the name is "+0". Source: systemd-boot(7), Boot Loader Specification.
 *
 * A name without a counter is not enough to be good: systemd-bless-boot takes counters off by a loader variable that may be
 * stale and then blesses a slot that did not start. Good is what we confirmed from inside, "# agent-state good".
 */
#include "config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/macro.h"
#include "update/boot.h"
#include "update/lines.h"

#define ENTRIES_MAX 8	/* two, and what a damaged folder may hold besides */
#define NAME_SIZE 64
#define NO_COUNTER -1
#define SORT_KEY "agent"

struct entry {
	char name[NAME_SIZE], slot[SLOT_NAME_MAX + 1];
	int left, done;		/* left is NO_COUNTER without one */
	bool is_trial;		/* installed by us and not confirmed */
	bool has_sort_key;	/* and then a number as version: the higher one boots first */
	uint64_t order, security_version;
	char release[MANIFEST_TEXT_MAX + 1], version[MANIFEST_TEXT_MAX + 1];
	char *text;
	mode_t mode;
};

struct entries {
	struct entry items[ENTRIES_MAX];
	size_t n;
	int dir_fd;
};

static void entries_clear(struct entries *entries)
{
	for (size_t i = 0; i < entries->n; i++)
		free(entries->items[i].text);
	close_fdp(&entries->dir_fd);
}
#define _cleanup_entries_ _cleanup_(entries_clear)

static int number_cut(const char **text, int *ret_number)
{
	if (!isdigit((unsigned char)(*text)[0]) || isdigit((unsigned char)(*text)[1]))
		return -EBADMSG;
	*ret_number = (*text)[0] - '0';
	(*text)++;
	return 0;
}

/* 1, 0 if the name is not one of ours, -EBADMSG. */
static int name_parse(const char *name, struct entry *ret_entry)
{
	const char *p = name + strlen("agent-");
	size_t n;

	if (strncmp(name, "agent-", 6) != 0 || strlen(name) < 6 + 5 || strcmp(name + strlen(name) - 5, ".conf") != 0)
		return 0;
	n = strcspn(p, "+.");
	if (n > SLOT_NAME_MAX || strlen(name) >= NAME_SIZE)
		return -EBADMSG;
	*ret_entry = (struct entry){ .left = NO_COUNTER };
	strcpy(ret_entry->name, name);
	memcpy(ret_entry->slot, p, n);
	p += n;
	if (slot_name_check(ret_entry->slot) < 0)
		return -EBADMSG;
	if (*p == '+') {
		p++;
		if (number_cut(&p, &ret_entry->left) < 0 || (*p == '-' && (p++, number_cut(&p, &ret_entry->done) < 0)))
			return -EBADMSG;
	}
	return strcmp(p, ".conf") == 0 ? 1 : -EBADMSG;
}

/* "key value" as in the Boot Loader Specification. The value, or NULL if the line has another key. */
static const char *line_value(const char *line, const char *key)
{
	size_t n = strlen(key);

	if (strncmp(line, key, n) != 0 || (line[n] != ' ' && line[n] != '\t'))
		return NULL;
	return line + n + strspn(line + n, " \t");
}

static int text_parse(struct entry *e)
{
	_cleanup_free_ char *copy = strdup(e->text);
	bool has_order = false, is_foreign = false;
	char *cursor = copy, *line;
	const char *value;
	int r = copy == NULL ? -ENOMEM : 0;

	while (r == 0 && (line = strsep(&cursor, "\n")) != NULL) {
		if ((value = line_value(line, "sort-key")) != NULL) {
			e->has_sort_key = strcmp(value, SORT_KEY) == 0;
			is_foreign = !e->has_sort_key;
		} else if ((value = line_value(line, "version")) != NULL) {
			has_order = lines_get_u64(value, INT64_MAX - 1, &e->order) == 0;
		} else if ((value = line_value(line, "# agent-state")) != NULL) {
			e->is_trial = strcmp(value, "trial") == 0;
			if (!e->is_trial && strcmp(value, "good") != 0)
				r = -EBADMSG;
		} else if ((value = line_value(line, "# agent-release")) != NULL) {
			r = lines_get_name(value, e->release, sizeof(e->release));
		} else if ((value = line_value(line, "# agent-version")) != NULL) {
			r = lines_get_name(value, e->version, sizeof(e->version));
		} else if ((value = line_value(line, "# agent-security-version")) != NULL) {
			r = lines_get_u64(value, INT64_MAX, &e->security_version);
		}
	}
	/* We could not tell which entry comes first. */
	return r == 0 && (is_foreign || (e->has_sort_key && !has_order)) ? -EBADMSG : r;
}

/* Which entry systemd-boot takes: negative if @a. Source: config_entry_compare() of systemd 252, as far as it matters here. */
static int compare(const struct entry *a, const struct entry *b)
{
	if ((a->left == 0) != (b->left == 0))
		return a->left == 0 ? 1 : -1;
	if (a->has_sort_key != b->has_sort_key)
		return a->has_sort_key ? -1 : 1;
	if (a->has_sort_key && a->order != b->order)
		return a->order > b->order ? -1 : 1;
	if (strcmp(a->slot, b->slot) != 0)
		return -strverscmp(a->slot, b->slot);
	if (a->left == NO_COUNTER || b->left == NO_COUNTER)
		return b->left == NO_COUNTER ? 1 : -1;
	return a->left > b->left ? -1 : 1;
}

/* The entry of @slot that counts: of two names left by a file system without a journal, the one the loader takes. */
static struct entry *entry_find(struct entries *entries, const char *slot)
{
	struct entry *found = NULL;

	for (size_t i = 0; i < entries->n; i++) {
		struct entry *e = &entries->items[i];

		if (strcmp(e->slot, slot) == 0 && (found == NULL || compare(e, found) < 0))
			found = e;
	}
	return found;
}

static int entry_read(struct entries *entries, struct entry *e, struct agent_error **err)
{
	struct stat st;
	size_t size = 0;
	int r = file_read_at(entries->dir_fd, e->name, LINES_FILE_MAX, &e->text, &size, NULL);

	if (r < 0)
		return agent_error_set(err, r, "boot.read", "cannot read the boot entry %s: %s", e->name, strerror(-r));
	if (fstatat(entries->dir_fd, e->name, &st, 0) == 0)
		e->mode = st.st_mode & 07777;
	entries->items[entries->n++] = *e;
	r = strlen(e->text) == size ? text_parse(&entries->items[entries->n - 1]) : -EBADMSG;
	return r < 0 ? agent_error_set(err, r, "boot.format", "boot entry %s: a line of the agent is not valid, or there is a sort-key other than \"%s\" with a number as version",
				       e->name, SORT_KEY) : 0;
}

/* A default of the vendor would come before the order of the entries. */
static int loader_conf_check(const char *config, struct agent_error **err)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	char *cursor, *line;
	const char *value;
	int r;

	if (asprintf(&path, "%s/loader/loader.conf", config) < 0) {
		path = NULL;
		return agent_error_set(err, -ENOMEM, "boot.read", "no memory to read loader.conf");
	}
	r = file_read_at(AT_FDCWD, path, LINES_FILE_MAX, &text, NULL, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return agent_error_set(err, r, "boot.read", "cannot read %s: %s", path, strerror(-r));
	cursor = text;
	while ((line = strsep(&cursor, "\n")) != NULL)
		if ((value = line_value(line, "default")) != NULL && strcmp(value, "agent-*") != 0 && strcmp(value, "agent-*.conf") != 0)
			return agent_error_set(err, -EINVAL, "boot.config", "%s has \"default %s\", so that the order of the slots does not count; take it out", path, value);
	return 0;
}

static int entries_read(const char *config, struct entries *entries, struct agent_error **err)
{
	_cleanup_free_ char *path = NULL;
	const struct dirent *item;
	DIR *dir;
	int r;

	if (asprintf(&path, "%s/loader/entries", config) < 0) {
		path = NULL;
		return agent_error_set(err, -ENOMEM, "boot.read", "no memory to read the boot entries");
	}
	r = loader_conf_check(config, err);
	if (r < 0)
		return r;
	dir = opendir(path);
	if (dir == NULL)
		return agent_error_set(err, errno == ENOENT ? -EINVAL : -errno, "boot.config", "cannot open the boot entries in %s: %s", path, strerror(errno));
	entries->dir_fd = fcntl(dirfd(dir), F_DUPFD_CLOEXEC, 3);
	while (r == 0 && (item = readdir(dir)) != NULL) {
		struct entry e;
		int is_ours = name_parse(item->d_name, &e);

		if (is_ours < 0)
			r = agent_error_set(err, -EBADMSG, "boot.format", "%s is no name of a boot entry: agent-SLOT[+LEFT[-DONE]].conf", item->d_name);
		else if (is_ours > 0 && entries->n == ENTRIES_MAX)
			r = agent_error_set(err, -EBADMSG, "boot.format", "more than %d boot entries agent-* in %s", ENTRIES_MAX, path);
		else if (is_ours > 0)
			r = entry_read(entries, &e, err);
	}
	closedir(dir);
	if (r == 0 && entries->n == 0)
		r = agent_error_set(err, -EINVAL, "boot.config", "there are no boot entries agent-SLOT.conf in %s", path);
	return r;
}

static int state_get(struct entries *entries, struct boot_state *ret_state, struct agent_error **err)
{
	struct boot_state state = { 0 };
	const struct entry *first = NULL;

	for (size_t i = 0; i < entries->n; i++) {
		const struct entry *e = entry_find(entries, entries->items[i].slot);
		struct boot_slot *slot = boot_state_slot(&state, e->slot);

		if (slot == NULL)
			return agent_error_set(err, -EBADMSG, "boot.format", "boot entry %s is for a third slot", e->name);
		if (first == NULL || compare(e, first) < 0)
			first = e;
		slot->is_good = e->left == NO_COUNTER && !e->is_trial;
		slot->is_stray = e->left == NO_COUNTER && e->is_trial;
		slot->n_tries_left = e->left > 0 ? (unsigned)e->left : 0;
		if (e->left == 0 && e->done == 0)
			continue;
		slot->security_version = e->security_version;
		strcpy(slot->release, e->release);
		strcpy(slot->version, e->version);
	}
	strcpy(state.primary, first->slot);
	*ret_state = state;
	return 0;
}

static int systemd_load(const char *config, struct boot_state *ret_state, struct agent_error **err)
{
	_cleanup_entries_ struct entries entries = { .dir_fd = -1 };
	int r = entries_read(config, &entries, err);

	return r < 0 ? r : state_get(&entries, ret_state, err);
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

/* The vendor's lines, then ours. */
static int text_write(const struct entries *entries, const struct entry *e, const struct boot_slot *slot, uint64_t order, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *text = NULL;
	const char *line = e->text, *next;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int r;

	if (out == NULL)
		return agent_error_set(err, -ENOMEM, "boot.write", "no memory for the boot entry %s", e->name);
	for (; *line != '\0'; line = next) {
		next = strchrnul(line, '\n');
		if (strncmp(line, "# agent-", 8) != 0 && line_value(line, "sort-key") == NULL && line_value(line, "version") == NULL)
			fprintf(out, "%.*s\n", (int)(next - line), line);
		next += *next == '\n';
	}
	fprintf(out, "sort-key %s\nversion %" PRIu64 "\n# agent-state %s\n# agent-release %s\n# agent-version %s\n# agent-security-version %" PRIu64 "\n",
		SORT_KEY, order, slot->is_good ? "good" : "trial", slot->release, slot->version, slot->security_version);
	if (fclose(out) != 0)
		return agent_error_set(err, -ENOMEM, "boot.write", "no memory for the boot entry %s", e->name);
	if (strcmp(text, e->text) == 0)
		return 0;
	/* The mode as it is: on vfat it comes from the mount, and another one is refused. */
	r = file_replace_at(entries->dir_fd, e->name, e->mode, text, size, &why);
	return r < 0 ? agent_error_set(err, r, "boot.write", "boot entry: %s", agent_error_message(why)) : 0;
}

/* By a copy and not by a rename: vfat may lose both names of a renamed file in a power cut, and the vendor's lines with them. */
static int entry_rename(const struct entries *entries, const struct entry *e, int left, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *text = NULL;
	char name[NAME_SIZE], counter[8] = "";
	size_t size = 0;
	int r;

	if (left != NO_COUNTER)
		snprintf(counter, sizeof(counter), "+%d", left);
	snprintf(name, sizeof(name), "agent-%s%s.conf", e->slot, counter);
	if (strcmp(name, e->name) == 0)
		return 0;
	r = file_read_at(entries->dir_fd, e->name, LINES_FILE_MAX, &text, &size, &why);
	if (r == 0)
		r = file_replace_at(entries->dir_fd, name, e->mode, text, size, &why);
	if (r < 0)
		return agent_error_set(err, r, "boot.write", "cannot rename the boot entry %s to %s: %s", e->name, name, agent_error_message(why));
	if (unlinkat(entries->dir_fd, e->name, 0) < 0)
		return agent_error_set(err, -errno, "boot.write", "cannot remove the boot entry %s, now %s: %s", e->name, name, strerror(errno));
	r = dir_sync(entries->dir_fd, &why);
	return r < 0 ? agent_error_set(err, r, "boot.write", "boot entry %s: %s", name, agent_error_message(why)) : 0;
}

/* Second names of a slot, which do not count, must not begin to. */
static int doubles_remove(struct entries *entries, struct agent_error **err)
{
	for (size_t i = 0; i < entries->n; i++) {
		const struct entry *e = &entries->items[i];

		if (e != entry_find(entries, e->slot) && unlinkat(entries->dir_fd, e->name, 0) < 0)
			return agent_error_set(err, -errno, "boot.write", "cannot remove the double boot entry %s: %s", e->name, strerror(errno));
	}
	return 0;
}

static int left_of(const struct boot_slot *slot)
{
	return slot->is_good ? NO_COUNTER : (int)slot->n_tries_left;
}

/* Will the primary slot come first under the names that are to be? Else it must get a higher number. */
static bool is_first(struct entries *entries, const struct boot_state *state)
{
	struct entry planned[BOOT_SLOTS_MAX];
	const struct entry *first = NULL;

	for (size_t i = 0; i < state->n_slots; i++) {
		planned[i] = *entry_find(entries, state->slots[i].name);
		planned[i].left = left_of(&state->slots[i]);
		if (first == NULL || compare(&planned[i], first) < 0)
			first = &planned[i];
	}
	return strcmp(first->slot, state->primary) == 0;
}

static int contents_write(struct entries *entries, const struct boot_state *state, struct agent_error **err)
{
	uint64_t highest = 0;
	int r = 0;

	for (size_t i = 0; i < entries->n; i++)
		if (entries->items[i].order > highest)
			highest = entries->items[i].order;
	for (size_t i = 0; i < state->n_slots && r == 0; i++) {
		const struct boot_slot *slot = &state->slots[i];
		const struct entry *e = entry_find(entries, slot->name);
		bool is_raised = strcmp(slot->name, state->primary) == 0 && !is_first(entries, state);

		/* One that goes out of service, or stays as the vendor made it, needs no other words. */
		if (!boot_slot_is_bootable(slot) || (!is_raised && !e->has_sort_key && slot->is_good && !e->is_trial))
			continue;
		r = text_write(entries, e, slot, is_raised ? highest + 1 : e->order, err);
	}
	return r;
}

static int names_write(struct entries *entries, const struct boot_state *state, bool bootable, struct agent_error **err)
{
	int r = 0;

	for (size_t i = 0; i < state->n_slots && r == 0; i++) {
		const struct boot_slot *slot = &state->slots[i];
		const struct entry *e = entry_find(entries, slot->name);
		int left = left_of(slot);

		if (boot_slot_is_bootable(slot) != bootable || (left > 0 && left == e->left))
			continue;
		r = entry_rename(entries, e, left, err);
	}
	return r;
}

/* What a slot out of service held is not kept. */
static void forget_disabled(struct boot_state *state)
{
	for (size_t i = 0; i < state->n_slots; i++) {
		struct boot_slot *slot = &state->slots[i];

		if (boot_slot_is_bootable(slot))
			continue;
		slot->security_version = 0;
		slot->release[0] = slot->version[0] = '\0';
	}
}

/* vfat may lose an entry in a power cut. What has none does not boot, so it is out of service already. */
static struct boot_state without_lost(struct entries *entries, const struct boot_state *state)
{
	struct boot_state kept = *state;

	kept.n_slots = 0;
	for (size_t i = 0; i < state->n_slots; i++)
		if (boot_slot_is_bootable(&state->slots[i]) || entry_find(entries, state->slots[i].name) != NULL)
			kept.slots[kept.n_slots++] = state->slots[i];
	return kept;
}

static int systemd_store(const char *config, const struct boot_state *all, struct agent_error **err)
{
	_cleanup_entries_ struct entries entries = { .dir_fd = -1 };
	int r = entries_read(config, &entries, err);
	const struct boot_state kept = without_lost(&entries, all), *state = &kept;
	struct boot_state now = { 0 }, wanted = kept;

	for (size_t i = 0; i < state->n_slots && r == 0; i++)
		if (entry_find(&entries, state->slots[i].name) == NULL)
			r = agent_error_set(err, -EINVAL, "boot.config", "there is no boot entry agent-%s.conf in %s/loader/entries", state->slots[i].name, config);
	if (r == 0 && entry_find(&entries, state->primary) == NULL)
		r = agent_error_set(err, -EINVAL, "boot.config", "there is no boot entry for slot %s", state->primary);
	if (r == 0)
		r = doubles_remove(&entries, err);
	if (r == 0)
		r = contents_write(&entries, state, err);
	/* Into service first: at no moment is there nothing to boot. */
	if (r == 0)
		r = names_write(&entries, state, true, err);
	if (r == 0)
		r = names_write(&entries, state, false, err);
	if (r == 0)
		r = systemd_load(config, &now, err);
	if (r < 0)
		return r;
	forget_disabled(&now);
	forget_disabled(&wanted);
	return boot_state_is_equal(&now, &wanted) ? 0 : agent_error_set(err, -EIO, "boot.write", "the boot entries in %s do not hold what was written", config);
}

static int systemd_paths(const char *config, agent_update_path_fn fn, void *userdata, struct agent_error **err)
{
	const struct {
		const char *below;
		unsigned access;
	} rows[] = { { "loader/loader.conf", AGENT_UPDATE_PATH_READ }, { "loader/entries", AGENT_UPDATE_PATH_READ | AGENT_UPDATE_PATH_WRITE } };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows) && r >= 0; i++) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s/%s", config, rows[i].below) < 0) {
			path = NULL;
			return agent_error_set(err, -ENOMEM, "boot.read", "no memory for the path of the boot entries");
		}
		r = fn(userdata, path, rows[i].access, err);
	}
	return r;
}

const struct boot_backend boot_systemd = { .name = "systemd-boot", .needs_entry = true, .load = systemd_load, .store = systemd_store, .paths = systemd_paths };
