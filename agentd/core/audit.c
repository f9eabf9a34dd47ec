/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/audit.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "agentd/common/peer.h"
#include "agentd/core/event_log.h"
#include "agentd/core/store.h"
#include "agentd/core/stream.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define MAX_FIELDS 12
#define SYNC_US UINT64_C(1000000) /* at most one fsync a second: a flood of failed logins must not wear the flash out */
#define EVENTS_AT_ONCE 200

struct audit {
	struct event_log *log;
	int dir_fd;
	bool has_journal;
	bool is_failing; /* told once, until writing works again */
	bool needs_sync;
	uint64_t last_sync_us;
	sd_event_source *timer;
};

static struct audit *audit_of(struct core *core)
{
	return core->audit;
}

static void complain(struct audit *audit, struct agent_error *err)
{
	if (!audit->is_failing)
		service_log(LOG_ERR, "audit events cannot be kept: %s", agent_error_message(err));
	audit->is_failing = true;
}

static void sync_now(struct audit *audit)
{
	_cleanup_error_ struct agent_error *err = NULL;

	audit->last_sync_us = monotonic_us();
	audit->needs_sync = false;
	if (event_log_sync(audit->log, &err) < 0)
		complain(audit, err);
}

static int on_sync(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct audit *audit = userdata;

	if (audit->needs_sync)
		sync_now(audit);
	return 0;
}

/* Durable at once where that is cheap, within a second otherwise. */
static void sync_soon(struct core *core, struct audit *audit)
{
	if (core->event == NULL || monotonic_us() - audit->last_sync_us >= SYNC_US) {
		sync_now(audit);
		return;
	}
	if (audit->needs_sync)
		return;
	audit->needs_sync = true;
	audit->timer = sd_event_source_disable_unref(audit->timer);
	if (sd_event_add_time_relative(core->event, &audit->timer, CLOCK_MONOTONIC, SYNC_US, 0, on_sync, audit) < 0)
		sync_now(audit);
}

/* Same words as in the log, for the journal and, without one, for stderr. Journal fields: AGENT_KEY=value. */
static void to_journal(struct audit *audit, const struct event_type *type, const char *const (*fields)[2], size_t n_fields)
{
	char texts[MAX_FIELDS + 4][EVENT_VALUE_MAX + 48];
	char line[1024];
	struct iovec iov[MAX_FIELDS + 4];
	size_t n = 0, used = 0;

	used = (size_t)snprintf(line, sizeof(line), "%s: %s", type->name, type->meaning);
	for (size_t i = 0; i < n_fields; i++) {
		char value[EVENT_VALUE_MAX + 1];
		size_t k;

		snprintf(value, sizeof(value), "%s", fields[i][1]);
		for (k = 0; value[k] != '\0'; k++)
			if ((unsigned char)value[k] < 0x20 || value[k] == 0x7f)
				value[k] = '?';
		if (used < sizeof(line))
			used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%s=%s", i == 0 ? " (" : ", ", fields[i][0], value);
		k = (size_t)snprintf(texts[n], sizeof(texts[n]), "AGENT_%s=%s", fields[i][0], value);
		for (char *p = texts[n] + 6; *p != '=' && *p != '\0'; p++)
			*p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
		iov[n] = (struct iovec){ .iov_base = texts[n], .iov_len = k < sizeof(texts[n]) ? k : sizeof(texts[n]) - 1 };
		n++;
	}
	if (n_fields > 0 && used < sizeof(line) - 1)
		snprintf(line + used, sizeof(line) - used, ")");
	if (!audit->has_journal) {
		service_log(type->priority, "%s", line);
		return;
	}
	snprintf(texts[n], sizeof(texts[n]), "MESSAGE_ID=%s", type->message_id);
	iov[n] = (struct iovec){ .iov_base = texts[n], .iov_len = strlen(texts[n]) };
	n++;
	snprintf(texts[n], sizeof(texts[n]), "PRIORITY=%d", type->priority);
	iov[n] = (struct iovec){ .iov_base = texts[n], .iov_len = strlen(texts[n]) };
	n++;
	snprintf(texts[n], sizeof(texts[n]), "AGENT_EVENT=%s", type->name);
	iov[n] = (struct iovec){ .iov_base = texts[n], .iov_len = strlen(texts[n]) };
	n++;
	memmove(line + 8, line, sizeof(line) - 8);
	memcpy(line, "MESSAGE=", 8);
	line[sizeof(line) - 1] = '\0';
	iov[n] = (struct iovec){ .iov_base = line, .iov_len = strlen(line) };
	n++;
	if (sd_journal_sendv(iov, (int)n) < 0)
		service_log(type->priority, "%s", line + 8);
}

void event_add(struct core *core, enum event_id id, ...)
{
	_cleanup_error_ struct agent_error *err = NULL;
	const char *fields[MAX_FIELDS][2];
	struct audit *audit = audit_of(core);
	struct timespec now;
	const char *key;
	size_t n = 0;
	va_list ap;
	int r;

	va_start(ap, id);
	while ((key = va_arg(ap, const char *)) != NULL) {
		const char *value = va_arg(ap, const char *);

		if (value == NULL || n == MAX_FIELDS)
			continue;
		fields[n][0] = key;
		fields[n++][1] = value;
	}
	va_end(ap);
	if (audit == NULL)
		return;
	to_journal(audit, &event_types[id], fields, n);
	clock_gettime(CLOCK_REALTIME, &now);
	r = event_log_append(audit->log, id, now.tv_sec > 0 ? (uint64_t)now.tv_sec : 0, fields, n, NULL, &err);
	if (r < 0) {
		complain(audit, err);
		return;
	}
	audit->is_failing = false;
	stream_wake(core);
	if (event_types[id].priority <= LOG_NOTICE)
		sync_soon(core, audit);
}

int audit_open(struct core *core, struct agent_error **err)
{
	_cleanup_free_ char *path = NULL;
	struct audit *audit = calloc(1, sizeof(*audit));
	struct event_log_found found;
	int r;

	if (audit == NULL || asprintf(&path, "%s/events", core->settings->paths.state_dir) < 0) {
		free(audit);
		path = NULL;
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the event log");
	}
	audit->dir_fd = -1;
	r = store_open_folder(core->settings, "events", &audit->dir_fd, err);
	if (r >= 0)
		r = event_log_open(audit->dir_fd, EVENT_FILE_MAX, &audit->log, &found, err);
	if (r < 0) {
		if (audit->dir_fd >= 0)
			close(audit->dir_fd);
		free(audit);
		return agent_error_prefix(err, r, "%s", path);
	}
	audit->has_journal = access("/run/systemd/journal/socket", W_OK) == 0;
	core->audit = audit;
	if (found.was_torn)
		service_log(LOG_NOTICE, "the last line of %s/events.log was torn, as by a power cut, and was cut off", path);
	if (found.was_broken)
		event_add(core, EVENT_LOG_DAMAGED, "reason", "the chain of hashes is broken", "file", "events.bad or events.1.log", NULL);
	return 0;
}

void audit_close(struct core *core)
{
	struct audit *audit = audit_of(core);

	if (audit == NULL)
		return;
	core->audit = NULL;
	sd_event_source_disable_unref(audit->timer);
	sync_now(audit);
	event_log_free(audit->log);
	close(audit->dir_fd);
	free(audit);
}

/* ---- what was asked before -------------------------------------------------------------------------------------- */

struct fallback_search {
	const char *release_id;
	bool is_known;
};

static int look_for_fallback(const struct event_record *record, void *userdata)
{
	struct fallback_search *search = userdata;

	if (record->type == &event_types[EVENT_UPDATE_INSTALLED])
		search->is_known = false;
	if (record->type != &event_types[EVENT_UPDATE_FELL_BACK])
		return 0;
	for (size_t i = 0; i < record->n_fields; i++)
		if (strcmp(record->fields[i].key, "release") == 0 && strcmp(record->fields[i].value, search->release_id) == 0)
			search->is_known = true;
	return 0;
}

bool audit_knows_fallback(struct core *core, const char *release_id)
{
	struct fallback_search search = { .release_id = release_id };

	return event_log_read(audit_of(core)->log, 0, look_for_fallback, &search, NULL) >= 0 && search.is_known;
}

struct begun_search {
	char *from;
	size_t size;
};

static int look_for_begun(const struct event_record *record, void *userdata)
{
	struct begun_search *search = userdata;

	if (record->type != &event_types[EVENT_UPDATE_BEGUN])
		return 0;
	search->from[0] = '\0';
	for (size_t i = 0; i < record->n_fields; i++)
		if (strcmp(record->fields[i].key, "from") == 0)
			snprintf(search->from, search->size, "%s", record->fields[i].value);
	return 0;
}

void audit_last_begun(struct core *core, char *ret_from, size_t size)
{
	struct begun_search search = { .from = ret_from, .size = size };

	ret_from[0] = '\0';
	(void)event_log_read(audit_of(core)->log, 0, look_for_begun, &search, NULL);
}

/* ---- EventsGet -------------------------------------------------------------------------------------------------- */

struct events_reply {
	sd_bus_message *reply;
	uint32_t left;
};

/* sd-bus takes UTF-8 only, and a value may hold any byte of what a stranger sent. */
static void make_ascii(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e)
			*text = '?';
}

static int append_event(const struct event_record *record, void *userdata)
{
	struct events_reply *out = userdata;
	int r;

	if (out->left == 0)
		return 1;
	out->left--;
	r = sd_bus_message_open_container(out->reply, 'a', "{sv}");
	if (r >= 0)
		r = peer_append_u64(out->reply, "seq", record->seq);
	if (r >= 0)
		r = peer_append_u64(out->reply, "time", record->time_s);
	if (r >= 0)
		r = peer_append_string(out->reply, "name", record->name);
	if (r >= 0 && record->type != NULL)
		r = peer_append_string(out->reply, "message_id", record->type->message_id);
	if (r >= 0 && record->type != NULL)
		r = peer_append_u64(out->reply, "priority", (uint64_t)record->type->priority);
	for (size_t i = 0; r >= 0 && i < record->n_fields; i++) {
		char value[EVENT_VALUE_MAX + 1];

		snprintf(value, sizeof(value), "%s", record->fields[i].value);
		make_ascii(value);
		r = peer_append_string(out->reply, record->fields[i].key, value);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(out->reply);
	return r < 0 ? r : 0;
}

uint64_t audit_last_seq(struct core *core)
{
	return event_log_last_seq(audit_of(core)->log);
}

int audit_append(struct core *core, sd_bus_message *reply, uint64_t after, uint32_t limit, struct agent_error **err)
{
	struct events_reply out = { .reply = reply, .left = limit < EVENTS_AT_ONCE ? limit : EVENTS_AT_ONCE };
	int r;

	r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	if (r >= 0)
		r = event_log_read(audit_of(core)->log, after, append_event, &out, err);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r < 0 && err != NULL && *err == NULL)
		agent_error_set(err, r, "events.read", "cannot read the event log: %s", strerror(-r));
	return r;
}

int op_events_get(struct core *core, struct op_call *call, struct agent_error **err)
{
	sd_bus_message *reply;
	uint32_t limit;
	uint64_t after;
	int r;

	r = sd_bus_message_read(call->msg, "tu", &after, &limit);
	if (r < 0)
		return op_unreadable(call, err);
	r = op_reply_new(call, &reply, err);
	if (r < 0)
		return r;
	return op_reply_end(call, reply, audit_append(core, reply, after, limit, err), "the events", err);
}
