/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/link/usage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/time.h"

#define MAGIC "libagent-usage 1 "
#define HASH_SIZE 32

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint32_t month_of(uint64_t s)
{
	char text[TIME_TEXT_SIZE];
	unsigned year = 0, month = 0;

	time_text((int64_t)s, text);
	return sscanf(text, "%4u-%2u", &year, &month) == 2 ? year * 100 + month : 0;
}

static void begin(struct usage *u, uint32_t month)
{
	u->last = u->now;
	u->now = (struct usage_period){ .month = month };
	memset(u->told, 0, sizeof(u->told));
}

/* The clock was ahead, and what was counted since belongs to the month that it is. */
static void go_back(struct usage *u, uint32_t month)
{
	if (u->last.month != 0 && u->last.month >= month) {
		usage_add(u, u->last.sent, u->last.received, u->last.connects);
		u->now.ran_s = sum(u->now.ran_s, u->last.ran_s);
		u->last = (struct usage_period){ 0 };
	}
	u->now.month = month;
}

void usage_time(struct usage *u, const struct agent_time_reading *time, uint64_t ran_s)
{
	bool is_known = time->state >= AGENT_TIME_NETWORK;
	uint32_t month = month_of(is_known ? time->now_s : time->floor_s);

	u->now.ran_s = sum(u->now.ran_s, ran_s);
	if (!is_known) {
		/* It is not earlier than the floor. */
		if ((u->now.month != 0 && month > u->now.month) || u->now.ran_s >= USAGE_PERIOD_S)
			begin(u, 0);
	} else if (u->now.month == 0) {
		u->now.month = month;
	} else if (month > u->now.month) {
		begin(u, month);
	} else if (month < u->now.month) {
		go_back(u, month);
	}
}

void usage_add(struct usage *u, uint64_t sent, uint64_t received, uint64_t connects)
{
	u->now.sent = sum(u->now.sent, sent);
	u->now.received = sum(u->now.received, received);
	u->now.connects = sum(u->now.connects, connects);
}

uint64_t usage_used(const struct usage *u, enum usage_kind kind)
{
	return kind == USAGE_BYTES ? sum(u->now.sent, u->now.received) : u->now.connects;
}

unsigned usage_to_tell(const struct usage *u, enum usage_kind kind, uint64_t budget)
{
	uint64_t used = usage_used(u, kind);
	unsigned level = budget == 0 ? 0 : used >= budget ? 100 : used >= budget - budget / 5 ? 80 : 0;

	return level > u->told[kind] ? level : 0;
}

/* ---- kept ----------------------------------------------------------------------------------------------------------- */

static void print(const struct usage *u, char ret_text[USAGE_TEXT_MAX])
{
	const struct usage_period *n = &u->now, *l = &u->last;

	snprintf(ret_text, USAGE_TEXT_MAX,
		 MAGIC "%" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %u ", n->month,
		 n->ran_s, n->sent, n->received, n->connects, l->month, l->ran_s, l->sent, l->received, l->connects, u->told[0], u->told[1]);
}

/* Without memory it stays empty, and the text is not taken when it is read. */
static void seal(const char *text, size_t size, char ret_hex[2 * HASH_SIZE + 1])
{
	uint8_t hash[HASH_SIZE];

	ret_hex[0] = '\0';
	if (EVP_Digest(text, size, hash, NULL, EVP_sha256(), NULL) == 1)
		hex_encode(hash, sizeof(hash), ret_hex);
}

void usage_save(const struct usage *u, char ret_text[USAGE_TEXT_MAX])
{
	char hex[2 * HASH_SIZE + 1];
	size_t n;

	print(u, ret_text);
	n = strlen(ret_text);
	seal(ret_text, n, hex);
	snprintf(ret_text + n, USAGE_TEXT_MAX - n, "%s\n", hex);
}

static bool is_month(uint32_t month)
{
	return month == 0 || (month / 100 >= 1970 && month / 100 <= 9999 && month % 100 >= 1 && month % 100 <= 12);
}

int usage_load(struct usage *u, const char *text, size_t size)
{
	char again[USAGE_TEXT_MAX];
	struct usage s = { 0 };
	struct usage_period *n = &s.now, *l = &s.last;

	if (size >= USAGE_TEXT_MAX || memchr(text, '\0', size) != NULL ||
	    sscanf(text, MAGIC "%6" SCNu32 " %20" SCNu64 " %20" SCNu64 " %20" SCNu64 " %20" SCNu64 " %6" SCNu32 " %20" SCNu64 " %20" SCNu64 " %20" SCNu64 " %20" SCNu64
		   " %3u %3u ", &n->month, &n->ran_s, &n->sent, &n->received, &n->connects, &l->month, &l->ran_s, &l->sent, &l->received, &l->connects,
		   &s.told[0], &s.told[1]) != 12)
		return -EBADMSG;
	/* Nothing but what we write is read. */
	usage_save(&s, again);
	if (strlen(again) != size || memcmp(again, text, size) != 0 || !is_month(n->month) || !is_month(l->month))
		return -EBADMSG;
	*u = s;
	return 0;
}
