/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs while we build: a list of passwords -> C text of a filter on standard output.
 *	make_filter          no list: a filter that holds nothing
 *	make_filter FILE     one password on a line, or frequency_lists.py of Debian's python3-zxcvbn ("passwords": "a,b,c")
 * Entries that are not ASCII, and those that are shorter than 4 folded, are left out: the rules look at nothing shorter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "password/filter.h"
#include "password/fold.h"

#define ENTRY_MIN 4
#define ENTRY_MAX 128
#define FILE_MAX ((size_t)256 << 20)
#define ZXCVBN "\"passwords\": \""

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *text = malloc(FILE_MAX + 1);
	size_t n = f == NULL || text == NULL ? 0 : fread(text, 1, FILE_MAX + 1, f);

	if (f == NULL || text == NULL || ferror(f) || n > FILE_MAX) {
		fprintf(stderr, "make_filter: %s cannot be read, or is too large\n", path);
		exit(1);
	}
	fclose(f);
	text[n] = '\0';
	return text;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In place; false if it is no entry. */
static bool fold(char *entry)
{
	char *to = entry;

	for (const char *p = entry; *p != '\0'; p++) {
		char c = fold_ascii(*p);

		if ((unsigned char)*p >= 0x7f || (unsigned char)*p < 0x20)
			return false;
		if (c != 0)
			*to++ = c;
	}
	*to = '\0';
	return to - entry >= ENTRY_MIN && to - entry <= ENTRY_MAX;
}

static uint32_t split(char *text, const char *ends, char **entries)
{
	uint32_t n = 0, n_unique = 0;

	for (char *p = strtok(text, ends); p != NULL; p = strtok(NULL, ends))
		if (fold(p))
			entries[n++] = p;
	qsort(entries, n, sizeof(*entries), by_text);
	for (uint32_t i = 0; i < n; i++)
		if (i == 0 || strcmp(entries[i], entries[n_unique - 1]) != 0)
			entries[n_unique++] = entries[i];
	return n_unique;
}

int main(int argc, char **argv)
{
	struct filter filter = { 0 };
	char *text = argc > 1 ? read_file(argv[1]) : NULL, *list = text, *end;
	char **entries;
	uint16_t *cells = NULL;
	uint32_t n = 0;

	if (text != NULL) {
		list = strstr(text, ZXCVBN);
		entries = calloc(strlen(text) / ENTRY_MIN + 1, sizeof(*entries));
		if (entries == NULL)
			return 1;
		if (list != NULL) {
			list += strlen(ZXCVBN);
			end = strchr(list, '"');
			if (end != NULL)
				*end = '\0';
		}
		n = list != NULL ? split(list, ",", entries) : split(text, "\r\n", entries);
		if (n < 1000 || !filter_build((const char *const *)entries, n, &filter, &cells)) {
			fprintf(stderr, "make_filter: %s holds %u passwords of ASCII: that is no list of common passwords\n", argv[1], (unsigned)n);
			return 1;
		}
	}
	printf("/* Made by make_filter from a list of %u folded passwords. */\n#include \"password/filter.h\"\n\n", (unsigned)n);
	if (n > 0) {
		printf("static const uint16_t cells[] = {");
		for (uint32_t i = 0; i < 3 * filter.block; i++)
			printf("%s%u,", i % 16 == 0 ? "\n\t" : " ", cells[i]);
		printf("\n};\n\n");
	}
	printf("const struct filter password_filter = { .n_entries = %u, .block = %u, .seed = UINT64_C(0x%llx), .cells = %s };\n", (unsigned)n,
	       (unsigned)filter.block, (unsigned long long)filter.seed, n > 0 ? "cells" : "NULL");
	return fflush(stdout) == 0 ? 0 : 1;
}
