/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between a client and libmicrohttpd: what could not go on yet, and where a head ends. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>

#include "agentd/mgmt/conn_inside.h"
#include "base/secret.h"

/* There may be a password or a token in it. */
void bytes_drop(struct conn_bytes *b)
{
	if (b->data != NULL)
		wipe(b->data, b->size);
	free(b->data);
	*b = (struct conn_bytes){ 0 };
}

int bytes_keep(struct conn_bytes *b, const uint8_t *data, size_t size)
{
	uint8_t *joined = malloc(b->size - b->pos + size);

	if (joined == NULL)
		return -ENOMEM;
	if (b->size > b->pos)
		memcpy(joined, b->data + b->pos, b->size - b->pos);
	memcpy(joined + b->size - b->pos, data, size);
	size += b->size - b->pos;
	bytes_drop(b);
	*b = (struct conn_bytes){ .data = joined, .size = size };
	return 0;
}

bool bytes_left(const struct conn_bytes *b)
{
	return b->size > b->pos;
}

bool tls_peer_left(void)
{
	unsigned long e = ERR_peek_error();

	return ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
}

ssize_t net_read(struct conn *c, void *data, size_t size)
{
	ssize_t n;
	int r;

	if (c->ssl == NULL) {
		n = recv(c->net_fd, data, size, 0);
		return n >= 0 ? n : errno == EINTR ? -EAGAIN : -errno;
	}
	ERR_clear_error();
	r = SSL_read(c->ssl, data, (int)size);
	if (r > 0)
		return r;
	switch (SSL_get_error(c->ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SSL:
		return tls_peer_left() ? -ECONNRESET : -EPROTO;
	default:
		return -ECONNRESET;
	}
}

ssize_t net_write(struct conn *c, const void *data, size_t size)
{
	ssize_t n;
	int r;

	if (c->ssl == NULL) {
		n = send(c->net_fd, data, size, MSG_NOSIGNAL);
		return n >= 0 ? n : errno == EINTR ? -EAGAIN : -errno;
	}
	ERR_clear_error();
	r = SSL_write(c->ssl, data, (int)size);
	if (r > 0)
		return r;
	r = SSL_get_error(c->ssl, r);
	return r == SSL_ERROR_WANT_READ || r == SSL_ERROR_WANT_WRITE ? -EAGAIN : -ECONNRESET;
}

/* Blanks one by one between the parts, and no control character but the line's end. */
static bool request_line_takes(struct head_scan *s, uint8_t byte)
{
	bool is_good = byte == '\n' || (s->last != '\r' && (byte == '\r' || (byte == ' ' ? s->is_begun && s->last != ' ' : byte > ' ')));

	s->last = byte;
	s->is_past_first = byte == '\n';
	return is_good;
}

ssize_t head_measure(struct head_scan *s, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		bool is_end_of_line = data[i] == '\n';

		if (data[i] == '\0' || (!s->is_begun && (is_end_of_line || data[i] == '\r')))
			return -1;
		if (!s->is_past_first && !request_line_takes(s, data[i]))
			return -1;
		s->is_begun = true;
		if (is_end_of_line && s->is_line_start) {
			s->is_over = true;
			return (ssize_t)i + 1;
		}
		if (data[i] != '\r')
			s->is_line_start = is_end_of_line;
	}
	return (ssize_t)size;
}
