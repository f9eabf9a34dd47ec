/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_CONTAINER_H
#define UPDATE_CONTAINER_H
/*
 * The outer archive of a .swu: CPIO "newc" (070701) and "crc" (070702), read once from front to back out of a pipe.
 * Nothing is buffered here: member data goes straight into the caller's memory. Error names: container.*.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "base/macro.h"
#include "update/source.h"

#define CONTAINER_NAME_MAX 255	  /* bytes with the NUL; the limit of stock SWUpdate */
#define CONTAINER_MEMBERS_MAX 64  /* we name far fewer; bounds the memory for duplicate names */

struct container;

/* Can it be a member? 1 to CONTAINER_NAME_MAX - 1 bytes of printable UTF-8, no slash, neither "." nor "..". */
bool container_is_name(const char *text);

struct member {
	const char *name;	/* lent until the next container_next() */
	uint64_t size_bytes;
};

/* @fd stays the caller's. -ENOMEM. */
int container_new(int fd, struct container **ret_container, struct agent_error **err);
/* The same from another kind of source, which is copied. */
int container_new_from(const struct source *source, struct container **ret_container, struct agent_error **err);
struct container *container_free(struct container *container);
DEFINE_CLEANUP(struct container *, container_free)

/*
 * Next member; the one before must have been read whole. Returns 1, or 0 after the trailer and the end of the file.
 * -EBADMSG container.short, .magic, .header, .name, .duplicate, .padding, .trailing; -EMSGSIZE container.members; -EIO.
 */
int container_next(struct container *container, struct member *ret_member, struct agent_error **err);
/*
 * Exactly the next @size bytes of the member, at most container_left(). With the last byte the padding and the CRC are
 * checked, so that a bad end is known before those bytes are used. -EBADMSG container.short, .padding, .checksum; -EIO.
 */
int container_read(struct container *container, void *data, size_t size, struct agent_error **err);
/*
 * Pass over the next @size bytes of the member, which the caller has from elsewhere and knows to be right: its CPIO checksum is not looked
 * at any more. Errors as container_read().
 */
int container_skip(struct container *container, uint64_t size, struct agent_error **err);
/* The next @size bytes of the member will all be read. */
void container_expect(struct container *container, uint64_t size);
uint64_t container_left(const struct container *container);
/* The sum of all bytes, as in the last field of a "crc" header. */
uint32_t container_sum(const uint8_t *data, size_t size);

#endif
