/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What no installer can do without: read a file, SHA-256 it, write it, sync; with "back" also read it again past the cache and hash. One
 * thread, blocks of 1 MiB, the same calls for all. With "decode" a decoder by itself, from a file into nowhere. Prints seconds. With "speed" how
 * fast SHA-256 and Poly1305 are here, in GB per second of processor time.
 */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#define BLOCK (1024 * 1024)

static char block[BLOCK];

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int pass(int in, int out, unsigned char digest[EVP_MAX_MD_SIZE])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ssize_t n;
	int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;

	while (ok && (n = read(in, block, BLOCK)) > 0)
		ok = EVP_DigestUpdate(ctx, block, (size_t)n) == 1 && (out < 0 || write(out, block, (size_t)n) == n);
	ok = ok && n == 0 && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	return ok ? 0 : -1;
}

/* ---- decoders ----------------------------------------------------------------------------------------------------- */

static unsigned char out_block[BLOCK + EVP_MAX_BLOCK_LENGTH];

static int decode_zlib(int in)
{
	z_stream z = { 0 };
	ssize_t n;
	int r = inflateInit2(&z, 16 + MAX_WBITS);

	while (r == Z_OK && (n = read(in, block, BLOCK)) > 0) {
		z.next_in = (const unsigned char *)block;
		z.avail_in = (unsigned)n;
		do {
			z.next_out = out_block;
			z.avail_out = BLOCK;
			r = inflate(&z, Z_NO_FLUSH);
		} while (r == Z_OK && (z.avail_in > 0 || z.avail_out == 0));
		if (r == Z_BUF_ERROR)
			r = Z_OK;
	}
	inflateEnd(&z);
	return r == Z_STREAM_END ? 0 : -1;
}

static int decode_zstd(int in)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();
	size_t r = 1;
	ssize_t n;

	while (z != NULL && r != 0 && !ZSTD_isError(r) && (n = read(in, block, BLOCK)) > 0) {
		ZSTD_inBuffer input = { .src = block, .size = (size_t)n };
		ZSTD_outBuffer output;

		do {
			output = (ZSTD_outBuffer){ .dst = out_block, .size = BLOCK };
			r = ZSTD_decompressStream(z, &output, &input);
		} while (!ZSTD_isError(r) && r != 0 && (input.pos < input.size || output.pos == output.size));
	}
	ZSTD_freeDCtx(z);
	return r == 0 ? 0 : -1;
}

/* AES-256-CBC; the key is of no importance here, as no byte of what comes out is. */
static int decode_aes(int in)
{
	static const unsigned char key[32], iv[16];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int ok = ctx != NULL && EVP_DecryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, key, iv) == 1 && EVP_CIPHER_CTX_set_padding(ctx, 0) == 1;
	ssize_t n = 0;
	int size;

	while (ok && (n = read(in, block, BLOCK)) > 0)
		ok = EVP_DecryptUpdate(ctx, out_block, &size, (const unsigned char *)block, (int)n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok && n == 0 ? 0 : -1;
}

static int decode(const char *path, const char *codec)
{
	int in = open(path, O_RDONLY | O_CLOEXEC), r = -1;
	double begun = seconds();

	if (in >= 0 && strcmp(codec, "zlib") == 0)
		r = decode_zlib(in);
	else if (in >= 0 && strcmp(codec, "zstd") == 0)
		r = decode_zstd(in);
	else if (in >= 0 && strcmp(codec, "aes") == 0)
		r = decode_aes(in);
	if (r < 0) {
		fprintf(stderr, "bench_floor: cannot decode %s as %s\n", path, codec);
		return 1;
	}
	printf("%.3f\n", seconds() - begun);
	return 0;
}

/* ---- what an installation hashes with --------------------------------------------------------------------------------------- */

#define SPEED_BLOCKS 512

static double processor_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int speed(void)
{
	static const unsigned char key[32];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_MAC *poly = EVP_MAC_fetch(NULL, "POLY1305", NULL);
	EVP_MAC_CTX *mac = poly == NULL ? NULL : EVP_MAC_CTX_new(poly);
	double begun = processor_seconds(), between;
	int ok = md != NULL && mac != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 && EVP_MAC_init(mac, key, sizeof(key), NULL) == 1;

	for (int i = 0; ok && i < SPEED_BLOCKS; i++)
		ok = EVP_DigestUpdate(md, block, BLOCK) == 1;
	between = processor_seconds();
	for (int i = 0; ok && i < SPEED_BLOCKS; i++)
		ok = EVP_MAC_update(mac, (const unsigned char *)block, BLOCK) == 1;
	if (ok)
		printf("sha256=%.2f poly1305=%.2f GB/s\n", (double)SPEED_BLOCKS * BLOCK / 1e9 / (between - begun),
		       (double)SPEED_BLOCKS * BLOCK / 1e9 / (processor_seconds() - between));
	EVP_MAC_CTX_free(mac);
	EVP_MAC_free(poly);
	EVP_MD_CTX_free(md);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	unsigned char first[EVP_MAX_MD_SIZE] = { 0 }, second[EVP_MAX_MD_SIZE] = { 0 };
	double begun;
	int in, out;

	if (argc == 2 && strcmp(argv[1], "speed") == 0)
		return speed();
	if (argc < 3) {
		fprintf(stderr, "usage: bench_floor FILE SLOT [back], or bench_floor FILE decode zlib|zstd|aes, or bench_floor speed\n");
		return 2;
	}
	if (argc > 3 && strcmp(argv[2], "decode") == 0)
		return decode(argv[1], argv[3]);
	in = open(argv[1], O_RDONLY | O_CLOEXEC);
	out = open(argv[2], O_RDWR | O_CLOEXEC);
	begun = seconds();
	if (in < 0 || out < 0 || pass(in, out, first) < 0 || fdatasync(out) < 0)
		return 1;
	if (argc > 3) {
		off_t size = lseek(in, 0, SEEK_END);

		(void)posix_fadvise(out, 0, 0, POSIX_FADV_DONTNEED);
		if (lseek(out, 0, SEEK_SET) != 0 || size != lseek(out, 0, SEEK_END) || lseek(out, 0, SEEK_SET) != 0 || pass(out, -1, second) < 0)
			return 1;
		if (memcmp(first, second, sizeof(first)) != 0)
			return 1;
	}
	printf("%.3f\n", seconds() - begun);
	return 0;
}
