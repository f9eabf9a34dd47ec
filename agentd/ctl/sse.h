/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_SSE_H
#define CTL_SSE_H
/* Server-sent events (WHATWG HTML, section 9.2.6) put together from what the network delivers. */
#include <stdbool.h>
#include <stddef.h>

#define SSE_EVENT_MAX 31
#define SSE_BYTES_MAX (256 * 1024) /* of one line and of the data of one event; ours have a few hundred */

struct sse {
	char *line, *data; /* so far */
	size_t line_size, data_size;
	char event[SSE_EVENT_MAX + 1];
	bool was_cr;
	/* One event is complete; @data is lent. Non-zero: stop. */
	int (*on_event)(void *userdata, const char *event, const char *data);
	void *userdata;
};

/* 0, what on_event() returned, -EMSGSIZE or -ENOMEM. What is half there when the connection ends is no event. */
int sse_feed(struct sse *sse, const char *bytes, size_t size);
/* Forgets what is half there. */
void sse_clear(struct sse *sse);

#endif
