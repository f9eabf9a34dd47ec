/* SPDX-License-Identifier: Apache-2.0 */
#include "net/keepalive.h"

static unsigned bring_between(unsigned s, unsigned min_s, unsigned max_s)
{
	if (s < min_s)
		return min_s;
	return s > max_s ? max_s : s;
}

void keepalive_init(struct keepalive *keepalive, unsigned start_s, unsigned min_s, unsigned max_s)
{
	*keepalive = (struct keepalive){ .min_s = min_s, .max_s = max_s, .interval_s = bring_between(start_s, min_s, max_s) };
}

void keepalive_answered(struct keepalive *keepalive, uint64_t idle_ms, uint64_t now_ms)
{
	unsigned next = keepalive->interval_s + keepalive->interval_s / 2 + 1, limit = keepalive->max_s;

	/* Only a silence as long as the one we want to rely on proves anything. */
	if (idle_ms + 1000 < (uint64_t)keepalive->interval_s * 1000 || ++keepalive->n_good < KEEPALIVE_GOOD)
		return;
	keepalive->n_good = 0;
	if (keepalive->bad_s != 0 && now_ms - keepalive->bad_at_ms > KEEPALIVE_MEMORY_MS)
		keepalive->bad_s = 0;
	if (keepalive->bad_s != 0 && keepalive->bad_s - keepalive->bad_s / 8 < limit)
		limit = keepalive->bad_s - keepalive->bad_s / 8;
	if (next > limit)
		next = limit;
	if (next > keepalive->interval_s)
		keepalive->interval_s = next;
}

void keepalive_lost(struct keepalive *keepalive, uint64_t idle_ms, uint64_t now_ms)
{
	uint64_t idle_s = idle_ms / 1000;

	keepalive->n_good = 0;
	/* One that was busy a moment ago did not die of silence. */
	if (idle_s * 2 < keepalive->interval_s)
		return;
	if (keepalive->bad_s == 0 || idle_s < keepalive->bad_s || now_ms - keepalive->bad_at_ms > KEEPALIVE_MEMORY_MS)
		keepalive->bad_s = idle_s > UINT32_MAX ? UINT32_MAX : (unsigned)idle_s;
	keepalive->bad_at_ms = now_ms;
	keepalive->interval_s = bring_between(keepalive->interval_s / 2, keepalive->min_s, keepalive->max_s);
}
