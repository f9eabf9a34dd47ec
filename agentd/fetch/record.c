/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/record.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/macro.h"

#define FILE_BYTES_MAX (8 * KIB)

static const struct {
	const char *key;
	size_t offset, size;
} texts[] = {
#define TEXT(member) { #member, offsetof(struct record, member), sizeof(((struct record *)0)->member) }
	TEXT(source), TEXT(action), TEXT(version), TEXT(good_version), TEXT(before), TEXT(release_id), TEXT(slot), TEXT(reason), TEXT(attributes),
#undef TEXT
};

static const struct {
	const char *key;
	size_t offset;
} numbers[] = {
	{ "tries", offsetof(struct record, n_tries) },
	{ "told_tries", offsetof(struct record, n_told_tries) },
	{ "told", offsetof(struct record, told) },
};

static const struct {
	const char *key;
	size_t offset;
} truths[] = {
	{ "success", offsetof(struct record, is_success) },
	{ "is_told", offsetof(struct record, is_told) },
	{ "fallback", offsetof(struct record, is_fallback) },
};

static const char *const phases[] = { "none", "accepted", "installed", "ended" };

static int read_record(const json_t *root, struct record *ret_record)
{
	struct record record = { 0 };
	const char *phase = json_string_value(json_object_get(root, "phase"));
	size_t i;

	for (i = 0; phase != NULL && i < ARRAY_SIZE(phases); i++)
		if (strcmp(phases[i], phase) == 0)
			break;
	if (phase == NULL || i == ARRAY_SIZE(phases))
		return -EBADMSG;
	record.phase = (enum record_phase)i;
	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *text = json_string_value(json_object_get(root, texts[i].key));

		if (text == NULL || strlen(text) >= texts[i].size)
			return -EBADMSG;
		strcpy((char *)&record + texts[i].offset, text);
	}
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		json_int_t n = json_integer_value(json_object_get(root, numbers[i].key));

		if (n < 0 || n > 1000)
			return -EBADMSG;
		*(unsigned *)(void *)((char *)&record + numbers[i].offset) = (unsigned)n;
	}
	for (i = 0; i < ARRAY_SIZE(truths); i++)
		*(bool *)((char *)&record + truths[i].offset) = json_is_true(json_object_get(root, truths[i].key));
	*ret_record = record;
	return 0;
}

int record_load(const char *dir, struct record *ret_record, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_(json_decrefp) json_t *root = NULL;
	_cleanup_free_ char *data = NULL;
	_cleanup_close_ int fd = -1;
	size_t size;
	int r;

	*ret_record = (struct record){ 0 };
	r = dir_open(dir, &fd, err);
	if (r < 0)
		return r;
	r = file_read_at(fd, RECORD_FILE, FILE_BYTES_MAX, &data, &size, &why);
	if (r == -EIO || r == -EACCES || r == -ENOMEM)
		return agent_error_move(err, &why);
	if (r < 0)
		return 0;
	root = json_loadb(data, size, JSON_REJECT_DUPLICATES, NULL);
	if (root == NULL || read_record(root, ret_record) < 0)
		*ret_record = (struct record){ 0 };
	return 0;
}

int record_save(const char *dir, const struct record *record, struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = json_object();
	_cleanup_close_ int fd = -1;
	char *text;
	int r, bad;

	bad = json_object_set_new(root, "phase", json_string(phases[record->phase]));
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		bad |= json_object_set_new(root, texts[i].key, json_string((const char *)record + texts[i].offset));
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		bad |= json_object_set_new(root, numbers[i].key, json_integer(*(const unsigned *)(const void *)((const char *)record + numbers[i].offset)));
	for (size_t i = 0; i < ARRAY_SIZE(truths); i++)
		bad |= json_object_set_new(root, truths[i].key, json_boolean(*(const bool *)((const char *)record + truths[i].offset)));
	text = bad != 0 ? NULL : json_dumps(root, JSON_INDENT(1));
	if (text == NULL)
		return agent_error_set(err, -ENOMEM, "source.memory", "no memory for the record of the update source");
	r = dir_open(dir, &fd, err);
	if (r >= 0)
		r = file_replace_at(fd, RECORD_FILE, 0600, text, strlen(text), err);
	free(text);
	return r < 0 ? agent_error_prefix(err, r, "%s/" RECORD_FILE, dir) : 0;
}

bool record_is_equal(const struct record *a, const struct record *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp((const char *)a + texts[i].offset, (const char *)b + texts[i].offset) != 0)
			return false;
	return a->phase == b->phase && a->n_tries == b->n_tries && a->n_told_tries == b->n_told_tries && a->told == b->told &&
	       a->is_success == b->is_success && a->is_told == b->is_told && a->is_fallback == b->is_fallback;
}

void record_accept(struct record *record, const char *source, const char *action, const struct device *device)
{
	struct record next = { .phase = RECORD_ACCEPTED };

	strcpy(next.attributes, record->attributes);
	strcpy(next.good_version, record->good_version);
	snprintf(next.source, sizeof(next.source), "%s", source);
	snprintf(next.action, sizeof(next.action), "%s", action);
	strcpy(next.before, device->release_id);
	*record = next;
}

void record_fail(struct record *record, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(record->reason, sizeof(record->reason), fmt, ap);
	va_end(ap);
	/* A server's or a bundle's words may be in it, cut anywhere: what is kept is ASCII. */
	for (char *p = record->reason; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
	record->phase = RECORD_ENDED;
	record->is_success = record->is_told = false;
	record->n_told_tries = 0;
}

bool record_is_installing(const struct record *record, const struct device *device)
{
	return record->phase == RECORD_ACCEPTED && device->is_busy && strcmp(device->action, record->action) == 0;
}

/* Trouble that says nothing about the bundle. */
static bool may_be_repeated(const char *name)
{
	static const char *const final[] = { "fetch.size", "fetch.url", "fetch.redirect", "update.canceled" };
	static const char *const passing[] = { "fetch.", "tls.", "bus.", "core.", "tpm.", "update.busy", "update.lost", "update.stalled", "update.floor" };

	for (size_t i = 0; i < ARRAY_SIZE(final); i++)
		if (strcmp(name, final[i]) == 0)
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(passing); i++)
		if (strncmp(name, passing[i], strlen(passing[i])) == 0)
			return true;
	return false;
}

static bool is_stage(const struct device *device, const char *stage)
{
	return strcmp(device->stage, stage) == 0;
}

static void installed(struct record *record, const struct device *device)
{
	record->phase = RECORD_INSTALLED;
	snprintf(record->release_id, sizeof(record->release_id), "%s", device->release_id);
	snprintf(record->slot, sizeof(record->slot), "%s", device->target_slot);
}

static void settle_accepted(struct record *record, const struct device *device, bool *ret_just_broke)
{
	bool is_ours = strcmp(device->action, record->action) == 0;

	if (device->is_busy || !is_ours)
		return;
	if (device->has_outcome && device->outcome[0] == '\0') {
		installed(record, device);
	} else if (device->has_outcome && strcmp(device->outcome, "update.canceled") == 0) {
		record_fail(record, "given up before anything was switched");
		record->is_told = true; /* who wanted that will be answered there */
	} else if (device->has_outcome && may_be_repeated(device->outcome) && record->n_tries < TRIES_MAX) {
		*ret_just_broke = true;
	} else if (device->has_outcome) {
		record_fail(record, "%s: %s", device->outcome, device->outcome_text);
	} else if (is_stage(device, "written") || is_stage(device, "trying") || is_stage(device, "confirmed") ||
		   (strcmp(device->release_id, record->before) != 0 &&
		    (is_stage(device, "idle") || strcmp(device->release_id, device->failed_release_id) == 0))) {
		installed(record, device); /* the agent was restarted in between */
	} else if (record->n_tries >= TRIES_MAX) {
		record_fail(record, "given up after %u tries; the agent was interrupted in the last one", record->n_tries);
	}
}

static void settle_installed(struct record *record, const struct device *device)
{
	/* Not known where the agent was away from the installation to the confirmation: "idle" is success then. */
	bool runs = record->slot[0] == '\0' || strcmp(device->booted_slot, record->slot) == 0;

	if (device->is_busy || device->stage[0] == '\0')
		return;
	if (record->release_id[0] != '\0' && strcmp(device->failed_release_id, record->release_id) == 0) {
		record_fail(record, "fell-back: release %s did not last, slot %s runs again", record->release_id, device->booted_slot);
		record->is_fallback = true;
	} else if (strcmp(device->release_id, record->release_id) != 0) {
		record_fail(record, "replaced: another release, %s, was installed over it", device->release_id);
	} else if (is_stage(device, "idle") && runs) {
		record->phase = RECORD_ENDED;
		record->is_success = true;
		strcpy(record->good_version, record->version);
		record->is_told = false;
		record->n_told_tries = 0;
	} else if (is_stage(device, "idle")) {
		record_fail(record, "taken-back: somebody at the device chose the old system again");
		record->is_fallback = true;
	}
}

void record_settle(struct record *record, const struct device *device, bool *ret_just_broke)
{
	*ret_just_broke = false;
	if (record->phase == RECORD_ACCEPTED)
		settle_accepted(record, device, ret_just_broke);
	if (record->phase == RECORD_INSTALLED)
		settle_installed(record, device);
}
