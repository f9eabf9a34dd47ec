/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What no installer can do without: read a file, SHA-256 it, write it, sync; with "back" also read it again past the cache and hash. One
 * thread, blocks of 1 MiB, the same calls for all. Prints seconds.
 */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

int main(int argc, char **argv)
{
	unsigned char first[EVP_MAX_MD_SIZE] = { 0 }, second[EVP_MAX_MD_SIZE] = { 0 };
	double begun;
	int in, out;

	if (argc < 3) {
		fprintf(stderr, "usage: bench_floor FILE SLOT [back]\n");
		return 2;
	}
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
