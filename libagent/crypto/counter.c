/* SPDX-License-Identifier: Apache-2.0 */
#include <agent/counter.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "crypto/counter_inside.h"

struct agent_counter {
	atomic_uint n_refs;
	const struct agent_counter_ops *ops;
	void *userdata;
};

int agent_counter_new(const struct agent_counter_ops *ops, void *userdata, struct agent_counter **ret_counter,
		      struct agent_error **err)
{
	struct agent_counter *c;

	if (ops == NULL || ops->get == NULL || ops->increment == NULL || ret_counter == NULL)
		return agent_error_set(err, -EINVAL, "counter.argument", "a counter needs a backend that reads and raises it");
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a counter");
	atomic_init(&c->n_refs, 1);
	c->ops = ops;
	c->userdata = userdata;
	*ret_counter = c;
	return 0;
}

struct agent_counter *agent_counter_ref(struct agent_counter *counter)
{
	if (counter != NULL)
		atomic_fetch_add(&counter->n_refs, 1);
	return counter;
}

struct agent_counter *agent_counter_unref(struct agent_counter *counter)
{
	if (counter == NULL || atomic_fetch_sub(&counter->n_refs, 1) != 1)
		return NULL;
	if (counter->ops->free != NULL)
		counter->ops->free(counter->userdata);
	free(counter);
	return NULL;
}

void *counter_backend(struct agent_counter *counter, const struct agent_counter_ops *ops)
{
	return counter != NULL && counter->ops == ops ? counter->userdata : NULL;
}

int agent_counter_get(struct agent_counter *counter, uint64_t *ret_value, struct agent_error **err)
{
	uint64_t value = 0;
	int r;

	if (counter == NULL || ret_value == NULL)
		return agent_error_set(err, -EINVAL, "counter.argument", "no counter to read");
	r = counter->ops->get(counter->userdata, &value, err);
	if (r < 0)
		return r;
	*ret_value = value;
	return 0;
}

int agent_counter_increment(struct agent_counter *counter, uint64_t *ret_value, struct agent_error **err)
{
	uint64_t value = 0;
	int r;

	if (counter == NULL)
		return agent_error_set(err, -EINVAL, "counter.argument", "no counter to raise");
	r = counter->ops->increment(counter->userdata, &value, err);
	if (r < 0)
		return r;
	if (ret_value != NULL)
		*ret_value = value;
	return 0;
}

int agent_counter_raise(struct agent_counter *counter, uint64_t target, uint64_t max_steps, struct agent_error **err)
{
	uint64_t value = 0;
	int r;

	r = agent_counter_get(counter, &value, err);
	if (r < 0)
		return r;
	if (value >= target)
		return 0;
	if (target - value > max_steps)
		return agent_error_set(err, -ERANGE, "counter.range",
				       "raising the counter from %" PRIu64 " to %" PRIu64 " takes more than %" PRIu64 " steps", value,
				       target, max_steps);
	while (value < target) {
		uint64_t next = 0;

		r = agent_counter_increment(counter, &next, err);
		if (r < 0)
			return r;
		/* A backend that does not count must not keep us here, wearing its memory. */
		if (next <= value)
			return agent_error_set(err, -EIO, "counter.stuck", "the counter went from %" PRIu64 " to %" PRIu64, value, next);
		value = next;
	}
	return 0;
}
