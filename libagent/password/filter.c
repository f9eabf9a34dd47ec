/* SPDX-License-Identifier: Apache-2.0 */
#include "password/filter.h"

static uint64_t rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

/* 0 to @n - 1, without a division: Lemire, "Fast Random Integer Generation in an Interval", 2019 */
static uint32_t reduce(uint64_t x, uint32_t n)
{
	return (uint32_t)(((x & UINT32_MAX) * n) >> 32);
}

/* FNV-1a, then the finaliser of MurmurHash3: no secret is kept by it, it only spreads. */
static uint64_t hash(const void *text, size_t size, uint64_t seed)
{
	const uint8_t *p = text;
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

	for (size_t i = 0; i < size; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
	h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return h ^ h >> 33;
}

struct filter_place filter_place(const void *text, size_t size, uint64_t seed, uint32_t block)
{
	uint64_t h = hash(text, size, seed);

	return (struct filter_place){
		.at = { reduce(h, block), block + reduce(rotate(h, 21), block), 2 * block + reduce(rotate(h, 42), block) },
		.print = (uint16_t)(h ^ h >> 32),
	};
}

bool filter_has(const struct filter *filter, const void *text, size_t size)
{
	struct filter_place p;

	if (filter->n_entries == 0)
		return false;
	p = filter_place(text, size, filter->seed, filter->block);
	return (filter->cells[p.at[0]] ^ filter->cells[p.at[1]] ^ filter->cells[p.at[2]]) == p.print;
}
