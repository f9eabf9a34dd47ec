/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_COUNTER_H
#define AGENT_COUNTER_H

#include <stdint.h>

#include <agent/common.h>
#include <agent/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct agent_counter_ops - a number that never falls, kept where an attacker with the disk cannot lower it
 * @get:       read it; may block
 * @increment: raise it by one and make it durable; may block; *ret_value is the new value
 * @free:      release @userdata; called once, may be NULL
 *
 * Since: 0.1
 */
struct agent_counter_ops {
	int (*get)(void *userdata, uint64_t *ret_value, struct agent_error **err);
	int (*increment)(void *userdata, uint64_t *ret_value, struct agent_error **err);
	void (*free)(void *userdata);
};

/** struct agent_counter - such a number; reference counted. One thread at a time, but for ref and unref. Since: 0.1 */
struct agent_counter;

/**
 * agent_counter_new() - wrap a backend
 * @ops:      lent for the counter's life
 * @userdata: handed to @ops; owned by the counter on success
 *
 * Does not block. Returns 0, -EINVAL (no backend), -ENOMEM. Since: 0.1
 */

AGENT_EXPORT AGENT_MUST_CHECK int agent_counter_new(const struct agent_counter_ops *ops, void *userdata,
						    struct agent_counter **ret_counter, struct agent_error **err);
/** agent_counter_ref() - take one more reference, from any thread; returns @counter. Since: 0.1 */
AGENT_EXPORT struct agent_counter *agent_counter_ref(struct agent_counter *counter);
/** agent_counter_unref() - give one reference back; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_counter *agent_counter_unref(struct agent_counter *counter);
/** agent_counter_get() - read it; blocks as long as the backend. Returns 0, -EINVAL or the backend's error; *@ret_value changes on success only. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_counter_get(struct agent_counter *counter, uint64_t *ret_value, struct agent_error **err);
/** agent_counter_increment() - raise it by one, durable on return; @ret_value may be NULL. Blocks. Returns 0, -EINVAL or the backend's error. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_counter_increment(struct agent_counter *counter, uint64_t *ret_value,
							  struct agent_error **err);
/**
 * agent_counter_raise() - increment until the counter is at least @target
 * @max_steps: refuse (-ERANGE) if more increments than this would be needed; NV wears
 *
 * Blocks for every step. Returns 0, -ERANGE before the first step, -EIO (the backend does not count), or the backend's
 * error; steps taken until then stay. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_counter_raise(struct agent_counter *counter, uint64_t target, uint64_t max_steps,
						      struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
