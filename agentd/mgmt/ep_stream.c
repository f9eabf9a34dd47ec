/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/events/stream: audit events and the progress of an update as server-sent events (WHATWG HTML, section 9.2).
 *
 * Each portion is asked of core anew with the caller's own token (StreamPull), so a logout, a changed password or a session
 * that ran out ends the stream, and listening does not keep a session alive. There is never more than one portion in memory
 * for a reader: the next is asked for when he has taken the last, and who takes nothing for a while is dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/common/bus_json.h"
#include "agentd/mgmt/request.h"
#include "base/macro.h"

#define SECOND_US UINT64_C(1000000)
#define PAUSE_US (SECOND_US / 2)	/* between two portions: events in a row travel together */
#define HEARTBEAT_US (10 * SECOND_US)
#define TAKE_US (15 * SECOND_US)	/* for the reader to take a portion */
#define PORTION 50			/* events */
#define NETWORK_MAX 8
#define PER_SOURCE_MAX 4
#define UNIX_MAX 4

struct stream {
	struct stream *next;
	struct request *req;
	sd_event_source *timer;
	uint64_t after;		/* number of the last event that was sent */
	uint64_t asked_us, written_us;
	bool is_asking;		/* core has not answered yet */
	bool is_open;		/* the answer's head is on its way */
	bool is_new;		/* core said that there is something */
	bool is_ended;		/* nothing comes after what is in @text */
	char *text;		/* portion the reader has not taken */
	size_t size, pos;
	char *update;		/* update status as last sent */
};

static bool is_taken(const struct stream *s)
{
	return s->pos == s->size;
}

static void arm(struct stream *s)
{
	uint64_t at_us = s->asked_us + (s->is_new ? PAUSE_US : HEARTBEAT_US);

	if (s->is_asking || s->timer == NULL)
		return;
	if (!is_taken(s))
		at_us = s->written_us + TAKE_US;
	sd_event_source_set_time(s->timer, at_us);
	sd_event_source_set_enabled(s->timer, s->is_ended && is_taken(s) ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

void streams_wake(struct mgmt *m)
{
	for (struct stream *s = m->streams; s != NULL; s = s->next) {
		s->is_new = true;
		arm(s);
	}
}

void stream_gone(struct request *req)
{
	struct stream *s = TAKE_PTR(req->stream);

	if (s == NULL)
		return;
	for (struct stream **p = &req->m->streams; *p != NULL; p = &(*p)->next)
		if (*p == s) {
			*p = s->next;
			break;
		}
	sd_event_source_disable_unref(s->timer);
	free(s->text);
	free(s->update);
	free(s);
}

ssize_t stream_read(void *cls, uint64_t position, char *buffer, size_t max)
{
	struct request *req = cls;
	struct stream *s = req->stream;
	size_t n;

	if (req->stage == STAGE_DEAD || s == NULL)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = s->size - s->pos < max ? s->size - s->pos : max;
	if (n > 0) {
		memcpy(buffer, s->text + s->pos, n);
		s->pos += n;
		return (ssize_t)n;
	}
	if (s->is_ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	arm(s);
	request_pause(req);
	return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void put(FILE *out, const char *name, uint64_t id, const char *data)
{
	fprintf(out, "event: %s\n", name);
	if (id > 0)
		fprintf(out, "id: %llu\n", (unsigned long long)id);
	/* JSON of one line: no line end inside can fake a field. */
	fprintf(out, "data: %s\n\n", data);
}

static char *to_text(const json_t *json)
{
	return json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);
}

/* Hands over what was written to @out, which wrote to s->text. */
static void hand_over(struct stream *s)
{
	s->pos = 0;
	s->written_us = mgmt_now_us(s->req->m);
	if (s->is_open) {
		request_resume(s->req);
	} else {
		s->is_open = true;
		reply_stream(s->req);
	}
}

static void end(struct stream *s, const char *reason)
{
	static const char format[] = "event: end\ndata: {\"reason\":\"%s\"}\n\n";

	free(s->text);
	s->is_ended = true;
	s->size = s->pos = 0;
	s->text = NULL;
	if (asprintf(&s->text, format, reason) >= 0)
		s->size = strlen(s->text);
	else
		s->text = NULL;
	hand_over(s);
	arm(s);
}

static bool write_events(struct stream *s, FILE *out, json_t *events)
{
	json_t *event;
	size_t i;

	json_array_foreach(events, i, event) {
		uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));
		char *text = to_text(event);

		if (text == NULL)
			return false;
		put(out, "audit", seq, text);
		free(text);
		if (seq > s->after)
			s->after = seq;
	}
	s->is_new |= i == PORTION;	/* there may be more */
	return true;
}

/* Everything of one answer; false when memory ran out. */
static bool write_portion(struct stream *s, FILE *out, uint64_t last, uint64_t left_s, json_t *update, json_t *events)
{
	char *text = to_text(update), hello[96];

	if (text == NULL)
		return false;
	if (!s->is_open) {
		if (s->after > last)	/* from a log that is no more */
			s->after = last;
		if (left_s == UINT64_MAX)
			snprintf(hello, sizeof(hello), "{\"last\":%llu}", (unsigned long long)last);
		else
			snprintf(hello, sizeof(hello), "{\"last\":%llu,\"expires_s\":%llu}", (unsigned long long)last, (unsigned long long)left_s);
		fputs("retry: 3000\n\n", out);
		put(out, "hello", s->after, hello);
	}
	if (s->update == NULL || strcmp(s->update, text) != 0) {
		put(out, "update", 0, text);
		free(s->update);
		s->update = text;
	} else {
		free(text);
	}
	return write_events(s, out, events);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void on_portion(struct request *req, sd_bus_message *reply)
{
	struct stream *s = req->stream;
	json_t *update = NULL, *events = NULL;
	uint64_t last, left_s;
	bool is_good = false;
	FILE *out;

	s->is_asking = false;
	free(s->text);
	s->text = NULL;
	s->size = s->pos = 0;
	if (sd_bus_message_read(reply, "tt", &last, &left_s) >= 0) {
		if (!s->is_open && s->after == UINT64_MAX)
			s->after = last;	/* from now on; the events that came along are old */
		update = bus_json_read(reply);
		events = update == NULL ? NULL : bus_json_read(reply);
	}
	out = events == NULL ? NULL : open_memstream(&s->text, &s->size);
	if (out != NULL) {
		is_good = write_portion(s, out, last, left_s, update, events);
		if (is_good && ftell(out) == 0)
			fputs(":\n\n", out);
		is_good = fclose(out) == 0 && is_good;
	}
	json_decref(update);
	json_decref(events);
	if (!is_good) {
		if (s->is_open)
			end(s, "unavailable");
		else
			reply_unreadable(req);
		return;
	}
	hand_over(s);
	arm(s);
}

static void on_refused(struct request *req, int r, struct agent_error **err)
{
	struct stream *s = req->stream;

	s->is_asking = false;
	if (!s->is_open)
		reply_error(req, r, err);
	else
		end(s, r == -EACCES || r == -EPERM || r == -EKEYEXPIRED ? "session" : "unavailable");
}

static void ask(struct stream *s)
{
	struct request *req = s->req;
	sd_bus_message *call;

	s->is_asking = true;
	s->is_new = false;
	s->asked_us = mgmt_now_us(req->m);
	if (s->is_open && req->is_by_certificate && !client_is_good(req->conn)) {
		s->is_asking = false;
		end(s, "session");
		return;
	}
	call = request_call_new(req, "StreamPull");
	if (call != NULL && sd_bus_message_append(call, "tu", s->after, (uint32_t)PORTION) < 0)
		call = sd_bus_message_unref(call);
	request_call_send(req, call, 0, on_portion, on_refused);
	if (req->slot != NULL)
		return;
	s->is_asking = false;
	if (s->is_open)
		end(s, "unavailable");
	else if (req->reply.status == 0)
		reply_problem(req, "internal", NULL, "out of memory", NULL);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct stream *s = userdata;

	if (is_taken(s)) {
		ask(s);
	} else if (s->is_open && usec >= s->written_us + TAKE_US) {
		mgmt_count_refused(s->req->m);
		conn_close(s->req->conn, true);
	}
	return 0;
}

/* Room for one more: places in all and per source, the Unix socket's apart. */
static bool has_place(const struct request *req)
{
	unsigned n = 0, n_source = 0;

	for (const struct stream *s = req->m->streams; s != NULL; s = s->next) {
		if (s->req->conn == NULL || s->req->conn->is_unix != req->conn->is_unix)
			continue;
		n++;
		n_source += memcmp(s->req->conn->source.key, req->conn->source.key, sizeof(req->conn->source.key)) == 0;
	}
	return req->conn->is_unix ? n < UNIX_MAX : n < NETWORK_MAX && n_source < PER_SOURCE_MAX;
}

void ep_stream_get(struct request *req)
{
	const char *last_id = req->last_event_id;
	uint64_t after = UINT64_MAX;
	char as_query[48];
	struct stream *s;

	snprintf(as_query, sizeof(as_query), "after=%s", last_id);
	/* A browser that comes back repeats the address it began with: what it has seen since counts more. */
	(void)query_u64(req->query, "after", &after);
	if (strspn(last_id, "0123456789") != strlen(last_id) || (last_id[0] != '\0' && query_u64(as_query, "after", &after) < 0)) {
		reply_problem(req, "bad-request", NULL, "Last-Event-ID must be the number of an event", NULL);
		return;
	}
	if (!has_place(req)) {
		mgmt_count_limited(req->m);
		reply_problem(req, "too-many-requests", NULL, "too many are following already: close another page or agentctl events", NULL);
		reply_header(req, "Retry-After", "%d", 10);
		return;
	}
	s = calloc(1, sizeof(*s));
	if (s == NULL || sd_event_add_time(req->m->event, &s->timer, CLOCK_MONOTONIC, UINT64_MAX, 50000, on_timer, s) < 0) {
		free(s);
		reply_problem(req, "busy", NULL, "out of memory", NULL);
		return;
	}
	s->req = req;
	s->after = after;
	s->next = req->m->streams;
	req->m->streams = s;
	req->stream = s;
	ask(s);
}
