/* SPDX-License-Identifier: Apache-2.0 */
#include "base/der.h"

#include <errno.h>

/* Definite, minimal lengths of at most two length bytes. */
int der_get(struct buf *b, uint8_t *ret_tag, struct buf *ret_body)
{
	struct buf in = *b;
	const uint8_t *body;
	uint8_t tag, first, more;
	uint16_t wide;
	size_t n;

	if (buf_get_u8(&in, &tag) < 0 || (tag & 0x1f) == 0x1f || buf_get_u8(&in, &first) < 0)
		return -EBADMSG;
	if (first < 0x80) {
		n = first;
	} else if (first == 0x81) {
		if (buf_get_u8(&in, &more) < 0 || more < 0x80)
			return -EBADMSG;
		n = more;
	} else if (first == 0x82) {
		if (buf_get_be16(&in, &wide) < 0 || wide < 0x100)
			return -EBADMSG;
		n = wide;
	} else {
		return -EBADMSG;
	}
	if (buf_get_bytes(&in, n, &body) < 0)
		return -EBADMSG;
	*ret_tag = tag;
	*ret_body = buf_from(body, n);
	*b = in;
	return 0;
}

int der_get_tag(struct buf *b, uint8_t want, struct buf *ret_body)
{
	struct buf in = *b;
	uint8_t tag;

	if (der_get(&in, &tag, ret_body) < 0 || tag != want)
		return -EBADMSG;
	*b = in;
	return 0;
}

int der_get_only(struct buf *b, uint8_t want, struct buf *ret_body)
{
	return der_get_tag(b, want, ret_body) < 0 || buf_left(b) != 0 ? -EBADMSG : 0;
}
