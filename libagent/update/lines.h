/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_LINES_H
#define UPDATE_LINES_H
/*
 * Small text files of "key=value" lines, as the journal and the "file" boot environment are: readable by a person, and
 * by a boot script with sed. Lines that begin with '#' and empty lines mean nothing.
 */
#include <stddef.h>
#include <stdint.h>

#define LINES_FILE_MAX 8192

/* Step to the next pair in @*cursor (changed: NULs are put in). 1, 0 at the end, -EBADMSG for a line without '='. */
int lines_next(char **cursor, char **ret_key, char **ret_value);
/* Copy where it fits and is a plain name or, if @size allows, empty; -EBADMSG otherwise. */
int lines_get_name(const char *value, char *ret_text, size_t size);
/* Decimal digits only; -EBADMSG otherwise or above @max. */
int lines_get_u64(const char *value, uint64_t max, uint64_t *ret_value);

#endif
