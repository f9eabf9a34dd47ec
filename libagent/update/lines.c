/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/lines.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

int lines_next(char **cursor, char **ret_key, char **ret_value)
{
	char *line, *equal;

	do {
		line = strsep(cursor, "\n");
		if (line == NULL)
			return 0;
	} while (line[0] == '\0' || line[0] == '#');
	equal = strchr(line, '=');
	if (equal == NULL || equal == line)
		return -EBADMSG;
	*equal = '\0';
	*ret_key = line;
	*ret_value = equal + 1;
	return 1;
}

int lines_get_name(const char *value, char *ret_text, size_t size)
{
	size_t n = strlen(value);

	if (n >= size)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)value[i]) && strchr("._+:-", value[i]) == NULL)
			return -EBADMSG;
	memcpy(ret_text, value, n + 1);
	return 0;
}

int lines_get_u64(const char *value, uint64_t max, uint64_t *ret_value)
{
	size_t n = strlen(value);
	uint64_t number = 0;

	if (n == 0 || n > 19 || strspn(value, "0123456789") != n)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		number = number * 10 + (uint64_t)(value[i] - '0');
	if (number > max)
		return -EBADMSG;
	*ret_value = number;
	return 0;
}
