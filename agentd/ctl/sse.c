/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/ctl/sse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int append(char **text, size_t *size, const char *bytes, size_t n)
{
	char *more;

	if (n > SSE_BYTES_MAX - *size)
		return -EMSGSIZE;
	more = realloc(*text, *size + n + 1);
	if (more == NULL)
		return -ENOMEM;
	memcpy(more + *size, bytes, n);
	*size += n;
	more[*size] = '\0';
	*text = more;
	return 0;
}

static void event_clear(struct sse *sse)
{
	free(sse->data);
	sse->data = NULL;
	sse->data_size = 0;
	sse->event[0] = '\0';
}

static int dispatch(struct sse *sse)
{
	int r = 0;

	/* Without data it is none: a heartbeat, or retry alone. */
	if (sse->data != NULL) {
		sse->data[sse->data_size - 1] = '\0'; /* the last line end is no part of it */
		r = sse->on_event(sse->userdata, sse->event[0] != '\0' ? sse->event : "message", sse->data);
	}
	event_clear(sse);
	return r;
}

static int take_line(struct sse *sse)
{
	char *value, *line = sse->line == NULL ? (char *)"" : sse->line;
	int r;

	if (line[0] == '\0')
		return dispatch(sse);
	value = strchr(line, ':');
	if (value == line)
		return 0;
	if (value != NULL) {
		*value++ = '\0';
		value += *value == ' ';
	} else {
		value = line + strlen(line);
	}
	if (strcmp(line, "event") == 0) {
		snprintf(sse->event, sizeof(sse->event), "%s", value);
	} else if (strcmp(line, "data") == 0) {
		r = append(&sse->data, &sse->data_size, value, strlen(value));
		return r < 0 ? r : append(&sse->data, &sse->data_size, "\n", 1);
	}
	return 0;
}

static int end_line(struct sse *sse)
{
	int r = take_line(sse);

	free(sse->line);
	sse->line = NULL;
	sse->line_size = 0;
	return r;
}

int sse_feed(struct sse *sse, const char *bytes, size_t size)
{
	const char *end = bytes + size;
	int r = 0;

	while (r == 0 && bytes < end) {
		size_t n = 0;

		if (sse->was_cr && *bytes == '\n')	/* CR LF is one line end, also in two pieces */
			bytes++;
		sse->was_cr = false;
		while (bytes + n < end && bytes[n] != '\n' && bytes[n] != '\r')
			n++;
		r = append(&sse->line, &sse->line_size, bytes, n);
		bytes += n;
		if (r == 0 && bytes < end) {
			sse->was_cr = *bytes++ == '\r';
			r = end_line(sse);
		}
	}
	return r;
}

void sse_clear(struct sse *sse)
{
	free(sse->line);
	sse->line = NULL;
	sse->line_size = 0;
	sse->was_cr = false;
	event_clear(sse);
}
