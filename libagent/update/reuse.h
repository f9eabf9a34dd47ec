/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_REUSE_H
#define UPDATE_REUSE_H
/*
 * Which chunks of a plain image are on this device already: at their place in the slot that is being written (an installation that
 * broke off, or an older release with the same bytes there), or anywhere in the slot that runs. The signed chunk table is the index, so
 * a slot can only be found right, never believed.
 */
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>

#include "update/manifest.h"
#include "update/slot.h"

struct reuse;

enum reuse_where {
	REUSE_NOWHERE = 0,
	REUSE_IN_PLACE = 1,	/* need not even be written */
	REUSE_ACTIVE = 2	/* in the slot that runs */
};

struct reuse_options {
	const struct manifest_image *image;	/* plain, with chunks */
	const uint8_t *table;			/* lent until reuse_free() */
	const struct slot *target;
	const struct slot *active;	/* NULL: look only for the beginning of the image in the target, as a broken installation left it */
	void (*tell)(void *userdata, uint64_t stored_bytes);	/* now and then, with 0: it takes as long as reading both slots */
	void *userdata;
};

/* Reads the slots. What cannot be read is not there, so this does not fail; NULL when there is nothing to reuse. */
struct reuse *reuse_find(const struct reuse_options *options);
struct reuse *reuse_free(struct reuse *reuse);
DEFINE_CLEANUP(struct reuse *, reuse_free)

/* @reuse may be NULL. */
enum reuse_where reuse_where(const struct reuse *reuse, uint64_t chunk);
/* How many chunks from @chunk on, at least one, have to come from elsewhere. */
uint64_t reuse_missing(const struct reuse *reuse, uint64_t chunk);
/*
 * Read chunk @chunk, which is REUSE_ACTIVE, of @size bytes, into @block and hash it again. False if the slot has something else there
 * now; from then on it is REUSE_NOWHERE.
 */
bool reuse_copy(struct reuse *reuse, uint64_t chunk, uint8_t *block, size_t size);

#endif
