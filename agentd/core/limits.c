/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

#define SECOND UINT64_C(1000000)
#define N_SETS 128
#define N_WAYS 8
#define N_COOKIES 64
#define FORGET_US (3600 * SECOND) /* an entry that has nothing to wait for is forgotten after this long */
#define SOURCE_KEY_MAX 128

/* A source with failures or a try under way. */
struct source {
	uint64_t key;
	uint64_t not_before_us;
	uint64_t last_us;
	unsigned n_failures;
	unsigned n_pending;
	bool is_used;
};

struct cookie {
	uint8_t id[LIMITS_COOKIE_ID_SIZE];
	uint64_t since_us;
	unsigned n_failures;
	unsigned n_pending;
	bool is_used, is_void;
};

struct limits {
	uint8_t key[16];
	uint64_t random_state;
	struct limit_counts counts;
	unsigned n_pending[LIMIT_BUCKETS_]; /* under way */
	uint64_t all_tat_us;		    /* theoretical arrival time of all strangers together (GCRA) */
	uint64_t from_us[LIMIT_BUCKETS_];   /* nobody of a kind before: after a start with failures on disk, or its last failure */
	struct source sources[N_SETS][N_WAYS];
	struct source overflow;	     /* for whom there is no room */
	struct cookie cookies[N_COOKIES];
};

/* ---- SipHash-2-4 ------------------------------------------------------------------------------------------------ */

static uint64_t rotate(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static uint64_t read_le64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

uint64_t limits_siphash(const uint8_t key[16], const uint8_t *data, size_t size)
{
	uint64_t k0 = read_le64(key), k1 = read_le64(key + 8), last = (uint64_t)size << 56;
	uint64_t v[4] = { k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d), k0 ^ UINT64_C(0x6c7967656e657261),
			  k1 ^ UINT64_C(0x7465646279746573) };
	size_t i = 0;

	for (; i + 8 <= size; i += 8) {
		uint64_t m = read_le64(data + i);

		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
	}
	for (size_t k = i; k < size; k++)
		last |= (uint64_t)data[k] << (8 * (k - i));
	v[3] ^= last;
	sip_round(v);
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int k = 0; k < 4; k++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- who -------------------------------------------------------------------------------------------------------- */

/* The bytes that stand for a source: one household, as far as addresses tell. */
static size_t source_bytes(const char *source, uint8_t out[SOURCE_KEY_MAX])
{
	char address[INET6_ADDRSTRLEN + 1] = { 0 };
	struct in6_addr v6;
	struct in_addr v4;
	const char *scope;
	size_t n;

	if (strncmp(source, "ip:", 3) == 0) {
		scope = strchr(source, '%');
		n = scope == NULL ? strlen(source + 3) : (size_t)(scope - source - 3);
		if (n < sizeof(address)) {
			memcpy(address, source + 3, n);
			if (inet_pton(AF_INET, address, &v4) == 1) {
				out[0] = 4;
				memcpy(out + 1, &v4, 4);
				return 5;
			}
			if (inet_pton(AF_INET6, address, &v6) == 1) {
				if (IN6_IS_ADDR_V4MAPPED(&v6)) {
					out[0] = 4;
					memcpy(out + 1, &v6.s6_addr[12], 4);
					return 5;
				}
				out[0] = 6;
				if (!IN6_IS_ADDR_LINKLOCAL(&v6)) {
					memcpy(out + 1, &v6, 8); /* RFC 6177: a site has at least a /64 */
					return 9;
				}
				memcpy(out + 1, &v6, 16);
				n = scope == NULL ? 0 : strlen(scope);
				n = n > SOURCE_KEY_MAX - 17 ? SOURCE_KEY_MAX - 17 : n;
				if (n > 0)
					memcpy(out + 17, scope, n);
				return 17 + n;
			}
		}
	}
	n = strlen(source);
	n = n > SOURCE_KEY_MAX - 1 ? SOURCE_KEY_MAX - 1 : n;
	out[0] = 0;
	memcpy(out + 1, source, n);
	return n + 1;
}

static struct cookie *find_cookie(struct limits *l, const uint8_t *id)
{
	for (size_t i = 0; i < N_COOKIES; i++)
		if (l->cookies[i].is_used && memcmp(l->cookies[i].id, id, LIMITS_COOKIE_ID_SIZE) == 0)
			return &l->cookies[i];
	return NULL;
}

/* An entry for this cookie; in place of the oldest that is neither void nor busy. NULL when there is none. */
static struct cookie *get_cookie(struct limits *l, const uint8_t *id, uint64_t now_us)
{
	struct cookie *c = find_cookie(l, id), *oldest = NULL;

	if (c != NULL)
		return c;
	for (size_t i = 0; i < N_COOKIES; i++) {
		c = &l->cookies[i];
		if (!c->is_used) {
			oldest = c;
			break;
		}
		if (!c->is_void && c->n_pending == 0 && (oldest == NULL || c->since_us < oldest->since_us))
			oldest = c;
	}
	if (oldest == NULL)
		return NULL;
	*oldest = (struct cookie){ .is_used = true, .since_us = now_us };
	memcpy(oldest->id, id, sizeof(oldest->id));
	return oldest;
}

void limits_identify(struct limits *limits, const char *source, enum limit_bucket bucket, const uint8_t *cookie_id, uint64_t now_us,
		     struct limit_who *ret_who)
{
	uint8_t bytes[SOURCE_KEY_MAX];
	size_t n = source_bytes(source, bytes);
	const struct cookie *c = cookie_id == NULL || bucket != LIMIT_STRANGER ? NULL : get_cookie(limits, cookie_id, now_us);

	*ret_who = (struct limit_who){ .bucket = bucket, .key = limits_siphash(limits->key, bytes, n) };
	if (c != NULL && !c->is_void) {
		ret_who->bucket = LIMIT_COOKIE;
		memcpy(ret_who->cookie_id, cookie_id, LIMITS_COOKIE_ID_SIZE);
	}
}

/* ---- counts ----------------------------------------------------------------------------------------------------- */

void limit_counts_add(struct limit_counts *counts, enum limit_bucket bucket)
{
	counts->all++;
	counts->by[bucket]++;
}

void limit_counts_take(struct limit_counts *counts, enum limit_bucket bucket)
{
	if (counts->all > 0)
		counts->all--;
	if (counts->by[bucket] > 0)
		counts->by[bucket]--;
}

/* ---- table of sources ------------------------------------------------------------------------------------------- */

static bool is_stale(const struct source *s, uint64_t now_us)
{
	return s->n_pending == 0 && now_us >= s->not_before_us && now_us - s->last_us >= FORGET_US;
}

/* Which of several goes is not for an attacker to foresee; it need not be unpredictable beyond that. */
static uint64_t next_random(struct limits *l)
{
	uint64_t x = l->random_state++;

	return limits_siphash(l->key, (const uint8_t *)&x, sizeof(x));
}

static struct source *find_source(struct limits *l, uint64_t key)
{
	struct source *set = l->sources[key % N_SETS];

	for (size_t i = 0; i < N_WAYS; i++)
		if (set[i].is_used && set[i].key == key)
			return &set[i];
	return NULL;
}

/*
 * The entry of this source, made if need be: in place of a stale one, of a random one that neither tries nor has to wait
 * (else a spray of addresses would wash a wait away), or shared by all without room.
 */
static struct source *get_source(struct limits *l, uint64_t key, uint64_t now_us)
{
	struct source *set = l->sources[key % N_SETS], *s = find_source(l, key);
	size_t from;

	if (s != NULL) {
		if (is_stale(s, now_us))
			*s = (struct source){ .key = key, .is_used = true, .last_us = now_us };
		return s;
	}
	for (size_t i = 0; i < N_WAYS && s == NULL; i++)
		if (!set[i].is_used || is_stale(&set[i], now_us))
			s = &set[i];
	from = (size_t)next_random(l);
	for (size_t i = 0; i < N_WAYS && s == NULL; i++)
		if (set[(from + i) % N_WAYS].n_pending == 0 && now_us >= set[(from + i) % N_WAYS].not_before_us)
			s = &set[(from + i) % N_WAYS];
	if (s == NULL)
		return &l->overflow;
	*s = (struct source){ .key = key, .is_used = true, .last_us = now_us };
	return s;
}

/* ---- decisions -------------------------------------------------------------------------------------------------- */

static uint64_t backoff_us(uint64_t n_failures)
{
	uint64_t exponent;

	if (n_failures < LIMITS_FREE_TRIES)
		return 0;
	exponent = n_failures - LIMITS_FREE_TRIES;
	return exponent >= 10 || (UINT64_C(1) << exponent) > LIMITS_MAX_WAIT_S ? LIMITS_MAX_WAIT_S * SECOND :
										(UINT64_C(1) << exponent) * SECOND;
}

/* On this machine: after failure @n of its kind. */
static uint64_t local_wait_us(uint64_t n)
{
	uint64_t wait_us = backoff_us(n);

	if (n == 0)
		return 0;
	if (wait_us < LIMITS_LOCAL_INTERVAL_S * SECOND)
		return LIMITS_LOCAL_INTERVAL_S * SECOND;
	return wait_us > LIMITS_LOCAL_MAX_WAIT_S * SECOND ? LIMITS_LOCAL_MAX_WAIT_S * SECOND : wait_us;
}

static bool is_open_to_all(enum limit_bucket bucket)
{
	return bucket == LIMIT_STRANGER || bucket == LIMIT_USER;
}

struct limits *limits_new(const uint8_t key[16], const struct limit_counts *counts, uint64_t now_us)
{
	const uint64_t interval_us = LIMITS_STRANGERS_INTERVAL_S * SECOND;
	struct limits *l = calloc(1, sizeof(*l));
	uint64_t wait_us = backoff_us(counts->all);

	if (l == NULL)
		return NULL;
	memcpy(l->key, key, sizeof(l->key));
	l->counts = *counts;
	l->all_tat_us = now_us + (counts->all > LIMITS_STRANGERS_BURST ? LIMITS_STRANGERS_BURST : counts->all) * interval_us;
	l->from_us[LIMIT_STRANGER] = now_us + (wait_us > interval_us ? interval_us : wait_us);
	for (unsigned b = LIMIT_USER; b <= LIMIT_CONSOLE; b++) {
		wait_us = local_wait_us(counts->by[b]);
		l->from_us[b] = now_us + (wait_us == 0 && counts->all > 0 ? LIMITS_LOCAL_INTERVAL_S * SECOND : wait_us);
	}
	return l;
}

struct limits *limits_free(struct limits *limits)
{
	free(limits);
	return NULL;
}

uint64_t limits_get_failures(const struct limits *limits)
{
	return limits->counts.all;
}

bool limits_is_closed(const struct limits *limits)
{
	return limits->counts.all >= LIMITS_CLOSE_AFTER;
}

bool limits_is_closed_for(const struct limits *limits, enum limit_bucket bucket)
{
	return is_open_to_all(bucket) ? limits_is_closed(limits) : limits->counts.by[bucket] >= LIMITS_CLOSE_AFTER;
}

/* The same with those under way: they may all fail. */
static bool is_full(const struct limits *l, enum limit_bucket bucket)
{
	if (is_open_to_all(bucket))
		return l->counts.all + l->n_pending[LIMIT_STRANGER] + l->n_pending[LIMIT_USER] >= LIMITS_CLOSE_AFTER;
	return l->counts.by[bucket] + l->n_pending[bucket] >= LIMITS_CLOSE_AFTER;
}

static int refuse(unsigned *ret_retry_s, uint64_t now_us, uint64_t until_us)
{
	uint64_t wait_us = until_us > now_us ? until_us - now_us : 0;

	*ret_retry_s = (unsigned)((wait_us + SECOND - 1) / SECOND);
	if (*ret_retry_s == 0)
		*ret_retry_s = 1;
	return -EDQUOT;
}

int limits_admit(struct limits *limits, const struct limit_who *who, uint64_t now_us, unsigned *ret_retry_s)
{
	const uint64_t interval_us = LIMITS_STRANGERS_INTERVAL_S * SECOND;
	uint64_t not_before_us = limits->from_us[who->bucket];
	struct source *s;
	struct cookie *c;

	if (is_full(limits, who->bucket))
		return refuse(ret_retry_s, now_us, now_us + LIMITS_MAX_WAIT_S * SECOND);
	if (who->bucket == LIMIT_COOKIE) {
		c = get_cookie(limits, who->cookie_id, now_us);
		if (c == NULL || c->is_void)
			return refuse(ret_retry_s, now_us, now_us + LIMITS_MAX_WAIT_S * SECOND);
		if (c->n_pending > 0)
			return refuse(ret_retry_s, now_us, now_us);
		c->n_pending++;
		limits->n_pending[LIMIT_COOKIE]++;
		return 0;
	}
	s = get_source(limits, who->key, now_us);
	if (who->bucket == LIMIT_STRANGER && limits->all_tat_us > (LIMITS_STRANGERS_BURST - 1) * interval_us &&
	    limits->all_tat_us - (LIMITS_STRANGERS_BURST - 1) * interval_us > not_before_us)
		not_before_us = limits->all_tat_us - (LIMITS_STRANGERS_BURST - 1) * interval_us;
	if (s->not_before_us > not_before_us)
		not_before_us = s->not_before_us;
	if (now_us < not_before_us || s->n_pending > 0 || (who->bucket == LIMIT_CONSOLE && limits->n_pending[LIMIT_CONSOLE] > 0))
		return refuse(ret_retry_s, now_us, not_before_us);
	s->n_pending++;
	s->last_us = now_us;
	limits->n_pending[who->bucket]++;
	if (who->bucket == LIMIT_STRANGER)
		limits->all_tat_us = (limits->all_tat_us > now_us ? limits->all_tat_us : now_us) + interval_us;
	return 0;
}

/* End of a try: the entry it was counted in. Exactly one of the two is set, or none if it went in between. */
static void settle(struct limits *l, const struct limit_who *who, bool gives_token_back, struct source **ret_source, struct cookie **ret_cookie)
{
	*ret_source = NULL;
	*ret_cookie = NULL;
	if (l->n_pending[who->bucket] > 0)
		l->n_pending[who->bucket]--;
	if (who->bucket == LIMIT_COOKIE) {
		*ret_cookie = find_cookie(l, who->cookie_id);
		if (*ret_cookie != NULL && (*ret_cookie)->n_pending > 0)
			(*ret_cookie)->n_pending--;
		return;
	}
	*ret_source = find_source(l, who->key);
	if (*ret_source == NULL)
		*ret_source = &l->overflow;
	if ((*ret_source)->n_pending > 0)
		(*ret_source)->n_pending--;
	if (who->bucket == LIMIT_STRANGER && gives_token_back && l->all_tat_us >= LIMITS_STRANGERS_INTERVAL_S * SECOND)
		l->all_tat_us -= LIMITS_STRANGERS_INTERVAL_S * SECOND;
}

unsigned limits_failed(struct limits *limits, const struct limit_who *who, uint64_t now_us)
{
	struct source *s;
	struct cookie *c;
	unsigned changes = 0;

	settle(limits, who, false, &s, &c);
	limit_counts_add(&limits->counts, who->bucket);
	if (limits->counts.all == LIMITS_CLOSE_AFTER)
		changes |= LIMITS_CLOSED;
	if (c != NULL) {
		if (now_us - c->since_us >= 3600 * SECOND) {
			c->since_us = now_us;
			c->n_failures = 0;
		}
		if (++c->n_failures >= LIMITS_COOKIE_FAILURES) {
			c->is_void = true;
			changes |= LIMITS_BACKOFF_ENTERED;
		}
	}
	if (s != NULL) {
		s->last_us = now_us;
		s->n_failures++;
		s->not_before_us = now_us + (who->bucket == LIMIT_STRANGER ? backoff_us(s->n_failures) :
									      local_wait_us(limits->counts.by[who->bucket]));
		if (s->n_failures == LIMITS_FREE_TRIES)
			changes |= LIMITS_BACKOFF_ENTERED;
		/* There is one person at the console, however many terminals it has. */
		if (who->bucket == LIMIT_CONSOLE)
			limits->from_us[LIMIT_CONSOLE] = s->not_before_us;
	}
	return changes;
}

unsigned limits_succeeded(struct limits *limits, const struct limit_who *who, bool is_admin, uint64_t now_us)
{
	unsigned changes = is_admin && limits_is_closed(limits) ? LIMITS_OPENED : 0;
	struct source *s;
	struct cookie *c;

	settle(limits, who, true, &s, &c);
	if (is_admin) {
		limits->counts = (struct limit_counts){ 0 };
		memset(limits->from_us, 0, sizeof(limits->from_us));
	}
	if (c != NULL && is_admin) {
		c->n_failures = 0;
		c->since_us = now_us;
	}
	if (s != NULL && s != &limits->overflow) {
		if (s->n_failures >= LIMITS_FREE_TRIES)
			changes |= LIMITS_BACKOFF_LEFT;
		s->n_failures = 0;
		s->not_before_us = 0;
		s->last_us = now_us;
	}
	return changes;
}

void limits_forget(struct limits *limits)
{
	limits->counts = (struct limit_counts){ 0 };
	limits->all_tat_us = 0;
	memset(limits->from_us, 0, sizeof(limits->from_us));
	limits->overflow.n_failures = 0;
	limits->overflow.not_before_us = 0;
	for (size_t i = 0; i < N_SETS; i++)
		for (size_t k = 0; k < N_WAYS; k++) {
			limits->sources[i][k].n_failures = 0;
			limits->sources[i][k].not_before_us = 0;
		}
	for (size_t i = 0; i < N_COOKIES; i++) {
		limits->cookies[i].n_failures = 0;
		limits->cookies[i].is_void = false;
	}
}

void limits_undo(struct limits *limits, const struct limit_who *who, uint64_t now_us)
{
	struct source *s;
	struct cookie *c;

	(void)now_us;
	settle(limits, who, true, &s, &c);
}
