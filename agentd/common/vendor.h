/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_VENDOR_H
#define COMMON_VENDOR_H
/*
 * How much one user's applications may ask of core: connections, unanswered calls, calls per second (GCRA, ITU-T I.371),
 * lines in the event log. Counted by uid, so that more processes or new connections gain nothing. No clock in here.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VENDOR_MAX_USERS 64	  /* with a connection or a bucket that is not yet full again */
#define VENDOR_MAX_CONNECTIONS 64 /* of all users together */
#define VENDOR_MAX_CALLS 16	  /* unanswered, per user */
#define VENDOR_LOG_BURST 10	  /* refusals written down at once; then one each VENDOR_LOG_INTERVAL_US */
#define VENDOR_LOG_INTERVAL_US (UINT64_C(60) * 1000000)

struct vendor_limits {
	unsigned max_connections; /* per user */
	unsigned calls_per_s, burst;
};

/* What is written down of one user, each with a budget of its own, so that one cannot push the other out. */
enum vendor_event { VENDOR_REFUSED, VENDOR_THROTTLED, VENDOR_USED, VENDOR_LOGS_ };

struct vendor_user {
	bool is_used;
	uint32_t uid;
	unsigned n_connections, n_calls;
	uint64_t call_tat_us; /* theoretical arrival time of the next call */
	struct vendor_log {
		uint64_t tat_us;
		uint64_t n_left_out; /* since the last that was written down */
	} logs[VENDOR_LOGS_];
};

struct vendors {
	struct vendor_limits limits;
	unsigned n_connections;
	struct vendor_user users[VENDOR_MAX_USERS];
};

/* A connection of @uid: its row, or NULL with the reason why not. */
struct vendor_user *vendor_enter(struct vendors *vendors, uint32_t uid, uint64_t now_us, const char **ret_why);
void vendor_leave(struct vendors *vendors, struct vendor_user *user);

/* 0, and then vendor_call_end() has to follow; -EBUSY (too many wait); -EDQUOT (too many per second). */
int vendor_call_begin(const struct vendors *vendors, struct vendor_user *user, uint64_t now_us);
void vendor_call_end(struct vendor_user *user);

/* Should this be written down? *ret_left_out: how many were not since the last. */
bool vendor_may_log(struct vendor_user *user, enum vendor_event event, uint64_t now_us, uint64_t *ret_left_out);

#endif
