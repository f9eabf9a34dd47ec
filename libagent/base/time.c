/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/time.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macro.h"

/* 2026-11-01: before the first release. A build without SOURCE_DATE_EPOCH knows no other time that would be the same for everybody. */
#define RELEASE_S UINT64_C(1793491200)
#define LATEST_S UINT64_C(253402300799)	/* 9999-12-31: the last that X.509 can say, RFC 5280 section 4.1.2.5 */
#define DRIFT 5000			/* of a quartz: one second in so many, 200 ppm */

static const char *const names[] = { "none", "floor", "network", "authenticated" };

struct agent_time {
	atomic_uint n_refs;
	pthread_mutex_t lock;	/* guards the rest */
	struct agent_time_reading told;
	uint64_t told_at_s;	/* CLOCK_MONOTONIC */
};

uint64_t time_build_s(void)
{
	uint64_t build_s = AGENT_BUILD_TIME;

	return build_s > RELEASE_S ? build_s : RELEASE_S;
}

static uint64_t clock_s(clockid_t clock)
{
	struct timespec now;

	return clock_gettime(clock, &now) < 0 || now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec;
}

int agent_time_new(struct agent_time **ret_time, struct agent_error **err)
{
	struct agent_time *t;

	if (ret_time == NULL)
		return agent_error_set(err, -EINVAL, "time.argument", "nowhere to put the time");
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return agent_error_set(err, -ENOMEM, "time.memory", "out of memory");
	atomic_init(&t->n_refs, 1);
	pthread_mutex_init(&t->lock, NULL);
	t->told.floor_s = time_build_s();
	t->told_at_s = clock_s(CLOCK_MONOTONIC);
	*ret_time = t;
	return 0;
}

struct agent_time *agent_time_ref(struct agent_time *time)
{
	if (time != NULL)
		atomic_fetch_add(&time->n_refs, 1);
	return time;
}

struct agent_time *agent_time_unref(struct agent_time *time)
{
	if (time == NULL || atomic_fetch_sub(&time->n_refs, 1) != 1)
		return NULL;
	pthread_mutex_destroy(&time->lock);
	free(time);
	return NULL;
}

static uint64_t within(uint64_t s, uint64_t low)
{
	return s < low ? low : s > LATEST_S ? LATEST_S : s;
}

int agent_time_update(struct agent_time *time, const struct agent_time_reading *reading, struct agent_error **err)
{
	if (time == NULL || reading == NULL || (unsigned)reading->state > AGENT_TIME_AUTHENTICATED)
		return agent_error_set(err, -EINVAL, "time.argument", "no time, or one in a state that does not exist");
	pthread_mutex_lock(&time->lock);
	time->told = *reading;
	time->told.floor_s = within(reading->floor_s, time_build_s());
	time->told.now_s = within(reading->now_s, time->told.floor_s);
	time->told_at_s = clock_s(CLOCK_MONOTONIC);
	pthread_mutex_unlock(&time->lock);
	return 0;
}

void agent_time_get(struct agent_time *time, struct agent_time_reading *ret_reading)
{
	uint64_t wall = clock_s(CLOCK_REALTIME), boot = clock_s(CLOCK_MONOTONIC), gone;

	if (time == NULL) {
		*ret_reading = (struct agent_time_reading){ .state = AGENT_TIME_NETWORK, .now_s = within(wall, time_build_s()),
							    .floor_s = time_build_s(), .uncertainty_s = AGENT_TIME_UNCERTAIN };
		return;
	}
	pthread_mutex_lock(&time->lock);
	*ret_reading = time->told;
	gone = boot > time->told_at_s ? boot - time->told_at_s : 0;
	pthread_mutex_unlock(&time->lock);
	/* A quartz that is fast must not carry the floor past a time that is right. */
	ret_reading->floor_s = within(ret_reading->floor_s + gone - gone / DRIFT, 0);
	if (ret_reading->state >= AGENT_TIME_NETWORK) {
		ret_reading->now_s = within(ret_reading->now_s + gone, ret_reading->floor_s);
		if (ret_reading->uncertainty_s != AGENT_TIME_UNCERTAIN)
			ret_reading->uncertainty_s += gone / DRIFT;
	} else {
		ret_reading->now_s = within(wall, ret_reading->floor_s);
		ret_reading->uncertainty_s = AGENT_TIME_UNCERTAIN;
	}
}

void time_text(int64_t s, char ret_text[TIME_TEXT_SIZE])
{
	int64_t days = s / 86400, rest = s % 86400, era, day, year, month;

	if (rest < 0) {
		rest += 86400;
		days--;
	}
	/* Days since 0000-03-01 in the proleptic Gregorian calendar, in eras of 400 years. */
	days += 719468;
	era = (days >= 0 ? days : days - 146096) / 146097;
	day = days - era * 146097;
	year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	month += month < 10 ? 3 : -9;
	year += era * 400 + (month <= 2);
	snprintf(ret_text, TIME_TEXT_SIZE, "%04" PRId64 "-%02" PRId64 "-%02" PRId64 " %02d:%02d:%02d UTC", year, month, day + 1, (int)(rest / 3600),
		 (int)(rest / 60 % 60), (int)(rest % 60));
}

uint64_t time_system_s(void)
{
	return clock_s(CLOCK_REALTIME);
}

void time_doubt(const struct agent_time_reading *reading, uint64_t system_s, bool is_early, char *text, size_t size)
{
	char clock[TIME_TEXT_SIZE], floor[TIME_TEXT_SIZE];

	time_text((int64_t)system_s, clock);
	time_text((int64_t)reading->floor_s, floor);
	text[0] = '\0';
	if (system_s < time_build_s() && reading->state < AGENT_TIME_AUTHENTICATED)
		snprintf(text, size, "; our clock is the likely cause: it shows %s and was never set, so the time floor %s was taken", clock, floor);
	else if (reading->state < AGENT_TIME_NETWORK)
		snprintf(text, size, "; our clock may be the cause: no time source confirms its %s (time state %s, floor %s)", clock,
			 agent_time_state_name(reading->state), floor);
	else if (is_early && reading->state < AGENT_TIME_AUTHENTICATED)
		snprintf(text, size, "; our clock is the likely cause, or the issuer's");
}

int agent_time_check(struct agent_time *time, int64_t not_before_s, int64_t not_after_s, const char *what, struct agent_error **err)
{
	char now[TIME_TEXT_SIZE], date[TIME_TEXT_SIZE], doubt[256];
	struct agent_time_reading r;
	bool is_over, is_early;

	agent_time_get(time, &r);
	is_over = not_after_s != 0 && (int64_t)r.now_s > not_after_s;
	is_early = not_before_s != 0 && (int64_t)r.now_s < not_before_s && r.state >= AGENT_TIME_NETWORK;
	if (!is_over && !is_early)
		return 0;
	time_text((int64_t)r.now_s, now);
	time_text(is_over ? not_after_s : not_before_s, date);
	time_doubt(&r, time_system_s(), is_early, doubt, sizeof(doubt));
	if (is_over)
		return agent_error_set(err, -EKEYEXPIRED, "time.expired", "%s expired on %s, it is now %s%s", what == NULL ? "it" : what, date, now, doubt);
	return agent_error_set(err, -EAGAIN, "time.not-yet-valid", "%s is valid from %s on, it is now %s%s", what == NULL ? "it" : what, date, now, doubt);
}

const char *agent_time_state_name(enum agent_time_state state)
{
	return (size_t)state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

int agent_time_state_parse(const char *name, enum agent_time_state *ret_state)
{
	for (size_t i = 0; name != NULL && i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0) {
			*ret_state = (enum agent_time_state)i;
			return 0;
		}
	return -EINVAL;
}
