/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H
/* Secret bytes: on pages of their own, locked if the limits allow, kept out of core dumps and of children, wiped on free. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

struct secret {
	uint8_t *data;
	size_t size;	/* bytes in use */
	size_t capacity; /* bytes reserved */
};

/* Reserve @capacity bytes, all zero; -ENOMEM. */
int secret_alloc(struct secret *s, size_t capacity);
/* Reserve and copy. */
int secret_copy(struct secret *s, const void *data, size_t size);
/* Wipe and release; leaves an empty secret. */
void secret_free(struct secret *s);
/* Equal length and bytes, in time that depends on the lengths only. */
bool secret_equal(const struct secret *a, const void *data, size_t size);
/* Overwrite memory in a way the compiler keeps. */
void wipe(void *data, size_t size);

#define _cleanup_secret_ _cleanup_(secret_free)

#endif
