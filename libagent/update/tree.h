/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_TREE_H
#define UPDATE_TREE_H
/*
 * A slot that is a folder: a file system of the copy that does not run, which the system has mounted. Files and folders
 * come into it below its top and nowhere else, no link is followed, and what was written is read back in the end.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "update/slot.h"

struct tree;

/* Is it a folder? *ret_room is what its file system has. -EINVAL slot.type, -EROFS slot.read-only, -errno slot.open. */
int tree_check(const struct slot *slot, uint64_t *ret_room, struct agent_error **err);
/* Remove all there is, but lost+found; does not leave the file system. -errno slot.io. */
int tree_clear(const struct slot *slot, struct agent_error **err);

int tree_new(const struct slot *slot, struct tree **ret_tree, struct agent_error **err);
struct tree *tree_free(struct tree *tree);
DEFINE_CLEANUP(struct tree *, tree_free)

/* Make the folder @path. -EBADMSG update.path for "..", an empty name or a file in the way. */
int tree_folder(struct tree *tree, const char *path, unsigned mode, struct agent_error **err);
/* Begin the file @path, which must be new. Folders on the way are made, or with @makes_folders false must be there. */
int tree_file_begin(struct tree *tree, const char *path, bool makes_folders, struct agent_error **err);
/* -ENOSPC slot.size, -EIO slot.io. */
int tree_file_write(struct tree *tree, const void *data, size_t size, struct agent_error **err);
int tree_file_end(struct tree *tree, unsigned mode, int64_t mtime_s, struct agent_error **err);
/* Sync the file system, then read all files back past the cache and compare. -EBADMSG slot.readback. */
int tree_verify(struct tree *tree, struct agent_error **err);

#endif
