/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fleet after its broker was restarted: the back-off of the MQTT client on a simulated clock. For each length of the outage, how many
 * connection attempts the broker meets in one second, and when everybody is back; then the delays beside the documented distribution.
 *
 *   bench_fleet [DEVICES [MIN-MS MAX-MS]]       defaults: 1000, and those of agentd.conf
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/backoff.h"

#define SECONDS 4000
#define STEPS 12
#define REFUSED_MS 10000	/* who found the broker busy notices after so long */

struct device {
	uint64_t next_ms;
	unsigned n_failures;
	int is_back;
};

static uint64_t state = 88172645463325252u;

/* xorshift64* (Vigna, 2016): the same fleet in each run. */
static uint64_t next_random(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64_C(2685821657736338717);
}

static uint64_t delay(struct device *d, uint32_t min_ms, uint32_t max_ms)
{
	uint64_t ms = backoff_ms(d->n_failures, min_ms, max_ms, next_random());

	if (d->n_failures < 32)
		d->n_failures++;
	return ms;
}

static struct device *first(struct device *devices, unsigned n)
{
	struct device *best = NULL;

	for (unsigned i = 0; i < n; i++)
		if (!devices[i].is_back && (best == NULL || devices[i].next_ms < best->next_ms))
			best = &devices[i];
	return best;
}

/* @capacity: connections the broker takes in one second, 0 for all. Fills attempts per second since the outage began. */
static void run(struct device *devices, unsigned n, uint32_t min_ms, uint32_t max_ms, unsigned outage_s, unsigned capacity, unsigned *attempts,
		unsigned *back)
{
	struct device *d;

	for (unsigned i = 0; i < n; i++) {
		devices[i] = (struct device){ 0 };
		devices[i].next_ms = delay(&devices[i], min_ms, max_ms);
	}
	while ((d = first(devices, n)) != NULL) {
		unsigned second = (unsigned)(d->next_ms / 1000);

		if (second >= SECONDS)
			return;
		attempts[second]++;
		if (d->next_ms < outage_s * 1000ull) {
			d->next_ms += delay(d, min_ms, max_ms);
		} else if (capacity > 0 && back[second] >= capacity) {
			d->next_ms += REFUSED_MS + delay(d, min_ms, max_ms);
		} else {
			d->is_back = 1;
			back[second]++;
		}
	}
}

static void row(struct device *devices, unsigned n, uint32_t min_ms, uint32_t max_ms, unsigned outage_s, unsigned capacity)
{
	static unsigned attempts[SECONDS], back[SECONDS];
	unsigned peak = 0, sum = 0, half = 0, most = 0, all = 0;

	for (unsigned s = 0; s < SECONDS; s++)
		attempts[s] = back[s] = 0;
	run(devices, n, min_ms, max_ms, outage_s, capacity, attempts, back);
	for (unsigned s = outage_s; s < SECONDS; s++) {
		peak = attempts[s] > peak ? attempts[s] : peak;
		sum += back[s];
		half = half == 0 && sum * 2 >= n ? s - outage_s + 1 : half;
		most = most == 0 && sum * 100 >= n * 99 ? s - outage_s + 1 : most;
		all = all == 0 && sum == n ? s - outage_s + 1 : all;
	}
	printf("| %u | ", outage_s);
	if (capacity == 0)
		printf("all");
	else
		printf("%u/s", capacity);
	printf(" | %u (%.1f %%) | %u | %u | %u |\n", peak, 100.0 * peak / n, half, most, all);
}

static void histogram(struct device *devices, unsigned n, uint32_t min_ms, uint32_t max_ms, unsigned outage_s)
{
	static unsigned attempts[SECONDS], back[SECONDS];

	run(devices, n, min_ms, max_ms, outage_s, 0, attempts, back);
	printf("\nAttempts per second, broker away for %u s:\n\n", outage_s);
	for (unsigned s = 0; s < outage_s + 20; s++) {
		printf("    %3u s %4u ", s, attempts[s]);
		for (unsigned i = 0; i < attempts[s]; i += n / 200 + 1)
			putchar('#');
		puts(s == outage_s ? " <- back" : "");
	}
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Greatest distance between the measured and the documented distribution (Kolmogorov and Smirnov). */
static int distribution(unsigned n, uint32_t min_ms, uint32_t max_ms)
{
	uint32_t *ms = calloc(n, sizeof(*ms));
	int is_bad = 0;

	if (ms == NULL)
		return 1;
	puts("\n| attempt | documented, ms | measured: least | median | greatest | distance | limit at 0.1 % |");
	puts("|---|---|---|---|---|---|---|");
	for (unsigned step = 0; step < STEPS; step++) {
		double low = min_ms / 10, high = fmin(max_ms, min_ms * pow(2, step)), worst = 0, limit = 1.95 / sqrt(n);

		for (unsigned i = 0; i < n; i++)
			ms[i] = backoff_ms(step, min_ms, max_ms, next_random());
		qsort(ms, n, sizeof(*ms), compare);
		for (unsigned i = 0; i < n; i++) {
			double f = (ms[i] - low) / (high - low);

			worst = fmax(worst, fmax(fabs(f - (double)i / n), fabs((i + 1.0) / n - f)));
		}
		printf("| %u | %.0f to %.0f, each alike | %u | %u | %u | %.3f | %.3f |\n", step + 1, low, high, ms[0], ms[n / 2], ms[n - 1], worst, limit);
		is_bad |= worst > limit || ms[0] < low || ms[n - 1] > high;
	}
	free(ms);
	return is_bad;
}

int main(int argc, char **argv)
{
	static const unsigned outages[] = { 0, 1, 5, 30, 300 };
	unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
	uint32_t min_ms = argc > 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 10000;
	uint32_t max_ms = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 300000;
	struct device *devices = calloc(n, sizeof(*devices));
	int result;

	if (n == 0 || devices == NULL || min_ms < 50 || max_ms < min_ms) {
		fputs("usage: bench_fleet [DEVICES [MIN-MS MAX-MS]]\n", stderr);
		return 2;
	}
	printf("%u devices, back-off from %u to %u ms\n\n", n, min_ms, max_ms);
	puts("| broker away, s | it takes | most attempts in one second, from its return on | half are back after, s | 99 % | all |");
	puts("|---|---|---|---|---|---|");
	for (unsigned i = 0; i < sizeof(outages) / sizeof(outages[0]); i++) {
		row(devices, n, min_ms, max_ms, outages[i], 0);
		row(devices, n, min_ms, max_ms, outages[i], n / 50);
	}
	histogram(devices, n, min_ms, max_ms, 5);
	result = distribution(n, min_ms, max_ms);
	free(devices);
	return result;
}
