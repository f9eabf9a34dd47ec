/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_OUTPUT_H
#define CTL_OUTPUT_H
/* What people and programs read. Text that came from the agent may hold a stranger's words: it never steers the terminal. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

/* UTF-8 with control characters replaced; NULL prints "-". */
void print_text(FILE *out, const char *text);
/* The same on stdout, then blanks up to @width columns (of ASCII). */
void print_padded(const char *text, int width);
/* One document, one line. */
void print_json(const json_t *value);
/* That it is done, where the agent has nothing to say: @sentence, or with --json @json. */
struct ctl;
void print_done(const struct ctl *ctl, const char *sentence, const char *json);
/* Does nobody read what we print any more? "events --follow | head -1" on a quiet device would not find out by writing. */
bool reader_is_gone(void);
/* A value as a person writes it: text, number, yes or no. */
void print_value(FILE *out, const json_t *value);

/* A row "label  value", skipped where the object has no such member. */
struct field {
	const char *member;
	const char *label;
};
void print_fields(const json_t *object, const struct field *fields, size_t n);

/* 2026-11-21 10:00:00Z */
void print_time(FILE *out, uint64_t seconds);

/* Into @file, which is replaced, or, without one, to stdout as it is. An exit code. */
int text_write(const char *file, const char *text);

#endif
