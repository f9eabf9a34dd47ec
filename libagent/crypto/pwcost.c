/* SPDX-License-Identifier: Apache-2.0 */
/* How much work a hash may be on this device: measured once, when it is provisioned. */
#include "config.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/secret.h"
#include "crypto/pwhash.h"

/* A cost N needs 2^(N-1) MiB: crypt(5), yescrypt. */
static uint64_t memory_of(unsigned cost)
{
	return (uint64_t)MIB << (cost - 1);
}

int pwhash_choose(pwhash_measure_fn measure, void *data, uint64_t memory_bytes, unsigned *ret_cost, struct agent_error **err)
{
	unsigned ms = 0, best = PWHASH_CHOSEN_MIN;
	int r = measure(best, data, &ms, err);

	if (r < 0)
		return r;
	/* One step more takes twice as long: not tried where that would be too long anyway. */
	for (unsigned cost = best + 1; cost <= PWHASH_CHOSEN_MAX && 2 * ms <= PWHASH_TARGET_MS && memory_of(cost) <= memory_bytes; cost++) {
		if (measure(cost, data, &ms, NULL) < 0 || ms > PWHASH_TARGET_MS)
			break;
		best = cost;
	}
	*ret_cost = best;
	return 0;
}

/* Of this thread alone: what else the line runs on the unit does not count. */
static uint64_t cpu_us(void)
{
	struct timespec ts = { 0 };

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int measure_here(unsigned cost, void *data, unsigned *ret_ms, struct agent_error **err)
{
	static const char text[] = "a password of some length";
	char hash[PWHASH_MAX];
	uint64_t start_us = cpu_us();
	int r = pwhash_new(text, sizeof(text) - 1, cost, hash, err);

	wipe(hash, sizeof(hash));
	if (r >= 0)
		*ret_ms = (unsigned)((cpu_us() - start_us) / 1000);
	return r;
}

int pwhash_calibrate(unsigned *ret_cost, struct agent_error **err)
{
	long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
	uint64_t ram_bytes = pages < 0 || page_size < 0 ? 0 : (uint64_t)pages * (uint64_t)page_size;

	return pwhash_choose(measure_here, NULL, ram_bytes / PWHASH_RAM_PART, ret_cost, err);
}
