/* SPDX-License-Identifier: Apache-2.0 */
/* A tar archive, in pieces whose size its first byte says, into a folder: nothing may appear beside that folder. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "update/tar.h"

static char outer[32], inner[48];

static void leave(void)
{
	rmdir(inner);
	rmdir(outer);
}

static void check_outer(void)
{
	DIR *dir = opendir(outer);
	const struct dirent *entry;

	if (dir == NULL)
		abort();
	while ((entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && strcmp(entry->d_name, "slot") != 0)
			abort();
	closedir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slot slot = { .slot_class = "app", .name = "b", .path = inner };
	_cleanup_(tree_freep) struct tree *tree = NULL;
	_cleanup_(tar_freep) struct tar *tar = NULL;
	size_t step = size > 0 ? (size_t)data[0] * 7 + 1 : 1;
	int r;

	if (outer[0] == '\0') {
		strcpy(outer, "/tmp/agent-fuzz-XXXXXX");
		if (mkdtemp(outer) == NULL)
			abort();
		snprintf(inner, sizeof(inner), "%s/slot", outer);
		if (mkdir(inner, 0700) < 0)
			abort();
		atexit(leave);
	}
	if (tree_new(&slot, &tree, NULL) < 0 || tar_new(tree, "", 65536, &tar, NULL) < 0)
		abort();
	r = 0;
	for (size_t at = 1; r == 0 && at < size; at += step)
		r = tar_push(tar, data + at, size - at < step ? size - at : step, NULL);
	if (r == 0)
		r = tar_end(tar, NULL);
	if (r == 0 && tree_verify(tree, NULL) < 0)
		abort();
	check_outer();
	if (tree_clear(&slot, NULL) < 0)
		abort();
	return 0;
}
