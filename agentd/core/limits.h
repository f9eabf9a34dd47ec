/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LIMITS_H
#define CORE_LIMITS_H
/*
 * How often passwords may be tried, without locking the owner out (docs/design/login-limits.md). Kinds of callers with
 * budgets of their own, one count of failures for all, and no kind has more than LIMITS_CLOSE_AFTER between two logins of an
 * administrator. Decided before anything is hashed. No clock and no file in here: the caller passes the time since boot,
 * suspended time included, and keeps the counts on disk.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIMITS_CLOSE_AFTER 100	     /* failures in a row: of all, for strangers and local users; else of the own kind */
#define LIMITS_FREE_TRIES 3	     /* per source; the wait after failure n is 2^(n-3) s */
#define LIMITS_MAX_WAIT_S 900
#define LIMITS_STRANGERS_BURST 10    /* all together */
#define LIMITS_STRANGERS_INTERVAL_S 30
#define LIMITS_LOCAL_INTERVAL_S 3    /* on this machine: after each failure; from the 5th on 2^(n-3) s */
#define LIMITS_LOCAL_MAX_WAIT_S 60   /* somebody stands in front of it */
#define LIMITS_COOKIE_FAILURES 10    /* per hour and cookie */
#define LIMITS_COOKIE_ID_SIZE 16

enum limit_bucket {
	LIMIT_STRANGER, /* from the network, never seen; also through sshd and PAM */
	LIMIT_COOKIE,	/* from the network, a browser that logged in before */
	LIMIT_USER,	/* Unix socket, su and sudo of a user without rights of his own here */
	LIMIT_ROOT,	/* the same of an administrator of this machine */
	LIMIT_CONSOLE,	/* a login program on a terminal of this device */
	LIMIT_BUCKETS_
};

struct limit_who {
	enum limit_bucket bucket;
	uint64_t key; /* of the source, under the boot key */
	uint8_t cookie_id[LIMITS_COOKIE_ID_SIZE];
};

/* Failures in a row, in all and by kind; what is kept on disk. */
struct limit_counts {
	uint64_t all;
	uint64_t by[LIMIT_BUCKETS_];
};
/* One more, one less. */
void limit_counts_add(struct limit_counts *counts, enum limit_bucket bucket);
void limit_counts_take(struct limit_counts *counts, enum limit_bucket bucket);

struct limits;

/* @key: random, of this boot. @counts: as kept on disk: waits begin anew, so that a power cycle gains nothing. */
struct limits *limits_new(const uint8_t key[16], const struct limit_counts *counts, uint64_t now_us);
struct limits *limits_free(struct limits *limits);

/*
 * Who is that. @source: "ip:ADDRESS" (IPv6 counts by /64, link-local by address and interface) or anything else as it is.
 * @bucket: which kind, as far as the kernel or a program of root says. @cookie_id: for LIMIT_STRANGER, of a cookie whose MAC
 * is right, or NULL; one that failed too often counts as none.
 */
void limits_identify(struct limits *limits, const char *source, enum limit_bucket bucket, const uint8_t *cookie_id, uint64_t now_us,
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
	LIMITS_OPENED = 1u << 2,	  /* strangers may try again */
	LIMITS_BACKOFF_LEFT = 1u << 3	  /* this source had to wait and need not any more */
};
/* It was the wrong password. Returns enum limits_change, or-ed. */
unsigned limits_failed(struct limits *limits, const struct limit_who *who, uint64_t now_us);
/*
 * It was the right one. Of an administrator: all counts begin at zero; of anybody else only the waits of this source end, or
 * somebody with a small account could buy tries at a great one. Returns enum limits_change, or-ed.
 */
unsigned limits_succeeded(struct limits *limits, const struct limit_who *who, bool is_admin, uint64_t now_us);
/* Could not be found out: as if it had not been tried. */
void limits_undo(struct limits *limits, const struct limit_who *who, uint64_t now_us);

/* Somebody stands before the device: all waits and counts are over; what is under way stays counted. */
void limits_forget(struct limits *limits);

/* Failures in a row. */
uint64_t limits_get_failures(const struct limits *limits);
/* Are strangers and local users out? */
bool limits_is_closed(const struct limits *limits);
/* Is this kind of callers out until an administrator logs in by other means? */
bool limits_is_closed_for(const struct limits *limits, enum limit_bucket bucket);

/* SipHash-2-4 (Aumasson, Bernstein 2012), here for its known answers. */
uint64_t limits_siphash(const uint8_t key[16], const uint8_t *data, size_t size);

#endif
