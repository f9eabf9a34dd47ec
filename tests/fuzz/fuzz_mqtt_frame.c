/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a broker sends, before libmosquitto gets it. The first byte says which version, how much may be kept and how the bytes are cut: however that is, the
 * end has to be the same, what is kept has to add up, and nothing goes above its limit.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "net/mqtt_frame.h"

#define IS_311 0x01
#define HAS_LIMITS 0x02
#define MAX_COST 600
#define MAX_KEPT 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mqtt_frame begin(uint8_t how)
{
	return (struct mqtt_frame){ .is_311 = (how & IS_311) != 0, .max_cost = (how & HAS_LIMITS) != 0 ? MAX_COST : 0, .max_kept = (how & HAS_LIMITS) != 0 ? MAX_KEPT : 0 };
}

static void check(bool is_good)
{
	if (!is_good)
		abort();
}

static void check_kept(const struct mqtt_frame *f, const struct mqtt_kept *kept, int r)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < kept->n; i++)
		sum += kept->list[i].cost;
	check(sum == kept->cost && kept->n <= kept->room);
	check(f->max_kept == 0 || kept->cost <= f->max_kept);
	check(f->max_cost == 0 || r < 0 || f->cost <= f->max_cost);
	check(r < 0 || f->properties <= f->left || f->step < FRAME_ID || f->step > FRAME_TEXT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mqtt_kept kept = { 0 }, kept_cut = { 0 };
	struct mqtt_frame f, cut;
	size_t piece;
	int r, r_cut = 0;

	if (size == 0)
		return 0;
	f = cut = begin(data[0]);
	piece = 1 + (data[0] >> 2);
	r = mqtt_frame_take(&f, &kept, data + 1, size - 1);
	check_kept(&f, &kept, r);
	for (size_t at = 1; at < size && r_cut == 0; at += piece)
		r_cut = mqtt_frame_take(&cut, &kept_cut, data + at, size - at < piece ? size - at : piece);
	check_kept(&cut, &kept_cut, r_cut);
	check(r == r_cut && kept.n == kept_cut.n && kept.cost == kept_cut.cost);
	check(r < 0 || (f.step == cut.step && f.left == cut.left && f.properties == cut.properties && f.skip == cut.skip && f.cost == cut.cost && f.id == cut.id));
	mqtt_kept_clear(&kept);
	mqtt_kept_clear(&kept_cut);
	return 0;
}
