/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_BOOTENV_H
#define UPDATE_BOOTENV_H
/* "bootenv" of a bundle: which boot loader variables it may set. They are stored with the switch to the new slot. Error name: update.bootenv. */
#include <stdbool.h>

#include <agent/error.h>

#include "update/boot.h"
#include "update/manifest.h"

#define BOOTENV_ALLOWED_MAX 32

/* Is @pattern a name, or the beginning of names followed by '*'? -EINVAL update.bootenv; -EPERM for a name that no bundle may set. */
int bootenv_pattern_check(const char *pattern, struct agent_error **err);
/*
 * May the bundle set all that it names? @allowed are patterns. -EPERM (not allowed, or decides what boots), -EOPNOTSUPP (this boot
 * loader has no variables), -EBADMSG (twice the same, or longer than the boot loader keeps), all update.bootenv.
 */
int bootenv_check(const struct manifest *manifest, char *const *allowed, size_t n_allowed, const struct boot_backend *backend, struct agent_error **err);
/* A name that can be stored: letters, digits, '_', '.' and '-', 1 to 32. */
bool bootenv_is_name(const char *name);

#endif
