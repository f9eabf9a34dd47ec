/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events through the real relay and parser: resume, back-pressure, places, and every way a stream ends. */
#include "tests/unit/mgmt_world.h"

#define STREAM "GET /v1/events/stream HTTP/1.1\r\n" H FULL

/* Until @wanted has come in or the connection ended; false if neither happens. */
static bool read_until(struct world *w, int fd, const char *wanted, char *text, size_t size)
{
	size_t n = strlen(text);

	for (int i = 0; i < 2000; i++) {
		ssize_t got = recv(fd, text + n, size - 1 - n, 0);

		if (got > 0)
			text[n += (size_t)got] = '\0';
		if (strstr(text, wanted) != NULL)
			return true;
		if (got == 0)
			return false;
		assert_true(sd_event_run(w->event, 20000) >= 0);
	}
	return false;
}

static void turns(struct world *w, int n)
{
	for (int i = 0; i < n; i++)
		assert_true(sd_event_run(w->event, 1000) >= 0);
}

static int follow(struct world *w, const char *request, char *text, size_t size)
{
	int fd = client_open(w, BUS_NO_UID);

	text[0] = '\0';
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	assert_true(read_until(w, fd, "event: update", text, size));
	return fd;
}

static void wake(struct world *w)
{
	assert_true(sd_bus_emit_signal(w->core.bus, BUS_PATH, BUS_CORE, "StreamWake", NULL) >= 0);
}

static void a_stream_begins_now_and_tells_what_is_new(void **state)
{
	struct world *w = *state;
	char text[8192];
	int fd;

	w->core.last_seq = 7;
	fd = follow(w, STREAM "\r\n", text, sizeof(text));
	assert_non_null(strstr(text, "HTTP/1.1 200"));
	assert_non_null(strstr(text, "Content-Type: text/event-stream"));
	assert_non_null(strstr(text, "Cache-Control: no-store"));
	assert_non_null(strstr(text, "event: hello\nid: 7\ndata: {\"last\":7,\"expires_s\":900}\n\n"));
	assert_non_null(strstr(text, "data: {\"stage\":\"idle\"}\n\n"));
	assert_null(strstr(text, "event: audit"));
	w->core.last_seq = 9;
	wake(w);
	assert_true(read_until(w, fd, "\"seq\":9", text, sizeof(text)));
	assert_non_null(strstr(text, "event: audit\nid: 8\n"));
	/* The state of the update did not change, so it is not told again. */
	assert_null(strstr(strstr(text, "event: update") + 1, "event: update"));
	close(fd);
	turns(w, 10);
	assert_null(w->m->streams);
	assert_null(w->m->conns);
}

static void a_reader_who_comes_back_gets_what_he_missed(void **state)
{
	struct world *w = *state;
	char text[16384];
	int fd;

	w->core.last_seq = 60;
	fd = follow(w, "GET /v1/events/stream?after=1 HTTP/1.1\r\n" H FULL "Last-Event-ID: 57\r\n\r\n", text, sizeof(text));
	assert_true(read_until(w, fd, "\"seq\":60", text, sizeof(text)));
	assert_null(strstr(text, "\"seq\":57"));
	assert_non_null(strstr(text, "\"seq\":58"));
	close(fd);
	turns(w, 10);
	/* More than one portion. */
	fd = follow(w, "GET /v1/events/stream?after=1 HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text));
	assert_true(read_until(w, fd, "\"seq\":60", text, sizeof(text)));
	assert_non_null(strstr(text, "\"seq\":2,"));
	close(fd);
	turns(w, 10);
	/* A number from a log that is no more. */
	fd = follow(w, "GET /v1/events/stream?after=5000 HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text));
	assert_non_null(strstr(text, "event: hello\nid: 60\n"));
	close(fd);
}

static void what_is_no_number_is_refused(void **state)
{
	static const char *const heads[] = {
		"GET /v1/events/stream?after=x HTTP/1.1\r\n" H FULL "\r\n",
		"GET /v1/events/stream?after= HTTP/1.1\r\n" H FULL "\r\n",
		"GET /v1/events/stream?after=9223372036854775808 HTTP/1.1\r\n" H FULL "\r\n",
		"GET /v1/events/stream?limit=1 HTTP/1.1\r\n" H FULL "\r\n",
		STREAM "Last-Event-ID: -1\r\n\r\n",
		STREAM "Last-Event-ID: 1&after=2\r\n\r\n",
		STREAM "Last-Event-ID: 99999999999999999999999999999\r\n\r\n",
	};
	struct world *w = *state;
	char text[4096];

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		assert_int_equal(exchange(w, heads[i], text, sizeof(text)), 400);
	assert_null(w->m->streams);
}

static void the_end_of_the_session_ends_the_stream(void **state)
{
	struct world *w = *state;
	char text[8192];
	int fd = follow(w, STREAM "\r\n", text, sizeof(text));

	w->core.is_session_over = true;
	wake(w);
	assert_true(read_until(w, fd, "event: end\ndata: {\"reason\":\"session\"}", text, sizeof(text)));
	/* The last chunk: the body is complete, and the connection may serve other requests. */
	assert_true(read_until(w, fd, "\r\n0\r\n", text, sizeof(text)));
	turns(w, 5);
	assert_null(w->m->streams);
	close(fd);
}

static void core_going_away_ends_the_stream(void **state)
{
	struct world *w = *state;
	char text[8192];
	int fd = follow(w, STREAM "\r\n", text, sizeof(text));

	core_disconnect(w->m);
	streams_wake(w->m);
	assert_true(read_until(w, fd, "event: end\ndata: {\"reason\":\"unavailable\"}", text, sizeof(text)));
	close(fd);
}

static void who_sends_more_is_dropped(void **state)
{
	struct world *w = *state;
	char text[8192];
	int fd = follow(w, STREAM "\r\n", text, sizeof(text));

	assert_true(send(fd, T("GET /v1/status HTTP/1.1\r\n" H FULL "\r\n"), MSG_NOSIGNAL) > 0);
	assert_false(read_until(w, fd, "nothing of the kind", text, sizeof(text)));
	turns(w, 10);
	assert_null(w->m->conns);
	close(fd);
}

static void places_are_counted(void **state)
{
	struct world *w = *state;
	char text[8192];
	int fds[8];

	for (size_t i = 0; i < 8; i++)
		fds[i] = follow(w, STREAM "\r\n", text, sizeof(text));
	assert_int_equal(exchange(w, STREAM "\r\n", text, sizeof(text)), 429);
	assert_non_null(strstr(text, "Retry-After: 10"));
	/* Who leaves makes room. */
	close(fds[7]);
	turns(w, 10);
	fds[7] = follow(w, STREAM "\r\n", text, sizeof(text));
	for (size_t i = 0; i < 8; i++)
		close(fds[i]);
	turns(w, 40);
	assert_null(w->m->streams);
	assert_null(w->m->conns);
}

/* Nothing but what the kernel buffers hold: core is not asked for more than the reader takes. */
static void a_reader_who_does_not_read_gets_no_more_and_then_goes(void **state)
{
	struct world *w = *state;
	char text[8192];
	unsigned before;
	int fd;

	w->core.event_bytes = 4000;
	w->core.last_seq = 1000000;
	fd = follow(w, "GET /v1/events/stream?after=1 HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text));
	for (int i = 0; i < 40; i++) {
		wake(w);
		assert_true(sd_event_run(w->event, 100000) >= 0);
	}
	for (int i = 0; i < 20; i++)
		assert_true(sd_event_run(w->event, 30000) >= 0);
	before = w->core.n_calls;
	for (int i = 0; i < 100; i++) {
		wake(w);
		assert_true(sd_event_run(w->event, 10000) >= 0);
	}
	assert_int_equal(w->core.n_calls, before);
	assert_non_null(w->m->streams);
	/* After 15 s without taking anything his place is free for somebody else. */
	for (int i = 0; i < 6000 && w->m->streams != NULL; i++)
		assert_true(sd_event_run(w->event, 10000) >= 0);
	assert_null(w->m->streams);
	turns(w, 20);
	assert_null(w->m->conns);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(a_stream_begins_now_and_tells_what_is_new),
		WITH_WORLD(a_reader_who_comes_back_gets_what_he_missed),
		WITH_WORLD(what_is_no_number_is_refused),
		WITH_WORLD(the_end_of_the_session_ends_the_stream),
		WITH_WORLD(core_going_away_ends_the_stream),
		WITH_WORLD(who_sends_more_is_dropped),
		WITH_WORLD(places_are_counted),
		WITH_WORLD(a_reader_who_does_not_read_gets_no_more_and_then_goes),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("mgmt_stream", tests, NULL, NULL);
}
