/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that a server on 127.0.0.1 does not want, and one that it does. Bounded in time and number; loopback only.
 *
 * flood MODE PORT HOST FIRST-SOURCE SOURCES IN-FLIGHT SECONDS [TOKEN]
 *   handshake  complete TLS handshakes, then closes, and again
 *   login      the same with a wrong password posted on each connection until it is closed
 *   slow       each stays: one fifth silent, one in the ClientHello, in the head, in the body, one not reading
 *   owner      a new connection and GET /v1/status (with TOKEN) or GET / each 200 ms; prints ok, failed, p50 and p99 in ms
 * Sources are consecutive addresses from FIRST-SOURCE, such as 127.1.0.1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define SLOTS_MAX 1000
#define SECONDS_MAX 120
#define OWNER_US 200000
#define OWNER_PATIENCE_US 10000000
#define SAMPLES_MAX 2000

enum mode { HANDSHAKE, LOGIN, SLOW, OWNER };
enum step { IDLE, CONNECTING, SHAKING, TALKING };

struct slot {
	int fd;
	SSL *ssl;
	enum step step;
	size_t number, written;
	uint64_t begun_us, next_us; /* next_us: when to do something by ourselves */
	char request[512];
	size_t request_size;
	bool is_answered;
};

static struct {
	enum mode mode;
	uint16_t port;
	const char *host, *token;
	uint32_t first, n_sources;
	size_t n_slots;
	int epoll_fd;
	SSL_CTX *ctx;
	uint64_t n_tried, n_done, n_refused, n_answers;
	double samples[SAMPLES_MAX];
	size_t n_samples;
} f;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void slot_close(struct slot *s, uint64_t again_us)
{
	SSL_free(s->ssl);
	ERR_clear_error();
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct slot){ .fd = -1, .number = s->number, .next_us = again_us };
}

static void watch(struct slot *s, uint32_t events, int op)
{
	struct epoll_event event = { .events = events, .data.ptr = s };

	(void)epoll_ctl(f.epoll_fd, op, s->fd, &event);
}

static void slot_open(struct slot *s, uint64_t at_us)
{
	struct sockaddr_in from = { .sin_family = AF_INET }, to = { .sin_family = AF_INET, .sin_port = htons(f.port) };
	int on = 1, small = 2304;

	from.sin_addr.s_addr = htonl(f.first + (uint32_t)(f.n_tried % f.n_sources));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	f.n_tried++;
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0) {
		s->next_us = at_us + 100000;
		return;
	}
	(void)setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (f.mode == SLOW && s->number % 5 == 4)
		(void)setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (bind(s->fd, (struct sockaddr *)&from, sizeof(from)) < 0 ||
	    (connect(s->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)) {
		slot_close(s, at_us + 100000);
		return;
	}
	s->step = CONNECTING;
	s->begun_us = at_us;
	s->next_us = UINT64_MAX;
	watch(s, EPOLLOUT, EPOLL_CTL_ADD);
}

static void request_make(struct slot *s)
{
	static const char body[] = "{\"user\":\"admin\",\"password\":\"nobody would choose this\"}";
	const char *text;

	if (f.mode == LOGIN || (f.mode == SLOW && s->number % 5 == 3))
		s->request_size = (size_t)snprintf(s->request, sizeof(s->request), "POST /v1/session HTTP/1.1\r\nHost: %s\r\n"
						   "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", f.host, sizeof(body) - 1, body);
	else
		s->request_size = (size_t)snprintf(s->request, sizeof(s->request), "GET %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s\r\n",
						   f.mode == OWNER ? (f.token != NULL ? "/v1/status" : "/") : "/app.js", f.host,
						   f.token != NULL ? "Authorization: Bearer " : "", f.token != NULL ? f.token : "",
						   f.token != NULL ? "\r\n" : "", f.mode == OWNER ? "Connection: close\r\n" : "");
	/* Who is slow in the head never ends it, who is slow in the body never gets there. */
	if (f.mode == SLOW && s->number % 5 == 2)
		s->request_size -= 2;
	text = strstr(s->request, "\r\n\r\n");
	if (f.mode == SLOW && s->number % 5 == 3 && text != NULL)
		s->request_size -= 10;
}

static void slot_done(struct slot *s, bool is_good, uint64_t at_us)
{
	f.n_done += is_good;
	f.n_refused += !is_good;
	if (f.mode == OWNER && is_good && f.n_samples < SAMPLES_MAX)
		f.samples[f.n_samples++] = (double)(at_us - s->begun_us) / 1000;
	/* A refused client of a closed loop comes back soon, the slow ones after a second. */
	slot_close(s, f.mode == OWNER ? s->begun_us + OWNER_US : f.mode == SLOW ? at_us + 1000000 : is_good ? at_us : at_us + 2000);
}

/* One byte a second of what is to be said; the silent ones nothing. */
static void drip(struct slot *s, uint64_t at_us)
{
	static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

	s->next_us = at_us + 1000000;
	if (s->number % 5 == 1 && s->written < sizeof(hello) - 1)
		s->written += send(s->fd, hello + s->written, 1, MSG_NOSIGNAL) == 1;
	else if (s->ssl != NULL && s->written < s->request_size && SSL_write(s->ssl, s->request + s->written, 1) == 1)
		s->written++;
}

static void talk(struct slot *s, uint64_t at_us)
{
	char answer[16384];
	int n;

	if (f.mode == SLOW && s->ssl == NULL) {
		n = (int)recv(s->fd, answer, sizeof(answer), 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			slot_done(s, false, at_us);
		return;
	}
	if (f.mode == SLOW && s->number % 5 == 4 && s->written > 0)
		return; /* not reading */
	n = SSL_read(s->ssl, answer, sizeof(answer) - 1);
	if (n > 0) {
		answer[n] = '\0';
		if (!s->is_answered && strncmp(answer, "HTTP/1.1 ", 9) == 0) {
			f.n_answers++;
			if (f.mode == OWNER) {
				slot_done(s, strncmp(answer + 9, "200", 3) == 0, at_us);
				return;
			}
		}
		if (f.mode == LOGIN)
			(void)SSL_write(s->ssl, s->request, (int)s->request_size);
		return;
	}
	n = SSL_get_error(s->ssl, n);
	if (n != SSL_ERROR_WANT_READ && n != SSL_ERROR_WANT_WRITE)
		slot_done(s, f.mode == LOGIN, at_us);
}

static void shake(struct slot *s, uint64_t at_us)
{
	int r = SSL_connect(s->ssl);

	if (r == 1) {
		if (f.mode == HANDSHAKE) {
			slot_done(s, true, at_us);
			return;
		}
		request_make(s);
		s->step = TALKING;
		if (f.mode == SLOW && s->number % 5 != 4) {
			s->next_us = at_us;
		} else {
			(void)SSL_write(s->ssl, s->request, (int)s->request_size);
			s->written = s->request_size;
		}
		watch(s, f.mode == SLOW && s->number % 5 == 4 ? EPOLLRDHUP : EPOLLIN, EPOLL_CTL_MOD);
		return;
	}
	r = SSL_get_error(s->ssl, r);
	if (r == SSL_ERROR_WANT_READ)
		watch(s, EPOLLIN, EPOLL_CTL_MOD);
	else if (r == SSL_ERROR_WANT_WRITE)
		watch(s, EPOLLOUT, EPOLL_CTL_MOD);
	else
		slot_done(s, false, at_us);
}

static void on_ready(struct slot *s, uint32_t events, uint64_t at_us)
{
	int error = 0;
	socklen_t size = sizeof(error);

	ERR_clear_error();
	if (events & (EPOLLERR | EPOLLHUP) || (events & EPOLLRDHUP && f.mode == SLOW)) {
		slot_done(s, false, at_us);
		return;
	}
	if (s->step == CONNECTING) {
		if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error != 0) {
			slot_done(s, false, at_us);
			return;
		}
		if (f.mode == SLOW && s->number % 5 < 2) {
			s->step = TALKING;
			s->next_us = at_us;
			watch(s, EPOLLIN | EPOLLRDHUP, EPOLL_CTL_MOD);
			return;
		}
		s->ssl = SSL_new(f.ctx);
		if (s->ssl == NULL || SSL_set_fd(s->ssl, s->fd) != 1 || SSL_set_tlsext_host_name(s->ssl, f.host) != 1) {
			slot_done(s, false, at_us);
			return;
		}
		s->step = SHAKING;
	}
	if (s->step == SHAKING)
		shake(s, at_us);
	else if (s->step == TALKING)
		talk(s, at_us);
}

static void on_time(struct slot *s, uint64_t at_us)
{
	if (f.mode == OWNER && s->step != IDLE && at_us > s->begun_us + OWNER_PATIENCE_US)
		slot_done(s, false, at_us);
	if (at_us < s->next_us)
		return;
	if (s->step == IDLE)
		slot_open(s, at_us);
	else if (f.mode == SLOW && s->step == TALKING)
		drip(s, at_us);
}

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double percentile(double share)
{
	return f.n_samples == 0 ? 0 : f.samples[(size_t)(share * (double)(f.n_samples - 1) + 0.5)];
}

int main(int argc, char **argv)
{
	static const char *const modes[] = { "handshake", "login", "slow", "owner" };
	static struct slot slots[SLOTS_MAX];
	struct epoll_event events[256];
	struct rlimit files = { 4096, 4096 };
	struct in_addr first;
	uint64_t end_us;
	int seconds;

	if (argc < 8 || inet_pton(AF_INET, argv[4], &first) != 1) {
		fprintf(stderr, "usage: flood handshake|login|slow|owner PORT HOST FIRST-SOURCE SOURCES IN-FLIGHT SECONDS [TOKEN]\n");
		return 2;
	}
	for (f.mode = HANDSHAKE; f.mode < OWNER && strcmp(modes[f.mode], argv[1]) != 0;)
		f.mode++;
	f.port = (uint16_t)atoi(argv[2]);
	f.host = argv[3];
	f.first = ntohl(first.s_addr);
	f.n_sources = (uint32_t)atoi(argv[5]);
	f.n_slots = (size_t)atoi(argv[6]);
	seconds = atoi(argv[7]);
	f.token = argc > 8 ? argv[8] : NULL;
	if (f.first >> 24 != 127 || f.n_sources == 0 || f.n_slots == 0 || f.n_slots > SLOTS_MAX || seconds < 1 || seconds > SECONDS_MAX) {
		fprintf(stderr, "flood: sources in 127.0.0.0/8, at most %d in flight and %d s\n", SLOTS_MAX, SECONDS_MAX);
		return 2;
	}
	(void)setrlimit(RLIMIT_NOFILE, &files);
	f.ctx = SSL_CTX_new(TLS_client_method());
	f.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (f.ctx == NULL || f.epoll_fd < 0)
		return 1;
	SSL_CTX_set_session_cache_mode(f.ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(f.ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
	for (size_t i = 0; i < f.n_slots; i++)
		slots[i] = (struct slot){ .fd = -1, .number = i };
	end_us = now_us() + (uint64_t)seconds * 1000000;
	while (now_us() < end_us) {
		int n = epoll_wait(f.epoll_fd, events, 256, 2);

		for (int i = 0; i < n; i++)
			on_ready(events[i].data.ptr, events[i].events, now_us());
		for (size_t i = 0; i < f.n_slots; i++)
			on_time(&slots[i], now_us());
	}
	qsort(f.samples, f.n_samples, sizeof(f.samples[0]), compare);
	if (f.mode == OWNER)
		printf("%llu %llu %.1f %.1f\n", (unsigned long long)f.n_done, (unsigned long long)f.n_refused, percentile(0.5), percentile(0.99));
	else
		printf("%llu %llu %llu\n", (unsigned long long)f.n_tried / (unsigned)seconds, (unsigned long long)f.n_done / (unsigned)seconds,
		       (unsigned long long)f.n_answers);
	return 0;
}
