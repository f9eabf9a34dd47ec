/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_ARG_RULE_H
#define COMMON_ARG_RULE_H
/* What an argument may look like. Plain C library only, as openapi.c is built from tables of these for the machine that builds. */
#include <stdbool.h>
#include <stdint.h>

/* ARG_OBJECTS and ARG_TEXT_MAP (an object whose members are all texts) occur in answers only; ARG_OBJECT, too, but around the arguments of a command. */
enum arg_type { ARG_TEXT, ARG_NUMBER, ARG_TRUTH, ARG_TEXTS, ARG_OBJECT, ARG_OBJECTS, ARG_TEXT_MAP };

/* One member of a JSON object, or one argument of a query or path. */
struct arg_rule {
	const char *name;	/* NULL ends the list */
	enum arg_type type;
	bool is_required;
	uint64_t max;		/* characters of a text or of each in a list; greatest number. In answers 0: no bound is promised */
	uint64_t min;
	const char *bytes;	/* the only bytes of a text, as inside [] of a regular expression: "a-z0-9-"; NULL: any */
	const char *values;	/* the only values, separated by spaces; NULL: any */
	const struct arg_rule *members;	/* of ARG_OBJECT and ARG_OBJECTS */
	const char *about;
	bool is_secret;		/* "format": "password" in the document */
};
#define REQUIRED true
#define OPTIONAL false

#endif
