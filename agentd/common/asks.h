/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_ASKS_H
#define COMMON_ASKS_H
/*
 * Between agentd-install and agentd-fetch: a stream socket on which the reader asks for ranges of the bundle, one after the other, and
 * the sender answers each with a header and the bytes. Both are programs of one build on one machine: host byte order. A closed
 * socket ends it from either side. Nothing that comes this way is believed: all is checked against signed hashes.
 */
#include <stdint.h>

struct ask {
	uint64_t offset, length;	/* at least one byte */
};

/*
 * @offset as asked, and how many bytes follow: as many as asked for, fewer only at the end of the bundle, 0 beyond it. To the
 * first ask, which is for offset 0, @length may be ASK_STREAM: the server knows no ranges, the whole bundle follows, and no
 * ask will be answered any more.
 */
struct ask_answer {
	uint64_t offset, length;
};

#define ASK_STREAM UINT64_MAX

#endif
