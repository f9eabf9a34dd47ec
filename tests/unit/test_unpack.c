/* SPDX-License-Identifier: Apache-2.0 */
/* From stored bytes to plain ones, by two threads: of every length, and what is said when several things are wrong. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"

#include <errno.h>

#include <openssl/evp.h>
#include <zlib.h>

#include "update/stream.h"

#define BLOCK CHUNK_MIN
#define PLAIN_MAX ((size_t)5 * BLOCK)

static const struct stream_key key = { .key = "0123456789abcdef", .key_size = 16, .iv = "fedcba987654321" };

/* ---- a handler that keeps all in memory ----------------------------------------------------------------------------------- */

static struct {
	uint8_t block[4 * BLOCK], data[2 * PLAIN_MAX];
	size_t block_bytes, size, n_blocks, fails_at;	/* 1 based, 0: never */
	bool is_finished;
} sink;

static int sink_open(const struct slot *slot, const struct manifest_image *image, uint64_t max_bytes, size_t block_bytes, void **ret_handle,
		     struct agent_error **err)
{
	size_t fails_at = sink.fails_at;

	memset(&sink, 0, sizeof(sink));
	sink.fails_at = fails_at;
	sink.block_bytes = block_bytes;
	assert_true(block_bytes <= sizeof(sink.block));
	*ret_handle = &sink;
	return 0;
}

static int sink_get(void *handle, uint8_t **ret_block, struct agent_error **err)
{
	*ret_block = sink.block;
	return 0;
}

static int sink_put(void *handle, size_t size, struct agent_error **err)
{
	if (++sink.n_blocks == sink.fails_at)
		return agent_error_set(err, -EIO, "slot.io", "the device failed");
	assert_true(size <= sink.block_bytes && sink.size % sink.block_bytes == 0 && sink.size + size <= sizeof(sink.data));
	memcpy(sink.data + sink.size, sink.block, size);
	sink.size += size;
	return 0;
}

static int sink_finish(void *handle, const uint8_t sha256[32], struct agent_error **err)
{
	assert_null(sha256);
	sink.is_finished = true;
	return 0;
}

static void sink_close(void *handle)
{
}

static const struct update_handler to_sink = { .type = "sink", .open = sink_open, .get_block = sink_get, .put_block = sink_put, .finish = sink_finish,
					       .close = sink_close };

/* ---- images ----------------------------------------------------------------------------------------------------------------- */

struct made {
	struct bytes stored, table;
	struct manifest_image image;
};

static void made_free(struct made *m)
{
	bytes_free(&m->stored);
	bytes_free(&m->table);
}

static void made_hash(struct made *m, bool has_table)
{
	bytes_free(&m->table);
	for (size_t i = 0; has_table && i < m->stored.size; i += BLOCK) {
		uint8_t digest[DIGEST_SIZE];

		assert_int_equal(digest_sha256(m->stored.data + i, m->stored.size - i < BLOCK ? m->stored.size - i : BLOCK, digest), 0);
		bytes_add(&m->table, digest, sizeof(digest));
	}
	m->image.has_chunks = has_table;
	m->image.stored_bytes = m->stored.size;
	assert_int_equal(digest_sha256(m->stored.data, m->stored.size, m->image.sha256), 0);
}

static void made_encrypt(struct made *m, const EVP_CIPHER *cipher)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t *out = malloc(m->stored.size + 32);
	int n = 0, rest = 0;

	assert_true(ctx != NULL && out != NULL);
	assert_int_equal(EVP_EncryptInit_ex(ctx, cipher, NULL, key.key, key.iv), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, out, &n, m->stored.data, (int)m->stored.size), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, out + n, &rest), 1);
	EVP_CIPHER_CTX_free(ctx);
	bytes_free(&m->stored);
	m->stored = (struct bytes){ .data = out, .size = (size_t)(n + rest) };
}

/* Level 0, so that several chunks are stored. */
static void made_compress(struct made *m)
{
	z_stream z = { 0 };
	size_t max = m->stored.size + m->stored.size / 100 + 1000;
	uint8_t *out = malloc(max);

	assert_non_null(out);
	assert_int_equal(deflateInit2(&z, 0, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = m->stored.data;
	z.avail_in = (uInt)m->stored.size;
	z.next_out = out;
	z.avail_out = (uInt)max;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	bytes_free(&m->stored);
	m->stored = (struct bytes){ .data = out, .size = (size_t)z.total_out };
	deflateEnd(&z);
}

static const uint8_t *plain(void)
{
	static uint8_t bytes[PLAIN_MAX];

	for (size_t i = 0; bytes[1] == 0 && i < PLAIN_MAX; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	return bytes;
}

static struct made made(size_t size, const char *filter, const char *cipher, bool has_table)
{
	struct made m = { .image = { .member = "image", .type = "raw", .chunk_bytes = BLOCK, .has_stored_bytes = true, .plain_bytes = size } };

	strcpy(m.image.filter, filter);
	strcpy(m.image.cipher, cipher);
	bytes_add(&m.stored, plain(), size);
	if (strcmp(filter, "zlib") == 0)
		made_compress(&m);
	if (cipher[0] != '\0')
		made_encrypt(&m, strcmp(cipher, "aes-ctr") == 0 ? EVP_aes_128_ctr() : EVP_aes_128_cbc());
	made_hash(&m, has_table);
	return m;
}

static int unpack(const struct made *m, size_t n_given, struct agent_error **err)
{
	_cleanup_(container_freep) struct container *c = NULL;
	_cleanup_bytes_ struct bytes archive = { 0 };
	struct stream_result result = { 0 };
	_cleanup_close_ int fd = -1;
	struct member member;
	size_t start;
	int r;

	cpio_member(&archive, "image", m->stored.data, m->stored.size, NULL);
	start = archive.size - (m->stored.size + 3) / 4 * 4;
	fd = bytes_fd(archive.data, n_given < m->stored.size ? start + n_given : archive.size);
	assert_int_equal(container_new(fd, &c, NULL), 0);
	assert_int_equal(container_next(c, &member, NULL), 1);
	r = stream_image(&(struct stream_job){ .container = c, .image = &m->image, .table = m->table.data, .handler = &to_sink, .max_bytes = PLAIN_MAX, .key = &key },
			 &result, err);
	assert_true(r < 0 || result.plain_bytes == sink.size);
	return r;
}

static void every_length_comes_out_as_it_went_in(void **state)
{
	static const struct {
		const char *filter, *cipher;
	} ways[] = { { "none", "aes-cbc" }, { "none", "aes-ctr" }, { "zlib", "" }, { "zlib", "aes-cbc" }, { "zlib", "aes-ctr" } };
	static const size_t around[] = { 16, BLOCK, (size_t)2 * BLOCK, (size_t)4 * BLOCK };

	for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
		for (size_t k = 0; k < ARRAY_SIZE(around); k++)
			for (size_t size = around[k] > 33 ? around[k] - 33 : 1; size <= around[k] + 17; size++) {
				_cleanup_(made_free) struct made m = made(size, ways[w].filter, ways[w].cipher, size % 2 == 0);
				_cleanup_error_ struct agent_error *err = NULL;

				if (unpack(&m, SIZE_MAX, &err) < 0)
					fail_msg("%s %s %zu: %s", ways[w].filter, ways[w].cipher, size, agent_error_message(err));
				assert_true(sink.is_finished);
				assert_int_equal(sink.size, size);
				assert_memory_equal(sink.data, plain(), size);
			}
}

static void fails(const struct made *m, size_t n_given, const char *name, const char *says)
{
	/* Which thread is faster must not matter. */
	for (int i = 0; i < 20; i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		int r = unpack(m, n_given, &err);

		if (r >= 0 || err == NULL || agent_error_errno(err) != r || strcmp(agent_error_name(err), name) != 0 || strstr(agent_error_message(err), says) == NULL)
			fail_msg("%d \"%s\" (%s), wanted %s", r, err == NULL ? "" : agent_error_message(err), err == NULL ? "" : agent_error_name(err), name);
		assert_false(sink.is_finished);
	}
}

static void of_several_faults_the_first_is_said(void **state)
{
	_cleanup_(made_free) struct made m = made(PLAIN_MAX, "zlib", "", true);

	/* Chunk 3 is not the signed one: what comes before is in the slot. */
	m.stored.data[3 * BLOCK + 5] ^= 1;
	fails(&m, SIZE_MAX, "update.chunk", "chunk 3 of image");
	assert_true(sink.size <= (size_t)3 * BLOCK);
	/* Chunk 2 is, but no gzip: an invalid kind of block where level 0 begins one. */
	memset(m.stored.data + 2 * BLOCK, 0xff, BLOCK);
	made_hash(&m, true);
	m.stored.data[3 * BLOCK + 5] ^= 1;
	fails(&m, SIZE_MAX, "update.compression", "image: the gzip stream is damaged");
	/* And the bundle ends behind it. */
	fails(&m, 3 * BLOCK + 10, "update.compression", "image: the gzip stream is damaged");
	fails(&m, 2 * BLOCK + 10, "container.short", "inside image");
	/* The disk was the first. */
	sink.fails_at = 1;
	fails(&m, SIZE_MAX, "slot.io", "image: the device failed");
	sink.fails_at = 0;
}

static void the_padding_is_looked_at_when_the_hash_is_good(void **state)
{
	for (int has_table = 0; has_table < 2; has_table++) {
		_cleanup_(made_free) struct made m = made(2 * BLOCK + 100, "none", "aes-cbc", has_table == 1);

		/* The last byte of the last but one block is that of the padding. */
		m.stored.data[m.stored.size - 17] ^= 0x55;
		fails(&m, SIZE_MAX, has_table == 1 ? "update.chunk" : "update.hash", "image");
		made_hash(&m, has_table == 1);
		fails(&m, SIZE_MAX, "update.decryption", "image: the end of the decrypted image has no padding");
		/* No whole number of blocks. */
		m.stored.size -= 5;
		made_hash(&m, has_table == 1);
		fails(&m, SIZE_MAX, "update.decryption", "image");
		/* The hash of all is another one than that of the chunks. */
		m.image.sha256[5] ^= 1;
		fails(&m, SIZE_MAX, "update.hash", "image has another SHA-256");
	}
}

static void what_unpacks_to_more_or_less_is_refused(void **state)
{
	static const char *const ciphers[] = { "", "aes-cbc", "aes-ctr" };

	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
		_cleanup_(made_free) struct made m = made(3 * BLOCK, i == 0 ? "zlib" : "none", ciphers[i], true);

		m.image.plain_bytes--;
		fails(&m, SIZE_MAX, "update.size", "image unpacks to more than the 196607 bytes");
		assert_true(sink.size <= (size_t)2 * BLOCK);
		m.image.plain_bytes += 2;
		fails(&m, SIZE_MAX, "update.size", "image unpacks to 196608 bytes, 196609 were signed");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_comes_out_as_it_went_in),
		cmocka_unit_test(of_several_faults_the_first_is_said),
		cmocka_unit_test(the_padding_is_looked_at_when_the_hash_is_good),
		cmocka_unit_test(what_unpacks_to_more_or_less_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
