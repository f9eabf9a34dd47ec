/* SPDX-License-Identifier: Apache-2.0 */
/* The outer archive of a bundle, read to its end in pieces of odd size. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/macro.h"
#include "update/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(container_freep) struct container *c = NULL;
	_cleanup_close_ int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct member member;
	uint8_t part[4099];
	uint64_t total = 0;

	if (fd < 0 || write_all(fd, data, size) < 0 || lseek(fd, 0, SEEK_SET) < 0 || container_new(fd, &c, NULL) < 0)
		abort();
	while (container_next(c, &member, NULL) > 0) {
		if (member.size_bytes != container_left(c))
			abort();
		while (container_left(c) > 0) {
			size_t want = container_left(c) < sizeof(part) ? (size_t)container_left(c) : sizeof(part);

			if (container_read(c, part, want, NULL) < 0)
				return 0;
			total += want;
		}
	}
	/* No member can be longer than what there was to read. */
	if (total > size)
		abort();
	return 0;
}
