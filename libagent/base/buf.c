/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>

int buf_get_bytes(struct buf *b, size_t n, const uint8_t **ret_bytes)
{
	if (n > buf_left(b))
		return -EBADMSG;
	*ret_bytes = b->data + b->pos;
	b->pos += n;
	return 0;
}

int buf_skip(struct buf *b, size_t n)
{
	const uint8_t *p;

	return buf_get_bytes(b, n, &p);
}

static int get_be(struct buf *b, size_t n, uint64_t *ret_value)
{
	const uint8_t *p;
	uint64_t v = 0;
	int r = buf_get_bytes(b, n, &p);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	*ret_value = v;
	return 0;
}

int buf_get_u8(struct buf *b, uint8_t *ret_value)
{
	uint64_t v;
	int r = get_be(b, 1, &v);

	if (r == 0)
		*ret_value = (uint8_t)v;
	return r;
}

int buf_get_be16(struct buf *b, uint16_t *ret_value)
{
	uint64_t v;
	int r = get_be(b, 2, &v);

	if (r == 0)
		*ret_value = (uint16_t)v;
	return r;
}

int buf_get_be32(struct buf *b, uint32_t *ret_value)
{
	uint64_t v;
	int r = get_be(b, 4, &v);

	if (r == 0)
		*ret_value = (uint32_t)v;
	return r;
}

int buf_get_be64(struct buf *b, uint64_t *ret_value)
{
	return get_be(b, 8, ret_value);
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -EBADMSG;
}

int buf_get_hex32(struct buf *b, uint32_t *ret_value)
{
	size_t start = b->pos;
	const uint8_t *p;
	uint32_t v = 0;

	if (buf_get_bytes(b, 8, &p) < 0)
		return -EBADMSG;
	for (size_t i = 0; i < 8; i++) {
		int d = digit((char)p[i]);

		if (d < 0) {
			b->pos = start;
			return d;
		}
		v = v << 4 | (uint32_t)d;
	}
	*ret_value = v;
	return 0;
}

void hex_encode(const void *data, size_t n, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++) {
		ret_text[2 * i] = digits[p[i] >> 4];
		ret_text[2 * i + 1] = digits[p[i] & 15];
	}
	ret_text[2 * n] = '\0';
}

int hex_decode(const char *text, size_t n_text, uint8_t *ret_data, size_t n)
{
	if (n_text != 2 * n)
		return -EBADMSG;
	for (size_t i = 0; i < n_text; i++)
		if (digit(text[i]) < 0)
			return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		ret_data[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
	return 0;
}
