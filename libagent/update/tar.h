/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_TAR_H
#define UPDATE_TAR_H
/*
 * A tar archive (POSIX ustar and pax, GNU long names, V7) into a tree, as its bytes arrive. Regular files and folders only. Not
 * libarchive: that would bring eight more libraries into every program over libagent, and pulls where our bytes come.
 */
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "base/macro.h"
#include "update/tree.h"

#define TAR_ENTRIES_MAX 100000
#define TAR_META_MAX (64 * 1024)	/* one pax header or long name */
#define TAR_PATH_MAX 4096

struct tar;

/* @prefix is where in @tree, which is lent, it goes; at most @max_bytes of content. -ENOMEM. */
int tar_new(struct tree *tree, const char *prefix, uint64_t max_bytes, struct tar **ret_tar, struct agent_error **err);
struct tar *tar_free(struct tar *tar);
DEFINE_CLEANUP(struct tar *, tar_free)

/*
 * The next bytes. -EBADMSG update.archive (damaged), update.path (leads out, absolute, twice); -EOPNOTSUPP update.archive
 * (links, devices, setuid); -EMSGSIZE update.archive, update.size; or what tree.h says.
 */
int tar_push(struct tar *tar, const uint8_t *data, size_t size, struct agent_error **err);
/* No more bytes: -EBADMSG update.archive unless the archive is complete. */
int tar_end(struct tar *tar, struct agent_error **err);

#endif
