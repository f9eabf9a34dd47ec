/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_EVENT_LOG_H
#define CORE_EVENT_LOG_H
/*
 * The audit log: two text files of bounded size in one folder, events.log and the older events.1.log.
 *
 *	libagent-events 1<TAB>first sequence number<TAB>hash before it
 *	SEQ<TAB>TIME_S<TAB>NAME<TAB>KEY=VALUE...<TAB>HASH
 *
 * HASH is the SHA-256 (hex) over the hash before and the line up to its last TAB, so a removed or altered line shows.
 * Values are printable ASCII; all other bytes, TAB and backslash are written as \xNN. A power cut can only tear the last
 * line: it is cut off when the log is opened. A file whose chain is broken elsewhere is kept as events.bad.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "agentd/common/events.h"

#define EVENT_FILE_MAX (256 * 1024) /* bytes of one file; what an audit on a gateway needs for months */
#define EVENT_VALUE_MAX 200	    /* bytes of a value before escaping */
#define EVENT_LINE_MAX 4096

struct event_log;

/* What event_log_open() had to put right. */
struct event_log_found {
	bool was_torn;	 /* the last line was incomplete and was cut off */
	bool was_broken; /* a file did not chain and was set aside */
};

/* One event as read back; strings are lent during the call. */
struct event_record {
	uint64_t seq;
	uint64_t time_s;
	const struct event_type *type; /* NULL when this version does not know the name */
	const char *name;
	size_t n_fields;
	struct {
		const char *key, *value; /* value unescaped; may hold any byte but NUL */
	} fields[16];
};

/* Open or start the log in @dir_fd (kept by the caller); @file_max bytes per file. Reads at most two files. */
int event_log_open(int dir_fd, size_t file_max, struct event_log **ret_log, struct event_log_found *ret_found,
		   struct agent_error **err);
struct event_log *event_log_free(struct event_log *log);
uint64_t event_log_last_seq(const struct event_log *log);

/*
 * Append one line; @fields are n pairs of key and value. Not durable before event_log_sync(). -ENOSPC and so on leave the
 * log as it was.
 */
int event_log_append(struct event_log *log, enum event_id id, uint64_t time_s, const char *const (*fields)[2], size_t n_fields,
		     uint64_t *ret_seq, struct agent_error **err);
int event_log_sync(struct event_log *log, struct agent_error **err);

/* Call @fn for every event after @after_seq, oldest first, until it returns non-zero, which is returned. */
int event_log_read(struct event_log *log, uint64_t after_seq, int (*fn)(const struct event_record *record, void *userdata),
		   void *userdata, struct agent_error **err);

#endif
