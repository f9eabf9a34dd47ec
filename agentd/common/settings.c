/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/settings.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <libconfig.h>

#include "agentd/common/address.h"
#include "agentd/common/paths.h"
#include "agentd/common/settings_check.h"
#include "base/file.h"
#include "base/macro.h"

#define FILE_MAX_BYTES (256 * KIB) /* a full file has 8 KiB */
#define DROP_INS_MAX 64
#define TEXT_MAX 1024
#define ITEMS_MAX 64
#define RUN_DIR_MAX 88 /* sun_path has 108 bytes, the longest socket name 15 */

enum setting_type { TYPE_STR, TYPE_INT, TYPE_BOOL, TYPE_STRS, TYPE_SLOTS };

struct row {
	const char *group, *name;
	enum setting_type type;
	size_t offset;
	const char *text; /* default of TYPE_STR */
	int64_t number;	  /* default of TYPE_INT and TYPE_BOOL */
	int64_t min, max;
	const char *meaning;
};

#define CFG_STR(g, n, def, mean) { #g, #n, TYPE_STR, offsetof(struct settings, g.n), def, 0, 0, 0, mean },
#define CFG_INT(g, n, def, lo, hi, mean) { #g, #n, TYPE_INT, offsetof(struct settings, g.n), NULL, def, lo, hi, mean },
#define CFG_BOOL(g, n, def, mean) { #g, #n, TYPE_BOOL, offsetof(struct settings, g.n), NULL, def, 0, 1, mean },
#define CFG_STRS(g, n, mean) { #g, #n, TYPE_STRS, offsetof(struct settings, g.n), NULL, 0, 0, 0, mean },
#define CFG_SLOTS(g, n, mean) { #g, #n, TYPE_SLOTS, offsetof(struct settings, g.n), NULL, 0, 0, 0, mean },
static const struct row rows[] = {
#include "agentd/common/config.def"
};
#undef CFG_STR
#undef CFG_INT
#undef CFG_BOOL
#undef CFG_STRS
#undef CFG_SLOTS

/* The members of struct settings are written by hand: each must have the type of its row, each default its range. */
#define IS_TYPE(g, n, t) __builtin_types_compatible_p(__typeof__(((struct settings *)0)->g.n), t)
#define CFG_STR(g, n, def, mean) _Static_assert(IS_TYPE(g, n, char *), #g "." #n);
#define CFG_INT(g, n, def, lo, hi, mean) _Static_assert(IS_TYPE(g, n, int64_t) && def >= lo && def <= hi, #g "." #n);
#define CFG_BOOL(g, n, def, mean) _Static_assert(IS_TYPE(g, n, bool), #g "." #n);
#define CFG_STRS(g, n, mean) _Static_assert(IS_TYPE(g, n, char **), #g "." #n);
#define CFG_SLOTS(g, n, mean) _Static_assert(IS_TYPE(g, n, struct slot_settings), #g "." #n);
#include "agentd/common/config.def"
#undef CFG_STR
#undef CFG_INT
#undef CFG_BOOL
#undef CFG_STRS
#undef CFG_SLOTS

/* Where an error is: every sentence begins with it. */
struct place {
	const char *file;
	unsigned line;
	const char *text; /* the whole file */
};

DEFINE_CLEANUP(struct settings *, settings_free)

static void *member(const struct settings *settings, const struct row *row)
{
	return (char *)settings + row->offset;
}

static int no_memory(struct agent_error **err)
{
	return agent_error_set(err, -ENOMEM, "config.memory", "no memory for the settings");
}

static void strs_free(char **strs)
{
	if (strs != NULL)
		for (size_t i = 0; strs[i] != NULL; i++)
			free(strs[i]);
	free(strs);
}

static void slots_free(struct slot_settings *slots)
{
	for (size_t i = 0; i < slots->n; i++) {
		free(slots->items[i].slot_class);
		free(slots->items[i].name);
		free(slots->items[i].path);
	}
	free(slots->items);
	*slots = (struct slot_settings){ 0 };
}

struct settings *settings_free(struct settings *settings)
{
	if (settings == NULL)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		void *value = member(settings, &rows[i]);

		if (rows[i].type == TYPE_STR)
			free(*(char **)value);
		else if (rows[i].type == TYPE_STRS)
			strs_free(*(char ***)value);
		else if (rows[i].type == TYPE_SLOTS)
			slots_free(value);
	}
	free(settings->file);
	free(settings);
	return NULL;
}

static int settings_new(struct settings **ret_settings, const char *file, struct agent_error **err)
{
	_cleanup_(settings_freep) struct settings *s = calloc(1, sizeof(*s));

	if (s == NULL || (s->file = strdup(file)) == NULL)
		return no_memory(err);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		void *value = member(s, &rows[i]);

		switch (rows[i].type) {
		case TYPE_STR:
			if ((*(char **)value = strdup(rows[i].text)) == NULL)
				return no_memory(err);
			break;
		case TYPE_INT:
			*(int64_t *)value = rows[i].number;
			break;
		case TYPE_BOOL:
			*(bool *)value = rows[i].number != 0;
			break;
		case TYPE_STRS:
			if ((*(char ***)value = calloc(1, sizeof(char *))) == NULL)
				return no_memory(err);
			break;
		case TYPE_SLOTS:
			break;
		}
	}
	*ret_settings = TAKE_PTR(s);
	return 0;
}

/* ---- values ------------------------------------------------------------- */

/* Texts end up in topics, certificates, paths and logs: what could mean something else there is refused here. */
static const char *why_text_is_refused(const char *group, const char *name, const char *text)
{
	struct sockaddr_storage address;
	socklen_t size;
	size_t n = strlen(text);

	if (n > TEXT_MAX)
		return "is longer than 1024 bytes";
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return "has a control character";
	if (strcmp(group, "paths") == 0 || (strcmp(group, "slots") == 0 && strcmp(name, "path") == 0)) {
		if (text[0] != '/')
			return "must be an absolute path";
		if (strcmp(name, "run_dir") == 0 && n > RUN_DIR_MAX)
			return "must have at most 88 bytes, as socket addresses are short";
	}
	if (strcmp(group, "console") == 0 && n > 0 && text[0] != '/')
		return "must be empty or begin with an absolute path";
	if (strcmp(group, "device") == 0 && strcmp(name, "serial") == 0 && n > 0 && !settings_is_word(text, 64))
		return "must be 1 to 64 letters, digits, dots, dashes and underscores";
	if (strcmp(group, "device") == 0 && n > 128)
		return "must have at most 128 bytes";
	if (strcmp(group, "slots") == 0 && strcmp(name, "path") != 0 && !settings_is_word(text, 32))
		return "must be 1 to 32 letters, digits, dots, dashes and underscores";
	if (strcmp(group, "mgmt") == 0 && strcmp(name, "setup_interface") == 0 && (n > 15 || strpbrk(text, "/ \t") != NULL))
		return "must be the name of a network interface, 15 bytes at most";
	if (strcmp(group, "mgmt") == 0 && (strcmp(name, "client_listen") == 0 || strcmp(name, "http_listen") == 0) && n == 0)
		return NULL;
	if (strcmp(group, "mgmt") == 0 && strstr(name, "listen") != NULL && address_parse(text, &address, &size) < 0)
		return "must be ADDRESS:PORT, such as 0.0.0.0:443 or [::]:443";
	return NULL;
}

/* libconfig before 1.7 cuts a hexadecimal number to 32 bits without a word: look at what was written. */
static bool has_long_hex(const struct place *at)
{
	const char *p = at->text;

	for (unsigned line = 1; p != NULL && line < at->line; line++) {
		p = strchr(p, '\n');
		p = p == NULL ? NULL : p + 1;
	}
	for (; p != NULL && *p != '\0' && *p != '\n'; p++) {
		if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
			p += 2;
			p += strspn(p, "0");
			if (strspn(p, "0123456789abcdefABCDEF") > 8)
				return true;
		}
	}
	return false;
}

static int read_text(const struct place *at, const char *group, const char *name, const config_setting_t *from,
		     char **ret_text, struct agent_error **err)
{
	const char *text, *why;
	char *copy;

	if (config_setting_type(from) != CONFIG_TYPE_STRING)
		return agent_error_set(err, -EINVAL, "config.type", "%s:%u: %s.%s must be text in double quotes", at->file,
				       at->line, group, name);
	text = config_setting_get_string(from);
	why = why_text_is_refused(group, name, text);
	if (why != NULL)
		return agent_error_set(err, -EINVAL, "config.range", "%s:%u: %s.%s %s", at->file, at->line, group, name, why);
	copy = strdup(text);
	if (copy == NULL)
		return no_memory(err);
	*ret_text = copy;
	return 0;
}

static int read_number(const struct place *at, const struct row *row, const config_setting_t *from, int64_t *ret_number,
		       struct agent_error **err)
{
	int type = config_setting_type(from);
	int64_t v;

	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
		return agent_error_set(err, -EINVAL, "config.type", "%s:%u: %s.%s must be a whole number", at->file, at->line,
				       row->group, row->name);
	v = config_setting_get_int64(from);
	if (type == CONFIG_TYPE_INT) {
		v = config_setting_get_int(from);
		if (config_setting_get_format(from) == CONFIG_FORMAT_HEX)
			v = has_long_hex(at) ? INT64_MAX : (int64_t)(uint32_t)v;
	}
	if (v < row->min || v > row->max) {
		if (row->min > 0xffffff)
			return agent_error_set(err, -EINVAL, "config.range",
					       "%s:%u: %s.%s must be between 0x%" PRIx64 " and 0x%" PRIx64, at->file, at->line,
					       row->group, row->name, (uint64_t)row->min, (uint64_t)row->max);
		return agent_error_set(err, -EINVAL, "config.range", "%s:%u: %s.%s must be between %" PRId64 " and %" PRId64,
				       at->file, at->line, row->group, row->name, row->min, row->max);
	}
	*ret_number = v;
	return 0;
}

static int read_strs(struct place at, const struct row *row, const config_setting_t *from, char ***value, struct agent_error **err)
{
	int n = config_setting_length(from);
	char **strs;
	int r = 0;

	if (!config_setting_is_list(from) && !config_setting_is_array(from))
		return agent_error_set(err, -EINVAL, "config.type", "%s:%u: %s.%s must be a list such as [ \"a\", \"b\" ]", at.file,
				       at.line, row->group, row->name);
	if (n > ITEMS_MAX)
		return agent_error_set(err, -EINVAL, "config.range", "%s:%u: %s.%s has %d items, limit %d", at.file, at.line,
				       row->group, row->name, n, ITEMS_MAX);
	strs = calloc((size_t)n + 1, sizeof(char *));
	if (strs == NULL)
		return no_memory(err);
	for (int i = 0; i < n && r >= 0; i++)
		r = read_text(&at, row->group, row->name, config_setting_get_elem(from, (unsigned)i), &strs[i], err);
	if (r < 0) {
		strs_free(strs);
		return r;
	}
	strs_free(*value);
	*value = strs;
	return 0;
}

static int read_slot(struct place at, const config_setting_t *from, struct slot_setting *slot, struct agent_error **err)
{
	struct { const char *name; char **value; } members[] = {
		{ "class", &slot->slot_class }, { "name", &slot->name }, { "path", &slot->path },
	};
	int r;

	if (!config_setting_is_group(from))
		return agent_error_set(err, -EINVAL, "config.type",
				       "%s:%u: a slot must be { class = \"...\"; name = \"...\"; path = \"...\"; }", at.file, at.line);
	for (int i = 0; i < config_setting_length(from); i++) {
		config_setting_t *item = config_setting_get_elem(from, (unsigned)i);
		const char *name = config_setting_name(item);
		size_t m;

		at.line = config_setting_source_line(item);
		for (m = 0; m < ARRAY_SIZE(members) && strcmp(members[m].name, name) != 0; m++)
			;
		if (m == ARRAY_SIZE(members))
			return agent_error_set(err, -EINVAL, "config.unknown", "%s:%u: a slot has class, name and path, but no %s",
					       at.file, at.line, name);
		r = read_text(&at, "slots", name, item, members[m].value, err);
		if (r < 0)
			return r;
	}
	for (size_t m = 0; m < ARRAY_SIZE(members); m++)
		if (*members[m].value == NULL)
			return agent_error_set(err, -EINVAL, "config.missing", "%s:%u: a slot needs a %s", at.file, at.line,
					       members[m].name);
	return 0;
}

static int read_slots(struct place at, const config_setting_t *from, struct slot_settings *value, struct agent_error **err)
{
	int n = config_setting_length(from), r = 0;
	struct slot_settings slots = { 0 };

	if (!config_setting_is_list(from) && !(config_setting_is_array(from) && n == 0))
		return agent_error_set(err, -EINVAL, "config.type", "%s:%u: update.slots must be a list ( {...}, {...} )", at.file, at.line);
	if (n > ITEMS_MAX)
		return agent_error_set(err, -EINVAL, "config.range", "%s:%u: update.slots has %d items, limit %d", at.file, at.line,
				       n, ITEMS_MAX);
	slots.items = calloc((size_t)n + 1, sizeof(*slots.items));
	if (slots.items == NULL)
		return no_memory(err);
	for (int i = 0; i < n && r >= 0; i++) {
		struct slot_setting *slot = &slots.items[slots.n++];
		config_setting_t *item = config_setting_get_elem(from, (unsigned)i);

		if (config_setting_source_line(item) > 0)
			at.line = config_setting_source_line(item);
		r = read_slot(at, item, slot, err);
		for (size_t k = 0; k + 1 < slots.n && r >= 0; k++) {
			const struct slot_setting *other = &slots.items[k];

			if (strcmp(other->path, slot->path) == 0)
				r = agent_error_set(err, -EINVAL, "config.range", "%s:%u: two slots are on %s", at.file, at.line, slot->path);
			else if (strcmp(other->slot_class, slot->slot_class) == 0 && strcmp(other->name, slot->name) == 0)
				r = agent_error_set(err, -EINVAL, "config.range", "%s:%u: slot %s of class %s is there twice",
						    at.file, at.line, slot->name, slot->slot_class);
		}
	}
	if (r < 0) {
		slots_free(&slots);
		return r;
	}
	slots_free(value);
	*value = slots;
	return 0;
}

static int read_row(const struct place *at, const struct row *row, const config_setting_t *from, struct settings *s,
		    struct agent_error **err)
{
	void *value = member(s, row);
	char *text = NULL;
	int r;

	switch (row->type) {
	case TYPE_STR:
		r = read_text(at, row->group, row->name, from, &text, err);
		if (r < 0)
			return r;
		free(*(char **)value);
		*(char **)value = text;
		return 0;
	case TYPE_INT:
		return read_number(at, row, from, value, err);
	case TYPE_BOOL:
		if (config_setting_type(from) != CONFIG_TYPE_BOOL)
			return agent_error_set(err, -EINVAL, "config.type", "%s:%u: %s.%s must be true or false", at->file, at->line,
					       row->group, row->name);
		*(bool *)value = config_setting_get_bool(from) != 0;
		return 0;
	case TYPE_STRS:
		return read_strs(*at, row, from, value, err);
	case TYPE_SLOTS:
		return read_slots(*at, from, value, err);
	}
	return -EINVAL;
}

/* ---- files -------------------------------------------------------------- */

static const struct row *find_row(const char *group, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (strcmp(rows[i].group, group) == 0 && (name == NULL || strcmp(rows[i].name, name) == 0))
			return &rows[i];
	return NULL;
}

static int read_group(struct place at, const config_setting_t *group, struct settings *s, struct agent_error **err)
{
	const char *group_name = config_setting_name(group);

	at.line = config_setting_source_line(group);
	if (find_row(group_name, NULL) == NULL)
		return agent_error_set(err, -EINVAL, "config.unknown",
				       "%s:%u: there is no group %s; agentd.conf(5) lists the groups", at.file, at.line, group_name);
	if (!config_setting_is_group(group))
		return agent_error_set(err, -EINVAL, "config.type", "%s:%u: %s must be a group: %s = { ... };", at.file, at.line,
				       group_name, group_name);
	for (int i = 0; i < config_setting_length(group); i++) {
		config_setting_t *item = config_setting_get_elem(group, (unsigned)i);
		const struct row *row = find_row(group_name, config_setting_name(item));
		int r;

		at.line = config_setting_source_line(item);
		if (row == NULL)
			return agent_error_set(err, -EINVAL, "config.unknown",
					       "%s:%u: there is no setting %s in %s; agentd.conf(5) lists the settings", at.file,
					       at.line, config_setting_name(item), group_name);
		r = read_row(&at, row, item, s, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* @include would open any path, and its line numbers would be of another file. */
static int refuse_include(struct place at, size_t size, struct agent_error **err)
{
	if (strlen(at.text) != size)
		return agent_error_set(err, -EINVAL, "config.syntax", "%s:1: the file has a NUL byte; it must be text", at.file);
	at.line = 1;
	for (const char *p = at.text; p != NULL; at.line++) {
		if (strncmp(p + strspn(p, " \t"), "@include", 8) == 0)
			return agent_error_set(err, -EINVAL, "config.syntax",
					       "%s:%u: @include is not taken; put further files into agentd.conf.d", at.file, at.line);
		p = strchr(p, '\n');
		if (p != NULL)
			p++;
	}
	return 0;
}

static int read_one(const char *file, struct settings *s, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	struct place at = { .file = file };
	config_t config;
	size_t size;
	int r;

	r = file_read_at(AT_FDCWD, file, FILE_MAX_BYTES, &text, &size, err);
	if (r < 0)
		return r;
	at.text = text;
	r = refuse_include(at, size, err);
	if (r < 0)
		return r;
	config_init(&config);
	if (config_read_string(&config, text) != CONFIG_TRUE) {
		const char *why = config_error_text(&config);

		r = agent_error_set(err, -EINVAL, "config.syntax", "%s:%d: %s; expected GROUP = { NAME = VALUE; };", file,
				    config_error_line(&config), why == NULL ? "syntax error" : why);
	} else {
		config_setting_t *root = config_root_setting(&config);

		for (int i = 0; i < config_setting_length(root) && r >= 0; i++)
			r = read_group(at, config_setting_get_elem(root, (unsigned)i), s, err);
	}
	config_destroy(&config);
	return r;
}

static int is_drop_in(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".conf") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name); /* not strcoll(): the order must not hang on the locale */
}

static int read_drop_ins(const char *file, struct settings *s, struct agent_error **err)
{
	_cleanup_free_ char *folder = NULL;
	struct dirent **entries = NULL;
	int n, r = 0;

	if (asprintf(&folder, "%s.d", file) < 0) {
		folder = NULL;
		return no_memory(err);
	}
	n = scandir(folder, &entries, is_drop_in, by_bytes);
	if (n < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (n < 0)
		return agent_error_set(err, -errno, "config.folder", "cannot read %s: %s", folder, strerror(errno));
	if (n > DROP_INS_MAX)
		r = agent_error_set(err, -EINVAL, "config.range", "%s:1: %d files, limit %d", folder, n, DROP_INS_MAX);
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *path = NULL;

		if (r >= 0 && asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0) {
			path = NULL;
			r = no_memory(err);
		}
		if (r >= 0)
			r = read_one(path, s, err);
		free(entries[i]);
	}
	free(entries);
	return r;
}

static int check_whole(const struct settings *s, struct agent_error **err)
{
	const struct { const char *name, *value; } required[] = {
		{ "product", s->device.product }, { "serial", s->device.serial },
	};

	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if (required[i].value[0] == '\0')
			return agent_error_set(err, -EINVAL, "config.missing", "%s:1: device.%s must be set: %s", s->file,
					       required[i].name, find_row("device", required[i].name)->meaning);
	return settings_check(s, err);
}

int settings_load(const char *file, struct settings **ret_settings, struct agent_error **err)
{
	_cleanup_(settings_freep) struct settings *s = NULL;
	int r;

	if (file == NULL)
		file = SETTINGS_DEFAULT_FILE;
	r = settings_new(&s, file, err);
	if (r >= 0)
		r = read_one(file, s, err);
	if (r >= 0)
		r = read_drop_ins(file, s, err);
	if (r >= 0)
		r = check_whole(s, err);
	if (r < 0)
		return r;
	*ret_settings = TAKE_PTR(s);
	return 0;
}

/* ---- printing ----------------------------------------------------------- */

static void print_text(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void print_slots(const struct slot_settings *slots, FILE *out)
{
	fputc('(', out);
	for (size_t i = 0; i < slots->n; i++) {
		fputs(i == 0 ? "\n\t\t{ class = " : ",\n\t\t{ class = ", out);
		print_text(slots->items[i].slot_class, out);
		fputs("; name = ", out);
		print_text(slots->items[i].name, out);
		fputs("; path = ", out);
		print_text(slots->items[i].path, out);
		fputs("; }", out);
	}
	fputs(slots->n == 0 ? " )" : "\n\t)", out);
}

static void print_row(const struct settings *s, const struct row *row, FILE *out)
{
	const void *value = member(s, row);
	char *const *strs;

	if (row->type == TYPE_INT && row->min <= 0xffffff)
		fprintf(out, "\t# %s; %" PRId64 " to %" PRId64 "\n", row->meaning, row->min, row->max);
	else
		fprintf(out, "\t# %s\n", row->meaning);
	fprintf(out, "\t%s = ", row->name);
	switch (row->type) {
	case TYPE_STR:
		print_text(*(char *const *)value, out);
		break;
	case TYPE_INT:
		if (row->min > 0xffffff)
			fprintf(out, "0x%" PRIx64, (uint64_t)*(const int64_t *)value);
		else
			fprintf(out, "%" PRId64, *(const int64_t *)value);
		break;
	case TYPE_BOOL:
		fputs(*(const bool *)value ? "true" : "false", out);
		break;
	case TYPE_STRS:
		strs = *(char *const *const *)value;
		fputc('[', out);
		for (size_t i = 0; strs[i] != NULL; i++) {
			fputs(i == 0 ? " " : ", ", out);
			print_text(strs[i], out);
		}
		fputs(" ]", out);
		break;
	case TYPE_SLOTS:
		print_slots(value, out);
		break;
	}
	fputs(";\n", out);
}

void settings_print(const struct settings *settings, FILE *out)
{
	const char *group = "";

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(group, rows[i].group) != 0) {
			fprintf(out, "%s%s = {\n", i == 0 ? "" : "};\n\n", rows[i].group);
			group = rows[i].group;
		}
		print_row(settings, &rows[i], out);
	}
	fputs("};\n", out);
}

char *settings_trust_path(const struct settings *settings, const char *value, const char *fallback)
{
	char *path;

	if (value != NULL && value[0] != '\0')
		return strdup(value);
	return asprintf(&path, "%s/%s", settings->paths.trust_dir, fallback) < 0 ? NULL : path;
}
