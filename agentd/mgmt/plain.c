/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/plain.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <openssl/evp.h>

#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/request.h"
#include "agentd/mgmt/setup.h"
#include "agentd/mgmt/www.h"
#include "base/macro.h"

#define PLACES 16
#define PLACES_PER_SOURCE 2

bool plain_has_place(struct mgmt *m, size_t n_plain)
{
	struct conn *oldest = NULL;

	if (n_plain >= PLACES_PER_SOURCE)
		return false;
	if (m->n_plain < PLACES)
		return true;
	for (struct conn *c = m->conns; c != NULL; c = c->next)
		if (c->is_plain_door && c->state != CONN_DEAD)
			oldest = c; /* newest first */
	if (oldest == NULL)
		return false;
	mgmt_count_refused(m);
	conn_close(oldest, true);
	return true;
}

void plain_begin(struct conn *c)
{
	c->is_plain_door = true;
	c->m->n_plain++;
	conn_set_phase(c, PHASE_HEAD);
	/* Half a head and a goodbye would be readable for ever. */
	sd_event_source_set_io_events(c->net_io, EPOLLIN | EPOLLRDHUP);
}

/* ---- the page ------------------------------------------------------------------------------------------------------- */

/* "https://HOST[:PORT]/" where the request came to: @host is a name of ours, so this leads nowhere else. */
static void link_print(const struct mgmt *m, const char *host, FILE *out)
{
	const char *end = host[0] == '[' ? strchr(host, ']') : strchr(host, ':');
	size_t n = end == NULL ? strlen(host) : (size_t)(end - host) + (host[0] == '[');

	fputs("https://", out);
	for (size_t i = 0; i < n; i++)
		fputc(tolower((unsigned char)host[i]), out);
	if (m->https_port != 443)
		fprintf(out, ":%u", m->https_port);
	fputc('/', out);
}

/* "http://ADDRESS[:PORT]/": the page itself. */
static void page_link_print(const struct conn *c, FILE *out)
{
	fprintf(out, "http://%s", c->local_ip);
	if (c->m->plain_port != 80)
		fprintf(out, ":%u", c->m->plain_port);
	fputc('/', out);
}

static void fingerprint_print(const char *hex, FILE *out)
{
	for (size_t i = 0; hex[i] != '\0'; i++)
		fprintf(out, "%s%c", i > 0 && i % 4 == 0 ? " " : "", hex[i]);
}

static void page_print(const struct mgmt *m, const char *host, FILE *out)
{
	const char *p = (const char *)www_plain_html, *end = p + www_plain_html_size;

	for (const char *at; (at = memchr(p, '@', (size_t)(end - p))) != NULL; p = at) {
		const char *close = memchr(at + 1, '@', (size_t)(end - at - 1));
		size_t n = close == NULL ? 0 : (size_t)(close - at - 1);

		fwrite(p, 1, (size_t)(at - p), out);
		if (n == 4 && memcmp(at + 1, "NAME", 4) == 0)
			fprintf(out, "gw-%s", m->settings->device.serial);
		else if (n == 4 && memcmp(at + 1, "LINK", 4) == 0)
			link_print(m, host, out);
		else if (n == 11 && memcmp(at + 1, "FINGERPRINT", 11) == 0)
			fingerprint_print(tls_ca_fingerprint(m), out);
		else {
			fputc('@', out); /* an at-rule of the style sheet */
			at++;
			continue;
		}
		at = close + 1;
	}
	fwrite(p, 1, (size_t)(end - p), out);
}

/* The style sheet is in the page; the policy lets in these very bytes and nothing else. */
static void policy_print(FILE *out)
{
	const char *page = (const char *)www_plain_html;
	const char *begin = memmem(page, www_plain_html_size, "<style>", 7), *end = memmem(page, www_plain_html_size, "</style>", 8);
	unsigned char digest[32], text[48];

	if (begin == NULL || end == NULL || EVP_Digest(begin + 7, (size_t)(end - begin - 7), digest, NULL, EVP_sha256(), NULL) != 1)
		return;
	EVP_EncodeBlock(text, digest, sizeof(digest));
	fprintf(out, "Content-Security-Policy: default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n", text);
}

static void fields_print(FILE *out)
{
	fputs("Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n", out);
}

static void send_stream(struct conn *c, FILE *out, char **text, const size_t *size)
{
	if (fclose(out) == 0)
		conn_answer_and_close(c, *text, *size);
	else
		conn_close(c, true);
	free(*text);
}

static void send_page(struct conn *c, const char *host)
{
	_cleanup_free_ char *page = NULL;
	char *text = NULL;
	size_t page_size = 0, size = 0;
	FILE *out = open_memstream(&page, &page_size);

	if (out != NULL)
		page_print(c->m, host, out);
	if (out == NULL || fclose(out) != 0 || (out = open_memstream(&text, &size)) == NULL) {
		conn_close(c, true);
		return;
	}
	fprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %zu\r\n", page_size);
	fields_print(out);
	policy_print(out);
	fputs("\r\n", out);
	fwrite(page, 1, page_size, out);
	send_stream(c, out, &text, &size);
}

/* 302 and not a permanent one: a browser would keep that for whatever device has the address tomorrow. Nothing of the target is repeated. */
static void send_redirect(struct conn *c, const char *host)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL) {
		conn_close(c, true);
		return;
	}
	fputs("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ", out);
	if (host != NULL)
		link_print(c->m, host, out);
	else
		page_link_print(c, out);
	fputs("\r\n", out);
	fields_print(out);
	fputs("\r\n", out);
	send_stream(c, out, &text, &size);
}

/*
 * A phone looks for the internet by asking for a foreign name. On the interface for the setup it is led to the page, at the
 * address that it reached, which is nobody's but ours. IPv6 is left out: a link-local address means nothing without its zone.
 */
static bool is_led_to_page(const struct conn *c)
{
	return setup_is_waiting(c->m) && c->local_ip[0] != '\0' && strchr(c->local_ip, ':') == NULL;
}

static void answer(struct conn *c, unsigned status, const struct plain_request *req)
{
	void (*problem)(struct conn *, const char *, const char *, const char *) = req->is_head ? reply_plain_head_problem : reply_plain_problem;
	struct mgmt *m = c->m;
	uint64_t now_us = mgmt_now_us(m);
	uint32_t wait_s = limit_take(m->limits, LIMIT_PLAIN, c->source.key, sizeof(c->source.key), now_us);

	if (wait_s == 0)
		wait_s = limit_take(m->limits, LIMIT_PLAINS, "", 0, now_us);
	if (wait_s > 0) {
		char field[32];

		mgmt_count_limited(m);
		snprintf(field, sizeof(field), "Retry-After: %u\r\n", wait_s);
		problem(c, "too-many-requests", "wait before the next request", field);
	} else if (status == 405) {
		problem(c, "method-not-allowed", "only GET is answered here; the API is at HTTPS", "Allow: GET\r\n");
	} else if (status != 200) {
		reply_to_broken_head(c, status);
	} else if (!host_is_ours(m, req->host, c->local_ip) && is_led_to_page(c)) {
		send_redirect(c, NULL);
	} else if (!host_is_ours(m, req->host, c->local_ip)) {
		reply_plain_problem(c, "wrong-host", "this name is not a name of this device; mgmt.hosts may add it", "");
	} else if (!tls_is_ready(m)) {
		reply_plain_problem(c, "not-ready", "there is no certificate yet", "Retry-After: 5\r\n");
	} else if (req->is_root && !tls_has_owner(m)) {
		send_page(c, req->host);
	} else {
		send_redirect(c, req->host);
	}
}

void plain_read(struct conn *c, bool is_over)
{
	struct plain_request req = { 0 };
	char head[PLAIN_HEAD_MAX];
	ssize_t n = recv(c->net_fd, head, sizeof(head), MSG_PEEK);
	unsigned status;
	int low;

	if (n < 0 && (errno == EAGAIN || errno == EINTR) && !is_over)
		return;
	if (n <= 0) {
		conn_close(c, n < 0);
		return;
	}
	status = plain_head_read(head, (size_t)n, &req);
	if (status == 0 && is_over) {
		conn_close(c, true);
		return;
	}
	/* Looked at and left in the kernel until it is complete: a slow client costs a socket and no memory. */
	low = status == 0 ? (int)n + 1 : 1;
	(void)setsockopt(c->net_fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	if (status != 0)
		answer(c, status, &req);
}
