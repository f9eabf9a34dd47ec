/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_KEEPALIVE_H
#define NET_KEEPALIVE_H
/*
 * How long a connection may be silent before we ask the other side for a sign of life. Between us and the broker there may be a box that
 * forgets silent connections (RFC 5382 wants 124 minutes; some take less than one) and tells nobody. So: longer after it went well several
 * times, shorter after a connection was found dead, and for a day not as long as the silence that killed one. Times come from outside, for the tests.
 */
#include <stdint.h>

#define KEEPALIVE_GOOD 8		/* answers after a full silence before the next step up */
#define KEEPALIVE_MEMORY_MS (24ull * 3600 * 1000)

struct keepalive {
	unsigned min_s, max_s;
	unsigned interval_s;	/* in use: min_s to max_s */
	unsigned n_good;
	unsigned bad_s;		/* shortest silence that a connection did not survive, 0 if none */
	uint64_t bad_at_ms;
};

/* @start_s is brought between @min_s and @max_s. */
void keepalive_init(struct keepalive *keepalive, unsigned start_s, unsigned min_s, unsigned max_s);
/* What we sent after a silence of @idle_ms was answered. */
void keepalive_answered(struct keepalive *keepalive, uint64_t idle_ms, uint64_t now_ms);
/* What we sent after a silence of @idle_ms was not. */
void keepalive_lost(struct keepalive *keepalive, uint64_t idle_ms, uint64_t now_ms);

#endif
