/* SPDX-License-Identifier: Apache-2.0 */
/* Request heads as bytes: what is refused, and with which status. */
#include "tests/unit/mgmt_world.h"

#include "agentd/mgmt/plain.h"

static const struct head_case {
	const char *claim, *bytes;
	size_t size;
	unsigned status;	/* 0: closed without an answer, or any 4xx or 5xx */
} head_cases[] = {
	{ "plain request", T("GET /v1/health HTTP/1.1\r\n" H "\r\n"), 200 },
	{ "HTTP/1.0 with Host", T("GET /v1/health HTTP/1.0\r\n" H "\r\n"), 200 },
	{ "upper case host", T("GET /v1/health HTTP/1.1\r\nHost: GW-0001.LOCAL\r\n\r\n"), 200 },
	{ "host with port", T("GET /v1/health HTTP/1.1\r\nHost: gw-0001.local:8443\r\n\r\n"), 200 },
	{ "host from the settings", T("GET /v1/health HTTP/1.1\r\nHost: gw.example\r\n\r\n"), 200 },
	{ "address it was reached by", T("GET /v1/health HTTP/1.1\r\nHost: " SELF_IP "\r\n\r\n"), 200 },
	{ "another address", T("GET /v1/health HTTP/1.1\r\nHost: 192.0.2.2\r\n\r\n"), 421 },
	{ "foreign host", T("GET /v1/health HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 421 },
	{ "host with our name inside", T("GET /v1/health HTTP/1.1\r\nHost: gw-0001.local.evil.example\r\n\r\n"), 421 },
	{ "host with user part", T("GET /v1/health HTTP/1.1\r\nHost: a@gw-0001.local\r\n\r\n"), 421 },
	{ "host with a bad port", T("GET /v1/health HTTP/1.1\r\nHost: gw-0001.local:x\r\n\r\n"), 421 },
	{ "host with an empty port", T("GET /v1/health HTTP/1.1\r\nHost: gw-0001.local:\r\n\r\n"), 421 },
	{ "our name in brackets", T("GET /v1/health HTTP/1.1\r\nHost: [gw-0001.local]\r\n\r\n"), 421 },
	{ "an IPv4 address in brackets", T("GET /v1/health HTTP/1.1\r\nHost: [192.0.2.1]\r\n\r\n"), 421 },
	{ "host with half a bracket", T("GET /v1/health HTTP/1.1\r\nHost: [::1\r\n\r\n"), 421 },
	{ "empty host", T("GET /v1/health HTTP/1.1\r\nHost:\r\n\r\n"), 0 },
	{ "no host", T("GET /v1/health HTTP/1.1\r\n\r\n"), 400 },
	{ "no host in 1.0", T("GET /v1/health HTTP/1.0\r\n\r\n"), 400 },
	{ "two hosts", T("GET /v1/health HTTP/1.1\r\n" H H "\r\n"), 400 },
	{ "HTTP/2.0", T("GET /v1/health HTTP/2.0\r\n" H "\r\n"), 0 },
	{ "HTTP/1.2", T("GET /v1/health HTTP/1.2\r\n" H "\r\n"), 0 },
	{ "HTTP/0.9", T("GET /v1/health\r\n\r\n"), 0 },
	{ "no version number", T("GET /v1/health HTTP/\r\n" H "\r\n"), 0 },
	{ "lower case protocol", T("GET /v1/health http/1.1\r\n" H "\r\n"), 0 },
	{ "rubbish", T("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 0 },
	{ "percent sign in the path", T("GET /v1%2fhealth HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "percent-encoded letter", T("GET /v1/h%65alth HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "dot dot", T("GET /v1/../v1/health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "dot", T("GET /v1/./health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "dot dot at the end", T("GET /v1/health/.. HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "double slash", T("GET //v1/health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "backslash", T("GET /v1\\health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "semicolon", T("GET /v1/health;a=b HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "fragment", T("GET /v1/health#a HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "space in the path", T("GET /v1/he alth HTTP/1.1\r\n" H "\r\n"), 0 },
	{ "tab in the path", T("GET /v1/he\talth HTTP/1.1\r\n" H "\r\n"), 0 },
	{ "two spaces before the version", T("GET /v1/health  HTTP/1.1\r\n" H "\r\n"), 0 },
	{ "NUL in the path", T("GET /v1/health\0x HTTP/1.1\r\n" H "\r\n"), 0 },
	{ "byte above 127 in the path", T("GET /v1/h\xc3\xa4lth HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "absolute form", T("GET http://gw-0001.local/v1/health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "asterisk form", T("OPTIONS * HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "authority form", T("CONNECT gw-0001.local:443 HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "no slash", T("GET v1/health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "unknown query argument", T("GET /v1/health?x=1 HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "percent sign in the query", T("GET /v1/health?x=%31 HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "length and chunked", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 0 },
	{ "chunked and length", T("POST /v1/session HTTP/1.1\r\n" H JSON "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"), 0 },
	{ "chunked in 1.0", T("POST /v1/session HTTP/1.0\r\n" H JSON "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 0 },
	{ "two lengths", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"), 0 },
	{ "two different lengths", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), 0 },
	{ "negative length", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: -2\r\n\r\n{}"), 0 },
	{ "length with a plus", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: +2\r\n\r\n{}"), 0 },
	{ "hexadecimal length", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 0x2\r\n\r\n{}"), 0 },
	{ "list of lengths", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 2, 2\r\n\r\n{}"), 0 },
	{ "length beyond 64 bits", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 18446744073709551618\r\n\r\n{}"), 0 },
	{ "length beyond the cap", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 4097\r\n\r\n"), 413 },
	{ "unknown transfer encoding", T("POST /v1/session HTTP/1.1\r\n" H JSON "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 0 },
	{ "transfer encoding with a tail", T("POST /v1/session HTTP/1.1\r\n" H JSON "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"), 0 },
	{ "transfer encoding twice", T("POST /v1/session HTTP/1.1\r\n" H JSON "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 0 },
	{ "transfer encoding identity", T("POST /v1/session HTTP/1.1\r\n" H JSON "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}"), 0 },
	{ "chunk size that is no number", T("POST /v1/session HTTP/1.1\r\n" H JSON "Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n"), 0 },
	{ "chunk size beyond 64 bits", T("POST /v1/session HTTP/1.1\r\n" H JSON "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n"), 0 },
	{ "chunk without its end", T("POST /v1/session HTTP/1.1\r\n" H JSON "Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n"), 0 },
	/* harmless without a proxy in between, docs/design/mgmt.md */
	{ "bare LF as line end", T("GET /v1/health HTTP/1.1\nHost: gw-0001.local\n\n"), 200 },
	{ "folded field", T("GET /v1/health HTTP/1.1\r\n" H "X-A: a\r\n b\r\n\r\n"), 200 },
	{ "field without a name", T("GET /v1/health HTTP/1.1\r\n" H ": x\r\n\r\n"), 200 },
	{ "folded host", T("GET /v1/health HTTP/1.1\r\nHost: gw-0001.local\r\n .evil.example\r\n\r\n"), 0 },
	{ "space before the colon", T("GET /v1/health HTTP/1.1\r\nHost : gw-0001.local\r\n\r\n"), 0 },
	{ "field without a colon", T("GET /v1/health HTTP/1.1\r\n" H "nonsense\r\n\r\n"), 0 },
	{ "NUL in the method", T("G\0ET /v1/health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "NUL in the host", T("GET /v1/health HTTP/1.1\r\nHost: gw-0001.local\0.evil.example\r\n\r\n"), 400 },
	{ "NUL in a value", T("GET /v1/health HTTP/1.1\r\n" H "X-A: a\0b\r\n\r\n"), 0 },
	{ "NUL in a name", T("GET /v1/health HTTP/1.1\r\n" H "X-\0A: b\r\n\r\n"), 0 },
	{ "control byte in a value", T("GET /v1/health HTTP/1.1\r\n" H "X-A: a\x01z\r\n\r\n"), 0 },
	{ "bracket in a name", T("GET /v1/health HTTP/1.1\r\n" H "X[A]: b\r\n\r\n"), 0 },
	{ "expectation we do not know", T("GET /v1/health HTTP/1.1\r\n" H "Expect: 200-maybe\r\n\r\n"), 400 },
	{ "token and cookie at once", T("GET /v1/status HTTP/1.1\r\n" H FULL "Cookie: __Host-agentd=full-token\r\n\r\n"), 400 },
	{ "two session cookies", T("GET /v1/status HTTP/1.1\r\n" H "Cookie: __Host-agentd=a; __Host-agentd=b\r\n\r\n"), 400 },
	{ "two authorizations", T("GET /v1/status HTTP/1.1\r\n" H FULL FULL "\r\n"), 400 },
	{ "basic authorization", T("GET /v1/status HTTP/1.1\r\n" H "Authorization: Basic YWRtaW46YWRtaW4=\r\n\r\n"), 401 },
	{ "compressed body", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"), 400 },
	{ "page of another site", T("POST /v1/session HTTP/1.1\r\n" H JSON "Origin: https://evil.example\r\nContent-Length: 2\r\n\r\n{}"), 403 },
	{ "origin null", T("POST /v1/session HTTP/1.1\r\n" H JSON "Origin: null\r\nContent-Length: 2\r\n\r\n{}"), 403 },
	{ "cross-site fetch", T("GET /v1/status HTTP/1.1\r\n" H "Sec-Fetch-Site: cross-site\r\n\r\n"), 403 },
	{ "cookie without X-Agentd", T("DELETE /v1/session HTTP/1.1\r\n" H "Origin: http://gw-0001.local\r\nCookie: __Host-agentd=full-token\r\n\r\n"), 403 },
	{ "cookie without Origin", T("DELETE /v1/session HTTP/1.1\r\n" H "X-Agentd: 1\r\nCookie: __Host-agentd=full-token\r\n\r\n"), 403 },
	{ "cookie with both", T("DELETE /v1/session HTTP/1.1\r\n" H "X-Agentd: 1\r\nOrigin: http://gw-0001.local\r\nCookie: __Host-agentd=full-token\r\n\r\n"), 204 },
	{ "body where none belongs", T("GET /v1/status HTTP/1.1\r\n" H FULL "Content-Length: 2\r\n\r\n{}"), 413 },
	{ "form instead of JSON", T("POST /v1/session HTTP/1.1\r\n" H "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 2\r\n\r\n{}"), 415 },
	{ "text instead of JSON", T("POST /v1/session HTTP/1.1\r\n" H "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}"), 415 },
	{ "post without a length", T("POST /v1/session HTTP/1.1\r\n" H JSON "\r\n"), 411 },
	{ "wrong method on an open path", T("PUT /v1/health HTTP/1.1\r\n" H "\r\n"), 405 },
	{ "unknown method on an open path", T("BREW /v1/health HTTP/1.1\r\n" H "\r\n"), 405 },
	{ "wrong method on a closed path", T("PUT /v1/status HTTP/1.1\r\n" H "\r\n"), 401 },
	{ "the same with a session", T("PUT /v1/status HTTP/1.1\r\n" H FULL "\r\n"), 405 },
	{ "unknown path", T("GET /v1/nothing HTTP/1.1\r\n" H "\r\n"), 401 },
	{ "unknown path with a session", T("GET /v1/nothing HTTP/1.1\r\n" H FULL "\r\n"), 404 },
	{ "slash at the end", T("GET /v1/status/ HTTP/1.1\r\n" H FULL "\r\n"), 404 },
	{ "invented token", T("GET /v1/status HTTP/1.1\r\n" H "Authorization: Bearer nonsense\r\n\r\n"), 401 },
	{ "viewer does not write", T("POST /v1/update/confirm HTTP/1.1\r\n" H "Authorization: Bearer viewer-token\r\n\r\n"), 403 },
	{ "broken JSON", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 2\r\n\r\n{]"), 400 },
	{ "blank before the method", T(" GET /v1/health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "no method", T(" /v1/health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "two blanks behind the method", T("GET  /v1/health HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "tabs in the request line", T("GET\t/v1/health\tHTTP/1.1\r\n" H "\r\n"), 400 },
	{ "carriage return in the request line", T("GET /v1/health\rX: y HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "one word and no more", T("BAD\r\n\r\n"), 400 },
	{ "greeting of another protocol", T("SSH-2.0-client\r\n\r\n"), 400 },
	{ "two words about the page", T("GET /v1/status HTTP/1.1\r\n" H "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Site: same-origin\r\n\r\n"), 400 },
	{ "charset in quotes", T("POST /v1/session HTTP/1.1\r\n" H "Content-Type: application/json; charset=\"UTF-8\"\r\nContent-Length: 2\r\n\r\n{]"), 400 },
	{ "another charset", T("POST /v1/session HTTP/1.1\r\n" H "Content-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n\r\n{]"), 415 },
	{ "missing member", T("POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 2\r\n\r\n{}"), 400 },
};

static void malformed_requests_are_refused(void **state)
{
	struct world *w = *state;
	char text[16384];
	int n_wrong = 0;

	for (size_t i = 0; i < ARRAY_SIZE(head_cases); i++) {
		const struct head_case *c = &head_cases[i];
		unsigned status = exchange_bytes(w, BUS_NO_UID, c->bytes, c->size, text, sizeof(text));

		if (c->status != 0 ? status != c->status : status < 400)
			print_error("%s: status %u, expected %u\n%s\n", c->claim, status, c->status, text), n_wrong++;
		/* Whatever is refused: a problem of ours with all header fields, nothing of libmicrohttpd's making. */
		if (status >= 400 && (strstr(text, "Content-Type: application/problem+json\r\n") == NULL ||
				      strstr(text, "X-Content-Type-Options: nosniff\r\n") == NULL || strstr(text, "\"type\":\"urn:agentd:problem:") == NULL))
			print_error("%s: not a documented answer\n%s\n", c->claim, text), n_wrong++;
	}
	assert_int_equal(n_wrong, 0);
}

/* Everything until the connection ends or nothing more comes. */
static void receive_all(struct world *w, int fd, char *ret_text, size_t size)
{
	size_t n = 0;

	for (int i = 0; i < 200; i++) {
		ssize_t got = recv(fd, ret_text + n, size - 1 - n, 0);

		if (got > 0)
			n += (size_t)got;
		if (got == 0 || (got < 0 && errno == ECONNRESET))
			break;
		assert_true(sd_event_run(w->event, 1000) >= 0);
	}
	ret_text[n] = '\0';
}

#define GOOD "GET /v1/status HTTP/1.1\r\n" H FULL "\r\n"
#define LOGIN "POST /v1/session HTTP/1.1\r\n" H JSON
#define RIGHT "{\"user\":\"admin\",\"password\":\"right\"}" /* 35 bytes */

static const struct {
	const char *claim, *bytes;
	size_t size;
	unsigned status[4]; /* of the answers, in order */
	bool is_over;	    /* the connection ends behind them */
} together[] = {
	{ "two requests", T(GOOD GOOD), { 200, 200 }, false },
	{ "three, one unknown", T(GOOD "GET /v1/nothing HTTP/1.1\r\n" H FULL "\r\n" GOOD), { 200, 404, 200 }, false },
	{ "a body and a request behind it", T(LOGIN "Content-Length: 35\r\n\r\n" RIGHT GOOD), { 201, 200 }, false },
	{ "what cannot be parsed behind a request", T(GOOD "GET /v1/status HTTP/9.9\r\n" H "\r\n"), { 200, 400 }, true },
	{ "bytes of TLS behind a request", T(GOOD "\x16\x03\x01\x02\r\n\r\n"), { 200, 400 }, true },
	{ "one word behind a request", T(GOOD "BAD\r\n\r\n"), { 200, 400 }, true },
	{ "rubbish behind a body", T(LOGIN "Content-Length: 35\r\n\r\n" RIGHT "} }\r\n\r\n"), { 201, 400 }, true },
	{ "a NUL in the second head", T(GOOD "GET /v1/health\0x HTTP/1.1\r\n" H "\r\n"), { 200, 400 }, true },
	{ "a NUL in a field of the second head", T(GOOD "GET /v1/status HTTP/1.1\r\n" H "X: \0\r\n" FULL "\r\n"), { 200, 400 }, true },
	{ "a negative length in the second head", T(GOOD LOGIN "Content-Length: -1\r\n\r\n"), { 200, 400 }, true },
	{ "a request behind a chunked body", T(LOGIN "Transfer-Encoding: chunked\r\n\r\n23\r\n" RIGHT "\r\n0\r\n\r\n" GOOD), { 201 }, true },
	{ "a request behind a broken chunk", T(LOGIN "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" GOOD), { 400 }, true },
	{ "a request behind one that is refused", T("GET /v1/status HTTP/1.1\r\n\r\n" GOOD), { 400 }, true },
	{ "an empty line first", T("\r\n" GOOD), { 400 }, true },
	{ "an empty line before a NUL", T("\n\nGET /v1/health\0x HTTP/1.1\r\n" H "\r\n"), { 400 }, true },
};

static void what_comes_in_one_packet_is_taken_one_by_one(void **state)
{
	struct world *w = *state;
	char text[16384];
	int n_wrong = 0;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(together); i++) {
		size_t k = i / 2, n = 0;
		int fd = client_open(w, BUS_NO_UID);

		/* At once, and byte by byte: what goes where must not depend on it. */
		for (size_t sent = 0; sent < together[k].size;) {
			ssize_t m = send(fd, together[k].bytes + sent, i % 2 == 0 ? together[k].size : 1, MSG_NOSIGNAL);

			if (m <= 0)
				break;
			sent += (size_t)m;
			if (i % 2 == 1)
				assert_true(sd_event_run(w->event, 0) >= 0);
		}
		receive_all(w, fd, text, sizeof(text));
		for (const char *p = text; (p = strstr(p, "HTTP/1.1 ")) != NULL && n < ARRAY_SIZE(together[k].status); n++) {
			const char *end = strstr(p + 9, "HTTP/1.1 "), *ours = strstr(p, "X-Content-Type-Options: nosniff\r\n");

			if (strtoul(p + 9, NULL, 10) != together[k].status[n] || ours == NULL || (end != NULL && ours > end))
				print_error("%s: answer %zu\n%s\n", together[k].claim, n, text), n_wrong++;
			p += 9;
		}
		if (n == 0 || (n < ARRAY_SIZE(together[k].status) && together[k].status[n] != 0))
			print_error("%s: %zu answers\n%s\n", together[k].claim, n, text), n_wrong++;
		if (together[k].is_over != (recv(fd, text, sizeof(text), 0) == 0))
			print_error("%s: the connection is %s\n", together[k].claim, together[k].is_over ? "still open" : "closed"), n_wrong++;
		close(fd);
		for (int turn = 0; turn < 5; turn++)
			assert_true(sd_event_run(w->event, 0) >= 0);
	}
	assert_int_equal(n_wrong, 0);
}

static void too_many_fields_are_refused(void **state)
{
	char request[8192], text[4096];
	size_t n = (size_t)snprintf(request, sizeof(request), "GET /v1/health HTTP/1.1\r\n" H);

	for (int i = 0; i < 64; i++)
		n += (size_t)snprintf(request + n, sizeof(request) - n, "X-%d: y\r\n", i);
	snprintf(request + n, sizeof(request) - n, "\r\n");
	assert_int_equal(exchange(*state, request, text, sizeof(text)), 431);
}

static void a_target_that_is_too_long_is_refused(void **state)
{
	char request[1024], text[4096], target[PATH_MAX_BYTES + 2] = "/";

	memset(target + 1, 'a', sizeof(target) - 2);
	target[sizeof(target) - 1] = '\0';
	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" H "\r\n", target);
	assert_int_equal(exchange(*state, request, text, sizeof(text)), 414);
	assert_non_null(strstr(text, "urn:agentd:problem:target-too-long"));
	snprintf(request, sizeof(request), "GET /v1/events?%s HTTP/1.1\r\n" H "\r\n", target + 1);
	assert_int_equal(exchange(*state, request, text, sizeof(text)), 401);
	target[1] = '?';
	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" H "\r\n", target);
	assert_int_equal(exchange(*state, request, text, sizeof(text)), 400);
}

static void chunks_that_add_up_beyond_the_cap_are_refused(void **state)
{
	static char request[8192];
	char text[4096];
	size_t n = (size_t)snprintf(request, sizeof(request), "POST /v1/session HTTP/1.1\r\n" H JSON "Transfer-Encoding: chunked\r\n\r\n1000\r\n");

	memset(request + n, ' ', 4096);
	snprintf(request + n + 4096, sizeof(request) - n - 4096, "\r\n1\r\n \r\n0\r\n\r\n");
	assert_int_equal(exchange(*state, request, text, sizeof(text)), 413);
}

/* Its end of the connection is closed before the request is whole. */
static void half_a_request_and_a_goodbye_is_answered(void **state)
{
	static const struct {
		const char *bytes;
		unsigned status;
	} rows[] = {
		{ "GET /v1/hea", 400 },
		{ "POST /v1/session HTTP/1.1\r\n" H JSON "Content-Length: 20\r\n\r\n{\"user\"", 400 },
		{ "POST /v1/update HTTP/1.1\r\n" H FULL "Content-Type: application/octet-stream\r\nContent-Length: 3000\r\n\r\n070702", 400 },
	};
	struct world *w = *state;
	char text[4096];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int fd = client_open(w, BUS_NO_UID);

		assert_true(send(fd, rows[i].bytes, strlen(rows[i].bytes), MSG_NOSIGNAL) > 0);
		for (int turn = 0; turn < 20; turn++)	/* a head that is there is looked at before its end is */
			assert_true(sd_event_run(w->event, 1000) >= 0);
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		assert_int_equal(receive(w, fd, text, sizeof(text)), rows[i].status);
		assert_non_null(strstr(text, "urn:agentd:problem:bad-request"));
		close(fd);
	}
}

static void a_huge_head_is_refused(void **state)
{
	static char request[65536];
	struct world *w = *state;
	char text[4096];
	int fd = client_open(w, BUS_NO_UID);
	unsigned status;

	memset(request, 'a', sizeof(request));
	memcpy(request, "GET /v1/health HTTP/1.1\r\n" H "X: ", strlen("GET /v1/health HTTP/1.1\r\n" H "X: "));
	assert_true(send(fd, request, sizeof(request), MSG_NOSIGNAL) > 0);
	status = receive(w, fd, text, sizeof(text));
	assert_int_equal(status, 431);
	assert_non_null(strstr(text, "urn:agentd:problem:head-too-large"));
	close(fd);
}

/* ---- the door without TLS ------------------------------------------------------------------------------------------ */

static const struct plain_case {
	const char *claim, *bytes;
	size_t size;
	unsigned status;
	bool is_root;
} plain_cases[] = {
	{ "the page", T("GET / HTTP/1.1\r\n" H "\r\n"), 200, true },
	{ "in HTTP/1.0", T("GET / HTTP/1.0\r\n" H "\r\n"), 200, true },
	{ "with a query", T("GET /?a=%20 HTTP/1.1\r\n" H "\r\n"), 200, true },
	{ "with a request behind it", T("GET / HTTP/1.1\r\n" H "\r\nGET /x HTTP/1.1\r\n\r\n"), 200, true },
	{ "blanks around the host", T("GET / HTTP/1.1\r\nHost:\t gw-0001.local \r\n\r\n"), 200, true },
	{ "another path", T("GET /v1/status HTTP/1.1\r\n" H "\r\n"), 200, false },
	{ "two slashes are no root", T("GET //evil.example HTTP/1.1\r\n" H "\r\n"), 200, false },
	{ "half a line", T("GET / HTTP/1.1"), 0, false },
	{ "no empty line yet", T("GET / HTTP/1.1\r\n" H), 0, false },
	{ "half a line end", T("GET / HTTP/1.1\r\n" H "\r"), 0, false },
	{ "nothing yet", T(""), 0, false },
	{ "HEAD", T("HEAD / HTTP/1.1\r\n" H "\r\n"), 405, true },
	{ "POST with a body", T("POST / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}"), 405, true },
	{ "OPTIONS *", T("OPTIONS * HTTP/1.1\r\n" H "\r\n"), 405, true },
	{ "CONNECT", T("CONNECT gw-0001.local:443 HTTP/1.1\r\n" H "\r\n"), 405, false },
	{ "lower case get", T("get / HTTP/1.1\r\n" H "\r\n"), 405, true },
	{ "GET with a length", T("GET / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"), 400, false },
	{ "GET with chunks", T("GET / HTTP/1.1\r\n" H "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"), 400, false },
	{ "no host", T("GET / HTTP/1.1\r\n\r\n"), 400, false },
	{ "empty host", T("GET / HTTP/1.1\r\nHost:\r\n\r\n"), 400, false },
	{ "two hosts", T("GET / HTTP/1.1\r\n" H H "\r\n"), 400, false },
	{ "host with a quote", T("GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n"), 400, false },
	{ "host with a blank inside", T("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400, false },
	{ "host with user part", T("GET / HTTP/1.1\r\nHost: a@gw-0001.local\r\n\r\n"), 400, false },
	{ "host with a NUL", T("GET / HTTP/1.1\r\nHost: gw-0001.local\0x\r\n\r\n"), 400, false },
	{ "folded host", T("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"), 400, false },
	{ "absolute form", T("GET http://gw-0001.local/ HTTP/1.1\r\n" H "\r\n"), 400, false },
	{ "NUL in the target", T("GET /\0 HTTP/1.1\r\n" H "\r\n"), 400, false },
	{ "NUL in the method", T("GE\0T / HTTP/1.1\r\n" H "\r\n"), 400, false },
	{ "byte above 127 in the target", T("GET /\xff HTTP/1.1\r\n" H "\r\n"), 400, false },
	{ "bare line feed", T("GET / HTTP/1.1\n" H "\n"), 400, false },
	{ "line feed first", T("\nGET / HTTP/1.1\r\n"), 400, false },
	{ "empty line first", T("\r\nGET / HTTP/1.1\r\n" H "\r\n"), 400, false },
	{ "carriage return in a field", T("GET / HTTP/1.1\r\n" H "A: b\rc\r\n\r\n"), 400, false },
	{ "field without a colon", T("GET / HTTP/1.1\r\n" H "nonsense\r\n\r\n"), 400, false },
	{ "blank before the colon", T("GET / HTTP/1.1\r\nHost : gw-0001.local\r\n\r\n"), 400, false },
	{ "two blanks", T("GET  / HTTP/1.1\r\n" H "\r\n"), 400, false },
	{ "no version", T("GET /\r\n" H "\r\n"), 400, false },
	{ "HTTP/2.0", T("GET / HTTP/2.0\r\n" H "\r\n"), 400, false },
	{ "HTTP/1.2", T("GET / HTTP/1.2\r\n" H "\r\n"), 400, false },
	{ "TLS", T("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400, false },
};

static void plain_heads_have_one_answer(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(plain_cases); i++) {
		const struct plain_case *row = &plain_cases[i];
		struct plain_request req = { 0 };
		unsigned status = plain_head_read(row->bytes, row->size, &req);

		if (status != row->status || ((status == 200 || status == 405) && req.is_root != row->is_root))
			fail_msg("%s: %u, root %d", row->claim, status, req.is_root);
		/* However it is cut, no part of it is answered in another way than the whole. */
		for (size_t n = 0; n < row->size; n++) {
			unsigned part = plain_head_read(row->bytes, n, &req);

			if (part != 0 && part != row->status)
				fail_msg("%s, cut after %zu: %u", row->claim, n, part);
		}
	}
}

static void plain_heads_have_bounds(void **state)
{
	struct plain_request req;
	char *head = calloc(1, PLAIN_HEAD_MAX + 1);
	size_t n;

	assert_non_null(head);
	memset(head, 'a', PLAIN_HEAD_MAX);
	memcpy(head, "GET /", 5);
	assert_int_equal(plain_head_read(head, PLAIN_HEAD_MAX - 1, &req), 0);
	assert_int_equal(plain_head_read(head, PLAIN_HEAD_MAX, &req), 431);
	n = (size_t)sprintf(head, "GET / HTTP/1.1\r\n" H);
	for (int i = 0; i < 64; i++)
		n += (size_t)sprintf(head + n, "A: b\r\n");
	n += (size_t)sprintf(head + n, "\r\n");
	assert_int_equal(plain_head_read(head, n, &req), 431);
	free(head);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(malformed_requests_are_refused),
		WITH_WORLD(what_comes_in_one_packet_is_taken_one_by_one),
		WITH_WORLD(too_many_fields_are_refused),
		WITH_WORLD(a_target_that_is_too_long_is_refused),
		WITH_WORLD(chunks_that_add_up_beyond_the_cap_are_refused),
		WITH_WORLD(half_a_request_and_a_goodbye_is_answered),
		WITH_WORLD(a_huge_head_is_refused),
		cmocka_unit_test(plain_heads_have_one_answer),
		cmocka_unit_test(plain_heads_have_bounds),
	};

	signal(SIGPIPE, SIG_IGN);	/* as service_start() does */
	return cmocka_run_group_tests_name("mgmt_head", tests, NULL, NULL);
}
