/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for libFuzzer in "make check": runs the target once over each file named on the command line, and over
 * every prefix and single-byte change of the small ones, so that the corpus also finds short reads.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUTATE_MAX 512	/* larger inputs are replayed as they are: the square of their length is too slow here */

static size_t n_runs;

static void run(const uint8_t *data, size_t size)
{
	/* An exact-size copy lets ASan see one byte too far. */
	uint8_t *copy = malloc(size == 0 ? 1 : size);

	if (copy == NULL)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	n_runs++;
}

static int run_file(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *f = fopen(path, "rb");
	size_t size;

	if (f == NULL) {
		perror(path);
		return 1;
	}
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	run(data, size);
	if (size > MUTATE_MAX)
		return 0;
	for (size_t n = 0; n < size; n++)
		run(data, n);
	for (size_t i = 0; i < size; i++) {
		uint8_t saved = data[i];

		for (unsigned bit = 0; bit < 8; bit++) {
			data[i] = (uint8_t)(saved ^ 1u << bit);
			run(data, size);
		}
		data[i] = 0xff;
		run(data, size);
		data[i] = saved;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int bad = 0;

	for (int i = 1; i < argc; i++)
		bad |= run_file(argv[i]);
	printf("%zu inputs\n", n_runs);
	return bad || n_runs == 0;
}
