/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TURN_H
#define NET_TURN_H
/*
 * Which of several brokers is next, and how long to wait before it. Brokers are tried in order; a broken connection starts again at the
 * first. Within a round the wait is the first step of the back-off, so that devices that lost one broker do not meet the next one together;
 * after a round it grows. docs/design/connectivity.md has the state machine. No clock and no randomness in here: for the tests.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TURN_LOOKS 4	/* good looks at the first broker in a row before we go back */
#define TURN_SLOWER_MAX 4	/* returns that failed double the time between looks: up to 16 times */

struct turn {
	size_t n, at;
	unsigned n_rounds;	/* without success */
	unsigned n_sent_on;	/* redirections in a row */
	/* the way back to the first */
	bool is_returning;
	unsigned n_returns_failed, n_good;
};

/*
 * A connection or attempt to broker @at ended after @online_ms online (0: it never was). Returns which step of the back-off to wait for, and
 * moves on.
 */
unsigned turn_failed(struct turn *turn, uint64_t online_ms);
/*
 * The broker sends us to number @to, after @online_ms online as above. False when that happened too often in a row: then it is a failure. Being
 * taken for a moment does not end the row: two brokers that take us and send us to each other would get a handshake after the other.
 */
bool turn_send_on(struct turn *turn, size_t to, uint64_t online_ms);
/* The first broker is healthy again: it is next. */
void turn_return(struct turn *turn);
/* The broker took us. */
void turn_online(struct turn *turn);
/* Time until the next look at the first broker, when it has to be there for about @return_ms. */
uint64_t turn_look_ms(const struct turn *turn, uint64_t return_ms, uint64_t random);
/* One look; true: go back. */
bool turn_looked(struct turn *turn, bool is_good);

#endif
