/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_TIME_H
#define AGENT_TIME_H

#include <stdint.h>

#include <agent/common.h>
#include <agent/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** enum agent_time_state - how far the time can be relied on; a higher number is better. Since: 0.1 */
enum agent_time_state {
	AGENT_TIME_NONE = 0,	     /* nothing is known but that it is later than the build */
	AGENT_TIME_FLOOR = 1,	     /* it is at least so late: saved time, TPM clock, something signed */
	AGENT_TIME_NETWORK = 2,	     /* a network source nobody authenticated set the clock */
	AGENT_TIME_AUTHENTICATED = 3 /* an authenticated source */
};

/** AGENT_TIME_UNCERTAIN - value of uncertainty_s when it may be any time from floor_s on. Since: 0.1 */
#define AGENT_TIME_UNCERTAIN UINT64_MAX

/**
 * struct agent_time_reading - the time at one moment, in seconds since 1970-01-01 UTC
 * @state:         how far it can be relied on
 * @now_s:         what certificates are checked against: the best guess, never below @floor_s
 * @floor_s:       it is not earlier than this; goes on with the running time
 * @uncertainty_s: the true time is within @now_s plus or minus this, or AGENT_TIME_UNCERTAIN
 * @n_changes:     rises with every change of the state and every step of the clock; by itself it means nothing
 *
 * 64 bits everywhere: a 32-bit time_t ends in 2038 and nothing here goes through one. Since: 0.1
 */
struct agent_time_reading {
	enum agent_time_state state;
	uint64_t now_s;
	uint64_t floor_s;
	uint64_t uncertainty_s;
	uint64_t n_changes;
};

/**
 * struct agent_time - what a program knows of the time; reference counted, may be used by several threads
 *
 * A new one knows the time of the build and takes the system clock for a guess (AGENT_TIME_NONE). Somebody who knows more tells it with
 * agent_time_update(). It runs on by CLOCK_MONOTONIC, so that a step of the system clock does not move it once the time is known.
 *
 * Everywhere a NULL instead of one means: the system clock is right (AGENT_TIME_NETWORK), but not before the build. Since: 0.1
 */
struct agent_time;

/** agent_time_new() - knows no more than the time of the build. Returns 0, -EINVAL, -ENOMEM. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_time_new(struct agent_time **ret_time, struct agent_error **err);
/** agent_time_ref() - one more owner; takes NULL, returns @time. Since: 0.1 */
AGENT_EXPORT struct agent_time *agent_time_ref(struct agent_time *time);
/** agent_time_unref() - one owner less; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_time *agent_time_unref(struct agent_time *time);

/**
 * agent_time_update() - from now on the time is this
 * @time:    changed; whoever checks something with it sees the new rules at once
 * @reading: n_changes is taken over; now_s counts for AGENT_TIME_NETWORK and above only; values below the build are raised to it
 *
 * Any thread. Does not block. Returns 0, -EINVAL (time.argument). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_time_update(struct agent_time *time, const struct agent_time_reading *reading, struct agent_error **err);
/** agent_time_get() - the time now; @time may be NULL. Any thread, does not block. Since: 0.1 */
AGENT_EXPORT void agent_time_get(struct agent_time *time, struct agent_time_reading *ret_reading);

/**
 * agent_time_check() - is it now within the dates of a certificate
 * @time:         may be NULL
 * @not_before_s: first second of validity, 0 for none
 * @not_after_s:  last second of validity, 0 for none
 * @what:         begins the sentence: "the certificate of the meter"
 *
 * What is over for the floor is over in every state. What begins later than now is refused from AGENT_TIME_NETWORK on; below that nobody can tell,
 * and it is let through: docs/design/time.md says why. Does not block.
 * Returns 0, -EKEYEXPIRED (time.expired), -EAGAIN (time.not-yet-valid); the sentence says what the clock has to do with it. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_time_check(struct agent_time *time, int64_t not_before_s, int64_t not_after_s, const char *what,
						   struct agent_error **err);

/** agent_time_state_name() - "none", "floor", "network", "authenticated", or "unknown". Since: 0.1 */
AGENT_EXPORT const char *agent_time_state_name(enum agent_time_state state);
/** agent_time_state_parse() - the state of that name. Returns 0 or -EINVAL. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_time_state_parse(const char *name, enum agent_time_state *ret_state);

#ifdef __cplusplus
}
#endif

#endif
