/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H
/* Bytes from outside: pointer, length, cursor. Getters check; on failure they return -EBADMSG and move nothing. */
#include <stddef.h>
#include <stdint.h>

struct buf {
	const uint8_t *data;
	size_t size;
	size_t pos;
};

static inline struct buf buf_from(const void *data, size_t size)
{
	return (struct buf){ .data = data, .size = size, .pos = 0 };
}

static inline size_t buf_left(const struct buf *b)
{
	return b->size - b->pos;
}

static inline size_t buf_pos(const struct buf *b)
{
	return b->pos;
}

/* Lend the next @n bytes and step over them. */
int buf_get_bytes(struct buf *b, size_t n, const uint8_t **ret_bytes);
int buf_get_u8(struct buf *b, uint8_t *ret_value);
int buf_get_be16(struct buf *b, uint16_t *ret_value);
int buf_get_be32(struct buf *b, uint32_t *ret_value);
int buf_get_be64(struct buf *b, uint64_t *ret_value);
/* Eight hexadecimal digits of either case, as in CPIO newc headers. */
int buf_get_hex32(struct buf *b, uint32_t *ret_value);
int buf_skip(struct buf *b, size_t n);

/* @n bytes as 2*@n lower-case digits and a NUL into @ret_text. */
void hex_encode(const void *data, size_t n, char *ret_text);
/* Exactly 2*@n digits of either case; -EBADMSG otherwise. */
int hex_decode(const char *text, size_t n_text, uint8_t *ret_data, size_t n);

#endif
