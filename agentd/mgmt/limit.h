/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_LIMIT_H
#define MGMT_LIMIT_H
/*
 * Rates by GCRA (ITU-T I.371): one time stamp per bucket, monotonic clock only. Buckets sit in a bounded table with a
 * secret hash, so nobody can choose collisions; when a set is full, newcomers share one overflow bucket.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* What is limited: rows of limit_rates[]. */
enum limit_class {
	LIMIT_CONNECT,	/* new connections of a source */
	LIMIT_STRANGER,	/* requests of a source without a known session */
	LIMIT_STRANGERS, /* all of those together */
	LIMIT_READ,	/* requests of a session that change nothing */
	LIMIT_WRITE,	/* requests of a session that change something */
	LIMIT_AUTH,	/* logins and password changes of a source */
	LIMIT_HANDSHAKE, /* TLS handshakes of strangers */
	LIMIT_HANDSHAKE_KNOWN, /* reserve for sources somebody has logged in from */
	LIMIT_LOG,	/* log lines about strangers */
	LIMIT_PLAIN,	/* requests of a source at the door without TLS: none of them costs the others anything */
	LIMIT_PLAINS,	/* all of those together */
	LIMIT_COUNT_
};

struct limit_rate {
	uint32_t interval_us;	/* one more every so often */
	uint32_t burst;
};
extern const struct limit_rate limit_rates[LIMIT_COUNT_];
extern const char *const limit_names[LIMIT_COUNT_];	/* for the documents */

/* Who is on the other side, as far as limits go: IPv4 /32, IPv6 /64, link-local /128 with its interface, or a uid. */
struct source {
	uint8_t key[24];
	char text[64];	/* "ip:192.0.2.7", "ip:2001:db8:0:1::/64", "unix:1000" */
};

struct limit_table;

int limit_table_new(struct limit_table **ret_table);
struct limit_table *limit_table_free(struct limit_table *t);
/* Another rate than that of limit_rates[]. */
void limit_set_rate(struct limit_table *t, enum limit_class class, struct limit_rate rate);
struct limit_rate limit_rate(const struct limit_table *t, enum limit_class class);
/* Takes one from the bucket of @key in @class. 0, or the seconds (at least 1) to wait before asking again. */
uint32_t limit_take(struct limit_table *t, enum limit_class class, const void *key, size_t key_size, uint64_t now_us);

void source_from_address(const struct sockaddr *address, struct source *ret_source);
void source_from_uid(uint32_t uid, struct source *ret_source);

/*
 * Sources somebody has logged in from, the latest SOURCES_KNOWN of them, for SOURCES_KNOWN_US. They have a reserve of places
 * and handshakes while strangers crowd; it is no authentication.
 */
#define SOURCES_KNOWN 32
#define SOURCES_KNOWN_US (UINT64_C(30) * 24 * 3600 * 1000000)
void limit_source_add(struct limit_table *t, const struct source *source, uint64_t now_us);
/* What core remembers of the time before this program started; never replaces what was seen since. */
void limit_source_restore(struct limit_table *t, const struct source *source, uint64_t age_us, uint64_t now_us);
void limit_sources_forget(struct limit_table *t);
/* The text of a struct source, back. -EINVAL: that is none of the network. */
int source_from_text(const char *text, struct source *ret_source);
bool limit_source_is_known(const struct limit_table *t, const struct source *source, uint64_t now_us);

/* SipHash-2-4 (Aumasson, Bernstein 2012). */
uint64_t siphash24(const uint8_t key[16], const void *data, size_t size);

/* A token in @cache counts as a session of its own; anything else counts for its source. */
#define SESSION_CACHE 16
void limit_session_add(struct limit_table *t, const char *token);
void limit_session_remove(struct limit_table *t, const char *token);
bool limit_session_is_known(const struct limit_table *t, const char *token);

#endif
