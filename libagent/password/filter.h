/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PASSWORD_FILTER_H
#define PASSWORD_FILTER_H
/*
 * Is a text one of a list: an xor filter (Graf and Lemire, "Xor Filters", 2020) with 16 bits for each entry. Never says no to an entry; says yes to one
 * other text in 65,536. C of its own, as it is compiled for the machine that builds as well.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct filter {
	uint32_t n_entries;	/* 0: no list, nothing is in it */
	uint32_t block;		/* cells in each of three blocks */
	uint64_t seed;
	const uint16_t *cells;
};

/* Of the list that configure was given; made while we build. */
extern const struct filter password_filter;

bool filter_has(const struct filter *filter, const void *text, size_t size);

/* A filter of @n different texts; false without memory. @ret_cells is to be freed by the caller. filter_build.c */
bool filter_build(const char *const *texts, uint32_t n, struct filter *ret_filter, uint16_t **ret_cells);

/* The three cells and the fingerprint of a text. */
struct filter_place {
	uint32_t at[3];
	uint16_t print;
};
struct filter_place filter_place(const void *text, size_t size, uint64_t seed, uint32_t block);

#endif
