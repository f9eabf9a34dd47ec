/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LIMITS_H
#define CORE_LIMITS_H
/*
 * How often passwords may be tried, without locking the owner out (docs/design/login-limits.md). Three kinds of callers with
 * budgets of their own, one count of failures for all. Decided before anything is hashed. No clock and no file in here: the
 * caller passes the time since boot, suspended time included, and keeps the count on disk.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIMITS_CLOSE_AFTER 100	     /* failures in a row, after which strangers stay out */
#define LIMITS_FREE_TRIES 3	     /* per source; the wait after failure n is 2^(n-3) s */
#define LIMITS_MAX_WAIT_S 900
#define LIMITS_STRANGERS_BURST 10    /* all together */
#define LIMITS_STRANGERS_INTERVAL_S 30
#define LIMITS_LOCAL_INTERVAL_S 3
#define LIMITS_COOKIE_FAILURES 10    /* per hour and cookie */
#define LIMITS_COOKIE_ID_SIZE 16

enum limit_bucket {
	LIMIT_STRANGER, /* from the network, never seen */
	LIMIT_COOKIE,	/* from the network, a browser that logged in before */
	LIMIT_LOCAL	/* Unix socket, console */
};

struct limit_who {
	enum limit_bucket bucket;
	uint64_t key; /* of the source, under the boot key */
	uint8_t cookie_id[LIMITS_COOKIE_ID_SIZE];
};

struct limits;

/* @key: random, of this boot. @failures: as kept on disk: waits begin anew, so that a power cycle gains nothing. */
struct limits *limits_new(const uint8_t key[16], uint64_t failures, uint64_t now_us);
struct limits *limits_free(struct limits *limits);

/*
 * Who is that. @source: "ip:ADDRESS" (IPv6 counts by /64, link-local by address and interface) or anything else as it is.
 * @cookie_id: of a cookie whose MAC is right, or NULL; one that failed too often counts as none.
 */
void limits_identify(struct limits *limits, const char *source, bool is_local, const uint8_t *cookie_id, uint64_t now_us,
		     struct limit_who *ret_who);

/*
 * May they try now? 0, and then exactly one of the three calls below has to follow; or -EDQUOT with the seconds to wait.
 * One try of a source at a time.
 */
int limits_admit(struct limits *limits, const struct limit_who *who, uint64_t now_us, unsigned *ret_retry_s);

/* What changed by an outcome, for the audit log. */
enum limits_change {
	LIMITS_BACKOFF_ENTERED = 1u << 0, /* this source has to wait from now on */
	LIMITS_CLOSED = 1u << 1,	  /* strangers stay out from now on */
	LIMITS_OPENED = 1u << 2		  /* strangers may try again */
};
/* It was the wrong password. Returns enum limits_change, or-ed. */
unsigned limits_failed(struct limits *limits, const struct limit_who *who, uint64_t now_us);
/* It was the right one: the count begins at zero. Returns enum limits_change, or-ed. */
unsigned limits_succeeded(struct limits *limits, const struct limit_who *who, uint64_t now_us);
/* Could not be found out: as if it had not been tried. */
void limits_undo(struct limits *limits, const struct limit_who *who, uint64_t now_us);

/* Failures in a row. */
uint64_t limits_get_failures(const struct limits *limits);
bool limits_is_closed(const struct limits *limits);

/* SipHash-2-4 (Aumasson, Bernstein 2012), here for its known answers. */
uint64_t limits_siphash(const uint8_t key[16], const uint8_t *data, size_t size);

#endif
