/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/limit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SETS 128
#define WAYS 8

const struct limit_rate limit_rates[LIMIT_COUNT_] = {
	[LIMIT_CONNECT] = { 100000, 20 },
	[LIMIT_STRANGER] = { 200000, 10 },
	[LIMIT_STRANGERS] = { 5000, 400 },
	[LIMIT_READ] = { 50000, 40 },
	[LIMIT_WRITE] = { 50000, 40 },
	[LIMIT_AUTH] = { 200000, 10 },
	[LIMIT_HANDSHAKE] = { 13333, 15 },
	[LIMIT_HANDSHAKE_KNOWN] = { 40000, 10 },
	[LIMIT_LOG] = { 200000, 20 },
	[LIMIT_PLAIN] = { 500000, 10 },
	[LIMIT_PLAINS] = { 20000, 50 },
};

const char *const limit_names[LIMIT_COUNT_] = {
	[LIMIT_CONNECT] = "new connections of a source address",
	[LIMIT_STRANGER] = "requests of a source without a known session",
	[LIMIT_STRANGERS] = "requests without a known session, all together",
	[LIMIT_READ] = "requests of a session, rate class read",
	[LIMIT_WRITE] = "requests of a session, rate class write or auth",
	[LIMIT_AUTH] = "requests of a source, rate class auth",
	[LIMIT_HANDSHAKE] = "TLS handshakes, until their cost was measured (mgmt.handshakes_per_s)",
	[LIMIT_HANDSHAKE_KNOWN] = "TLS handshakes of sources somebody has logged in from, besides, likewise",
	[LIMIT_LOG] = "log lines about strangers",
	[LIMIT_PLAIN] = "requests of a source at the door without TLS",
	[LIMIT_PLAINS] = "requests at the door without TLS, all together",
};

struct bucket {
	uint64_t id;	/* 0 is free */
	uint64_t tat_us; /* theoretical arrival time of the next one that is exactly on rate */
};

struct limit_table {
	uint8_t key[16];
	struct limit_rate rates[LIMIT_COUNT_];
	struct bucket sets[SETS][WAYS];
	struct bucket overflow[LIMIT_COUNT_];
	uint64_t sessions[SESSION_CACHE];
	unsigned next_session;
	struct {
		uint8_t key[sizeof(((struct source *)0)->key)];
		uint64_t seen_us;	/* 0: free */
	} known[SOURCES_KNOWN];
};

static uint64_t load_le64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static inline uint64_t rotl(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1], v[1] = rotl(v[1], 13), v[1] ^= v[0], v[0] = rotl(v[0], 32);
	v[2] += v[3], v[3] = rotl(v[3], 16), v[3] ^= v[2];
	v[0] += v[3], v[3] = rotl(v[3], 21), v[3] ^= v[0];
	v[2] += v[1], v[1] = rotl(v[1], 17), v[1] ^= v[2], v[2] = rotl(v[2], 32);
}

uint64_t siphash24(const uint8_t key[16], const void *data, size_t size)
{
	uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);
	uint64_t v[4] = { 0x736f6d6570736575 ^ k0, 0x646f72616e646f6d ^ k1, 0x6c7967656e657261 ^ k0, 0x7465646279746573 ^ k1 };
	const uint8_t *p = data;
	uint8_t tail[8] = { 0 };
	size_t left = size;

	for (; left >= 8; p += 8, left -= 8) {
		uint64_t m = load_le64(p);

		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
	}
	if (left > 0)
		memcpy(tail, p, left);
	tail[7] = (uint8_t)size;
	v[3] ^= load_le64(tail);
	sip_round(v);
	sip_round(v);
	v[0] ^= load_le64(tail);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int limit_table_new(struct limit_table **ret_table)
{
	struct limit_table *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return -ENOMEM;
	if (getrandom(t->key, sizeof(t->key), 0) != (ssize_t)sizeof(t->key)) {
		free(t);
		return -EIO;
	}
	memcpy(t->rates, limit_rates, sizeof(t->rates));
	*ret_table = t;
	return 0;
}

struct limit_table *limit_table_free(struct limit_table *t)
{
	free(t);
	return NULL;
}

void limit_set_rate(struct limit_table *t, enum limit_class class, struct limit_rate rate)
{
	t->rates[class] = rate;
}

struct limit_rate limit_rate(const struct limit_table *t, enum limit_class class)
{
	return t->rates[class];
}

static uint64_t bucket_id(const struct limit_table *t, enum limit_class class, const void *key, size_t key_size)
{
	uint8_t input[1 + 64];
	uint64_t id;

	if (key_size > sizeof(input) - 1)
		key_size = sizeof(input) - 1;
	input[0] = (uint8_t)class;
	if (key_size > 0)
		memcpy(input + 1, key, key_size);
	id = siphash24(t->key, input, 1 + key_size);
	return id == 0 ? 1 : id;
}

/* The bucket of @id, else one that has run dry and may be reused, else the shared one of the class. */
static struct bucket *bucket_find(struct limit_table *t, enum limit_class class, uint64_t id, uint64_t now_us)
{
	struct bucket *set = t->sets[id % SETS], *idle = NULL;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].id == id)
			return &set[i];
		if (idle == NULL && (set[i].id == 0 || set[i].tat_us <= now_us))
			idle = &set[i];
	}
	if (idle == NULL)
		return &t->overflow[class];
	*idle = (struct bucket){ .id = id };
	return idle;
}

static uint32_t bucket_wait_us(const struct bucket *b, const struct limit_rate *rate, uint64_t now_us, uint64_t *ret_tat_us)
{
	uint64_t tat = b->tat_us > now_us ? b->tat_us : now_us;
	uint64_t room = (uint64_t)rate->interval_us * (rate->burst - 1);

	*ret_tat_us = tat + rate->interval_us;
	return tat - now_us > room ? (uint32_t)(tat - now_us - room) : 0;
}

uint32_t limit_take(struct limit_table *t, enum limit_class class, const void *key, size_t key_size, uint64_t now_us)
{
	struct bucket *b = bucket_find(t, class, bucket_id(t, class, key, key_size), now_us);
	uint64_t tat_us;
	uint32_t wait_us = bucket_wait_us(b, &t->rates[class], now_us, &tat_us);

	if (wait_us > 0)
		return (wait_us + 999999) / 1000000;
	b->tat_us = tat_us;
	return 0;
}

void source_from_address(const struct sockaddr *address, struct source *ret_source)
{
	struct source s = { .key = { 0 } };
	char text[INET6_ADDRSTRLEN] = "?";

	if (address->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, address, sizeof(in));
		s.key[0] = 4;
		memcpy(s.key + 1, &in.sin_addr, 4);
		inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
		snprintf(s.text, sizeof(s.text), "ip:%s", text);
	} else if (address->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		struct in6_addr net;

		memcpy(&in6, address, sizeof(in6));
		net = in6.sin6_addr;
		if (IN6_IS_ADDR_V4MAPPED(&net)) {
			/* A dual-stack socket must not give an IPv4 client a second budget. */
			s.key[0] = 4;
			memcpy(s.key + 1, &net.s6_addr[12], 4);
			inet_ntop(AF_INET, &net.s6_addr[12], text, sizeof(text));
			snprintf(s.text, sizeof(s.text), "ip:%s", text);
		} else if (IN6_IS_ADDR_LINKLOCAL(&net)) {
			s.key[0] = 6;
			memcpy(s.key + 1, &net, 16);
			memcpy(s.key + 17, &in6.sin6_scope_id, 4);
			inet_ntop(AF_INET6, &net, text, sizeof(text));
			snprintf(s.text, sizeof(s.text), "ip:%s%%%u", text, in6.sin6_scope_id);
		} else if (IN6_IS_ADDR_LOOPBACK(&net)) {
			s.key[0] = 6;
			memcpy(s.key + 1, &net, 16);
			snprintf(s.text, sizeof(s.text), "ip:::1");
		} else {
			/* A LAN host owns a whole /64: it is one source. */
			memset(&net.s6_addr[8], 0, 8);
			s.key[0] = 6;
			memcpy(s.key + 1, &net, 16);
			inet_ntop(AF_INET6, &net, text, sizeof(text));
			snprintf(s.text, sizeof(s.text), "ip:%s/64", text);
		}
	} else {
		snprintf(s.text, sizeof(s.text), "unknown");
	}
	*ret_source = s;
}

int source_from_text(const char *text, struct source *ret_source)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	char address[INET6_ADDRSTRLEN];
	struct source s;
	size_t n;

	if (strncmp(text, "ip:", 3) != 0)
		return -EINVAL;
	n = strcspn(text + 3, "/%");
	if (n >= sizeof(address))
		return -EINVAL;
	memcpy(address, text + 3, n);
	address[n] = '\0';
	if (text[3 + n] == '%')
		in6.sin6_scope_id = (uint32_t)strtoul(text + 3 + n + 1, NULL, 10);
	if (inet_pton(AF_INET, address, &in.sin_addr) == 1)
		source_from_address((const struct sockaddr *)&in, &s);
	else if (inet_pton(AF_INET6, address, &in6.sin6_addr) == 1)
		source_from_address((const struct sockaddr *)&in6, &s);
	else
		return -EINVAL;
	/* There is one way to write each. */
	if (strcmp(s.text, text) != 0)
		return -EINVAL;
	*ret_source = s;
	return 0;
}

void source_from_uid(uint32_t uid, struct source *ret_source)
{
	struct source s = { .key = { 1 } };

	memcpy(s.key + 1, &uid, sizeof(uid));
	snprintf(s.text, sizeof(s.text), "unix:%u", uid);
	*ret_source = s;
}

/* Tokens themselves are not kept: a keyed hash is enough to recognise one. */
static uint64_t session_hash(const struct limit_table *t, const char *token)
{
	uint64_t h = siphash24(t->key, token, strlen(token));

	return h == 0 ? 1 : h;
}

void limit_session_add(struct limit_table *t, const char *token)
{
	if (limit_session_is_known(t, token))
		return;
	t->sessions[t->next_session] = session_hash(t, token);
	t->next_session = (t->next_session + 1) % SESSION_CACHE;
}

void limit_session_remove(struct limit_table *t, const char *token)
{
	uint64_t h = session_hash(t, token);

	for (size_t i = 0; i < SESSION_CACHE; i++)
		if (t->sessions[i] == h)
			t->sessions[i] = 0;
}

bool limit_session_is_known(const struct limit_table *t, const char *token)
{
	uint64_t h = session_hash(t, token);

	for (size_t i = 0; i < SESSION_CACHE; i++)
		if (t->sessions[i] == h)
			return true;
	return false;
}

static void source_enter(struct limit_table *t, const struct source *source, uint64_t seen_us)
{
	size_t at = 0;

	for (size_t i = 0; i < SOURCES_KNOWN; i++) {
		if (t->known[i].seen_us != 0 && memcmp(t->known[i].key, source->key, sizeof(source->key)) == 0) {
			at = i;
			break;
		}
		if (t->known[i].seen_us < t->known[at].seen_us)
			at = i;
	}
	if (t->known[at].seen_us >= seen_us)
		return;
	memcpy(t->known[at].key, source->key, sizeof(source->key));
	t->known[at].seen_us = seen_us;
}

void limit_source_add(struct limit_table *t, const struct source *source, uint64_t now_us)
{
	source_enter(t, source, now_us > 0 ? now_us : 1);
}

void limit_source_restore(struct limit_table *t, const struct source *source, uint64_t age_us, uint64_t now_us)
{
	if (age_us < SOURCES_KNOWN_US)
		source_enter(t, source, now_us > age_us ? now_us - age_us : 1);
}

void limit_sources_forget(struct limit_table *t)
{
	memset(t->known, 0, sizeof(t->known));
}

bool limit_source_is_known(const struct limit_table *t, const struct source *source, uint64_t now_us)
{
	for (size_t i = 0; i < SOURCES_KNOWN; i++)
		if (t->known[i].seen_us != 0 && memcmp(t->known[i].key, source->key, sizeof(source->key)) == 0)
			return now_us < t->known[i].seen_us + SOURCES_KNOWN_US;
	return false;
}
