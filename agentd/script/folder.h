/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCRIPT_FOLDER_H
#define SCRIPT_FOLDER_H
/* The scratch folder of a script: its TMPDIR and working folder, empty before and after. */
#include <stdbool.h>

#define FOLDER_BYTES_MAX (16 * 1024 * 1024)
#define FOLDER_FILES_MAX 1000

/* More bytes or files than it may have, deeper than anybody needs, or a folder in it that cannot be looked into. */
bool folder_is_full(const char *path);
/* Remove all that is in it, however deep (before Linux 5.19: 64 folders) and whatever its modes; links are not followed. */
void folder_clear(const char *path);

#endif
