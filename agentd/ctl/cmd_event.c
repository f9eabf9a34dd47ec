/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "agentd/ctl/sse.h"
#include "base/macro.h"

#define PAGE 200
#define LIMIT_MAX 100000

static bool is_head(const char *key)
{
	static const char *const head[] = { "seq", "time", "name", "message_id", "priority" };

	for (size_t i = 0; i < ARRAY_SIZE(head); i++)
		if (strcmp(key, head[i]) == 0)
			return true;
	return false;
}

static void print_event(const struct ctl *ctl, json_t *event)
{
	const char *name = json_string_value(json_object_get(event, "name")), *key;
	const json_t *value;

	if (ctl->is_json) {
		print_json(event);
		return;
	}
	print_time(stdout, (uint64_t)json_integer_value(json_object_get(event, "time")));
	fputs("  ", stdout);
	print_padded(name, 24);
	json_object_foreach(event, key, value) {
		if (is_head(key))
			continue;
		fputc(' ', stdout);
		print_text(stdout, key);
		fputc('=', stdout);
		print_value(stdout, value);
	}
	fputc('\n', stdout);
}

/* One page after *seq: its events are appended to @events (an array), *seq moves on. *ret_n is how many came. */
static int next_page(struct ctl *ctl, uint64_t *seq, json_t *events, size_t *ret_n)
{
	struct reply reply;
	char path[96];
	json_t *event;
	size_t i;
	int r;

	snprintf(path, sizeof(path), "/v1/events?after=%" PRIu64 "&limit=%d", *seq, PAGE);
	r = http_request(ctl, "GET", path, NULL, &reply);
	*ret_n = 0;
	if (r == CTL_OK)
		json_array_foreach(json_object_get(reply.body, "events"), i, event) {
			uint64_t at = (uint64_t)json_integer_value(json_object_get(event, "seq"));

			if (at > *seq)
				*seq = at;
			json_array_append(events, event);
			++*ret_n;
		}
	reply_free(&reply);
	return r;
}

/* Everything after *seq; no more than the last @limit are kept. */
static int collect(struct ctl *ctl, uint64_t *seq, json_t *events, size_t limit)
{
	size_t n;
	int r;

	do {
		r = next_page(ctl, seq, events, &n);
		while (json_array_size(events) > limit)
			json_array_remove(events, 0);
	} while (r == CTL_OK && n == PAGE);
	return r;
}

/* ---- following ---------------------------------------------------------------------------------------------------- */

struct follower {
	const struct ctl *ctl;
	uint64_t seq;	/* of the last event that was shown */
	bool is_heard;	/* the agent answered since it was last said that it does not */
	struct sse sse;
};

static int on_stream_event(void *userdata, const char *event, const char *data)
{
	struct follower *f = userdata;
	json_t *json = json_loads(data, JSON_REJECT_DUPLICATES, NULL);
	uint64_t at;

	f->is_heard = true;
	if (strcmp(event, "hello") == 0) {
		/* Fewer than we have seen: another log began, a factory reset for example. */
		at = (uint64_t)json_integer_value(json_object_get(json, "last"));
		if (json != NULL && at < f->seq)
			f->seq = at;
	} else if (strcmp(event, "audit") == 0 && json != NULL) {
		at = (uint64_t)json_integer_value(json_object_get(json, "seq"));
		if (at > f->seq) {
			print_event(f->ctl, json);
			fflush(stdout);
			f->seq = at;
		}
	}
	json_decref(json);
	return ferror(stdout);
}

static int on_stream(void *userdata, const char *data, size_t size)
{
	struct follower *f = userdata;

	return sse_feed(&f->sse, data, size);
}

/* The agent's stream; when it ends (a restart, a session that ran out) another one, from the last event on. */
static int follow(struct ctl *ctl, uint64_t seq)
{
	struct follower f = { .ctl = ctl, .seq = seq, .is_heard = true, .sse = { .on_event = on_stream_event } };
	int r;

	f.sse.userdata = &f;
	do {
		char path[64];

		snprintf(path, sizeof(path), "/v1/events/stream?after=%" PRIu64, f.seq);
		r = http_follow(ctl, path, on_stream, &f);
		sse_clear(&f.sse);
		if (r == CTL_UNREACHABLE || r == CTL_BUSY) {
			if (f.is_heard && !reader_is_gone())
				fputs("agentctl: the agent does not answer; trying again\n", stderr);
			f.is_heard = false;
			r = CTL_OK;
		}
		if (r == CTL_OK && !ferror(stdout) && !reader_is_gone())
			nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
	} while (r == CTL_OK && !ferror(stdout) && !reader_is_gone());
	return r;
}

int cmd_events(struct ctl *ctl, int argc, char **argv)
{
	const char *limit_text = "50";
	int is_following = 0, r;
	const struct option_row rows[] = { { "--limit", &limit_text, NULL }, { "--follow", NULL, &is_following } };
	unsigned long limit;
	json_t *events, *event;
	uint64_t seq = 0;
	size_t i;
	char *end;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0)
		return CTL_USAGE;
	limit = strtoul(limit_text, &end, 10);
	if (*end != '\0' || limit == 0 || limit > LIMIT_MAX) {
		fprintf(stderr, "agentctl: --limit %s: a number from 1 to %d is needed\n", limit_text, LIMIT_MAX);
		return CTL_USAGE;
	}
	events = json_array();
	r = collect(ctl, &seq, events, limit);
	json_array_foreach(events, i, event)
		print_event(ctl, event);
	json_decref(events);
	if (!is_following || r != CTL_OK)
		return r;
	fflush(stdout);
	return follow(ctl, seq);
}
