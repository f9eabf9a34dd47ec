/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peel: a cell that one text alone has is that text's to set; take the text out and look again. When all are out, set their
 * cells in reverse order. With 1.23 cells for each text that works nearly always; else another seed.
 */
#include <stdlib.h>
#include <string.h>

#include "password/filter.h"

#define SEEDS_MAX 64

/* Of the texts that have this cell: how many, and their numbers xored, which is the number itself once there is one. */
struct cell {
	uint32_t n, numbers;
};

struct work {
	const char *const *texts;
	uint32_t n;
	struct filter filter;
	struct cell *cells;
	uint32_t *queue;	/* cells to look at */
	uint32_t *order;	/* two for each text: its number, its cell */
};

static struct filter_place place_of(const struct work *w, uint32_t number)
{
	return filter_place(w->texts[number], strlen(w->texts[number]), w->filter.seed, w->filter.block);
}

static bool peel(struct work *w)
{
	uint32_t n_cells = 3 * w->filter.block, n_queue = 0, n_out = 0;

	memset(w->cells, 0, n_cells * sizeof(*w->cells));
	for (uint32_t i = 0; i < w->n; i++) {
		struct filter_place p = place_of(w, i);

		for (int k = 0; k < 3; k++) {
			w->cells[p.at[k]].n++;
			w->cells[p.at[k]].numbers ^= i;
		}
	}
	for (uint32_t i = 0; i < n_cells; i++)
		if (w->cells[i].n == 1)
			w->queue[n_queue++] = i;
	while (n_queue > 0) {
		uint32_t at = w->queue[--n_queue], number = w->cells[at].numbers;
		struct filter_place p;

		if (w->cells[at].n != 1)
			continue;
		p = place_of(w, number);
		w->order[2 * n_out] = number;
		w->order[2 * n_out++ + 1] = at;
		for (int k = 0; k < 3; k++) {
			w->cells[p.at[k]].n--;
			w->cells[p.at[k]].numbers ^= number;
			if (w->cells[p.at[k]].n == 1)
				w->queue[n_queue++] = p.at[k];
		}
	}
	return n_out == w->n;
}

static void set_cells(const struct work *w, uint16_t *cells)
{
	for (uint32_t i = w->n; i-- > 0;) {
		struct filter_place p = place_of(w, w->order[2 * i]);

		/* its own cell is still 0 and falls out of the xor */
		cells[w->order[2 * i + 1]] = (uint16_t)(p.print ^ cells[p.at[0]] ^ cells[p.at[1]] ^ cells[p.at[2]]);
	}
}

bool filter_build(const char *const *texts, uint32_t n, struct filter *ret_filter, uint16_t **ret_cells)
{
	struct work w = { .texts = texts, .n = n, .filter = { .n_entries = n, .block = n / 100 * 41 + n % 100 * 41 / 100 + 11 } };
	uint32_t n_cells = 3 * w.filter.block;
	uint16_t *cells = calloc(n_cells, sizeof(*cells));
	bool is_done = false;

	w.cells = calloc(n_cells, sizeof(*w.cells));
	w.queue = calloc(n_cells + 3 * (size_t)n + 1, sizeof(*w.queue));
	w.order = calloc(2 * (size_t)n + 1, sizeof(*w.order));
	if (cells != NULL && w.cells != NULL && w.queue != NULL && w.order != NULL)
		for (int i = 0; i < SEEDS_MAX && !is_done; i++) {
			w.filter.seed = (uint64_t)(i + 1) * UINT64_C(0x9e3779b97f4a7c15);
			is_done = peel(&w);
		}
	if (is_done) {
		set_cells(&w, cells);
		w.filter.cells = cells;
		*ret_filter = w.filter;
		*ret_cells = cells;
	} else {
		free(cells);
	}
	free(w.cells);
	free(w.queue);
	free(w.order);
	return is_done;
}
