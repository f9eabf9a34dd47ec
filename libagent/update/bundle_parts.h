/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_BUNDLE_PARTS_H
#define UPDATE_BUNDLE_PARTS_H
/*
 * The members of a bundle that is being made, and the archive that they become: CPIO "crc" (070702), owner 0, one time for all, so that
 * the same members make the same bytes. Error names: bundle.source, bundle.changed, bundle.size, bundle.exists, bundle.write.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "base/macro.h"
#include "crypto/digest.h"
#include "update/container.h"

struct part {
	char name[CONTAINER_NAME_MAX + 1];
	char *data;		/* in memory, or NULL */
	int fd;			/* else in this file, lent or owned */
	bool owns_fd;
	uint64_t offset, size;
	uint8_t sha256[DIGEST_SIZE];
	uint32_t sum;
	bool is_measured;
};

struct parts {
	struct part items[CONTAINER_MEMBERS_MAX];
	size_t n;
	int fd;			/* of the .swu that was read, or -1 */
};

void parts_clear(struct parts *parts);
#define _cleanup_parts_ _cleanup_(parts_clear)

/* The next free part with this name, in no place yet. -EMSGSIZE bundle.size, -EBADMSG manifest.duplicate. */
int parts_add(struct parts *parts, const char *name, struct part **ret_part, struct agent_error **err);
/* The same with bytes in memory, which are copied. */
int parts_add_data(struct parts *parts, const char *name, const void *data, size_t size, struct agent_error **err);
/* Other bytes, in memory, for a part that is there. */
int part_set(struct part *part, const void *data, size_t size, struct agent_error **err);
struct part *parts_find(struct parts *parts, const char *name);
/* All members of the .swu @path, read to its end. @parts is empty before. -errno bundle.source, container.*. */
int parts_read(struct parts *parts, const char *path, struct agent_error **err);
/* The file @name in the folder @dir_fd. -errno bundle.source. */
int part_open(struct part *part, int dir_fd, const char *name, struct agent_error **err);

/* Read @size bytes at @offset of the part. -ESTALE bundle.changed when the file ends before. */
int part_read(const struct part *part, uint64_t offset, void *data, size_t size, struct agent_error **err);
/* SHA-256 and CPIO sum; with @chunk_bytes also *ret_table, one SHA-256 per chunk, which the caller frees. */
int part_measure(struct part *part, uint32_t chunk_bytes, char **ret_table, size_t *ret_table_size, struct agent_error **err);

/*
 * Write the archive beside @path and then give it that name, which nobody may have: -EEXIST bundle.exists. Parts that are not in memory
 * must be the same bytes as measured: -ESTALE bundle.changed. On failure nothing is left.
 */
int parts_write(const struct parts *parts, const char *path, uint64_t time_s, struct agent_error **err);
/* Is @path free, and may files be made beside it? To say so before the work and not after it. */
int out_check(const char *path, struct agent_error **err);
/* Make @path of two pieces of text, whole or not at all: -EEXIST bundle.exists, -errno bundle.write. */
int out_make(const char *path, const char *first, const char *second, size_t second_size, struct agent_error **err);
/* A file without a name beside @path. */
int out_scratch(const char *path, int *ret_fd, struct agent_error **err);

#endif
