/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/fetch/range.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The value of header @name, without blanks around it; NULL if it is another header. */
static const char *value_of(const char *line, size_t size, const char *name, size_t *ret_size)
{
	size_t n = strlen(name);

	if (size <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	size -= n + 1;
	while (size > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		size--;
	}
	while (size > 0 && strchr(" \t\r\n", line[size - 1]) != NULL)
		size--;
	*ret_size = size;
	return line;
}

/* Too long or with a byte that is no text: as if it had not been sent. */
static void text_set(char *text, size_t max, const char *value, size_t size)
{
	text[0] = '\0';
	if (size >= max)
		return;
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)value[i] < 0x20 || (unsigned char)value[i] > 0x7e)
			return;
	memcpy(text, value, size);
	text[size] = '\0';
}

void range_head_add(struct range_head *head, const char *line, size_t size)
{
	const char *value;
	size_t n = 0;

	if (size >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		*head = (struct range_head){ 0 };
	} else if ((value = value_of(line, size, "ETag", &n)) != NULL) {
		/* A weak one ("W/") does not promise equal bytes. */
		text_set(head->etag, sizeof(head->etag), value, n > 0 && value[0] == '"' ? n : 0);
	} else if ((value = value_of(line, size, "Last-Modified", &n)) != NULL) {
		text_set(head->modified, sizeof(head->modified), value, n);
	} else if ((value = value_of(line, size, "Content-Range", &n)) != NULL) {
		text_set(head->content_range, sizeof(head->content_range), value, n);
		head->n_content_ranges++;
	}
}

/* Digits, then @end; moves @*cursor behind it. */
static int number_get(const char **cursor, char end, uint64_t *ret_number)
{
	uint64_t number = 0;
	const char *p = *cursor;

	if (*p < '0' || *p > '9')
		return -EBADMSG;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(number, 10u, &number) || __builtin_add_overflow(number, (unsigned)(*p - '0'), &number))
			return -EBADMSG;
	if (*p != end || number > INT64_MAX)
		return -EBADMSG;
	*cursor = p + (end != '\0');
	*ret_number = number;
	return 0;
}

static int is_changed(const struct range_head *head, uint64_t size, const struct range_file *file)
{
	if (size != file->size_bytes)
		return 1;
	if (file->etag[0] != '\0')
		return strcmp(head->etag, file->etag) != 0;
	return file->modified[0] != '\0' && strcmp(head->modified, file->modified) != 0;
}

int range_check(const struct range_head *head, uint64_t first, uint64_t last, struct range_file *file, struct agent_error **err)
{
	const char *cursor = head->content_range + 6;
	uint64_t got_first, got_last, size;

	if (head->n_content_ranges != 1)
		return agent_error_set(err, -EBADMSG, "fetch.range", "the server sends a part (206) with %u Content-Range headers instead of one%s",
				       head->n_content_ranges, head->n_content_ranges == 0 ? "; several parts in one answer are not read" : "");
	if (strncasecmp(head->content_range, "bytes ", 6) != 0 || number_get(&cursor, '-', &got_first) < 0 || number_get(&cursor, '/', &got_last) < 0 ||
	    number_get(&cursor, '\0', &size) < 0 || got_last < got_first || got_last >= size)
		return agent_error_set(err, -EBADMSG, "fetch.range", "the server's Content-Range \"%s\" is not \"bytes FIRST-LAST/SIZE\"", head->content_range);
	if (file->is_known && is_changed(head, size, file))
		return agent_error_set(err, -ESTALE, "fetch.changed", "the bundle on the server is another one than when the download began; start again");
	if (got_first != first || got_last != (last < size ? last : size - 1))
		return agent_error_set(err, -EBADMSG, "fetch.range", "the server sends bytes %" PRIu64 "-%" PRIu64 " of %" PRIu64 ", %" PRIu64 "-%" PRIu64
				       " were asked for", got_first, got_last, size, first, last);
	if (!file->is_known) {
		*file = (struct range_file){ .is_known = true, .size_bytes = size };
		memcpy(file->etag, head->etag, sizeof(file->etag));
		memcpy(file->modified, head->modified, sizeof(file->modified));
	}
	return 0;
}

const char *range_validator(const struct range_file *file)
{
	return file->etag[0] != '\0' ? file->etag : file->modified[0] != '\0' ? file->modified : NULL;
}
