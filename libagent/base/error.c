/* SPDX-License-Identifier: Apache-2.0 */
#include <agent/error.h>

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/text.h"

#define NAME_MAX_BYTES 64
#define MESSAGE_MAX_BYTES 1024	/* a sentence; a peer's text in it is cut here */

struct agent_error {
	int errnum;
	enum agent_error_source source;
	uint32_t code;
	char name[NAME_MAX_BYTES];
	char message[MESSAGE_MAX_BYTES];
};

/*
 * What a peer sent may be part of the sentence: it must not steer a terminal or forge a log line, and a sentence that
 * D-Bus does not take would leave the caller without any answer.
 */
static void make_printable(char *s)
{
	while (*s != '\0') {
		size_t n = text_printable(s);

		if (n == 0)
			*s = '?';
		s += n == 0 ? 1 : n;
	}
}

int agent_error_set(struct agent_error **err, int errnum, const char *name, const char *fmt, ...)
{
	struct agent_error *e;
	va_list ap;

	if (err == NULL)
		return errnum;
	e = calloc(1, sizeof(*e));
	if (e == NULL) {
		/* Without memory the errno alone has to do; a stale explanation would mislead. */
		*err = agent_error_free(*err);
		return errnum;
	}
	e->errnum = errnum;
	snprintf(e->name, sizeof(e->name), "%s", name);
	va_start(ap, fmt);
	vsnprintf(e->message, sizeof(e->message), fmt, ap);
	va_end(ap);
	text_drop_cut(e->message);
	make_printable(e->message);
	agent_error_free(*err);	/* after formatting: the arguments may point into it */
	*err = e;
	return errnum;
}

void agent_error_set_foreign(struct agent_error **err, enum agent_error_source source, uint32_t code)
{
	if (err == NULL || *err == NULL)
		return;
	(*err)->source = source;
	(*err)->code = code;
}

int agent_error_prefix(struct agent_error **err, int errnum, const char *fmt, ...)
{
	char joined[MESSAGE_MAX_BYTES];
	va_list ap;
	size_t n;

	if (err == NULL || *err == NULL)
		return errnum;
	va_start(ap, fmt);
	vsnprintf(joined, sizeof(joined), fmt, ap);
	va_end(ap);
	n = strlen(joined);
	snprintf(joined + n, sizeof(joined) - n, ": %s", (*err)->message);
	text_drop_cut(joined);
	make_printable(joined);
	memcpy((*err)->message, joined, sizeof(joined));
	return errnum;
}

int agent_error_errno(const struct agent_error *err)
{
	return err == NULL ? 0 : err->errnum;
}

const char *agent_error_name(const struct agent_error *err)
{
	return err == NULL ? "error.none" : err->name;
}

const char *agent_error_message(const struct agent_error *err)
{
	return err == NULL ? "no explanation" : err->message;
}

enum agent_error_source agent_error_foreign_source(const struct agent_error *err)
{
	return err == NULL ? AGENT_ERROR_NONE : err->source;
}

uint32_t agent_error_foreign_code(const struct agent_error *err)
{
	return err == NULL ? 0 : err->code;
}

int agent_error_move(struct agent_error **to, struct agent_error **from)
{
	struct agent_error *e = TAKE_PTR(*from);
	/* Who moves an error has failed. If there was no memory for it, 0 would say that he had not. */
	int r = e == NULL ? -ENOMEM : agent_error_errno(e);

	if (to == NULL) {
		agent_error_free(e);
	} else {
		agent_error_free(*to);
		*to = e;
	}
	return r;
}

struct agent_error *agent_error_free(struct agent_error *err)
{
	free(err);
	return NULL;
}
