/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_VERSIONS_H
#define UPDATE_VERSIONS_H
/*
 * install-if-different and install-if-higher of stock bundles: versions of what runs, as in SWUpdate's /etc/sw-versions, against those that
 * a manifest names. Error names: update.versions, .nothing-new, .lower.
 */
#include <stddef.h>

#include <agent/error.h>

#include "update/manifest.h"

#define VERSIONS_MAX 64

struct versions {
	struct {
		char name[MANIFEST_TEXT_MAX + 1], version[MANIFEST_TEXT_MAX + 1];
	} items[VERSIONS_MAX];
	size_t n;
};

/*
 * As SWUpdate does it: up to four numbers below 65536 with dots as numbers, where "1.2" is "1.2.0.0"; else two semantic versions by their
 * precedence (semver.org 2.0.0, section 11); else byte by byte. Below, 0, above 0.
 */
int versions_compare(const char *a, const char *b);
/* -EINVAL update.versions, -ENOSPC update.versions. The same name once more takes the place of the first. */
int versions_add(struct versions *versions, const char *name, const char *version, struct agent_error **err);
/*
 * Is there anything to install? -EALREADY update.nothing-new when the device has all of it, -ESTALE update.lower when an image that may
 * only go up would go down beside one that is to be installed: a slot is written as a whole.
 */
int versions_check(const struct versions *versions, const struct manifest *manifest, struct agent_error **err);

#endif
