/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_COUNTER_INSIDE_H
#define CRYPTO_COUNTER_INSIDE_H
#include <agent/counter.h>

/* The backend's own data, for the backend that gave @ops; NULL if the counter is not one of its. */
void *counter_backend(struct agent_counter *counter, const struct agent_counter_ops *ops);

#endif
