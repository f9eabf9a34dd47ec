/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BUNDLE_H
#define TESTS_UNIT_BUNDLE_H
/* Bundles in memory, right ones and wrong ones, and descriptors to read them from. Included after test.h. */
#include <sys/mman.h>

#include "base/buf.h"
#include "base/file.h"
#include "crypto/digest.h"

struct bytes {
	uint8_t *data;
	size_t size;
};

static inline void bytes_add(struct bytes *b, const void *data, size_t size)
{
	b->data = realloc(b->data, b->size + size + 1);
	assert_non_null(b->data);
	if (size > 0)
		memcpy(b->data + b->size, data, size);
	b->size += size;
	b->data[b->size] = '\0';
}

static inline void bytes_free(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes){ 0 };
}
#define _cleanup_bytes_ _cleanup_(bytes_free)

static inline void bytes_pad(struct bytes *b, size_t align, uint8_t with)
{
	while (b->size % align != 0)
		bytes_add(b, &with, 1);
}

/* What a test may want to get wrong. */
struct member_options {
	const char *magic;	/* NULL: 070702 */
	uint32_t mode;		/* 0: a regular file */
	uint32_t add_to_checksum, add_to_size, add_to_namesize;
	uint8_t padding;
};

static inline void cpio_member(struct bytes *out, const char *name, const void *data, size_t size, const struct member_options *options)
{
	static const struct member_options normal;
	const struct member_options *o = options == NULL ? &normal : options;
	const char *magic = o->magic == NULL ? "070702" : o->magic;
	uint32_t sum = 0;
	char header[128];

	if (strcmp(magic, "070702") == 0)
		for (size_t i = 0; i < size; i++)
			sum += ((const uint8_t *)data)[i];
	snprintf(header, sizeof(header), "%s%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", magic, 1u, o->mode == 0 ? 0100644u : o->mode, 0u, 0u,
		 1u, 0u, (unsigned)size + o->add_to_size, 0u, 0u, 0u, 0u, (unsigned)strlen(name) + 1 + o->add_to_namesize, sum + o->add_to_checksum);
	bytes_add(out, header, 110);
	bytes_add(out, name, strlen(name) + 1);
	/* Members begin at multiples of 4 of the archive. */
	bytes_pad(out, 4, o->padding);
	bytes_add(out, data, size);
	bytes_pad(out, 4, o->padding);
}

static inline void cpio_end(struct bytes *out)
{
	cpio_member(out, "TRAILER!!!", NULL, 0, NULL);
	bytes_pad(out, 512, 0);
}

/* A descriptor that reads @size bytes, like a file that was just opened. */
static inline int bytes_fd(const void *data, size_t size)
{
	int fd = memfd_create("bundle", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, data, size), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static inline void sha256_text(const void *data, size_t size, char ret_text[65])
{
	uint8_t digest[DIGEST_SIZE];

	assert_int_equal(digest_sha256(data, size, digest), 0);
	hex_encode(digest, sizeof(digest), ret_text);
}

#endif
