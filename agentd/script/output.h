/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCRIPT_OUTPUT_H
#define SCRIPT_OUTPUT_H
/* What a script writes: line by line into the log, in ASCII, cut, and not for ever. */
#include <stdbool.h>
#include <stddef.h>

#include "agentd/common/script_wire.h"

#define OUTPUT_LINES_MAX 200

struct output {
	const char *name;	/* of the script */
	char line[SCRIPT_LINE_MAX + 1], last[SCRIPT_LINE_MAX + 1];
	size_t fill;
	unsigned n_lines;
};

void output_add(struct output *output, const char *bytes, size_t size);
/* No more comes: what has no line feed behind it is a line too. */
void output_end(struct output *output);

#endif
