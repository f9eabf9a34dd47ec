/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/script/output.h"

#include <string.h>
#include <syslog.h>

#include "agentd/common/service.h"

static void line_end(struct output *o)
{
	o->line[o->fill] = '\0';
	o->fill = 0;
	if (o->line[0] == '\0')
		return;
	strcpy(o->last, o->line);
	if (o->n_lines < OUTPUT_LINES_MAX)
		service_log(LOG_INFO, "%s: %s", o->name, o->line);
	else if (o->n_lines == OUTPUT_LINES_MAX)
		service_log(LOG_WARNING, "%s: it wrote more than %d lines; the rest is left out", o->name, OUTPUT_LINES_MAX);
	if (o->n_lines <= OUTPUT_LINES_MAX)
		o->n_lines++;
}

void output_add(struct output *o, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == '\n')
			line_end(o);
		else if (o->fill < SCRIPT_LINE_MAX) /* the rest of a long line is left out */
			o->line[o->fill++] = bytes[i] >= 0x20 && bytes[i] < 0x7f ? bytes[i] : bytes[i] == '\t' ? ' ' : '?';
	}
}

void output_end(struct output *o)
{
	line_end(o);
}
