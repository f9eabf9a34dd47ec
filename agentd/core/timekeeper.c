/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/timekeeper.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/buf.h"

#define MAGIC "libagent-time 2 "
#define HASH_HEX 64
#define LATEST_S UINT64_C(253402300799)	/* 9999-12-31 */
/* TPM 2.0 Part 1 section 36.2: the rate may be off by 15 %. */
#define TPM_SLOW_PERCENT 85
#define TPM_FAST_PERCENT 115
#define DRIFT 5000			/* one second in so many: 200 ppm */
#define DAY_S UINT64_C(86400)
/*
 * How far somebody may move a floor, as one that is too high makes certificates look expired. Each is counted from what he cannot move himself,
 * so saying it again gains nothing.
 */
#define AUTHORITY_AHEAD_S (5 * 365 * DAY_S) /* above the hard floor: years in a store are news, more than these a mistake */
#define SIGNER_AHEAD_S (365 * DAY_S)	/* above the hard floor: the clock of a build machine, which nobody else vouches for */
#define NETWORK_AHEAD_S (30 * DAY_S)	/* above the witness: nobody vouches for the network */
#define DATE_AHEAD_S (30 * DAY_S)	/* above the witness, into the hard floor: one server, as one program of ours tells it */
#define DATE_UNCERTAIN_S 3		/* whole seconds in the header and here */
#define DATE_OFF_MAX_S 600		/* an answer that took longer tells no time */
#define CLOCK_UNCERTAIN_S 1

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* @s and so much more, but not beyond what X.509 and timekeeper_load() know. */
static uint64_t later(uint64_t s, uint64_t by_s)
{
	return s > LATEST_S || by_s > LATEST_S - s ? LATEST_S : s + by_s;
}

static uint64_t gone_since(uint64_t at_s, uint64_t boot_s)
{
	return boot_s > at_s ? boot_s - at_s : 0;
}

/* Of the running time what surely went by: a quartz that is fast must not carry the floors away from every source that is right. */
static uint64_t ran_since(const struct timekeeper *tk, uint64_t boot_s)
{
	uint64_t gone_s = gone_since(tk->at_s, boot_s);

	return gone_s - (tk->drift_s + gone_s) / DRIFT;
}

/* The floors go on with the running time. */
static void run_to(struct timekeeper *tk, uint64_t boot_s)
{
	uint64_t ran_s = ran_since(tk, boot_s);

	tk->hard_s = later(tk->hard_s, ran_s);
	tk->witness_s = later(tk->witness_s, ran_s);
	if (tk->soft_s != 0)
		tk->soft_s = later(tk->soft_s, ran_s);
	tk->drift_s = (tk->drift_s + gone_since(tk->at_s, boot_s)) % DRIFT;
	tk->at_s = boot_s;
}

void timekeeper_start(struct timekeeper *tk, uint64_t build_s, uint64_t boot_s)
{
	*tk = (struct timekeeper){ .hard_s = build_s, .witness_s = build_s, .at_s = boot_s };
}

static int hash(const char *text, size_t size, char ret_hex[HASH_HEX + 1])
{
	uint8_t digest[HASH_HEX / 2];

	if (EVP_Digest(text, size, digest, NULL, EVP_sha256(), NULL) != 1)
		return -EIO;
	hex_encode(digest, sizeof(digest), ret_hex);
	return 0;
}

int timekeeper_load(struct timekeeper *tk, const char *text, size_t size)
{
	char hex[HASH_HEX + 1], again[TIMEKEEPER_TEXT_MAX];
	struct timekeeper_saved s = { 0 };
	unsigned has_clock, resets, restarts;
	int n = 0;

	if (size >= TIMEKEEPER_TEXT_MAX || size < HASH_HEX + 1 || memchr(text, '\0', size) != NULL)
		return -EBADMSG;
	if (sscanf(text, MAGIC "%20" SCNu64 " %20" SCNu64 " %20" SCNu64 " %1u %20" SCNu64 " %20" SCNu64 " %10u %10u %n", &s.hard_s, &s.soft_s,
		   &s.witness_s, &has_clock, &s.clock.clock_ms, &s.clock_age_s, &resets, &restarts, &n) != 8 || (size_t)n + HASH_HEX + 1 != size)
		return -EBADMSG;
	s.has_clock = has_clock == 1;
	s.clock.n_resets = resets;
	s.clock.n_restarts = restarts;
	/* Written again it must be the same: nothing but what we write is read. */
	snprintf(again, sizeof(again), MAGIC "%" PRIu64 " %" PRIu64 " %" PRIu64 " %u %" PRIu64 " %" PRIu64 " %u %u ", s.hard_s, s.soft_s, s.witness_s, has_clock,
		 s.clock.clock_ms, s.clock_age_s, resets, restarts);
	if (strlen(again) != (size_t)n || memcmp(again, text, (size_t)n) != 0 || hash(text, (size_t)n, hex) < 0 ||
	    memcmp(hex, text + n, HASH_HEX) != 0 || text[size - 1] != '\n' || s.hard_s > LATEST_S || s.soft_s > LATEST_S ||
	    s.witness_s > LATEST_S || s.clock_age_s > LATEST_S)
		return -EBADMSG;
	tk->saved = s;
	tk->hard_s = larger(tk->hard_s, s.hard_s);
	tk->soft_s = larger(tk->soft_s, s.soft_s);
	tk->witness_s = larger(tk->witness_s, s.witness_s);
	tk->has_evidence = true;
	return 0;
}

void timekeeper_save(const struct timekeeper *tk, uint64_t boot_s, char ret_text[TIMEKEEPER_TEXT_MAX])
{
	uint64_t ran_s = ran_since(tk, boot_s);
	char hex[HASH_HEX + 1] = "";
	int n;

	n = snprintf(ret_text, TIMEKEEPER_TEXT_MAX - HASH_HEX - 2, MAGIC "%" PRIu64 " %" PRIu64 " %" PRIu64 " %u %" PRIu64 " %" PRIu64 " %u %u ",
		     later(tk->hard_s, ran_s), tk->soft_s == 0 ? 0 : later(tk->soft_s, ran_s), later(tk->witness_s, ran_s), tk->has_clock ? 1u : 0u,
		     tk->has_clock ? tk->clock.clock_ms : 0, tk->has_clock ? gone_since(tk->clock_at_s, boot_s) : 0,
		     tk->has_clock ? (unsigned)tk->clock.n_resets : 0, tk->has_clock ? (unsigned)tk->clock.n_restarts : 0);
	(void)hash(ret_text, (size_t)n, hex);
	snprintf(ret_text + n, HASH_HEX + 2, "%s\n", hex);
}

bool timekeeper_tpm(struct timekeeper *tk, const struct agent_tpm_clock *clock, uint64_t boot_s)
{
	bool is_first = !tk->has_clock, fits;
	const struct timekeeper_saved *s = &tk->saved;
	uint64_t gone_s, before_ms;

	run_to(tk, boot_s);
	tk->clock = *clock;
	tk->clock_at_s = boot_s;
	tk->has_clock = true;
	if (!is_first || !s->has_clock)
		return true;
	/* After TPM2_Clear, or in another TPM, both begin anew. Without is_safe the clock may have lost up to 70 minutes: then it just proves less. */
	fits = clock->n_resets >= s->clock.n_resets && clock->clock_ms >= s->clock.clock_ms;
	if (!fits)
		return !clock->is_safe && clock->n_resets >= s->clock.n_resets;
	/* What it counted until the time was saved is in that time already: rather too much of it. */
	before_ms = s->clock_age_s * 10 * TPM_FAST_PERCENT;
	gone_s = clock->clock_ms - s->clock.clock_ms;
	gone_s = gone_s > before_ms ? (gone_s - before_ms) / 100000 * TPM_SLOW_PERCENT : 0;
	tk->hard_s = larger(tk->hard_s, later(s->hard_s, gone_s));
	if (s->soft_s != 0)
		tk->soft_s = larger(tk->soft_s, later(s->soft_s, gone_s));
	tk->witness_s = larger(tk->witness_s, later(s->witness_s, gone_s));
	return true;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int timekeeper_signed(struct timekeeper *tk, enum timekeeper_signed who, uint64_t signed_s, uint64_t boot_s)
{
	run_to(tk, boot_s);
	if (signed_s == 0 || signed_s > LATEST_S || (who != TIMEKEEPER_SIGNER && signed_s > later(tk->hard_s, AUTHORITY_AHEAD_S)))
		return -ERANGE;
	/* What is as early as a part of the bound says is true as well. */
	if (who == TIMEKEEPER_SIGNER)
		signed_s = smaller(signed_s, later(tk->hard_s, SIGNER_AHEAD_S));
	tk->soft_s = larger(tk->soft_s, signed_s);
	if (who == TIMEKEEPER_AUTHORITY)
		tk->witness_s = larger(tk->witness_s, signed_s);
	tk->has_evidence = true;
	return 0;
}

int timekeeper_handshake(struct timekeeper *tk, enum timekeeper_signed who, uint64_t begin_s, uint64_t end_s, uint64_t system_s, uint64_t boot_s)
{
	uint64_t surely_s = system_s > TIMEKEEPER_STEP_S ? system_s - TIMEKEEPER_STEP_S : 0;

	if (begin_s > end_s || begin_s > LATEST_S || system_s > LATEST_S)
		return -ERANGE;
	run_to(tk, boot_s);
	/*
	 * The time of the network raises the floor only as far as a certificate is good at it: a false one in the far future finds none. Not quite
	 * up to it, so that a correction that is no step leaves the clock above the floor. And not far beyond what somebody signed: certificates
	 * may be good for decades.
	 */
	(void)timekeeper_signed(tk, who, begin_s, boot_s);
	if (tk->state == AGENT_TIME_NETWORK && begin_s <= system_s && system_s <= end_s)
		tk->soft_s = larger(tk->soft_s, smaller(surely_s, later(tk->witness_s, NETWORK_AHEAD_S)));
	tk->has_evidence = true;
	return 0;
}

int timekeeper_date(struct timekeeper *tk, uint64_t date_s, uint64_t off_s, uint64_t boot_s)
{
	run_to(tk, boot_s);
	if (date_s > LATEST_S || off_s > DATE_OFF_MAX_S || date_s + off_s + DATE_UNCERTAIN_S < tk->hard_s)
		return -ERANGE;
	tk->date_s = larger(date_s, 1);
	tk->date_off_s = off_s;
	tk->date_at_s = boot_s;
	return 0;
}

void timekeeper_forget(struct timekeeper *tk, uint64_t build_s, uint64_t boot_s)
{
	const struct timekeeper before = *tk;

	timekeeper_start(tk, build_s, boot_s);
	tk->n_changes = before.n_changes + 1;
	tk->state = before.state; /* what is told next is news against that */
	tk->has_clock = before.has_clock;
	tk->clock = before.clock;
	tk->clock_at_s = before.clock_at_s;
}

void timekeeper_slept(struct timekeeper *tk)
{
	tk->date_s = 0;
	tk->has_offset = false;
}

uint64_t timekeeper_floor(const struct timekeeper *tk, uint64_t boot_s)
{
	return later(larger(tk->hard_s, tk->soft_s), ran_since(tk, boot_s));
}

static void look_for_step(struct timekeeper *tk, const struct timekeeper_look *look, struct timekeeper_news *news)
{
	int64_t offset_s = (int64_t)look->system_s - (int64_t)look->boot_s, moved_s = offset_s - tk->offset_s;

	/* A clock that is slewed moves on slowly; only the latest offset counts. */
	if (tk->has_offset && (moved_s > TIMEKEEPER_STEP_S || moved_s < -TIMEKEEPER_STEP_S)) {
		news->step_s = moved_s;
		tk->n_changes++;
	}
	tk->offset_s = offset_s;
	tk->has_offset = true;
}

/* Authenticated time. Root's word counts in full; a server's only near the witness, the rest of it can be corrected. */
static void raise_by(struct timekeeper *tk, uint64_t surely_s, bool is_by_root)
{
	if (is_by_root)
		tk->witness_s = larger(tk->witness_s, surely_s);
	else
		tk->soft_s = larger(tk->soft_s, surely_s);
	tk->hard_s = larger(tk->hard_s, is_by_root ? surely_s : smaller(surely_s, later(tk->witness_s, DATE_AHEAD_S)));
}

void timekeeper_look(struct timekeeper *tk, const struct timekeeper_look *look, struct timekeeper_news *ret_news)
{
	struct timekeeper_news news = { .source = "build" };
	struct agent_time_reading *r = &news.reading;
	uint64_t gone_s, below_s = CLOCK_UNCERTAIN_S; /* it may be so much earlier; later by the whole uncertainty */
	bool is_by_root;

	run_to(tk, look->boot_s);
	look_for_step(tk, look, &news);
	gone_s = gone_since(tk->date_at_s, look->boot_s);
	r->now_s = larger(look->system_s, larger(tk->hard_s, tk->soft_s));
	r->uncertainty_s = AGENT_TIME_UNCERTAIN;
	is_by_root = look->is_authenticated && look->system_s >= tk->hard_s;
	news.is_behind = look->system_s < larger(tk->hard_s, tk->soft_s);
	if (is_by_root) {
		r->state = AGENT_TIME_AUTHENTICATED;
		r->now_s = look->system_s;
		r->uncertainty_s = CLOCK_UNCERTAIN_S;
		news.source = "authenticated_file";
	} else if (tk->date_s != 0 && gone_s < TIMEKEEPER_DATE_LIFE_S) {
		r->state = AGENT_TIME_AUTHENTICATED;
		r->now_s = tk->date_s + gone_s;
		below_s = DATE_UNCERTAIN_S + gone_s / DRIFT;
		r->uncertainty_s = tk->date_off_s + below_s;
		news.source = "https_date";
	} else if (look->is_network && !news.is_behind) {
		r->state = AGENT_TIME_NETWORK;
		news.source = "network_file";
	} else if (tk->has_evidence) {
		r->state = AGENT_TIME_FLOOR;
		news.source = "floor";
	}
	if (r->state == AGENT_TIME_AUTHENTICATED) {
		tk->has_evidence = true;
		if (tk->soft_s > r->now_s + r->uncertainty_s) {
			news.corrected_s = tk->soft_s - r->now_s;
			tk->soft_s = 0;
		}
		tk->witness_s = smaller(tk->witness_s, larger(r->now_s, tk->hard_s));
		raise_by(tk, r->now_s > below_s ? later(r->now_s - below_s, 0) : 0, is_by_root);
		r->now_s = larger(r->now_s, tk->hard_s);
		news.is_behind = look->system_s < tk->hard_s;
	}
	news.is_new_state = r->state != tk->state;
	tk->n_changes += news.is_new_state;
	tk->state = r->state;
	r->floor_s = larger(tk->hard_s, tk->soft_s);
	r->n_changes = tk->n_changes;
	*ret_news = news;
}
