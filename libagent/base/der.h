/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DER_H
#define BASE_DER_H
/* Elements of DER (X.690) one after the other, at most 64 KiB: definite and minimal lengths, tags of one byte. On failure -EBADMSG, and nothing moves. */
#include "base/buf.h"

/* X.690, 8.1.2: tags as they appear */
#define DER_BOOLEAN 0x01
#define DER_INTEGER 0x02
#define DER_BIT_STRING 0x03
#define DER_OCTET_STRING 0x04
#define DER_OID 0x06
#define DER_UTF8STRING 0x0c
#define DER_SEQUENCE 0x30
#define DER_SET 0x31
#define DER_CONTEXT(n) (0xa0 + (n))	/* constructed */

int der_get(struct buf *b, uint8_t *ret_tag, struct buf *ret_body);
/* The next element, which must have this tag. */
int der_get_tag(struct buf *b, uint8_t want, struct buf *ret_body);
/* The same, and nothing may follow it. */
int der_get_only(struct buf *b, uint8_t want, struct buf *ret_body);

#endif
