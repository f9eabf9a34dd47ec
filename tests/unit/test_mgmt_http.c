/* SPDX-License-Identifier: Apache-2.0 */
/* Requests as bytes through all stages: who, gate, endpoints, uploads, connections. */
#include "tests/unit/mgmt_world.h"

static void run(struct world *w, int turns)
{
	for (int i = 0; i < turns; i++)
		assert_true(sd_event_run(w->event, 1000) >= 0);
}

/* ---- stages ------------------------------------------------------------------------------------------------------- */

static void every_route_but_the_open_ones_needs_a_login(void **state)
{
	struct world *w = *state;
	static const char *const methods[] = { "GET", "POST", "PUT", "DELETE" };
	char request[512], path[128], text[4096];

	for (size_t i = 0; i < n_routes; i++) {
		const struct route *route = &routes[i];
		const char *star = strchr(route->path, '*');
		unsigned status;

		if (star != NULL)
			snprintf(path, sizeof(path), "%.*sdevice%s", (int)(star - route->path), route->path, star + 1);
		else
			snprintf(path, sizeof(path), "%s", route->path);
		snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", methods[route->method], path);
		w->core.n_calls = 0;
		status = exchange(w, request, text, sizeof(text));
		if (route->role == ROLE_ANYONE)
			assert_int_not_equal(status, 401);
		else
			assert_int_equal(status, 401);
		if (route->role != ROLE_ANYONE) {
			/* Core is not even asked. */
			assert_int_equal(w->core.n_calls, 0);
			assert_non_null(strstr(text, "urn:agentd:problem:authentication-required"));
		}
		/* Only the page and the first-boot routes are open, by name: a new row must be thought about here. */
		if (route->gate == GATE_OPEN)
			assert_true(strcmp(path, "/") == 0 || strcmp(path, "/app.js") == 0 || strcmp(path, "/style.css") == 0 ||
				    strcmp(path, "/v1/health") == 0 || strcmp(path, "/v1/bootstrap") == 0 ||
				    strcmp(path, "/v1/session") == 0 || strcmp(route->path, "/v1/credentials/*") == 0 || strcmp(path, "/v1/credentials/check") == 0);
	}
}

static void before_the_password_is_set_closed_routes_answer_403(void **state)
{
	struct world *w = *state;
	static const char *const methods[] = { "GET", "POST", "PUT", "DELETE" };
	char request[512], text[4096];

	w->core.setup = "factory";
	/* One session asks more than it may at once. */
	limit_set_rate(w->m->limits, LIMIT_READ, (struct limit_rate){ 1000, 2 * (uint32_t)n_routes });
	limit_set_rate(w->m->limits, LIMIT_WRITE, (struct limit_rate){ 1000, 2 * (uint32_t)n_routes });
	for (size_t i = 0; i < n_routes; i++) {
		const struct route *route = &routes[i];

		if (route->gate == GATE_OPEN || strchr(route->path, '*') != NULL)
			continue;
		snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\n" H "Authorization: Bearer password-token\r\nContent-Length: 0\r\n\r\n",
			 methods[route->method], route->path);
		assert_int_equal(exchange(w, request, text, sizeof(text)), 403);
		assert_non_null(strstr(text, "password-change-required"));
		assert_non_null(strstr(text, "\"next\":\"/v1/credentials/admin\""));
		/* The administrator of the machine may set the password, not skip it. */
		assert_int_equal(exchange_bytes(w, 0, request, strlen(request), text, sizeof(text)), 403);
	}
}

static void a_login_gets_a_token(void **state)
{
	struct world *w = *state;
	char text[4096];

	assert_int_equal(exchange(w, "POST /v1/session HTTP/1.1\r\n" H JSON "Cookie: x=1; __Host-agentd-device=known; y=2\r\nContent-Length: 36\r\n\r\n"
				     "{\"user\":\"admin\",\"password\":\"right\"} ", text, sizeof(text)), 201);
	assert_non_null(strstr(text, "\"token\":\"full-token\""));
	assert_non_null(strstr(text, "X-Content-Type-Options: nosniff"));
	assert_non_null(strstr(text, "Cache-Control: no-store"));
	assert_string_equal(w->core.last_device, "known");
	assert_string_equal(w->core.last_source, "ip:test");
	assert_int_equal(exchange(w, "POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 35\r\n\r\n{\"user\":\"admin\",\"password\":\"wrong\"}",
				  text, sizeof(text)), 401);
	assert_non_null(strstr(text, "wrong-credentials"));
	assert_int_equal(exchange(w, "POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 34\r\n\r\n{\"user\":\"admin\",\"password\":\"slow\"}",
				  text, sizeof(text)), 429);
	assert_non_null(strstr(text, "Retry-After: 7\r\n"));
	assert_null(strstr(text, "(retry-after"));
}

static void a_weak_password_comes_back_with_reasons(void **state)
{
	char text[4096];

	assert_int_equal(exchange(*state, "PUT /v1/credentials/admin HTTP/1.1\r\n" H JSON FULL "Content-Length: 14\r\n\r\n{\"new\":\"weak\"}",
				  text, sizeof(text)), 422);
	assert_non_null(strstr(text, "\"reasons\":[\"too short\",\"too few different characters\"]"));
}

static void answers_of_core_become_json(void **state)
{
	char text[4096];

	assert_int_equal(exchange(*state, "GET /v1/status HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text)), 200);
	assert_non_null(strstr(text, "{\"setup\":\"active\",\"tpm_commands\":42}"));
	assert_int_equal(exchange(*state, "GET /v1/events?after=3&limit=5 HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text)), 200);
	assert_non_null(strstr(text, "\"last\":9"));
	assert_int_equal(exchange(*state, "GET /v1/events?after=x HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text)), 400);
	assert_int_equal(exchange(*state, "GET /v1/events?limit=0 HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text)), 400);
	assert_int_equal(exchange(*state, "GET /v1/events?after=1&after=2 HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text)), 400);
	assert_int_equal(exchange(*state, "POST /v1/keys/my-key/csr HTTP/1.1\r\n" H JSON FULL "Content-Length: 18\r\n\r\n{\"subject\":\"CN=a\"}",
				  text, sizeof(text)), 200);
	assert_non_null(strstr(text, "{\"csr\":\"my-key\"}"));
}

static void core_away_is_503(void **state)
{
	struct world *w = *state;
	char text[4096];

	sd_bus_close(w->core.bus);
	assert_int_equal(exchange(w, "GET /v1/health HTTP/1.1\r\n" H "\r\n", text, sizeof(text)), 503);
	assert_non_null(strstr(text, "core-unreachable"));
	assert_int_equal(exchange(w, "GET /v1/status HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text)), 503);
	assert_int_equal(exchange(w, "GET / HTTP/1.1\r\n" H "\r\n", text, sizeof(text)), 200);
}

static void the_page_has_a_strict_policy(void **state)
{
	static char text[32768];

	assert_int_equal(exchange(*state, "GET / HTTP/1.1\r\n" H "\r\n", text, sizeof(text)), 200);
	assert_non_null(strstr(text, "default-src 'none'; script-src 'self'"));
	assert_null(strstr(text, "unsafe-inline"));
	assert_null(strstr(text, "style=\""));
	assert_null(strstr(text, "onclick"));
}

static void a_source_that_asks_too_often_gets_429_and_a_session_does_not_suffer(void **state)
{
	struct world *w = *state;
	char text[4096];
	uint32_t burst = limit_rates[LIMIT_STRANGER].burst;
	unsigned status = 200, n = 0;

	/* However slow this machine is, none comes back meanwhile. */
	limit_set_rate(w->m->limits, LIMIT_STRANGER, (struct limit_rate){ 60000000, burst });
	for (; n < 30 && status == 200; n++) {
		w->next_source = 7;
		status = exchange(w, "GET /v1/health HTTP/1.1\r\n" H "\r\n", text, sizeof(text));
	}
	assert_int_equal(status, 429);
	assert_int_equal(n, burst + 1);
	assert_non_null(strstr(text, "Retry-After: "));
	/* Who has too many tokens is a stranger like those who have none. */
	w->next_source = 7;
	assert_int_equal(exchange(w, "GET /v1/status HTTP/1.1\r\n" H FULL "Cookie: __Host-agentd=full-token\r\n\r\n", text, sizeof(text)), 429);
	assert_int_equal(exchange(w, "GET /v1/status HTTP/1.1\r\n" H FULL "Cookie: __Host-agentd=full-token\r\n\r\n", text, sizeof(text)), 400);
	/* A token that was never confirmed has no budget of its own. */
	w->next_source = 7;
	assert_int_equal(exchange(w, "GET /v1/status HTTP/1.1\r\n" H "Authorization: Bearer nonsense\r\n\r\n", text, sizeof(text)), 429);
	limit_session_add(w->m->limits, "full-token");
	w->next_source = 7;
	assert_int_equal(exchange(w, "GET /v1/status HTTP/1.1\r\n" H FULL "\r\n", text, sizeof(text)), 200);
}

static void requests_follow_each_other_on_a_connection(void **state)
{
	struct world *w = *state;
	char text[4096];
	int fd = client_open(w, BUS_NO_UID);

	for (int i = 0; i < 3; i++) {
		assert_true(send(fd, T("GET /v1/status HTTP/1.1\r\n" H FULL "\r\n"), MSG_NOSIGNAL) > 0);
		assert_int_equal(receive(w, fd, text, sizeof(text)), 200);
	}
	/* a refusal does not cost a new connection either, with or without asking core */
	assert_true(send(fd, T("GET /v1/nothing HTTP/1.1\r\n" H FULL "\r\n"), MSG_NOSIGNAL) > 0);
	assert_int_equal(receive(w, fd, text, sizeof(text)), 404);
	assert_true(send(fd, T("GET /v1/status HTTP/1.1\r\n" H "\r\n"), MSG_NOSIGNAL) > 0);
	assert_int_equal(receive(w, fd, text, sizeof(text)), 401);
	assert_true(send(fd, T("GET /v1/status HTTP/1.1\r\n" H FULL "\r\n"), MSG_NOSIGNAL) > 0);
	assert_int_equal(receive(w, fd, text, sizeof(text)), 200);
	/* but a head that may be misread ends it, and what was sent behind it is not looked at */
	assert_true(send(fd, T("GET /v1/../status HTTP/1.1\r\n" H FULL "\r\nGET /v1/status HTTP/1.1\r\n" H FULL "\r\n"), MSG_NOSIGNAL) > 0);
	assert_int_equal(receive(w, fd, text, sizeof(text)), 400);
	run(w, 20);
	assert_int_equal(recv(fd, text, sizeof(text), 0), 0);
	close(fd);
}

/* ---- uploads ------------------------------------------------------------------------------------------------------ */

static void an_upload_without_login_is_refused_before_its_body(void **state)
{
	struct world *w = *state;
	char text[4096];

	assert_int_equal(exchange(w, UPLOAD "Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n", text, sizeof(text)), 401);
	assert_null(strstr(text, "100 Continue"));
	assert_string_equal(w->core.last_refused, "");
	assert_int_equal(exchange(w, UPLOAD "Authorization: Bearer viewer-token\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n",
				  text, sizeof(text)), 403);
	assert_null(strstr(text, "100 Continue"));
	for (int i = 0; i < 200 && w->core.last_refused[0] == '\0'; i++)
		assert_true(sd_event_run(w->event, 10000) >= 0);
	assert_string_equal(w->core.last_refused, "POST /v1/update");
	/* What is not in the table is not repeated into the log. */
	assert_int_equal(exchange(w, "GET /v1/nothing-of-the-kind HTTP/1.1\r\n" H "Authorization: Bearer viewer-token\r\n\r\n", text, sizeof(text)), 403);
	for (int i = 0; i < 200 && strncmp(w->core.last_refused, "POST", 4) == 0; i++)
		assert_true(sd_event_run(w->event, 10000) >= 0);
	assert_string_equal(w->core.last_refused, "GET an unknown path");
}

static void an_upload_streams_into_the_pipe(void **state)
{
	struct world *w = *state;
	const size_t total = 3 * MIB;
	static char piece[32768];
	char text[4096];
	size_t sent = 0, got = 0;
	int fd = client_open(w, BUS_NO_UID);

	assert_true(send(fd, T(UPLOAD FULL "Content-Length: 3145728\r\nExpect: 100-continue\r\n\r\n"), MSG_NOSIGNAL) > 0);
	run(w, 50);
	assert_true(recv(fd, text, sizeof(text), 0) > 0);
	assert_memory_equal(text, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	for (int turn = 0; got < total && turn < 100000; turn++) {
		ssize_t n;

		if (sent < total) {
			memset(piece, (int)(sent >> 15), sizeof(piece));
			n = send(fd, piece, total - sent < sizeof(piece) ? total - sent : sizeof(piece), MSG_NOSIGNAL);
			if (n > 0)
				sent += (size_t)n;
		}
		assert_true(sd_event_run(w->event, 0) >= 0);
		/* Now and then only: the pipe must fill up and hold the client back. */
		if (turn % 20 == 0) {
			struct pollfd p = { .fd = w->core.pipe_read, .events = POLLIN };

			while (poll(&p, 1, 0) == 1 && (n = read(w->core.pipe_read, piece, sizeof(piece))) > 0)
				got += (size_t)n;
		}
	}
	assert_int_equal(got, total);
	for (int i = 0; i < 100; i++)
		assert_true(sd_event_run(w->event, 0) >= 0);
	/* The end of the body is the end of the pipe. */
	assert_int_equal(read(w->core.pipe_read, piece, sizeof(piece)), 0);
	assert_non_null(w->core.waiting);
	answer_update(w->core.waiting);
	assert_int_equal(receive(w, fd, text, sizeof(text)), 200);
	assert_non_null(strstr(text, "\"stage\":\"written\""));
	close(fd);
}

static void a_refused_upload_is_answered_in_the_middle(void **state)
{
	struct world *w = *state;
	static char piece[65536];
	char text[4096];
	int fd = client_open(w, BUS_NO_UID);

	assert_true(send(fd, T(UPLOAD FULL "Content-Length: 100000000\r\n\r\n"), MSG_NOSIGNAL) > 0);
	run(w, 50);
	assert_true(w->core.pipe_read >= 0);
	assert_true(send(fd, piece, sizeof(piece), MSG_NOSIGNAL) > 0);
	run(w, 20);
	close(w->core.pipe_read);
	w->core.pipe_read = -1;
	(void)send(fd, piece, sizeof(piece), MSG_NOSIGNAL);
	run(w, 20);
	assert_int_equal(answer_error(w->core.waiting, -EKEYREJECTED, "update.signature", "no trusted key signed it") >= 0, 1);
	assert_int_equal(receive(w, fd, text, sizeof(text)), 422);
	assert_non_null(strstr(text, "\"error\":\"update.signature\""));
	assert_non_null(strstr(text, "Connection: close"));
	assert_non_null(strstr(text, "X-Content-Type-Options: nosniff"));
	close(fd);
	run(w, 20);
}

static void an_old_update_is_409(void **state)
{
	struct world *w = *state;
	char text[4096];
	int fd = client_open(w, BUS_NO_UID);

	assert_true(send(fd, T(UPLOAD FULL "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), MSG_NOSIGNAL) > 0);
	run(w, 80);
	assert_int_equal(read(w->core.pipe_read, text, sizeof(text)), 3);
	assert_int_equal(read(w->core.pipe_read, text, sizeof(text)), 0);
	assert_true(answer_error(w->core.waiting, -ESTALE, "update.stale", "security version 3 is below the floor 4") >= 0);
	assert_int_equal(receive(w, fd, text, sizeof(text)), 409);
	assert_non_null(strstr(text, "update-stale"));
	close(fd);
}

static void a_client_that_leaves_ends_the_pipe(void **state)
{
	struct world *w = *state;
	char text[4096];
	int fd = client_open(w, BUS_NO_UID);

	assert_true(send(fd, T(UPLOAD FULL "Content-Length: 1000\r\n\r\nabc"), MSG_NOSIGNAL) > 0);
	run(w, 50);
	assert_true(w->core.pipe_read >= 0);
	close(fd);
	run(w, 50);
	assert_int_equal(read(w->core.pipe_read, text, sizeof(text)), 3);
	assert_int_equal(read(w->core.pipe_read, text, sizeof(text)), 0);
	/* An answer that comes now finds nobody, and harms nobody. */
	assert_true(answer_error(w->core.waiting, -EBADMSG, "container.short", "cut short") >= 0);
	run(w, 20);
}

static void a_client_that_leaves_a_blocked_upload_ends_the_pipe(void **state)
{
	struct world *w = *state;
	static char piece[65536];
	int fd = client_open(w, BUS_NO_UID);
	size_t got = 0;
	ssize_t n;

	assert_true(send(fd, T(UPLOAD FULL "Content-Length: 100000000\r\n\r\n"), MSG_NOSIGNAL) > 0);
	run(w, 50);
	for (int i = 0; i < 100; i++) {
		(void)send(fd, piece, sizeof(piece), MSG_NOSIGNAL);
		assert_true(sd_event_run(w->event, 0) >= 0);
	}
	close(fd);
	run(w, 50);
	while ((n = read(w->core.pipe_read, piece, sizeof(piece))) > 0) {
		got += (size_t)n;
		run(w, 10);
	}
	assert_int_equal(n, 0);
	assert_true(got > 0);
}

/* ---- at rest ------------------------------------------------------------------------------------------------------ */

/* With nobody doing anything the loop must sleep; a descriptor that stays ready would eat the processor. */
static void assert_quiet(struct world *w, const char *what)
{
	int n_busy = 0;

	for (int i = 0; i < 50; i++)	/* settle */
		assert_true(sd_event_run(w->event, 1000) >= 0);
	for (int i = 0; i < 30; i++)
		n_busy += sd_event_run(w->event, 1000) > 0;
	if (n_busy > 5)
		fail_msg("%s: %d of 30 turns were busy", what, n_busy);
}

static void waiting_costs_nothing(void **state)
{
	struct world *w = *state;
	static char piece[65536];
	char text[4096];
	int fd, i;

	fd = client_open(w, BUS_NO_UID);
	assert_quiet(w, "an idle connection");
	close(fd);
	fd = client_open(w, BUS_NO_UID);
	assert_true(send(fd, T("GET /v1/he"), MSG_NOSIGNAL) > 0);
	assert_quiet(w, "half a head");
	close(fd);
	assert_quiet(w, "half a head, client gone");

	fd = client_open(w, BUS_NO_UID);
	assert_true(send(fd, T("GET /v1/keys HTTP/1.1\r\n" H FULL "\r\n"), MSG_NOSIGNAL) > 0);
	assert_quiet(w, "core takes its time");
	shutdown(fd, SHUT_WR);
	assert_quiet(w, "core takes its time, client has said all");
	close(fd);
	assert_quiet(w, "core takes its time, client gone");

	fd = client_open(w, BUS_NO_UID);
	assert_true(send(fd, T(UPLOAD FULL "Content-Length: 100000000\r\n\r\n"), MSG_NOSIGNAL) > 0);
	run(w, 50);
	for (i = 0; i < 100; i++) {
		(void)send(fd, piece, sizeof(piece), MSG_NOSIGNAL);
		assert_true(sd_event_run(w->event, 0) >= 0);
	}
	assert_quiet(w, "a full pipe");
	shutdown(fd, SHUT_WR);
	assert_quiet(w, "a full pipe, client half closed");
	close(fd);
	assert_quiet(w, "a full pipe, client gone");

	/* Answers that nobody reads, until everything between is full; the last one closes. */
	fd = client_open(w, BUS_NO_UID);
	for (i = 0; i < 200; i++) {
		(void)send(fd, T("GET /app.js HTTP/1.1\r\n" H "\r\n"), MSG_NOSIGNAL);
		assert_true(sd_event_run(w->event, 0) >= 0);
	}
	assert_quiet(w, "answers that nobody reads");
	close(fd);
	fd = client_open(w, BUS_NO_UID);
	assert_true(send(fd, T("GET /v1/health HTTP/1.1\r\n" H "Connection: close\r\n\r\n"), MSG_NOSIGNAL) > 0);
	assert_int_equal(receive(w, fd, text, sizeof(text)), 200);
	assert_quiet(w, "closed by us, client stays");
	(void)send(fd, piece, sizeof(piece), MSG_NOSIGNAL);
	assert_quiet(w, "closed by us, client still sends");
	close(fd);
	assert_quiet(w, "all gone");
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

static void the_oldest_stranger_is_evicted_and_a_known_caller_is_not(void **state)
{
	struct world *w = *state;
	char text[4096];
	int known = client_open(w, BUS_NO_UID), first, second;

	assert_true(send(known, T("GET /v1/status HTTP/1.1\r\n" H FULL "\r\n"), MSG_NOSIGNAL) > 0);
	assert_int_equal(receive(w, known, text, sizeof(text)), 200);
	first = client_open(w, BUS_NO_UID);
	second = client_open(w, BUS_NO_UID);
	assert_true(conn_evict(w->m, false));
	assert_int_equal(recv(first, text, sizeof(text), 0), 0);
	assert_int_equal(recv(second, text, sizeof(text), 0), -1);
	assert_true(conn_evict(w->m, false));
	assert_int_equal(recv(second, text, sizeof(text), 0), 0);
	assert_false(conn_evict(w->m, false));
	assert_true(send(known, T("GET /v1/status HTTP/1.1\r\n" H FULL "\r\n"), MSG_NOSIGNAL) > 0);
	assert_int_equal(receive(w, known, text, sizeof(text)), 200);
	close(first);
	close(second);
	close(known);
}

static void a_known_source_is_not_evicted_for_strangers(void **state)
{
	struct world *w = *state;
	struct source owner = { .key = { 4, 192, 0, 2, 7 }, .text = "ip:192.0.2.7" };
	int pair[2], stranger;
	char text[16];

	limit_source_add(w->m->limits, &owner, mgmt_now_us(w->m));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(conn_new(w->m, pair[0], &owner, BUS_NO_UID, false, SELF_IP, NULL), 0);
	stranger = client_open(w, BUS_NO_UID);
	assert_true(conn_evict(w->m, false));
	assert_int_equal(recv(stranger, text, sizeof(text), 0), 0);
	assert_false(conn_evict(w->m, false));
	assert_int_equal(recv(pair[1], text, sizeof(text), 0), -1);
	close(pair[1]);
	close(stranger);
}

/* Readable for ever, and nothing more to come: it must not be looked at again and again until its deadline. */
static void half_a_client_hello_and_a_goodbye_is_closed_at_once(void **state)
{
	struct world *w = *state;
	struct source source = { .key = { 4, 192, 0, 2, 8 }, .text = "ip:192.0.2.8" };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(conn_new(w->m, pair[0], &source, BUS_NO_UID, true, SELF_IP, NULL), 0);
	assert_int_equal(w->m->n_waiting, 1);
	assert_int_equal(send(pair[1], "\x16\x03\x01\x01\x00\x01", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
	run(w, 20);
	assert_int_equal(w->m->n_waiting, 0);
	assert_null(w->m->conns);
	close(pair[1]);
}

static void only_a_whole_client_hello_is_let_through(void **state)
{
	static uint8_t hello[5 + 4097] = { 22, 3, 1, 1, 0, 1 };
	size_t want;

	assert_int_equal(tls_hello_check(hello, 0, &want), 0);
	assert_int_equal(want, 6);
	assert_int_equal(tls_hello_check(hello, 6, &want), 0);
	assert_int_equal(want, 5 + 256);
	assert_int_equal(tls_hello_check(hello, 5 + 255, &want), 0);
	assert_int_equal(tls_hello_check(hello, 5 + 256, &want), 1);
	assert_true(tls_hello_check((const uint8_t *)"GET / HTTP", 10, &want) < 0);
	assert_true(tls_hello_check((const uint8_t *)"G", 1, &want) < 0);
	assert_true(tls_hello_check((const uint8_t *)"\x16\x02", 2, &want) < 0);	/* SSL 2 */
	assert_true(tls_hello_check((const uint8_t *)"\x15\x03\x01\x00\x02\x02", 6, &want) < 0);	/* an alert */
	assert_true(tls_hello_check((const uint8_t *)"\x16\x03\x01\x10\x01\x01", 6, &want) < 0);	/* 4097 bytes */
	assert_true(tls_hello_check((const uint8_t *)"\x16\x03\x01\x00\x27\x01", 6, &want) < 0);	/* 39 bytes */
	assert_true(tls_hello_check((const uint8_t *)"\x16\x03\x01\x01\x00\x02", 6, &want) < 0);	/* a ServerHello */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(every_route_but_the_open_ones_needs_a_login),
		WITH_WORLD(before_the_password_is_set_closed_routes_answer_403),
		WITH_WORLD(a_login_gets_a_token),
		WITH_WORLD(a_weak_password_comes_back_with_reasons),
		WITH_WORLD(answers_of_core_become_json),
		WITH_WORLD(core_away_is_503),
		WITH_WORLD(the_page_has_a_strict_policy),
		WITH_WORLD(a_source_that_asks_too_often_gets_429_and_a_session_does_not_suffer),
		WITH_WORLD(requests_follow_each_other_on_a_connection),
		WITH_WORLD(an_upload_without_login_is_refused_before_its_body),
		WITH_WORLD(an_upload_streams_into_the_pipe),
		WITH_WORLD(a_refused_upload_is_answered_in_the_middle),
		WITH_WORLD(an_old_update_is_409),
		WITH_WORLD(a_client_that_leaves_ends_the_pipe),
		WITH_WORLD(a_client_that_leaves_a_blocked_upload_ends_the_pipe),
		WITH_WORLD(waiting_costs_nothing),
		WITH_WORLD(the_oldest_stranger_is_evicted_and_a_known_caller_is_not),
		WITH_WORLD(a_known_source_is_not_evicted_for_strangers),
		WITH_WORLD(half_a_client_hello_and_a_goodbye_is_closed_at_once),
		cmocka_unit_test(only_a_whole_client_hello_is_let_through),
	};

	signal(SIGPIPE, SIG_IGN);	/* as service_start() does */
	return cmocka_run_group_tests_name("mgmt_http", tests, NULL, NULL);
}
