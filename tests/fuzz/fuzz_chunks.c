/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chunk table and the payload that it is for, of an image that was signed: 1 byte of choices, 4 of the size that was signed, 2 of the
 * length of the table, the table, the payload. Some choices make hashes right, so that what lies behind them is reached.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/macro.h"
#include "update/stream.h"

enum { TABLE_HASH_IS_RIGHT = 1, CHUNKS_ARE_RIGHT = 2, SIZE_IS_RIGHT = 4, IS_GZIP = 8, IS_ZSTD = 16, IS_ENCRYPTED = 32, IS_STOCK = 64 };
#define HEAD 7

static void put(int fd, const void *data, size_t size)
{
	if (write_all(fd, data, size) < 0)
		abort();
}

static void put_member(int fd, const char *name, const uint8_t *data, size_t size)
{
	static const uint8_t zeros[4];
	char header[128];
	size_t n = strlen(name) + 1;

	snprintf(header, sizeof(header), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 1u, 0100644u, 0u, 0u, 1u, 0u, (unsigned)size, 0u, 0u, 0u, 0u,
		 (unsigned)n, 0u);
	put(fd, header, 110);
	put(fd, name, n);
	put(fd, zeros, (4 - (110 + n) % 4) % 4);
	put(fd, data, size);
	put(fd, zeros, (4 - size % 4) % 4);
}

static uint8_t *table_make(const uint8_t *payload, size_t size, size_t *ret_size)
{
	size_t n = (size + CHUNK_MIN - 1) / CHUNK_MIN;
	uint8_t *table = malloc(n * DIGEST_SIZE + 1);

	for (size_t i = 0; table != NULL && i < n; i++)
		if (digest_sha256(payload + i * CHUNK_MIN, size - i * CHUNK_MIN < CHUNK_MIN ? size - i * CHUNK_MIN : CHUNK_MIN, table + i * DIGEST_SIZE) < 0)
			abort();
	*ret_size = n * DIGEST_SIZE;
	return table;
}

static void image_describe(struct manifest_image *image, uint8_t choice, const uint8_t *data, const uint8_t *payload, size_t payload_size)
{
	static const uint8_t iv[MANIFEST_IV_SIZE] = { 1 };

	strcpy(image->member, "image");
	strcpy(image->table_member, "table");
	strcpy(image->type, "raw");
	strcpy(image->filter, choice & IS_GZIP ? "zlib" : choice & IS_ZSTD ? "zstd" : "none");
	if (choice & IS_ENCRYPTED)
		strcpy(image->cipher, choice & IS_GZIP ? "aes-ctr" : "aes-cbc");
	memcpy(image->iv, iv, sizeof(iv));
	image->has_iv = true;
	image->chunk_bytes = CHUNK_MIN;
	image->has_chunks = (choice & IS_STOCK) == 0;
	image->has_stored_bytes = true;
	image->stored_bytes = choice & SIZE_IS_RIGHT ? payload_size : (uint64_t)data[1] | (uint64_t)data[2] << 8 | (uint64_t)data[3] << 16 | (uint64_t)data[4] << 24;
	image->plain_bytes = manifest_image_is_plain(image) ? image->stored_bytes : choice & SIZE_IS_RIGHT ? 0 : image->stored_bytes;
	if (digest_sha256(payload, payload_size, image->sha256) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct stream_key key = { .key_size = 16 };
	_cleanup_(container_freep) struct container *c = NULL;
	_cleanup_close_ int fd = -1;
	_cleanup_free_ uint8_t *made = NULL, *table = NULL;
	struct manifest_image image = { 0 };
	struct stream_result result = { 0 };
	struct member member;
	const uint8_t *given, *payload;
	size_t given_size, payload_size;

	if (size < HEAD)
		return 0;
	given_size = (size_t)data[5] | (size_t)data[6] << 8;
	if (given_size > size - HEAD)
		given_size = size - HEAD;
	given = data + HEAD;
	payload = given + given_size;
	payload_size = size - HEAD - given_size;
	image_describe(&image, data[0], data, payload, payload_size);
	if (data[0] & CHUNKS_ARE_RIGHT) {
		made = table_make(payload, payload_size, &given_size);
		given = made;
	}
	if (data[0] & TABLE_HASH_IS_RIGHT && digest_sha256(given, given_size, image.table_sha256) < 0)
		abort();
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	put_member(fd, "table", given, given_size);
	put_member(fd, "image", payload, payload_size);
	if (lseek(fd, 0, SEEK_SET) < 0 || container_new(fd, &c, NULL) < 0 || container_next(c, &member, NULL) != 1)
		abort();
	/* As update.c does: a stock bundle has no table. */
	if (data[0] & IS_STOCK ? stream_skip(c, NULL, NULL, NULL, NULL) < 0 : stream_read_table(c, &image, member.size_bytes, &table, NULL) < 0)
		return 0;
	if (table != NULL && memcmp(table, given, given_size) != 0)
		abort();
	if (container_next(c, &member, NULL) != 1 || member.size_bytes != image.stored_bytes || member.size_bytes == 0)
		return 0;
	if (stream_image(&(struct stream_job){ .container = c, .image = &image, .table = table, .handler = &handler_nowhere, .max_bytes = 1 << 24, .key = &key },
			 &result, NULL) < 0)
		return 0;
	if (image.plain_bytes != 0 && result.plain_bytes != image.plain_bytes)
		abort();
	if (result.plain_bytes > 1 << 24)
		abort();
	return 0;
}
